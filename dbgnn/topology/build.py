"""Building the index: ids, maps and adjacency lists, in bounded memory, part by part, each in one transaction.

Edges are resolved to ids and sorted by DuckDB (which spills), streamed out as Arrow, cut into lists at the
destinations (`cut.py`), and inserted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np
import pyarrow as pa

from dbgnn.errors import DataError, DbgnnError
from dbgnn.progress import Bar
from dbgnn.schema import PropertyGraph
from dbgnn.schema.keys import check_key_types, compared
from dbgnn.schema.model import EdgeTable, VertexTable, shown_type
from dbgnn.sql import quote
from dbgnn.topology.contents import adjacency_contents, damage, map_contents
from dbgnn.topology.cut import cut_into_lists
from dbgnn.topology.faults import Resolved, check_keys, dangling
from dbgnn.topology.home import home_to_write, is_in_memory, table_in
from dbgnn.topology.index import VertexIndex
from dbgnn.topology.resolved import MISSING, ends_of, is_dense, resolved_query, unexplained
from dbgnn.topology.state import vertex_index
from dbgnn.topology.stored import (
    REGISTRY,
    PartState,
    StoredPart,
    create_registry,
    is_index_table,
    relations,
    stored_parts,
)
from dbgnn.topology.table_state import ENGINE, end_keys, part_name, table_states

if TYPE_CHECKING:
    from dbgnn.open_database import OpenDatabase

#: Numbers of index tables that no build has come to; a table that has one anyway does not say how to number on.
_LARGE = 10**12

#: Edges per chunk of the sorted stream; 24 bytes each while being cut into lists.
CHUNK = 1 << 20


def build(
    db: OpenDatabase,
    graph: PropertyGraph,
    *,
    dangling: str | None = None,
    progress: bool = True,
    force: bool = False,
    memory_only: bool = False,
) -> None:
    """Build, or bring up to date, the topology index of ``graph``.

    Only the parts whose tables changed are built. Each part is put in force by one transaction: a kill at any
    moment leaves it as it was or as it should be.

    Args:
        db: The database. Where it is open read-only, what is missing in the file is kept in memory.
        graph: The definition.
        dangling: ``"error"``, or ``"drop"``: leave out, and count, edges with an endpoint that does not exist. None: as
            the last time the edges were indexed, at first ``"error"``.
        progress: Show a progress bar on what takes more than two seconds.
        force: Build every part again.
        memory_only: Build also what the file has, since it is not believed.

    Raises:
        DataError: NULL or duplicate keys, or dangling edges; with their number and the first ones.
    """
    if dangling not in ("error", "drop", None):
        raise DbgnnError(f"dangling must be 'error' or 'drop', not {dangling!r}")
    reader, writer = db.new_cursor(), db.new_cursor()
    try:
        if not db.read_only:
            _settle(writer)
        home = home_to_write(writer, read_only=db.read_only)
        create_registry(writer, home)
        _Build(reader, writer, home, graph, dangling, progress, force, memory_only).run()
    finally:
        reader.close()
        writer.close()


def _settle(con: duckdb.DuckDBPyConnection) -> None:
    """Checkpoint first: it may drop the gaps that deletes left, and rowids with them."""
    try:
        con.execute("CHECKPOINT")
    except (duckdb.TransactionException, duckdb.InvalidInputException):
        return  # someone is in a transaction; should a later checkpoint move rows, the index says it is stale


class _Build:
    """One run of `build`: what is there, what is wanted and where; streams go out of one cursor, inserts into another."""

    def __init__(
        self,
        reader: duckdb.DuckDBPyConnection,
        writer: duckdb.DuckDBPyConnection,
        home: str,
        graph: PropertyGraph,
        dangling: str | None,
        progress: bool,  # noqa: FBT001 - private
        force: bool,  # noqa: FBT001 - private
        memory_only: bool,  # noqa: FBT001 - private
    ) -> None:
        self.reader, self.writer, self.home, self.graph = reader, writer, home, graph
        self.dangling, self.progress = dangling, progress
        self.states = table_states(reader, graph)
        check_key_types(reader, graph)  # ALTER may have changed them since the declaration
        self.memory_only = memory_only
        self.before = self._stored()
        self.stored = {} if force else self._undamaged()

    def run(self) -> None:
        for vertex in self.graph.vertices:
            state = PartState(self.states[part_name(vertex)])
            if not self._is_up_to_date(vertex, state):
                self._vertex(vertex, state)
        indexed = {v.label: self._vertex_index(v) for v in self.graph.vertices}
        due = [edge for edge in map(self._to_build, self.graph.edges) if edge is not None]
        resolved = [self._resolved(edge, indexed) for edge, _ in due]
        missing = [r for r, (_, state) in zip(resolved, due, strict=True) if r.dropped and state.dangling == "error"]
        self._check_ends([r for r in (unexplained(self.reader, each) for each in missing) if r.dropped])
        for (edge, state), found in zip(due, resolved, strict=True):
            self._edge(edge, state, found, indexed[edge.source], indexed[edge.destination])
        self._forget_others()

    def _undamaged(self) -> dict[str, StoredPart]:
        """Return the stored parts whose index tables hold what was built."""
        parts: list[VertexTable | EdgeTable] = [*self.graph.vertices, *self.graph.edges]
        # What is out of date is built again whatever it holds, and its checksum may be one of another version of DuckDB.
        kept = [(p.rows, self.before[name]) for p in parts if (name := part_name(p)) in self.before]
        kept = [(table, part) for table, part in kept if part.state.own.engine == ENGINE]
        bad = damage(self.reader, kept)
        return {name: part for name, part in self.before.items() if not any(table in bad for table in part.tables)}

    def _check_ends(self, missing: Sequence[Resolved]) -> None:
        """Raise if edges miss an end: one error for all types. Types of the same rows and columns count as one."""
        rows: dict[object, list[Resolved]] = {}
        for found in missing:
            ends = frozenset((end.vertex.label, end.columns) for end in found.ends)
            rows.setdefault((found.edge.table, ends), []).append(found)
        if told := [dangling(self.reader, group[0], [r.edge.edge_type for r in group]) for group in rows.values()]:
            raise DataError(
                f"{'. '.join(told)}. Add the nodes, delete the edges, or leave them out with graph.build(dangling='drop')."
            )

    def _to_build(self, edge: EdgeTable) -> tuple[EdgeTable, PartState] | None:
        before = self.before.get(part_name(edge))
        dangling = self.dangling or (before.state.dangling if before else "error")
        state = PartState(self.states[part_name(edge)], end_keys(self.graph, edge, self.states), dangling)
        return None if self._is_up_to_date(edge, state) else (edge, state)

    def _is_up_to_date(self, part: VertexTable | EdgeTable, state: PartState) -> bool:
        found = self.stored.get(part_name(part))
        if found is None or found.state.own != state.own or found.state.ends != state.ends:
            return False
        return found.state.dangling == state.dangling or found.dropped == 0

    # -- vertices --------------------------------------------------------------------------------------

    def _vertex(self, vertex: VertexTable, state: PartState) -> None:
        table, types = vertex.rows, [kind for _, kind in state.own.columns]
        keys = ", ".join(f"{compared(quote(k), kind)} ASC NULLS LAST" for k, kind in zip(vertex.key, types, strict=True))
        check_keys(self.reader, vertex, types)
        count = state.own.count
        dense = is_dense(self.reader, vertex, count)
        identity = f"SELECT coalesce(bool_and({quote(vertex.key[0])} = rowid), true) FROM {table}"
        in_order = dense and bool(_one(self.reader, identity))
        ordered = f"SELECT rowid FROM {table} ORDER BY {keys}"
        if not in_order and not dense:
            in_order = all(np.array_equal(a, np.arange(s, s + len(a))) for s, a in _numbered(self._stream(ordered)))
        with _transaction(self.writer):
            name = None if in_order else self._map(part_name(vertex), ordered, count)
            self._register(vertex, StoredPart(state, count, dense, 0, name, None, self.home))

    def _vertex_index(self, vertex: VertexTable) -> VertexIndex:
        return vertex_index(vertex, self._stored()[part_name(vertex)])

    def _stored(self) -> dict[str, StoredPart]:
        return stored_parts(self.reader, self.graph.name, memory_only=self.memory_only).parts

    def _map(self, what: str, ordered: str, count: int) -> str:
        """Write the table ``(id, rid)``: the rowids that the query ``ordered`` gives, numbered."""
        name = self._new_table("map", "id BIGINT, rid BIGINT")
        with self._bar(f"ids of {what}", count) as bar:
            for start, rids in _numbered(self._stream(ordered)):
                part = pa.table({"id": np.arange(start, start + len(rids)), "rid": rids})
                self._insert(name, part)
                bar.update(len(rids))
        return name

    # -- edges -----------------------------------------------------------------------------------------

    def _resolved(self, edge: EdgeTable, indexed: Mapping[str, VertexIndex]) -> Resolved:
        """Find the ends of all edges of a type, and count those that miss one."""
        ends = ends_of(self.graph, edge, self.states)
        query = resolved_query(edge, ends, indexed, self.graph.optional_columns(edge))
        missing = f"SELECT count(*), count(*) FILTER (WHERE {MISSING}) FROM ({query})"
        total, dropped = self.reader.execute(missing).fetchall()[0]
        return Resolved(edge, ends, query, total, dropped)

    def _edge(self, edge: EdgeTable, state: PartState, found: Resolved, src: VertexIndex, dst: VertexIndex) -> None:
        resolved, total, dropped = found.query, found.total, found.dropped
        count = total - dropped
        last = _one(self.reader, f"SELECT coalesce(max(rowid), -1) FROM {edge.rows}")
        kept = f"SELECT * FROM ({resolved}) WHERE NOT ({MISSING})" if dropped else resolved
        with _transaction(self.writer):
            eid, source, name = "rid", kept, None
            if last != count - 1:
                name = self._map(part_name(edge), f"SELECT rid FROM ({kept}) ORDER BY rid ASC", count)
                self.writer.commit()  # the reader has to see it; without its row in the registry it means nothing yet
                self.writer.begin()
                eid, source = "m.id", f"({kept}) AS k JOIN {self._own(name)} AS m ON m.rid = k.rid"
            else:
                source = f"({kept}) AS k"
            node, edge_id = _int_type(max(src.num_nodes, dst.num_nodes)), _int_type(count)
            ordered = (
                f"SELECT dst::{node} AS dst, src::{node} AS nbrs, ({eid})::{edge_id} AS eids FROM {source} "
                "ORDER BY 1 ASC, 2 ASC, 3 ASC"
            )
            adjacency = self._new_table("adj", f"dst {node}, nbrs {node}[], eids {edge_id}[]")
            with self._bar(f"edges of {shown_type(edge.edge_type)}", count) as bar:
                for lists, edges in cut_into_lists(self._stream_batches(ordered)):
                    self._insert(adjacency, lists)
                    bar.update(edges)
            self._register(
                edge,
                StoredPart(state, count, dense=False, dropped=dropped, map_table=name, adjacency=adjacency, home=self.home),
            )

    def _own(self, name: str) -> str:
        return table_in(self.home, name)

    # -- writing ---------------------------------------------------------------------------------------

    def _new_table(self, kind: str, columns: str) -> str:
        there = relations(self.writer, self.home)
        taken = (int(name.partition("_")[2]) for name in there if is_index_table(name))
        number = max((n for n in taken if n < _LARGE), default=0) + 1
        while (name := f"{kind}_{number}") in there:
            number += 1
        self.writer.execute(f"CREATE TABLE {self._own(name)} ({columns})")
        return name

    def _insert(self, name: str, part: pa.Table) -> None:
        self.writer.register("dbgnn_part", part)
        self.writer.execute(f"INSERT INTO {self._own(name)} FROM dbgnn_part")
        self.writer.unregister("dbgnn_part")

    def _register(self, part: VertexTable | EdgeTable, made: StoredPart) -> None:
        name, registry = part_name(part), self._own(REGISTRY)
        of_map = made.map_table and map_contents(self.writer, self._own(made.map_table)).checksum
        of_lists = made.adjacency and adjacency_contents(self.writer, self._own(made.adjacency)).checksum
        state = replace(made.state, map=of_map or "", adjacency=of_lists or "")
        made = replace(made, state=state).sealed(self.graph.name, name)
        self.writer.execute(f"DELETE FROM {registry} WHERE graph = ? AND part = ?", [self.graph.name, name])
        self.writer.execute(
            f"INSERT INTO {registry} VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            [self.graph.name, name, made.state.dump(), made.num_rows, made.dense, made.dropped, made.map_table, made.adjacency],
        )

    def _forget_others(self) -> None:
        """Drop parts that the definition no longer has, and tables that no part uses (left by a kill or a rebuild)."""
        parts: list[VertexTable | EdgeTable] = [*self.graph.vertices, *self.graph.edges]
        names = [part_name(p) for p in parts]
        wanted = pa.table({"part": pa.array(names, pa.string())})
        registry = self._own(REGISTRY)
        with _transaction(self.writer):
            self.writer.register("dbgnn_wanted", wanted)
            self.writer.execute(
                f"DELETE FROM {registry} WHERE graph = ? AND part NOT IN (SELECT part FROM dbgnn_wanted)",
                [self.graph.name],
            )
            self.writer.unregister("dbgnn_wanted")
            if is_in_memory(self.reader, self.home):
                return  # other objects may use them still, and no stamp of a file tells them what became of them
            rows = self.writer.execute(
                f"SELECT map_table FROM {registry} UNION ALL SELECT adjacency FROM {registry}"
            ).fetchall()
            used = {name for (name,) in rows}
            for name, kind in relations(self.writer, self.home).items():
                if is_index_table(name) and (kind == "VIEW" or name not in used):
                    self.writer.execute(f"DROP {kind} {self._own(name)}")

    # -- reading ---------------------------------------------------------------------------------------

    def _stream_batches(self, query: str) -> Iterator[pa.RecordBatch]:
        yield from self.reader.sql(query).to_arrow_reader(CHUNK)

    def _stream(self, query: str) -> Iterator[np.ndarray]:
        for batch in self._stream_batches(query):
            yield batch.column(0).to_numpy()

    def _bar(self, what: str, total: int) -> Bar:
        return Bar(total=total, desc=what, unit=" rows", unit_scale=True, disable=not self.progress)


def _numbered(chunks: Iterator[np.ndarray]) -> Iterator[tuple[int, np.ndarray]]:
    start = 0
    for chunk in chunks:
        yield start, chunk
        start += len(chunk)


def _int_type(limit: int) -> str:
    return "INTEGER" if limit < 2**31 else "BIGINT"


def _one(con: duckdb.DuckDBPyConnection, query: str) -> Any:
    return con.execute(query).fetchall()[0][0]  # fetchone() would leave the result, and so the connection, open


class _transaction:  # noqa: N801 - a context manager, read as one
    """Commit at the end, roll back on any exception."""

    def __init__(self, con: duckdb.DuckDBPyConnection) -> None:
        self.con = con

    def __enter__(self) -> None:
        self.con.begin()

    def __exit__(self, kind: object, *_: object) -> None:
        self.con.commit() if kind is None else self.con.rollback()
