"""Settings of a sampler that are set later: as if it was made with them, or an error; never taken and ignored."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch_geometric.sampler import NodeSamplerInput, NumNeighbors

import dbgnn
from tests.sampling.conftest import KNOWS, LIKED, RATES

#: Names and values that differ from the default.
VALUES: dict[str, Any] = {
    "num_neighbors": [-1, 2],
    "subgraph_type": "induced",
    "replace": True,
    "disjoint": True,
    "seed": 9,
}


def drawn(sampler: dbgnn.NeighborSampler) -> str:
    seeds = NodeSamplerInput(input_id=None, node=torch.arange(20), input_type="item")
    return str(sampler.sample_from_nodes(seeds, epoch=0, batch=3))


def same(sampler: dbgnn.NeighborSampler) -> dbgnn.NeighborSampler:
    return sampler


def pickled(sampler: dbgnn.NeighborSampler) -> dbgnn.NeighborSampler:
    return pickle.loads(pickle.dumps(sampler))  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", VALUES)
@pytest.mark.parametrize("of", [same, copy.copy, copy.deepcopy, pickled], ids=lambda f: f.__name__)
def test_setting_one_is_making_the_sampler_with_it(db: dbgnn.Database, of: Callable[[Any], Any], name: str) -> None:
    graph, value = db.graph(), VALUES[name]
    before = dbgnn.NeighborSampler(graph, [4, 3])
    old, wanted = drawn(before), drawn(dbgnn.NeighborSampler(graph, **{"num_neighbors": [4, 3], name: value}))
    assert old != wanted
    sampler = of(before)
    setattr(sampler, name, value)
    assert drawn(sampler) == wanted
    if sampler is not before:
        assert drawn(before) == old, "a copy shares nothing that can be set"


def test_what_was_set_can_be_read(db: dbgnn.Database) -> None:
    sampler = dbgnn.NeighborSampler(db.graph(), [4, 3])
    assert sampler.num_neighbors == NumNeighbors((4, 3))
    assert sampler.num_neighbors.num_hops == 2
    by_type = {RATES: [5, 3], LIKED: [4, 4], KNOWS: [3, 2]}
    sampler.num_neighbors = NumNeighbors(by_type)
    assert sampler.num_neighbors.get_values() == {t: tuple(hops) for t, hops in by_type.items()}
    sampler.num_neighbors = sampler.num_neighbors  # what is read can be set
    assert sampler.fanout.num_neighbors == by_type
    for name, value in VALUES.items():
        setattr(sampler, name, value)
    assert (sampler.replace, sampler.disjoint, sampler.seed, sampler.subgraph_type.value) == (True, True, 9, "induced")
    assert (sampler.temporal_strategy, sampler.time_attr, sampler.weight_attr) == ("uniform", None, None)
    assert not sampler.is_temporal
    assert sampler.node_types == ["user", "item"]


def test_several_at_once_all_or_none(db: dbgnn.Database) -> None:
    sampler = dbgnn.NeighborSampler(db.graph(), [4, 3])
    before = drawn(sampler)
    with pytest.raises(dbgnn.SchemaError, match="integer"):
        sampler.configure(seed=5, num_neighbors=[0.5])
    assert drawn(sampler) == before
    sampler.configure(seed=5, num_neighbors=[1])
    assert drawn(sampler) == drawn(dbgnn.NeighborSampler(db.graph(), [1], seed=5))
    with pytest.raises(dbgnn.UnknownNameError, match="did you mean 'seed'"):
        sampler.configure(sed=5)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("num_neighbors", [0.5], "integer"),
        ("num_neighbors", [-2], "-1"),
        ("num_neighbors", {("user", "nothing", "item"): [1]}, "has no edge type"),
        ("num_neighbors", {RATES: [1]}, "lacks edge type"),
        ("replace", "yes", "True or False"),
        ("disjoint", None, "True or False"),
        ("subgraph_type", "both", "'directional', 'bidirectional', 'induced'"),
        ("seed", 1.5, "integer"),
        ("time_attr", "time", "is a column of no node or edge table"),
        ("weight_attr", "v", "is a column of no edge table"),
        ("temporal_strategy", "last", "give time_attr"),
        ("mode", ["labor"], "a name .*'labor'"),
    ],
)
def test_a_value_is_judged_as_the_argument_is(db: dbgnn.Database, name: str, value: Any, message: str) -> None:
    sampler = dbgnn.NeighborSampler(db.graph(), [4, 3])
    before = drawn(sampler)
    with pytest.raises(dbgnn.DbgnnError, match=message) as set_later:
        setattr(sampler, name, value)
    assert drawn(sampler) == before
    with pytest.raises(type(set_later.value), match=message):
        dbgnn.NeighborSampler(db.graph(), **{"num_neighbors": [4, 3], name: value})


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("num_neighbours", "did you mean 'num_neighbors'"),
        ("replacement", "no setting"),
        ("tag", "no setting"),
        ("graph", "make another sampler"),
        ("homogeneous", "make another sampler"),
        ("edge_types", "make another sampler"),
        ("fanout", "make another sampler"),
        ("num_nodes", "make another sampler"),
        ("sample_from_nodes", "make another sampler"),
    ],
)
def test_nothing_else_can_be_set(db: dbgnn.Database, name: str, message: str) -> None:
    sampler = dbgnn.NeighborSampler(db.graph(), [4, 3])
    with pytest.raises(dbgnn.DbgnnError, match=message):
        setattr(sampler, name, [1])
    with pytest.raises((dbgnn.DbgnnError, AttributeError)):
        del sampler.num_neighbors


def test_a_derived_class_has_attributes_of_its_own(db: dbgnn.Database) -> None:
    class Tagged(dbgnn.NeighborSampler):
        tag = "none"

    sampler = Tagged(db.graph(), [4])
    sampler.tag = "mine"
    sampler.replace = True
    assert copy.copy(sampler).tag == "mine"
    with pytest.raises(dbgnn.UnknownNameError, match="num_neighbors"):
        sampler.num_neighbours = [1]


def test_a_list_that_the_caller_changes_later_changes_nothing(db: dbgnn.Database) -> None:
    hops = [4, 3]
    sampler = dbgnn.NeighborSampler(db.graph(), hops)
    hops[0] = -1
    sampler.seed = 4
    assert drawn(sampler) == drawn(dbgnn.NeighborSampler(db.graph(), [4, 3], seed=4))


def test_keep_orig_edges_is_pygs() -> None:
    db = dbgnn.connect()
    db.execute("CREATE TABLE user AS SELECT range AS id FROM range(60)")
    db.execute("CREATE TABLE knows AS SELECT hash(i) % 60 AS s, hash(-i) % 60 AS d FROM range(600) t(i)")
    db.execute(
        "CREATE PROPERTY GRAPH friends VERTEX TABLES (user KEY (id)) EDGE TABLES "
        "(knows SOURCE KEY (s) REFERENCES user (id) DESTINATION KEY (d) REFERENCES user (id))"
    )
    sampler = dbgnn.NeighborSampler(db.graph("friends"), [3], homogeneous=True)
    seeds = NodeSamplerInput(input_id=None, node=torch.arange(20))
    directed = sampler.sample_from_nodes(seeds, epoch=0, batch=0)
    sampler.configure(subgraph_type="bidirectional", keep_orig_edges=True)
    both = sampler.sample_from_nodes(seeds, epoch=0, batch=0)
    assert torch.equal(both.orig_row, directed.row)
    assert torch.equal(both.orig_col, directed.col)


@pytest.mark.parametrize("name", ["replace", "disjoint", "keep_orig_edges"])
def test_flags_may_be_numpys(db: dbgnn.Database, name: str) -> None:
    sampler = dbgnn.NeighborSampler(db.graph(), [4])
    for value in (np.True_, np.False_):
        setattr(sampler, name, value)
        assert getattr(sampler, name) is bool(value)
