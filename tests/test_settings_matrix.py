"""Every setting of DuckDB's that may change what SQL or Arrow's output means: results must not, nor what the user has set.

The settings are judged here, all of them: one that a new DuckDB brings fails `test_every_setting_is_judged`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
import torch

import dbgnn

#: Values of the settings that may change results, by name: what is set, as SQL.
CHANGES: dict[str, tuple[str, ...]] = {
    "Calendar": ("'buddhist'",),
    "TimeZone": ("'America/New_York'",),
    "arrow_large_buffer_size": ("true",),
    "arrow_lossless_conversion": ("true",),
    "arrow_output_list_view": ("true",),
    "arrow_output_version": ("'1.4'", "'1.5'"),
    "binary_as_string": ("true",),
    "default_collation": ("'NOCASE'", "'NOACCENT'", "'de'"),
    "default_null_order": ("'NULLS_FIRST'",),
    "default_order": ("'DESC'",),
    "default_transaction_invalidation_policy": ("'SYNTACTIC_ERRORS_DO_NOT_INVALIDATE'",),
    "dialect_compatibility_mode": ("'SPARK'",),
    "disable_timestamptz_casts": ("true",),
    "disabled_optimizers": ("'filter_pushdown,join_order,statistics_propagation,late_materialization'",),
    "enable_external_access": ("false",),
    "enable_fsst_vectors": ("true",),
    "enable_optimizer": ("false",),
    "errors_as_json": ("true",),
    "ieee_floating_point_ops": ("false",),
    "immediate_transaction_mode": ("true",),
    "integer_division": ("true",),
    "lock_configuration": ("true",),
    "max_streaming_buffer_size": ("'1KB'",),
    "merge_join_threshold": ("0",),
    "nested_loop_join_threshold": ("1000000",),
    "null_order": ("'NULLS_FIRST'",),
    "order_by_non_integer_literal": ("true",),
    "ordered_aggregate_threshold": ("1",),
    "prefer_range_joins": ("true",),
    "preserve_identifier_case": ("'uppercase'", "'lowercase'"),
    "preserve_insertion_order": ("false",),
    "python_enable_replacements": ("false",),
    "python_scan_all_frames": ("false", "true"),
    "scalar_subquery_error_on_multiple_rows": ("false",),
    "scheduler_process_partial": ("true",),
    "show_behavior": ("'table'",),
    "streaming_buffer_size": ("'1KB'",),
    "threads": ("1",),
    "worker_threads": ("1",),
}

#: Settings about where things lie, how fast they go, what is shown or logged, and who may do what. By the words in their names.
OTHER = """
  access_mode active_grammar_extensions allocator allow asof_loop_join_threshold async_threads approximate_join
  auto_checkpoint autoinstall autoload block_allocator cache_local_files catalog_error checkpoint current_dialect
  current_transaction_invalidation_policy custom_ debug_ default_block_size default_secret disable_database_invalidation
  disable_parquet disabled_compression_methods disabled_filesystems disabled_log_types duckdb_api dynamic_or
  enable_external_file enable_geoparquet enable_http enable_logging enable_macro enable_optimistic enable_profiling
  enable_progress enable_view enabled_log explain_output extension_ external_ file_search_path force_compression
  fsync_mode geometry_minimum home_directory http ignore_unknown_crs index_scan initial_column json_geometry
  late_materialization_max log_query logging_ max_execution_time max_expression_depth max_memory max_temp max_vacuum
  memory_limit operator_memory_limit pandas_analyze parquet_ partitioned_ password perfect_ht pin_threads pivot_
  prefetch_all profile profiling progress_bar read_ahead redact_ schema search_path secret_ standard_vector_size
  storage_ temp_ tracked_metrics user validate_ variant_minimum wal_autocheckpoint warnings_as_errors write_buffer zstd_
