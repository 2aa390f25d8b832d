"""`Quantize`: rows of floats as 8-bit codes, each row with a scale and a least value of its own."""

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
from dbgnn.schema.packed import SCALE

#: The greatest code.
_STEPS = 255

#: The largest value: the distance of two such values is within float32.
_LARGEST = 1e38


@dataclass(frozen=True, slots=True, repr=False)
class Quantize(ColumnEncoder):
    """A vector of floats as 8-bit codes: a quarter of the bytes, served as float32 ``[N, n]``.

    A code stands for ``least + scale · code``. Every row has its own least value and scale, (greatest - least) / 255, as the
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
            out = torch.empty((len(kept), kept.shape[1] - SCALE))
            expand(kept, out)
            return out

        return values

    def for_column(self, state: State) -> Encoding:  # noqa: ARG002 - it is empty
        """Return the function that gives what a column keeps."""
        floats = Identity(self.column, null=self.null, fill=self.fill).encoding({})
        return lambda arrays: codes_array(codes(floats(arrays), self.name))


def codes(values: Tensor, name: str) -> Tensor:
    """Return rows of numbers as what a column keeps of them, uint8 ``[N, n + 8]``: codes, scale and least value.

    Args:
        values: ``[N, n]``, of any dtype that NumPy has.
        name: The column, for messages.

    Raises:
        DataError: A value is not finite, or is beyond 1e38.
    """
    given = values.numpy().astype(np.float64)
    low, high = given.min(axis=1, initial=np.inf), given.max(axis=1, initial=-np.inf)
    bad = ~((np.abs(low) <= _LARGEST) & (np.abs(high) <= _LARGEST))  # NaN is not less than anything
    if bad.any():
        row = given[bad][0]
        value = row[~(np.abs(row) <= _LARGEST)][0]
        raise DataError(
            f"Column {name!r} holds {value}, the first of {int(bad.sum()):,} such rows here, which 8-bit codes "
            f"cannot stand for: they need finite numbers up to {_LARGEST:.0e}. Make such rows NULL and give null='fill', "
            "or leave the column as it is."
        )
    scale, least = ((high - low) / _STEPS).astype(np.float32), low.astype(np.float32)
    places = (given - least[:, None]) / np.where(scale > 0, scale, 1).astype(np.float64)[:, None]
    made = np.clip(np.rint(places), 0, _STEPS).astype(np.uint8)
    return torch.from_numpy(np.concatenate([made, np.stack([scale, least], axis=1).view(np.uint8)], axis=1))
