"""DuckDB's errors about resources, as ours: each says which setting to change. Others pass through."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import duckdb

from dbgnn.configuration import DatabaseSettings
from dbgnn.errors import ConnectionError, ReadOnlyError, ResourceError
from dbgnn.masking import hidden_in_errors
from dbgnn.terminal import printable_errors


class Opened(Protocol):
    """A database that is open, as far as errors tell of it."""

    settings: DatabaseSettings

    @property
    def closed(self) -> bool:
        """Whether it was closed."""

    def need_same_file(self) -> None:
        """Raise if its path names another file by now."""


@contextmanager
def keyboard_interrupts() -> Iterator[None]:
    """Raise ``KeyboardInterrupt`` where Ctrl-C came while DuckDB was at work, which turns it into an error of its own."""
    try:
        yield
    except (RuntimeError, OSError, duckdb.Error) as error:
        if not _is_ctrl_c(error):
            raise
        raise KeyboardInterrupt from error


def _is_ctrl_c(error: BaseException) -> bool:
    # RuntimeError: while a statement runs; the others: while DuckDB asks Python about a table that is registered.
    text = str(error)
    return (type(error) is RuntimeError and text == "Query interrupted") or "KeyboardInterrupt" in text


#: What DuckDB says of a file whose contents it cannot read.
_DAMAGED = ("Corrupt database file", "Could not read enough bytes", "Could not read all bytes")

#: How DuckDB names an extension that it has not got.
_NO_EXTENSION = re.compile(r"(\w+)\.duckdb_extension|exists in the (\w+) extension")


@contextmanager
def _extensions_named() -> Iterator[None]:
    """Say what to do where a statement needs an extension, such as ``ATTACH … (TYPE sqlite)``, that is not installed."""
    try:
        yield
    except duckdb.Error as error:
        if (found := _NO_EXTENSION.search(str(error))) is None:
            raise
        name = found[found.lastindex or 0]
        raise ConnectionError(
            f"DuckDB's extension {name!r} is not installed. With internet: INSTALL {name}. Without: fetch "
            f"{name}.duckdb_extension of DuckDB {duckdb.__version__} elsewhere, INSTALL '/path/{name}.duckdb_extension'; or "
            f"export the tables to Parquet or CSV, which queries read by path. DuckDB says: {' '.join(str(error).split())}"
        ) from error


@contextmanager
def _interrupts() -> Iterator[None]:
    """Raise DuckDB's own error where a statement was interrupted while its rows were read, of which Arrow makes an OSError."""
    try:
        yield
    except OSError as error:
        if "INTERRUPT Error" not in str(error):
            raise
        raise duckdb.InterruptException(str(error)) from error


@contextmanager
def translated(database: Opened) -> Iterator[None]:
    """Turn DuckDB's errors about resources into ours, with the setting to change; others pass through.

    What the block did counts only if the database's path still names the file that is open.
    """
    database.need_same_file()
    try:
        with hidden_in_errors(), printable_errors(), _extensions_named(), _interrupts(), keyboard_interrupts():
            yield
        database.need_same_file()
    except duckdb.OutOfMemoryException as error:
        raise ResourceError(
            f"{database!s} ran out of memory. Raise memory_limit, or lower threads (both by SET or by connect()), or connect "
            f"with temp_directory on a disk with room. DuckDB says: {error}"
        ) from error
    except (duckdb.IOException, duckdb.TransactionException) as error:  # a commit may be what fills the disk
        if any(sign in str(error) for sign in ("No space left", "File too large", "disk full")):
            raise ResourceError(
                f"{database!s}: the disk is full. Free space, or set temp_directory elsewhere. DuckDB says: {error}"
            ) from error
        if "Failed to create directory" in str(error):
            raise ResourceError(
                f"{database!s}: what is larger than memory_limit goes to a temporary folder, which cannot be made. Connect "
                f"with temp_directory on a disk with room, or raise memory_limit. DuckDB says: {error}"
            ) from error
        if is_damaged(error):
            raise damaged_file(str(database), error) from error
        raise
    except duckdb.ConnectionException as error:
        raise ConnectionError(f"{database!s}: the DuckDB connection is closed or in use elsewhere: {error}") from error
    except duckdb.InterruptException as error:
        if database.closed:
            raise ConnectionError(f"{database!s} was closed while it was in use.") from error
        raise
    except duckdb.InvalidInputException as error:
        if "read-only" in str(error):
            raise ReadOnlyError(f"{database!s} is {database.settings.why_read_only} DuckDB says: {error}") from error
        raise
    except duckdb.Error as error:
        if is_damaged(error):
            raise damaged_file(str(database), error) from error
        raise


def is_damaged(error: duckdb.Error) -> bool:
    """Whether DuckDB could not read a file because of what stands in it."""
    return any(sign in str(error) for sign in _DAMAGED)


def damaged_file(database: str, error: duckdb.Error) -> ConnectionError:
    """Return the error for a file whose contents DuckDB cannot read."""
    said = " ".join(str(error).split())
    return ConnectionError(f"{database} is damaged, or DuckDB did not write it. Use a copy that is whole. DuckDB says: {said}")
