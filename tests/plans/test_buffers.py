"""`Buffers`: memory is used again, and never while anybody can see it."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.dlpack import from_dlpack
from torch_geometric.data import Data

import dbgnn
from dbgnn.arrow import DTYPES
from dbgnn.plans import buffers as module
from dbgnn.plans.buffers import Buffers

ROWS, DIM = 2000, 16  # float32: 128,000 bytes, just large enough to be kept


def filled(ring: Buffers, value: int, rows: int = ROWS) -> Tensor:
    return ring.empty((rows, DIM), "float32").fill_(value)


@pytest.fixture
def ring() -> Buffers:
    return Buffers()


@pytest.mark.parametrize("dtype", sorted(DTYPES))
@pytest.mark.parametrize("shape", [(0,), (3, 0, 2), (), (7,), (100_000,), (5000, 3, 7)], ids=str)
def test_shape_dtype_and_layout(ring: Buffers, shape: tuple[int, ...], dtype: str) -> None:
    for _ in range(2):  # fresh, then used before
        tensor = ring.empty(shape, dtype)
        assert tensor.shape == shape
        assert tensor.dtype == DTYPES[dtype]
        assert tensor.is_contiguous()
        tensor.zero_()
        assert torch.equal(tensor, torch.zeros(shape, dtype=DTYPES[dtype]))
        del tensor


def test_memory_is_used_again(ring: Buffers) -> None:
    tensor = filled(ring, 1)
    address = tensor.data_ptr()
    del tensor
    assert ring.empty((ROWS, DIM), "float32").data_ptr() == address
    assert ring.empty((ROWS * DIM,), "int32").data_ptr() == address  # whatever it held
    assert ring.empty((ROWS + 200, DIM), "float32").data_ptr() == address  # a tenth larger
    assert ring.empty((ROWS - 200, DIM), "float32").data_ptr() == address


def test_memory_in_use_is_not_used_again(ring: Buffers) -> None:
    a, b = filled(ring, 1), filled(ring, 2)
    assert a.data_ptr() != b.data_ptr()
    assert (a == 1).all()


def test_a_small_request_does_not_take_a_large_buffer(ring: Buffers) -> None:
    filled(ring, 1, rows=10 * ROWS)
    before = ring.idle
    tensor = filled(ring, 1)
    assert ring.idle == before
    del tensor
    assert filled(ring, 1, rows=10 * ROWS).sum() == 10 * ROWS * DIM
    assert ring.idle > before


def test_the_buffer_that_fits_best_is_taken(ring: Buffers) -> None:
    tensors = {rows: filled(ring, 1, rows) for rows in (3000, 2000, 2500)}
    addresses = {rows: tensor.data_ptr() for rows, tensor in tensors.items()}
    tensors.clear()
    assert {rows: filled(ring, 1, rows).data_ptr() for rows in addresses} == addresses


@pytest.mark.parametrize(
    "keep",
    [
        lambda t: t,
        lambda t: t[5:10],
        lambda t: t[5],
        lambda t: t.t(),
        lambda t: t.view(-1)[::3],
        lambda t: t.view(torch.int32),
        lambda t: t.detach(),
        lambda t: t.requires_grad_(),
        lambda t: t.untyped_storage(),
        lambda t: t.numpy(),
        lambda t: t.numpy()[3:],
        lambda t: memoryview(t.numpy()),
        lambda t: torch.from_numpy(t.numpy()[3:]),
        lambda t: from_dlpack(t),  # noqa: PLW0108 - one row like the others
        lambda t: torch.nn.Parameter(t),  # noqa: PLW0108 - one row like the others
        lambda t: Data(x=t),
        lambda t: (t * t.requires_grad_()).sum(),  # the backward pass needs it
    ],
)
def test_whatever_shares_the_memory_keeps_it(ring: Buffers, keep: Callable[[Tensor], Any]) -> None:
    tensor = filled(ring, 1)
    address = tensor.data_ptr()
    kept = keep(tensor)
    del tensor
    assert filled(ring, 2).data_ptr() != address
    assert ring.idle > 0
    del kept
    again = [filled(ring, 3), filled(ring, 4)]
    assert address in {t.data_ptr() for t in again}


def test_what_only_copies_lets_go(ring: Buffers) -> None:
    tensor = filled(ring, 1)
    address = tensor.data_ptr()
    stacked, cat = torch.stack([tensor, tensor]), torch.cat([tensor])
    del tensor
    assert filled(ring, 2).data_ptr() == address
    assert (stacked == 1).all()
    assert (cat == 1).all()


def test_ten_batches_are_kept_while_a_hundred_more_are_made(ring: Buffers) -> None:
    """Each of three tensors, of sizes that vary as those of mini-batches do."""
    rng = np.random.default_rng(0)
    kept: list[tuple[int, Data]] = []
    addresses: set[int] = set()
    batch = None
    for number in range(110):
        rows = int(rng.integers(ROWS, ROWS + 150))
        del batch
        batch = Data(
            x=filled(ring, number, rows),
            edge_index=ring.empty((2, 3 * rows), "int64").fill_(number),
            seen=ring.empty((70_000,), "bool").fill_(number % 2),
        )
        if number % 11 == 3:
            kept.append((number, batch))
        addresses.add(batch.x.data_ptr())
    assert len(kept) == 10
    for number, data in kept:
        assert (data.x == number).all()
        assert (data.edge_index == number).all()
        assert (data.seen == number % 2).all()
    assert len(addresses) <= len(kept) + 3


def test_idle_memory_is_bounded_and_the_one_used_last_stays() -> None:
    size = ROWS * DIM * 4
    ring = Buffers(idle_bytes=3 * size)
    tensors = [filled(ring, n) for n in range(10)]
    address = tensors[-1].data_ptr()
    while tensors:
        del tensors[0]
        assert ring.idle <= 3 * size
    assert ring.idle >= 2 * size
    again = [filled(ring, 0), filled(ring, 0)]
    assert address in {t.data_ptr() for t in again}


def test_without_idle_memory_nothing_is_kept() -> None:
    ring = Buffers(idle_bytes=0)
    filled(ring, 1)
    assert ring.idle == 0


def test_the_bound_holds_though_nobody_asks_again() -> None:
    ring = Buffers(idle_bytes=0)
    tensor = filled(ring, 1)
    del tensor
    assert not ring._returned
    assert not ring._idle


def test_the_memory_of_a_ring_that_is_gone_goes_with_its_tensors(ring: Buffers) -> None:
    own = Buffers()
    tensor = filled(own, 1)
    filled(own, 2)
    del own
    assert (tensor == 1).all()
    filled(ring, 3)
    assert (tensor == 1).all()
    del tensor


class Interloper(list[Any]):
    """A list of idle buffers during whose look-up the garbage collector runs."""

    def __iter__(self) -> Iterator[Any]:
        gc.collect()
        return super().__iter__()


def test_the_garbage_collector_may_run_in_the_thread_that_holds_the_lock(ring: Buffers) -> None:
    cycle: list[Any] = [filled(ring, 1)]
    cycle.append(cycle)
    del cycle
    ring._idle = Interloper()
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(filled, ring, 2).result(timeout=10).sum() == 2 * ROWS * DIM
    assert ring.idle > 0  # the collected one came back all the same


def test_tensors_that_end_while_another_thread_holds_the_lock_come_back(ring: Buffers) -> None:
    tensor = filled(ring, 1)
    with ring._lock, ThreadPoolExecutor(1) as pool:
        tensors = [tensor]
        del tensor
        pool.submit(tensors.clear).result(timeout=10)
    assert ring.idle > 0


def test_many_threads() -> None:
    ring = Buffers(idle_bytes=4 * ROWS * DIM * 4)
    start = threading.Barrier(8)

    def work(thread: int) -> int:
        rng = np.random.default_rng(thread)
        start.wait(10)
        kept: list[tuple[int, Tensor]] = []
        for number in range(300):
            value = 1000 * thread + number
            kept.append((value, filled(ring, value, int(rng.integers(ROWS, 2 * ROWS)))))
            if len(kept) > 3:
                old, tensor = kept.pop(int(rng.integers(0, 3)))
                assert (tensor.numpy() == old).all()
        return sum(int((tensor.numpy() != value).sum()) for value, tensor in kept)

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(8))) == [0] * 8
    assert 0 < ring.idle <= 4 * ROWS * DIM * 4


def test_tensors_end_in_other_threads(ring: Buffers) -> None:
    address = filled(ring, 1).data_ptr()
    for _ in range(20):
        tensors = [filled(ring, 1)]
        assert tensors[0].data_ptr() == address
        with ThreadPoolExecutor(1) as pool:
            pool.submit(tensors.clear).result(timeout=10)


def test_what_is_small_is_fresh(ring: Buffers) -> None:
    assert ring.empty((module._SMALL - 1,), "int8").fill_(1).sum() == module._SMALL - 1
    assert ring.idle == 0


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_pinned_needs_a_device() -> None:
    with pytest.raises(dbgnn.DbgnnError, match="pinned=False"):
        Buffers(pinned=True)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_pinned_memory_is_used_again_once_copies_are_done() -> None:
    ring = Buffers(pinned=True)
    kept = [filled(ring, n) for n in range(10)]
    for n in range(100):
        copy = filled(ring, n).cuda(non_blocking=True)
        assert (copy == n).all()
    assert all(tensor.is_pinned() and bool((tensor == n).all()) for n, tensor in enumerate(kept))


def test_clear_gives_idle_memory_back() -> None:
    buffers = Buffers()
    kept, gone = buffers.empty((1 << 16,), "float32"), buffers.empty((1 << 17,), "float32")
    kept.fill_(3)
    del gone
    assert buffers.idle > 1 << 19
    buffers.clear()
    assert buffers.idle == 0
    buffers.empty((1 << 16,), "float32").fill_(4)
    assert (kept == 3).all()
