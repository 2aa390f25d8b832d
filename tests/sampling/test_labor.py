"""LABOR: the sample is the oracle's, exactly; each node's is uniform by itself; together they meet fewer nodes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from scipy.stats import chisquare
from torch_geometric.data import HeteroData

import dbgnn
from dbgnn import Labor
from dbgnn.sampling import Fanout, KHop, Roots
from dbgnn.sampling.roots import Excluded
from dbgnn.topology.derived import Derivation
from dbgnn.topology.times import TimeColumn, Times
from dbgnn.topology.window import Window
from tests.sampling import oracle
from tests.sampling.conftest import KNOWS, LIKED, RATES, Fixture
from tests.sampling.oracle import EdgeType, mix
from tests.sampling.test_khop import SEEDS, check

KEY = 77


class Chosen:
    """What the oracle takes of lists: those neighbours whose numbers are the smallest, of those that `lists` gave last."""

    def __init__(self, labels: tuple[str, ...], lists: oracle.Lists, key: int = KEY, *, layer_dependency: bool = False) -> None:
        self.labels, self._lists, self.key, self.layer_dependency = labels, lists, key, layer_dependency

    def lists(self, edge_type: EdgeType, hop: int, tree: int, node: int) -> list[tuple[int, int]]:
        self.near = self._lists(edge_type, hop, tree, node)
        self.of_hop = mix(mix(self.key ^ (0 if self.layer_dependency else hop)) ^ self.labels.index(edge_type[0]))
        return self.near

    def choose(self, degree: int, k: int, _key: int, *, replace: bool) -> list[int]:
        assert not replace
        if k < 0 or degree <= k:
            return list(range(degree))
        return sorted(range(degree), key=lambda j: (mix(self.of_hop ^ self.near[j][0]), j))[:k]


@pytest.mark.parametrize("seeds", SEEDS)
@pytest.mark.parametrize("disjoint", [False, True])
@pytest.mark.parametrize("mode", [Labor(), Labor(layer_dependency=True)], ids=repr)
def test_the_sample_is_the_oracle_s(db: dbgnn.Database, hetero: Fixture, mode: Labor, seeds: str, *, disjoint: bool) -> None:
    given = {label: np.array(ids, dtype=np.int64) for label, ids in SEEDS[seeds].items()}

    def whole(edge_type: EdgeType, _hop: int, _tree: int, node: int) -> list[tuple[int, int]]:
        return oracle.neighbours(*hetero.edges[edge_type], node)

    for fanout in ({RATES: [5, 4, -1], LIKED: [3, 2, 2], KNOWS: [0, 2, 1]}, {RATES: [300], LIKED: [1], KNOWS: [0]}):
        num_hops = len(fanout[RATES])
        (found,) = KHop(db, Fanout(fanout, num_hops, mode=mode, disjoint=disjoint)).sample(
            db.graph().topology(), [Roots(given)], [KEY]
        )
        wanted = Chosen(hetero.labels, whole, layer_dependency=mode.layer_dependency)
        same = oracle.sample(
            hetero.labels, hetero.edges, given, fanout, KEY, disjoint=disjoint, lists=wanted.lists, choose=wanted.choose
        )
        check(found, same)


@pytest.fixture(scope="module")
def payments(tmp_path_factory: pytest.TempPathFactory) -> tuple[dbgnn.Database, dict[str, np.ndarray]]:
    """Payments with times, many of them parallel."""
    rng = np.random.default_rng(2)
    dst = np.concatenate([np.repeat(np.arange(6), [0, 1, 3, 4, 12, 2000]), rng.integers(6, 50, 400)])
    rows = {"src": rng.integers(0, 50, len(dst)), "dst": dst, "at": rng.integers(0, 60, len(dst))}
    db = dbgnn.connect(tmp_path_factory.mktemp("labor") / "g.duckdb")
    db.connection.register("p", pa.table(rows))
    db.connection.execute("CREATE TABLE account AS SELECT range AS id FROM range(50); CREATE TABLE pays AS FROM p")
    db.execute(
        "CREATE PROPERTY GRAPH g VERTEX TABLES (account KEY (id)) EDGE TABLES "
        "(pays SOURCE KEY (src) REFERENCES account (id) DESTINATION KEY (dst) REFERENCES account (id))"
    )
    return db, rows


PAYS = ("account", "pays", "account")


@pytest.mark.parametrize("excluded", [False, True], ids=["", "excluded"])
@pytest.mark.parametrize("timed", [None, "ever", "window"])
def test_of_what_is_eligible_it_is_the_oracle_s(
    payments: tuple[dbgnn.Database, dict[str, np.ndarray]], timed: str | None, *, excluded: bool
) -> None:
    db, rows = payments
    window = 9 if timed == "window" else None
    derivation = Derivation(times=Times(TimeColumn("at"), None)) if timed else Derivation()
    seeds, until = np.array([0, 1, 2, 3, 4, 5, 5, 5, 9]), np.array([59, 30, 59, 59, 40, 59, 20, -1, 12])
    first = [np.flatnonzero(rows["dst"] == node)[:3] for node in (2, 3, 4, 5)]
    gone = np.concatenate(first)[: None if excluded else 0]

    def lists(_edge_type: EdgeType, _hop: int, tree: int, node: int) -> list[tuple[int, int]]:
        found = []
        for e in np.flatnonzero(rows["dst"] == node).tolist():
            time = int(rows["at"][e])
            late = time > until[tree] or (window is not None and time <= until[tree] - window)
            if not (timed and late) and e not in gone:
                found.append((time if timed else 0, int(rows["src"][e]), e))
        return [(s, e) for _, s, e in sorted(found)]

    for ks in ([3, 2], [12]):
        fanout = Fanout(
            {PAYS: ks},
            len(ks),
            mode=Labor(),
            disjoint=True,
            lists={PAYS: [derivation] * len(ks)},
            window=None if window is None else Window(window),
        )
        without = {PAYS: Excluded(rows["dst"][gone], gone)} if excluded else {}
        roots = Roots({"account": seeds}, {"account": until} if timed else {}, without)
        (found,) = KHop(db, fanout).sample(db.graph().topology(), [roots], [KEY])
        wanted = Chosen(("account",), lists)
        edges = {PAYS: (rows["src"], rows["dst"])}
        check(
            found,
            oracle.sample(
                ["account"],
                edges,
                {"account": seeds},
                {PAYS: ks},
                KEY,
                disjoint=True,
                lists=wanted.lists,
                choose=wanted.choose,
            ),
        )


@pytest.fixture(scope="module")
def complete(tmp_path_factory: pytest.TempPathFactory) -> dbgnn.Database:
    """Every one of 13 sources leads to every one of 20 nodes."""
    db = dbgnn.connect(tmp_path_factory.mktemp("complete") / "g.duckdb")
    db.execute("CREATE TABLE a AS SELECT range AS id FROM range(13); CREATE TABLE b AS SELECT range AS id FROM range(20)")
    db.execute("CREATE TABLE e AS SELECT s.range AS s, d.range AS d FROM range(13) s, range(20) d")
    db.execute(
        """CREATE PROPERTY GRAPH g VERTEX TABLES (a KEY (id), b KEY (id))
        EDGE TABLES (e SOURCE KEY (s) REFERENCES a (id) DESTINATION KEY (d) REFERENCES b (id))"""
    )
    return db


def test_every_neighbour_and_pair_is_equally_likely_and_all_nodes_take_the_same(complete: dbgnn.Database) -> None:
    edge_type, k, batches = ("a", "e", "b"), 5, 4000
    khop = KHop(complete, Fanout({edge_type: [k]}, 1, mode=Labor()))
    keys = np.random.default_rng(4).integers(0, 2**32, batches).tolist()
    found = khop.sample(complete.graph().topology(), [Roots({"b": np.arange(20)})] * batches, keys)
    assert {len(sample.node["a"]) for sample in found} == {k}  # of 13: they agree
    assert {len(sample.edge[edge_type]) for sample in found} == {20 * k}
    picked = np.array([sample.node["a"] for sample in found])
    assert chisquare(np.bincount(picked.ravel(), minlength=13)).pvalue > 1e-3
    there = np.zeros((batches, 13))
    there[np.arange(batches)[:, None], picked] = 1
    assert chisquare((there.T @ there)[np.triu_indices(13, 1)]).pvalue > 1e-3


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> dbgnn.Graph:
    """3,000 nodes with 30 neighbours each, among 1,000 that most lead to."""
    rng = np.random.default_rng(3)
    db = dbgnn.connect(tmp_path_factory.mktemp("crowd") / "g.duckdb", progress=False)
    edges = pa.table({"s": (rng.random(90_000) ** 2 * 1000).astype(np.int64), "d": np.repeat(np.arange(3000), 30)})
    db.connection.register("edges", edges)
    db.connection.execute("CREATE TABLE node AS SELECT range AS id, range AS x FROM range(3000); CREATE TABLE e AS FROM edges")
    db.execute(
        """CREATE PROPERTY GRAPH g VERTEX TABLES (node KEY (id))
        EDGE TABLES (e SOURCE KEY (s) REFERENCES node (id) DESTINATION KEY (d) REFERENCES node (id))"""
    )
    return db.graph()


def batches(graph: dbgnn.Graph, **options: Any) -> list[HeteroData]:
    given: dict[str, Any] = {"num_neighbors": [5, 5], "input_nodes": range(1000, 3000), "batch_size": 250, "seed": 8}
    return list(dbgnn.NeighborLoader(graph, **given | options))


def met(found: list[HeteroData]) -> int:
    return sum(batch["node"].num_nodes - batch["node"].batch_size for batch in found)


def test_fewer_nodes_are_met_by_as_many_edges(crowd: dbgnn.Graph) -> None:
    uniform, labor, deep = (batches(crowd, mode=m) for m in (None, "labor", Labor(layer_dependency=True)))
    of_seeds = {int((b["node", "e", "node"].edge_index[1] < b["node"].batch_size).sum()) for b in (*uniform, *labor, *deep)}
    assert of_seeds == {250 * 5}
    assert met(labor) < 0.75 * met(uniform)
    assert met(deep) < 0.75 * met(labor)


def test_mini_batches_in_a_row_draw_the_same_numbers(crowd: dbgnn.Graph) -> None:
    same = ("node", list(range(1000, 1250)) * 6)
    found = batches(crowd, mode=Labor(batch_dependency=2), input_nodes=same)
    ids = [batch["node"].n_id.tolist() for batch in found]
    assert ids[0] == ids[1] != ids[2] == ids[3] != ids[4] == ids[5]
    assert ids[:1] == [batch["node"].n_id.tolist() for batch in batches(crowd, mode="labor", input_nodes=same)][:1]


@pytest.mark.parametrize("options", [{"super_batch": 1, "prefetch": 0}, {"super_batch": 7, "prefetch": 2}])
def test_super_batches_and_threads_change_nothing(crowd: dbgnn.Graph, options: dict[str, Any]) -> None:
    mode = Labor(batch_dependency=3)
    for one, other in zip(batches(crowd, mode=mode), batches(crowd, mode=mode, **options), strict=True):
        assert one["node"].n_id.tolist() == other["node"].n_id.tolist()
        assert one["node", "e", "node"].e_id.tolist() == other["node", "e", "node"].e_id.tolist()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"mode": "labor", "replace": True}, "no meaning for Labor"),
        ({"mode": Labor(), "replace": True}, "two ways to choose"),
        ({"mode": Labor(), "time_attr": "x", "temporal_strategy": "last"}, "two ways to choose"),
        ({"mode": "labor", "weight_attr": "x"}, "two ways to choose"),
        ({"mode": Labor(), "weight_attr": "x"}, "two ways to choose"),
    ],
)
def test_what_has_no_meaning_is_refused(crowd: dbgnn.Graph, options: dict[str, Any], said: str) -> None:
    with pytest.raises(dbgnn.RequestError, match=said):
        dbgnn.NeighborSampler(crowd, [3], **options)


@pytest.mark.parametrize("given", [0, -1, 1.5, True])
def test_batch_dependency_is_a_number_of_mini_batches(given: Any) -> None:
    with pytest.raises(dbgnn.RequestError, match="batch_dependency must be"):
        Labor(batch_dependency=given)
