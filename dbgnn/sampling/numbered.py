"""`NumberedBatch`: the seeds of one mini-batch with the numbers that its random draws count from."""

from __future__ import annotations

from array import array
from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor


class NumberedBatch(array):  # type: ignore[type-arg] # Python 3.11 has no array[int] at run time
    """The indices of one mini-batch, with its epoch and its number in it; 4 or 8 bytes an index, where a list takes 36."""

    epoch: int
    number: int

    @classmethod
    def of(cls, indices: Iterable[int] | Tensor, epoch: int, number: int) -> NumberedBatch:
        """Make one, of any integers, or of a tensor int32 or int64 ``[n]``."""
        if isinstance(indices, Tensor):
            batch = cls("i" if indices.dtype == torch.int32 else "q", indices.numpy().tobytes())
        else:
            given = list(indices)
            try:
                batch = cls("i", given)
            except OverflowError:
                batch = cls("q", given)
        batch.epoch, batch.number = epoch, number
        return batch

    def tensor(self) -> Tensor:
        """Return the indices, int64 ``[n]``."""
        return torch.from_numpy(np.array(self, dtype=np.int64))
