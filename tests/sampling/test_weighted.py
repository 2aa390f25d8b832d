"""Weighted sampling: the oracle's, exactly; by the law; and what cannot be a weight is an error."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from scipy.stats import chisquare

import dbgnn
from dbgnn.sampling import Fanout, KHop, Roots
from dbgnn.sampling.modes import Weighted
from dbgnn.sampling.roots import Excluded
from dbgnn.topology.conditions import Conditions
from dbgnn.topology.derived import Derivation
from dbgnn.topology.times import TimeColumn, Times
from dbgnn.topology.weights import Weights
from dbgnn.topology.window import Window
from tests.sampling import oracle
from tests.sampling.test_khop import check

PAYS, OWNS = ("account", "pays", "account"), ("person", "owns", "account")
KEY = 77
#: For k = 5: none, one, k, k + 1, 4k, 4k + 1, a hub; and lists that a few edges outweigh.
DEGREES = [0, 1, 5, 6, 20, 21, 100_000, 7, 40, 12]


@pytest.fixture(scope="module")
def payments() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(4)
    dst = rng.permutation(np.concatenate([np.repeat(np.arange(len(DEGREES)), DEGREES), rng.integers(len(DEGREES), 200, 3000)]))
    weight = rng.pareto(1.2, len(dst)) + 0.01
    weight[rng.random(len(dst)) < 0.02] = 0
    weight[np.flatnonzero(dst == 7)] = [1e9, 1, 1, 1, 1, 1, 1]
    weight[np.flatnonzero(dst == 8)[:3]] = [1e30, 1e20, 1e10]
    weight[np.flatnonzero(dst == 9)] = [5e-324, 1e-300, 1e308, 1e308, *[1.0] * 8]
    return {
        "src": rng.integers(0, 200, len(dst)),
        "dst": dst,
        "at": rng.integers(0, 60, len(dst)),
        "amount": rng.integers(0, 100, len(dst)),
        "weight": weight,
    }


@pytest.fixture(scope="module")
def db(payments: dict[str, np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Iterator[dbgnn.Database]:
    with dbgnn.connect(tmp_path_factory.mktemp("weighted") / "g.duckdb") as db:
        con = db.connection
        con.register("p", pa.table(payments))
        con.execute("CREATE TABLE account AS SELECT range AS id FROM range(200)")
        con.execute("CREATE TABLE person AS SELECT range AS id FROM range(50)")
        con.execute("CREATE TABLE pays AS FROM p")
        con.execute("CREATE TABLE owns AS SELECT range % 50 AS person, (range * 7) % 200 AS account FROM range(1600)")
        db.execute(
            """CREATE PROPERTY GRAPH g VERTEX TABLES (account KEY (id), person KEY (id)) EDGE TABLES (
              pays SOURCE KEY (src) REFERENCES account (id) DESTINATION KEY (dst) REFERENCES account (id),
              owns SOURCE KEY (person) REFERENCES person (id) DESTINATION KEY (account) REFERENCES account (id))"""
        )
        yield db


@pytest.fixture(scope="module")
def edges(payments: dict[str, np.ndarray]) -> dict[Any, Any]:
    owned = np.arange(1600)
    return {PAYS: (payments["src"], payments["dst"]), OWNS: (owned % 50, owned * 7 % 200)}


@pytest.mark.parametrize("without", [False, True], ids=["", "excluded"])
@pytest.mark.parametrize("window", [None, 7], ids=["ever", "window"])
@pytest.mark.parametrize("times", [None, Times(TimeColumn("at"), None)], ids=["always", "in time"])
@pytest.mark.parametrize("conditions", [None, Conditions("amount >= 30", None)], ids=["all", "where"])
@pytest.mark.parametrize("replace", [False, True])
def test_the_sample_is_the_oracle_s(
    db: dbgnn.Database,
    payments: dict[str, np.ndarray],
    edges: dict[Any, Any],
    conditions: Conditions | None,
    times: Times | None,
    window: int | None,
    *,
    replace: bool,
    without: bool,
) -> None:
    if times is None and window is not None:
        return
    p, there = payments, payments["weight"] > 0
    if conditions:
        there = there & (p["amount"] >= 30)
    weights = np.zeros(len(there), dtype=np.int64)
    into = [np.flatnonzero(there & (p["dst"] == node)) for node in range(200)]
    for of in into:
        weights[of] = oracle.whole(p["weight"][of].tolist()) if len(of) else []
    into = [of[np.lexsort((of, p["src"][of], p["at"][of] if times else of * 0))] for of in into]
    derivation = Derivation(times, Weights("weight"), conditions)
    for ks in ([5, 4], [-1], [12], [1, 40]):
        hub = 6 if ks == [5, 4] else 5
        seeds = np.array([0, 1, 2, 3, 4, 5, hub, 7, 8, 9, 3, 20, 199])
        until = np.array([59, 30, 30, 40, 12, 59, 59, 59, 50, 59, 5, 59, -1])
        gone = {e for n in (1, 3, 6, 7) for e in into[n][:4].tolist()} if without else set()
        ids = np.array(sorted(gone), dtype=np.int64)

        def lists(edge_type: Any, _hop: int, tree: int, node: int) -> list[tuple[int, int]]:
            if edge_type == OWNS:
                return oracle.neighbours(edges[OWNS][0], edges[OWNS][1], node)
            of = into[node]
            if times:
                of = of[(p["at"][of] <= until[tree]) & (p["at"][of] > (-99 if window is None else until[tree] - window))]  # noqa: B023
            return [(s, e) for s, e in zip(p["src"][of].tolist(), of.tolist(), strict=True) if e not in gone]  # noqa: B023

        hops = {PAYS: ks, OWNS: [3] * len(ks)}
        fanout = Fanout(
            hops,
            len(ks),
            mode=Weighted(replace),
            disjoint=times is not None,
            lists={PAYS: [derivation] * len(ks)},
            window=None if window is None else Window(window),
        )
        excluded = {PAYS: Excluded(p["dst"][ids], ids)} if without else {}
        roots = Roots({"account": seeds}, {"account": until} if times else {}, excluded)
        other = Roots({"account": seeds[:3]}, {"account": until[:3]} if times else {})
        found, _ = KHop(db, fanout).sample(db.graph().topology(), [roots, other], [KEY, 5])
        same = oracle.sample(
            ["account", "person"],
            edges,
            {"account": seeds},
            hops,
            KEY,
            replace=replace,
            disjoint=times is not None,
            lists=lists,
            weights={PAYS: weights.tolist()},
        )
        check(found, same)


def star(path: Path, weights: list[float], copies: int, kind: str = "DOUBLE") -> dbgnn.Database:
    """A graph of which every `b` has one edge of each weight, from the `a` of its number."""
    db = dbgnn.connect(path / "g.duckdb")
    db.connection.register("w", pa.table({"s": np.arange(len(weights)), "weight": weights}))
    db.execute("CREATE TABLE a AS SELECT s AS id FROM w")
    db.execute(f"CREATE TABLE b AS SELECT range AS id FROM range({copies})")
    db.execute(f"CREATE TABLE e AS SELECT s, range AS d, weight::{kind} AS weight FROM w, range({copies})")
    db.execute(
        """CREATE PROPERTY GRAPH g VERTEX TABLES (a KEY (id), b KEY (id))
        EDGE TABLES (e SOURCE KEY (s) REFERENCES a (id) DESTINATION KEY (d) REFERENCES b (id))"""
    )
    return db


def drawn(db: dbgnn.Database, k: int, copies: int, *, replace: bool) -> np.ndarray:
    """``[copies, k]``: which edges every `b` got, in the order of the draws."""
    edge_type = ("a", "e", "b")
    fanout = Fanout({edge_type: [k]}, 1, mode=Weighted(replace), lists={edge_type: [Derivation(weights=Weights("weight"))]})
    (out,) = KHop(db, fanout).sample(db.graph().topology(), [Roots({"b": np.arange(copies)})], [3])
    return out.node["a"][out.row[edge_type]].reshape(copies, k)


#: The last ones are mostly found among what is left: 3k draws of all rarely hold k different edges.
LISTS: dict[str, list[float]] = {
    "gentle": [1, 2, 3, 5, 8, 0.5],
    "steep": [1000, 1, 2, 1, 3, 50],
    "one of all": [1e6, 1, 1, 2, 3],
}


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize("k", [1, 3, 4])
def test_without_replacement_it_is_successive_sampling(tmp_path: Path, name: str, k: int) -> None:
    """Chi-square of ordered outcomes against their exact probabilities, the rare ones together."""
    weights, copies = LISTS[name], 12_000
    with star(tmp_path, weights, copies) as db:
        picked = drawn(db, k, copies, replace=False)
    exact: dict[tuple[int, ...], float] = {}
    for order in itertools.permutations(range(len(weights)), k):
        left, probability = sum(weights), 1.0
        for p in order:
            probability *= weights[p] / left
            left -= weights[p]
        exact[order] = probability
    often = [order for order, probability in exact.items() if probability * copies >= 8]
    outcomes = [tuple(row) for row in picked.tolist()]
    assert set(outcomes) <= set(exact)
    counts = [outcomes.count(order) for order in often]
    wanted = [exact[order] * copies for order in often]
    rest = copies - sum(wanted)
    if rest >= 8:
        counts, wanted = [*counts, copies - sum(counts)], [*wanted, rest]
    assert len(counts) == 1 or chisquare(counts, np.array(wanted) * sum(counts) / sum(wanted)).pvalue > 1e-3


def test_with_replacement_every_draw_follows_the_weights(tmp_path: Path) -> None:
    weights, copies = [1, 2, 3, 5, 8, 0.5], 12_000
    with star(tmp_path, weights, copies) as db:
        picked = drawn(db, 7, copies, replace=True)
    wanted = np.array(weights) / sum(weights) * copies
    for draw in range(7):
        assert chisquare(np.bincount(picked[:, draw], minlength=6), wanted).pvalue > 1e-3
    pairs = np.bincount(picked[:, 0] * 6 + picked[:, 1], minlength=36)
    assert chisquare(pairs, np.outer(weights, weights).ravel() / sum(weights) ** 2 * copies).pvalue > 1e-3


@pytest.mark.parametrize("kind", ["BOOLEAN", "UTINYINT", "SMALLINT", "BIGINT", "HUGEINT", "FLOAT", "DOUBLE", "DECIMAL(9,3)"])
def test_every_kind_of_number_is_a_weight_and_zero_is_never_drawn(tmp_path: Path, kind: str) -> None:
    with star(tmp_path, [1, 0, 1, 0, 1, 1], 200, kind) as db:
        assert set(drawn(db, 3, 200, replace=False).ravel().tolist()) == {0, 2, 4, 5}
        assert set(drawn(db, 3, 200, replace=True).ravel().tolist()) == {0, 2, 4, 5}
        assert set(drawn(db, 4, 200, replace=False).ravel().tolist()) == {0, 2, 4, 5}
        loader = dbgnn.NeighborLoader(db.graph(), [-1], ("b", None), weight_attr="weight", batch_size=200)
        assert next(iter(loader))["a", "e", "b"].edge_index.shape[1] == 800


def test_decimals_are_exact(tmp_path: Path) -> None:
    """0.1, 0.2 and 0.7 have no binary form; as DECIMAL they are 1, 2 and 7 to one another."""
    with star(tmp_path, [0.1, 0.2, 0.7], 1, "DECIMAL(9,1)") as db:
        next(iter(dbgnn.NeighborLoader(db.graph(), [1], ("b", None), weight_attr="weight")))
        names = "SELECT database_name, schema_name, table_name FROM duckdb_tables() WHERE database_name LIKE 'dbgnn_lists%'"
        [(database, schema, table)] = db.execute(names).fetchall()
        [(cum,)] = db.execute(f'SELECT cum FROM "{database}"."{schema}"."{table}"').fetchall()
    assert [cum[1] // cum[0], cum[2] // cum[0], cum[2] % cum[0]] == [3, 10, 0]


@pytest.mark.parametrize(
    ("bad", "shown"), [("NULL", "NULL"), ("'nan'", "nan"), ("'-inf'", "-inf"), ("'inf'", "inf"), ("-1", "-1.0")]
)
def test_what_is_no_weight_is_an_error_with_its_keys_and_a_remedy_that_works(tmp_path: Path, bad: str, shown: str) -> None:
    with star(tmp_path, [1, 2, 3, 4], 3) as db:
        db.execute(f"UPDATE e SET weight = {bad}::DOUBLE WHERE s = 2")
        loader = dbgnn.NeighborLoader(db.graph(), [2], ("b", None), weight_attr="weight", batch_size=3)
        with pytest.raises(
            dbgnn.DataError, match=f"3 rows of edge table 'e' .*'weight'.*s=2, d=0 has {shown}; s=2, d=1"
        ) as error:
            next(iter(loader))
        db.execute(str(error.value).partition("be such edges: ")[2])
        batch = next(iter(loader))
        assert set(batch["a"].n_id.tolist()) <= {0, 1, 3}


def test_what_is_no_column_of_weights_is_an_error(tmp_path: Path) -> None:
    with star(tmp_path, [1, 2], 1) as db:
        db.execute("ALTER TABLE e ADD COLUMN note VARCHAR")
        for name, told in (
            ("wieght", "no edge table of graph 'g'; did you mean 'weight'"),
            ("note", "'note' of table 'e' is VARCHAR"),
        ):
            with pytest.raises(dbgnn.SchemaError, match=told):
                dbgnn.NeighborLoader(db.graph(), [2], ("b", None), weight_attr=name)
        for mode in ("labor", "uniform"):
            with pytest.raises(dbgnn.RequestError, match="two ways to choose"):
                dbgnn.NeighborLoader(db.graph(), [2], ("b", None), weight_attr="weight", mode=mode)
        with pytest.raises(dbgnn.RequestError, match="weight_attr must be the name"):
            dbgnn.NeighborLoader(db.graph(), [2], ("b", None), weight_attr=3)  # type: ignore[arg-type]


def test_the_case_of_a_name_does_not_count_in_any_table(tmp_path: Path) -> None:
    """As in SQL: a table whose column is written otherwise is not sampled uniformly without a word."""
    with star(tmp_path, [0, 1, 0, 0], 1) as db:
        db.execute("CREATE TABLE f AS SELECT * FROM e; ALTER TABLE f RENAME COLUMN weight TO Weight")
        tables = "e SOURCE KEY (s) REFERENCES a (id) DESTINATION KEY (d) REFERENCES b (id), f {} LABEL f"
        ends = "SOURCE KEY (s) REFERENCES a (id) DESTINATION KEY (d) REFERENCES b (id)"
        db.execute(f"CREATE PROPERTY GRAPH two VERTEX TABLES (a KEY (id), b KEY (id)) EDGE TABLES ({tables.format(ends)})")
        for name in ("weight", "WEIGHT"):
            batch = next(iter(dbgnn.NeighborLoader(db.graph("two"), [2], ("b", None), weight_attr=name)))
            assert [batch["a", label, "b"].e_id.tolist() for label in ("e", "f")] == [[1], [1]]


def test_a_type_without_the_column_is_uniform(db: dbgnn.Database, edges: dict[Any, Any]) -> None:
    """The accounts' owners are drawn as without weights, the payments are not."""
    found = {}
    for weight_attr in (None, "weight"):
        loader = dbgnn.NeighborLoader(db.graph(), [4], ("account", None), weight_attr=weight_attr, batch_size=200)
        batch = next(iter(loader))
        found[weight_attr] = [batch[t].e_id.tolist() for t in (OWNS, PAYS)]
    assert found[None][0] == found["weight"][0]
    assert found[None][1] != found["weight"][1]


