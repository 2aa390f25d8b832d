"""``keys=`` of loaders and of `to_heterodata`: the user's own keys of nodes and edges, compared with the rows by their ids."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import dbgnn

PAYS, BACK = ("person", "pays", "person"), ("person", "paid_by", "person")
LIVES = ("person", "city_id", "city")


@pytest.fixture(params=["file", "memory"])
def db(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[dbgnn.Database]:
    """Tables with gaps, so that ids are not rowids, and one that is two edge types, by a condition."""
    with dbgnn.connect(tmp_path / "g.duckdb" if request.param == "file" else ":memory:", progress=False) as db:
        db.execute("""
            CREATE TABLE person (iban VARCHAR PRIMARY KEY, city_id BIGINT);
            CREATE TABLE paid (tx UUID PRIMARY KEY, a VARCHAR, b VARCHAR, nr BIGINT, w DOUBLE, "on" DATE, note VARCHAR,
              batch INTEGER, n INTEGER);
            INSERT INTO person SELECT 'p' || i * 37 % 101, i FROM range(60) t(i);
            INSERT INTO paid SELECT uuid(), 'p' || i % 60 * 37 % 101, 'p' || i * 7 % 60 * 37 % 101, 1000 - i, i / 4,
              DATE '2024-01-01' + i::INTEGER, CASE WHEN i % 4 > 0 THEN 'n' || i END, i, CASE WHEN i % 4 > 0 THEN i END
              FROM range(400) t(i);
            DELETE FROM paid WHERE nr % 7 = 0; DELETE FROM person WHERE iban = 'none';
            CREATE PROPERTY GRAPH g VERTEX TABLES (person KEY (iban) PROPERTIES (city_id)) EDGE TABLES (
              paid SOURCE KEY (a) REFERENCES person (iban) DESTINATION KEY (b) REFERENCES person (iban) LABEL pays
                PROPERTIES (w),
              paid WHERE nr > 700 SOURCE KEY (b) REFERENCES person (iban) DESTINATION KEY (a) REFERENCES person (iban)
                LABEL paid_by PROPERTIES (w))""")
        yield db


def rows(db: dbgnn.Database, column: str, edge_type: object) -> list[Any]:
    """Return a column by ``e_id``."""
    where = "nr > 700" if edge_type == BACK else "true"
    return [v for (v,) in db.sql(f'SELECT "{column}" FROM paid WHERE {where} ORDER BY rowid ASC').fetchall()]


def people(db: dbgnn.Database) -> list[str]:
    return [v for (v,) in db.sql("SELECT iban FROM person ORDER BY iban ASC").fetchall()]


LOADERS: dict[str, Callable[..., Any]] = {
    "nodes": lambda graph, **given: dbgnn.NeighborLoader(graph, [4], "person", batch_size=9, **given),
    "one by one": lambda graph, **given: dbgnn.NeighborLoader(graph, [4], "person", batch_size=9, prefetch=0, **given),
    "disjoint": lambda graph, **given: dbgnn.NeighborLoader(graph, [3, 2], "person", batch_size=9, disjoint=True, **given),
    "induced": lambda graph, **given: dbgnn.NeighborLoader(graph, [3], "person", subgraph_type="induced", **given),
    "links": lambda graph, **given: dbgnn.LinkNeighborLoader(graph, [4], PAYS, batch_size=50, neg_sampling="binary", **given),
}


@pytest.mark.parametrize("kind", LOADERS)
def test_loaders_bring_the_keys_of_their_rows(db: dbgnn.Database, kind: str) -> None:
    graph = db.graph("g")
    wanted, names = {t: rows(db, "tx", t) for t in (PAYS, BACK)}, people(db)
    seen = 0
    for batch in LOADERS[kind](graph, keys=True):
        assert batch["person"].iban == [names[i] for i in batch["person"].n_id.tolist()]
        for edge_type in (PAYS, BACK):
            assert batch[edge_type].tx == [wanted[edge_type][i] for i in batch[edge_type].e_id.tolist()]
            seen += len(batch[edge_type].tx)
    assert seen > 100
    assert "iban" not in next(iter(LOADERS[kind](graph)))["person"]


def test_named_columns_come_as_tensors_or_lists(db: dbgnn.Database) -> None:
    loader = dbgnn.NeighborLoader(db.graph("g"), [4], "person", keys={"pays": ["nr", "on", "note", "w", "batch_"]})
    for batch in loader:
        ids = batch[PAYS].e_id.tolist()
        assert batch[PAYS].nr.dtype == torch.int64
        assert batch[PAYS].nr.tolist() == [rows(db, "nr", PAYS)[i] for i in ids]
        assert batch[PAYS].on == [rows(db, "on", PAYS)[i] for i in ids]
        assert batch[PAYS].note == [rows(db, "note", PAYS)[i] for i in ids]  # with None
        assert batch[PAYS].w.tolist() == [rows(db, "w", PAYS)[i] for i in ids]  # a feature anyhow
        assert batch[PAYS].batch_.tolist() == [rows(db, "batch", PAYS)[i] for i in ids]
        assert "tx" not in batch[PAYS]
        assert "nr" not in batch[BACK]


def test_memory_brings_them_too(db: dbgnn.Database) -> None:
    graph = db.graph("g")
    data = graph.to_heterodata(keys=True)
    for edge_type in (PAYS, BACK):
        assert data[edge_type].tx == rows(db, "tx", edge_type)
    assert "tx" not in graph.to_heterodata()[PAYS]
    data = graph.to_heterodata(keys={"pays": ["nr", "note", "w"], "person": "city_id"}, undirected=True)
    assert data[PAYS].nr.tolist() == rows(db, "nr", PAYS) * 2
    assert data[PAYS].note == rows(db, "note", PAYS) * 2
    assert data[PAYS].w.tolist() == rows(db, "w", PAYS) * 2
    assert data["person"].iban == people(db)  # as without keys=, since they are no positions
    some = graph.to_heterodata({"pays": "nr > 800"}, keys={"pays": True})
    assert some[PAYS].tx == [tx for tx, nr in zip(rows(db, "tx", PAYS), rows(db, "nr", PAYS), strict=True) if nr > 800]
    near = graph.to_heterodata(seeds=("person", "iban = 'p37'"), hops=1, keys=True)[PAYS]
    assert 0 < len(near.tx) == near.edge_index.size(1) == len(near.w)
    by_w = dict(zip(rows(db, "w", PAYS), rows(db, "tx", PAYS), strict=True))
    assert near.tx == [by_w[w] for w in near.w.tolist()]
    encoded = graph.to_heterodata(keys={"pays": "w"}, encoders={"pays": {"z": dbgnn.Normalize("w")}})[PAYS]
    assert encoded.w.tolist() == rows(db, "w", PAYS)


def test_edges_over_a_node_table_have_the_nodes_keys() -> None:
    with dbgnn.connect(progress=False) as db:
        db.execute("""CREATE TABLE city (id BIGINT PRIMARY KEY); INSERT INTO city FROM range(3);
            CREATE TABLE person (id BIGINT PRIMARY KEY, city_id BIGINT REFERENCES city (id), nick VARCHAR);
            INSERT INTO person SELECT i, i % 3, 'n' || i FROM range(9) t(i)""")
        data = db.graph().to_heterodata(keys=True)
        assert set(data[LIVES].keys()) == {"edge_index"}
        (batch,) = dbgnn.NeighborLoader(db.graph(), [-1], "city", batch_size=3, keys={LIVES: "nick", "person": True})
        assert batch[LIVES].nick == [f"n{i}" for i in batch[LIVES].e_id.tolist()]
        assert batch["person"].id.tolist() == batch["person"].n_id.tolist()


def test_rows_known_by_rowid_bring_that(db: dbgnn.Database) -> None:
    db.execute("""CREATE PROPERTY GRAPH r VERTEX TABLES (paid KEY (rowid) NO PROPERTIES, person KEY (iban) NO PROPERTIES)
        EDGE TABLES (paid SOURCE KEY (rowid) REFERENCES paid (rowid) DESTINATION KEY (a) REFERENCES person (iban) LABEL to)""")
    rowids, tx = zip(*db.sql("SELECT rowid, tx FROM paid ORDER BY rowid ASC").fetchall(), strict=True)
    for batch in dbgnn.NeighborLoader(db.graph("r"), [3], "person", batch_size=9, keys={"paid": ["rowid", "tx"]}):
        ids = batch["paid"].n_id.tolist()
        assert (batch["paid"].rowid.tolist(), batch["paid"].tx) == ([rowids[i] for i in ids], [tx[i] for i in ids])
    data = db.graph("r").to_heterodata(keys=True)
    assert data["paid"].rowid.tolist() == list(rowids)


def test_what_cannot_be_says_what_can(db: dbgnn.Database) -> None:
    graph = db.graph("g")
    given: list[tuple[Any, str]] = [
        ("tx", "keys must be True, or by node or edge type"),
        ({"pays": 3}, "keys must be True, or by node or edge type"),
        ({"pays": "tz"}, r"table 'paid' has no column 'tz' .there are: tx, a"),
        ({"pais": "tx"}, "did you mean"),
    ]
    for keys, said in given:
        for call in (lambda keys: dbgnn.NeighborLoader(graph, [1], "person", keys=keys), lambda k: graph.to_heterodata(keys=k)):
            with pytest.raises(dbgnn.DbgnnError, match=said):
                call(keys)
    with pytest.raises(dbgnn.DataError, match=r"'n' of table 'paid' is NULL in .*keys= makes a tensor"):
        list(dbgnn.NeighborLoader(graph, [4], "person", keys={"pays": "n"}))
    with pytest.raises(dbgnn.DataError, match=r"'n' of edges .* is NULL"):
        graph.to_heterodata(keys={"pays": "n"})
    with pytest.raises(dbgnn.RequestError, match="decided when a loader is made"):
        dbgnn.NeighborLoader(graph, [1], "person").keys = True
    db.execute("CREATE TABLE bare AS SELECT a, b FROM paid")
    db.execute("""CREATE PROPERTY GRAPH h VERTEX TABLES (person KEY (iban)) EDGE TABLES (
        bare SOURCE KEY (a) REFERENCES person (iban) DESTINATION KEY (b) REFERENCES person (iban))""")
    with pytest.raises(dbgnn.SchemaError, match=r"table 'bare' has no primary key\. Name a column of it instead"):
        dbgnn.NeighborLoader(db.graph("h"), [1], "person", keys={"bare": True})
    stores = db.get_torch_geometric_remote_backend("h", homogeneous=True)
    batch = next(iter(dbgnn.NeighborLoader(stores, [2], batch_size=3, keys={"bare": "a"})))
    assert len(batch.a) == len(batch.e_id)
    plain = db.get_torch_geometric_remote_backend("g", columns={PAYS: [], BACK: []})
    both = dbgnn.NeighborLoader(plain, [3], "person", subgraph_type="bidirectional", keys={"pays": True})
    with pytest.raises(dbgnn.RequestError, match="Leave this type out of keys="):
        next(iter(both))
    db.execute("ALTER TABLE bare ADD COLUMN city_id VARCHAR")
    with pytest.raises(dbgnn.RequestError, match=r"keys= adds 'city_id' of .*Leave that out"):
        next(iter(dbgnn.NeighborLoader(stores, [2], keys={"bare": "city_id"})))


def test_rows_that_changed_since_they_were_sampled_give_no_other_keys(tmp_path: Path) -> None:
    with dbgnn.connect(tmp_path / "g.duckdb", progress=False) as db:
        db.execute("""CREATE TABLE n AS SELECT 2 * i AS id, 'k' || i AS k FROM range(1, 100) t(i);
            CREATE TABLE e AS SELECT 2 * i AS a, 2 * i AS b, i AS nr FROM range(1, 100) t(i);
            CREATE PROPERTY GRAPH g VERTEX TABLES (n KEY (id)) EDGE TABLES (
              e SOURCE KEY (a) REFERENCES n (id) DESTINATION KEY (b) REFERENCES n (id))""")
        graph = db.graph("g")
        batches = iter(dbgnn.NeighborLoader(graph, [1], "n", batch_size=5, prefetch=0, super_batch=4, keys={"e": "nr"}))
        next(batches)
        db.execute("DELETE FROM e WHERE nr = 1")
        graph.build()
        with pytest.raises(dbgnn.StaleIndexError, match="changed after its mini-batches were sampled"):
            list(batches)


def test_packs_hold_text_and_numbers(db: dbgnn.Database, tmp_path: Path) -> None:
    graph = db.graph("g")
    loader = dbgnn.NeighborLoader(graph, [4], "person", batch_size=9, keys={"pays": ["nr", "note"], "person": True})
    loader.pack(tmp_path / "pack")
    nr, note, names = rows(db, "nr", PAYS), rows(db, "note", PAYS), people(db)
    for batch in dbgnn.PackedLoader(tmp_path / "pack"):
        ids = batch[PAYS].e_id.tolist()
        assert (batch[PAYS].nr.tolist(), batch[PAYS].note) == ([nr[i] for i in ids], [note[i] for i in ids])
        assert batch["person"].iban == [names[i] for i in batch["person"].n_id.tolist()]
    with pytest.raises(dbgnn.DbgnnError):  # it is the pack of another loader
        dbgnn.NeighborLoader(graph, [4], "person", batch_size=9).pack(tmp_path / "pack")
    with pytest.raises(dbgnn.DataError, match="which a pack cannot hold"):
        dbgnn.NeighborLoader(graph, [4], "person", keys={"pays": "tx"}).pack(tmp_path / "other")
