"""What ``time_attr``, ``temporal_strategy`` and ``time_window`` mean."""

from __future__ import annotations

import datetime as dt
import operator
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np

from dbgnn.errors import RequestError, SchemaError, UnknownNameError, near_misses
from dbgnn.schema.catalog import columns, folded
from dbgnn.schema.model import EdgeTable, EdgeType, Label, VertexTable
from dbgnn.sql import first_line
from dbgnn.topology.times import MICROSECONDS, NANOSECONDS, NUMBER, TimeColumn, Timeline, Times, unit_of
from dbgnn.topology.window import Window

if TYPE_CHECKING:
    from dbgnn.indexed_graph import IndexedGraph

#: What stands for NULL, by node or edge type and column, as a feature store has it.
Fills = Mapping[Label, Mapping[str, float]]

_MONTHS = {"M": 1, "Y": 12}
_EXAMPLE = "a text such as '30 days' or '1 month', a datetime.timedelta or a numpy.timedelta64"


def strategy_asked(given: object) -> str:
    """Return ``"uniform"`` or ``"last"``."""
    if given not in ("uniform", "last"):
        raise RequestError(f"temporal_strategy must be 'uniform' or 'last', not {given!r}.")
    return str(given)


def timeline_asked(graph: IndexedGraph, time_attr: Any, fills: Fills) -> Timeline | None:
    """Return which columns say when, and in which unit; types without the column are timeless.

    Args:
        graph: The graph.
        time_attr: The name of the columns, in any case; None: time does not matter.
        fills: What stands for NULL.

    Raises:
        RequestError: The name is no text.
        SchemaError: A column is of a type that has no times, or some are integers and others dates.
        UnknownNameError: No table has the column.
    """
    if time_attr is None:
        return None
    if not isinstance(time_attr, str):
        raise RequestError(f"time_attr must be the name of a column, such as 'ts', not {time_attr!r}.")
    con = graph.db.cursor()
    found: dict[Any, tuple[VertexTable | EdgeTable, str, str]] = {}  # by type: table, column and unit
    known: set[str] = set()
    for element in graph.definition.elements:
        label = element.label if isinstance(element, VertexTable) else element.edge_type
        kinds = columns(con, element.table)
        known.update(kinds)
        for name, kind in kinds.items():
            if folded(name) == folded(time_attr):
                found[label] = (element, name, _unit(element, name, kind))
    if not found:
        raise UnknownNameError(
            f"time_attr={time_attr!r} is a column of no node or edge table of graph {graph.name!r}"
            + near_misses(time_attr, sorted(known))
        )
    of = {unit: (str(element.table), name) for element, name, unit in found.values()}
    if NUMBER in of and len(of) > 1:
        (table, name), (other, moment) = of[NUMBER], next(of[unit] for unit in of if unit != NUMBER)
        raise SchemaError(
            f"time_attr={time_attr!r}: column {name!r} of table {table!r} is an integer, and column {moment!r} of table "
            f"{other!r} a date or timestamp, which cannot be compared. Give both the same type, or one another name."
        )
    unit = NUMBER if NUMBER in of else NANOSECONDS if NANOSECONDS in of else MICROSECONDS
    times = {label: TimeColumn(name, _fill(fills, label, name)) for label, (_, name, _) in found.items()}
    return Timeline(
        unit,
        {label: column for label, column in times.items() if isinstance(label, str)},
        {label: column for label, column in times.items() if not isinstance(label, str)},
    )


def _unit(element: VertexTable | EdgeTable, name: str, kind: str) -> str:
    unit = unit_of(kind)
    if unit is None:
        raise SchemaError(
            f"Column {name!r} of table {str(element.table)!r} is {kind}; times are integers, dates or timestamps. Make it one, "
            f"or give it another name if types such as {element.label!r} are to be timeless."
        )
    return unit


def _fill(fills: Fills, label: Label, name: str) -> int | None:
    value = fills.get(label, {}).get(name)
    return None if value is None else int(value)


def times_asked(timeline: Timeline | None, edge_type: EdgeType, far: str, window: Window | None) -> Times | None:
    """Return what the lists of an edge type have of time; None: both it and the nodes that a hop leads to are timeless."""
    if timeline is None:
        return None
    edge, node = timeline.edges.get(edge_type), timeline.nodes.get(far)
    if edge is None and node is None:
        return None
    return Times(edge, node, timeline.unit, earlier=window is not None and None not in (edge, node))


