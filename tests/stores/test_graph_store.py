"""The contract PyG has with a graph store: layouts, order, permutations, sizes, put, replace, remove."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch_geometric.data import EdgeAttr, remote_backend_utils
from torch_geometric.data.graph_store import EdgeLayout
from torch_geometric.sampler import NeighborSampler
from torch_geometric.testing import MyFeatureStore, MyGraphStore

import dbgnn
from dbgnn.stores import DuckDBGraphStore
from tests.stores.conftest import WROTE, Stores

T = ("a", "to", "b")


def in_memory(row: Tensor, col: Tensor, size: tuple[int, int]) -> dict[str, list[list[int]]]:
    """Every layout of the edges, by NumPy: (row, col, perm), canonical order."""
    r, c, e = row.numpy(), col.numpy(), np.arange(len(row))
    csc, csr = np.lexsort((e, r, c)), np.lexsort((e, c, r))
    colptr = np.concatenate([[0], np.cumsum(np.bincount(c, minlength=size[1]))])
    rowptr = np.concatenate([[0], np.cumsum(np.bincount(r, minlength=size[0]))])
    return {
        "coo": [r.tolist(), c.tolist()],
        "csc": [r[csc].tolist(), colptr.tolist(), csc.tolist()],
        "csr": [rowptr.tolist(), c[csr].tolist(), csr.tolist()],
    }


def layouts(gs: DuckDBGraphStore, edge_type: Any) -> dict[str, list[list[int]]]:
    """Every layout as the store serves it."""
    found = {"coo": gs.coo, "csc": gs.csc, "csr": gs.csr}
    out = {}
    for name, call in found.items():
        parts = [p[edge_type] for p in call([edge_type])] if edge_type is not None else call()
        assert all(p is None or p.dtype == torch.int64 for p in parts)
        out[name] = [p.tolist() for p in parts if p is not None]
    return out


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), layout=st.sampled_from(["coo", "csc", "csr"]), sized=st.booleans(), homogeneous=st.booleans())
def test_what_is_put_in_any_layout_comes_in_every_layout(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, layout: str, sized: bool, homogeneous: bool
) -> None:
    edge_type = None if homogeneous else T
    n = (5, 5) if homogeneous else (5, 4)
    edges = data.draw(st.lists(st.tuples(st.integers(0, n[0] - 1), st.integers(0, n[1] - 1)), max_size=12))
    row, col = (torch.tensor([e[i] for e in edges], dtype=torch.int64) for i in range(2))
    want = in_memory(row, col, n)
    if layout != "coo":
        put = [torch.tensor(part) for part in want[layout][:2]]
        order = torch.tensor(want[layout][2], dtype=torch.long)
        row, col = row[order], col[order]
    else:
        put = [row, col]
    with dbgnn.connect(tmp_path_factory.mktemp("g") / "g.duckdb", progress=False) as db:
        fs, gs = db.get_torch_geometric_remote_backend()
        if not sized:  # the numbers of nodes come from the features then
            for group, count in ((None, n[0]),) if homogeneous else (("a", n[0]), ("b", n[1])):
                fs[group, "x", None] = torch.zeros(count)
        assert gs.put_edge_index(put, edge_type, layout, size=n if sized else None)
        assert layouts(gs, edge_type) == in_memory(row, col, n)
        assert {a.size for a in gs.get_all_edge_attrs()} == {n}


def test_edges_of_tables_with_keys_of_their_own(scholars: Stores) -> None:
    _, gs = scholars
    want = in_memory(torch.tensor([2, 0, 2, 1]), torch.tensor([0, 3, 0, 1]), (3, 4))
    assert layouts(gs, WROTE) == want
    for layout, parts in want.items():
        assert [t.tolist() for t in gs.get_edge_index(WROTE, layout)] == parts[:2]


def test_csc_is_listed_first_with_its_size(scholars: Stores) -> None:
    _, gs = scholars
    csc, coo = gs.get_all_edge_attrs()
    assert (csc.edge_type, csc.layout, csc.is_sorted, csc.size) == (WROTE, EdgeLayout.CSC, True, (3, 4))
    assert (coo.layout, coo.size) == (EdgeLayout.COO, (3, 4))


def test_a_layout_that_is_stored_is_there(scholars: Stores) -> None:
    _, gs = scholars
    first = gs.csr(store=True)
    assert [t.tolist() for t in first[0].values()] == [t.tolist() for t in gs.csr()[0].values()]
    assert len(gs.get_all_edge_attrs()) == 2


@pytest.mark.parametrize("as_list", [False, True])
def test_look_ups_need_type_and_layout_only(scholars: Stores, as_list: bool) -> None:
    _, gs = scholars
    edge_type = list(WROTE) if as_list else WROTE
    want = gs[WROTE, "coo"][0].tolist()
    assert gs.get_edge_index(edge_type, layout="coo")[0].tolist() == want
    assert gs.get_edge_index(EdgeAttr(edge_type, "coo", is_sorted=True, size=(9, 9)))[0].tolist() == want


def test_the_permutation_is_the_edge_id(scholars: Stores) -> None:
    fs, gs = scholars
    row, col = gs.get_edge_index(WROTE, "coo")
    csc_row, colptr, perm = (part[WROTE] for part in gs.csc())
    assert torch.equal(csc_row, row[perm])
    assert torch.equal(torch.repeat_interleave(torch.arange(4), colptr.diff()), col[perm])
    assert fs[WROTE, "weight", perm].tolist() == [0.5, 2.5, 3.5, 1.5]


def test_isolated_nodes_count(stores: Stores) -> None:
    fs, gs = stores
    fs["b", "x", None] = torch.zeros(9)
    fs["alone", "x", None] = torch.zeros(5)
    gs.put_edge_index(torch.tensor([[0], [1]]), T, "coo", size=(7, None))
    assert [remote_backend_utils.num_nodes(fs, gs, t) for t in ("a", "b", "alone")] == [7, 9, 5]
    assert remote_backend_utils.size(fs, gs, T) == (7, 9)


def test_nodes_counted_from_edges_grow_until_something_fixes_them(stores: Stores) -> None:
    fs, gs = stores
    gs.put_edge_index(torch.tensor([[0, 1], [2, 2]]), ("a", "to", "a"), "coo")
    assert gs.get_all_edge_attrs()[0].size == (3, 3)
    gs.put_edge_index(torch.tensor([[4], [0]]), T, "coo")
    assert {a.edge_type: a.size for a in gs.get_all_edge_attrs()} == {("a", "to", "a"): (5, 5), T: (5, 1)}
    fs["a", "x", None] = torch.zeros(8)
    assert {a.edge_type: a.size for a in gs.get_all_edge_attrs()} == {("a", "to", "a"): (8, 8), T: (8, 1)}
    with pytest.raises(dbgnn.RequestError, match="9 values for the 8 rows"):
        fs["a", "y", None] = torch.zeros(9)
    with pytest.raises(dbgnn.DataError, match="name node 8 of 'a', but table 'a' has 8 rows"):
        gs.put_edge_index(torch.tensor([[8], [0]]), T, "coo")
    assert {a.size for a in gs.get_all_edge_attrs()} == {(8, 8), (8, 1)}


def test_put_replaces_what_was_put(stores: Stores) -> None:
    _, gs = stores
    gs.put_edge_index(torch.tensor([[0, 1], [2, 2]]), T, "coo", size=(3, 3))
    gs.put_edge_index((torch.tensor([2]), torch.tensor([0])), T, "coo")
    assert [t.tolist() for t in gs.get_edge_index(T, "coo")] == [[2], [0]]
    gs[EdgeAttr(T, "csc")] = (torch.tensor([1, 1]), torch.tensor([0, 0, 2, 2]))
    assert layouts(gs, T)["coo"] == [[1, 1], [1, 1]]


def test_put_does_not_replace_a_table_of_the_users(scholars: Stores) -> None:
    _, gs = scholars
    with pytest.raises(dbgnn.SchemaError, match="'wrote', which put_edge_index did not make"):
        gs.put_edge_index(torch.tensor([[0], [0]]), WROTE, "coo")


def test_put_does_not_lose_the_attributes_of_edges(stores: Stores) -> None:
    fs, gs = stores
    gs.put_edge_index(torch.tensor([[0], [0]]), T, "coo")
    fs[T, "w", None] = torch.zeros(1)
    with pytest.raises(dbgnn.SchemaError, match=r"have the attributes \['w'\]"):
        gs.put_edge_index(torch.tensor([[0], [0]]), T, "coo")


def test_put_between_types_with_keys_of_their_own(scholars_db: dbgnn.Database) -> None:
    fs, gs = scholars_db.get_torch_geometric_remote_backend()
    read = ("author", "read", "paper")
    edges = torch.tensor([[2, 0, 2], [3, 0, 3]])
    gs.put_edge_index(edges, read, "coo")
    assert torch.equal(torch.stack(gs.get_edge_index(read, "coo")), edges)
    keys = scholars_db.sql("SELECT src, dst FROM author__read__paper ORDER BY rowid").fetchall()
    assert keys == [("zoe", 70), ("ada", 10), ("zoe", 70)] == fs.keys(read)
    knows = ("author", "knows", "stranger")
    gs.put_edge_index(torch.tensor([[1], [4]]), knows, "coo")
    assert fs.keys(knows) == [("bob", 4)]


def test_names_that_join_to_one_are_two_types_but_not_for_pygs_samplers(stores: Stores) -> None:
    _, gs = stores
    one, two = ("a__b", "to", "c"), ("a", "b__to", "c")
    gs.put_edge_index(torch.tensor([[0], [1]]), one, "coo")
    gs.put_edge_index(torch.tensor([[1], [0]]), two, "coo")
    assert layouts(gs, one)["coo"] == [[0], [1]]
    assert layouts(gs, two)["coo"] == [[1], [0]]
    with pytest.raises(dbgnn.SchemaError, match="would merge them"):
        gs.csc()


def test_removing(scholars_db: dbgnn.Database) -> None:
    fs, gs = scholars_db.get_torch_geometric_remote_backend()
    gs.put_edge_index(torch.tensor([[0], [0]]), ("author", "read", "paper"), "coo")
    assert gs.remove_edge_index(("author", "read", "paper"), "csc")
    assert not gs.remove_edge_index(("author", "read", "paper"), "csc")
    assert gs.remove_edge_index(WROTE, "coo")
    assert gs.get_all_edge_attrs() == []
    tables = [t for (t,) in scholars_db.sql("SELECT table_name FROM duckdb_tables() WHERE schema_name = 'main'").fetchall()]
    assert "wrote" in tables
    assert "author__read__paper" not in tables
    with pytest.raises(KeyError, match="no edge type"):
        gs.get_edge_index(WROTE, "coo")
    assert fs["paper", "year", [0]].tolist() == [2001]


@pytest.mark.parametrize(
    ("edges", "layout", "size", "message"),
    [
        (([0, 1], [0]), "coo", None, "2 sources and 1 destinations"),
        (([0], [-1]), "coo", None, "negative id -1"),
        (([0.0], [1.0]), "coo", None, "ids are integers"),
        (([[0]], [[1]]), "coo", None, "made of vectors"),
        (([0], [1], [2]), "coo", None, "pair of integer vectors"),
        (([0], [3]), "coo", (2, 3), "name node 3 of 'b', but its size was given as 3"),
        (([0], [0, 2]), "csc", None, "must ascend from 0 to the number of edges, 1"),
        (([0, 1, 0, 1], [0]), "csr", None, "must ascend"),
        (([], [0]), "csr", None, "must ascend"),
    ],
    ids=str,
)
def test_what_is_no_edge_index(stores: Stores, edges: Any, layout: str, size: Any, message: str) -> None:
    fs, gs = stores
    with pytest.raises(dbgnn.DbgnnError, match=message):
        gs.put_edge_index([torch.tensor(part) for part in edges], T, layout, size=size)
    assert gs.get_all_edge_attrs() == []
    assert fs.get_all_tensor_attrs() == []


@pytest.mark.parametrize("edge_type", ["abc", ("a", "b"), ("a", 1, "b"), 3])
def test_what_is_no_edge_type(stores: Stores, edge_type: Any) -> None:
    _, gs = stores
    with pytest.raises(dbgnn.UnknownNameError, match="three strings"):
        gs.put_edge_index(torch.zeros(2, 1, dtype=torch.long), edge_type, "coo")


def test_a_size_that_is_not_that_of_the_table(stores: Stores) -> None:
    fs, gs = stores
    fs["a", "x", None] = torch.zeros(3)
    with pytest.raises(dbgnn.DataError, match="says 5 nodes of 'a', but table 'a' has 3 rows"):
        gs.put_edge_index(torch.tensor([[0], [0]]), T, "coo", size=(5, 1))


def test_unknown_types_are_key_errors_with_near_misses(scholars: Stores) -> None:
    _, gs = scholars
    wrong = ("author", "wrot", "paper")
    calls: list[Callable[[], object]] = [lambda: gs.get_edge_index(wrong, "coo"), lambda: gs.csc([wrong])]
    for call in calls:
        with pytest.raises(KeyError, match=r"did you mean .*'wrote'"):
            call()


@pytest.mark.filterwarnings("ignore:Using 'NeighborSampler' without a 'pyg-lib':UserWarning")
@pytest.mark.parametrize("homogeneous", [False, True])
def test_pygs_own_sampler_is_given_the_same_as_by_pygs_stores(stores: Stores, homogeneous: bool) -> None:
    """PyG's sampler reads all it needs when it is made; sampling itself needs pyg-lib or torch-sparse."""
    group, edge_type = (None, None) if homogeneous else ("a", ("a", "to", "a"))
    x, edges = torch.randn(6, 2), torch.tensor([[0, 3, 5, 1, 0], [1, 1, 0, 1, 4]])
    samplers = []
    for fs, gs in (stores, (MyFeatureStore(), MyGraphStore())):
        fs.put_tensor(x, group_name=group, attr_name="x", index=None)
        gs.put_edge_index(edges, edge_type=edge_type, layout="coo", size=(6, 6))
        samplers.append(NeighborSampler((fs, gs), [2, 2]))
    ours, pygs = samplers
    assert ours.num_nodes == pygs.num_nodes
    assert ours.node_types == pygs.node_types
    names = ["row", "colptr", "perm"] if homogeneous else ["row_dict", "colptr_dict", "perm"]
    row, colptr, perm = (getattr(ours, n) if homogeneous else next(iter(getattr(ours, n).values())) for n in names)
    want_row, want_colptr, want_perm = (
        getattr(pygs, n) if homogeneous else next(iter(getattr(pygs, n).values())) for n in names
    )
    assert torch.equal(colptr, want_colptr)
    assert torch.equal(edges[0][perm], row)
    assert sorted(perm.tolist()) == sorted(want_perm.tolist())
    assert sorted(row[1:4].tolist()) == sorted(want_row[1:4].tolist())
    with pytest.raises(ValueError, match="sorted by destination"):  # our neighbours are not sorted by time
        NeighborSampler(stores, [2], time_attr="x")
