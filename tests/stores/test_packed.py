"""float16, bfloat16 and 8-bit codes: kept packed, served by stores and every plan of a loader as what they are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch_geometric.data import HeteroData

import dbgnn
from dbgnn.plans.rows_in_memory import Served
from dbgnn.schema.packed import packed_type, unpacked

N, E = 300, 1500
CITES = ("paper", "cites", "paper")


def made() -> HeteroData:
    """Papers with halves of every kind of shape, and citations with halves."""
    rng = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=rng)

    data = HeteroData()
    data["paper"].x = normal(N, 16).half()
    data["paper"].b = normal(N, 5).bfloat16()
    data["paper"].s = normal(N).half()
    data["paper"].m = normal(N, 3, 4).bfloat16()
    data["paper"].f = normal(N, 12) * 3 + 1
    data["paper"].y = torch.arange(N)
    data[CITES].edge_index = torch.randint(0, N, (2, E), generator=rng)
    data[CITES].w = normal(E, 4).half()
    data[CITES].v = normal(E).bfloat16()
    return data


@pytest.fixture(scope="module")
def data() -> HeteroData:
    return made()


@pytest.fixture(scope="module")
def path(data: HeteroData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file that another process could have written: only opened read-only by the tests."""
    path = tmp_path_factory.mktemp("packed") / "g.duckdb"
    with dbgnn.connect(path, read_only=False, progress=False) as db:
        graph = dbgnn.from_pyg(data, db)
        graph.encode("paper", "q", dbgnn.Quantize("f"))
        graph.build()
    return path


@pytest.fixture
def db(path: Path) -> Iterator[dbgnn.Database]:
    with dbgnn.connect(path, read_only=True, progress=False) as db:
        yield db


def check_codes(got: Tensor, want: Tensor) -> None:
    """The documented bound: half a scale, and what float32 rounds."""
    assert got.dtype == torch.float32
    scale = (want.amax(1) - want.amin(1)) / 255
    bound = scale / 2 + 4 * torch.finfo(torch.float32).eps * want.abs().amax(1)
    assert ((got - want).abs().amax(1) <= bound).all()
    assert not torch.equal(got, want)  # they are codes, and not the column


@pytest.mark.parametrize("form", ["float16", "bfloat16"])
@pytest.mark.parametrize("shape", [(), (1,), (2,), (3,), (4,), (128,), (3, 4), (4, 3), (2, 1, 6)], ids=str)
def test_a_type_says_what_it_holds(form: str, shape: tuple[int, ...]) -> None:
    found = unpacked(packed_type(form, shape))
    assert found is not None
    assert (found.form, found.dtype, found.shape) == (form, form, shape)


@pytest.mark.parametrize(
    "sql_type",
    [
        "USMALLINT[4]",
        "STRUCT(x USMALLINT[4])",
        "STRUCT(float16 SMALLINT[4])",
        "STRUCT(float16 USMALLINT[4], b INTEGER)",
        "STRUCT(float16 USMALLINT[])",
        "STRUCT(float16 UTINYINT[4])",
        "STRUCT(float16 UBIGINT)",
        "STRUCT(float16 USMALLINT[4])[2]",
        "STRUCT(int8_by_row UBIGINT[1])",
        "STRUCT(int8_by_row UBIGINT[2][2])",
        "STRUCT(int8_by_row UTINYINT)",
    ],
)
def test_other_types_are_not_taken_for_packed(sql_type: str) -> None:
    assert unpacked(sql_type) is None


def test_a_graph_shows_them_as_what_they_are(db: dbgnn.Database) -> None:
    text = str(db.graph())
    assert "float16   [300, 16]" in text
    assert "bfloat16  [300, 3, 4]" in text
    assert "STRUCT(int8_by_row UINTEGER[5])" in text
    widths = db.sql("SELECT column_name, data_type FROM duckdb_columns() WHERE table_name = 'paper'").fetchall()
    assert dict(widths)["x"] == "STRUCT(float16 UBIGINT[4])"  # two bytes a value


def test_stores_serve_them(db: dbgnn.Database, data: HeteroData) -> None:
    features, _ = db.get_torch_geometric_remote_backend()
    index = torch.tensor([7, 299, 0, 7])
    for name in "xbsm":
        assert torch.equal(features["paper", name, index], data["paper"][name][index])
        assert torch.equal(features["paper", name, None], data["paper"][name])
        assert features["paper", name, 3].shape == data["paper"][name].shape[1:]
    for name in "wv":
        assert torch.equal(features[CITES, name, torch.tensor([4, 2])], data[CITES][name][[4, 2]])
    check_codes(features["paper", "q", None], data["paper"].f)
    assert torch.equal(features["paper", "q", index], features["paper", "q", None][index])
    assert features["paper", "q", torch.empty(0, dtype=torch.long)].shape == (0, 12)


