"""A query → attributes: streamed over Arrow, each chunk written once, to where it stays."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import duckdb
import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from dbgnn.arrow import DTYPES, decode
from dbgnn.encoders.nulls import NullValueError
from dbgnn.errors import DataError, SchemaError
from dbgnn.progress import Bar
from dbgnn.queries.growing import Growing
from dbgnn.queries.read_only import POSITION, Params, query_errors
from dbgnn.schema import Column
from dbgnn.schema.key_values import carried
from dbgnn.sql import quote

if TYPE_CHECKING:
    from dbgnn.encoders import FittedEncoder

#: Bytes per chunk of the stream, about, and the rows it may have: small enough to be written while in the cache.
_CHUNK_BYTES, _CHUNK_ROWS = 4 << 20, (2048, 122_880)

#: Under what `Keys` returns what it kept; no column is called so.
KEYS = ""

#: The column of a row's position, in `numbered`, as SQL.
POS = quote(POSITION)


class Sink(Protocol):
    """What becomes of some columns of a query: an attribute, keys, masks. Takes the rows in their order, in chunks."""

    @property
    def expressions(self) -> tuple[str, ...]:
        """SQL expressions over the row ``q`` of the query."""

    def append(self, arrays: Sequence[pa.Array]) -> None:
        """Take a chunk: one array per expression; the first chunk may have no rows."""

    def finish(self) -> dict[str, Any]:
        """Return what there is to set, by name: tensors ``[N, …]`` or objects of N rows."""


class Values:
    """A column as a tensor ``[N, *column.shape]``.

    Args:
        column: The column.
        name: The name of the attribute; None: the column's.
    """

    def __init__(self, column: Column, name: str | None = None) -> None:
        quoted = f"q.{quote(column.name)}" + (f".{quote(column.packed)}" if column.packed else "")
        # An ENUM arrives as a dictionary, whose codes are of the chunk and not of the type.
        self.expressions = (f"system.main.enum_code({quoted})::BIGINT" if column.sql_type.startswith("ENUM") else quoted,)
        self._column, self._name = column, name or column.name
        self._rows = Growing(column.dtype, column.shape)

    def append(self, arrays: Sequence[pa.Array]) -> None:
        """Write the chunk's values; NULL is an error."""
        values, nulls = decode(arrays[0], self._column)
        if nulls is not None:
            raise NullValueError(self._column.name, int(nulls[0]))
        self._rows.append(values)

    def finish(self) -> dict[str, Any]:
        """Return the tensor under its name."""
        return {self._name: self._rows.finish()}


class Encoded:
    """What a fitted encoder makes of its columns: a tensor ``[N, …]``, or an object that it joins itself."""

    def __init__(self, name: str, encoder: FittedEncoder) -> None:
        self.expressions = tuple(f"q.{quote(c)}" for c in encoder.columns)
        self._name, self._encoder = name, encoder
        self._rows: Growing | None = None
        self._kind: tuple[object, ...] = ()
        self._parts: list[Any] = []

    def append(self, arrays: Sequence[pa.Array]) -> None:
        """Encode the chunk."""
        made = self._encoder.encode(arrays)
        if not isinstance(made, Tensor):
            self._parts.append(made)
            return
        made = made.detach().cpu()
        if made.dim() == 0 or len(made) != len(arrays[0]):
            raise DataError(
                f"The encoder of {self._name!r} made {list(made.shape)} of {len(arrays[0])} rows, and should make one each."
            )
        kind = (made.dtype, *made.shape[1:])
        if self._rows is None:
            if made.dtype not in DTYPES.values():
                raise DataError(f"The encoder of {self._name!r} made {made.dtype}; make it one of {', '.join(DTYPES)}.")
            self._kind = kind
            self._rows = Growing(str(made.dtype).removeprefix("torch."), tuple(made.shape[1:]))
        elif kind != self._kind:
            raise DataError(f"The encoder of {self._name!r} made rows of {kind} after rows of {self._kind}.")
        self._rows.append(made)

    def finish(self) -> dict[str, Any]:
        """Return the tensor, or the joined object, under its name."""
        return {self._name: self._encoder.concat(self._parts) if self._rows is None else self._rows.finish()}


