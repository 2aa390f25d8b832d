"""What is eligible: time, windows, excluded edges and conditions, alone and together, are the oracle's, exactly."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch_geometric.sampler import NodeSamplerInput

import dbgnn
from dbgnn.sampling import Fanout, KHop, Roots
from dbgnn.sampling.modes import MODES, Last, Mode, Uniform
from dbgnn.sampling.roots import Excluded
from dbgnn.topology.conditions import Conditions
from dbgnn.topology.derived import Derivation
from dbgnn.topology.times import TimeColumn, Times
from dbgnn.topology.window import Window
from tests.sampling import oracle
from tests.sampling.test_khop import check

PAYS = ("account", "pays", "account")
KEY = 77
GRAPH = """
    CREATE PROPERTY GRAPH g
      VERTEX TABLES (account KEY (id))
      EDGE TABLES (pays SOURCE KEY (src) REFERENCES account (id) DESTINATION KEY (dst) REFERENCES account (id))
"""

AT, OPENED = TimeColumn("at"), TimeColumn("opened")
TIMES = [Times(AT, None), Times(None, OPENED), Times(AT, OPENED, earlier=True)]


@pytest.fixture(scope="module")
def payments() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(2)
    degrees = [0, 1, 5, 6, 20, 21, 3000]
    dst = rng.permutation(np.concatenate([np.repeat(np.arange(7), degrees), rng.integers(7, 90, 900)]))
    return {
        "src": rng.integers(0, 90, len(dst)),
        "dst": dst,
        "at": rng.integers(0, 60, len(dst)),  # many ties
        "amount": rng.integers(0, 100, len(dst)),
        "opened": rng.integers(0, 60, 90),
    }


@pytest.fixture(scope="module")
def db(payments: dict[str, np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> dbgnn.Database:
    db = dbgnn.connect(tmp_path_factory.mktemp("narrow") / "g.duckdb")
    con = db.connection
    con.register("a", pa.table({"id": np.arange(90), "opened": payments["opened"]}))
    con.register("p", pa.table({name: payments[name] for name in ("src", "dst", "at", "amount")}))
    con.execute("CREATE TABLE account AS FROM a; CREATE TABLE pays AS FROM p")
    db.execute(GRAPH)
    return db


def wanted(p: dict[str, np.ndarray], derivation: Derivation, window: int | None, excluded: set[int], until: np.ndarray):  # type: ignore[no-untyped-def]
    own = p["at"] if derivation.times and derivation.times.edge else np.full(len(p["src"]), -(10**9))
    other = p["opened"][p["src"]] if derivation.times and derivation.times.node else own
    time, earlier = np.maximum(own, other), np.minimum(own if derivation.times and derivation.times.edge else other, other)

    def lists(_edge_type: object, _hop: int, tree: int, node: int) -> list[tuple[int, int]]:
        found = []
        for e in np.flatnonzero(p["dst"] == node).tolist():
            if derivation.times and not (time[e] <= until[tree] and (window is None or earlier[e] > until[tree] - window)):
                continue
            if derivation.conditions and not (p["amount"][e] >= 30 and p["opened"][p["src"][e]] < 50):
                continue
            if e not in excluded:
                found.append((int(time[e]) if derivation.times else 0, int(p["src"][e]), e))
        return [(s, e) for _, s, e in sorted(found)]

    return lists


@pytest.mark.parametrize("conditions", [None, Conditions("amount >= 30", "opened < 50")], ids=["all", "where"])
@pytest.mark.parametrize("window", [None, 7], ids=["ever", "window"])
@pytest.mark.parametrize("times", [None, *TIMES], ids=["none", "edge", "node", "both"])
@pytest.mark.parametrize("without", [False, True], ids=["", "excluded"])
@pytest.mark.parametrize("mode", [Uniform(), Uniform(replace=True), Last()], ids=repr)
def test_what_is_eligible_is_the_oracle_s(
    db: dbgnn.Database,
    payments: dict[str, np.ndarray],
    mode: Mode,
    without: bool,
    times: Times | None,
    window: int | None,
    conditions: Conditions | None,
) -> None:
    if times is None and (window is not None or isinstance(mode, Last)):
        return
    derivation = Derivation(times=times, conditions=conditions)
    for ks in ([-1], [3, 2], [12, 4]):
        fanout = Fanout(
            {PAYS: ks},
            len(ks),
            mode=mode,
            disjoint=True,
            lists={PAYS: [derivation] * len(ks)},
            window=None if window is None else Window(window),
        )
        seeds = np.array([0, 1, 2, 3, 4, 5, 6, 6, 20, 21])
        until = np.array([59, 30, 30, 40, 12, 59, 59, 5, 30, -1])
        gone = {int(e) for node in (1, 3, 6) for e in np.flatnonzero(payments["dst"] == node)[:4]} if without else set()
        ids = np.array(sorted(gone), dtype=np.int64)
        excluded = {PAYS: Excluded(payments["dst"][ids], ids)} if without else {}
        roots = Roots({"account": seeds}, {"account": until} if times else {}, excluded)
        other = Roots({"account": seeds[:3]}, {"account": until[:3]} if times else {})
        found, _ = KHop(db, fanout).sample(db.graph().topology(), [roots, other], [KEY, 5])
        choose = oracle.latest if isinstance(mode, Last) else oracle.picks
        replace = isinstance(mode, Uniform) and mode.replace
        edges = {PAYS: (payments["src"], payments["dst"])}
        lists = wanted(payments, derivation, window, gone, until)
        same = oracle.sample(
            ["account"], edges, {"account": seeds}, {PAYS: ks}, KEY, replace=replace, disjoint=True, lists=lists, choose=choose
        )
        check(found, same)


@pytest.fixture(scope="module")
def without_payments() -> Iterator[dbgnn.Graph]:
    with dbgnn.connect() as db:
        db.execute("CREATE TABLE account AS SELECT range AS id FROM range(9)")
        db.execute('CREATE TABLE pays (src BIGINT, dst BIGINT, "at" BIGINT, amount BIGINT)')
        db.execute(GRAPH)
        yield db.graph()


@pytest.mark.parametrize("window", [None, 9])
@pytest.mark.parametrize("mode", MODES)
def test_of_no_edges_none_is_sampled(without_payments: dbgnn.Graph, mode: str, window: int | None) -> None:
    """Lists of no edges have no longest one, whose length is that of a search."""
    weights = "amount" if MODES[mode].needs_weights else None
    sampler = dbgnn.NeighborSampler(
        without_payments, [2, -1], mode=mode, time_attr="at", time_window=window, weight_attr=weights
    )
    seeds = NodeSamplerInput(None, torch.tensor([4, 5, 6]), time=torch.tensor([60, 60, 60]), input_type="account")
    out = sampler.sample_from_nodes(seeds)
    assert out.node["account"].tolist() == [4, 5, 6]
    assert out.edge[PAYS].tolist() == []