def check_relative(timeline: Timeline | None, subgraph_type: str) -> None:
    """Raise where ``relative_time=True`` has no meaning.

    Raises:
        RequestError: Time does not matter, or edges are given in both directions and have no ids by which to find theirs.
    """
    if timeline is None:
        raise RequestError("relative_time=True needs time_attr, the name of the columns that say when.")
    if subgraph_type == "bidirectional":
        raise RequestError(
            "relative_time=True does not go with subgraph_type='bidirectional': PyG's edges in both directions have no ids, so "
            "their times cannot be found. Use 'directional' or 'induced'."
        )


def window_asked(graph: IndexedGraph, timeline: Timeline | None, given: Any) -> Window | None:
    """Return how far back from a seed's time an edge may be; None: for ever.

    Raises:
        RequestError: It is not longer than nothing, of another kind than the times, or not exact in their unit.
    """
    if given is None:
        return None
    if timeline is None:
        raise RequestError(f"time_window={given!r} needs time_attr, the name of the columns that say when.")
    window = _number(given) if timeline.unit == NUMBER else _interval(graph, timeline.unit, given)
    if min(window.length, window.months) < 0 or window.length + window.months == 0:
        raise RequestError(f"time_window must be longer than nothing and have no negative part, not {given!r}.")
    return window


def _number(given: Any) -> Window:
    try:
        return Window(operator.index(given if not isinstance(given, (bool, np.timedelta64)) else None))  # type: ignore[arg-type]
    except TypeError:
        raise RequestError(
            f"time_window must be an integer, since the times of this graph are integers, not {given!r}; it is in their unit."
        ) from None


def _interval(graph: IndexedGraph, unit: str, given: Any) -> Window:
    scale = 1000 if unit == NANOSECONDS else 1
    if hasattr(given, "to_timedelta64"):  # pandas' has nanoseconds
        given = given.to_timedelta64()
    if isinstance(given, dt.timedelta):
        return Window(given // dt.timedelta(microseconds=1) * scale, unit=unit)
    if isinstance(given, np.timedelta64):
        return _timedelta(given, unit)
    if not isinstance(given, str) or not any(map(str.isalpha, given)):
        raise RequestError(f"time_window must be {_EXAMPLE}, since the times of this graph are moments, not {given!r}.")
    parts = """SELECT
  12 * date_part('year', i) + date_part('month', i), date_part('day', i),
  3600000000 * date_part('hour', i) + 60000000 * date_part('minute', i) + date_part('microsecond', i)
FROM (SELECT CAST(? AS INTERVAL) AS i)"""
    try:
        [(months, days, rest)] = graph.db.cursor().execute(parts, [given]).fetchall()
    except duckdb.Error as error:
        raise RequestError(f"time_window={given!r} is no interval ({first_line(error)}); give {_EXAMPLE}.") from error
    if min(months, days, rest) < 0:
        raise RequestError(f"time_window must be longer than nothing and have no negative part, not {given!r}.")
    return Window((days * 86_400_000_000 + rest) * scale, months, unit)


def _timedelta(given: np.timedelta64, unit: str) -> Window:
    kind, step = np.datetime_data(given.dtype)
    if np.isnat(given) or kind == "generic":
        raise RequestError(f"time_window={given!r} has no length or no unit; give {_EXAMPLE}.")
    count = int(given.astype(np.int64)) * step
    if kind in _MONTHS:
        return Window(0, count * _MONTHS[kind], unit)
    nominal = {"W": 7 * 86_400, "D": 86_400, "h": 3_600, "m": 60, "s": 1}
    per = 10**18  # attoseconds, in which all are whole
    small = {"ms": 10**15, "us": 10**12, "ns": 10**9, "ps": 10**6, "fs": 10**3, "as": 1}
    total = count * (nominal[kind] * per if kind in nominal else small[kind])
    length, left = divmod(total, small[unit])
    if left:
        raise RequestError(f"time_window={given!r} is not a whole number of {unit}, the unit of the times; round it.")
    return Window(length, unit=unit)