PLANS: list[tuple[int, dict[str, Any]]] = [
    (1, {"super_batch": 1, "prefetch": 0}),
    (2, {"super_batch": 7, "prefetch": 2}),
    (2, {}),
]


@pytest.mark.parametrize("more", [{}, {"replace": True}, {"disjoint": True}, {"subgraph_type": "induced"}], ids=str)
def test_super_batches_and_threads_do_not_show(tmp_path: Path, more: dict[str, Any]) -> None:
    with star(tmp_path, LISTS["steep"], 40):
        pass
    found = set()
    for threads, plan in PLANS:
        with dbgnn.connect(tmp_path / "g.duckdb", threads=threads) as db:
            loader = dbgnn.NeighborLoader(db.graph(), [4], ("b", None), weight_attr="weight", batch_size=6, **plan, **more)
            found.add(str([[batch["a"].n_id.tolist(), batch["a", "e", "b"].e_id.tolist()] for batch in loader]))
    assert len(found) == 1


def test_workers_make_lists_of_their_own(tmp_path: Path) -> None:
    with star(tmp_path, LISTS["steep"], 40) as db:
        db.graph().build()
    with dbgnn.connect(tmp_path / "g.duckdb", read_only=True) as db:
        found = []
        for workers in (0, 2):
            loader = dbgnn.NeighborLoader(
                db.graph(), [4], ("b", None), weight_attr="weight", batch_size=10, num_workers=workers
            )
            found.append([batch["a", "e", "b"].e_id.tolist() for batch in loader])
    assert found[0] == found[1]
