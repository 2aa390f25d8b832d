"""`Identity`, `Stack`, `Normalize`: numbers that stay numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from dbgnn.encoders.arrays import Flags, as_floats, numbers
from dbgnn.encoders.encoder import (
    ColumnEncoder,
    Encoder,
    Encoding,
    FitRows,
    State,
    check_policy,
    choice,
    column_sql,
    finite_only,
)
from dbgnn.errors import DataError, SchemaError
from dbgnn.schema.remedy import cast_to
from dbgnn.schema.types import Column, tensor_type

#: How many elements of an array get their statistics in one statement.
_GROUP = 128


@dataclass(frozen=True, slots=True, repr=False)
class Identity(ColumnEncoder):
    """The column as it is: numbers, truth values, dates, times, ``FLOAT[n]``; a tensor ``[N]`` or ``[N, n]`` of its own dtype.

    Dates and times are int64 counted from 1970-01-01 UTC, as everywhere. DECIMAL and HUGEINT are float64; a whole number that
    it does not hold exactly is an error. With ``null='mask'`` ``[N]`` becomes ``[N, 2]``.

    Attributes:
        column: The column; None: the one with the attribute's name.
    """

    column: str | None = None

    def fit(self, rows: FitRows) -> State:  # noqa: ARG002 - there is nothing to learn
        """Learn nothing."""
        return {}

    def values(self, state: State) -> Callable[[pa.Array, Flags | None], Tensor]:  # noqa: ARG002 - it is empty
        """Return the function that takes the numbers as they are."""
        return lambda array, _: numbers(array, self.name)


@dataclass(frozen=True, slots=True, repr=False, init=False)
class Stack(Encoder):
    """Columns and encoders side by side: ``[N, k]``, where a scalar makes one column and a vector as many as it has.

    ``Stack('year', Normalize('budget'), OneHot('lang'))``. A whole number that the dtype does not hold exactly (beyond
    2**24 in float32) is an error, as is an overflow.

    Attributes:
        parts: Names of columns, or encoders that name theirs.
        dtype: ``"float32"`` or ``"float64"``.
        null: The policy for the columns given by name; encoders have their own.
        fill: What stands for NULL with ``null='fill'``.
    """

    parts: tuple[Encoder, ...]
    dtype: str = "float32"
    null: str = "error"
    fill: Any = None

    def __init__(self, *parts: str | Encoder, dtype: str = "float32", null: str = "error", fill: Any = None) -> None:
        fill = check_policy(self, null, fill)
        choice(self, "dtype", dtype, ("float32", "float64"))
        if not parts:
            raise SchemaError("Stack needs columns or encoders: Stack('year', Normalize('budget')).")
        made = tuple(Identity(p, null=null, fill=fill) if isinstance(p, str) else _part(p) for p in parts)
        for name, value in (("parts", made), ("dtype", dtype), ("null", null), ("fill", fill)):
            object.__setattr__(self, name, value)

    def __repr__(self) -> str:
        kept = [f"{name}={value!r}" for name, value in self.options().items() if name == "dtype"]
        return f"Stack({', '.join([*map(repr, self.parts), *kept])})"

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of all parts, each once."""
        return tuple(dict.fromkeys(c for part in self.parts for c in part.columns))

    def found(self, state: State) -> str:
        """Return what the parts found."""
        found = [part.found(of) for part, of in zip(self.parts, state["parts"], strict=True)]
        return "; ".join(filter(None, found))

    def fit(self, rows: FitRows) -> State:
        """Fit every part."""
        return {"parts": [part.fit(rows) for part in self.parts]}

    def encoding(self, state: State) -> Encoding:
        """Return the function that puts the parts side by side."""
        place = {column: i for i, column in enumerate(self.columns)}
        parts = [
            (part.encoding(found), [place[c] for c in part.columns], ", ".join(part.columns))
            for part, found in zip(self.parts, state["parts"], strict=True)
        ]

        def encode(arrays: Sequence[pa.Array]) -> Tensor:
            made = []
            for function, places, name in parts:
                out = function([arrays[i] for i in places])
                if not isinstance(out, Tensor):
                    raise SchemaError(f"Stack puts tensors side by side; the part of {name} makes a {type(out).__name__}.")
                made.append(as_floats(out.reshape(len(out), math.prod(out.shape[1:])), self.dtype, name))
            return torch.from_numpy(np.concatenate(made, axis=1))

        return encode


#: By `how`: SQL aggregates of the values v beside min and max, and what makes shift and scale of them.
_STATISTICS: dict[str, tuple[tuple[str, ...], Callable[..., tuple[float, float]]]] = {
    "standard": (("avg({v})", "stddev_pop({v})"), lambda mean, std: (mean, std)),
    "minmax": ((), lambda: (0.0, 0.0)),
    "robust": (
        tuple(f"quantile_cont({{v}}, {q})" for q in (0.25, 0.5, 0.75)),
        lambda low, middle, high: (middle, high - low),
    ),
}


