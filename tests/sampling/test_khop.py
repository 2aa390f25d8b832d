"""The SQL sample is the oracle's, exactly; and it is uniform."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

import dbgnn
from dbgnn.sampling import Fanout, KHop, Subgraph
from dbgnn.sampling.relabel import SortedNumbering, TableNumbering
from tests.sampling import oracle
from tests.sampling.conftest import KNOWS, LIKED, RATES, Fixture


def check(found: Subgraph, wanted: oracle.Sample) -> None:
    for label, nodes in wanted.node.items():
        assert list(zip(found.tree[label].tolist(), found.node[label].tolist(), strict=True)) == nodes
    for name in ("row", "col", "edge"):
        assert {t: a.tolist() for t, a in getattr(found, name).items()} == getattr(wanted, name)
    assert found.num_nodes == wanted.num_nodes
    assert found.num_edges == wanted.num_edges


SEEDS: dict[str, dict[str, Any]] = {
    "one type, every degree, duplicates": {"item": [6, 0, 1, 2, 3, 4, 5, 3, 100, 7, 6]},
    "both types": {"item": [6, 4], "user": [0, 399, 0]},
    "none": {"user": []},
}


@pytest.mark.parametrize("seeds", SEEDS)
@pytest.mark.parametrize("disjoint", [False, True])
@pytest.mark.parametrize("replace", [False, True])
def test_sample_equals_the_oracle(db: dbgnn.Database, hetero: Fixture, seeds: str, *, replace: bool, disjoint: bool) -> None:
    fanout = {RATES: [5, 4, -1], LIKED: [3, 2, 2], KNOWS: [0, 2, 1]}
    khop = KHop(db, Fanout(fanout, len(next(iter(fanout.values()))), replace=replace, disjoint=disjoint))
    given_seeds = {label: np.array(ids, dtype=np.int64) for label, ids in SEEDS[seeds].items()}
    (found,) = khop.sample(db.graph().topology(), [given_seeds], [77])
    check(found, oracle.sample(hetero.labels, hetero.edges, given_seeds, fanout, 77, replace=replace, disjoint=disjoint))


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seeds=st.lists(st.integers(0, 119), max_size=20),
    ks=st.lists(st.integers(-1, 8), min_size=1, max_size=2),
    key=st.integers(0, 2**32 - 1),
    replace=st.booleans(),
    disjoint=st.booleans(),
)
def test_sample_equals_the_oracle_for_any_request(
    db: dbgnn.Database, hetero: Fixture, seeds: list[int], ks: list[int], key: int, *, replace: bool, disjoint: bool
) -> None:
    fanout = {RATES: ks, LIKED: ks[::-1], KNOWS: [2] * len(ks)}
    khop = KHop(db, Fanout(fanout, len(next(iter(fanout.values()))), replace=replace, disjoint=disjoint))
    given_seeds = {"item": np.array(seeds, dtype=np.int64)}
    (found,) = khop.sample(db.graph().topology(), [given_seeds], [key])
    check(found, oracle.sample(hetero.labels, hetero.edges, given_seeds, fanout, key, replace=replace, disjoint=disjoint))


def test_many_batches_at_once_are_the_same_as_one_at_a_time(db: dbgnn.Database) -> None:
    rng = np.random.default_rng(0)
    khop = KHop(db, Fanout({RATES: [5, 3], LIKED: [4, 4], KNOWS: [3, 2]}, 2))
    batches = [{"item": rng.integers(0, 120, 16), "user": rng.integers(0, 400, n)} for n in (3, 0, 8, 8)]
    together = khop.sample(db.graph().topology(), batches, [1, 2, 3, 4])
    for i, batch in enumerate(batches):
        (alone,) = khop.sample(db.graph().topology(), [batch], [i + 1])
        for part in ("node", "row", "col", "edge"):
            one, all_ = getattr(alone, part), getattr(together[i], part)
            assert {k: a.tolist() for k, a in one.items()} == {k: a.tolist() for k, a in all_.items()}


def test_threads_do_not_change_the_sample(tmp_path: Path) -> None:
    """A graph of more than one row group, so that both threads have work; a hub of 100 k neighbours included."""
    rng = np.random.default_rng(1)
    n, e = 300_000, 900_000
    src, dst = rng.integers(0, n, e), np.concatenate([rng.integers(0, n, e - 100_000), np.full(100_000, 17)])
    path = tmp_path / "g.duckdb"
    with dbgnn.connect(path) as db:
        db.connection.execute("CREATE TABLE node AS SELECT range AS id FROM range(300000)")
        db.connection.register("edges", pa.table({"s": src, "d": dst}))
        db.connection.execute("CREATE TABLE link AS FROM edges")
        db.execute(
            """CREATE PROPERTY GRAPH g VERTEX TABLES (node KEY (id))
            EDGE TABLES (link SOURCE KEY (s) REFERENCES node (id) DESTINATION KEY (d) REFERENCES node (id))"""
        )
        db.graph().build()
    link = ("node", "link", "node")
    seeds = np.append(rng.integers(0, n, 3000), 17)
    found = []
    for threads in (1, 2):
        with dbgnn.connect(path, read_only=True, threads=threads) as db:
            (out,) = KHop(db, Fanout({link: [10, 10]}, 2)).sample(db.graph().topology(), [{"node": seeds}], [5])
            found.append(out)
    for part in ("node", "row", "col", "edge"):
        a, b = (next(iter(getattr(out, part).values())) for out in found)
        assert len(a) > 10_000
        assert (a == b).all()
    hub = found[0].edge[link][found[0].col[link] == 3000]
    near = oracle.neighbours(src, dst, 17)
    key = oracle.mix(oracle.mix(oracle.mix(oracle.mix(5 ^ 0) ^ 0) ^ 17) ^ 0)
    assert hub.tolist() == [near[p][1] for p in oracle.picks(len(near), 10, key, replace=False)]


@pytest.mark.parametrize("degree", [6, 13, 20, 21, 40])
def test_every_position_and_pair_is_equally_likely(tmp_path: Path, degree: int) -> None:
    """5 of `degree` neighbours, 6,000 times: chi-square per position and, for co-occurrence, per pair of positions."""
    draws, k = 6000, 5
    with dbgnn.connect(tmp_path / "g.duckdb") as db:
        db.connection.execute(f"CREATE TABLE a AS SELECT range AS id FROM range({degree})")
        db.connection.execute(f"CREATE TABLE b AS SELECT range AS id FROM range({draws})")
        db.connection.execute(f"CREATE TABLE e AS SELECT s.range AS s, d.range AS d FROM range({degree}) s, range({draws}) d")
        db.execute(
            """CREATE PROPERTY GRAPH g VERTEX TABLES (a KEY (id), b KEY (id))
            EDGE TABLES (e SOURCE KEY (s) REFERENCES a (id) DESTINATION KEY (d) REFERENCES b (id))"""
        )
        khop = KHop(db, Fanout({("a", "e", "b"): [k]}, 1))
        (out,) = khop.sample(db.graph().topology(), [{"b": np.arange(draws)}], [3])
    picked = out.node["a"][out.row["a", "e", "b"]].reshape(draws, k)
    assert all(len(set(row)) == k for row in picked.tolist())
    assert chisquare(np.bincount(picked.ravel(), minlength=degree)).pvalue > 1e-3
    together = np.zeros((degree, degree))
    for i, j in combinations(range(k), 2):
        np.add.at(together, (np.minimum(picked[:, i], picked[:, j]), np.maximum(picked[:, i], picked[:, j])), 1)
    assert chisquare(together[np.triu_indices(degree, 1)]).pvalue > 1e-3


def test_a_million_neighbours_of_a_larger_hub(tmp_path: Path) -> None:
    """DuckDB's ``min`` with a number stops short of a million."""
    with dbgnn.connect(tmp_path / "g.duckdb") as db:
        db.execute("CREATE TABLE a AS SELECT range AS id FROM range(1000010); CREATE TABLE b AS SELECT 0 AS id")
        db.execute("CREATE TABLE e AS SELECT range AS s, 0 AS d FROM range(1000010)")
        db.execute(
            """CREATE PROPERTY GRAPH g VERTEX TABLES (a KEY (id), b KEY (id))
            EDGE TABLES (e SOURCE KEY (s) REFERENCES a (id) DESTINATION KEY (d) REFERENCES b (id))"""
        )
        khop = KHop(db, Fanout({("a", "e", "b"): [1_000_000]}, 1))
        (out,) = khop.sample(db.graph().topology(), [{"b": np.zeros(1, dtype=np.int64)}], [3])
        assert len(np.unique(out.node["a"])) == 1_000_000


