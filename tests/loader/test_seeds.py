"""What a user may give as seeds: masks are PyG's, numbers that look like masks are errors, and nothing to do is said."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from torch_geometric.data import Data, HeteroData
from torch_geometric.loader import NodeLoader

import dbgnn

N = 10
MASK = torch.tensor([0, 1, 1, 0, 0, 1, 0, 0, 0, 1]).bool()
NODES = [1, 2, 5, 9]
HAS = ("author", "wrote", "paper")


@pytest.fixture
def db() -> Iterator[dbgnn.Database]:
    """Ten papers in a ring; three authors, whom no edge leads to; venues, to which an empty table leads."""
    with dbgnn.connect(progress=False) as db:
        db.execute(
            f"""CREATE TABLE paper AS SELECT i AS id, i::FLOAT AS x, i IN (1, 2, 5, 9) AS chosen FROM range({N}) t(i);
            CREATE TABLE author AS SELECT i AS id, i::FLOAT AS x FROM range(3) t(i);
            CREATE TABLE venue AS SELECT i AS id FROM range(2) t(i);
            CREATE TABLE cites AS SELECT i AS s, (i + 1) % {N} AS d, i::FLOAT AS w FROM range({N}) t(i);
            CREATE TABLE wrote AS SELECT i % 3 AS a, i AS p FROM range({N}) t(i);
            CREATE TABLE held (p BIGINT, v BIGINT)"""
        )
        db.execute(
            """CREATE PROPERTY GRAPH g VERTEX TABLES (paper KEY (id), author KEY (id), venue KEY (id)) EDGE TABLES (
              cites SOURCE KEY (s) REFERENCES paper (id) DESTINATION KEY (d) REFERENCES paper (id),
              wrote SOURCE KEY (a) REFERENCES author (id) DESTINATION KEY (p) REFERENCES paper (id),
              held SOURCE KEY (p) REFERENCES paper (id) DESTINATION KEY (v) REFERENCES venue (id))"""
        )
        yield db


def loader(db: dbgnn.Database, given: Any, **options: Any) -> dbgnn.NeighborLoader:
    return dbgnn.NeighborLoader(db.graph(), [2], input_nodes=given, **{"batch_size": 3} | options)


def seeds(batches: Any) -> list[tuple[int, int]]:
    """Return node and ``input_id`` of every seed."""
    papers = [b["paper"] for b in batches]
    return [pair for p in papers for pair in zip(p.n_id[: p.batch_size].tolist(), p.input_id.tolist(), strict=True)]


MASKS = {
    "tensor": MASK,
    "NumPy": MASK.numpy(),
    "list": MASK.tolist(),
    "tuple": tuple(MASK.tolist()),
    "pandas": pd.Series(MASK.numpy(), index=range(100, 100 + N)),
    "pandas boolean": pd.Series(MASK.tolist(), dtype="boolean"),
    "Arrow": pa.array(MASK.tolist()),
}


@pytest.mark.parametrize("form", MASKS)
def test_the_input_id_of_a_mask_is_the_node(db: dbgnn.Database, form: str) -> None:
    assert seeds(loader(db, ("paper", MASKS[form]))) == [(i, i) for i in NODES]


def test_as_in_pyg(db: dbgnn.Database) -> None:
    stores = db.get_torch_geometric_remote_backend()
    for given in (("paper", MASK), ("paper", torch.tensor(NODES)), "paper"):
        theirs = NodeLoader(stores, dbgnn.NeighborSampler(stores, [2]), input_nodes=given, batch_size=3)
        assert seeds(loader(db, given)) == seeds(theirs)


IDS: dict[str, Any] = {
    "tensor": torch.tensor(NODES),
    "int32": torch.tensor(NODES, dtype=torch.int32),
    "uint8": torch.tensor(NODES, dtype=torch.uint8),
    "uint64": np.array(NODES, dtype=np.uint64),
    "list": NODES,
    "pandas": pd.Series(NODES, index=list("abcd")),
    "pandas Index": pd.Index(NODES),
    "Arrow": pa.array(NODES),
    "SQL": "chosen",
}


@pytest.mark.parametrize("form", IDS)
def test_the_input_id_of_ids_and_of_sql_is_the_position(db: dbgnn.Database, form: str) -> None:
    assert seeds(loader(db, ("paper", IDS[form]))) == [(i, k) for k, i in enumerate(NODES)]


@pytest.mark.parametrize("form", [torch.tensor, list, np.array])
def test_a_given_input_id_follows_its_seed(db: dbgnn.Database, form: Any) -> None:
    found = seeds(loader(db, ("paper", MASK), input_id=form([i + 1000 for i in NODES]), shuffle=True))
    assert sorted(found) == [(i, i + 1000) for i in NODES]


NUMBERS: dict[str, Any] = {
    "uint8": MASK.to(torch.uint8),
    "int8": MASK.to(torch.int8),
    "long": MASK.long(),
    "ones": torch.ones(N, dtype=torch.long),
    "zeros": torch.zeros(N, dtype=torch.long),
    "float": MASK.float(),
    "column": MASK.long().view(-1, 1),
    "NumPy": MASK.numpy().astype(int),
    "list": MASK.long().tolist(),
    "pandas": pd.Series(MASK.numpy().astype(float)),
}


@pytest.mark.parametrize("form", NUMBERS)
def test_a_mask_of_numbers_is_an_error(db: dbgnn.Database, form: str) -> None:
    with pytest.raises(dbgnn.RequestError, match=r"input_nodes of 'paper' is 10 zeros and ones.*\.bool\(\) of a tensor"):
        loader(db, ("paper", NUMBERS[form]))


def test_ids_0_and_1_are_ids(db: dbgnn.Database) -> None:
    assert [i for i, _ in seeds(loader(db, ("paper", [0, 1, 1])))] == [0, 1, 1]
    with pytest.warns(UserWarning, match="have no edges"):
        (batch,) = loader(db, ("venue", [1, 0]))  # both of the two venues, in another order
    assert batch["venue"].n_id.tolist() == [1, 0]


WRONG: dict[str, tuple[Any, str]] = {
    "matrix mask": (("paper", MASK.view(-1, 1)), r"2 dimensions, \[10, 1\].*\.view\(-1\) makes a tensor flat"),
    "nonzero": (("paper", MASK.nonzero()), r"2 dimensions, \[4, 1\].*\.view\(-1\)"),
    "features": (("paper", torch.rand(N, 4)), "These look like features"),
    "dict": ({"paper": NODES}, r"of one node type: give a pair, such as \('paper', ids\)"),
    "short mask": (("paper", MASK[:-1]), "mask of 'paper' has 9 values, but there are 10 rows"),
    "float ids": (("paper", torch.tensor([1.0, 2.0])), "ids are integers"),
    "missing": (("paper", pd.Series([True, None] * 5, dtype="boolean")), "not integers"),
}


@pytest.mark.parametrize("form", WRONG)
def test_what_is_no_seeds_is_an_error_with_words(db: dbgnn.Database, form: str) -> None:
    given, message = WRONG[form]
    with pytest.raises(dbgnn.RequestError, match=message):
        loader(db, given)


NOTHING: dict[str, tuple[Any, str]] = {
    "mask": (("paper", torch.zeros(N, dtype=torch.bool)), "a mask of 'paper' without a True"),
    "list": (("paper", []), "an empty list of ids of 'paper'"),
    "SQL": (("paper", "x > 99"), "'x > 99' is true, and it is for none"),
}


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("form", NOTHING)
def test_no_seeds_are_a_warning_that_says_why(db: dbgnn.Database, form: str, shuffle: bool) -> None:
    given, message = NOTHING[form]
    with pytest.warns(UserWarning, match=f"There are no seeds.*{message}"):
        assert list(loader(db, given, shuffle=shuffle)) == []


def test_an_empty_table_too(db: dbgnn.Database) -> None:
    db.execute("DELETE FROM wrote")
    db.execute("DELETE FROM author")
    with pytest.warns(UserWarning, match="all nodes of 'author', whose table is empty"):
        loader(db, "author")


def test_seeds_that_no_edge_leads_to_are_a_warning(db: dbgnn.Database) -> None:
    with pytest.warns(UserWarning, match=r"No edge types lead to 'author'.*\('author', 'wrote', 'paper'\)"):
        batches = list(loader(db, "author"))
    assert sum(b[HAS].num_edges for b in batches) == 0
    with pytest.warns(UserWarning, match=r"lead to 'venue' have no edges \(\('paper', 'held', 'venue'\)\)"):
        loader(db, "venue")


def test_the_way_out_of_the_warning(db: dbgnn.Database) -> None:
    """The same table as an edge type in the other direction, as the warning says."""
    db.execute(
        """CREATE OR REPLACE PROPERTY GRAPH g VERTEX TABLES (paper KEY (id), author KEY (id)) EDGE TABLES (
          wrote SOURCE KEY (a) REFERENCES author (id) DESTINATION KEY (p) REFERENCES paper (id),
          wrote AS back SOURCE KEY (p) REFERENCES paper (id) DESTINATION KEY (a) REFERENCES author (id) LABEL written_by)"""
    )
    assert sum(b["paper", "written_by", "author"].num_edges for b in loader(db, "author")) > 0


# -- the same elsewhere --------------------------------------------------------------------------------------


def test_a_uint8_index_is_a_mask_as_to_torch(db: dbgnn.Database) -> None:
    store, _ = db.get_torch_geometric_remote_backend()
    x = torch.arange(N).float()
    assert store.get_tensor("paper", "x", index=MASK.to(torch.uint8)).tolist() == x[MASK].tolist()
    with pytest.raises(dbgnn.RequestError, match="since torch takes uint8 for one"):
        store.get_tensor("paper", "x", index=torch.tensor([1, 0, 1], dtype=torch.uint8))


def test_writes_refuse_a_mask_of_numbers(db: dbgnn.Database) -> None:
    store, _ = db.get_torch_geometric_remote_backend()
    with pytest.raises(dbgnn.RequestError, match="zeros and ones"):
        store.put_tensor(torch.zeros(N), group_name="paper", attr_name="x", index=MASK.long())
    with pytest.raises(dbgnn.RequestError, match="zeros and ones"):
        db.graph().write_back("paper", n_id=MASK.long(), p=torch.zeros(N))
    assert db.graph().write_back("paper", n_id=pd.Series(MASK.numpy()), p=torch.ones(4)) == 4
    assert [i for (i,) in db.sql("SELECT id FROM paper WHERE p = 1 ORDER BY id").fetchall()] == NODES
    assert db.sql("SELECT x FROM paper ORDER BY id").fetchall() == [(float(i),) for i in range(N)]


@pytest.mark.parametrize(
    "index",
    [
        None,
        slice(None),
        range(N),
        list(range(N - 1, -1, -1)),
        torch.randperm(N),
        np.arange(N),
        torch.ones(N).bool(),
        [*range(N), 0],
    ],
    ids=lambda i: type(i).__name__,
)
def test_remove_tensor_takes_any_index_that_names_every_row(db: dbgnn.Database, index: Any) -> None:
    store, _ = db.get_torch_geometric_remote_backend()
    with pytest.raises(dbgnn.RequestError, match="it must be None, or name every row"):
        store.remove_tensor("paper", "x", index=[0, 1])
    assert store.remove_tensor("paper", "x", index=index)
    assert store.get_tensor_size(group_name="paper", attr_name="x") is None


# -- stores --------------------------------------------------------------------------------------------------


def test_swapped_stores_are_taken_in_their_order(db: dbgnn.Database) -> None:
    features, edges = db.get_torch_geometric_remote_backend()
    swapped = dbgnn.NeighborLoader((edges, features), [2], input_nodes=("paper", MASK), batch_size=3)
    assert seeds(swapped) == [(i, i) for i in NODES]
    assert dbgnn.NeighborSampler((edges, features), [2]).graph.name == "g"


@pytest.mark.parametrize("data", [HeteroData(), Data()], ids=lambda d: type(d).__name__)
@pytest.mark.parametrize("make", [dbgnn.NeighborLoader, dbgnn.NeighborSampler], ids=lambda m: m.__name__)
def test_data_in_memory_is_told_the_way(data: Any, make: Any) -> None:
    with pytest.raises(dbgnn.DbgnnError, match=r"is in memory already.*dbgnn\.from_pyg"):
        make(data, [2])


def test_what_is_no_stores_is_an_error(db: dbgnn.Database) -> None:
    features, _ = db.get_torch_geometric_remote_backend()
    for data in (features, (features, features), db, None, [1, 2]):
        with pytest.raises(dbgnn.DbgnnError, match="get_torch_geometric_remote_backend"):
            dbgnn.NeighborLoader(data, [2], input_nodes="paper")  # type: ignore[arg-type]


def test_stores_of_two_graphs_are_an_error(db: dbgnn.Database) -> None:
    db.execute("CREATE PROPERTY GRAPH other VERTEX TABLES (paper KEY (id))")
    features, _ = db.get_torch_geometric_remote_backend("other")
    _, edges = db.get_torch_geometric_remote_backend("g")
    again, _ = db.get_torch_geometric_remote_backend("g")
    with pytest.raises(dbgnn.RequestError, match="stores are of two graphs"):
        dbgnn.NeighborLoader((features, edges), [2], input_nodes=("paper", [1]))
    assert len(list(dbgnn.NeighborLoader((again, edges), [2], input_nodes=("paper", [1])))) == 1


def test_lists_of_unequal_hops_are_a_value_error(db: dbgnn.Database) -> None:
    fan_out = {"cites": [2, 2], "wrote": [2], "held": [1, 1]}
    for error in (ValueError, dbgnn.DbgnnError, dbgnn.FanoutError):
        with pytest.raises(error, match="the same number of hops for every edge type"):
            dbgnn.NeighborLoader(db.graph(), fan_out, input_nodes=("paper", [1]))
