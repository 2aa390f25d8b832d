"""`connect()` and `Database`: one DuckDB file, its settings, one cursor per thread, one connection per process.

What statements of our own mean lives in `schema/` (property graphs) and `ingest/` (COPY); this file only
sends each statement to where it belongs.
"""

from __future__ import annotations

import ctypes
import operator
import os
import re
import threading
import time
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, SupportsIndex

import duckdb
import pyarrow as pa

from dbgnn.configuration import lock_last, prefer, require, without_lock
from dbgnn.display import Listed
from dbgnn.errors import ConnectionError, ReadOnlyError, ResourceError, SchemaError, SqlError
from dbgnn.identity import Identity, has_open, identity_of, is_forked, paths_open
from dbgnn.result import Result
from dbgnn.session import Session
from dbgnn.sql import literal, quote, split_statements

if TYPE_CHECKING:
    from dbgnn.graph import Graph
    from dbgnn.schema import PropertyGraph
    from dbgnn.stores import DuckDBFeatureStore, DuckDBGraphStore

#: How far DuckDB may run ahead of the reader of a streamed result, per statement. The default of
#: 10 MB makes it wait for every scatter: 100 k rows of FLOAT[128] took 81 ms with it, 72 ms with 64 MiB.
STREAMING_BUFFER = "64MiB"

#: The texts that DuckDB takes for a memory limit, for messages.
_LIMITS = "such as '4GB', '50%' or '-1' (no limit)"

_AT_LEAST_ONE = ". Write an int of at least 1."

#: How often `close()` tries, waiting a little longer each time; five seconds in all.
_CLOSE_ATTEMPTS = 32


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


@dataclass(frozen=True, slots=True)
class Settings:
    """What `connect()` was asked for; enough to open the same database in another process."""

    path: str
    read_only: bool = False
    memory_limit: str | None = None
    threads: int | None = None
    temp_directory: str | None = None
    progress: bool = True
    config: tuple[tuple[str, str], ...] = field(default=())


def connect(
    database: str | os.PathLike[str] | duckdb.DuckDBPyConnection = ":memory:",
    *,
    read_only: bool = False,
    memory_limit: str | SupportsIndex | None = None,
    threads: int | None = None,
    temp_directory: str | os.PathLike[str] | None = None,
    progress: bool = True,
    config: Mapping[str, str] | None = None,
) -> Database:
    """Open a DuckDB file, or wrap a connection that is already open.

    Args:
        database: Path of the file (created if absent, unless ``read_only``), ``":memory:"``, or an open
            ``duckdb`` connection, whose settings stay as they are unless given here.
        read_only: Open without the right to write. Several processes can then share the file, which worker processes
            need (``num_workers > 0``; over a file open for writing, threads do their work).
        memory_limit: DuckDB's buffer memory: text such as ``"4GB"`` or ``"50%"``, bytes as an int (Kùzu's
            ``buffer_pool_size``), or ``"-1"`` for no limit; default: 80 % of the machine's.
        threads: DuckDB's threads; default: one per core.
        temp_directory: Where larger-than-memory work spills; default: beside the file.
        progress: Show progress bars on work of more than two seconds.
        config: Further DuckDB settings by name.

    Raises:
        ConnectionError: The file is no database, is locked by another process, is missing though
            ``read_only`` was asked, or is open with other settings in this process.
        ResourceError: A setting has a value DuckDB does not take.
    """
    own = database if isinstance(database, duckdb.DuckDBPyConnection) else None
    if own is not None:
        _end_what_is_read(own, "dbgnn.connect()")
        query = "SELECT coalesce(path, ':memory:'), readonly FROM duckdb_databases() WHERE database_name = current_database()"
        try:
            path, readonly = own.execute(query).fetchall()[0]
        except duckdb.ConnectionException as error:
            raise ConnectionError(f"The DuckDB connection is closed, or in use elsewhere: {error}") from error
        if read_only and not readonly:
            raise ConnectionError(
                f"The DuckDB connection to {path!r} is open for writing, which read_only=True cannot change. Leave it out, or "
                "open the file read-only: dbgnn.connect(path, read_only=True)."
            )
        read_only = readonly
    else:
        path = os.fspath(database)  # type: ignore[arg-type]
        # DuckDB follows links too; its log then lies beside the file itself.
        path = path if path.startswith(":memory:") else os.path.realpath(Path(path).expanduser())
    settings = Settings(
        path=path,
        read_only=read_only,
        memory_limit=_bytes(memory_limit),
        threads=_threads(threads),
        temp_directory=None if temp_directory is None else str(Path(temp_directory).expanduser().absolute()),
        progress=progress,
        config=tuple(sorted((config or {}).items())),
    )
    return Database(settings, connection=own)