@pytest.mark.parametrize("replace", [False, True])
def test_too_few_draws_are_drawn_again_and_change_nothing(
    db: dbgnn.Database, monkeypatch: pytest.MonkeyPatch, *, replace: bool
) -> None:
    khop = KHop(db, Fanout({RATES: [5], LIKED: [5], KNOWS: [5]}, 1, replace=replace))
    batch = {"item": np.arange(120), "user": np.arange(400)}
    (wanted,) = khop.sample(db.graph().topology(), [batch], [9])
    tried = []

    def arrow(query: str, **tables: pa.Table) -> pa.Table:
        tried.append(query)
        return dbgnn.Database.arrow(db, query, **tables)

    monkeypatch.setattr("dbgnn.sampling.khop.few_draws", lambda k, replace: k)
    monkeypatch.setattr(db, "arrow", arrow)
    (found,) = khop.sample(db.graph().topology(), [batch], [9])
    assert len(tried) > (3 if not replace else 2)
    assert {t: e.tolist() for t, e in found.edge.items()} == {t: e.tolist() for t, e in wanted.edge.items()}


def test_with_replacement_every_position_is_equally_likely(db: dbgnn.Database, hetero: Fixture) -> None:
    khop = KHop(db, Fanout({RATES: [4], LIKED: [0], KNOWS: [0]}, 1, replace=True))
    topology = db.graph().topology()
    batches = [{"item": np.full(10, 4)}] * 100
    edges = []
    for sample in khop.sample(topology, batches, range(100)):
        assert len(sample.edge[RATES]) == 40
        edges.append(sample.edge[RATES][:4])  # copies of a seed draw the same
    ids = [e for _, e in oracle.neighbours(*hetero.edges[RATES], 4)]
    assert chisquare([np.isin(np.concatenate(edges), e).sum() for e in ids]).pvalue > 1e-3


