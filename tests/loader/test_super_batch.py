"""Super-batches: whatever their size, threads, prefetch and plan, the mini-batches are the same bits."""

from __future__ import annotations

import contextlib
import gc
import itertools
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest
import torch
from torch_geometric.data import Data, HeteroData
from torch_geometric.sampler import NodeSamplerInput

import dbgnn
from dbgnn.plans import planner
from tests.loader.conftest import Stores

Batch: TypeAlias = Data | HeteroData


def flat(batch: Batch) -> dict[tuple[Any, ...], Any]:
    """Every attribute of a mini-batch, by store and name; tensors copied."""
    found: dict[tuple[Any, ...], Any] = {}
    for store in batch.stores:
        for name, value in store.items():
            found[(getattr(store, "_key", None), name)] = value.clone() if isinstance(value, torch.Tensor) else value
    return found


def assert_same(one: dict[tuple[Any, ...], Any], other: dict[tuple[Any, ...], Any]) -> None:
    assert list(one) == list(other)
    for key, value in one.items():
        if isinstance(value, torch.Tensor):
            assert value.dtype == other[key].dtype, key
            assert torch.equal(value, other[key]), key
        else:
            assert value == other[key], key


def batches(loader: Iterable[Batch]) -> list[dict[tuple[Any, ...], Any]]:
    return [flat(batch) for batch in loader]


def one_at_a_time(loader: dbgnn.NeighborLoader, epochs: int) -> list[dict[tuple[Any, ...], Any]]:
    """What the plain sampler and `get_tensor` give, mini-batch by mini-batch."""
    found = []
    for _ in range(epochs):
        found += [flat(loader.collate_fn(index)) for index in loader._draw()]
    return found


def make(stores: Stores, **kwargs: Any) -> dbgnn.NeighborLoader:
    torch.manual_seed(7)
    given: dict[str, Any] = {"num_neighbors": [4, 3], "batch_size": 37, "shuffle": True, "seed": 3} | kwargs
    if not stores[0].homogeneous:
        given.setdefault("input_nodes", ("paper", "year >= 2004"))
    return dbgnn.NeighborLoader(stores, **given)


@pytest.fixture(scope="module")
def reference(path: Path) -> Iterator[dict[str, list[dict[tuple[Any, ...], Any]]]]:
    with dbgnn.connect(path, read_only=True) as db:
        yield {
            "hetero": one_at_a_time(make(db.get_torch_geometric_remote_backend("papers")), 2),
            "homogeneous": one_at_a_time(make(db.get_torch_geometric_remote_backend("citations", homogeneous=True)), 2),
        }


@pytest.mark.parametrize(("prefetch", "threads"), [(0, 1), (2, 2), (2, 1)])
@pytest.mark.parametrize("super_batch", [1, 4, 64, "auto"])
@pytest.mark.parametrize("kind", ["hetero", "homogeneous"])
def test_super_batches_are_the_same_bits(
    path: Path,
    reference: dict[str, list[dict[tuple[Any, ...], Any]]],
    kind: str,
    super_batch: int | str,
    prefetch: int,
    threads: int,
) -> None:
    with dbgnn.connect(path, read_only=True, threads=threads) as db:
        stores = db.get_torch_geometric_remote_backend(
            "papers" if kind == "hetero" else "citations", homogeneous=kind != "hetero"
        )
        loader = make(stores, super_batch=super_batch, prefetch=prefetch)
        found = batches(loader) + batches(loader)
    assert len(found) == len(reference[kind]) == 2 * len(loader)
    for one, other in zip(found, reference[kind], strict=True):
        assert_same(one, other)


#: Every pair of plan and cache, of plan and prefetch, and of cache and prefetch.
PLANS = [
    ("join", 0, 0), ("join", 900, 2), ("join", "1MB", 0), ("shared", 0, 2), ("shared", 900, 0), ("shared", "1MB", 2),
    ("spooled", 0, 0), ("spooled", 900, 2), ("spooled", "1MB", 2), ("spooled", "1MB", 0),
]  # fmt: skip