class Database(Listed):
    """A DuckDB database that holds graphs. Made by :func:`connect`; a context manager.

    Every thread gets its own cursor and every process its own connection, so one `Database` may be
    used from many threads, and from the workers of a loader when it is read-only.
    """

    _internal = frozenset(
        "arrow build_lock built_in_memory cursor idle_statements in_transaction is_same need_catalog need_committed "
        "need_no_transaction need_same_file new_cursor relations snapshot stamp statements".split()
    )

    def __init__(self, settings: Settings, *, connection: duckdb.DuckDBPyConnection | None = None) -> None:
        self.settings = settings
        self._owns = connection is None
        self._lock = threading.Lock()
        self._inherited: list[object] = []
        #: Graphs whose index was built in memory, and how; another process, whose memory is its own, does the same.
        self.built_in_memory: dict[str, str | None] = {}
        self._open(connection)

    # -- connections ---------------------------------------------------------------------------------

    def _open(self, connection: duckdb.DuckDBPyConnection | None) -> None:
        self._pid = os.getpid()
        self._file: Identity | None = None
        self._thread = threading.get_ident()
        self._closed = False
        self._connection = connection or _open_file(self.settings)
        try:
            with translated(self):
                _apply(self._connection, self.settings, owned=self._owns)
                # Cursors start in the default catalog, which in a forked child is not the graph's.
                self._catalog: str = self._connection.execute("SELECT current_database()").fetchall()[0][0]
            self._file = self._open_identity()
        except (ConnectionError, ResourceError):
            if self._owns:  # an open file would keep others out for as long as the error is held
                self._connection.close()
            raise
        self._session = Session()
        self._others: weakref.WeakSet[Database] = weakref.WeakSet()
        self._is_lent = False
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
        self._inherited += [self._connection, self._cursors, self._all_cursors, self._session]
        self._lock = threading.Lock()
        self._open(None)

    @property
    def connection(self) -> duckdb.DuckDBPyConnection:
        """The database's own DuckDB connection. For plain DuckDB; dbgnn's statements go to :meth:`execute`."""
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
            cursor = self._cursors.statements = self.new_cursor()
            self._all_cursors.add(cursor)
        return cursor

    @keyboard_interrupts()
    def new_cursor(self) -> duckdb.DuckDBPyConnection:
        """Return a cursor of the caller's own, in the database's catalog; the caller closes it."""
        connection = self._live()
        with self._lock:
            cursor = connection.cursor()
        cursor.execute(f"USE {quote(self._catalog)}")
        prefer(cursor, enable_progress_bar="false")
        return cursor

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """Return this thread's own cursor, used by samplers and stores; temporary names are its own."""
        if self._closed or os.getpid() != self._pid:
            self._live()
        cursor: duckdb.DuckDBPyConnection | None = getattr(self._cursors, "cursor", None)
        if cursor is None:
            cursor = self._cursors.cursor = self.new_cursor()
            prefer(cursor, streaming_buffer_size=STREAMING_BUFFER)
            self._all_cursors.add(cursor)
        return cursor

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
                cursor.unregister(name)

    def arrow(
        self, query: str, params: Sequence[object] | Mapping[str, object] | None = None, /, **tables: pa.Table
    ) -> pa.Table:
        """Run one query on this thread's cursor and return the whole result; ``tables`` are joined by name."""
        with self.relations(**tables) as cursor, translated(self):
            return cursor.sql(query, params=params).to_arrow_table()

    # -- SQL -----------------------------------------------------------------------------------------

    def execute(self, query: str, params: Sequence[object] | Mapping[str, object] | None = None) -> Result:
        """Run a statement, or several between semicolons: DuckDB's own, or one of dbgnn's.

        The thread that opened the database uses its connection; any other thread has a cursor, and so transactions and
        temporary tables, of its own.

        Dbgnn's own are ``CREATE PROPERTY GRAPH``, ``DROP PROPERTY GRAPH``, and ``COPY … FROM`` npy files.

        Returns what DuckDB does, something to fetch from, but that fetching from a result which another statement has ended
        is an error. ``COPY`` answers with one row, the number of rows copied: ``db.execute("COPY …").fetchone()[0]``.
        """
        from dbgnn import ingest, schema  # noqa: PLC0415 - they know connections, not Database

        con = self.statements()
        self._session.end_result("another statement")
        with translated(self):
            if params is None and ";" in query.rstrip().removesuffix(";"):
                *first, query = split_statements(query) or [query]
                for part in first:
                    self.execute(part)
            if (statement := schema.parse_statement(query)) is not None:
                _need_no_params(params, "PROPERTY GRAPH")
                self._need_write("CREATE or DROP PROPERTY GRAPH")
                self.need_catalog(con)
                schema.run(con, statement)
                return Result(_answer(con, "SELECT true AS Success"), self._lend)
            if (copy := ingest.parse_copy(query)) is not None:
                _need_no_params(params, "COPY … FROM npy files")
                self._need_write("COPY … FROM")
                count = ingest.run_copy(con, copy, progress=self.settings.progress)
                return Result(_answer(con, f"SELECT {int(count)}::BIGINT AS Count"), self._lend)
            try:
                answer = ingest.run_duckdb(con, query, params, progress=self.settings.progress)
            except BaseException as error:
                self._session.failed()
                if isinstance(error, duckdb.ParserException) and (hint := _cypher(query)) is not None:
                    raise SqlError(f"{hint} DuckDB says: {error}") from error
                raise
            self._session.saw(query)
            found = Result(answer, self._lend)
            self._session.hands_out(found)
            return found

    def sql(self, query: str, params: Sequence[object] | Mapping[str, object] | None = None) -> duckdb.DuckDBPyRelation:
        """Run a query and return a DuckDB relation, as ``duckdb.sql`` does."""
        from dbgnn import ingest, schema  # noqa: PLC0415 - they know connections, not Database

        with translated(self):
            if schema.parse_statement(query) is not None or ingest.parse_copy(query) is not None:
                raise SqlError(f"This is a statement, not a query: run it with db.execute(): {query.strip()[:80]!r}")
            found = self.statements().sql(query, params=params)
            self._session.saw(query)
            return found

    # -- graphs --------------------------------------------------------------------------------------

    def graph(self, name: str | None = None) -> Graph:
        """Return a property graph of this database.

        Args:
            name: Its name; None: the only one declared, or else the one that the foreign keys give.

        Raises:
            UnknownNameError: No such graph.
            SchemaError: ``name`` is None and several are declared, or none is and there are no keys to infer one from.
        """
        from dbgnn import schema  # noqa: PLC0415
        from dbgnn.graph import Graph  # noqa: PLC0415

        with translated(self):
            db = self._home(name)
            begun = db.in_transaction()
            found = schema.load(db.idle_statements("db.graph()") if begun else db.cursor(), name)
            if begun and not _is_committed(db, found):
                raise ConnectionError(
                    f"Property graph {found.name!r} is not committed as the open transaction has it, and stores and loaders "
                    "read what is committed: COMMIT or ROLLBACK it first."
                )
            return Graph(db, found)

    def get_torch_geometric_remote_backend(
        self,
        graph: Graph | str | int | None = None,
        num_threads: int | None = None,
        *,
        columns: Mapping[Any, Sequence[str]] | None = None,
        homogeneous: bool = False,
    ) -> tuple[DuckDBFeatureStore, DuckDBGraphStore]:
        """Return ``(feature_store, graph_store)`` for PyG's loaders; the name is Kùzu's.

        Args:
            graph: A graph or its name; None as in :meth:`graph`. An empty database starts an empty graph,
                which ``put_tensor`` and ``put_edge_index`` fill. (An int is ``num_threads``, which Kùzu has first.)
            num_threads: DuckDB's threads from now on (as ``threads`` of :func:`connect`).
            columns: Per node or edge type, the columns a loader fetches; types not named fetch all theirs. A column whose
                name means something to PyG (``batch``, ``n_id`` …) is fetched where this names it as it is served, ``batch_``;
                that it would be fetched without is a :class:`SchemaError` that shows what to give.
            homogeneous: Serve a graph of one vertex and one edge table without type names, so that
                batches are ``Data`` instead of ``HeteroData``.
        """
        from dbgnn.stores import open_stores  # noqa: PLC0415 - torch is imported only where tensors are asked for

        if isinstance(graph, int):
            graph, num_threads = None, graph
        if num_threads is not None:
            with translated(self):
                require(self.cursor(), _AT_LEAST_ONE, threads=str(_threads(num_threads)))
        self.need_committed("A feature store")
        home = self._home(graph) if graph is None or isinstance(graph, str) else graph.db
        return open_stores(home, graph, columns=columns, homogeneous=homogeneous)

    # -- state ---------------------------------------------------------------------------------------

    @property
    def in_memory(self) -> bool:
        """Whether the database is in memory, and so in this process alone."""
        return self.settings.path.startswith(":memory:")

    def is_same(self, other: Database) -> bool:
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

    def _need_write(self, what: str) -> None:
        if self.read_only:
            raise ReadOnlyError(f"{what} has to write, but {self!s} is open read-only. Connect with read_only=False.")

    def need_catalog(self, con: duckdb.DuckDBPyConnection) -> None:
        """Raise :class:`SchemaError` if a connection uses another database now than the one that was opened."""
        (used,) = con.execute("SELECT current_database()").fetchall()[0]
        if used != self._catalog:
            raise SchemaError(
                f"The connection now uses database {used!r}, but graphs of {self!s} live in {self._catalog!r}: "
                f"run USE {quote(self._catalog)} first, or take the one in use: dbgnn.connect(db.connection)."
            )

    @keyboard_interrupts()
    def in_transaction(self) -> bool:
        """Whether this thread has begun a transaction."""
        from dbgnn import schema  # noqa: PLC0415 - it knows connections, not Database

        if threading.get_ident() != self._thread and getattr(self._cursors, "statements", None) is None:
            return False  # this thread has run no statement of the user's
        session, con = self._session, self.statements()
        if self._sees_all and session.begun is not None:
            return session.begun
        _end_what_is_read(con, "To ask whether a transaction is open")
        try:
            session.begun = schema.in_transaction(con)
        except duckdb.TransactionException:  # it was aborted, and is open until ROLLBACK
            session.begun = True
        return session.begun

    @property
    def _sees_all(self) -> bool:
        """Whether every statement on the user's connection goes through :meth:`execute` and :meth:`sql`."""
        return self._owns and not self._is_lent

    def need_no_transaction(self, what: str) -> None:
        """Raise :class:`ConnectionError` if this thread has begun a transaction, of which ``what`` would be no part."""
        self._need_same_catalog()
        if self.in_transaction():
            raise ConnectionError(f"{what} is a transaction of its own, and one is open: COMMIT or ROLLBACK it first.")

    def need_committed(self, what: str) -> None:
        """Raise :class:`ConnectionError` if this thread has begun a transaction, whose changes ``what`` would not see."""
        self._need_same_catalog()
        if not self.read_only and self.in_transaction():
            raise ConnectionError(
                f"{what} reads what is committed, and would not see what the open transaction changed: COMMIT or ROLLBACK it "
                "first."
            )

    @keyboard_interrupts()
    def idle_statements(self, what: str) -> duckdb.DuckDBPyConnection:
        """Return where the user's statements run, for one of ours.

        A result of `execute` that is being read there is ended: what is left of it can no longer be fetched, which is an error
        where it is tried.

        Raises:
            ConnectionError: A result was being read that was made on the connection itself; it is ended now.
        """
        con = self.statements()
        if not _is_being_read(con):
            return con
        # Of a result that nobody holds, such as that of execute(…).fetchone()[0], nothing is lost, unless it was made on the
        # connection itself, of whose results we do not know who holds them.
        if self._session.end_result(what) or self._sees_all:
            con.complete()
        _end_what_is_read(con, what)
        return con

    def _home(self, name: str | None) -> Database:
        """Return the database that has a graph: this one, or, after ``USE``, the one whose tables SQL sees.

        Raises:
            SchemaError: Both have one.
        """
        from dbgnn import schema  # noqa: PLC0415 - it knows connections, not Database

        con = self.statements()
        if _is_being_read(con):
            if self._sees_all and not self._session.has_used:
                return self
            _end_what_is_read(con, "To ask which database is in use")
        (used,) = con.execute("SELECT current_database()").fetchall()[0]
        self._need_same_catalog()
        if used == self._catalog or not schema.has_graph(con, name):
            return self
        if schema.has_graph(self.cursor(), name):
            raise SchemaError(
                f"The connection now uses database {used!r}, and both it and {self!s} have such a property graph. Run USE "
                f"{quote(self._catalog)} first for that of {self.settings.path!r}, or take the other: "
                "dbgnn.connect(db.connection)."
            )
        found = self._session.used.get(used)
        if found is None or found.closed:
            found = self._session.used[used] = connect(con, progress=self.settings.progress)
            found._session.has_attached = True
            self._others.add(found)
        return found

    @keyboard_interrupts()
    def _need_same_catalog(self) -> None:
        """Raise :class:`ConnectionError` if another file was attached under the name of this database."""
        if self.in_memory or (self._sees_all and not self._session.has_attached):
            return
        query = "SELECT path FROM duckdb_databases() WHERE database_name = ?"
        found = self.cursor().execute(query, [self._catalog]).fetchall()
        if found != [(self.settings.path,)]:
            now = f"is that of {found[0][0]!r}" if found else "is detached"
            raise ConnectionError(
                f"{self!s} was attached as {self._catalog!r}, and that name {now} by now. ATTACH the file again under that "
                "name, or connect again."
            )

    def need_same_file(self) -> None:
        """Raise :class:`ConnectionError` if the path of this database now names another file than the one that is open."""
        if self._file is not None and identity_of(self.settings.path) != self._file:
            raise ConnectionError(
                f"The file of {self!s} was replaced or deleted while it was open: what is read and written through this "
                "connection is the file of before, to which no path leads. Close it, and connect again."
            )

    def _open_identity(self) -> Identity | None:
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
        found = []
        for suffix in ("", ".wal", ".wal.checkpoint", ".wal.recovery"):
            try:
                stat = os.stat(self.settings.path + suffix)
                found.append((stat.st_size, stat.st_mtime_ns))
            except FileNotFoundError:
                found.append((-1, -1))
        return tuple(found)

    def close(self) -> None:
        """Close every cursor and, unless the connection was handed in, the connection. Closing twice is fine."""
        if self._closed or os.getpid() != self._pid:
            return
        self._closed = True
        for other in list(self._others):
            other.close()
        open_ = [*self._all_cursors, *([self._connection] if self._owns else [])]
        for attempt in range(_CLOSE_ATTEMPTS):
            open_ = [c for c in open_ if not _closed(c)]
            if not open_:
                return
            time.sleep(0.01 * attempt)  # a thread is in the middle of a query, which was interrupted and is about to end
        raise ConnectionError(f"{self!s} cannot be closed: another thread still uses it. End that thread first.")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        if self.in_memory:
            raise ConnectionError("A database in memory cannot be sent to another process. Use a file, opened read-only.")
        return _reopen, (self.settings, self.built_in_memory)

    def __str__(self) -> str:
        return f"database {self.settings.path!r}"

    def __repr__(self) -> str:
        s = self.settings
        parts = [repr(s.path), "read-only" if s.read_only else "read-write"]
        parts += [f"{k}={v}" for k, v in (("memory_limit", s.memory_limit), ("threads", s.threads)) if v is not None]
        if self._closed:
            parts.append("closed")
        return f"dbgnn.Database({', '.join(parts)})"