@dataclass(frozen=True, slots=True, repr=False)
class Normalize(ColumnEncoder):
    """Numbers shifted and scaled by statistics of the rows fitted on: float32 ``[N]``, or ``[N, n]`` element by element.

    Also takes DECIMAL and HUGEINT. NULL takes no part in the statistics; NaN and infinity are an error in fitting. Where
    there is no spread, the values are only shifted, so a constant column becomes 0. With ``null='mask'`` NULL becomes 0,
    which is the mean, minimum or median.

    Attributes:
        column: The column; None: the one with the attribute's name.
        how: ``"standard"``: mean 0 and (population) standard deviation 1; ``"minmax"``: 0 to 1; ``"robust"``: median 0 and
            distance of the quartiles 1 (DuckDB holds the column in memory to find them).
    """

    column: str | None = None
    how: str = "standard"

    def __post_init__(self) -> None:
        ColumnEncoder.__post_init__(self)
        choice(self, "how", self.how, tuple(_STATISTICS))

    def fit(self, rows: FitRows) -> State:
        """Compute shift and scale in SQL: one scan, or for long arrays one per 128 elements."""
        shape = number_shape(self.name, rows.sql_type(self.name))
        column = column_sql(self.name)
        values = [f"{column}[{i + 1}]" for i in range(shape[0])] if shape else [column]
        group = _GROUP // 16 if self.how == "robust" else _GROUP  # a quantile holds its values in memory
        found = [pair for i in range(0, len(values), group) for pair in self._statistics(rows, values[i : i + group])]
        shifts, scales = [p[0] for p in found], [p[1] for p in found]
        return {"shift": shifts, "scale": scales} if shape else {"shift": shifts[0], "scale": scales[0]}

    def _statistics(self, rows: FitRows, values: Sequence[str]) -> list[tuple[float, float]]:
        aggregates, made = _STATISTICS[self.how]
        wanted = ("min({v})", "max({v})", *aggregates)
        casts = ", ".join(f"CAST({value} AS DOUBLE) AS v{i}" for i, value in enumerate(values))
        columns = ", ".join(w.format(v=f"v{i}") for i in range(len(values)) for w in wanted)
        table = rows.run(f"SELECT {columns} FROM (SELECT {casts} FROM {rows.sql})")
        numbers_found = [column[0].as_py() for column in table.columns]
        pairs = []
        for i in range(0, len(numbers_found), len(wanted)):
            low, high, *rest = numbers_found[i : i + len(wanted)]
            if low is None:
                rows.lack(self.name, "no value but NULL")
                pairs.append((0.0, 1.0))
                continue
            if not all(map(math.isfinite, (low, high, high - low, *rest))):
                raise DataError(
                    f"Column {self.name!r} of {rows.label!r} holds NaN, infinity or numbers too large in the rows to fit on, "
                    f"which have no mean and no range. {finite_only(self.name)}; then give the encoder null='fill' or "
                    "null='mask'."
                )
            # min = max rather than a deviation of 0: rounding makes that of a constant 1e-17
            shift, scale = made(*rest) if low < high and aggregates else (low, high - low)
            pairs.append((shift, scale if scale > 0 else 1.0))
        return pairs

    def found(self, state: State) -> str:
        """Return shift and scale, of an array those of the first element."""
        shift, scale = (np.atleast_1d(state[name])[0] for name in ("shift", "scale"))
        return f"shift {shift:.6g}, scale {scale:.6g}" + (", …" if isinstance(state["shift"], list) else "")

    def values(self, state: State) -> Callable[[pa.Array, Flags | None], Tensor]:
        """Return the function that shifts and scales."""
        shift, scale = np.asarray(state["shift"]), np.asarray(state["scale"])

        def values(array: pa.Array, missing: Flags | None) -> Tensor:  # noqa: ARG001 - their zeros come later
            if pa.types.is_decimal(array.type):
                array = array.cast(pa.float64())
            given = numbers(array, self.name).numpy()
            if given.shape[1:] != shift.shape:
                raise SchemaError(
                    f"Column {self.name!r} has values of shape {list(given.shape[1:])}; the encoder was fitted on "
                    f"{list(shift.shape)}."
                )
            scaled = (given.astype(np.float64) - shift) / scale
            return torch.from_numpy(as_floats(torch.from_numpy(scaled), "float32", self.name))

        return values


def number_shape(name: str, sql_type: str) -> tuple[int, ...]:
    """Return the shape of a column of numbers; refuse others."""
    if sql_type.startswith("DECIMAL") or sql_type in {"HUGEINT", "UHUGEINT"}:
        if sql_type.endswith("]"):
            raise SchemaError(
                f"Column {name!r} has type {sql_type}. {cast_to(name, 'DOUBLE' + sql_type[sql_type.index('[') :])}."
            )
        return ()
    column = tensor_type(name, sql_type)
    if column.reason is not None or column.unit or len(column.shape) > 1:
        raise SchemaError(f"Column {name!r} has type {sql_type}, which is no number: {_instead(column)}.")
    return column.shape


def _instead(column: Column) -> str:
    """Return what to do with a column that is no number and no vector of them."""
    if len(column.shape) > 1:
        return "use Identity or Stack (Normalize takes vectors, OneHot and its like take single values)"
    if column.sql_type.startswith(("ENUM", "UUID")) or column.sql_type == "VARCHAR":
        what = f"{column.reason.partition(';')[0]}; " if column.reason else ""
        return f"{what}use OneHot, Ordinal or Hash"
    if column.reason is None:
        return "use Datetime"
    return column.reason


def _part(given: object) -> Encoder:
    """Return a part of a `Stack` that is no name; refuse what is no encoder."""
    if not isinstance(given, Encoder):
        raise SchemaError(f"Stack takes names of columns and encoders, not {given!r}.")
    if not given.columns:
        raise SchemaError(f"{given!r} in a Stack names no column; there is no attribute of its own to take the name from.")
    return given
