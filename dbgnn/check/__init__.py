"""`check()`: what is wrong with the data of a property graph, found by a few SQL scans per table, in bounded memory.

Nothing is written (temporary tables aside, so it works read-only), no topology index is needed, torch is not imported.
What is found is in `report`; `column_values` looks at values, `topology` at keys and edges.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import duckdb

from dbgnn.check.column_values import Checked, check_columns, check_lists
from dbgnn.check.report import CheckReport, Finding
from dbgnn.check.too_late import check_times, check_too_late
from dbgnn.check.topology import (
    EdgeEnd,
    check_duplicates,
    check_end,
    check_isolated,
    check_loops,
    check_no_edge,
    check_vertex_keys,
    group_end,
)
from dbgnn.check.whole_index import check_index
from dbgnn.errors import DataError, SchemaError, SqlError, UnknownNameError, near_misses
from dbgnn.progress import Bar
from dbgnn.schema import columns, written
from dbgnn.schema.catalog import DECLARE_AGAIN, ROWID, key_columns
from dbgnn.schema.encoded import SideTable, beside_rows, encoded
from dbgnn.schema.keys import check_reference, table_key_types, vertex_key_types
from dbgnn.schema.model import EdgeTable, EdgeType, PropertyGraph, TableName, VertexTable, shown_type
from dbgnn.schema.row_conditions import check_condition, check_views, run_condition
from dbgnn.schema.types import Column, served
from dbgnn.topology.times import Timeline

if TYPE_CHECKING:
    from dbgnn.open_database import OpenDatabase

__all__ = ["CheckReport", "Finding", "check"]

#: What a step of the check is about, and what it finds.
_Step = tuple[str, Callable[[], Iterator[Finding]]]


def check(
    db: OpenDatabase, definition: PropertyGraph, *, progress: bool, index: bool = False, timeline: Timeline | None = None
) -> CheckReport:
    """Look for what makes training on a graph fail, or go wrong unseen; all tables are read in one transaction.

    The transaction is one of its own, as that of building and loading: what another has not committed yet is not looked at.

    Args:
        db: The database; read-only will do.
        definition: The graph.
        progress: Show a progress bar on what takes more than two seconds.
        index: Compare the whole topology index with the tables, too; it costs about what building it does.
        timeline: Look at these times, too.

    Returns:
        The report. Errors: NULL and repeated keys, edges whose node is missing, NULL in served columns, key columns of
        different types, tables and columns that are gone. Warnings: no rows, edges twice, nodes without edges, NaN,
        infinities, lists of numbers in place of arrays. And to know: self loops, degrees, classes, constant columns. With
        ``index``, errors where the index is not what the tables make it. With ``timeline``, rows without a time, and edges
        that no seed at the time of its row has.
    """
    con = db.new_cursor()
    try:
        con.begin()
        check_views(con, definition)
        checker = _Checker(con, definition, timeline)
        findings = checker.run(progress=progress, index=index)
    finally:
        con.close()  # ends the transaction; the temporary tables go with it
    order = ("error", "warning", "info")
    found = tuple(sorted(findings, key=lambda f: order.index(f.severity)))
    return CheckReport(definition.name, checker.num_rows, found)


class _Checker:
    """One run of `check`: what was found so far that later steps build on."""

    def __init__(self, con: duckdb.DuckDBPyConnection, graph: PropertyGraph, timeline: Timeline | None) -> None:
        self.con, self.graph, self.timeline = con, graph, timeline
        self.num_rows: dict[str | EdgeType, int] = {}
        self.nodes: dict[str, int] = {}  # distinct keys, by label
        self.types: dict[TableName, dict[str, str]] = {}
        self.degrees: dict[tuple[str, tuple[str, ...], tuple[str, ...]], str] = {}  # by rows, columns, and types of the key
        self.ends: dict[str, list[EdgeEnd]] = {v.label: [] for v in graph.vertices}
        # Several elements may share a table (edges in both directions, foreign keys): what one has looked at, by table.
        self.seen: set[tuple[str, str | frozenset[tuple[str, ...]]]] = set()

    def run(self, *, progress: bool, index: bool) -> list[Finding]:
        findings: list[Finding] = []
        parts: dict[str | EdgeType, Checked] = {}
        elements: list[VertexTable | EdgeTable] = [*self.graph.vertices, *self.graph.edges]
        for element in elements:
            try:
                part = self._part(element, parts)
            except SchemaError as error:
                findings.append(_undefined(element, str(error)))
                continue
            parts[part.label] = part
        steps = [step for part in parts.values() for step in self._steps(part, parts)]
        steps += [self._isolated(parts[label], ends) for label, ends in self.ends.items() if ends]
        if index and len(parts) == len(elements):  # an index of tables that are gone is stale anyhow
            steps.append(("topology index", lambda: check_index(self.con, self.graph)))
        with Bar(total=len(steps), disable=not progress, unit=" scans") as bar:
            for name, step in steps:
                bar.set_description(name, refresh=False)  # a refresh would show it before the delay is over
                findings += step()
                bar.update(1)
        return findings

    def _part(self, element: VertexTable | EdgeTable, parts: dict[str | EdgeType, Checked]) -> Checked:
        """Return the table of an element; raise :class:`SchemaError` where it is not what the graph takes it for."""
        types = self.types[element.table] = columns(self.con, element.table)
        keys = element.key if isinstance(element, VertexTable) else (*element.source_key, *element.destination_key)
        if gone := [name for name in keys if name not in types and name != ROWID]:
            raise UnknownNameError(
                f"Table {str(element.table)!r} has no column {gone[0]!r} any more, which the graph uses as a key"
                f"{near_misses(gone[0], types)}. {DECLARE_AGAIN}"
            )
        if element.condition is not None:
            try:
                check_condition(self.con, element.table, element.condition)
                run_condition(self.con, element)
            except (SqlError, DataError) as error:
                raise SchemaError(str(error)) from error
        rows = self.graph.rows_of(element)
        if isinstance(element, EdgeTable):
            self._check_ends(element, parts)
            key_types = table_key_types(self.con, element.table, keys)
        else:
            key_types = vertex_key_types(self.con, element)
        shown = tuple(
            served(self.graph, element, types, written(self.con), key_columns(self.con), encoded(self.con, self.graph))
        )
        return Checked(element, rows, tuple(dict.fromkeys(keys)), key_types, shown)

    def _check_ends(self, edge: EdgeTable, parts: dict[str | EdgeType, Checked]) -> None:
        for label, names in ((edge.source, edge.source_key), (edge.destination, edge.destination_key)):
            if label not in parts:
                raise SchemaError(f"Its node type {label!r} cannot be read")
            check_reference(self.con, edge.table, self.graph.vertex(label), names)

    def _steps(self, part: Checked, parts: Mapping[str | EdgeType, Checked]) -> Iterator[_Step]:
        name = shown_type(part.label)
        yield f"columns of {name}", lambda: self._columns(part)
        if self.timeline is not None and (column := self.timeline.of(part.label)) is not None:
            unit = self.timeline.unit
            yield f"times of {name}", lambda: check_times(self.con, part, column, unit)
        if isinstance(part.element, VertexTable):
            yield f"keys of {name}", lambda: self._keys(part)
            return
        edge = part.element
        yield f"NULL ends of {name}", lambda: check_no_edge(self.con, part, self.graph, edge)
        ends = self._ends(part, edge, parts)
        for end in ends:
            yield f"{end.word}s of {name}", lambda end=end: self._degrees(part, end)  # type: ignore[misc]
        yield f"loops of {name}", lambda: check_loops(self.con, part, ends)
        if (timeline := self.timeline) is not None:
            yield f"late {name}", lambda: check_too_late(self.con, self.graph, part, ends, timeline)
        unique = bool(self.graph.optional_columns(part.element))  # an end is the key of the same row
        if not unique and self._is_new(part.element, frozenset(e.columns for e in ends)):
            yield f"duplicates of {name}", lambda: check_duplicates(self.con, part, ends)

    def _ends(self, part: Checked, edge: EdgeTable, parts: Mapping[str | EdgeType, Checked]) -> tuple[EdgeEnd, EdgeEnd]:
        def end(word: str, label: str, names: tuple[str, ...]) -> EdgeEnd:
            types = parts[label].key_types
            name = self.degrees.setdefault((part.rows, names, types), f"temp.main.dbgnn_degrees_{len(self.degrees)}")
            found = EdgeEnd(word, self.graph.vertex(label), names, types, name)
            self.ends[label].append(found)
            return found

        return (
            end("source", edge.source, edge.source_key),
            end("destination", edge.destination, edge.destination_key),
        )

    def _columns(self, part: Checked) -> Iterator[Finding]:
        [(total,)] = self.con.execute(f"SELECT count(*) FROM {part.rows}").fetchall()
        self.num_rows[part.label] = total
        if not total:
            yield part.finding("warning", "empty", None, 0, 0, f"table {str(part.element.table)!r} has no {part.noun}s")
            return
        new = [c for c in part.columns if self._is_new(part.element, c.name)]
        yield from check_columns(self.con, part, [c for c in new if c.reason is None and c.beside is None])
        for column in new:
            if isinstance(side := column.beside, SideTable):
                yield from self._beside(part, column, side, total)
        if part.element.properties is None:
            yield from check_lists(self.con, part, new)
        for column in new:
            if column.reason and column.name in (part.element.properties or ()):
                text = f"PROPERTIES names it, but it is {column.sql_type}, which is no tensor: {column.reason}"
                yield part.finding("error", "type", column.name, total, total, text, remedy=f"Convert it. {DECLARE_AGAIN}")

    def _beside(self, part: Checked, column: Column, side: SideTable, total: int) -> Iterator[Finding]:
        if (why := side.difference(self.con)) is not None:
            text, remedy = f"an encoded column is stale: {why}", side.told(why).partition(": ")[2].partition(". ")[2]
            yield part.finding("error", "stale", column.name, total, total, text, remedy=remedy)
        else:
            own = f"SELECT COLUMNS(lambda c: c <> 'rowid'), rowid FROM {side.rows} AS q"
            rows = f"(FROM ({beside_rows(own, [side])}))"
            yield from check_columns(self.con, replace(part, rows=rows), [column])

    def _keys(self, part: Checked) -> Iterator[Finding]:
        found = list(check_vertex_keys(self.con, part))
        self.nodes[part.label] = self.num_rows[part.label] - sum(f.count for f in found)
        yield from found

    def _degrees(self, part: Checked, end: EdgeEnd) -> Iterator[Finding]:
        group_end(self.con, part, end)
        return check_end(self.con, part, end, self.nodes[end.vertex.label])

    def _isolated(self, part: Checked, ends: list[EdgeEnd]) -> _Step:
        return f"isolated nodes of {shown_type(part.label)}", lambda: check_isolated(self.con, part, ends)

    def _is_new(self, element: VertexTable | EdgeTable, what: str | frozenset[tuple[str, ...]]) -> bool:
        """Whether something of these rows was not looked at yet: a table may be several types, by conditions on its rows."""
        known = (element.described, what) in self.seen
        self.seen.add((element.described, what))
        return not known


def _undefined(element: VertexTable | EdgeTable, text: str) -> Finding:
    label = element.label if isinstance(element, VertexTable) else element.edge_type
    return Finding("error", "definition", label, str(element.table), None, 0, 0, text.rstrip("."))
