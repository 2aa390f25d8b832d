"""`Result`: what a statement of the user's gave, which says when it was ended; whether one is being read."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import duckdb
import pyarrow as pa

from dbgnn.errors import ConnectionError
from dbgnn.terminal import make_printable

#: DuckDB's names for fetching some rows, for fetching all, and for what else a result has.
_SOME = frozenset({"fetchone", "fetchmany", "fetch_df_chunk"})
_ABOUT = frozenset("description rowcount to_arrow_reader".split())
_ALL = frozenset("df fetch_df fetchall fetchdf fetchnumpy pl tf to_arrow_table torch".split())


class Result:
    """The result of a statement: all that DuckDB's connection has, to fetch from (``fetchall()``, ``df()``, ``description`` …).

    One connection holds one result. Another statement on it ends this one; to fetch on is then an error instead of no rows, or
    those of the other statement.

    Args:
        connection: The connection.
        lend: Called where something else than a result is asked of it, by which statements could be run.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, lend: Callable[[], object]) -> None:
        self._connection = connection
        self._lend = lend
        self._ended: str | None = None
        self._is_read = False

    def end(self, what: str) -> None:
        """Note that ``what`` has ended it; fetching from it is an error from now on."""
        self._ended = what

    @property
    def is_read(self) -> bool:
        """Whether all rows were fetched."""
        return self._is_read

    def fetchone(self) -> tuple[Any, ...] | None:
        """Return the next row; None: there is none."""
        row: tuple[Any, ...] | None = self._fetch("fetchone")
        return row

    def fetchmany(self, size: int = 1) -> list[tuple[Any, ...]]:
        """Return the next rows, at most ``size``."""
        rows: list[tuple[Any, ...]] = self._fetch("fetchmany", size)
        return rows

    def fetchall(self) -> list[tuple[Any, ...]]:
        """Return all rows that are left."""
        rows: list[tuple[Any, ...]] = self._fetch("fetchall")
        return rows

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if name in _ALL or name in _SOME:
            return functools.partial(self._fetch, name)
        self._need_not_ended()
        found = getattr(self._connection, name)  # raises where there is none
        if name not in _ABOUT:
            self._lend()
        return found

    def _fetch(self, name: str, *args: Any, **kwargs: Any) -> Any:
        self._need_not_ended()
        try:
            rows = getattr(self._connection, name)(*args, **kwargs)
        except Exception as error:  # such as that of a cast, which quotes the value
            make_printable(error)
            raise
        self._is_read = name in _ALL or rows is None or len(rows) == 0
        return rows

    def _need_not_ended(self) -> None:
        if self._ended is not None:
            raise ConnectionError(
                f"This result was ended by {self._ended}, which ran on its connection. Fetch it whole first, with fetchall(), "
                "or read it from a cursor of its own: db.connection.cursor().execute(…)."
            )

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        while (row := self.fetchone()) is not None:
            yield row

    def __dir__(self) -> list[str]:
        return [name for name in dir(self._connection) if not name.startswith("_")]


#: What is registered to see whether a connection is being read.
_PROBE = "dbgnn_probe"


def is_being_read(con: duckdb.DuckDBPyConnection) -> bool:
    """Whether a result of ``execute()`` is still being fetched from a connection, which any further statement would end."""
    try:
        con.register(_PROBE, pa.table({"none": pa.array([], pa.int8())}))
    except duckdb.ResourceInUseException:
        return True
    except duckdb.Error:  # such as that of a transaction that failed
        return False
    con.unregister(_PROBE)
    return False


def end_what_is_read(con: duckdb.DuckDBPyConnection, what: str) -> None:
    """Free a connection from a result that was read to its end, as one row is by ``fetchone()``; DuckDB waits for more calls.

    Raises:
        ConnectionError: Rows are left, or a reader of them; who reads them on would miss some.
    """
    if not is_being_read(con):
        return
    try:
        left = bool(con.fetchmany(1))
        con.complete()
    except (duckdb.Error, ImportError):  # a reader of Arrow; or a value that Python needs a package for
        left = True
    if left or is_being_read(con):
        raise ConnectionError(
            f"{what} runs on the connection of db.execute(), where a result was being read, and has ended it. Fetch it whole "
            "first, with fetchall(), or read it from a cursor of its own: db.connection.cursor().execute(…)."
        )


def answer_of(con: duckdb.DuckDBPyConnection, query: str) -> duckdb.DuckDBPyConnection:
    """Return the result of a constant query, to be fetched from a cursor, so that the connection is not kept busy with it."""
    return con.cursor().execute(query)
