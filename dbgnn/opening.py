"""Opening a DuckDB file, also in a forked child, and closing a connection; what it means where one is refused."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import duckdb

from dbgnn.configuration import DatabaseSettings, config_of
from dbgnn.errors import ConnectionError
from dbgnn.identity import identity_of, is_forked, paths_open
from dbgnn.result import end_what_is_read
from dbgnn.sql import literal, quote
from dbgnn.translated import damaged_file, is_damaged

#: What DuckDB's logs of a file are called behind its name.
WRITE_AHEAD_LOGS = (".wal", ".wal.checkpoint", ".wal.recovery")


def opened_as(connection: duckdb.DuckDBPyConnection) -> tuple[str, bool]:
    """Return the path of the database that a connection of the user's uses, and whether it was opened read-only.

    Raises:
        ConnectionError: The connection is closed, or is being read by somebody.
    """
    end_what_is_read(connection, "dbgnn.connect()")
    query = """
        SELECT coalesce(path, ':memory:'), readonly FROM system.main.duckdb_databases()
        WHERE database_name = system.main.current_database()
    """
    try:
        path, read_only = connection.execute(query).fetchall()[0]
    except duckdb.ConnectionException as error:
        raise ConnectionError(f"The DuckDB connection is closed, or in use elsewhere: {error}") from error
    return path, read_only


def open_file(settings: DatabaseSettings) -> duckdb.DuckDBPyConnection:
    """Return a connection to the database of `connect()`, in a forked child in an instance of its own.

    Raises:
        ConnectionError: It cannot be opened, or is not a DuckDB file.
    """
    in_memory = settings.path.startswith(":memory:")
    if settings.read_only and not in_memory and not os.path.exists(settings.path):
        raise ConnectionError(f"{settings.path!r} does not exist; a read-only connection does not create it.")
    if is_forked() and in_memory and settings.path != ":memory:":
        raise ConnectionError(
            f"{settings.path!r} may be a database of the process that this one was forked from, which it cannot share. Use "
            "':memory:' here."
        )
    if not in_memory and os.path.exists(settings.path) and not os.path.isfile(settings.path):
        raise ConnectionError(f"{settings.path!r} is no regular file, and so no DuckDB database file.")
    if not in_memory:
        _check_beside(settings)
    _need_one_path(settings.path)
    if not _is_text(settings.path):
        raise ConnectionError(f"{settings.path!r} is no UTF-8, so DuckDB cannot open it; rename the file.")
    if settings.untrusted:
        _survive(settings)
    try:
        if is_forked() and not in_memory:
            connection = _attach(settings)
        else:
            connection = duckdb.connect(settings.path, read_only=settings.read_only, config=config_of(settings))
        query = "SELECT path FROM system.main.duckdb_databases() WHERE database_name = system.main.current_database()"
        if in_memory or connection.execute(query).fetchall()[0][0] is not None:
            return connection
        connection.close()  # DuckDB opens a CSV or Parquet file as views in memory, and what is written goes nowhere
    except duckdb.Error as error:
        raise _connection_error(settings, error) from error
    raise ConnectionError(
        f"{settings.path!r} is not a DuckDB database file. Connect to one, or to ':memory:', and read this file by its path: "
        f"SELECT * FROM {literal(settings.path)}."
    )


#: Opens a file, reads what its catalog says, and closes it; errors are those of whoever opens it next.
_READ_CATALOG = """
import json, resource, sys
sys.path.append(sys.argv[2])
import duckdb
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
try:
    con = duckdb.connect(sys.argv[1], read_only=True, config=json.load(sys.stdin))
except duckdb.Error:
    sys.exit()
for name in ("functions", "types", "tables", "views", "columns", "constraints", "indexes"):
    try:
        con.execute(f"FROM system.main.duckdb_{name}()").fetchall()
    except duckdb.Error:
        continue
con.close()
"""

#: How long that may take, in seconds.
_PATIENCE = 60


def _survive(settings: DatabaseSettings) -> None:
    """Raise :class:`ConnectionError` if a file ends the process that opens it, by having another one open it first.

    DuckDB reads nested expressions by recursion: a CHECK of 12,000 terms overflows a stack of 8 MB.
    """
    if not sys.executable or getattr(sys, "frozen", False):  # Python within another program
        return
    # Alone, so that nothing in the current folder is imported, which may be the stranger's, too; DuckDB from where it is.
    command = [sys.executable, "-I", "-c", _READ_CATALOG, settings.path, str(Path(duckdb.__file__).parent.parent)]
    said = json.dumps(config_of(settings)).encode()  # not among the arguments, which everybody on the machine can read
    null = subprocess.DEVNULL
    try:
        done = subprocess.run(  # noqa: S603 - the program is our own, and no shell reads the path
            command, input=said, stdout=null, stderr=null, timeout=_PATIENCE, check=False
        )
    except OSError:  # this process may start no other one, as in a sandbox
        return
    except subprocess.TimeoutExpired as error:
        raise ConnectionError(f"{settings.path!r} has a catalog that DuckDB cannot read within {_PATIENCE} s.") from error
    if done.returncode < 0:
        raise ConnectionError(
            f"{settings.path!r} is damaged, or made to do harm: it ended the process that opened it first, by "
            f"{signal.Signals(-done.returncode).name}. Use a copy that is whole."
        )


def _check_beside(settings: DatabaseSettings) -> None:
    """Raise if what DuckDB keeps beside a file is no file: it would wait for a FIFO for ever, and write where a link leads."""
    for path in (settings.path + suffix for suffix in WRITE_AHEAD_LOGS):
        if os.path.lexists(path) and (os.path.islink(path) or not os.path.isfile(path)):
            raise ConnectionError(
                f"{path!r} is no regular file, and so no write-ahead log of DuckDB's. Delete it, or move it away."
            )
    spill = settings.path + ".tmp"
    if settings.untrusted and settings.temp_directory is None and os.path.islink(spill):
        raise ConnectionError(
            f"{spill!r} is a link, and DuckDB would write where it leads. Delete it, or give temp_directory=."
        )


def _is_text(path: str) -> bool:
    """Whether the bytes of a path are UTF-8; Python keeps others as halves of surrogate pairs."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def _need_one_path(path: str) -> None:
    """Raise if this process has the file open under another path: DuckDB would write to it twice, each time as if alone."""
    identity = identity_of(path)
    if identity is not None and (others := (paths_open(identity) or set()) - {path}):
        raise ConnectionError(
            f"{path!r} is a hard link to a file that this process has open as {min(others)!r}. Connect by that path, or close "
            "every connection to it first."
        )


