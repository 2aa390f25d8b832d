"""`Datetime`: dates and times as the parts that repeat (months, days of the week, hours …) and as time that goes on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from dbgnn.encoders.arrays import Flags, fill_nulls, is_text, is_time, plain
from dbgnn.encoders.encoder import ColumnEncoder, FitRows, State, as_names, column_sql, finite_only
from dbgnn.errors import DataError, SchemaError
from dbgnn.schema.remedy import cast_to
from dbgnn.sql import quote

#: By name of a part that repeats: the function that finds it, its first value, and after how many it begins again.
_CYCLIC: dict[str, tuple[Callable[[pa.Array], pa.Array], int, int]] = {
    "month": (pc.month, 1, 12),
    "day": (pc.day, 1, 31),
    "dayofyear": (pc.day_of_year, 1, 366),
    "dayofweek": (pc.day_of_week, 0, 7),
    "hour": (pc.hour, 0, 24),
    "minute": (pc.minute, 0, 60),
    "second": (pc.second, 0, 60),
}

#: Parts that go on.
LINEAR = ("year", "epoch")


@dataclass(frozen=True, slots=True, repr=False)
class Datetime(ColumnEncoder):
    """A DATE, TIMESTAMP (of any unit) or TIMESTAMPTZ (in UTC) as numbers, ``[N, k]``, in the order of the parts.

    Parts that repeat are ``month``, ``day``, ``dayofyear``, ``dayofweek`` (from Monday), ``hour``, ``minute`` and ``second``:
    two columns each, sine and cosine of the angle, or with ``cyclic=False`` the number (months and days from 1, the others
    from 0). Parts that go on are ``year`` and ``epoch`` (seconds since 1970): one column each, scaled so that the rows
    fitted on span 0 to 1, or with ``scale=False`` as they are.

    The dtype is float32, but float64 where ``epoch`` is not scaled: seconds since 1970 need more than 24 bits.

    Attributes:
        column: The column; None: the one with the attribute's name.
        parts: Which parts, one or more.
        cyclic: Parts that repeat are angles.
        scale: Parts that go on are scaled.
    """

    column: str | None = None
    parts: Sequence[str] = ("year", "month", "day", "dayofweek")
    cyclic: bool = True
    scale: bool = True

    def __post_init__(self) -> None:
        ColumnEncoder.__post_init__(self)
        object.__setattr__(self, "parts", as_names(self.parts))
        if wrong := [part for part in self.parts if part not in _CYCLIC and part not in LINEAR]:
            raise SchemaError(f"Datetime: there is no part {wrong[0]!r}; there are {', '.join([*LINEAR, *_CYCLIC])}.")
        if not self.parts:
            raise SchemaError("Datetime: parts is empty.")

    def fit(self, rows: FitRows) -> State:
        """Find the first and the last year and second by SQL, where they are scaled."""
        column = column_sql(self.name)
        if not is_time(kind := rows.arrow_type(column)):
            raise SchemaError(
                f"Column {self.name!r} arrives as {kind}; Datetime takes dates and timestamps{_cast(self.name, kind)}."
            )
        linear = [part for part in self.parts if part in LINEAR]
        if not (self.scale and linear):
            return {}
        found = rows.select(f"min({column}), max({column})")
        ends = pa.concat_arrays([plain(c) for c in found.columns])
        if ends.null_count:
            rows.lack(self.name, "no value but NULL")
        times = self._times(fill_nulls(ends, None))
        return {part: [float(v) for v in _linear(part, times)] for part in linear}

    def values(self, state: State) -> Callable[[pa.Array, Flags | None], Tensor]:
        """Return the function that computes the parts."""
        dtype = np.float64 if "epoch" in self.parts and not self.scale else np.float32

        def values(array: pa.Array, missing: Flags | None) -> Tensor:  # noqa: ARG001 - their zeros come later
            times = self._times(array)
            columns = [c for part in self.parts for c in self._columns(part, times, state)]
            return torch.from_numpy(np.stack(columns, axis=1).astype(dtype))

        return values

    def _columns(self, part: str, times: pa.Array, state: State) -> list[np.ndarray[Any, Any]]:
        if part in LINEAR:
            given = _linear(part, times)
            if not self.scale:
                return [given]
            low, high = state[part]
            return [(given - low) / (high - low if high > low else 1.0)]
        function, first, cycle = _CYCLIC[part]
        number = function(times).to_numpy().astype(np.float64)
        if not self.cyclic:
            return [number]
        angle = (number - first) * (2 * np.pi / cycle)
        return [np.sin(angle), np.cos(angle)]

    def _times(self, array: pa.Array) -> pa.Array:
        """Return dates as times, too; DuckDB's infinity, which is no date, is an error."""
        if not is_time(array.type):
            raise SchemaError(f"Column {self.name!r} arrives as {array.type}; Datetime takes dates and timestamps.")
        wide = array.view(pa.int32() if pa.types.is_date32(array.type) else pa.int64()).to_numpy()
        largest = np.iinfo(wide.dtype).max
        if (np.abs(np.maximum(wide, -largest)) == largest).any():
            raise DataError(f"Column {self.name!r} holds 'infinity', which has no parts. {finite_only(self.name)}.")
        return array.cast(pa.timestamp("s")) if pa.types.is_date32(array.type) else array


def _linear(part: str, times: pa.Array) -> np.ndarray[Any, Any]:
    """Return the year, or the seconds since 1970, as float64."""
    if part == "year":
        return np.asarray(pc.year(times).to_numpy().astype(np.float64))
    per_second = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[times.type.unit]
    return np.asarray(times.view(pa.int64()).to_numpy() / per_second)


def _cast(name: str, kind: pa.DataType) -> str:
    """Return how text, or seconds, become timestamps; "" for what is neither."""
    if is_text(kind):
        return f". {cast_to(name, 'TIMESTAMP')}"
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        return ""
    made = f"make_timestamp(({quote(name)} * 1000000)::BIGINT)"
    return (
        f". Where it counts seconds since 1970, take {made} AS {quote(name)} in a query, or ALTER TABLE … ALTER {quote(name)} "
        f"TYPE TIMESTAMP USING {made}"
    )