#: Every database of this process, also one that only waits for the garbage collector.
_databases: weakref.WeakSet[Database] = weakref.WeakSet()


def _keep_inherited() -> None:
    """Let no connection of the parent be closed in a forked child: closing waits for threads that exist in the parent only.

    The garbage collector would, of a database that the parent has dropped; so would the end of the interpreter.
    """
    for database in list(_databases):
        for connection in (database._connection, *database._all_cursors):
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(connection))
        database.build_lock, database._lock = threading.RLock(), threading.Lock()  # a thread of the parent may hold them


os.register_at_fork(after_in_child=_keep_inherited)

#: Databases opened by unpickling, one per file and process: a loader's stores and sampler share theirs.
_reopened: weakref.WeakValueDictionary[Settings, Database] = weakref.WeakValueDictionary()


def _reopen(settings: Settings, built_in_memory: Mapping[str, str | None]) -> Database:
    database = _reopened.get(settings)
    if database is None or database._closed or database._pid != os.getpid():
        database = _reopened[settings] = Database(settings)
    database.built_in_memory.update(built_in_memory)
    return database


#: What is registered to see whether a connection is being read.
_PROBE = "dbgnn_probe"


def _is_being_read(con: duckdb.DuckDBPyConnection) -> bool:
    """Whether a result of ``execute()`` is still being fetched from a connection, which any further statement would end."""
    try:
        con.register(_PROBE, pa.table({"none": pa.array([], pa.int8())}))
    except duckdb.ResourceInUseException:
        return True
    except duckdb.Error:  # such as that of a transaction that failed
        return False
    con.unregister(_PROBE)
    return False


