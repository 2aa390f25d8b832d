"""The times of seeds as a user gives them: integers, moments, or SQL over the rows of the seeds; each in the sampler's unit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from dbgnn.errors import DataError, RequestError, SchemaError, SqlError
from dbgnn.sampling.relabel import Ids
from dbgnn.schema.catalog import columns
from dbgnn.schema.model import Label, shown_type
from dbgnn.sql import check_filter, first_line
from dbgnn.topology.derived import rows_by_id
from dbgnn.topology.times import MICROSECONDS, NANOSECONDS, NUMBER, Moments, as_time, unit_of

if TYPE_CHECKING:
    from dbgnn.indexed_graph import IndexedGraph
    from dbgnn.topology import EdgeIndex
    from dbgnn.topology.index import VertexIndex


def given_times(graph: IndexedGraph, label: Label, ids: Ids, given: Any, unit: str, name: str) -> Tensor:
    """Return the times of seeds, int64 ``[n]``, in the unit of the sampler.

    Args:
        graph: The graph.
        label: The node or edge type of the seeds.
        ids: Their ids ``[n]``.
        given: Integers in the unit, or moments (datetime64, datetime), one per seed, as tensor, array, list or Series; or a
            column or SQL expression over the seeds' table.
        unit: The unit.
        name: What the argument is called.

    Raises:
        DataError: The expression is NULL or infinite, or fails, for a seed.
        RequestError: There are more or fewer than seeds, they are of another kind than the unit, or not exact in it.
        SchemaError: The expression has a type that is no time, or of another unit.
        SqlError: The expression is not one over the columns of a row.
    """
    if isinstance(given, str):
        return torch.from_numpy(_by_sql(graph, label, ids, given, unit, name))
    values = np.asarray(given.detach().cpu() if isinstance(given, Tensor) else given)
    if not values.size:
        values = np.empty(values.shape, dtype=np.int64)  # an empty list is of floats to NumPy
    elif values.dtype == object:
        values = _from_objects(values, name)
    if values.shape != (len(ids),):
        raise RequestError(
            f"{name} must have one dimension and an entry for each of {len(ids):,} seeds, not the shape {list(values.shape)}."
        )
    return torch.from_numpy(times_in_unit(values, unit, name))


def times_in_unit(values: Any, unit: str, name: str) -> Moments:
    """Return an array of integers in a unit, or of moments, as int64 ``[n]`` in the unit.

    Args:
        values: The array: of an integer type, or datetime64 of any resolution.
        unit: The unit.
        name: What they are called.

    Raises:
        RequestError: They are of another kind than the unit, or not exact in it.
    """
    kind = values.dtype.kind
    if kind in "iu":
        if kind == "u" and values.dtype.itemsize == 8 and len(values) and values.max() > np.iinfo(np.int64).max:
            raise RequestError(f"{name} holds {values.max()}, which is beyond int64.")
        numbers: Moments = values.astype(np.int64)
        return numbers
    if kind != "M":
        raise RequestError(f"{name} must hold integers or moments, not {values.dtype}.")
    if unit == NUMBER:
        raise RequestError(f"{name} holds moments ({values.dtype}), and the times of this graph are integers; give those.")
    if np.isnat(values).any():
        raise RequestError(f"{name} has no time (NaT) at position {int(np.isnat(values).argmax())}; a seed needs one.")
    found = values.astype(f"datetime64[{unit}]")
    if not np.array_equal(found.astype(values.dtype), values):
        raise RequestError(
            f"{name} is {values.dtype}, and the times of this graph are in {unit}, which cannot hold all of it exactly. Round "
            f"it: values.astype('datetime64[{unit}]')."
        )
    times: Moments = found.astype(np.int64)
    return times


def _from_objects(values: Any, name: str) -> Any:
    """Return Python's own dates, moments (with a time zone too) or integers as an array of a dtype."""
    try:
        array = pa.array(values.tolist())
        if pa.types.is_timestamp(array.type) or pa.types.is_date(array.type):
            array = array.cast(pa.timestamp(array.type.unit if pa.types.is_timestamp(array.type) else "us"))
    except (pa.ArrowException, OverflowError) as error:
        raise RequestError(f"{name} must hold integers of 64 bits, or moments: {first_line(error)}.") from None
    if array.null_count:
        raise RequestError(f"{name} has None in {array.null_count:,} of {len(array):,} places; every seed needs a time.")
    return array.to_numpy(zero_copy_only=False)


def _by_sql(graph: IndexedGraph, label: Label, ids: Ids, text: str, unit: str, name: str) -> Moments:
    topology, con = graph.topology(), graph.db.cursor()
    rows: VertexIndex | EdgeIndex = topology.vertices[label] if isinstance(label, str) else topology.edges[label]
    table = rows.element.table
    where = f"{name} over table {str(table)!r}"
    expression = check_filter(con, text, where=where, table=(table.schema, table.name), columns=columns(con, table))
    try:
        [(_, kind, *_)] = con.execute(f"DESCRIBE SELECT {expression} AS time FROM {table.sql}").fetchall()
        _need_unit(text, kind, unit, name)
        query = f"""SELECT asked.place, r.time
FROM asked JOIN ({rows_by_id(rows, f"{as_time(expression, kind, unit)} AS time")}) AS r ON r.id = asked.id"""
        found = graph.db.arrow(query, asked=pa.table({"id": ids, "place": np.arange(len(ids), dtype=np.int64)}))
    except duckdb.Error as error:
        raise SqlError(f"{where} does not fit its rows: {text!r:.80}: {first_line(error)}.") from error
    times, place = found.column("time").combine_chunks(), found.column("place").to_numpy()
    if times.null_count:
        bad = int(place[times.is_null().to_numpy(zero_copy_only=False)].min())
        raise DataError(
            f"{name}={text!r} is NULL, infinite, beyond 64 bits or fails for {times.null_count:,} of {len(ids):,} seeds; the "
            f"first is {shown_type(label)} {int(ids[bad])}. Every seed needs a time: coalesce(…) it, or leave those seeds out."
        )
    out = np.empty(len(ids), dtype=np.int64)
    out[place] = times.to_numpy()
    return out


def _need_unit(text: str, kind: str, unit: str, name: str) -> None:
    own = unit_of(kind)
    written = "" if unit == NUMBER else " A moment is written as SQL has it: TIMESTAMP '2024-01-31 12:00:00'."
    if own is None:
        raise SchemaError(f"{name}={text!r} is {kind}; times are integers, dates or timestamps.{written}")
    if (own == NUMBER) != (unit == NUMBER):
        is_, are = ("an integer", "dates or timestamps") if own == NUMBER else ("a date or timestamp", "integers")
        raise SchemaError(
            f"{name}={text!r} is {is_} ({kind}), and the times of this graph are {are}; they cannot be compared.{written}"
        )
    if (own, unit) == (NANOSECONDS, MICROSECONDS):
        raise SchemaError(
            f"{name}={text!r} is {kind}, and the times of this graph are in microseconds: cast it, ({text})::TIMESTAMP."
        )
