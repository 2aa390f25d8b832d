"""A pack that was begun under other decisions is refused, whatever it is that was decided otherwise."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch_geometric.sampler import NegativeSampling

import dbgnn
from dbgnn.packs import pack
from dbgnn.sampling.modes import MODES, Mode, Step
from dbgnn.sampling.modes.mode import Eligible

PAYS = ("account", "pays", "account")


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Accounts and payments with times and amounts."""
    path = tmp_path_factory.mktemp("refusal") / "g.duckdb"
    rng = np.random.default_rng(1)
    with dbgnn.connect(path, progress=False) as db:
        rows = {"src": rng.integers(0, 40, 500), "dst": rng.integers(0, 40, 500), "at": rng.integers(0, 90, 500)}
        db.connection.register("rows", pa.table(rows | {"amount": rng.integers(1, 9, 500)}))
        db.connection.execute("CREATE TABLE account AS SELECT i AS id, i % 30 AS at, i AS x FROM range(40) t(i)")
        db.connection.execute("CREATE TABLE pays AS FROM rows")
        db.execute(
            """CREATE PROPERTY GRAPH g VERTEX TABLES (account KEY (id) PROPERTIES (x)) EDGE TABLES (pays
            SOURCE KEY (src) REFERENCES account (id) DESTINATION KEY (dst) REFERENCES account (id) NO PROPERTIES)"""
        )
        db.graph().build()
    return path


@pytest.fixture
def graph(path: Path) -> Iterator[dbgnn.Graph]:
    with dbgnn.connect(path, read_only=True, progress=False) as db:
        yield db.graph()


def made(graph: dbgnn.Graph, **options: Any) -> Any:
    """A loader of links if it is told which, else of nodes."""
    given: dict[str, Any] = {"num_neighbors": [3, 2], "batch_size": 10, "seed": 5}
    if "edge_label_index" in options:
        return dbgnn.LinkNeighborLoader(graph, **given | options)
    return dbgnn.NeighborLoader(graph, **given | {"input_nodes": range(20)} | options)


def asked(limit: int = 20, late: int = 50, target: str = "id % 2") -> dbgnn.EntityTask:
    query = f"SELECT id, {late} AS late, {target} AS target FROM account WHERE id < {limit} ORDER BY id ASC"
    return dbgnn.EntityTask(query, entity="id", time="late", target="target", node_type="account")


def between(limit: int = 20) -> dbgnn.LinkTask:
    query = f"SELECT id AS a, (id * 7) % 40 AS b, id % 2 AS target FROM account WHERE id < {limit} ORDER BY id ASC"
    return dbgnn.LinkTask(query, source="a", destination="b", target="target", edge_type=PAYS)


TIMED: dict[str, Any] = {"time_attr": "at", "time_window": 40}

#: What a pack is begun with, by name.
BEGUN: dict[str, dict[str, Any]] = {
    "plain": {},
    "timed": TIMED,
    "weighted": {"weight_attr": "amount"},
    "labor": {"mode": dbgnn.Labor(batch_dependency=2)},
    "backward": {"sample_direction": "backward", "subgraph_type": "induced"},
    "links": {"edge_label_index": (PAYS, range(20)), "neg_sampling": "binary"},
    "links by time": {"edge_label_index": (PAYS, range(20)), "edge_label_time": torch.full((20,), 80), **TIMED},
    "task": {"input_nodes": asked(), "time_attr": "at"},
    "link task": {"edge_label_index": between()},
}

#: By what it was begun with: what a loader that is refused has instead, and what the error names.
OTHERWISE: list[tuple[str, dict[str, Any], str]] = [
    ("plain", {"num_neighbors": [3, 1]}, "num_neighbors"),
    ("plain", {"num_neighbors": [3, 2, 1]}, "num_hops"),
    ("plain", {"seed": 6}, "seed"),
    ("plain", {"replace": True}, "replace"),
    ("plain", {"disjoint": True}, "disjoint"),
    ("plain", {"subgraph_type": "induced"}, "subgraph_type"),
    ("plain", {"subgraph_type": "bidirectional"}, "subgraph_type"),
    ("plain", {"sample_direction": "backward"}, "backward"),
    ("plain", {"mode": "labor"}, "mode"),
    ("plain", {"weight_attr": "amount"}, "mode"),
    ("plain", {"time_attr": "at"}, "timeline"),
    ("plain", {"batch_size": 5}, "batch_size"),
    ("plain", {"input_nodes": range(1, 21)}, "input_nodes"),
    ("plain", {"input_id": torch.arange(20)}, "input_id"),
    ("plain", {"drop_last": True}, "drop_last"),
    ("plain", {"shuffle": True}, "sampler"),
    ("plain", {"transform_sampler_output": copy.copy}, "transform_sampler_output"),
    ("timed", {"time_window": 41}, "window"),
    ("timed", {"time_window": None}, "window"),
    ("timed", {"time_attr": None, "time_window": None, "disjoint": True}, "timeline"),
    ("timed", {"temporal_strategy": "last"}, "mode"),
    ("weighted", {"weight_attr": None}, "lists"),
    ("weighted", {"replace": True}, "replace"),
    ("labor", {"mode": dbgnn.Labor(batch_dependency=3)}, "batch_dependency"),
    ("labor", {"mode": dbgnn.Labor(2, layer_dependency=True)}, "layer_dependency"),
    ("labor", {"mode": None}, "batch_dependency"),
    ("backward", {"sample_direction": "forward"}, "backward"),
    ("links", {"edge_label_index": (PAYS, range(1, 21))}, "edge_label_index"),
    ("links", {"edge_label": torch.ones(20, dtype=torch.long)}, "edge_label"),
    ("links", {"neg_sampling": "triplet"}, "neg_sampling"),
    ("links", {"neg_sampling": NegativeSampling("binary", 2)}, "neg_sampling"),
    ("links", {"neg_sampling": NegativeSampling("binary", 1, dst_weight=torch.arange(40.0))}, "neg_sampling"),
    ("links", {"avoid_true_edges": True}, "avoid_true_edges"),
    ("links", {"exclude_seed_edges": True}, "exclude_seed_edges"),
    ("links", {"exclude_seed_edges": "reverse"}, "exclude_seed_edges"),
    ("links", {"input_id": torch.arange(1, 21)}, "input_id"),
    ("links by time", {"edge_label_time": torch.full((20,), 81)}, "edge_label_time"),
    ("links by time", {"time_window": 41}, "window"),
    ("task", {"input_nodes": asked(limit=19)}, "task"),
    ("task", {"input_nodes": asked(late=51)}, "task"),
    ("task", {"input_nodes": asked(target="id % 3")}, "task"),
    ("task", {"input_nodes": range(20), "input_time": torch.full((20,), 50)}, "task"),
    ("link task", {"edge_label_index": between(limit=19)}, "task"),
]


