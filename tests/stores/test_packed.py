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
        "STRUCT(uint8_by_row UBIGINT[1])",
        "STRUCT(uint8_by_row UBIGINT[2][2])",
        "STRUCT(uint8_by_row UTINYINT)",
    ],
)
def test_other_types_are_not_taken_for_packed(sql_type: str) -> None:
    assert unpacked(sql_type) is None


def test_a_graph_shows_them_as_what_they_are(db: dbgnn.Database) -> None:
    text = str(db.graph())
    assert "float16   [300, 16]" in text
    assert "bfloat16  [300, 3, 4]" in text
    assert "STRUCT(uint8_by_row UINTEGER[5])" in text
    widths = db.sql("SELECT column_name, data_type FROM duckdb_columns() WHERE table_name = 'paper'").fetchall()
    assert dict(widths)["x"] == "STRUCT(float16 UBIGINT[4])"  # two bytes a value


def test_check_finds_null_in_them(own: dbgnn.Database) -> None:
    features, _ = own.get_torch_geometric_remote_backend()
    features["paper", "h", None] = torch.ones(5, 8).half()
    features["paper", "s", None] = torch.ones(5).bfloat16()
    own.graph().encode("paper", "q", dbgnn.Quantize("f"))
    found = {(f.column, f.what) for f in own.graph().check().findings}
    assert ("s", "constant") in found
    assert not {c for c, what in found if what == "NULL"} & {"h", "s", "q"}
    own.execute("UPDATE paper SET h = NULL, s = {'bfloat16': NULL}, q = NULL WHERE id = 20")
    own.graph().build()
    nulls = {f.column: (f.count, f.examples) for f in own.graph().check().findings if f.what == "NULL"}
    assert nulls == dict.fromkeys("hsq", (1, (20,)))


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
    assert [Served("paper", (c,), num_rows).handed_bytes for c in (f, q, x)] == [48, 48 + 20, 32]


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


# -- writing -----------------------------------------------------------------------------------------------