def _end_what_is_read(con: duckdb.DuckDBPyConnection, what: str) -> None:
    """Free a connection from a result that was read to its end, as one row is by ``fetchone()``; DuckDB waits for more calls.

    Raises:
        ConnectionError: Rows are left, or a reader of them; who reads them on would miss some.
    """
    if not _is_being_read(con):
        return
    try:
        left = bool(con.fetchmany(1))
        con.complete()
    except (duckdb.Error, ImportError):  # a reader of Arrow; or a value that Python needs a package for
        left = True
    if left or _is_being_read(con):
        raise ConnectionError(
            f"{what} runs on the connection of db.execute(), where a result was being read, and has ended it. Fetch it whole "
            "first, with fetchall(), or read it from a cursor of its own: db.connection.cursor().execute(…)."
        )


def _is_committed(db: Database, graph: PropertyGraph) -> bool:
    """Whether another connection finds the same graph."""
    from dbgnn import schema  # noqa: PLC0415 - it knows connections, not Database

    try:
        return schema.load(db.cursor(), graph.name) == graph
    except SchemaError:
        return False


def _need_no_params(params: object, what: str) -> None:
    if params:
        raise SqlError(f"{what} takes no bound values; write names and files into the statement.")


def _cypher(query: str) -> str | None:
    """Return what to write instead of a statement of Kùzu's Cypher; None if it is none."""
    words = [word.upper() for word in query.split(None, 3)[:3]]
    if words[:1] == ["MATCH"]:
        return "dbgnn speaks SQL, not Cypher: SELECT … FROM the node or edge table."
    if len(words) == 3 and words[::2] == ["CREATE", "TABLE"] and words[1] in {"NODE", "REL"}:
        return "dbgnn speaks SQL, not Cypher: CREATE TABLE, then CREATE PROPERTY GRAPH once over the tables."
    return None