@pytest.mark.parametrize(
    ("begun", "otherwise", "named"), OTHERWISE, ids=[f"{begun} {i} {named}" for i, (begun, _, named) in enumerate(OTHERWISE)]
)
def test_another_decision_is_refused(
    graph: dbgnn.Graph, tmp_path: Path, begun: str, otherwise: dict[str, Any], named: str
) -> None:
    made(graph, **BEGUN[begun]).pack(tmp_path / "pack")
    with pytest.raises(dbgnn.DbgnnError, match=rf"pack of another loader; they differ in .*\b{named}: "):
        made(graph, **BEGUN[begun] | otherwise).pack(tmp_path / "pack")
    made(graph, **BEGUN[begun]).pack(tmp_path / "pack")  # is the one that began it


def leaves(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield where every value is that holds no others."""
    if isinstance(value, (dict, list)) and value:
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(inner, (*at, key))
    else:
        yield at


def changed(value: Any, at: tuple[Any, ...]) -> Any:
    if not at:
        return "something else"
    found = copy.copy(value)
    found[at[0]] = changed(value[at[0]], at[1:])
    return found


@pytest.mark.parametrize("begun", BEGUN)
def test_every_part_of_an_identity_decides(
    graph: dbgnn.Graph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, begun: str
) -> None:
    loader = made(graph, **BEGUN[begun])
    loader.pack(tmp_path / "pack")
    decided = pack._decisive(loader)
    assert loader.identity().items() <= {**decided, **loader.identity()}.items()
    assert {*json.loads(json.dumps(loader.identity()))} < set(decided)
    there = list(leaves(decided))
    assert len(there) > 20
    for at in there:
        monkeypatch.setattr(pack, "_decisive", lambda _, at=at: changed(decided, at))
        with pytest.raises(dbgnn.DbgnnError, match="pack of another loader"):
            loader.pack(tmp_path / "pack")


class Nameless(Mode):
    """A mode that decides nothing."""

    def steps(self, k: int, words: int, eligible: Eligible) -> list[Step]:
        raise NotImplementedError

    def identity(self) -> dict[str, Any]:
        return {}


def test_no_part_s_decision_hides_another_s(graph: dbgnn.Graph) -> None:
    """The parts' identities are one document: a name that two have would be said by one alone."""
    for options in BEGUN.values():
        loader = made(graph, **options | {"mode": Nameless(), "weight_attr": None})
        sampler, seeds = loader.neighbor_sampler, loader.seeds.identity()
        fanout = sampler.fanout.identity()
        own = {"seed", "subgraph_type", "keep_orig_edges"}
        assert set(sampler.identity()) == own | set(fanout)
        assert not own & set(fanout)
        of_modes = {name for mode in MODES.values() for name in mode().identity()}
        assert not of_modes & {*own, *fanout, *seeds}
        assert not set(seeds) & {*own, *fanout}
        of_loader = set(loader.identity()) - {*own, *fanout, *seeds}
        assert not of_loader & of_modes
        assert {"batch_size", "drop_last", "graph", "homogeneous"} < of_loader


@pytest.mark.parametrize(
    ("options", "statement", "named"),
    [
        (TIMED, 'UPDATE pays SET "at" = "at" + 1 WHERE rowid = 7', "'pays'"),
        (TIMED, 'UPDATE account SET "at" = "at" + 1 WHERE id = 7', "times of 'account'"),
        ({"weight_attr": "amount"}, "UPDATE pays SET amount = 9 - amount WHERE rowid = 7", "'pays'"),
    ],
)
def test_other_times_and_weights_are_other_decisions(
    path: Path, tmp_path: Path, options: dict[str, Any], statement: str, named: str
) -> None:
    (tmp_path / "g.duckdb").write_bytes(path.read_bytes())
    with dbgnn.connect(tmp_path / "g.duckdb", progress=False) as db:
        made(db.graph(), **options).pack(tmp_path / "pack")
        db.execute(statement)
    with dbgnn.connect(tmp_path / "g.duckdb", read_only=True, progress=False) as db:
        with pytest.raises(dbgnn.DbgnnError, match=f"pack of another loader; they differ in .*{named}"):
            made(db.graph(), **options).pack(tmp_path / "pack")
        made(db.graph()).pack(tmp_path / "plain")  # which reads none of it
