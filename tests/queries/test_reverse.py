"""`add_reverse` against PyG's own transforms on the same data."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch_geometric.data import HeteroData
from torch_geometric.transforms import AddRemainingSelfLoops, ToUndirected

from dbgnn import SchemaError
from dbgnn.queries.reverse import add_reverse

CITES, WRITES = ("paper", "cites", "paper"), ("author", "writes", "paper")


def hetero(*, seed: int = 0, num_edges: int = 40, duplicates: bool = True) -> HeteroData:
    """Papers that cite each other, with parallel edges, edges in both directions and self loops, and their authors."""
    torch.manual_seed(seed)
    data = HeteroData()
    data["paper"].x, data["author"].num_nodes = torch.rand(7, 2), 4
    pairs = torch.randint(0, 7, (2, num_edges)) if duplicates else torch.combinations(torch.arange(7)).t()
    data[CITES].edge_index = pairs
    data[CITES].edge_weight = torch.rand(pairs.size(1))
    data[CITES].edge_attr = torch.randint(0, 9, (pairs.size(1), 3))
    data[WRITES].edge_index = torch.stack([torch.randint(0, 4, (9,)), torch.randint(0, 7, (9,))])
    data[WRITES].rating = torch.rand(9)
    data[WRITES].train_mask = torch.rand(9) < 0.5
    return data


def assert_same(found: HeteroData, wanted: HeteroData) -> None:
    assert set(found.edge_types) == set(wanted.edge_types)
    for edge_type in wanted.edge_types:
        assert set(found[edge_type].to_dict()) == set(wanted[edge_type].to_dict())
        for name, value in wanted[edge_type].items():
            assert found[edge_type][name].dtype == value.dtype, (edge_type, name)
            assert torch.equal(found[edge_type][name], value), (edge_type, name)


# -- reverse -----------------------------------------------------------------------------------------------


def test_reverse_is_to_undirected_without_merging() -> None:
    found, wanted = hetero(), ToUndirected(merge=False)(hetero())
    add_reverse(found, reverse=True)
    assert_same(found, wanted)


def test_reverse_does_not_copy_attributes() -> None:
    data = hetero()
    add_reverse(data, reverse=True)
    other = data["paper", "rev_writes", "author"]
    assert other.rating is data[WRITES].rating
    assert other.train_mask is data[WRITES].train_mask
    assert torch.equal(other.edge_index.flip(0), data[WRITES].edge_index)


def test_reverse_of_what_is_there_already() -> None:
    data = hetero()
    data["paper", "rev_writes", "author"].edge_index = torch.zeros(2, 0, dtype=torch.int64)
    with pytest.raises(SchemaError, match="a type \\('paper', 'rev_writes', 'author'\\), which is there already"):
        add_reverse(data, reverse=True)


def test_nothing_asked_changes_nothing() -> None:
    data = hetero()
    add_reverse(data)
    assert_same(data, hetero())


# -- undirected --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reduce", ["add", "mean", "min", "max"])
@pytest.mark.parametrize("seed", [0, 1])
def test_merging_is_to_undirected(reduce: str, seed: int) -> None:
    found, wanted = hetero(seed=seed), ToUndirected(reduce)(hetero(seed=seed))
    add_reverse(found, reverse=True, undirected=reduce)
    assert_same(found, wanted)


def test_merging_without_duplicates() -> None:
    found, wanted = hetero(duplicates=False), ToUndirected("add")(hetero(duplicates=False))
    add_reverse(found, reverse=True, undirected="add")
    assert_same(found, wanted)


def test_the_mean_of_integers_is_always_float() -> None:
    for duplicates in (True, False):
        data = hetero(duplicates=duplicates)
        add_reverse(data, undirected="mean")
        assert data[CITES].edge_attr.dtype == torch.float32


def test_both_directions_with_all_duplicates() -> None:
    data, before = hetero(), hetero()
    add_reverse(data, undirected=True)
    cites = before[CITES]
    assert torch.equal(data[CITES].edge_index, torch.cat([cites.edge_index, cites.edge_index.flip(0)], dim=1))
    assert torch.equal(data[CITES].edge_weight, cites.edge_weight.repeat(2))
    assert torch.equal(data[CITES].edge_attr, cites.edge_attr.repeat(2, 1))
    assert torch.equal(data[WRITES].edge_index, before[WRITES].edge_index)
    assert data.edge_types == before.edge_types


def test_first_takes_the_first_of_each() -> None:
    data = HeteroData()
    data["a"].num_nodes = 3
    data["a", "to", "a"].edge_index = torch.tensor([[1, 0, 0, 2], [0, 1, 1, 2]])
    data["a", "to", "a"].w = torch.tensor([1, 2, 3, 4], dtype=torch.uint16)
    data["a", "to", "a"].names = ["p", "q", "r", "s"]
    add_reverse(data, undirected="first")
    assert data["a", "to", "a"].edge_index.tolist() == [[0, 1, 2], [1, 0, 2]]
    # 0 → 1 is there as the second edge; the reverse of the first comes after all that are there
    assert data["a", "to", "a"].w.tolist() == [2, 1, 4]
    assert data["a", "to", "a"].names == ["q", "p", "s"]


def test_masks_are_merged_by_or() -> None:
    data = HeteroData()
    data["a"].num_nodes = 3
    data["a", "to", "a"].edge_index = torch.tensor([[0, 1, 1], [1, 0, 2]])
    data["a", "to", "a"].train_mask = torch.tensor([True, False, False])
    add_reverse(data, undirected="add")
    assert data["a", "to", "a"].edge_index.tolist() == [[0, 1, 1, 2], [1, 0, 2, 1]]
    mask: Tensor = data["a", "to", "a"].train_mask
    assert (mask.dtype, mask.tolist()) == (torch.bool, [True, True, False, False])


def test_undirected_mistakes() -> None:
    with pytest.raises(SchemaError, match="not 'ad'; did you mean 'add'"):
        add_reverse(hetero(), undirected="ad")
    data = hetero()
    data[CITES].names = ["a"] * 40
    with pytest.raises(SchemaError, match=r"'names' of the edges .* is list, which is not merged by 'add'"):
        add_reverse(data, undirected="add")
    data[CITES].names = torch.zeros(40, dtype=torch.uint32)
    with pytest.raises(SchemaError, match=r"'names' of the edges .* is torch\.uint32.*undirected='first'"):
        add_reverse(data, undirected="add")
    data[CITES].names = {"a": 1}
    with pytest.raises(SchemaError, match=r"'names' of the edges .* is a dict"):
        add_reverse(data, undirected=True)


# -- self loops --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_self_loops_are_pygs(seed: int) -> None:
    found = hetero(seed=seed, num_edges=12)
    # of several loops at one node PyG keeps any
    index = found[CITES].edge_index
    index[:, index[0] == index[1]] = torch.tensor([[seed], [seed + 1]])
    index[:, 3] = seed
    wanted = found.clone()
    kept = AddRemainingSelfLoops("edge_attr")(wanted.clone())[CITES].edge_attr
    wanted = AddRemainingSelfLoops()(wanted)
    wanted[CITES].edge_attr = kept
    add_reverse(found, self_loops=True)
    assert_same(found, wanted)
    assert found[CITES].edge_weight[-7 + seed] != 1
    assert int((found[CITES].edge_weight[-7:] == 1).sum()) == 6


def test_a_new_self_loop_is_in_no_part() -> None:
    data = HeteroData()
    data["a"].num_nodes = 4
    data["a", "to", "a"].edge_index = torch.tensor([[0, 2], [1, 2]])
    data["a", "to", "a"].train_mask = torch.tensor([True, True])
    add_reverse(data, self_loops=True)
    assert data["a", "to", "a"].edge_index.tolist() == [[0, 0, 1, 2, 3], [1, 0, 1, 2, 3]]
    assert data["a", "to", "a"].train_mask.tolist() == [True, False, False, True, False]


def test_a_self_loop_without_a_value() -> None:
    data = hetero()
    data[CITES].time = torch.rand(40)
    with pytest.raises(SchemaError, match=r"no value for the attribute 'time' of the edges .*edge_weight"):
        add_reverse(data, self_loops=True)


# -- all together ------------------------------------------------------------------------------------------


def test_all_together() -> None:
    found = hetero(duplicates=False)
    wanted = ToUndirected("add")(hetero(duplicates=False))
    wanted[CITES].edge_index = AddRemainingSelfLoops()(wanted.clone())[CITES].edge_index
    add_reverse(found, reverse=True, undirected="add", self_loops=True)
    assert torch.equal(found[CITES].edge_index, wanted[CITES].edge_index)
    assert set(found.edge_types) == {CITES, WRITES, ("paper", "rev_writes", "author")}


@pytest.mark.parametrize("undirected", [True, "add", "first"])
def test_no_edges(undirected: bool | str) -> None:
    data = HeteroData()
    data["a"].num_nodes = 3
    data["a", "to", "a"].edge_index = torch.zeros(2, 0, dtype=torch.int64)
    data["a", "to", "a"].edge_weight = torch.zeros(0)
    add_reverse(data, reverse=True, undirected=undirected)
    assert data["a", "to", "a"].edge_index.shape == (2, 0)
    assert data["a", "to", "a"].edge_weight.shape == (0,)
    add_reverse(data, self_loops=True)
    assert data["a", "to", "a"].edge_weight.tolist() == [1, 1, 1]