@given(
    known=st.lists(st.integers(0, 50), max_size=30),
    found=st.lists(st.lists(st.integers(0, 50), max_size=30), max_size=3),
)
def test_both_ways_of_numbering_agree(known: list[int], found: list[list[int]]) -> None:
    table = TableNumbering(51)
    arrays = [np.array(f, dtype=np.int64) for f in found]
    start = np.array(known, dtype=np.int64)
    for _ in range(2):  # the table has to be clean again after use
        new, rows = table.number(start, arrays)
        new_sorted, rows_sorted = SortedNumbering().number(start, arrays)
        assert new.tolist() == new_sorted.tolist() == sorted({x for f in found for x in f} - set(known))
        everything = known + new.tolist()
        for f, row, row_sorted in zip(found, rows, rows_sorted, strict=True):
            assert row.tolist() == row_sorted.tolist() == [everything.index(x) for x in f]


def test_a_seed_that_is_no_node_is_named(db: dbgnn.Database) -> None:
    khop = KHop(db, Fanout({RATES: [1], LIKED: [1], KNOWS: [1]}, 1))
    for bad in (120, -1):
        with pytest.raises(dbgnn.RequestError, match=f"Seed {bad} is no id of node type 'item': it has 120"):
            khop.sample(db.graph().topology(), [{"item": np.array([3, bad])}], [0])