@pytest.mark.parametrize(("plan", "cache_bytes", "prefetch"), PLANS)
@pytest.mark.parametrize("kind", ["hetero", "homogeneous"])
def test_plans_are_the_same_bits(
    path: Path,
    reference: dict[str, list[dict[tuple[Any, ...], Any]]],
    kind: str,
    plan: str,
    cache_bytes: int | str,
    prefetch: int,
) -> None:
    with dbgnn.connect(path, read_only=True) as db:
        stores = db.get_torch_geometric_remote_backend(
            "papers" if kind == "hetero" else "citations", homogeneous=kind != "hetero"
        )
        loader = make(stores, super_batch=5, prefetch=prefetch, plan=plan, cache_bytes=cache_bytes)
        found = batches(loader) + batches(loader)
        stats = loader.stats()
    for one, other in zip(found, reference[kind], strict=True):
        assert_same(one, other)
    assert (stats.total.hits > 0) == (cache_bytes != 0)
    assert stats.num_steps == len(found)


@pytest.mark.parametrize(
    "options", [{"subgraph_type": "bidirectional"}, {"subgraph_type": "induced"}, {"disjoint": True}, {"replace": True}]
)
def test_other_subgraphs_are_the_same_bits(homogeneous: Stores, options: dict[str, Any]) -> None:
    expected = one_at_a_time(make(homogeneous, **options), 1)
    for plan in ("join", "spooled"):
        for one, other in zip(batches(make(homogeneous, super_batch=6, plan=plan, **options)), expected, strict=True):
            assert_same(one, other)


def test_a_map_table_between_ids_and_rows(tmp_path: Path) -> None:
    """Rows in no order of their keys: the pass goes by the table, the mini-batch by ids."""
    with dbgnn.connect(tmp_path / "g.duckdb") as db:
        db.connection.execute(
            "CREATE TABLE n AS SELECT (i * 7919) % 5003 AS id, [(i * 7919) % 5003, 1]::FLOAT[2] AS x FROM range(5003) t(i)"
        )
        db.connection.execute(
            "CREATE TABLE e AS SELECT hash(i) % 5003 AS s, hash(-i) % 5003 AS d, i AS w FROM range(20000) t(i)"
        )
        db.execute(
            """CREATE PROPERTY GRAPH g VERTEX TABLES (n KEY (id))
            EDGE TABLES (e SOURCE KEY (s) REFERENCES n (id) DESTINATION KEY (d) REFERENCES n (id))"""
        )
        stores = db.get_torch_geometric_remote_backend(homogeneous=True)
        for plan in ("join", "shared", "spooled"):
            for batch in make(stores, batch_size=512, super_batch=4, plan=plan, cache_bytes=4000):
                assert (batch.x[:, 0] == batch.n_id).all()
                assert (batch.w == batch.e_id).all()


# -- PyG's semantics -------------------------------------------------------------------------------------


def test_drop_last_input_id_and_len(hetero: Stores) -> None:
    loader = make(hetero, drop_last=True, super_batch=4)
    found = list(loader)
    assert len(found) == len(loader) == 400 // 37
    assert all(batch["paper"].batch_size == 37 for batch in found)
    assert all((batch["paper"].n_id[:37] == loader.input_data.node[batch["paper"].input_id]).all() for batch in found)


@pytest.mark.parametrize("seeded", [False, True])
def test_shuffle_is_torch_s(homogeneous: Stores, seeded: bool) -> None:
    def order(make_loader: Callable[..., Any]) -> list[list[int]]:
        torch.manual_seed(11)
        generator = torch.Generator().manual_seed(5) if seeded else None
        loader = make_loader(batch_size=64, shuffle=True, generator=generator)
        return [seen(batch) for _ in range(3) for batch in loader]

    def seen(batch: Any) -> list[int]:
        return (batch.input_id if isinstance(batch, Data) else batch).tolist()  # type: ignore[no-any-return]

    ours = order(lambda **kwargs: dbgnn.NeighborLoader(homogeneous, [1], prefetch=0, **kwargs))
    assert ours == order(lambda **kwargs: torch.utils.data.DataLoader(range(500), **kwargs))  # type: ignore[arg-type]