PLANS: dict[str, dict[str, Any]] = {
    "join": {"plan": "join", "cache_bytes": 0},
    "shared": {"plan": "shared", "cache_bytes": 0, "super_batch": 3},
    "spooled": {"plan": "spooled", "cache_bytes": 0, "super_batch": 3},
    "hot": {"cache_bytes": 1 << 30},
    "some hot, join": {"plan": "join", "cache_bytes": 20_000, "super_batch": 2},
    "some hot, spooled": {"plan": "spooled", "cache_bytes": 20_000, "super_batch": 2},
    "some hot, shared, prefetch": {"plan": "shared", "cache_bytes": 20_000, "super_batch": 2, "prefetch": 2},
    "workers": {"num_workers": 1},
}


def check_batches(batches: Any, stored: dict[str, Tensor], data: HeteroData) -> None:
    seen = 0
    for batch in batches:
        for name in "xbsmy":
            assert torch.equal(batch["paper"][name], data["paper"][name][batch["paper"].n_id]), name
        for name in "wv":
            assert torch.equal(batch[CITES][name], data[CITES][name][batch[CITES].e_id]), name
        assert torch.equal(batch["paper"].q, stored["q"][batch["paper"].n_id])
        seen += batch["paper"].batch_size
    assert seen == N


@pytest.mark.parametrize("plan", PLANS)
def test_every_plan_serves_them(db: dbgnn.Database, data: HeteroData, plan: str) -> None:
    features, _ = stores = db.get_torch_geometric_remote_backend()
    loader = dbgnn.NeighborLoader(stores, num_neighbors=[3, 2], batch_size=60, input_nodes="paper", **PLANS[plan])
    check_batches(loader, {"q": features["paper", "q", None]}, data)


def test_packs_hold_them(db: dbgnn.Database, data: HeteroData, tmp_path: Path) -> None:
    features, _ = stores = db.get_torch_geometric_remote_backend()
    loader = dbgnn.NeighborLoader(stores, num_neighbors=[3], batch_size=60, input_nodes="paper")
    loader.pack(tmp_path / "pack")
    check_batches(dbgnn.PackedLoader(tmp_path / "pack"), {"q": features["paper", "q", None]}, data)


def test_rows_of_codes_are_held_as_codes(db: dbgnn.Database) -> None:
    features, _ = db.get_torch_geometric_remote_backend(columns={"paper": ["f", "q", "x"]})
    (f, q, x), num_rows = features.served("paper", features.graph.topology())
    assert [Served("paper", (c,), num_rows).row_bytes for c in (f, q, x)] == [48, 8 + 12, 32]
    assert [Served("paper", (c,), num_rows).handed_bytes for c in (f, q, x)] == [48, 48, 32]


def test_queries_bring_them_back(db: dbgnn.Database, data: HeteroData) -> None:
    whole = db.graph().to_heterodata()
    for name in "xbsmyf":
        assert torch.equal(whole["paper"][name], data["paper"][name])
        assert whole["paper"][name].dtype == data["paper"][name].dtype
    check_codes(whole["paper"].q, data["paper"].f)
    found = dbgnn.query_to_heterodata(
        db,
        nodes={"paper": "SELECT id, x, b, q AS c FROM paper WHERE id < 10 ORDER BY id DESC"},
        edges={CITES: "SELECT src, dst, w FROM paper__cites__paper WHERE src < 10 AND dst < 10"},
        keys={"paper": "id"},
    )
    assert torch.equal(found["paper"].x, data["paper"].x[:10].flip(0))
    assert torch.equal(found["paper"].b, data["paper"].b[:10].flip(0))
    assert torch.equal(found["paper"].c, whole["paper"].q[:10].flip(0))
    assert found[CITES].w.dtype == torch.float16


def test_they_survive_a_copy_and_a_rename(db: dbgnn.Database, data: HeteroData) -> None:
    with dbgnn.connect(":memory:", progress=False) as other:
        other.connection.register("given", db.sql("SELECT id, x, b, q FROM paper").to_arrow_table())
        other.execute("CREATE TABLE a AS FROM given")
        other.execute("CREATE TABLE b AS SELECT id, x AS h, b, q FROM a")
        other.execute("CREATE PROPERTY GRAPH g VERTEX TABLES (b KEY (id))")
        features, _ = other.get_torch_geometric_remote_backend()
        assert torch.equal(features["b", "h", None], data["paper"].x)
        assert torch.equal(features["b", "b", None], data["paper"].b)
        check_codes(features["b", "q", None], data["paper"].f)
