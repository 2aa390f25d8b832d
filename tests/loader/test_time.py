"""Loaders that sample by time: the times of seeds in every form, what mini-batches say, and the same bits throughout."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch_geometric.data import Data, HeteroData
from torch_geometric.loader import NeighborLoader as PyGNeighborLoader
from torch_geometric.loader import NodeLoader

import dbgnn
from tests.loader.test_super_batch import assert_same, batches, flat

PAYS, BUYS = ("account", "pays", "account"), ("account", "buys", "shop")
SOLD = ("shop", "sold", "account")
ACCOUNTS, SHOPS, EDGES = 150, 20, 1500
START = np.datetime64("2024-01-01", "us")
DAY = np.timedelta64(1, "D")


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("time") / "g.duckdb"
    with dbgnn.connect(path, progress=False) as db:
        con = db.connection
        con.execute("SELECT setseed(0.5)")
        when = "(TIMESTAMP '2024-01-01' + to_hours((random() * 2400)::BIGINT))"
        account, shop = f"(random() * {ACCOUNTS - 1})::BIGINT * 3", f"(random() * {SHOPS - 1})::BIGINT"
        nodes, shops, edges = (f"range({n}) t(i)" for n in (ACCOUNTS, SHOPS, EDGES))
        con.execute(f"CREATE TABLE account AS SELECT i * 3 AS id, i::FLOAT AS x, {when} AS ts, i AS n FROM {nodes}")
        con.execute(f"CREATE TABLE shop AS SELECT i AS id, i::FLOAT AS x FROM {shops}")
        con.execute(f"CREATE TABLE pays AS SELECT {account} AS src, {account} AS dst, {when} AS ts, i::FLOAT AS w FROM {edges}")
        con.execute(f"CREATE TABLE buys AS SELECT {account} AS src, {shop} AS dst, {when}::DATE AS ts FROM {edges}")
        accounts, shops = "account KEY (id) PROPERTIES (x)", "shop KEY (id) PROPERTIES (x)"
        pays = "pays SOURCE KEY (src) REFERENCES account (id) DESTINATION KEY (dst) REFERENCES account (id)"
        buys = "buys SOURCE KEY (src) REFERENCES account (id) DESTINATION KEY (dst) REFERENCES shop (id)"
        sold = "buys SOURCE KEY (dst) REFERENCES shop (id) DESTINATION KEY (src) REFERENCES account (id) LABEL sold"
        db.execute(f"CREATE PROPERTY GRAPH g VERTEX TABLES ({accounts}, {shops}) EDGE TABLES ({pays}, {buys}, {sold})")
        db.execute(f"CREATE PROPERTY GRAPH payments VERTEX TABLES ({accounts}) EDGE TABLES ({pays})")
        db.graph("g").build()
        db.graph("payments").build()
    return path


@pytest.fixture(scope="module")
def db(path: Path) -> Iterator[dbgnn.Database]:
    with dbgnn.connect(path, read_only=True, progress=False) as db:
        yield db


def make(db: dbgnn.Database, **kwargs: Any) -> dbgnn.NeighborLoader:
    torch.manual_seed(7)
    given: dict[str, Any] = {
        "num_neighbors": [4, 3],
        "input_nodes": "account",
        "input_time": "ts + INTERVAL '20 days'",
        "time_attr": "ts",
        "time_window": "1 month",
        "relative_time": True,
        "batch_size": 32,
        "shuffle": True,
        "seed": 3,
    }
    return dbgnn.NeighborLoader(db.get_torch_geometric_remote_backend("g"), **given | kwargs)


@pytest.fixture(scope="module")
def reference(path: Path) -> list[dict[tuple[Any, ...], Any]]:
    with dbgnn.connect(path, read_only=True, progress=False) as db:
        loader = make(db)
        return [flat(loader.collate_fn(index)) for index in loader._draw()]


RUNS: list[dict[str, Any]] = [{"super_batch": n, "prefetch": depth} for n in (1, 7, "auto") for depth in (0, 2)]
PLANS: list[dict[str, Any]] = [{"plan": plan, "cache_bytes": size} for plan in ("shared", "spooled") for size in (0, 900)]


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("options", [*RUNS, *PLANS, {"num_workers": 2}], ids=str)
def test_mini_batches_are_the_same_bits(
    path: Path, reference: list[dict[tuple[Any, ...], Any]], options: dict[str, Any], threads: int
) -> None:
    with dbgnn.connect(path, read_only=True, threads=threads, progress=False) as db:
        found = batches(make(db, **options))
    assert len(found) == len(reference) == 5
    for one, other in zip(found, reference, strict=True):
        assert_same(one, other)


# -- what mini-batches say ---------------------------------------------------------------------------------


def times(db: dbgnn.Database, table: str, order: str) -> torch.Tensor:
    found = db.connection.execute(f"SELECT epoch_us(ts) FROM {table} ORDER BY {order} ASC").fetchnumpy()
    return torch.from_numpy(np.asarray(next(iter(found.values())), dtype=np.int64))


def test_a_mini_batch_says_when_and_how_long_before(db: dbgnn.Database) -> None:
    account, pays, buys = times(db, "account", "id"), times(db, "pays", "rowid"), times(db, "buys", "rowid")
    month = 31 * 86_400_000_000
    edges = 0
    for batch in make(db):
        nodes = batch["account"]
        until = nodes.seed_time
        assert until.dtype == torch.int64
        assert torch.equal(until, account[nodes.n_id[: nodes.batch_size]] + 20 * 86_400_000_000)
        assert torch.equal(nodes.rel_time, until[nodes.batch] - account[nodes.n_id])
        assert nodes.rel_time.min() >= 0
        assert nodes.rel_time.max() < month
        for edge_type, own in ((PAYS, pays), (BUYS, buys), (SOLD, buys)):
            store = batch[edge_type]
            tree = batch[edge_type[2]].batch[store.edge_index[1]]
            assert torch.equal(store.rel_time, until[tree] - own[store.e_id])
            assert not len(store.rel_time) or 0 <= store.rel_time.min() <= store.rel_time.max() < month
            edges += len(store.e_id)
        assert "rel_time" not in batch["shop"]
        assert torch.equal(batch[PAYS].w, batch[PAYS].e_id.float())
    assert edges > 500


@pytest.mark.parametrize("subgraph_type", ["directional", "induced"])
def test_a_graph_without_type_names_says_it_too(db: dbgnn.Database, subgraph_type: str) -> None:
    stores = db.get_torch_geometric_remote_backend("payments", homogeneous=True)
    loader = dbgnn.NeighborLoader(
        stores,
        [-1, 2],
        subgraph_type=subgraph_type,
        time_attr="ts",
        relative_time=True,
        temporal_strategy="last",
        batch_size=50,
    )
    account, pays, edges = times(db, "account", "id"), times(db, "pays", "rowid"), 0
    for batch in loader:
        assert torch.equal(batch.seed_time, account[batch.n_id[: batch.batch_size]])
        assert torch.equal(batch.rel_time, batch.seed_time[batch.batch] - account[batch.n_id])
        tree = batch.batch[batch.edge_index[1]]
        assert torch.equal(batch.edge_rel_time, batch.seed_time[tree] - pays[batch.e_id])
        assert batch.rel_time.min() >= 0
        assert batch.edge_rel_time.min() >= 0
        edges += len(batch.e_id)
    assert edges > 200


def test_links_say_it_too(db: dbgnn.Database) -> None:
    stores = db.get_torch_geometric_remote_backend("g")
    account, pays = times(db, "account", "id"), times(db, "pays", "rowid")
    loader = dbgnn.LinkNeighborLoader(
        stores,
        [4, 3],
        edge_label_index=PAYS,
        edge_label_time="ts + INTERVAL '20 days'",
        neg_sampling="binary",
        time_attr="ts",
        time_window="1 month",
        relative_time=True,
        batch_size=300,
    )
    edges = 0
    for batch in loader:
        nodes, store = batch["account"], batch[PAYS]
        until = store.edge_label_time
        assert torch.equal(nodes.rel_time, until[nodes.batch] - account[nodes.n_id])
        tree = nodes.batch[store.edge_index[1]]
        assert torch.equal(store.rel_time, until[tree] - pays[store.e_id])
        assert store.rel_time.min() >= 0
        edges += len(store.e_id)
    assert edges > 500


def test_nothing_is_added_unasked(db: dbgnn.Database) -> None:
    batch = next(iter(make(db, relative_time=False)))
    assert all("rel_time" not in store for store in batch.stores)
    plain = next(iter(make(db, relative_time=False, input_time=None, time_attr=None, time_window=None)))
    assert "seed_time" not in plain["account"]


def test_pyg_s_loaders_respect_the_time_of_our_sampler(db: dbgnn.Database) -> None:
    stores = db.get_torch_geometric_remote_backend("g")
    account, pays = times(db, "account", "id"), times(db, "pays", "rowid")
    sampler = dbgnn.NeighborSampler(stores, [-1, -1], time_attr="ts")
    for given in (None, account + 5):
        options: dict[str, Any] = {"input_nodes": "account", "input_time": given, "batch_size": 50}
        for loader in (
            NodeLoader(stores, sampler, **options),
            # PyG's own asks for time_attr beside input_time, and hands it to the sampler that it would make.
            PyGNeighborLoader(stores, [1], neighbor_sampler=sampler, time_attr="ts", **options),
        ):
            for batch in loader:
                nodes = batch["account"]
                until = (account if given is None else given)[nodes.n_id[: nodes.batch_size]]
                assert torch.equal(nodes.seed_time, until)
                tree = nodes.batch[batch[PAYS].edge_index[1]]
                assert len(tree)
                assert (pays[batch[PAYS].e_id] <= until[tree]).all()
                assert (account[nodes.n_id] <= until[nodes.batch]).all()


# -- the times of seeds ------------------------------------------------------------------------------------


def moments() -> np.ndarray[Any, Any]:
    return START + np.arange(ACCOUNTS) * DAY


EAST = dt.datetime(2024, 1, 1, 2, tzinfo=dt.timezone(dt.timedelta(hours=2)))
FORMS: dict[str, Any] = {
    "tensor": torch.from_numpy(moments().astype(np.int64)),
    "integers": moments().astype(np.int64).tolist(),
    "datetime64": moments(),
    "days": moments().astype("datetime64[D]"),
    "nanoseconds": moments().astype("datetime64[ns]"),
    "dates": [dt.date(2024, 1, 1) + dt.timedelta(days=i) for i in range(ACCOUNTS)],
    "with a time zone": [EAST + dt.timedelta(days=i) for i in range(ACCOUNTS)],
    "SQL": "TIMESTAMP '2024-01-01' + to_days(n::INTEGER)",
    "SQL of a DATE": "DATE '2024-01-01' + n::INTEGER",
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_times_in_every_form_are_the_same(db: dbgnn.Database, form: str) -> None:
    loader = make(db, input_time=FORMS[form], shuffle=False)
    assert loader.input_data.time.tolist() == moments().astype(np.int64).tolist()
    assert loader.input_time is FORMS[form]
    picked = [5, 3, 3]
    some = FORMS[form] if isinstance(FORMS[form], str) else np.asarray(FORMS[form])[picked]
    batch = next(iter(make(db, input_nodes=("account", picked), input_time=some, shuffle=False)))
    assert batch["account"].seed_time.tolist() == moments()[picked].astype(np.int64).tolist()


def test_pandas_series_are_times(db: dbgnn.Database) -> None:
    pandas = pytest.importorskip("pandas")
    for zone in (None, "Europe/Berlin"):
        series = pandas.Series(moments()).dt.tz_localize("UTC").dt.tz_convert(zone)
        assert make(db, input_time=series).input_data.time.tolist() == moments().astype(np.int64).tolist()


WRONG: list[tuple[Any, type[Exception], str]] = [
    ([1, 2], dbgnn.RequestError, "an entry for each of 150 seeds"),
    (np.ones(ACCOUNTS), dbgnn.RequestError, "integers or moments, not float64"),
    (["x"] * ACCOUNTS, dbgnn.RequestError, "integers or moments, not <U1"),
    ([None] * ACCOUNTS, dbgnn.RequestError, "None in 150"),
    (np.full(ACCOUNTS, np.datetime64("NaT")), dbgnn.RequestError, "no time .NaT. at position 0"),
    (moments().astype("datetime64[ns]") + np.timedelta64(1, "ns"), dbgnn.RequestError, "in us, which cannot hold all of it"),
    (np.full(ACCOUNTS, 2**63, dtype=np.uint64), dbgnn.RequestError, "beyond int64"),
    ("n", dbgnn.SchemaError, "is an integer .BIGINT., and the times of this graph are dates or timestamps"),
    ("x", dbgnn.SchemaError, "is FLOAT; times are integers"),
    ("ts::TIMESTAMP_NS", dbgnn.SchemaError, "cast it"),
    (
        "CASE WHEN n <> 3 THEN ts END",
        dbgnn.DataError,
        "or fails for 1 of 150 seeds; the first is .*3",
    ),
    ("nothing", dbgnn.SqlError, "'nothing', which is no column"),
    ("max(ts)", dbgnn.SqlError, "max"),
    ("CAST('a' || n AS DATE)", dbgnn.DataError, "fails for 150 of 150 seeds"),
]


@pytest.mark.parametrize(("given", "error", "said"), WRONG, ids=[said for _, _, said in WRONG])
def test_what_is_no_time_of_seeds_is_an_error(db: dbgnn.Database, given: Any, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=f"input_time.*{said}"):
        make(db, input_time=given)


def test_seeds_need_a_time_where_time_matters_and_none_where_not(db: dbgnn.Database) -> None:
    with pytest.raises(dbgnn.RequestError, match=r"Seeds of type 'shop' need a time.*input_time"):
        make(db, input_nodes="shop", input_time=None)
    with pytest.raises(dbgnn.RequestError, match="input_time needs time_attr"):
        make(db, time_attr=None, time_window=None, relative_time=False)
    loader = make(db, input_nodes="shop", input_time=np.full(SHOPS, START + 50 * DAY))
    assert sum(len(batch[BUYS].e_id) for batch in loader) > 0


def test_time_attr_set_later_takes_effect_or_is_an_error(db: dbgnn.Database) -> None:
    loader = make(db, time_window=None, relative_time=False, input_time=None, time_attr=None)
    assert "seed_time" not in next(iter(loader))["account"]
    loader.time_attr = "ts"
    assert "seed_time" in next(iter(loader))["account"]
    loader.relative_time = True
    assert "rel_time" in next(iter(loader))["account"]


def test_times_given_in_one_unit_are_not_taken_for_another() -> None:
    with dbgnn.connect(":memory:", progress=False) as db:
        db.execute("CREATE TABLE item AS SELECT i AS id, DATE '2024-01-01' AS day, 7 AS step FROM range(3) t(i)")
        db.execute("CREATE TABLE next AS SELECT 0 AS src, 1 AS dst, DATE '2024-01-01' AS day, 7 AS step")
        db.execute(
            "CREATE PROPERTY GRAPH g VERTEX TABLES (item KEY (id)) EDGE TABLES "
            "(next SOURCE KEY (src) REFERENCES item (id) DESTINATION KEY (dst) REFERENCES item (id))"
        )
        stores = db.get_torch_geometric_remote_backend(columns={"item": ["step"], ("item", "next", "item"): ["step"]})
        loader = dbgnn.NeighborLoader(stores, [-1], input_time="step", time_attr="step")
        assert sum(len(batch[("item", "next", "item")].e_id) for batch in loader) == 1
        loader.time_attr = "day"
        with pytest.raises(dbgnn.RequestError, match="in another unit"):
            next(iter(loader))


def test_relative_times_do_not_go_with_what_changes_the_output(db: dbgnn.Database) -> None:
    with pytest.raises(dbgnn.RequestError, match="relative_time=True does not go with transform_sampler_output"):
        next(iter(make(db, transform_sampler_output=lambda out: out)))


# -- packs -------------------------------------------------------------------------------------------------


def test_a_pack_holds_the_same(db: dbgnn.Database, reference: list[dict[tuple[Any, ...], Any]], tmp_path: Path) -> None:
    make(db).pack(tmp_path / "pack")
    found = [flat(batch) for batch in dbgnn.PackedLoader(tmp_path / "pack")]
    for one, other in zip(found, reference, strict=True):
        assert_same(one, other)
    others: list[dict[str, Any]] = [
        {"time_window": "2 months"}, {"time_window": None}, {"relative_time": False}, {"temporal_strategy": "last"},
        {"input_time": None}, {"input_time": "ts + INTERVAL '21 days'"},
    ]  # fmt: skip
    for other_options in others:
        with pytest.raises(dbgnn.DbgnnError, match="another loader"):
            make(db, **other_options).pack(tmp_path / "pack")


CHANGES = ["pays SET ts = ts + INTERVAL '1 day' WHERE src = 0", "account SET ts = ts - INTERVAL '1 day'"]


@pytest.mark.parametrize("change", CHANGES)
def test_a_pack_of_other_times_is_not_continued(path: Path, tmp_path: Path, change: str) -> None:
    copy = tmp_path / "g.duckdb"
    copy.write_bytes(path.read_bytes())
    with dbgnn.connect(copy, progress=False) as db:
        make(db, input_time=None).pack(tmp_path / "pack")
        db.execute(f"UPDATE {change}")
        db.graph("g").build()
        with pytest.raises(dbgnn.DbgnnError, match="another loader"):
            make(db, input_time=None).pack(tmp_path / "pack")


def test_a_mini_batch_is_pyg_s(db: dbgnn.Database) -> None:
    assert isinstance(next(iter(make(db))), HeteroData)
    stores = db.get_torch_geometric_remote_backend("payments", homogeneous=True)
    batch = next(iter(dbgnn.NeighborLoader(stores, [2], time_attr="ts", relative_time=True, batch_size=9)))
    assert isinstance(batch, Data)
    assert batch.is_node_attr("rel_time")
    assert batch.is_edge_attr("edge_rel_time")
