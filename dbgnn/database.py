"""`connect()` and `Database`: statements, graphs, and what a statement of the user's means for ours.

What statements of our own mean lives in `schema/` (property graphs) and `ingest/` (COPY); this file only
sends each statement to where it belongs. What the parts below know of a database stands in `open_database.py`.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, SupportsIndex

import duckdb

from dbgnn import ingest, schema
from dbgnn.configuration import AT_LEAST_ONE, DatabaseSettings, bytes_of, check_untrusted, require, threads_of
from dbgnn.errors import ConnectionError, ReadOnlyError, ResourceError, SqlError
from dbgnn.graph import Graph
from dbgnn.masking import hidden_in_errors
from dbgnn.open_database import OpenDatabase
from dbgnn.opening import opened_as
from dbgnn.result import Result, answer_of, is_being_read
from dbgnn.session import calls_nothing
from dbgnn.sql import split_statements
from dbgnn.translated import translated

if TYPE_CHECKING:
    from dbgnn.stores import DuckDBFeatureStore, DuckDBGraphStore


def connect(
    database: str | os.PathLike[str] | duckdb.DuckDBPyConnection = ":memory:",
    *,
    read_only: bool | None = None,
    memory_limit: str | SupportsIndex | None = None,
    threads: int | None = None,
    temp_directory: str | os.PathLike[str] | None = None,
    progress: bool = True,
    trusted: bool = False,
    untrusted: bool = False,
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
        trusted: The file is your own: macros of its that have the name of a function of DuckDB's are let be where no SQL of
            dbgnn calls that function.
        untrusted: The file is a stranger's: open it read-only, and so that nothing in it acts: no file but its own is read or
            written, no extension is loaded, and the configuration is locked. See docs/untrusted.md.
        config: Further DuckDB settings by name.

    Raises:
        ConnectionError: The file is no database, is locked by another process, is missing though
            ``read_only`` was asked, or is open with other settings in this process.
        ResourceError: A setting has a value DuckDB does not take, or contradicts another.
    """
    if untrusted:
        if isinstance(database, duckdb.DuckDBPyConnection) or os.fsdecode(database).startswith(":memory:"):
            raise ResourceError("untrusted=True opens a file: give its path. A connection has opened its file already.")
        check_untrusted(config or {}, read_only=read_only, trusted=trusted)
    read_only = untrusted or bool(read_only)
    own = database if isinstance(database, duckdb.DuckDBPyConnection) else None
    if own is not None:
        path, readonly = opened_as(own)
        if read_only and not readonly:
            raise ConnectionError(
                f"The DuckDB connection to {path!r} is open for writing, which read_only=True cannot change. Leave it out, or "
                "open the file read-only: dbgnn.connect(path, read_only=True)."
            )
        read_only = readonly
    else:
        path = os.fsdecode(database)  # type: ignore[arg-type]
        if "\0" in path:
            raise ConnectionError(f"{path!r} holds a NUL character; the path of a file cannot.")
        # DuckDB follows links too; its log then lies beside the file itself.
        path = path if path.startswith(":memory:") else os.path.realpath(Path(path).expanduser())
    settings = DatabaseSettings(
        path=path,
        read_only=read_only,
        memory_limit=bytes_of(memory_limit),
        threads=threads_of(threads),
        temp_directory=None if temp_directory is None else str(Path(temp_directory).expanduser().absolute()),
        progress=progress,
        trusted=trusted,
        untrusted=untrusted,
        config=tuple(sorted((config or {}).items())),
    )
    return Database(settings, connection=own)


