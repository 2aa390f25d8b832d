"""`Quantize`: rows of floats as 8-bit codes, each row with a scale and a zero point of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from dbgnn.arrow import codes_array, expand
from dbgnn.encoders.arrays import Flags, numbers
from dbgnn.encoders.encoder import ColumnEncoder, Encoding, FitRows, State
from dbgnn.encoders.numeric import Identity, number_shape
from dbgnn.errors import DataError, SchemaError
from dbgnn.schema.packed import HEAD

#: The least code, and how many steps there are to the greatest.
_LEAST, _STEPS = -128, 255

#: The largest value. Beyond half of float32's range, scale · code need not be within it.
_LARGEST = float(np.finfo(np.float32).max) / 2


@dataclass(frozen=True, slots=True, repr=False)
class Quantize(ColumnEncoder):
    """A vector of floats as int8 codes: a quarter of the bytes, served as float32 ``[N, n]``.

    A code stands for ``zero point + scale · code``. Every row has its own scale, (its greatest - its least value) / 255, as the
    8-bit tables of embeddings of recommender systems have them: nothing is learned, so a row that comes later is never outside
    of what the first ones spanned, which a range of the column would have to clip. No value is off by more than half a scale,
    (greatest - least) / 510 of its row, and what float32 rounds; a row of equal values is exact. Columns of very different
    size side by side (a year and a rate) are for :class:`Normalize` first, since the largest decides the scale.

    ``graph.encode("paper", "x8", dbgnn.Quantize("x"))`` keeps the codes in a column, which loaders serve as floats. In
    ``to_heterodata`` and ``query_to_heterodata`` it gives the same floats as loaders do.

    Attributes:
        column: The column, of ``FLOAT[n]`` or other numbers; None: the one with the attribute's name.
    """

    column: str | None = None

    policies: ClassVar[tuple[str, ...]] = ("error", "fill")

    def fit(self, rows: FitRows) -> State:
        """Learn nothing; refuse what is no vector of numbers."""
        kind = rows.sql_type(self.name)
        if len(number_shape(self.name, kind)) != 1:
            raise SchemaError(f"Quantize takes vectors such as FLOAT[n], and column {self.name!r} has type {kind}.")
        return {}

    def values(self, state: State) -> Callable[[pa.Array, Flags | None], Tensor]:  # noqa: ARG002 - it is empty
        """Return the function that gives the floats which the codes stand for."""

        def values(array: pa.Array, missing: Flags | None) -> Tensor:  # noqa: ARG001 - NULL was filled or refused
            kept = codes(numbers(array, self.name), self.name)
            out = torch.empty((len(kept), kept.shape[1] - HEAD))
            expand(kept, out)
            return out

        return values

    def for_column(self, state: State) -> Encoding:  # noqa: ARG002 - it is empty
        """Return the function that gives what a column keeps: scale, zero point and codes."""
        floats = Identity(self.column, null=self.null, fill=self.fill).encoding({})
        return lambda arrays: codes_array(codes(floats(arrays), self.name))


def codes(values: Tensor, name: str) -> Tensor:
    """Return rows of numbers as what a column keeps of them, uint8 ``[N, 8 + n]``: scale, zero point, and int8 codes.

    Args:
        values: ``[N, n]``, of any dtype that NumPy has.
        name: The column, for messages.

    Raises:
        DataError: A value is not finite, or is beyond half of float32's range.
    """
    given = values.numpy().astype(np.float64)
    low, high = given.min(axis=1, initial=np.inf), given.max(axis=1, initial=-np.inf)
    bad = ~((np.abs(low) <= _LARGEST) & (np.abs(high) <= _LARGEST))  # NaN is not less than anything
    if bad.any():
        row = given[bad][0]
        value = row[~(np.abs(row) <= _LARGEST)][0]
        raise DataError(
            f"Column {name!r} holds {value}, the first of {int(bad.sum()):,} such rows here, which 8-bit codes "
            f"cannot stand for: they need finite numbers up to {_LARGEST:.1e}. Make such rows NULL and give null='fill', "
            "or leave the column as it is."
        )
    scale = ((high - low) / _STEPS).astype(np.float32)
    zero = np.where(scale > 0, low - _LEAST * scale.astype(np.float64), low).astype(np.float32)
    places = (given - zero[:, None].astype(np.float64)) / np.where(scale > 0, scale, 1).astype(np.float64)[:, None]
    kept = np.zeros((len(given), HEAD + given.shape[1]), dtype=np.uint8)
    kept[:, :HEAD] = np.stack([scale, zero], axis=1).view(np.uint8)
    kept[:, HEAD:] = np.clip(np.rint(places), _LEAST, _LEAST + _STEPS).astype(np.int8).view(np.uint8)
    return torch.from_numpy(kept)
