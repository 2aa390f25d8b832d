"""`Text` and `Apply`: functions of the user's own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from dbgnn.arrow import DTYPES
from dbgnn.encoders.arrays import Flags, fill_nulls, is_text, null_rows, plain
from dbgnn.encoders.encoder import (
    ColumnEncoder,
    Encoder,
    Encoding,
    FitRows,
    State,
    as_names,
    check_policy,
    column_sql,
)
from dbgnn.encoders.nulls import NullValueError
from dbgnn.errors import DataError, SchemaError
from dbgnn.schema.remedy import cast_to


@dataclass(frozen=True, slots=True, repr=False)
class Text(ColumnEncoder):
    """Text as vectors, by a function of yours (such as the ``encode`` of a sentence transformer): float32 ``[N, d]``.

    The function is called without gradients, with lists of at most ``batch_size`` strings and never with an empty one. With
    ``null='mask'`` it does not see what is NULL.

    Attributes:
        function: ``list[str] -> [n, d]``, a tensor or an array.
        column: The column; None: the one with the attribute's name.
        batch_size: How many strings a call gets.
        called: What the function is called in the JSON document; None: its own name.
    """

    function: Callable[[list[str]], Any]
    column: str | None = None
    batch_size: int = field(default=1024, kw_only=True)
    called: str | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        ColumnEncoder.__post_init__(self)
        object.__setattr__(self, "called", self.called or name_of(self.function))
        if self.batch_size < 1:
            raise SchemaError(f"Text: batch_size={self.batch_size} is no size of a batch.")

    def fit(self, rows: FitRows) -> State:
        """Find the width: by the first text that is not NULL."""
        column = column_sql(self.name)
        if not is_text(kind := rows.arrow_type(column)):
            raise SchemaError(f"Column {self.name!r} arrives as {kind}; Text takes text. {cast_to(self.name, 'VARCHAR')}.")
        found = plain(rows.select(f"{column} AS value", f"WHERE {column} IS NOT NULL LIMIT 1").column(0)).to_pylist()
        return {"width": self._call(found or [""]).shape[1]}

    def values(self, state: State) -> Callable[[pa.Array, Flags | None], Tensor]:
        """Return the function that calls the user's."""
        width = state["width"]

        def values(array: pa.Array, missing: Flags | None) -> Tensor:
            if not is_text(array.type):
                raise SchemaError(f"Column {self.name!r} arrives as {array.type}; Text takes text.")
            there = np.arange(len(array)) if missing is None else np.flatnonzero(~missing)
            out = torch.zeros((len(array), width), dtype=torch.float32)
            for i in range(0, len(there), self.batch_size):
                rows = there[i : i + self.batch_size]
                made = self._call(array.take(pa.array(rows)).to_pylist())
                if made.shape[1] != width:
                    raise DataError(
                        f"Text: {self.called} made vectors of {made.shape[1]} numbers, and of {width} when it was fitted."
                    )
                out[torch.from_numpy(rows)] = made
            return out

        return values

    def _call(self, texts: list[str]) -> Tensor:
        with torch.no_grad():
            made = tensor_of(self.function(texts), f"Text: {self.called}")
        if made.dim() != 2 or len(made) != len(texts):
            raise DataError(
                f"Text: {self.called} made shape {list(made.shape)} of {len(texts)} texts, and should make [{len(texts)}, d]."
            )
        vectors = made.float()
        if made.dtype == torch.float64 and (lost := vectors.isinf() & ~made.isinf()).any():
            raise DataError(f"Text: {self.called} made {made[lost][0].item()!r}, which float32 cannot hold.")
        return vectors