def test_iterators_made_before_they_are_used_are_torch_s(homogeneous: Stores) -> None:
    def first(loader: Any) -> Any:
        torch.manual_seed(3)
        iterators = [iter(loader), iter(loader)]
        batch = next(iterators[1])
        return (batch.input_id if isinstance(batch, Data) else batch).tolist()

    plain: Any = torch.utils.data.DataLoader(range(500), batch_size=50, shuffle=True)  # type: ignore[arg-type]
    ours = dbgnn.NeighborLoader(homogeneous, [1], batch_size=50, shuffle=True)
    assert first(ours) == first(plain)


def test_a_sampler_with_set_epoch(hetero: Stores) -> None:
    nodes = hetero[0].node_ids("paper", "year >= 2004")
    sampler = torch.utils.data.DistributedSampler(range(len(nodes)), num_replicas=2, rank=1, shuffle=True)  # type: ignore[arg-type,var-annotated]
    loader = make(hetero, input_nodes=("paper", nodes), sampler=sampler, shuffle=False, super_batch=3)
    for epoch in (0, 1):
        sampler.set_epoch(epoch)
        seen = torch.cat([batch["paper"].input_id for batch in loader])
        assert seen.tolist() == list(sampler)


def test_a_batch_sampler_without_end(homogeneous: Stores) -> None:
    endless = ([i % 500, (i * 7) % 500] for i in itertools.count())
    loader = make(homogeneous, batch_size=1, shuffle=False, batch_sampler=endless, super_batch=5)
    found = list(itertools.islice(iter(loader), 12))
    assert [batch.input_id.tolist() for batch in found] == [[i, i * 7] for i in range(12)]


def test_threads_draw_no_random_numbers(homogeneous: Stores) -> None:
    """A model's dropout draws from the same generator in between; it must not depend on what is prepared when."""

    def drawn(prefetch: int) -> list[float]:
        loader = make(homogeneous, prefetch=prefetch, super_batch=3)
        return [float(torch.rand(())) for _ in loader]

    assert drawn(0) == drawn(2)


def test_transforms_run_in_the_training_loop(homogeneous: Stores) -> None:
    threads = set()

    def transform(batch: Data) -> Data:
        threads.add(threading.current_thread())
        batch.seen = torch.rand(())
        return batch

    torch.manual_seed(1)
    found = [batch.seen for batch in make(homogeneous, transform=transform, super_batch=3, prefetch=2)]
    assert threads == {threading.main_thread()}
    torch.manual_seed(7)
    torch.empty((), dtype=torch.int64).random_()
    assert len({float(seen) for seen in found}) == len(found)


def test_transform_sampler_output_decides_what_is_fetched(homogeneous: Stores) -> None:
    def cut(out: Any) -> Any:
        out.row, out.col, out.edge = out.row[:5], out.col[:5], out.edge[:5]
        return out

    for plan in ("join", "shared", "spooled"):
        for batch in make(homogeneous, transform_sampler_output=cut, super_batch=4, plan=plan):
            assert batch.edge_index.shape[1] == len(batch.w) == 5
            assert (batch.w == batch.e_id / 8).all()


def test_a_derived_loader_s_filter_fn(homogeneous: Stores) -> None:
    class Loader(dbgnn.NeighborLoader):
        def filter_fn(self, out: Any) -> Any:
            batch = super().filter_fn(out)
            batch.mark = 1
            return batch

    assert all(batch.mark == 1 and len(batch.x) == len(batch.n_id) for batch in Loader(homogeneous, [2], batch_size=50))