def _closed(con: duckdb.DuckDBPyConnection) -> bool:
    """Interrupt and close a connection; return whether it is closed."""
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


def _answer(con: duckdb.DuckDBPyConnection, query: str) -> duckdb.DuckDBPyConnection:
    """Return the result of a constant query, to be fetched from a cursor, so that the connection is not kept busy with it."""
    return con.cursor().execute(query)


def _open_file(settings: Settings) -> duckdb.DuckDBPyConnection:
    in_memory = settings.path.startswith(":memory:")
    if settings.read_only and not in_memory and not os.path.exists(settings.path):
        raise ConnectionError(f"{settings.path!r} does not exist; a read-only connection does not create it.")
    if is_forked() and in_memory and settings.path != ":memory:":
        raise ConnectionError(
            f"{settings.path!r} may be a database of the process that this one was forked from, which it cannot share. Use "
            "':memory:' here."
        )
    _need_one_path(settings.path)
    try:
        if is_forked() and not in_memory:
            connection = _attach(settings)
        else:
            connection = duckdb.connect(settings.path, read_only=settings.read_only, config=without_lock(dict(settings.config)))
        query = "SELECT path FROM duckdb_databases() WHERE database_name = current_database()"
        if in_memory or connection.execute(query).fetchall()[0][0] is not None:
            return connection
        connection.close()  # DuckDB opens a CSV or Parquet file as views in memory, and what is written goes nowhere
    except duckdb.Error as error:
        raise _connection_error(settings.path, error) from error
    raise ConnectionError(
        f"{settings.path!r} is not a DuckDB database file. Connect to one, or to ':memory:', and read this file by its path: "
        f"SELECT * FROM {literal(settings.path)}."
    )