""".split()

NODES, EDGES = 60, 240


def fill(db: dbgnn.Database) -> None:
    """Text keys that differ by case and accents, lists, times and NULL, out of order."""
    db.execute(
        f"""
        CREATE TABLE user_ (id VARCHAR, x FLOAT[3], t TIMESTAMP, "Y" DOUBLE);
        INSERT INTO user_ SELECT CASE i % 3 WHEN 0 THEN 'Key' WHEN 1 THEN 'key' ELSE 'kéy' END || i // 3, [i, -i, i / 2],
          TIMESTAMP '2024-01-01' + INTERVAL (i) HOUR, i / 4 FROM range({NODES}) t(i) ORDER BY hash(i);
        CREATE TABLE likes (src VARCHAR, dst VARCHAR, w INTEGER);
        INSERT INTO likes SELECT a.id, b.id, (a."Y" * 400 + b."Y" * 4)::INTEGER FROM user_ a JOIN user_ b
          ON (b."Y" * 4 - a."Y" * 4) % {NODES} IN (1, 7, 11, 30) ORDER BY hash(a.id || b.id);
        CREATE PROPERTY GRAPH g VERTEX TABLES (user_ KEY (id)) EDGE TABLES (
          likes SOURCE KEY (src) REFERENCES user_ (id) DESTINATION KEY (dst) REFERENCES user_ (id))
        """
    )


TYPE = ("user_", "likes", "user_")


def results(db: dbgnn.Database) -> list[Any]:
    """What a graph gives: an epoch, keys, seeds by SQL, objects in memory, splits, what check finds, what is written back."""
    graph = db.graph()
    features, edges = stores = db.get_torch_geometric_remote_backend()
    found: list[Any] = []
    for replace in (False, True):
        for batch in dbgnn.NeighborLoader(
            stores, [3, 2], input_nodes=("user_", "t < '2024-01-02' AND \"Y\" > 1"), batch_size=10, replace=replace
        ):
            user, likes = batch["user_"], batch[TYPE]
            found += [user.n_id, user.x, user.Y, user.t, likes.edge_index, likes.e_id, likes.w]
    found += [features.keys("user_", torch.arange(NODES)), features.ids("user_", ["Key3", "key3", "kéy3"])]
    found += [*edges.csc()[0].values(), *edges.coo()[1].values(), features["user_", "x", torch.tensor([5, 1, 5])]]
    splits: Any = {"user_": dbgnn.HashSplit(train=0.5, test=0.5), TYPE: dbgnn.TimeSplit("w", train=0.5, test=0.5)}
    data = graph.to_heterodata({"user_": '"Y" > 2'}, splits=splits, dangling="drop")
    found += [data["user_"].x, data["user_"].train_mask, data[TYPE].edge_index, data[TYPE].test_mask]
    encoders: Any = {"u": {"x": dbgnn.Stack(dbgnn.Normalize("Y"), dbgnn.Datetime("t"), dbgnn.OneHot("k"))}}
    data = dbgnn.query_to_heterodata(
        db,
        nodes={"u": 'SELECT id, "Y", t, id[1:3] AS "k" FROM user_ ORDER BY id COLLATE C ASC'},
        edges={("u", "e", "u"): "SELECT src, dst, w FROM likes ORDER BY w ASC"},
        encoders=encoders,
    )
    found += [data["u"].x, data["u", "e", "u"].edge_index, data["u", "e", "u"].w, graph.check().ok]
    graph.write_back("user_", n_id=torch.arange(NODES), p=torch.arange(NODES))
    graph.write_back("user_", keys=["kéy2", "key2", "Key2"], q=torch.tensor([[1.0, 2], [3, 4], [5, 6]]))
    graph.write_back("user_", keys=["kéy2", "Key2"], into="side", r=torch.tensor([1, 2]))
    order = "ORDER BY id COLLATE C ASC NULLS LAST"
    found += [
        db.sql(f"SELECT id, p, q::VARCHAR FROM user_ {order}").fetchall(),
        db.sql(f"SELECT id, r FROM side {order}").fetchall(),
    ]
    with pytest.raises(dbgnn.RequestError, match="nobody"):
        features.ids("user_", ["nobody"])
    with pytest.raises(dbgnn.SqlError, match="no column"):
        features.node_ids("user_", "nothing > 1")
    return found


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    with dbgnn.connect(tmp_path_factory.mktemp("expected") / "g.duckdb", progress=False) as db:
        fill(db)
        return results(db)


@pytest.fixture
def db(tmp_path: Path) -> Iterator[dbgnn.Database]:
    with dbgnn.connect(tmp_path / "g.duckdb", progress=False) as db:
        fill(db)
        yield db


def same(one: Any, other: Any) -> bool:
    """Whether two results are equal, values and types."""
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    return bool(np.array_equal(one, other)) if isinstance(one, np.ndarray) else one == other


KNOWN = {n for (n,) in duckdb.connect().execute("SELECT name FROM duckdb_settings()").fetchall()}

#: All values, those of one setting side by side, and what locks the configuration last.
VALUES = sorted(((n, v) for n, values in CHANGES.items() for v in values), key=lambda nv: nv[0] == "lock_configuration")


def check(db: dbgnn.Database, expected: list[Any], values: list[tuple[str, str]]) -> None:
    """Set them, and look for results that are others, and for settings that are."""
    names = [name for name, _ in values]
    assert len(set(names)) == len(names)
    for name, value in values:
        db.execute(f"SET {name} = {value}")
    before = [db.sql(f"SELECT current_setting('{name}')::VARCHAR").fetchall() for name in names]
    found = results(db)
    assert [i for i, (a, b) in enumerate(zip(found, expected, strict=True)) if not same(a, b)] == []
    assert [db.sql(f"SELECT current_setting('{name}')::VARCHAR").fetchall() for name in names] == before


@pytest.mark.parametrize(("name", "value"), VALUES)
def test_results_and_settings_stay(db: dbgnn.Database, expected: list[Any], name: str, value: str) -> None:
    """Set before the index is built and any cursor is made."""
    if name not in KNOWN:
        pytest.skip(f"this DuckDB has no {name}")
    check(db, expected, [(name, value)])


@pytest.mark.parametrize("start", range(6))
def test_settings_that_are_made_late(db: dbgnn.Database, expected: list[Any], start: int) -> None:
    """Set after the index was built and cursors were made: what they keep is the same for all, so several at a time."""
    next(iter(dbgnn.NeighborLoader(db.graph(), [2], input_nodes="user_")))
    check(db, expected, [(name, value) for name, value in VALUES[start::6] if name in KNOWN])


def test_every_setting_is_judged() -> None:
    names = [n for (n,) in duckdb.connect().execute("SELECT name FROM duckdb_settings() ORDER BY name ASC").fetchall()]
    assert [n for n in names if n not in CHANGES and not n.startswith(tuple(OTHER))] == []


def test_order_without_insertion_order(tmp_path: Path) -> None:
    """With many row groups and threads DuckDB really hands rows out of order; values must still be those of their keys."""
    n = 400_000
    with dbgnn.connect(tmp_path / "g.duckdb", progress=False, threads=4) as db:
        db.execute(
            f"""CREATE TABLE n AS SELECT (i * 7919) % {n} AS id, i AS at, [id, -id]::FLOAT[2] AS x FROM range({n}) t(i);
            CREATE TABLE e AS SELECT i AS s, (i * 31) % {n} AS d, i AS w FROM range({n}) t(i);
            CREATE PROPERTY GRAPH g VERTEX TABLES (n KEY (id)) EDGE TABLES (
              e SOURCE KEY (s) REFERENCES n (id) DESTINATION KEY (d) REFERENCES n (id));
            SET preserve_insertion_order = false"""
        )
        data = dbgnn.query_to_heterodata(
            db, nodes={"n": "SELECT id, x FROM n"}, edges={("n", "e", "n"): "SELECT s, d, w FROM e WHERE w % 3 > 0"}
        )
        ids, ends = data["n"].x[:, 0].long(), data["n", "e", "n"].edge_index
        assert torch.equal(ids.sort().values, torch.arange(n))
        assert torch.equal(data["n"].x[:, 1], -data["n"].x[:, 0])
        assert torch.equal(ids[ends[0]], data["n", "e", "n"].w)
        assert torch.equal(ids[ends[1]], data["n", "e", "n"].w * 31 % n)
        graph = db.graph()
        data = graph.to_heterodata()
        assert torch.equal(data["n"].x[:, 0].long(), torch.arange(n))
        assert torch.equal(data["n", "e", "n"].edge_index[0], data["n", "e", "n"].w)
        order = torch.randperm(n, generator=torch.Generator().manual_seed(0))
        graph.write_back("n", keys=order, p=order, q=torch.stack([order, order], 1).float())
        assert db.sql("SELECT count(*) FROM n WHERE p = id AND q[1] = id AND x[1] = id").fetchall() == [(n,)]
        features = db.get_torch_geometric_remote_backend()[0]
        assert torch.equal(features["n", "x", order][:, 0].long(), order)
        features.put_tensor(-torch.arange(n), group_name="n", attr_name="z", index=None)
        assert db.sql("SELECT count(*) FROM n WHERE z = -id").fetchall() == [(n,)]
        assert db.sql("SELECT current_setting('preserve_insertion_order')").fetchall() == [(False,)]