class Keys:
    """The key columns of nodes, kept as Arrow for the edges that will look them up."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self.expressions = tuple(carried(f"q.{quote(c.name)}", c.sql_type) for c in columns)
        self._names = [f"k{i}" for i in range(len(columns))]
        self._parts: list[pa.Table] = []

    def append(self, arrays: Sequence[pa.Array]) -> None:
        """Keep the chunk's keys."""
        # Copied: DuckDB's chunk lives, with all its columns, as long as one of them does.
        copies = [pa.concat_arrays([a, a.slice(0, 0)]) for a in arrays]
        self._parts.append(pa.table(copies, names=self._names))

    def finish(self) -> dict[str, Any]:
        """Return an Arrow table ``(k0, k1, …)`` under `KEYS`."""
        return {KEYS: pa.concat_tables(self._parts)}


#: What positions and the numbers of a split's parts are.
_POSITION, _PART = Column("position", "BIGINT", "int64", ()), Column("part", "INTEGER", "int32", ())


class Masks:
    """The number of a split's part in every row, as one bool mask ``[N]`` a part."""

    def __init__(self, expression: str, parts: Sequence[str]) -> None:
        self.expressions = (f"coalesce(({expression})::INTEGER, -1)",)
        self._parts, self._rows = parts, Growing("int32", ())

    def append(self, arrays: Sequence[pa.Array]) -> None:
        """Write the chunk's numbers."""
        self._rows.append(decode(arrays[0], _PART)[0])

    def finish(self) -> dict[str, Any]:
        """Return ``train_mask`` and the like."""
        numbers = self._rows.finish()
        return {f"{name}_mask": numbers == i for i, name in enumerate(self._parts)}


class Ends:
    """Both ends' positions of every edge. An edge with an end that is no node is left out of all sinks, and counted."""

    def __init__(self, source: str, destination: str) -> None:
        self.expressions = (source, destination)
        self._ends = Growing("int64", ()), Growing("int64", ())
        self.dangling = 0

    def missing(self, arrays: Sequence[pa.Array]) -> np.ndarray[Any, Any] | None:
        """Return which edges of the chunk miss an end, as bool ``[n]``; None: none does."""
        if not (arrays[0].null_count or arrays[1].null_count):
            return None
        gone: np.ndarray[Any, Any] = np.zeros(len(arrays[0]), dtype=bool)
        for array in arrays:
            gone |= array.is_null().to_numpy(zero_copy_only=False)
        self.dangling += int(gone.sum())
        return gone

    def append(self, arrays: Sequence[pa.Array]) -> None:
        """Write the chunk's positions."""
        for rows, array in zip(self._ends, arrays, strict=True):
            rows.append(decode(array, _POSITION)[0])

    def finish(self) -> dict[str, Any]:
        """Return ``edge_index``, int64 ``[2, E]``."""
        both, destinations = self._ends
        both.append(destinations.finish())
        return {"edge_index": both.finish().view(2, -1)}


def numbered(text: str) -> str:
    """Return what to write behind FROM for the rows of a checked query with their positions; their name is ``q``."""
    return f"(SELECT row_number() OVER () - 1 AS {POS}, * FROM ({text}\n)) AS q"


def carried_keys(names: Sequence[str], types: Sequence[str]) -> str:
    """Return key columns of the row ``q`` as `key_rows` takes them."""
    return ", ".join(carried(f"q.{quote(name)}", kind) for name, kind in zip(names, types, strict=True))


