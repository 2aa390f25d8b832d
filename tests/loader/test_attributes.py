"""Attributes of a loader that are set after it was made: an effect from the next epoch on, or an error."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch_geometric.data import HeteroData

import dbgnn
from dbgnn.loader.attributes import PRIVATE
from tests.loader.conftest import CITES, Stores, end_workers

OPTIONS: dict[str, Any] = {"num_neighbors": [3, 2], "input_nodes": ("paper", range(100)), "batch_size": 20}


def made(stores: Stores, **options: Any) -> dbgnn.NeighborLoader:
    return dbgnn.NeighborLoader(stores, **OPTIONS | options)


def contents(loader: Any) -> list[str]:
    return [f"{b['paper'].n_id.tolist()} {b[CITES].edge_index.tolist()} {b.get('mark')}" for b in loader]


def mark(batch: Any) -> Any:
    batch.mark = 1
    return batch


def first_half(out: Any) -> Any:
    out.row, out.col, out.edge = ({t: ids[::2] for t, ids in part.items()} for part in (out.row, out.col, out.edge))
    return out


class Sampler(dbgnn.NeighborSampler):
    """One of another kind."""

    def sample_from_nodes(self, *args: Any, **kwargs: Any) -> Any:
        return super().sample_from_nodes(*args, **kwargs)


#: Settings that show in the mini-batches.
SHOWN = {
    "num_neighbors": [-1, 1],
    "replace": True,
    "subgraph_type": "induced",
    "disjoint": True,
    "seed": 5,
    "transform": mark,
    "transform_sampler_output": first_half,
}

#: What the loader iterates with: threads, none, and worker processes that persist, which are slow to start.
THREADS: dict[str, Any] = {}
NONE = {"prefetch": 0}
WORKERS = {"num_workers": 1, "persistent_workers": True, "multiprocessing_context": "fork", "timeout": 60}
CASES = [(THREADS, name) for name in SHOWN] + [(NONE, "seed"), (WORKERS, "num_neighbors"), (WORKERS, "transform")]


@pytest.mark.parametrize(("way", "name"), CASES, ids=str)
def test_setting_one_is_making_the_loader_with_it(hetero: Stores, name: str, way: dict[str, Any]) -> None:
    old, wanted = made(hetero), made(hetero, **{name: SHOWN[name]})
    first = contents(old)
    assert first != contents(wanted)
    loader = made(hetero, **way)
    assert contents(loader) == first
    setattr(loader, name, SHOWN[name])
    assert contents(loader) == contents(wanted), "the second epoch, with the new setting"
    assert contents(loader) == contents(wanted)
    end_workers(loader)


@pytest.mark.parametrize(("way", "name"), CASES, ids=str)
def test_an_epoch_ends_as_it_began(hetero: Stores, name: str, way: dict[str, Any]) -> None:
    old, wanted = made(hetero), made(hetero, **{name: SHOWN[name]})
    first = contents(old)
    contents(wanted)
    loader = made(hetero, **way)
    batches = iter(loader)
    found = contents([next(batches)])
    setattr(loader, name, SHOWN[name])
    assert found + contents(batches) == first
    assert contents(loader) == contents(wanted)
    end_workers(loader)


def test_the_samplers_attributes_are_the_loaders(hetero: Stores) -> None:
    loader = made(hetero)
    loader.node_sampler.num_neighbors = [-1, 1]
    assert loader.num_neighbors == loader.node_sampler.num_neighbors
    wanted = made(hetero, num_neighbors=[-1, 1])
    assert contents(loader) == contents(wanted)
    loader.node_sampler = dbgnn.NeighborSampler(hetero, [1])
    wanted = made(hetero, num_neighbors=[1])
    contents(wanted)
    assert contents(loader) == contents(wanted)
    assert loader.neighbor_sampler is loader.node_sampler


def test_a_copy_is_set_by_itself(hetero: Stores) -> None:
    loader = made(hetero)
    other = copy.copy(loader)
    other.num_neighbors, other.transform = [-1, 1], mark
    assert contents(loader) == contents(made(hetero))
    assert contents(other) == contents(made(hetero, num_neighbors=[-1, 1], transform=mark))
    assert (loader.stats().num_steps, other.stats().num_steps) == (5, 5)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("num_neighbors", [0.5], "integer"),
        ("subgraph_type", "both", "directional"),
        ("time_attr", "nothing", "is a column of no"),
        ("super_batch", 0, "at least 1"),
        ("prefetch", "many", "auto"),
        ("plan", "magic", "'join'"),
        ("cache_bytes", "many", "cache_bytes"),
        ("node_sampler", 7, "dbgnn.NeighborSampler"),
        ("batch_size", 3, "make another loader"),
        ("shuffle", True, "make another loader"),
        ("drop_last", True, "make another loader"),
        ("num_workers", 2, "make another loader"),
        ("input_nodes", [1, 2], "make another loader"),
        ("input_id", torch.arange(3), "make another loader"),
        ("data", None, "make another loader"),
        ("dataset", None, "make another loader"),
        ("sampler", None, "make another loader"),
        ("batch_sampler", None, "make another loader"),
        ("generator", None, "make another loader"),
        ("persistent_workers", True, "make another loader"),
        ("collate_fn", list, "make another loader"),
        ("filter_fn", list, "make another loader"),
        ("num_neighbours", [1], "did you mean 'num_neighbors'"),
        ("transforms", mark, "did you mean 'transform'"),
    ],
)
def test_what_has_no_effect_is_an_error(hetero: Stores, name: str, value: Any, message: str) -> None:
    loader, wanted = made(hetero), made(hetero)
    with pytest.raises(dbgnn.DbgnnError, match=message):
        setattr(loader, name, value)
    assert contents(loader) == contents(wanted)


def test_the_plan_is_made_again(hetero: Stores) -> None:
    loader = made(hetero)
    before = contents(loader)
    assert "super_batch: as asked" not in loader.explain()
    loader.super_batch, loader.prefetch, loader.plan, loader.cache_bytes = 2, 0, "shared", "1MB"
    for words in ("shared:", "2 mini-batches", "0: no threads", "super_batch: as asked"):
        assert words in loader.explain()
    other = made(hetero, super_batch=2, prefetch=0, plan="shared", cache_bytes="1MB")
    assert contents(other) == before
    assert contents(loader) == contents(other)


def test_what_does_not_go_together_changes_nothing(hetero: Stores) -> None:
    class Derived(dbgnn.NeighborSampler):
        def sample_from_nodes(self, *args: Any, **kwargs: Any) -> Any:
            return super().sample_from_nodes(*args, **kwargs)

    loader = made(hetero, plan="shared")
    with pytest.raises(dbgnn.RequestError, match="rules plan='shared' out"):
        loader.node_sampler = Derived(hetero, [1])
    assert type(loader.node_sampler) is dbgnn.NeighborSampler
    loader.node_sampler.subgraph_type = "bidirectional"
    for use in (lambda: next(iter(loader)), loader.explain):
        with pytest.raises(dbgnn.DbgnnError, match="bidirectional"):
            use()
    loader.subgraph_type = "directional"
    assert contents(loader) == contents(made(hetero))


def test_a_sampler_of_another_graph(hetero: Stores, homogeneous: Stores) -> None:
    for sampler in (dbgnn.NeighborSampler(homogeneous, [1]), dbgnn.NeighborSampler(homogeneous[0].graph, [1])):
        with pytest.raises(dbgnn.RequestError, match="Make the sampler of the same stores"):
            made(hetero, neighbor_sampler=sampler)
        with pytest.raises(dbgnn.RequestError, match="Make the sampler of the same stores"):
            made(hetero).node_sampler = sampler


@pytest.mark.parametrize("given", [{"replace": True}, {"subgraph_type": "induced"}, {"seed": 3}, {"disjoint": True}], ids=str)
def test_arguments_beside_a_sampler_are_not_ignored(hetero: Stores, given: dict[str, Any]) -> None:
    sampler = dbgnn.NeighborSampler(hetero, [3, 2])
    (name,) = given
    with pytest.raises(dbgnn.RequestError, match=f"Leave out {name}"):
        made(hetero, neighbor_sampler=sampler, **given)
    same = dbgnn.NeighborSampler(hetero, [3, 2], **given)
    assert contents(made(hetero, neighbor_sampler=same, **given)) == contents(made(hetero, **given))


def test_settings_of_another_kind_of_sampler_are_its_own(hetero: Stores) -> None:
    from tests.loader.test_pygs_loaders import Foreign

    loader = made(hetero, neighbor_sampler=Foreign())
    with pytest.raises(dbgnn.RequestError, match="on the sampler itself"):
        loader.num_neighbors = [1]


class Counting(dbgnn.NeighborLoader):
    """Sets attributes of its own while an epoch runs: public, private, mangled, made early, late, and of the class."""

    of_class = _of_class = 0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._early = 0
        super().__init__(*args, **kwargs)
        self.seen = self._seen = self.__seen = 0
        self._left = "until the first mini-batch"
        self.set = 0

    def filter_fn(self, out: Any) -> HeteroData:
        self.seen += 1
        self._seen += 1
        self.__seen += 1
        self._early += 1
        self.of_class += 1
        self._of_class += 1
        self._late = getattr(self, "_late", 0) + 1
        self.total += 1
        if hasattr(self, "_left"):
            del self._left
        return super().filter_fn(out)

    @property
    def total(self) -> int:
        return self._seen

    @total.setter
    def total(self, _: int) -> None:
        self.set += 1

    def counts(self) -> set[int]:
        return {
            self.seen,
            self._seen,
            self.__seen,
            self._early,
            self._late,
            self.of_class,
            self._of_class,
            self.total,
            self.set,
        }


@pytest.mark.parametrize("way", [THREADS, NONE, {"neighbor_sampler": True}, {"prefetch": 2}], ids=str)
def test_a_derived_loader_keeps_what_it_sets(hetero: Stores, way: dict[str, Any]) -> None:
    if "neighbor_sampler" in way:  # one mini-batch at a time, by torch's iterator
        way = {"neighbor_sampler": Sampler(hetero, [3, 2])}
    loader = Counting(hetero, **OPTIONS | way)
    for _ in loader:
        pass
    assert loader.counts() == {5}
    assert not hasattr(loader, "_left")
    for _ in zip(loader, loader, strict=True):  # two epochs at once
        pass
    assert loader.counts() == {15}
    copied, pickled = copy.copy(loader), copy.deepcopy(loader)
    for other in (copied, pickled):
        for _ in other:
            pass
        assert other.counts() == {20}
    assert loader.counts() == {15}
    assert Counting.of_class == 0


def test_a_derived_loader_is_set_back_while_an_epoch_runs(hetero: Stores) -> None:
    loader = Counting(hetero, **OPTIONS)
    for number, _ in enumerate(loader):
        if number == 2:
            loader._seen = loader.seen = 0
    assert (loader.seen, loader._seen) == (2, 2)


def test_workers_that_persist_count_in_the_main_process(hetero: Stores) -> None:
    loader = Counting(hetero, **OPTIONS, **WORKERS, filter_per_worker=False)
    for epoch in (1, 2):
        for _ in loader:
            pass
        assert loader.counts() == {5 * epoch}
    end_workers(loader)


def test_a_setting_that_a_derived_loader_changes_is_that_of_the_next_epoch(hetero: Stores) -> None:
    class Curriculum(dbgnn.NeighborLoader):
        def filter_fn(self, out: Any) -> HeteroData:
            self.num_neighbors, self.transform, self.super_batch = [-1, 1], mark, 1
            return super().filter_fn(out)

    loader = Curriculum(hetero, **OPTIONS)
    wanted = made(hetero)
    assert contents(loader) == contents(wanted)
    wanted.num_neighbors, wanted.transform = [-1, 1], mark
    assert contents(loader) == contents(wanted)
    assert "super_batch: as asked" in loader.explain()


@pytest.mark.parametrize("way", [THREADS, {"neighbor_sampler": True}], ids=str)
def test_the_loaders_own_private_attributes_are_named(hetero: Stores, way: dict[str, Any]) -> None:
    loader = made(hetero, **{name: Sampler(hetero, [3, 2]) for name in way})
    contents(loader)
    len(loader)
    assert {name for name in vars(loader) if name.startswith("_")} <= PRIVATE


@pytest.mark.parametrize("change", [lambda s: setattr(s, "seed", 4), lambda s: s.configure(num_neighbors=[-1, 1], seed=2)])
def test_packs_know_what_was_set(hetero: Stores, tmp_path: Any, change: Callable[[Any], None]) -> None:
    loader = made(hetero)
    change(loader.node_sampler)
    loader.pack(tmp_path / "pack")
    other = made(hetero)
    change(other.node_sampler)
    assert contents(dbgnn.PackedLoader(tmp_path / "pack")) == contents(other)
    with pytest.raises(dbgnn.DbgnnError, match="seed"):
        made(hetero).pack(tmp_path / "pack")