def test_call_on_seeds(homogeneous: Stores) -> None:
    loader = make(homogeneous)
    assert loader([3, 4]).input_id.tolist() == [3, 4]


# -- endings ---------------------------------------------------------------------------------------------


def ours() -> set[str]:
    return {thread.name for thread in threading.enumerate() if thread.name.startswith("dbgnn-")}


def temporary_files() -> list[str]:
    """Spooled features that this process has open; they have no name."""
    names = []
    for descriptor in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # the one that lists
            names.append(os.readlink(f"/proc/self/fd/{descriptor}"))
    return [name for name in names if "(deleted)" in name and "/loader" in name]


@pytest.mark.parametrize("plan", ["join", "spooled"])
def test_breaking_off_ends_the_threads(hetero: Stores, plan: str) -> None:
    loader = make(hetero, prefetch=2, super_batch=2, plan=plan)
    for _ in range(3):
        assert next(iter(loader)) is not None
    gc.collect()
    assert ours() == set()
    assert temporary_files() == []


def test_an_error_of_the_model_ends_the_threads(hetero: Stores) -> None:
    def train() -> None:
        for _ in make(hetero, prefetch=2, super_batch=2, plan="spooled"):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        train()
    gc.collect()
    assert ours() == set()
    assert temporary_files() == []


STAGES: list[tuple[str, str]] = [
    ("dbgnn.sampling.sampler.NeighborSampler.sample_batches", "join"),
    ("dbgnn.plans.hot.HotRows.rows", "join"),
    ("dbgnn.plans.fetched.Shared.__init__", "shared"),
    ("dbgnn.plans.spooled.Spooled._write", "spooled"),
    ("dbgnn.plans.spooled.Spooled.read", "spooled"),
    ("dbgnn.plans.fetched.Fetched.take", "join"),
    ("dbgnn.sampling.sampler.NeighborSampler.output", "join"),
    ("dbgnn.stores.feature_store.DuckDBFeatureStore.read_into", "join"),
]


