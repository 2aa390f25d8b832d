"""Times: rows without one, and edges that a loader by time never reaches, since they are later than its seeds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import duckdb

from dbgnn.check.column_values import EXAMPLES, Checked, examples
from dbgnn.check.report import Finding
from dbgnn.schema.keys import same
from dbgnn.schema.model import EdgeTable, PropertyGraph
from dbgnn.sql import quote
from dbgnn.topology.times import TimeColumn, Timeline

if TYPE_CHECKING:
    from dbgnn.check.topology import EdgeEnd


def check_times(con: duckdb.DuckDBPyConnection, part: Checked, column: TimeColumn, unit: str) -> Iterator[Finding]:
    """Yield rows without a time, by one scan: a loader by time refuses them."""
    time = column.sql(con, part.element, unit)
    query = f"SELECT count(*), count(*) FILTER (WHERE {time} IS NULL), min(rowid, {EXAMPLES}) FILTER (WHERE {time} IS NULL)"
    [(total, missing, rids)] = con.execute(f"{query} FROM {part.rows}").fetchall()
    if missing:
        yield part.finding(
            "error", "no time", column.name, missing, total,
            f"{missing:,} of {total:,} {part.noun}s have no time: NULL, infinite, or beyond 64 bits",
            examples=examples(con, part, rids), remedy="Write their times, or leave those rows out.",
        )  # fmt: skip


def check_too_late(
    con: duckdb.DuckDBPyConnection, graph: PropertyGraph, part: Checked, ends: Sequence[EdgeEnd], timeline: Timeline
) -> Iterator[Finding]:
    """Yield edges later than the node that they lead to, and those later than every node, by a join with both ends.

    A node that is a seed has the time of its row, unless it is given another one.
    """
    assert isinstance(part.element, EdgeTable)
    source, destination = ends
    unit, near, far = timeline.unit, timeline.nodes.get(destination.vertex.label), timeline.nodes.get(source.vertex.label)
    own = timeline.edges.get(part.element.edge_type)
    latest = _latest(con, graph, timeline)
    if latest is None or (own is None and far is None):
        return
    keys = [f"{quote(name)} AS {p}{i}" for p, end in (("s", source), ("d", destination)) for i, name in enumerate(end.columns)]
    time = "NULL::BIGINT" if own is None else own.sql(con, part.element, unit)
    edges = f"SELECT rowid AS rid, {', '.join(keys)}, {time} AS at FROM {part.rows}"
    joins = "".join(_joined(con, end, p, column, unit) for p, end, column in (("s", source, far), ("d", destination, near)))
    when = f"greatest(e.at, {'NULL::BIGINT' if far is None else 'vs.at'})"
    here = "false" if near is None else f"{when} > vd.at"
    found = con.execute(
        f"SELECT count(*), count(*) FILTER (WHERE {here}), min(rid, {EXAMPLES}) FILTER (WHERE {here}),"
        f" count(*) FILTER (WHERE {when} > {latest}), min(rid, {EXAMPLES}) FILTER (WHERE {when} > {latest})"
        f" FROM ({edges}) AS e{joins}"
    ).fetchall()
    [(total, later, first, never, last)] = found
    columns = ", ".join(dict.fromkeys(column.name for column in (own, far) if column is not None))
    if never:
        yield part.finding(
            "warning", "never reached", columns, never, total,
            f"{never:,} of {total:,} edges are later than every node: no seed at the time of its row has them",
            examples=examples(con, part, last), remedy="Give a loader by time the times of its seeds: input_time=….",
        )  # fmt: skip
    if later:
        yield part.finding(
            "info", "later than their node", columns, later, total,
            f"{later:,} of {total:,} edges are later than the node that they lead to, which does not have them at its own time",
            examples=examples(con, part, first),
        )  # fmt: skip


def _joined(con: duckdb.DuckDBPyConnection, end: EdgeEnd, side: str, column: TimeColumn | None, unit: str) -> str:
    """Return a join of the edges with the times of the nodes at an end; none where those have no time."""
    if column is None:
        return ""
    keys = ", ".join(f"{quote(name)} AS k{i}" for i, name in enumerate(end.vertex.key))
    nodes = f"SELECT {keys}, {column.sql(con, end.vertex, unit)} AS at FROM {end.vertex.rows}"
    pairs = ((f"v{side}.k{i}", f"e.{side}{i}") for i in range(len(end.columns)))
    return f" JOIN ({nodes}) AS v{side} ON {same(pairs, end.types)}"


def _latest(con: duckdb.DuckDBPyConnection, graph: PropertyGraph, timeline: Timeline) -> int | None:
    """Return the latest time of all nodes; None: no node has one, so every seed has to be given its own."""
    times: list[int] = []
    for label, column in timeline.nodes.items():
        vertex = graph.vertex(label)
        [(time,)] = con.execute(f"SELECT max({column.sql(con, vertex, timeline.unit)}) FROM {vertex.rows}").fetchall()
        times += [int(time)] if time is not None else []
    return max(times, default=None)
