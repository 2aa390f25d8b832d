"""The SQL sample is the oracle's, exactly; and it is uniform."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

import dbgnn
from dbgnn.sampling import Fanout, KHop, Roots, Subgraph, relabel
from dbgnn.sampling.modes import Uniform, draws
from dbgnn.sampling.random import mix
from dbgnn.sampling.relabel import SortedNumbering, TableNumbering
from tests.sampling import oracle
from tests.sampling.conftest import KNOWS, LIKED, RATES, Fixture


def check(found: Subgraph, wanted: oracle.Sample) -> None:
    for label, nodes in wanted.node.items():
        tree = found.tree.get(label, np.zeros(len(nodes)))
        assert list(zip(tree.tolist(), found.node[label].tolist(), strict=True)) == nodes
    for name in ("row", "col", "edge"):
        assert {t: a.tolist() for t, a in getattr(found, name).items()} == getattr(wanted, name)
    for part in (found.node, found.tree, found.row, found.col, found.edge):
        assert {a.dtype for a in part.values()} <= {np.dtype(np.int32)}
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
    khop = KHop(db, Fanout(fanout, len(next(iter(fanout.values()))), mode=Uniform(replace), disjoint=disjoint))
    given_seeds = {label: np.array(ids, dtype=np.int64) for label, ids in SEEDS[seeds].items()}
    (found,) = khop.sample(db.graph().topology(), [Roots(given_seeds)], [77])
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
    khop = KHop(db, Fanout(fanout, len(next(iter(fanout.values()))), mode=Uniform(replace), disjoint=disjoint))
    given_seeds = {"item": np.array(seeds, dtype=np.int64)}
    (found,) = khop.sample(db.graph().topology(), [Roots(given_seeds)], [key])
    check(found, oracle.sample(hetero.labels, hetero.edges, given_seeds, fanout, key, replace=replace, disjoint=disjoint))


def test_many_batches_at_once_are_the_same_as_one_at_a_time(db: dbgnn.Database) -> None:
    rng = np.random.default_rng(0)
    khop = KHop(db, Fanout({RATES: [5, 3], LIKED: [4, 4], KNOWS: [3, 2]}, 2))
    batches = [{"item": rng.integers(0, 120, 16), "user": rng.integers(0, 400, n)} for n in (3, 0, 8, 8)]
    together = khop.sample(db.graph().topology(), [Roots(batch) for batch in batches], [1, 2, 3, 4])
    for i, batch in enumerate(batches):
        (alone,) = khop.sample(db.graph().topology(), [Roots(batch)], [i + 1])
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
            (out,) = KHop(db, Fanout({link: [10, 10]}, 2)).sample(db.graph().topology(), [Roots({"node": seeds})], [5])
            found.append(out)
    for part in ("node", "row", "col", "edge"):
        a, b = (next(iter(getattr(out, part).values())) for out in found)
        assert len(a) > 10_000
        assert (a == b).all()
    hub = found[0].edge[link][found[0].col[link] == 3000]
    near = oracle.neighbours(src, dst, 17)
    key = oracle.mix(oracle.mix(oracle.mix(oracle.mix(5 ^ 0) ^ 0) ^ 17) ^ 0)
    assert hub.tolist() == [near[p][1] for p in oracle.picks(len(near), 10, key, replace=False)]


@pytest.mark.parametrize(("k", "degree"), [(5, 6), (5, 13), (5, 40), (8, 9), (8, 11), (9, 10), (9, 13), (12, 40)])
def test_every_position_and_pair_is_equally_likely(tmp_path: Path, k: int, degree: int) -> None:
    """k of `degree` neighbours, 6,000 times: chi-square per position and, for co-occurrence, per pair of positions."""
    draws = 6000
    with dbgnn.connect(tmp_path / "g.duckdb") as db:
        db.connection.execute(f"CREATE TABLE a AS SELECT range AS id FROM range({degree})")
        db.connection.execute(f"CREATE TABLE b AS SELECT range AS id FROM range({draws})")
        db.connection.execute(f"CREATE TABLE e AS SELECT s.range AS s, d.range AS d FROM range({degree}) s, range({draws}) d")
        db.execute(
            """CREATE PROPERTY GRAPH g VERTEX TABLES (a KEY (id), b KEY (id))
            EDGE TABLES (e SOURCE KEY (s) REFERENCES a (id) DESTINATION KEY (d) REFERENCES b (id))"""
        )
        khop = KHop(db, Fanout({("a", "e", "b"): [k]}, 1))
        (out,) = khop.sample(db.graph().topology(), [Roots({"b": np.arange(draws)})], [3])
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
        (out,) = khop.sample(db.graph().topology(), [Roots({"b": np.zeros(1, dtype=np.int64)})], [3])
        assert len(np.unique(out.node["a"])) == 1_000_000


@pytest.mark.parametrize("replace", [False, True])
@pytest.mark.parametrize("k", [3, 12])
def test_rejected_words_are_drawn_again(
    db: dbgnn.Database, hetero: Fixture, monkeypatch: pytest.MonkeyPatch, k: int, *, replace: bool
) -> None:
    """A statement that has one word per draw and meets a rejected one fails, and is run with more."""
    below = draws.below
    tried = []

    def rejecting(word: str, bound: str, words: int) -> str:
        tried.append(words)
        return f"error('{draws.TOO_FEW}')::BIGINT" if words == 1 else below(word, bound, words)

    monkeypatch.setattr(draws, "below", rejecting)
    fanout = {RATES: [k, 2], LIKED: [2, k], KNOWS: [0, 0]}
    seeds = {"item": np.arange(30)}
    (found,) = KHop(db, Fanout(fanout, 2, mode=Uniform(replace))).sample(db.graph().topology(), [Roots(seeds)], [9])
    check(found, oracle.sample(hetero.labels, hetero.edges, seeds, fanout, 9, replace=replace, disjoint=False))
    assert set(tried) == {1, 4}


@pytest.mark.parametrize("bound", [1, 2, 10, 1000, (1 << 31) - 1, 3 << 29])
def test_numbers_below_a_bound_are_the_oracle_s(bound: int) -> None:
    words = mix(np.arange(2000, dtype=np.uint32))
    with duckdb.connect() as con:
        rows = pa.table({"w": words.astype(np.int64)})
        con.register("rows", rows)
        found = con.sql(f"SELECT {draws.below('w', str(bound), 8)} - 1 AS x FROM rows").to_arrow_table().column(0).to_pylist()
        assert found == [oracle.below(w, bound) for w in words.tolist()]
        if bound == 3 << 29:
            with pytest.raises(duckdb.Error, match=draws.TOO_FEW):
                con.sql(f"SELECT {draws.below('w', str(bound), 1)} AS x FROM rows").to_arrow_table()


@pytest.mark.parametrize("k", [1, 7, 8, 9, 30, 255, 256, 300])
def test_every_size_of_sample_is_the_oracle_s(tmp_path: Path, k: int) -> None:
    """Both sides of every boundary between forms of the statement, for a hub and for degrees around k."""
    degrees = [0, 1, max(1, k - 1), k, k + 1, k + 2, 2 * k + 3, 1000]
    src = np.concatenate([np.arange(n) for n in degrees])
    dst = np.repeat(np.arange(len(degrees)), degrees)
    with dbgnn.connect(tmp_path / "g.duckdb") as db:
        db.connection.register("rows", pa.table({"s": src, "d": dst}))
        db.execute("CREATE TABLE a AS SELECT range AS id FROM range(1000); CREATE TABLE b AS SELECT range AS id FROM range(8)")
        db.execute("CREATE TABLE e AS SELECT * FROM rows")
        db.execute(
            """CREATE PROPERTY GRAPH g VERTEX TABLES (a KEY (id), b KEY (id))
            EDGE TABLES (e SOURCE KEY (s) REFERENCES a (id) DESTINATION KEY (d) REFERENCES b (id))"""
        )
        edge_type = ("a", "e", "b")
        for replace in (False, True):
            seeds = {"b": np.array([7, 0, 1, 2, 3, 4, 5, 6, 7])}
            (found,) = KHop(db, Fanout({edge_type: [k]}, 1, mode=Uniform(replace))).sample(
                db.graph().topology(), [Roots(seeds)], [k]
            )
            wanted = oracle.sample(
                ("a", "b"), {edge_type: (src, dst)}, seeds, {edge_type: [k]}, k, replace=replace, disjoint=False
            )
            check(found, wanted)


def test_with_replacement_every_position_is_equally_likely(db: dbgnn.Database, hetero: Fixture) -> None:
    khop = KHop(db, Fanout({RATES: [4], LIKED: [0], KNOWS: [0]}, 1, mode=Uniform(replace=True)))
    topology = db.graph().topology()
    batches = [{"item": np.full(10, 4)}] * 100
    edges = []
    for sample in khop.sample(topology, [Roots(batch) for batch in batches], range(100)):
        assert len(sample.edge[RATES]) == 40
        edges.append(sample.edge[RATES][:4])  # copies of a seed draw the same
    ids = [e for _, e in oracle.neighbours(*hetero.edges[RATES], 4)]
    assert chisquare([np.isin(np.concatenate(edges), e).sum() for e in ids]).pvalue > 1e-3


@given(
    known=st.lists(st.integers(0, 50), max_size=30),
    found=st.lists(st.lists(st.integers(0, 50), max_size=30), min_size=1, max_size=3),
)
def test_both_ways_of_numbering_agree(known: list[int], found: list[list[int]]) -> None:
    table = TableNumbering(51)
    arrays = [np.array(f, dtype=np.int64) for f in found]
    start = np.array(known, dtype=np.int64)
    for sparse in (relabel._SPARSE, 0, relabel._SPARSE):  # the tables have to be clean again after use
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(relabel, "_SPARSE", sparse)
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
            khop.sample(db.graph().topology(), [Roots({"item": np.array([3, bad])})], [0])


def test_ids_are_as_small_as_they_fit() -> None:
    assert relabel.id_type(2**31 - 1) is relabel.id_type(0) is np.int32
    assert relabel.id_type(2**31) is np.int64