@pytest.mark.parametrize("prefetch", [0, 2])
@pytest.mark.parametrize(("stage", "plan"), STAGES)
def test_an_error_in_any_stage_surfaces_with_its_cause(
    hetero: Stores, monkeypatch: pytest.MonkeyPatch, stage: str, plan: str, prefetch: int
) -> None:
    loader = make(hetero, prefetch=prefetch, super_batch=3, plan=plan, batch_size=13)
    loader.explain()
    target, _, name = stage.rpartition(".")
    calls = itertools.count()

    def failing(call: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> Any:
            if next(calls) >= 5:
                raise OSError("injected") from ValueError("the cause")
            return call(*args, **kwargs)

        return run

    module, _, cls = target.rpartition(".")
    owner = getattr(__import__(module, fromlist=[cls]), cls)
    monkeypatch.setattr(owner, name, failing(getattr(owner, name)))
    with pytest.raises(OSError, match="injected") as error:
        list(loader)
    assert isinstance(error.value.__cause__, ValueError)
    assert any(entry.name == "run" for entry in error.traceback)
    del error
    gc.collect()
    assert ours() == set()
    assert temporary_files() == []


def test_errors_of_the_data_surface(tmp_path: Path) -> None:
    with dbgnn.connect(tmp_path / "g.duckdb") as db:
        db.connection.execute("CREATE TABLE n AS SELECT i AS id, CASE WHEN i <> 77 THEN i::FLOAT END AS x FROM range(100) t(i)")
        db.connection.execute("CREATE TABLE e AS SELECT i AS s, (i + 1) % 100 AS d FROM range(100) t(i)")
        db.execute(
            """CREATE PROPERTY GRAPH g VERTEX TABLES (n KEY (id))
            EDGE TABLES (e SOURCE KEY (s) REFERENCES n (id) DESTINATION KEY (d) REFERENCES n (id))"""
        )
        stores = db.get_torch_geometric_remote_backend(homogeneous=True)
        for plan in ("join", "shared", "spooled"):
            for cache in (0, "1MB"):
                with pytest.raises(dbgnn.DataError, match=r"Column 'x' of table 'n' is NULL.*\(id\) = 77"):
                    list(make(stores, plan=plan, cache_bytes=cache))
                seen = list(make(stores, plan=plan, cache_bytes=cache, input_nodes=list(range(60))))
                assert len(seen) == 2


# -- changes of the tables -------------------------------------------------------------------------------


@pytest.fixture
def changing(tmp_path: Path) -> Iterator[dbgnn.Database]:
    with dbgnn.connect(tmp_path / "g.duckdb") as db:
        db.connection.execute("CREATE TABLE n AS SELECT i AS id, [i, 0]::FLOAT[2] AS x FROM range(600) t(i)")
        db.connection.execute("CREATE TABLE e AS SELECT i AS s, (i + 1) % 600 AS d, i AS w FROM range(600) t(i)")
        db.execute(
            """CREATE PROPERTY GRAPH g VERTEX TABLES (n KEY (id))
            EDGE TABLES (e SOURCE KEY (s) REFERENCES n (id) DESTINATION KEY (d) REFERENCES n (id))"""
        )
        yield db


@pytest.mark.parametrize("cache_bytes", [0, "1MB"])
def test_features_that_change_are_read_again(changing: dbgnn.Database, cache_bytes: int | str) -> None:
    loader = make(
        changing.get_torch_geometric_remote_backend(homogeneous=True), super_batch=2, prefetch=0, cache_bytes=cache_bytes
    )
    assert all((batch.x[:, 1] == 0).all() for batch in loader)
    changing.execute("UPDATE n SET x = [x[1], 1]::FLOAT[2]")
    assert all((batch.x[:, 1] == 1).all() and (batch.x[:, 0] == batch.n_id).all() for batch in loader)


def test_nodes_that_come_during_an_epoch(changing: dbgnn.Database) -> None:
    loader = make(changing.get_torch_geometric_remote_backend(homogeneous=True), super_batch=2, prefetch=0, cache_bytes=0)
    found = iter(loader)
    next(found)
    changing.execute("INSERT INTO n VALUES (-1, [0, 0])")
    changing.graph().build()
    with pytest.raises(dbgnn.StaleIndexError, match="changed after its mini-batches were sampled"):
        list(found)
    with pytest.raises(dbgnn.StaleIndexError, match="Make the loader again"):
        list(loader)


def test_edges_that_come_during_an_epoch(changing: dbgnn.Database) -> None:
    loader = make(changing.get_torch_geometric_remote_backend(homogeneous=True), super_batch=2, prefetch=0)
    found = iter(loader)
    next(found)
    changing.execute("DELETE FROM e WHERE s = 3")
    changing.graph().build()
    with pytest.raises(dbgnn.StaleIndexError, match="Start a new epoch"):
        list(found)
    assert all((batch.w >= 0).all() for batch in loader)


@pytest.mark.parametrize("plan", ["join", "shared", "spooled"])
@pytest.mark.parametrize("cache_bytes", [0, "1MB"])
def test_columns_that_exchange_their_names_during_an_epoch(changing: dbgnn.Database, plan: str, cache_bytes: int | str) -> None:
    changing.execute("ALTER TABLE n ADD COLUMN y BIGINT; UPDATE n SET y = id; ALTER TABLE n ADD COLUMN z BIGINT")
    changing.execute("UPDATE n SET z = -id")
    stores = changing.get_torch_geometric_remote_backend(homogeneous=True)
    loader = make(stores, super_batch=2, prefetch=0, plan=plan, cache_bytes=cache_bytes)
    found = iter(loader)
    next(found)
    changing.execute("ALTER TABLE n RENAME y TO q; ALTER TABLE n RENAME z TO y; ALTER TABLE n RENAME q TO z")
    list(found)
    for batch in loader:
        assert torch.equal(batch.y, -batch.n_id)
        assert torch.equal(batch.z, batch.n_id)


@pytest.mark.parametrize("plan", ["join", "shared", "spooled"])
@pytest.mark.parametrize("cache_bytes", [0, "1MB"])
def test_a_column_of_another_type_during_an_epoch(changing: dbgnn.Database, plan: str, cache_bytes: int | str) -> None:
    changing.execute("ALTER TABLE n ADD COLUMN y INTEGER; UPDATE n SET y = id")
    stores = changing.get_torch_geometric_remote_backend(homogeneous=True)
    loader = make(stores, super_batch=2, prefetch=0, plan=plan, cache_bytes=cache_bytes)
    found = iter(loader)
    next(found)
    changing.execute("ALTER TABLE n ALTER y TYPE SMALLINT")
    with pytest.raises(dbgnn.StaleIndexError, match="'y' of table 'n' was INTEGER when this epoch began and is SMALLINT now"):
        list(found)
    assert all(batch.y.dtype == torch.int16 and (batch.y == batch.n_id).all() for batch in loader)


def test_hot_rows_follow_fill(changing: dbgnn.Database) -> None:
    changing.execute("ALTER TABLE n ADD COLUMN y INTEGER")
    stores = changing.get_torch_geometric_remote_backend(homogeneous=True)
    loader = make(stores, cache_bytes="1MB")
    for value in (-1, -5):
        stores[0].fill(None, "y", value)
        assert all((batch.y == value).all() for batch in loader)


@pytest.mark.parametrize("plan", ["join", "shared", "spooled"])
@pytest.mark.parametrize("cache_bytes", [0, 2000, "1MB"])
def test_types_that_nobody_reaches_and_types_that_change(tmp_path: Path, plan: str, cache_bytes: int | str) -> None:
    with dbgnn.connect(tmp_path / "g.duckdb") as db:
        db.execute("CREATE TABLE a AS SELECT range AS id, range AS x FROM range(1000)")
        db.execute("CREATE TABLE b AS SELECT range AS id, range AS x FROM range(300); CREATE TABLE c (id BIGINT, x BIGINT)")
        db.execute("CREATE TABLE e AS SELECT hash(range) % 1000 AS s, range % 300 AS d, range AS w FROM range(2000)")
        db.execute("CREATE TABLE none (s BIGINT, d BIGINT, w DOUBLE)")
        db.execute(
            """CREATE PROPERTY GRAPH g VERTEX TABLES (a KEY (id), b KEY (id), c KEY (id)) EDGE TABLES (
              e SOURCE KEY (s) REFERENCES a (id) DESTINATION KEY (d) REFERENCES b (id),
              none SOURCE KEY (s) REFERENCES c (id) DESTINATION KEY (d) REFERENCES b (id))"""
        )
        stores = db.get_torch_geometric_remote_backend()
        loader = make(stores, input_nodes="b", super_batch=3, plan=plan, cache_bytes=cache_bytes)
        for deleted in (0, 500):
            db.execute(f"DELETE FROM e WHERE s < {deleted}; DELETE FROM a WHERE id < {deleted}")
            db.graph().build()
            for batch in loader:
                assert torch.equal(batch["a"].x, batch["a"].n_id + deleted)
                assert torch.equal(batch["b"].x, batch["b"].n_id)
                assert batch["c"].x.shape == (0,)
                assert batch["c", "none", "b"].w.shape == (0,)


def test_closing_the_database_during_an_epoch(tmp_path: Path, path: Path) -> None:
    db = dbgnn.connect(path, read_only=True)
    found = iter(make(db.get_torch_geometric_remote_backend("papers"), prefetch=0, super_batch=1))
    next(found)
    db.close()
    with pytest.raises(dbgnn.ConnectionError, match="closed"):
        list(found)


def test_a_folder_that_cannot_be_written_to(path: Path) -> None:
    with dbgnn.connect(path, read_only=True, temp_directory="/proc/1/nowhere") as db:
        loader = make(db.get_torch_geometric_remote_backend("papers"), plan="spooled", prefetch=0)
        with pytest.raises(dbgnn.ResourceError, match=r"'spooled' cannot write to '/proc/1'.*temp_directory"):
            list(loader)


def test_a_sampler_of_a_derived_class(homogeneous: Stores) -> None:
    calls = []

    class Sampler(dbgnn.NeighborSampler):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            self.__dict__["_seen"] = 0

        def sample_from_nodes(self, index: Any, **kwargs: Any) -> Any:
            calls.append(index)
            self.__dict__["_seen"] += 1
            return super().sample_from_nodes(index, **kwargs)

    sampler = Sampler(homogeneous, [1])
    loader = dbgnn.NeighborLoader(homogeneous, [1], batch_size=100, neighbor_sampler=sampler)
    assert len(list(loader)) == len(calls) == sampler.__dict__["_seen"] == 5


@pytest.mark.parametrize(("cut", "message"), [(9999, "ids of 'paper' are .* to 9999, and it has 500"), (-1, "-1 to ")])
@pytest.mark.parametrize("plan", ["join", "shared", "spooled"])
def test_transform_sampler_output_with_ids_of_no_row(homogeneous: Stores, plan: str, cut: int, message: str) -> None:
    def spoil(out: Any) -> Any:
        out.node[-1] = cut
        return out

    with pytest.raises(dbgnn.RequestError, match=message):
        list(make(homogeneous, transform_sampler_output=spoil, plan=plan, super_batch=2))


# -- buffers ---------------------------------------------------------------------------------------------


def test_batches_that_are_kept_are_not_overwritten(changing: dbgnn.Database) -> None:
    changing.execute("ALTER TABLE n ADD COLUMN wide FLOAT[512]")
    changing.execute("UPDATE n SET wide = list_transform(range(512), lambda j: id + j / 1024)::FLOAT[512]")
    stores = changing.get_torch_geometric_remote_backend(homogeneous=True)
    loader = make(stores, batch_size=100, num_neighbors=[1], super_batch=3, prefetch=2)
    kept: list[Batch] = []
    copies: list[torch.Tensor] = []
    for epoch in range(10):
        for i, batch in enumerate(loader):
            if len(kept) < 10 and (epoch + i) % 3 == 0:
                kept.append(batch)
                copies.append(batch.wide.clone())
    assert len(kept) == 10
    assert kept[0].wide.nbytes > 64 << 10
    assert all(torch.equal(batch.wide, copy) for batch, copy in zip(kept, copies, strict=True))


# -- the plan --------------------------------------------------------------------------------------------


def test_arguments_decide(hetero: Stores) -> None:
    loader = make(hetero, super_batch=3, prefetch=1, plan="shared", cache_bytes="1KB")
    text = loader.explain()
    assert "shared: " in text
    assert text.count("as asked") == 4
    assert "no step was made yet" in text
    list(loader)
    text = loader.explain()
    assert "no step" not in text
    assert f"{loader.stats().total.nodes / loader.stats().num_steps:,.0f}" in text
    assert "-- " not in text
    assert loader.explain(sql=True).startswith(text)


def test_explain_shows_the_statements_that_sample(hetero: Stores) -> None:
    loader = make(hetero, num_neighbors=[3, 3, -1], subgraph_type="induced")
    shown = loader.explain(sql=True).split("\n\n-- ")[1:]
    assert [text.partition("\n")[0].partition(", ")[2] for text in shown] == [
        "3 neighbours, in hop 1, 2",
        "all neighbours, in hop 3",
        "all among the nodes",
    ] * len(loader.node_sampler.edge_types)
    for text in shown[:2]:
        loader.data[0].graph.db.arrow(text.partition("\n")[2].replace("frontier", '(SELECT 0 AS "at", 0 AS node, 7 AS key)'))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"super_batch": 0}, "super_batch must be 'auto' or an integer of at least 1, not 0"),
        ({"super_batch": 1.5}, "super_batch must be"),
        ({"prefetch": -1}, "prefetch must be 'auto' or an integer of at least 0, not -1"),
        ({"prefetch": True}, "prefetch must be"),
        ({"plan": "fast"}, "plan must be 'auto' or one of 'join', 'shared', 'spooled', not 'fast'"),
        ({"cache_bytes": "many"}, "cache_bytes must be 'auto', a number of bytes or text such as '2GB', not 'many'"),
        ({"num_workers": 1, "prefetch": 1}, "With num_workers=1, .* rules prefetch=1 out"),
        ({"num_workers": 1, "plan": "spooled"}, "With num_workers=1, .* rules plan='spooled' out"),
    ],
)
def test_arguments_that_make_no_sense(hetero: Stores, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(dbgnn.RequestError, match=message):
        make(hetero, **arguments)


@pytest.mark.parametrize(("beside", "plan"), [(768 << 20, "join"), (12 << 20, "spooled")])
def test_what_does_not_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, beside: int, plan: str) -> None:
    monkeypatch.setattr(planner, "WORKING_BYTES", beside)
    with dbgnn.connect(tmp_path / "g.duckdb") as db:
        db.connection.execute(
            "CREATE TABLE n AS SELECT i AS id, list_transform(range(512), lambda j: i + j)::FLOAT[512] AS x "
            "FROM range(40000) t(i)"
        )
        db.connection.execute("CREATE TABLE e AS SELECT hash(i) % 40000 AS s, hash(-i) % 40000 AS d FROM range(80000) t(i)")
        db.execute(
            """CREATE PROPERTY GRAPH g VERTEX TABLES (n KEY (id))
            EDGE TABLES (e SOURCE KEY (s) REFERENCES n (id) DESTINATION KEY (d) REFERENCES n (id))"""
        )
        stores = db.get_torch_geometric_remote_backend(homogeneous=True)
        assert "join: " in make(stores).explain()
        db.execute("SET memory_limit = '60MB'")
        loader = make(stores, batch_size=64)
        text = loader.explain()
        assert f"{plan}: " in text
        assert "features (78.1 MiB) and index" in text
        assert "do not fit in memory_limit (57.2 MiB)" in text
        for batch in itertools.islice(loader, 200):
            assert (batch.x[:, 0] == batch.n_id).all()
        assert loader.stats().num_steps == 200