class Database(OpenDatabase):
    """A DuckDB database that holds graphs. Made by :func:`connect`; a context manager.

    Every thread gets its own cursor and every process its own connection, so one `Database` may be
    used from many threads, and from the workers of a loader when it is read-only.
    """

    _internal = frozenset(
        "around arrow build_lock built_in_memory cursor home_of idle_statements in_transaction is_same judge need_catalog "
        "need_committed need_no_transaction need_same_file new_cursor relations snapshot stamp statements which_graph".split()
    )

    # -- SQL -----------------------------------------------------------------------------------------

    def execute(self, query: str, params: Sequence[object] | Mapping[str, object] | None = None) -> Result:
        """Run a statement, or several between semicolons: DuckDB's own, or one of dbgnn's.

        The thread that opened the database uses its connection; any other thread has a cursor, and so transactions and
        temporary tables, of its own.

        Dbgnn's own are ``CREATE PROPERTY GRAPH``, ``DROP PROPERTY GRAPH``, and ``COPY … FROM`` npy files.

        Returns what DuckDB does, something to fetch from, but that fetching from a result which another statement has ended
        is an error. ``COPY`` answers with one row, the number of rows copied: ``db.execute("COPY …").fetchone()[0]``.
        """
        con = self.statements()
        self._session.end_result("another statement")
        with hidden_in_errors(query, params), translated(self):
            if params is None and ";" in query.rstrip().removesuffix(";"):
                *first, query = split_statements(query) or [query]
                for part in first:
                    self.execute(part)
            if not calls_nothing(query):
                self.judge(con, theirs=True)
            if (statement := schema.parse_statement(query)) is not None:
                _need_no_params(params, "PROPERTY GRAPH")
                self._need_write("CREATE or DROP PROPERTY GRAPH")
                self.need_catalog(con)
                schema.run(con, statement)
                return Result(answer_of(con, "SELECT true AS Success"), self._lend)
            if (copy := ingest.parse_copy(query)) is not None:
                _need_no_params(params, "COPY … FROM npy files")
                self._need_write("COPY … FROM")
                count = ingest.run_copy(con, copy, progress=self.settings.progress)
                return Result(answer_of(con, f"SELECT {int(count)}::BIGINT AS Count"), self._lend)
            before = self._state()
            try:
                answer = ingest.run_duckdb(con, query, params, progress=self.settings.progress)
            except BaseException as error:
                self._session.failed()
                if isinstance(error, duckdb.ParserException) and (hint := _cypher(query)) is not None:
                    raise SqlError(f"{hint} DuckDB says: {error}") from error
                raise
            self._saw(query, before)
            found = Result(answer, self._lend)
            self._session.hands_out(found)
            return found

    def sql(self, query: str, params: Sequence[object] | Mapping[str, object] | None = None) -> duckdb.DuckDBPyRelation:
        """Run a query and return a DuckDB relation, as ``duckdb.sql`` does."""
        with hidden_in_errors(query, params), translated(self):
            if schema.parse_statement(query) is not None or ingest.parse_copy(query) is not None:
                raise SqlError(f"This is a statement, not a query: run it with db.execute(): {query.strip()[:80]!r}")
            con = self.statements()
            if is_being_read(con):
                self._need_own_names()  # by a cursor of ours, since a statement on this connection would end what is read
            else:
                self.judge(con, theirs=True)
            before = self._state()
            found = con.sql(query, params=params)
            self._saw(query, before)
            return found

    def _saw(self, query: str, before: object) -> None:
        """Note a statement that was run, and in which state of the definitions and the file it began."""
        if self._session.may_have_defined(query, all_seen=self._sees_all):
            self._definitions += 1
        else:  # what it committed is no macro: what had been looked at is known as it is now
            now, session = self._state(), self._session
            self._judged = now if self._judged == before else self._judged
            session.judged_at = now if session.judged_at == before else session.judged_at
        self._session.saw(query)

    # -- graphs --------------------------------------------------------------------------------------

    def graph(self, name: str | None = None) -> Graph:
        """Return a property graph of this database.

        Args:
            name: Its name; None: the only one declared, or else the one that the foreign keys give.

        Raises:
            UnknownNameError: No such graph.
            SchemaError: ``name`` is None and several are declared, or none is and there are no keys to infer one from.
        """
        return Graph(*self.which_graph(name))

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
            columns: Per node or edge type, the columns a loader fetches; types not named fetch all theirs. ``"emb.vec"`` is the
                column ``vec`` of table ``emb``, which has the key of the node type. A column whose
                name means something to PyG (``batch``, ``n_id`` …) is fetched where this names it as it is served, ``batch_``;
                that it would be fetched without is a :class:`SchemaError` that shows what to give.
            homogeneous: Serve a graph of one vertex and one edge table without type names, so that
                batches are ``Data`` instead of ``HeteroData``.
        """
        from dbgnn.stores import definition_to_serve, open_stores  # noqa: PLC0415 - torch is imported only where tensors are asked for

        if isinstance(graph, int):
            graph, num_threads = None, graph
        if num_threads is not None:
            with translated(self):
                require(self.cursor(), AT_LEAST_ONE, threads=str(threads_of(num_threads)))
        self.need_committed("A feature store")
        if graph is None or isinstance(graph, str):
            home = self.home_of(graph)
            graph = Graph(home, definition_to_serve(home, graph))
        return open_stores(graph, columns=columns, homogeneous=homogeneous)

    def _need_write(self, what: str) -> None:
        if self.read_only:
            raise ReadOnlyError(f"{what} has to write, but {self!s} is {self.settings.why_read_only}")

    def __reduce__(self) -> tuple[Any, ...]:
        if self.in_memory:
            raise ConnectionError("A database in memory cannot be sent to another process. Use a file, opened read-only.")
        if secret := self.settings.secret:
            raise ConnectionError(
                f"{self!s} cannot be sent to another process: {secret}, which would be written down as it is. Create a "
                "PERSISTENT SECRET, which every process of yours reads, or use num_workers=0."
            )
        return _reopen, (self.settings, self.built_in_memory)


#: Databases opened by unpickling, one per file and process: a loader's stores and sampler share theirs.
_reopened: weakref.WeakValueDictionary[DatabaseSettings, Database] = weakref.WeakValueDictionary()


def _reopen(settings: DatabaseSettings, built_in_memory: Mapping[str, str | None]) -> Database:
    database = _reopened.get(settings)
    if database is None or database._closed or database._pid != os.getpid():
        database = _reopened[settings] = Database(settings)
    database.built_in_memory.update(built_in_memory)
    return database


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