def _need_one_path(path: str) -> None:
    """Raise if this process has the file open under another path: DuckDB would write to it twice, each time as if alone."""
    identity = identity_of(path)
    if identity is not None and (others := (paths_open(identity) or set()) - {path}):
        raise ConnectionError(
            f"{path!r} is a hard link to a file that this process has open as {min(others)!r}. Connect by that path, or close "
            "every connection to it first."
        )


def _attach(settings: Settings) -> duckdb.DuckDBPyConnection:
    """Open the file in a forked child, in an instance of its own.

    ``duckdb.connect(path)`` would find the parent's instance in DuckDB's cache, with threads that did
    not survive the fork; an unnamed instance with the file attached shares nothing with it.
    """
    connection = duckdb.connect(":memory:", config=without_lock(dict(settings.config)))
    attach = f"ATTACH {literal(settings.path)}"
    mode = " (READ_ONLY)" if settings.read_only else ""
    try:
        connection.execute(attach + mode)
    except duckdb.BinderException:  # a file called memory.duckdb: the name is taken
        connection.execute(f"{attach} AS dbgnn_file{mode}")
    query = "SELECT database_name FROM duckdb_databases() WHERE NOT internal ORDER BY database_name = 'memory' ASC LIMIT 1"
    connection.execute(f"USE {quote(connection.execute(query).fetchall()[0][0])}")
    return connection


