"""`Cursors`: one connection per process to a DuckDB file, one cursor per thread.

Forks, closing, and whether the file is still the one that was opened; what is under way stands in `open_database.py`.
"""

from __future__ import annotations

import ctypes
import os
import threading
import time
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Self

import duckdb
import pyarrow as pa

from dbgnn.configuration import UNTRUSTED, DatabaseSettings, apply, lock_last, prefer
from dbgnn.display import Listed
from dbgnn.errors import ConnectionError, ResourceError
from dbgnn.identity import FileIdentity, has_open, identity_of
from dbgnn.masking import hidden_settings, masked
from dbgnn.opening import WRITE_AHEAD_LOGS, closed, open_file
from dbgnn.session import Session
from dbgnn.shadows import Shadow, search_path, shadow_error, shadows
from dbgnn.sql import quote
from dbgnn.translated import keyboard_interrupts, translated

#: How far DuckDB may run ahead of the reader of a streamed result, per statement. The default of
#: 10 MB makes it wait for every scatter: 100 k rows of FLOAT[128] took 81 ms with it, 72 ms with 64 MiB.
STREAMING_BUFFER = "64MiB"

#: How often `close()` tries, waiting a little longer each time; five seconds in all.
_CLOSE_ATTEMPTS = 32

#: How many threads of one process have a cursor whose settings were made before they were locked: the training loop's, and
#: those that sample and fetch. Others stream with DuckDB's buffer of 10 MB. A thread that ends leaves its cursor to the next.
_READY = 4