@pytest.fixture
def own(tmp_path: Path) -> Iterator[dbgnn.Database]:
    """Five papers with a key, in a file of the test's own."""
    with dbgnn.connect(tmp_path / "own.duckdb", read_only=False, progress=False) as db:
        db.execute("CREATE TABLE paper AS SELECT i * 10 AS id, [i, -i, i / 2]::FLOAT[3] AS f FROM range(5) t(i)")
        db.execute("CREATE PROPERTY GRAPH g VERTEX TABLES (paper KEY (id))")
        yield db


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("shape", [(5,), (5, 1), (5, 8), (5, 2, 2)], ids=str)
def test_put_all_then_some(own: dbgnn.Database, dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    features, _ = own.get_torch_geometric_remote_backend()
    values = torch.randn(shape).to(dtype)
    features["paper", "h", None] = values
    assert torch.equal(features["paper", "h", None], values)
    values[[3, 1]] = torch.full(shape[1:], 7.0, dtype=dtype)
    features["paper", "h", [3, 1]] = values[[3, 1]]
    assert torch.equal(features["paper", "h", None], values)
    assert torch.equal(features["paper", "h", 3], values[3])
    assert features.keys("paper").tolist() == [0, 10, 20, 30, 40]


def test_every_bit_is_kept(own: dbgnn.Database) -> None:
    """NaN of any payload, infinities, minus zero and the subnormal ones are what they were."""
    bits = torch.tensor([0x7E01, 0xFC00, 0x7C00, 0x8000, 0x0001], dtype=torch.uint16)
    features, _ = own.get_torch_geometric_remote_backend()
    features["paper", "h", None] = bits.view(torch.float16)
    features["paper", "v", None] = bits.view(torch.bfloat16).reshape(5, 1)
    assert torch.equal(features["paper", "h", None].view(torch.int16), bits.view(torch.int16))
    assert torch.equal(features["paper", "v", None].view(torch.int16).view(-1), bits.view(torch.int16))


def test_tensors_that_are_not_contiguous(own: dbgnn.Database) -> None:
    features, _ = own.get_torch_geometric_remote_backend()
    whole = torch.randn(6, 10).half()
    for number, values in enumerate([whole.T[:5], whole[:5, ::2], whole[:1].expand(5, 10), whole.numpy()[1:, ::3]]):
        features["paper", f"h{number}", None] = values
        assert torch.equal(features["paper", f"h{number}", None], torch.as_tensor(np.ascontiguousarray(values)))


def test_empty_tables_and_one_row(tmp_path: Path) -> None:
    for count in (0, 1):
        data = HeteroData()
        data["a"].x, data["a"].s = torch.ones(count, 8).half(), torch.ones(count).bfloat16()
        with dbgnn.connect(tmp_path / f"{count}.duckdb", read_only=False, progress=False) as db:
            graph = dbgnn.from_pyg(data, db)
            back = graph.to_heterodata()["a"]
            assert torch.equal(back.x, data["a"].x)
            assert torch.equal(back.s, data["a"].s)
            assert back.x.dtype == torch.float16


@pytest.mark.parametrize(
    ("values", "index", "message"),
    [
        (torch.tensor(1.0).half(), None, "no dimension|1 values for the 5 rows"),
        (torch.ones(5, 0).half(), None, "1 to 100,000"),
        (torch.ones(2, 4).half(), [0, 1], r"float16 \[3\] a row, the values are torch.float16 \[4\]"),
        (torch.ones(2, 3), [0, 1], r"float16 \[3\] a row, the values are torch.float32 \[3\]"),
        (torch.ones(2, 3).bfloat16(), [0, 1], "float16"),
    ],
)
def test_what_does_not_fit_is_refused(own: dbgnn.Database, values: Tensor, index: Any, message: str) -> None:
    features, _ = own.get_torch_geometric_remote_backend()
    features["paper", "h", None] = torch.ones(5, 3).half()
    with pytest.raises((dbgnn.SchemaError, dbgnn.RequestError), match=message):
        features["paper", "h", index] = values
    assert torch.equal(features["paper", "h", None], torch.ones(5, 3).half())


@pytest.mark.parametrize("words", ["USMALLINT[4]", "UINTEGER[2]", "UBIGINT[1]"])
def test_a_column_may_be_declared_in_any_words(own: dbgnn.Database, words: str) -> None:
    own.execute(f"ALTER TABLE paper ADD COLUMN h STRUCT(float16 {words})")
    features, _ = own.get_torch_geometric_remote_backend()
    values = torch.randn(5, 4).half()
    features["paper", "h", None] = values
    features["paper", "h", [2]] = values[:1]
    assert torch.equal(features["paper", "h", torch.arange(5)], values[[0, 1, 0, 3, 4]])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("shape", [(5,), (5, 8)], ids=str)
def test_null_is_an_error_or_what_stands_for_it(own: dbgnn.Database, dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    features, _ = own.get_torch_geometric_remote_backend()
    values = torch.ones(shape).to(dtype)
    features["paper", "h", None] = values
    own.execute("UPDATE paper SET h = NULL WHERE id = 20")
    with pytest.raises(dbgnn.DataError, match=r"'h' of table 'paper' is NULL.* in 1 of the 5 rows.*= 20"):
        features["paper", "h", None]
    assert torch.equal(features["paper", "h", [0, 1]], values[:2])
    features.fill("paper", "h", -2.5)
    values[2] = -2.5
    assert torch.equal(features["paper", "h", None], values)


def test_what_a_half_does_not_hold_cannot_stand_for_null(own: dbgnn.Database) -> None:
    features, _ = own.get_torch_geometric_remote_backend()
    features["paper", "h", None] = torch.ones(5).half()
    with pytest.raises(dbgnn.SchemaError, match="70000 cannot stand for NULL"):
        features.fill("paper", "h", 70_000)
    assert features.fill("paper", "h", float("-inf")) is features
    with pytest.raises(dbgnn.SchemaError, match="cannot stand for NULL"):
        features.fill("paper", "f", 1e300)


def test_write_back(own: dbgnn.Database) -> None:
    graph = own.graph()
    values = torch.randn(2, 8).half()
    graph.write_back("paper", n_id=[4, 0], h=values, s=values[:, 0].bfloat16())
    graph.write_back("paper", into="aside", n_id=[1, 2], h=values)
    features, _ = own.get_torch_geometric_remote_backend(columns={"paper": ["h", "s"]})
    assert torch.equal(features["paper", "h", [4, 0]], values)
    assert torch.equal(features["paper", "s", [4, 0]], values[:, 0].bfloat16())
    found = dbgnn.query_to_heterodata(own, nodes={"a": "SELECT id, h FROM aside ORDER BY id ASC"}, edges={})
    assert torch.equal(found["a"].h, values)
    with pytest.raises(dbgnn.SchemaError, match="the values are FLOAT"):
        graph.write_back("paper", n_id=[4, 0], h=values.float())


def test_npy_files(own: dbgnn.Database, tmp_path: Path) -> None:
    given = np.random.default_rng(0).standard_normal((5, 8)).astype(np.float16)
    np.save(tmp_path / "id.npy", np.arange(5))
    np.save(tmp_path / "x.npy", given)
    np.save(tmp_path / "big.npy", given.astype(">f2"))
    np.save(tmp_path / "s.npy", given[:, 0])
    np.save(tmp_path / "f.npy", given.astype(np.float32))
    own.execute(
        "CREATE TABLE t (id BIGINT, x STRUCT(float16 UBIGINT[2]), big STRUCT(float16 USMALLINT[8]), "
        "s STRUCT(float16 USMALLINT), wide FLOAT[8], brain STRUCT(bfloat16 UBIGINT[2]))"
    )
    names = {"id": "id", "x": "x", "big": "big", "s": "s", "wide": "x"}
    files = ", ".join(f"'{tmp_path}/{file}.npy'" for file in names.values())
    own.execute(f"COPY t ({', '.join(names)}) FROM ({files})")
    own.execute("CREATE OR REPLACE PROPERTY GRAPH g VERTEX TABLES (t KEY (id) PROPERTIES (x, big, s, wide))")
    features, _ = own.get_torch_geometric_remote_backend()
    for name in ("x", "big"):
        assert torch.equal(features["t", name, None], torch.from_numpy(given))
    assert torch.equal(features["t", "s", None], torch.from_numpy(given[:, 0].copy()))
    assert torch.equal(features["t", "wide", None], torch.from_numpy(given).float())
    for column, file, message in [
        ("x", "f", r"float32 does not fit.*astype\('float16'\)"),
        ("x", "s", r"STRUCT\(float16 USMALLINT\)"),
        ("brain", "x", "npy has no bfloat16"),
    ]:
        with pytest.raises(dbgnn.CopyError, match=message):
            own.execute(f"COPY t (id, {column}) FROM ('{tmp_path}/id.npy', '{tmp_path}/{file}.npy')")
    assert own.sql("SELECT count(*) FROM t").fetchall() == [(5,)]


# -- codes -------------------------------------------------------------------------------------------------


def encoded(own: dbgnn.Database, rows: Any, **options: Any) -> Tensor:
    """What loaders serve of a column of these rows once it is quantized."""
    values = torch.as_tensor(rows)
    features, _ = own.get_torch_geometric_remote_backend()
    features["paper", "given", None] = values
    own.graph().encode("paper", "q", dbgnn.Quantize("given", **options))
    features, _ = own.get_torch_geometric_remote_backend()
    got: Tensor = features["paper", "q", None]
    return got


@pytest.mark.parametrize("width", [1, 2, 8, 56, 57])
def test_codes_keep_to_their_bound(own: dbgnn.Database, width: int) -> None:
    sizes = torch.tensor([1e-30, 1e-3, 1.0, 100.0, 1e30])[:, None]
    given = torch.randn(5, width, generator=torch.Generator().manual_seed(width)) * sizes + sizes
    scale = (given.amax(1) - given.amin(1)) / 255
    bound = scale / 2 + 4 * torch.finfo(torch.float32).eps * given.abs().amax(1)
    assert ((encoded(own, given) - given).abs().amax(1) <= bound).all()


def test_rows_of_equal_values_are_exact(own: dbgnn.Database) -> None:
    given = torch.tensor([0.1, -1e38, 1e38, 0.0, 1e-45])[:, None].expand(5, 4).contiguous()
    assert torch.equal(encoded(own, given), given)


def test_the_largest_values(own: dbgnn.Database) -> None:
    given = torch.tensor([1e38, -1e38, 0.0]).expand(5, 3).contiguous()
    got = encoded(own, given)
    assert ((got - given).abs() <= 2e38 / 510 * 1.001).all()
    with pytest.raises(dbgnn.DataError, match=r"'given' holds .*e\+38.*up to 1e\+38"):
        encoded(own, given * 2)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_codes_of_what_is_not_finite_are_refused(own: dbgnn.Database, value: float) -> None:
    given = torch.ones(5, 3)
    given[3, 1] = value
    with pytest.raises(dbgnn.DataError, match=rf"'given' holds {value}.*finite"):
        encoded(own, given)


def test_codes_of_doubles_beyond_float32_are_refused(own: dbgnn.Database) -> None:
    with pytest.raises(dbgnn.DataError, match=r"'given' holds 1e\+300"):
        encoded(own, torch.full((5, 2), 1e300, dtype=torch.float64))


@pytest.mark.parametrize("sql_type", ["FLOAT", "VARCHAR", "FLOAT[2][2]", "FLOAT[]"])
def test_only_vectors_are_quantized(own: dbgnn.Database, sql_type: str) -> None:
    own.execute(f"ALTER TABLE paper ADD COLUMN odd {sql_type}")
    with pytest.raises(dbgnn.SchemaError, match="'odd' has type"):
        own.graph().encode("paper", "q", dbgnn.Quantize("odd"))


def test_null_in_codes(own: dbgnn.Database) -> None:
    own.execute("UPDATE paper SET f = NULL WHERE id = 10")
    own.execute("UPDATE paper SET f = [1, NULL, 3] WHERE id = 20")
    graph = own.graph()
    with pytest.raises(dbgnn.DataError, match="'f' of table 'paper' is NULL"):
        graph.encode("paper", "q", dbgnn.Quantize("f"))
    with pytest.raises(dbgnn.SchemaError, match="null='mask' is none of"):
        dbgnn.Quantize("f", null="mask")
    graph.encode("paper", "q", dbgnn.Quantize("f", null="fill", fill=2))
    own.execute("UPDATE paper SET q = NULL WHERE id = 30")
    features, _ = own.get_torch_geometric_remote_backend()
    with pytest.raises(dbgnn.DataError, match="'q' of table 'paper' is NULL"):
        features["paper", "q", None]
    got = features.fill("paper", "q", 0.5)["paper", "q", None]
    assert got[1].tolist() == [2, 2, 2]
    assert torch.allclose(got[2], torch.tensor([1.0, 2.0, 3.0]), atol=2 / 510 * 1.001)
    assert got[3].tolist() == [0.5] * 3


def test_quantize_is_json_as_other_encoders_are(own: dbgnn.Database) -> None:
    encoders = dbgnn.Encoders({"paper": {"q": dbgnn.Quantize("f", null="fill", fill=1.5)}})
    graph = own.graph()
    in_memory = graph.to_heterodata(encoders=encoders)["paper"].q
    graph.encode("paper", "q", dbgnn.Quantize("f"))
    features, _ = own.get_torch_geometric_remote_backend()
    assert torch.equal(in_memory, features["paper", "q", None])
    again = dbgnn.Encoders.from_json(encoders.to_json())
    assert again.to_json() == encoders.to_json()
    assert repr(dbgnn.Quantize("f")) == "Quantize('f')"


def test_codes_of_a_table_with_a_key_lie_beside_it(tmp_path: Path) -> None:
    """Where the table itself takes no new column, as every real schema's; new rows are never outside of a range."""
    given = torch.randn(6, 12, generator=torch.Generator().manual_seed(1))
    with dbgnn.connect(tmp_path / "keyed.duckdb", read_only=False, progress=False) as db:
        db.execute("CREATE TABLE paper (id BIGINT PRIMARY KEY, f FLOAT[12])")
        rows = [[i, row.tolist()] for i, row in enumerate(given)]
        db.connection.executemany("INSERT INTO paper VALUES (?, ?)", rows[:5])
        db.execute("CREATE PROPERTY GRAPH g VERTEX TABLES (paper KEY (id))")
        fitted = db.graph("g").encode("paper", "q", dbgnn.Quantize("f"))
        stores = db.get_torch_geometric_remote_backend()
        check_codes(stores[0]["paper", "q", None], given[:5])
        db.connection.executemany("INSERT INTO paper VALUES (?, ?)", [[5, (given[5] * 100).tolist()]])
        db.graph("g").build()
        db.graph("g").encode("paper", "q", fitted)
        features, _ = db.get_torch_geometric_remote_backend()
        check_codes(features["paper", "q", None], torch.cat([given[:5], given[5:] * 100]))
        check_codes(db.graph("g").to_heterodata()["paper"].q[5:], given[5:] * 100)