def _bytes(memory_limit: str | SupportsIndex | None) -> str | None:
    """Return a memory limit as DuckDB takes it; a bare number means bytes to us and nothing to DuckDB."""
    if memory_limit is None or isinstance(memory_limit, str):
        return memory_limit
    if isinstance(memory_limit, bool) or not hasattr(memory_limit, "__index__"):
        raise ResourceError(f"memory_limit={memory_limit!r} must be an int of bytes or text {_LIMITS}.")
    return f"{operator.index(memory_limit)}B"


def _threads(threads: SupportsIndex | None) -> int | None:
    """Return a number of threads as an int; DuckDB would round 2.5 to 3."""
    if threads is None:
        return None
    if isinstance(threads, bool) or not hasattr(threads, "__index__"):
        raise ResourceError(f"threads={threads!r} must be an int of at least 1.")
    return operator.index(threads)


def _apply(connection: duckdb.DuckDBPyConnection, settings: Settings, *, owned: bool) -> None:
    """Set what `connect()` was asked for, on a connection of our own with what our methods need, and last the lock."""
    if settings.memory_limit is not None:
        require(connection, f". Write text {_LIMITS}, or bytes as an int.", memory_limit=settings.memory_limit)
    if settings.threads is not None:
        require(connection, _AT_LEAST_ONE, threads=str(settings.threads))
    if settings.temp_directory is not None:
        require(connection, "", temp_directory=settings.temp_directory)
    if owned:
        given = {name.lower() for name, _ in settings.config}
        # Our methods stand between the user and DuckDB, which by itself looks for data frames one frame up only.
        if "python_scan_all_frames" not in given:
            prefer(connection, python_scan_all_frames="true")
        if (
            settings.progress and "enable_progress_bar" not in given
        ):  # DuckDB counts, COPY shows it. Shown by DuckDB itself, it would be there twice.
            prefer(connection, enable_progress_bar_print="false", enable_progress_bar="true")
        lock_last(connection, dict(settings.config))
    else:
        require(connection, "", **{name: str(value) for name, value in without_lock(dict(settings.config)).items()})
        lock_last(connection, dict(settings.config))