def _attach(settings: DatabaseSettings) -> duckdb.DuckDBPyConnection:
    """Open the file in a forked child, in an instance of its own.

    ``duckdb.connect(path)`` would find the parent's instance in DuckDB's cache, with threads that did
    not survive the fork; an unnamed instance with the file attached shares nothing with it.
    """
    config = config_of(settings)
    access = config.pop("enable_external_access", None)  # what forbids it would forbid to attach the file
    connection = duckdb.connect(":memory:", config=config)
    attach = f"ATTACH {literal(settings.path)}"
    mode = " (READ_ONLY)" if settings.read_only else ""
    try:
        connection.execute(attach + mode)
    except duckdb.BinderException:  # a file called memory.duckdb: the name is taken
        connection.execute(f"{attach} AS dbgnn_file{mode}")
    query = """
        SELECT database_name FROM system.main.duckdb_databases() WHERE NOT internal
        ORDER BY database_name = 'memory' ASC LIMIT 1
    """
    connection.execute(f"USE {quote(connection.execute(query).fetchall()[0][0])}")
    if access is not None:
        connection.execute(f"SET enable_external_access = {literal(str(access))}")
    return connection


def _connection_error(settings: DatabaseSettings, error: duckdb.Error) -> ConnectionError:
    path, text = settings.path, str(error)
    if "not a valid DuckDB database" in text or "in-memory database in read-only mode" in text:
        return ConnectionError(f"{path!r} is not a DuckDB database file.")
    if isinstance(error, duckdb.ResourceInUseException) or "Unique file handle conflict" in text:
        return ConnectionError(
            f"{path!r} is open in the process that this one was forked from. DuckDB connections do not survive a fork, and a "
            "file open for writing cannot be opened a second time: close it before the fork, or open it with "
            "dbgnn.connect(path, read_only=True) in both."
        )
    if is_damaged(error) or isinstance(error, duckdb.SerializationException):
        return damaged_file(repr(path), error)
    if "lock" in text:
        return ConnectionError(
            f"{path!r} is locked by another process: {text}. A file open for writing excludes every other "
            "process; close it there, or open it read-only in both (read_only=True)."
        )
    if "different configuration" in text:
        return ConnectionError(
            f"{path!r} is already open in this process with other settings; close that connection first, "
            "or pass it to dbgnn.connect()."
        )
    if "encrypted" in text:
        return ConnectionError(
            f"{path!r} is encrypted. Attach it with its key to a connection of DuckDB's, and connect to that: con = "
            f'duckdb.connect(); con.execute("ATTACH {literal(path)} AS g (ENCRYPTION_KEY \'…\')"); con.execute("USE g"); '
            f"dbgnn.connect(con). Worker processes have no key: use num_workers=0. DuckDB says: {text}"
        )
    if "Permission denied" in text or "Read-only file system" in text:
        return ConnectionError(
            f"{path!r} cannot be opened for writing: {text}. To read it, connect with read_only=True; an index that it lacks "
            "is then built in memory."
        )
    names = f" (config= has {', '.join(name for name, _ in settings.config)})" if settings.config else ""
    return ConnectionError(f"{path!r} cannot be opened: {text}{names}")


def closed(con: duckdb.DuckDBPyConnection) -> bool:
    """Interrupt and close a connection; return whether it is closed."""
    if sys.is_finalizing():  # no thread can begin any more, and none is left that runs a statement
        with suppress(duckdb.Error):
            con.close()
        return True
    done = threading.Event()

    def interrupt() -> None:
        # Again and again: an interrupt that comes just before a statement begins is lost, and close() waits for its end.
        with suppress(duckdb.Error):
            con.interrupt()
            while not done.wait(0.05):
                con.interrupt()

    interrupter = threading.Thread(target=interrupt, name="dbgnn-close", daemon=True)
    interrupter.start()
    try:
        con.close()
    except duckdb.ConnectionException:
        return True  # it was closed already
    except duckdb.Error:
        return False
    finally:
        done.set()
        interrupter.join()
    return True