def read_into(
    con: duckdb.DuckDBPyConnection,
    text: str,
    params: Params,
    sinks: Sequence[Sink],
    *,
    joins: Sequence[str] = (),
    row_bytes: int,
    where: str,
    progress: bool,
) -> tuple[int, dict[str, Any]]:
    """Run a checked query once, and hand its rows to the sinks.

    Args:
        con: The connection to run on.
        text: The query.
        params: The values that it wants bound.
        sinks: What becomes of its columns. If the first is `Ends`, edges without both ends are left out.
        joins: LEFT JOINs for the expressions of the sinks.
        row_bytes: Bytes of a row, about.
        where: What is read, for messages and the progress bar.
        progress: Show a progress bar on what takes more than two seconds.

    Returns:
        The number of rows handed out, and what the sinks made of them.

    Raises:
        NullValueError: A value is NULL where none may be; `row` is then the row of the query.
        SqlError: The query fails while it runs.
    """
    columns = ", ".join([f"q.{POS}", *(e for sink in sinks for e in sink.expressions)])
    sql = f"SELECT {columns} FROM {numbered(text)} {' '.join(joins)}"
    chunk = max(_CHUNK_ROWS[0], min(_CHUNK_ROWS[1], _CHUNK_BYTES // max(row_bytes, 1)))
    ends = sinks[0] if isinstance(sinks[0], Ends) else None
    positions = _Positions()
    with query_errors(where, text):
        reader = con.sql(sql, params=params).to_arrow_reader(chunk)
    with reader, Bar(desc=where, unit=" rows", disable=not progress, leave=False) as bar:
        for batch in _chunks(reader, where, text):
            bar.update(len(batch))
            if ends is not None and (gone := ends.missing(batch.columns[1:3])) is not None:
                batch = batch.filter(pa.array(~gone))  # noqa: PLW2901 - the same chunk, without them
            positions.append(batch.column(0).to_numpy())
            _hand_out(sinks, batch)
    made: dict[str, Any] = {}
    for sink in sinks:
        for name, value in sink.finish().items():
            if name in made:
                raise SchemaError(f"Attribute {name!r} of {where} is made twice; give one of them another name.")
            made[name] = value
    order = positions.order(where)
    return positions.count, made if order is None else _ordered(made, order)


def _chunks(reader: pa.RecordBatchReader, where: str, text: str) -> Iterator[pa.RecordBatch]:
    """Yield the chunks; one without rows if there are none, so that the sinks learn the types."""
    found = False
    while True:
        with query_errors(where, text):  # around nothing else: an encoder may fail by errors of its own
            batch = next(reader, None)
        if batch is None:
            break
        found = True
        yield batch
    if not found:
        arrays = [pa.array([], type=field.type) for field in reader.schema]
        yield pa.RecordBatch.from_arrays(arrays, schema=reader.schema)


def _hand_out(sinks: Sequence[Sink], batch: pa.RecordBatch) -> None:
    at = 1
    for sink in sinks:
        stop = at + len(sink.expressions)
        try:
            sink.append(batch.columns[at:stop])
        except NullValueError as error:
            error.row = batch.column(0)[error.row].as_py()
            raise
        at = stop


class _Positions:
    """The rows of the query that came, in the order in which they came; runs of neighbours take no memory."""

    def __init__(self) -> None:
        self.count = 0
        self._ascending, self._last = True, -1
        self._parts: list[range | np.ndarray[Any, Any]] = []

    def append(self, part: np.ndarray[Any, Any]) -> None:
        if not len(part):
            return
        steps = np.diff(part)
        self._ascending &= bool(part[0] > self._last and (steps > 0).all())
        self._last, self.count = part[-1], self.count + len(part)
        run = part[-1] - part[0] == len(part) - 1 and (steps == 1).all()
        self._parts.append(range(part[0], part[-1] + 1) if run else part.copy())

    def order(self, where: str) -> np.ndarray[Any, Any] | None:
        """Return what sorts the rows; None where they came sorted, as they do unless a join turned its sides around.

        Raises:
            DataError: A row came several times.
        """
        if self._ascending:
            return None
        positions = np.concatenate(self._parts)
        order = np.argsort(positions)
        twice = np.flatnonzero(np.diff(positions[order]) == 0)
        if len(twice):
            raise DataError(
                f"Row {positions[order[twice[0]]]} of {where} matches several nodes: their keys differ, but DuckDB takes them "
                "for equal (COLLATE, INTERVAL). Give the key another type: CAST it to VARCHAR."
            )
        return order


def _ordered(made: dict[str, Any], order: np.ndarray[Any, Any]) -> dict[str, Any]:
    """Return what came in the order of the query."""
    out: dict[str, Any] = {}
    for name, value in made.items():
        if name == "edge_index":
            out[name] = value[:, torch.from_numpy(order)]
        elif isinstance(value, pa.Table):
            out[name] = value.take(pa.array(order))
        elif isinstance(value, list):
            out[name] = [value[i] for i in order]
        elif isinstance(value, Tensor):
            out[name] = value[torch.from_numpy(order)]
        else:  # a TensorFrame
            out[name] = value[torch.from_numpy(order)]
    return out