class Cursors(Listed):
    """A DuckDB database that is open in this process; the base of `OpenDatabase`."""

    def __init__(self, settings: DatabaseSettings, *, connection: duckdb.DuckDBPyConnection | None = None) -> None:
        self.settings = settings
        self._owns = connection is None
        self._lock = threading.Lock()
        self._inherited: list[object] = []
        #: Graphs whose index was built in memory, and how; another process, whose memory is its own, does the same.
        self.built_in_memory: dict[str, str | None] = {}
        self._open(connection)

    def _open(self, connection: duckdb.DuckDBPyConnection | None) -> None:
        self._pid = os.getpid()
        self._file: FileIdentity | None = None
        self._thread = threading.get_ident()
        self._closed = False
        with hidden_settings(dict(self.settings.config)):
            self._connection = connection or open_file(self.settings)
        try:
            with hidden_settings(dict(self.settings.config)), translated(self):
                apply(self._connection, self.settings, owned=self._owns)
                # Cursors start in the default catalog, which in a forked child is not the graph's.
                self._catalog: str = self._connection.execute("SELECT system.main.current_database()").fetchall()[0][0]
                self._ready = self._ready_cursors()
            self._file = self._open_identity()
        except (ConnectionError, ResourceError):
            if self._owns:  # an open file would keep others out for as long as the error is held
                self._connection.close()
            raise
        self._session = Session()
        self._others: weakref.WeakSet[Cursors] = weakref.WeakSet()
        self._is_lent = False
        self._definitions = 0
        # A database in memory that nobody else has begins empty.
        self._judged: object = (0, None) if self._owns and self.settings.path == ":memory:" else None
        self.build_lock = threading.RLock()
        self._cursors = threading.local()
        self._all_cursors: weakref.WeakSet[duckdb.DuckDBPyConnection] = weakref.WeakSet()
        _databases.add(self)

    def _follow_fork(self) -> None:
        """In a forked child, leave the parent's connection untouched and open one of our own."""
        if self.in_memory or not self.settings.read_only:
            raise ConnectionError(
                f"This process was forked from the one that opened {self!s}. DuckDB connections do not survive a fork, "
                "and a database open for writing cannot be opened a second time: open it with "
                "dbgnn.connect(path, read_only=True), or use num_workers=0."
            )
        # Kept alive, never used: closing them would wait for threads that exist in the parent only.
        self._inherited += [self._connection, self._cursors, self._all_cursors, self._session, self._ready]
        self._lock = threading.Lock()
        self._open(None)

    @property
    def connection(self) -> duckdb.DuckDBPyConnection:
        """The database's own DuckDB connection. For plain DuckDB; dbgnn's statements go to :meth:`execute`."""
        self._live()
        self._need_own_names()
        return self._lend()

    def _lend(self) -> duckdb.DuckDBPyConnection:
        """Return the connection to somebody whose statements on it are not seen."""
        self._is_lent = True
        return self._live()

    def _live(self) -> duckdb.DuckDBPyConnection:
        if self._closed:
            raise ConnectionError(f"{self!s} is closed; connect again.")
        if os.getpid() != self._pid:
            self._follow_fork()
        return self._connection

    def statements(self) -> duckdb.DuckDBPyConnection:
        """Return where the user's statements run: the connection, or in another thread a cursor of that thread."""
        connection = self._live()
        if threading.get_ident() == self._thread:
            return connection
        cursor: duckdb.DuckDBPyConnection | None = getattr(self._cursors, "statements", None)
        if cursor is None:
            cursor = self._cursors.statements = self._any_cursor()
        return cursor

    @keyboard_interrupts()
    def new_cursor(self) -> duckdb.DuckDBPyConnection:
        """Return a cursor of the caller's own, in the database's catalog; the caller closes it."""
        self._live()
        self._need_own_names()
        return self._any_cursor()

    def _any_cursor(self) -> duckdb.DuckDBPyConnection:
        connection = self._live()
        with self._lock:
            cursor = connection.cursor()
        self._all_cursors.add(cursor)
        cursor.execute(f"USE {quote(self._catalog)}")
        prefer(cursor, enable_progress_bar="false")
        return cursor

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """Return this thread's own cursor, used by samplers and stores; temporary names are its own."""
        if self._closed or os.getpid() != self._pid:
            self._live()
        self._need_own_names()
        cursor: duckdb.DuckDBPyConnection | None = getattr(self._cursors, "cursor", None)
        if cursor is None:
            cursor = self._cursors.cursor = self._ready_cursor() or self._own_cursor()
        return cursor

    def _own_cursor(self) -> duckdb.DuckDBPyConnection:
        cursor = self.new_cursor()
        prefer(cursor, streaming_buffer_size=STREAMING_BUFFER)
        return cursor

    def _ready_cursor(self) -> duckdb.DuckDBPyConnection | None:
        """Return one of the cursors that were set up before the lock, until this thread ends; None: none is left."""
        try:
            cursor = self._ready.pop()
        except IndexError:
            return None
        self._all_cursors.add(cursor)
        self._cursors.held = held = _Held()
        weakref.finalize(held, self._ready.append, cursor).atexit = False
        return cursor

    def _ready_cursors(self) -> list[duckdb.DuckDBPyConnection]:
        """Where a stranger's file was opened, lock the configuration, and return cursors that were set up before."""
        if not self.settings.untrusted:
            return []
        ready = [self._connection.cursor() for _ in range(_READY)]
        for cursor in ready:
            cursor.execute(f"USE {quote(self._catalog)}")
            prefer(cursor, enable_progress_bar="false", streaming_buffer_size=STREAMING_BUFFER)
        lock_last(self._connection, UNTRUSTED)
        return ready

    @keyboard_interrupts()
    def _need_own_names(self) -> None:
        """Raise :class:`SchemaError` if a macro that everybody sees has the name of a function of DuckDB's own.

        Looked at again only where one may have been made since: nobody can write to a file that is open read-only, and of one
        that is open for writing, any commit shows.
        """
        if (now := self._state()) == self._judged:
            return
        with self._lock:
            probe = self._connection.cursor()
        try:
            self._raise_for(shadows(probe, {(self._catalog, "main")}, trusted=self.settings.trusted))
        finally:
            probe.close()
        self._judged = now

    def judge(self, con: duckdb.DuckDBPyConnection, *, theirs: bool = False) -> None:
        """Raise :class:`SchemaError` if a macro that the connection of the user's statements sees has the name of a function of
        DuckDB's own; temporary macros are such that only this connection sees.

        Args:
            con: The connection.
            theirs: What is to be run is a statement of the user's, for which it is enough to look where something was
                committed: a macro that only this connection has yet is the user's own.
        """
        sees_all = self._owns and not self._is_lent
        if sees_all and self._definitions == 0:  # nothing was made but what was in the file
            if self._judged is None:
                self._need_own_names()
        elif not (sees_all and self._session.judged == self._definitions):
            now = self._state()
            if theirs and self._session.judged_at == now:
                return
            self._raise_for(shadows(con, search_path(con), trusted=self.settings.trusted))
            self._session.judged, self._session.judged_at = self._definitions, now

    def _state(self) -> tuple[int, tuple[tuple[int, int], ...] | None]:
        """How many definitions were seen, and size and time of the file and its write-ahead log; None if they tell nothing."""
        if self.settings.read_only or self.in_memory:
            return self._definitions, None
        return self._definitions, tuple(map(_size_and_time, (self.settings.path, self.settings.path + ".wal")))

    def _raise_for(self, found: Sequence[Shadow]) -> None:
        if found:
            path = self.settings.path if (self._owns or self.read_only) and not self.in_memory else None
            raise shadow_error(str(self), found, catalog=self._catalog, path=path, trusted=self.settings.trusted)

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Let all reads of this thread's own cursor within the block see one state of the database."""
        cursor = self.cursor()
        cursor.complete()
        try:
            cursor.begin()  # within, so that Ctrl-C right behind it ends what it began
            yield
            cursor.commit()
        except BaseException:
            with suppress(duckdb.Error):
                cursor.rollback()
            raise

    @contextmanager
    def relations(self, **tables: pa.Table) -> Iterator[duckdb.DuckDBPyConnection]:
        """Lend this thread's cursor with the given Arrow tables registered under the given names."""
        cursor = self.cursor()
        cursor.complete()  # a fetchone() leaves its result open, and DuckDB then refuses anything but execute()
        for name, table in tables.items():
            cursor.register(name, table)
        try:
            yield cursor
        finally:
            for name in tables:
                with suppress(duckdb.TransactionException):  # one that failed refuses it, and takes the name along
                    cursor.unregister(name)

    def arrow(
        self, query: str, params: Sequence[object] | Mapping[str, object] | None = None, /, **tables: pa.Table
    ) -> pa.Table:
        """Run one query on this thread's cursor and return the whole result; ``tables`` are joined by name."""
        with self.relations(**tables) as cursor, translated(self):
            return cursor.sql(query, params=params).to_arrow_table()

    # -- state ---------------------------------------------------------------------------------------

    @property
    def in_memory(self) -> bool:
        """Whether the database is in memory, and so in this process alone."""
        return self.settings.path.startswith(":memory:")

    def is_same(self, other: Cursors) -> bool:
        """Whether both are one database: one file, or in memory that of one connection, or of one name in this process."""
        if self is other:
            return True
        mine, theirs = self.settings.path, other.settings.path
        if mine == theirs == ":memory:":
            return self._connection is other._connection and self._catalog == other._catalog
        return mine == theirs or (self._file is not None and self._file == other._file)

    @property
    def closed(self) -> bool:
        """Whether :meth:`close` was called."""
        return self._closed

    @property
    def read_only(self) -> bool:
        """Whether the database was opened read-only."""
        return self.settings.read_only

    def need_same_file(self) -> None:
        """Raise :class:`ConnectionError` if the path of this database now names another file than the one that is open."""
        if self._file is not None and identity_of(self.settings.path) != self._file:
            raise ConnectionError(
                f"The file of {self!s} was replaced or deleted while it was open: what is read and written through this "
                "connection is the file of before, to which no path leads. Close it, and connect again."
            )

    def _open_identity(self) -> FileIdentity | None:
        """Return which file is open; None: none, since the database is in memory or elsewhere."""
        path = self.settings.path
        if self.in_memory or "://" in path:
            return None
        found = identity_of(path)
        if found is None or not has_open(found):
            raise ConnectionError(
                f"{path!r} was replaced or deleted while this process had it open, and DuckDB still has the file of before. "
                "Close every connection to it in this process, and connect again."
            )
        return found

    def stamp(self) -> tuple[tuple[int, int], ...] | None:
        """Size and time of the file and its write-ahead log: unchanged means that nobody committed anything.

        None for a database in memory. Costs a few microseconds; every commit of any process changes it.

        Raises:
            ConnectionError: The file was replaced or deleted.
        """
        if self.in_memory:
            return None
        self.need_same_file()
        suffixes = ("", *WRITE_AHEAD_LOGS)
        return tuple(_size_and_time(self.settings.path + suffix) for suffix in suffixes)

    def interrupt(self) -> None:
        """End the statements that run on this database, in whatever thread; each raises ``duckdb.InterruptException`` there.

        To be called from another thread, such as a timer's. A statement that has not begun yet is not ended by it.
        """
        for con in [self._live(), *self._every_cursor()]:
            with suppress(duckdb.Error):
                con.interrupt()

    def _every_cursor(self) -> list[duckdb.DuckDBPyConnection]:
        while True:
            with suppress(RuntimeError):  # another thread made one at this very moment
                return list(self._all_cursors)

    def close(self) -> None:
        """Close every cursor and, unless the connection was handed in, the connection. Closing twice is fine."""
        if self._closed or os.getpid() != self._pid:
            return
        self._closed = True
        for other in list(self._others):
            other.close()
        open_ = [*self._every_cursor(), *self._ready, *([self._connection] if self._owns else [])]
        for attempt in range(_CLOSE_ATTEMPTS):
            open_ = [c for c in open_ if not closed(c)]
            if not open_:
                return
            time.sleep(0.01 * attempt)  # a thread is in the middle of a query, which was interrupted and is about to end
        raise ConnectionError(f"{self!s} cannot be closed: another thread still uses it. End that thread first.")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __str__(self) -> str:
        return f"database {masked(self.settings.path)!r}"

    def __repr__(self) -> str:
        s = self.settings
        parts = [repr(masked(s.path)), "untrusted" if s.untrusted else "read-only" if s.read_only else "read-write"]
        parts += [f"{k}={v}" for k, v in (("memory_limit", s.memory_limit), ("threads", s.threads)) if v is not None]
        if self._closed:
            parts.append("closed")
        return f"dbgnn.Database({', '.join(parts)})"


class _Held:
    """Held by a thread for as long as it has a cursor that the next thread may have."""

    __slots__ = ("__weakref__",)


def _size_and_time(path: str) -> tuple[int, int]:
    try:
        stat = os.stat(path)
    except FileNotFoundError:
        return -1, -1
    return stat.st_size, stat.st_mtime_ns


#: Every database of this process, also one that only waits for the garbage collector.
_databases: weakref.WeakSet[Cursors] = weakref.WeakSet()


def _keep_inherited() -> None:
    """Let no connection of the parent be closed in a forked child: closing waits for threads that exist in the parent only.

    The garbage collector would, of a database that the parent has dropped; so would the end of the interpreter.
    """
    for database in list(_databases):
        for connection in (database._connection, *database._all_cursors, *database._ready):
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(connection))
        database.build_lock, database._lock = threading.RLock(), threading.Lock()  # a thread of the parent may hold them


os.register_at_fork(after_in_child=_keep_inherited)
