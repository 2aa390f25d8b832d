"""`Hash`: values of any number of categories into a fixed number of buckets, without learning anything."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import torch
import xxhash
from torch import Tensor

from dbgnn.encoders.arrays import Flags
from dbgnn.encoders.category import canonical, in_python
from dbgnn.encoders.encoder import ColumnEncoder, FitRows, State, choice, column_sql
from dbgnn.errors import SchemaError


@dataclass(frozen=True, slots=True, repr=False)
class Hash(ColumnEncoder):
    """The hashing trick (Weinberger et al., 2009): XXH3 of the value's text, the same in every version and on every machine.

    Takes what :class:`OneHot` takes. With ``output='ids'`` int64 ``[N]`` for an embedding, 0 … buckets - 1, where NULL
    (``null='mask'``) is ``buckets``. With ``output='onehot'`` float32 ``[N, buckets]`` with one 1 a row, or with ``signed``
    a 1 or -1, so that values that share a bucket do not add up.

    Attributes:
        column: The column; None: the one with the attribute's name.
        buckets: How many.
        signed: Half of the values count as -1.
        output: ``"ids"`` or ``"onehot"``.
    """

    column: str | None = None
    buckets: int = field(default=1024, kw_only=True)
    signed: bool = field(default=False, kw_only=True)
    output: str = field(default="ids", kw_only=True)

    def __post_init__(self) -> None:
        ColumnEncoder.__post_init__(self)
        choice(self, "output", self.output, ("ids", "onehot"))
        if self.buckets < 1:
            raise SchemaError(f"Hash: buckets={self.buckets} is no number of buckets.")
        if self.signed and self.output == "ids":
            raise SchemaError("Hash: signed=True gives 1 and -1, and so needs output='onehot'.")

    def fit(self, rows: FitRows) -> State:
        """Learn nothing, but see that the column can be hashed."""
        canonical(pa.array([], rows.arrow_type(column_sql(self.name))), self.name)
        return {}

    def values(self, state: State) -> Callable[[pa.Array, Flags | None], Tensor]:  # noqa: ARG002 - it is empty
        """Return the function that hashes."""

        def values(array: pa.Array, missing: Flags | None) -> Tensor:
            coded = canonical(array, self.name).dictionary_encode()
            # Python sees every distinct value of the chunk once
            hashes = np.array(
                [xxhash.xxh3_64_intdigest(str(v).encode()) for v in in_python(coded.dictionary, self.name)], dtype=np.uint64
            )
            found = hashes[coded.indices.to_numpy()]
            buckets = (found % np.uint64(self.buckets)).astype(np.int64)
            if self.output == "ids":
                return torch.from_numpy(buckets if missing is None else np.where(missing, self.buckets, buckets))
            out = np.zeros((len(array), self.buckets), dtype=np.float32)
            out[np.arange(len(array)), buckets] = np.where(found >> np.uint64(63), -1, 1) if self.signed else 1
            return torch.from_numpy(out)

        return values

    def masked(self, out: Tensor, missing: Flags | None) -> Tensor:
        """Return ids as they are: NULL has one of its own."""
        return out if self.output == "ids" else ColumnEncoder.masked(self, out, missing)
