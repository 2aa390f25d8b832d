"""The order in which shuffled seeds come: torch's own, whether mini-batches are drawn one by one or all at once."""

from __future__ import annotations

import pytest
import torch
from torch.utils.data import BatchSampler, RandomSampler

from dbgnn.loader.seeds.order import NumberedBatches, SeedDataset, Shuffled


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize(("count", "size"), [(100, 7), (98, 7), (3, 7), (1, 1)])
@pytest.mark.parametrize("given", [False, True])
def test_epochs_are_torch_s(count: int, size: int, *, drop_last: bool, given: bool) -> None:
    seeds = SeedDataset(count)
    orders = []
    for kind in (RandomSampler, Shuffled):
        torch.manual_seed(5)
        generator = torch.Generator().manual_seed(3) if given else None
        batches = NumberedBatches(BatchSampler(kind(seeds, generator=generator), size, drop_last))
        epochs = [list(batches) for _ in range(3)]
        assert [(b.epoch, b.number) for e in epochs for b in e] == [(i, j) for i, e in enumerate(epochs) for j in range(len(e))]
        orders.append([[b.tensor().tolist() for b in epoch] for epoch in epochs])
    assert orders[0] == orders[1]
    assert sum(map(len, orders[1][0])) == (count - count % size if drop_last else count)


def test_a_class_of_one_s_own_is_asked_for_every_index() -> None:
    class Backwards(Shuffled):
        def __iter__(self):  # type: ignore[no-untyped-def]
            return iter(range(len(self.data_source) - 1, -1, -1))

    batches = NumberedBatches(BatchSampler(Backwards(SeedDataset(5)), 2, drop_last=False))
    assert [batch.tensor().tolist() for batch in batches] == [[4, 3], [2, 1], [0]]