def test_odd_sizes(hetero: Stores, homogeneous: Stores) -> None:
    assert len(list(make(homogeneous, super_batch=10**30, prefetch=10**7, cache_bytes=10**18))) == 14
    assert len(list(make(homogeneous, super_batch=np.int64(4), batch_size=10**6))) == 1
    text = make(homogeneous, cache_bytes=10**18).explain()
    assert "hot rows      7.8 KiB" in text
    # What happens anyway may be asked for.
    assert make(hetero, num_workers=1, prefetch=0, plan="join", super_batch=1, cache_bytes=0).num_workers == 1


def test_no_seeds(hetero: Stores) -> None:
    with pytest.warns(UserWarning, match="no seeds.* an empty list of ids of 'paper'"):
        assert list(make(hetero, input_nodes=("paper", []), shuffle=False)) == []


def test_the_sampler_s_own_input(homogeneous: Stores) -> None:
    """`sample_from_nodes` of the same counters is the same sample."""
    loader = make(homogeneous, shuffle=False, batch_size=50, super_batch=4)
    for number, batch in enumerate(loader):
        seeds = NodeSamplerInput(None, torch.arange(number * 50, number * 50 + 50))
        out = loader.node_sampler.sample_from_nodes(seeds, epoch=0, batch=number)
        assert torch.equal(out.node, batch.n_id)
        assert torch.equal(torch.stack([out.row, out.col]), batch.edge_index)