@dataclass(frozen=True, slots=True, repr=False)
class Apply(Encoder):
    """Any function of Arrow arrays, one per column, to a tensor ``[n, …]`` of the function's dtype.

    It is called without gradients and with chunks of rows whose sizes may be any, so what it makes of a row must not depend
    on the others. Fitting calls it with one row, so that it is known what no rows at all become. ENUMs arrive as text.

    Attributes:
        function: ``(*arrays) -> [n, …]``, a tensor or an array.
        columns: The columns; empty: the one with the attribute's name.
        null: ``"error"``, ``"fill"`` (``fill`` takes the place of each NULL), or ``"pass"``: the function gets NULL as it is.
        fill: What stands for NULL.
        called: What the function is called in the JSON document; None: its own name.
    """

    function: Callable[..., Any]
    columns: Sequence[str] = ()
    null: str = "error"
    fill: Any = None
    called: str | None = None

    def __post_init__(self) -> None:
        fill = check_policy(self, self.null, self.fill, ("error", "fill", "pass"))
        named = as_names(self.columns)
        for name, value in (
            ("columns", named),
            ("fill", fill),
            ("called", self.called or name_of(self.function)),
        ):
            object.__setattr__(self, name, value)

    def bound(self, name: str) -> Apply:
        """Return the encoder with its columns named."""
        return self if self.columns else replace(self, columns=(name,))

    def fit(self, rows: FitRows) -> State:
        """Find shape and dtype: by the first row that has no NULL (``null='pass'``: by the first)."""
        there = " AND ".join(f"{column_sql(c)} IS NOT NULL" for c in self.columns)
        rest = "LIMIT 1" if self.null == "pass" else f"WHERE {there} LIMIT 1"
        found = rows.select(", ".join(f"{column_sql(c)} AS c{i}" for i, c in enumerate(self.columns)), rest)
        if not len(found):
            return {}
        made = self._call(found.columns)
        return {"shape": list(made.shape[1:]), "dtype": dtype_name(made)}

    def encoding(self, state: State) -> Encoding:
        """Return the function that calls the user's."""

        def encode(arrays: Sequence[pa.Array]) -> Tensor:
            if not len(arrays[0]) and state:
                return torch.empty((0, *state["shape"]), dtype=getattr(torch, state["dtype"]))
            made = self._call(arrays)
            kind = {"shape": list(made.shape[1:]), "dtype": dtype_name(made)}
            if state and kind != state:
                raise DataError(
                    f"Apply: {self.called} made rows of {kind['dtype']} {kind['shape']}, and of {state['dtype']} "
                    f"{state['shape']} when it was fitted. Have it convert what it makes to one dtype and shape."
                )
            return made

        return encode

    def _call(self, arrays: Sequence[pa.Array]) -> Tensor:
        given = [self._without_nulls(plain(array), name) for array, name in zip(arrays, self.columns, strict=True)]
        with torch.no_grad():
            made = tensor_of(self.function(*given), f"Apply: {self.called}")
        if made.dtype not in DTYPES.values():
            raise SchemaError(f"Apply: {self.called} made {made.dtype}; have it convert that to one of {', '.join(DTYPES)}.")
        if made.dim() == 0 or len(made) != len(arrays[0]):
            raise DataError(
                f"Apply: {self.called} made shape {list(made.shape)} of {len(arrays[0])} rows, and should make one each."
            )
        return made

    def _without_nulls(self, array: pa.Array, name: str) -> pa.Array:
        missing = None if self.null == "pass" else null_rows(array)
        if missing is None:
            return array
        if self.null == "error":
            raise NullValueError(name, int(missing.argmax()))
        return fill_nulls(array, self.fill)


def name_of(function: object) -> str:
    """Return what a function is called."""
    if not callable(function):
        raise SchemaError(f"An encoder's function must be callable; {function!r} is not.")
    return getattr(function, "__qualname__", type(function).__name__)


def dtype_name(made: Tensor) -> str:
    """Return what a tensor's dtype is called, such as ``"float32"``."""
    return str(made.dtype).removeprefix("torch.")


def tensor_of(made: Any, who: str) -> Tensor:
    """Return what a user's function made as a dense tensor on the CPU, without gradient."""
    if isinstance(made, Tensor):
        if made.layout != torch.strided:
            raise SchemaError(f"{who} made a sparse tensor; make it dense with .to_dense().")
        return made.detach().cpu()
    if isinstance(made, np.ndarray) and made.dtype.name in DTYPES:
        # torch warns of memory that may not be written to, and takes no bytes of the other order
        return torch.from_numpy(np.require(made, dtype=made.dtype.newbyteorder("="), requirements=["C", "W"]))
    dense = ", or a dense array with .toarray()" if hasattr(made, "toarray") else ""
    kind = f"an array of {made.dtype}" if isinstance(made, np.ndarray) else f"a {type(made).__name__}"
    raise SchemaError(f"{who} made {kind}; have it make a torch.Tensor or a NumPy array of numbers{dense}.")