def _connection_error(path: str, error: duckdb.Error) -> ConnectionError:
    text = str(error)
    if "not a valid DuckDB database" in text or "in-memory database in read-only mode" in text:
        return ConnectionError(f"{path!r} is not a DuckDB database file.")
    if isinstance(error, duckdb.ResourceInUseException) or "Unique file handle conflict" in text:
        return ConnectionError(
            f"{path!r} is open in the process that this one was forked from. DuckDB connections do not survive a fork, and a "
            "file open for writing cannot be opened a second time: close it before the fork, or open it with "
            "dbgnn.connect(path, read_only=True) in both."
        )
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
    return ConnectionError(f"{path!r} cannot be opened: {text}")


#: How DuckDB names an extension that it has not got.
_NO_EXTENSION = re.compile(r"(\w+)\.duckdb_extension|exists in the (\w+) extension")


@contextmanager
def _extensions_named() -> Iterator[None]:
    """Say what to do where a statement needs an extension, such as ``ATTACH … (TYPE sqlite)``, that cannot be had."""
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
def translated(database: Database) -> Iterator[None]:
    """Turn DuckDB's errors about resources into ours, with the setting to change; others pass through.

    What the block did counts only if the database's path still names the file that is open.
    """
    database.need_same_file()
    try:
        with _extensions_named(), keyboard_interrupts():
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
        raise
    except duckdb.ConnectionException as error:
        raise ConnectionError(f"{database!s}: the DuckDB connection is closed or in use elsewhere: {error}") from error
    except duckdb.InterruptException as error:
        if database.closed:
            raise ConnectionError(f"{database!s} was closed while it was in use.") from error
        raise
    except duckdb.InvalidInputException as error:
        if "read-only" in str(error):
            raise ReadOnlyError(
                f"{database!s} is open read-only. Connect with read_only=False. DuckDB says: {error}"
            ) from error
        raise
