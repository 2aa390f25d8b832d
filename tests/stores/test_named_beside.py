"""Columns of other tables with the key of a node type, such as `write_back(into=…)` makes, served where columns= names them."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import dbgnn
from tests.schema.test_no_edge import KEYS

PLAIN = "BIGINT with gaps"


def made(path: Path | str, name: str = PLAIN) -> tuple[dbgnn.Database, dbgnn.Graph]:
    """Papers with keys of a kind, in the reverse order of their ids, each cited by the next; ``v`` is the id."""
    kinds, keys = KEYS[name]
    columns = [f"k{i}" for i in range(len(kinds))]
    typed = ", ".join(f"{c} {kind}" for c, kind in zip(columns, kinds, strict=True))
    db = dbgnn.connect(path, progress=False)
    ends = typed + ", " + typed.replace("k0 ", "d0 ").replace("k1 ", "d1 ")
    db.execute(f"CREATE TABLE paper ({typed}, v BIGINT); CREATE TABLE cites ({ends})")
    for i in (3, 2, 1, 0):
        db.execute(f"INSERT INTO paper VALUES ({keys[i]}, {i}); INSERT INTO cites VALUES ({keys[i]}, {keys[(i + 1) % 4]})")
    key, back = ", ".join(columns), ", ".join(c.replace("k", "d") for c in columns)
    db.execute(
        f"""CREATE PROPERTY GRAPH g VERTEX TABLES (paper KEY ({key})) EDGE TABLES (cites
        SOURCE KEY ({key}) REFERENCES paper ({key}) DESTINATION KEY ({back}) REFERENCES paper ({key}))"""
    )
    return db, db.graph("g")


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[tuple[dbgnn.Database, dbgnn.Graph]]:
    db, graph = made(tmp_path / "papers.duckdb")
    with db:
        yield db, graph


VALUES = torch.arange(12, dtype=torch.float32).reshape(4, 3)


def stores(db: dbgnn.Database, *names: str) -> tuple[dbgnn.DuckDBFeatureStore, dbgnn.DuckDBGraphStore]:
    return db.get_torch_geometric_remote_backend("g", columns={"paper": ["v", *names]})


@pytest.mark.parametrize("place", ["file", "memory"])
@pytest.mark.parametrize("name", KEYS)
def test_every_plan_and_the_store_find_the_row_of_the_key(name: str, place: str, tmp_path: Path) -> None:
    db, graph = made(tmp_path / "papers.duckdb" if place == "file" else ":memory:", name)
    with db:
        graph.write_back("paper", n_id=[2, 0, 3, 1], into="emb", vec=VALUES[[2, 0, 3, 1]], half=VALUES[[2, 0, 3, 1]].half())
        served = stores(db, "emb.vec", "emb.half")
        for plan in ("join", "shared", "spooled"):
            for cache in ("auto", 0):
                for batch in dbgnn.NeighborLoader(served, [1], input_nodes="paper", batch_size=3, plan=plan, cache_bytes=cache):
                    nodes = batch["paper"]
                    assert nodes.v.tolist() == nodes.n_id.tolist()
                    assert torch.equal(nodes.vec, VALUES[nodes.n_id])
                    assert torch.equal(nodes.half, VALUES[nodes.n_id].half())
        store = served[0]
        assert torch.equal(store.get_tensor("paper", "vec", torch.tensor([3, 1])), VALUES[[3, 1]])
        assert torch.equal(store.get_tensor("paper", "vec", None), VALUES)
        assert torch.equal(store.get_tensor("paper", "vec", slice(1, 3)), VALUES[1:3])
        # rows of nobody are nobody's
        db.execute("DELETE FROM paper WHERE v = 1; DELETE FROM cites WHERE true")
        graph.build()
        assert torch.equal(store.get_tensor("paper", "vec", None), VALUES[[0, 2, 3]])


def test_values_are_those_of_the_table_as_it_is(opened: tuple[dbgnn.Database, dbgnn.Graph]) -> None:
    db, graph = opened
    db.execute("CREATE SCHEMA results")
    graph.write_back("paper", into='results."run 1"', p=torch.arange(4))
    served = stores(db, 'results."run 1".p')
    loader = dbgnn.NeighborLoader(served, [0], input_nodes="paper", batch_size=4)
    assert next(iter(loader))["paper"].p.tolist() == [0, 1, 2, 3]
    graph.write_back("paper", n_id=[2], into='results."run 1"', p=torch.tensor([7]))
    assert next(iter(loader))["paper"].p.tolist() == [0, 1, 7, 3]
    again = pickle.loads(pickle.dumps(served[0]))
    assert again.get_tensor("paper", "p", None).tolist() == [0, 1, 7, 3]
    assert "p" not in next(iter(dbgnn.NeighborLoader(graph, [0], input_nodes="paper")))["paper"]


def test_a_condition_says_which_nodes_need_a_row(opened: tuple[dbgnn.Database, dbgnn.Graph]) -> None:
    db, _ = opened
    db.execute("CREATE OR REPLACE PROPERTY GRAPH g VERTEX TABLES (paper KEY (k0) WHERE v <> 2)")
    db.execute("CREATE TABLE emb AS SELECT k0, v + 10 AS p FROM paper WHERE v <> 2")
    assert stores(db, "emb.p")[0].get_tensor("paper", "p", None).tolist() == [10, 11, 13]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            "DELETE FROM emb WHERE k0 > 5",
            r"2 of 4 nodes of 'paper' have no 'p' of table 'emb'; .* key k0 = 6\.",
        ),
        ("INSERT INTO paper VALUES (-9, 4)", r"^1 of 5 nodes of 'paper' have no 'p' of table 'emb'; .* key k0 = -9\."),
        ("INSERT INTO emb FROM emb WHERE k0 = 6", r"'emb' has several rows for a node of 'paper'.*first such key is k0 = 6\."),
        ("UPDATE emb SET p = NULL WHERE k0 = 6", r"'emb\.p' .* is NULL.*\(id 2\).*feature_store.fill\('paper', 'emb\.p', 0\)"),
        ("ALTER TABLE emb DROP p", r"Table 'emb' has no column 'p'"),
        ("ALTER TABLE emb RENAME k0 TO id", r"'emb' has no key of 'paper': its rows need the column 'k0' of type BIGINT"),
        ("DROP TABLE emb", r"There is no table 'emb'"),
    ],
)
@pytest.mark.parametrize("place", ["file", "memory"])
def test_what_cannot_be_served_is_an_error(change: str, message: str, place: str, tmp_path: Path) -> None:
    db, graph = made(tmp_path / "papers.duckdb" if place == "file" else ":memory:")
    with db:
        db.execute("CREATE TABLE emb AS SELECT k0, v AS p FROM paper")
        served = stores(db, "emb.p")
        loader = dbgnn.NeighborLoader(served, [1], input_nodes="paper", batch_size=4)
        assert next(iter(loader))["paper"].p.tolist() == [0, 1, 2, 3]
        db.execute(change)
        graph.build()
        with pytest.raises(dbgnn.DbgnnError, match=message):
            served[0].get_tensor("paper", "p", None)
        with pytest.raises(dbgnn.DbgnnError, match=message if "INSERT INTO paper" not in change else "changed|nodes"):
            next(iter(loader))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("emb.q", r"'emb' has no column 'q'.*there are: k0, p"),
        ("em.p", r"There is no table 'em'; did you mean 'emb'\?"),
        ("other.v", r"'other' has no key of 'paper': its rows need the column 'k0' of type BIGINT, and it has VARCHAR"),
        ("emb.t", r"Column 't' of table 'emb' is VARCHAR, which is no tensor: text"),
        ("twice.v", r"served as 'v', which is what another column of 'paper' is called.*ALTER TABLE twice RENAME v TO twice_v"),
        ("twice.batch", r"means something to PyG.*ALTER TABLE twice RENAME batch TO twice_batch"),
        ("nothing", r"columns\['paper'\]: table 'paper' has no column 'nothing'"),
    ],
)
def test_names_that_name_nothing(opened: tuple[dbgnn.Database, dbgnn.Graph], name: str, message: str) -> None:
    db, _ = opened
    db.execute("""
        CREATE TABLE emb AS SELECT k0, v AS p, 'a' AS t FROM paper;
        CREATE TABLE other AS SELECT k0::VARCHAR AS k0, v FROM paper;
        CREATE TABLE twice AS SELECT k0, v, v AS batch FROM paper""")
    with pytest.raises(dbgnn.DbgnnError, match=message):
        stores(db, name)


def test_the_remedy_of_a_taken_name_works(opened: tuple[dbgnn.Database, dbgnn.Graph]) -> None:
    db, _ = opened
    db.execute("CREATE TABLE twice AS SELECT k0, v FROM paper")
    with pytest.raises(dbgnn.SchemaError) as caught:
        stores(db, "twice.v")
    db.execute(str(caught.value).partition("another name: ")[2].rstrip("."))
    assert stores(db, "twice.twice_v")[0].get_tensor("paper", "twice_v", None).tolist() == [0, 1, 2, 3]


def test_edges_have_no_key(opened: tuple[dbgnn.Database, dbgnn.Graph]) -> None:
    db, _ = opened
    db.execute("CREATE TABLE emb AS SELECT k0, v AS p FROM paper")
    with pytest.raises(dbgnn.SchemaError, match="for node types only: edges have no key"):
        db.get_torch_geometric_remote_backend("g", columns={"cites": ["emb.p"]})


def test_it_is_not_written_to_by_the_store(opened: tuple[dbgnn.Database, dbgnn.Graph]) -> None:
    db, graph = opened
    db.execute("CREATE TABLE emb AS SELECT k0, v AS p FROM paper")
    store, _ = stores(db, "emb.p")
    message = r"is column 'p' of table 'emb'.*graph.write_back\('paper', into='emb', p=…\)"
    with pytest.raises(dbgnn.SchemaError, match=message):
        store.remove_tensor("paper", "p", None)
    with pytest.raises(dbgnn.SchemaError, match=message):
        store.put_tensor(torch.zeros(4), "paper", "p", None)
    graph.write_back("paper", into="emb", p=torch.arange(4) * 2)
    assert store.get_tensor("paper", "p", None).tolist() == [0, 2, 4, 6]
