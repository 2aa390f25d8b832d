"""Conditions on edges and on the nodes that they lead to: what is sampled is what brute force leaves, whatever goes with it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch_geometric.sampler import NodeSamplerInput

import dbgnn
from dbgnn.sampling.random import fold
from tests.sampling import oracle
from tests.sampling.test_khop import check

RATES, LIKED = ("user", "rates", "movie"), ("movie", "liked", "user")


@pytest.fixture(scope="module")
def tables() -> dict[str, dict[str, Any]]:
    rng = np.random.default_rng(9)
    stars = [None if s == 0 else int(s) for s in rng.integers(0, 6, 900)]
    return {
        "user": {"id": np.arange(60), "age": rng.integers(10, 80, 60)},
        "movie": {"id": np.arange(40), "year": rng.integers(1960, 2020, 40)},
        "rates": {"s": rng.integers(0, 60, 900), "d": rng.integers(0, 40, 900), "stars": stars, "at": rng.integers(0, 50, 900)},
        "liked": {"s": rng.integers(0, 40, 500), "d": rng.integers(0, 60, 500)},
    }


@pytest.fixture(scope="module")
def db(tables: dict[str, dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> Iterator[dbgnn.Database]:
    with dbgnn.connect(tmp_path_factory.mktemp("where") / "g.duckdb") as db:
        for name, columns in tables.items():
            db.connection.register("part", pa.table(columns))
            db.connection.execute(f"CREATE TABLE {name} AS FROM part")
        db.execute(
            """CREATE PROPERTY GRAPH g VERTEX TABLES (user KEY (id), movie KEY (id)) EDGE TABLES (
              rates SOURCE KEY (s) REFERENCES user (id) DESTINATION KEY (d) REFERENCES movie (id) PROPERTIES (at),
              liked SOURCE KEY (s) REFERENCES movie (id) DESTINATION KEY (d) REFERENCES user (id))"""
        )
        yield db


#: Conditions, and what they mean, of rows by number.
STARS: list[tuple[str | None, Any]] = [
    (None, lambda t, e: e >= 0),
    ("stars >= 4", lambda t, e: np.array([(t["rates"]["stars"][i] or 0) >= 4 for i in e], dtype=bool)),
    ("NOT stars >= 4", lambda t, e: np.array([(t["rates"]["stars"][i] or 9) < 4 for i in e], dtype=bool)),
    ("stars > 9 -- none", lambda t, e: e < 0),
]
YEAR: list[tuple[str | None, Any]] = [(None, lambda t, n: n >= 0), ("year < 1990", lambda t, n: t["movie"]["year"][n] < 1990)]


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    stars=st.lists(st.sampled_from(range(len(STARS))), min_size=2, max_size=2),
    years=st.lists(st.sampled_from(range(len(YEAR))), min_size=2, max_size=2),
    k=st.sampled_from([-1, 2, 9]),
    replace=st.booleans(),
    batch=st.integers(0, 9),
)
def test_what_is_sampled_is_what_brute_force_leaves(
    db: dbgnn.Database,
    tables: dict[str, Any],
    stars: list[int],
    years: list[int],
    k: int,
    batch: int,
    *,
    replace: bool,
) -> None:
    where = {"rates": [STARS[i][0] for i in stars], "movie": [YEAR[i][0] for i in years]}
    sampler = dbgnn.NeighborSampler(db.graph(), [k, k], replace=replace, where=where)
    edges = {RATES: (tables["rates"]["s"], tables["rates"]["d"]), LIKED: (tables["liked"]["s"], tables["liked"]["d"])}

    def lists(edge_type: Any, hop: int, _tree: int, node: int) -> list[tuple[int, int]]:
        src, dst = edges[edge_type]
        near = oracle.neighbours(src, dst, node)
        ids, sources = np.array([e for _, e in near], dtype=int), np.array([s for s, _ in near], dtype=int)
        kept = STARS[stars[hop]][1](tables, ids) if edge_type == RATES else YEAR[years[hop]][1](tables, sources)
        return [pair for pair, there in zip(near, kept, strict=True) if there]

    seeds = torch.arange(batch * 4, batch * 4 + 4)
    inputs = NodeSamplerInput(input_id=None, node=seeds, input_type="movie")
    topology = db.graph().topology()
    (found,) = sampler.sample_batches(topology, sampler.starts(topology, [inputs]), [(0, batch)])
    fanout = {RATES: [k, k], LIKED: [k, k]}
    key = fold(0, 1, 0, batch)
    check(found, oracle.sample(["user", "movie"], edges, {"movie": seeds.numpy()}, fanout, key, replace=replace, lists=lists))


def met(db: dbgnn.Database, **options: Any) -> tuple[set[int], set[int]]:
    """The edge ids of both types that an epoch meets."""
    found: tuple[set[int], set[int]] = set(), set()
    for batch in dbgnn.NeighborLoader(db.graph(), [-1, -1], ("movie", None), batch_size=20, **options):
        for ids, edge_type in zip(found, (RATES, LIKED), strict=True):
            ids.update(batch[edge_type].e_id.tolist())
    return found


def rows(db: dbgnn.Database, table: str, condition: str) -> set[int]:
    return {row for (row,) in db.execute(f"SELECT rowid FROM {table} WHERE {condition}").fetchall()}


def test_types_are_named_as_everywhere(db: dbgnn.Database) -> None:
    wanted = rows(db, "rates", "stars >= 4")
    for name in ("rates", RATES, "user__rates__movie", ("user", "movie")):
        assert met(db, where={name: "stars >= 4"})[0] == wanted
    assert met(db, where={"user": "age < 30"})[0] == rows(db, "rates", "s IN (SELECT id FROM user WHERE age < 30)")


def test_backward_a_node_type_is_that_of_the_destinations(db: dbgnn.Database) -> None:
    found = met(db, sample_direction="backward", where={"rates": "stars >= 4", "movie": "year < 1990"})
    assert found[0]
    assert found[0] <= rows(db, "rates", "stars >= 4 AND d IN (SELECT id FROM movie WHERE year < 1990)")
    assert found[1] == rows(db, "liked", "true")


def test_with_time_weights_and_disjoint_every_clause_holds(db: dbgnn.Database) -> None:
    """Many draws of one edge: each is eligible by all clauses, and each that is eligible comes."""
    db.execute("ALTER TABLE rates ADD COLUMN IF NOT EXISTS w DOUBLE; UPDATE rates SET w = rowid % 3")
    db.graph().build()
    where = {"rates": "stars >= 2", "user": "age > 20"}
    sampler = dbgnn.NeighborSampler(db.graph(), [3], time_attr="at", weight_attr="w", where=where)
    inputs = NodeSamplerInput(None, torch.full((400,), 7), torch.full((400,), 30), "movie")
    found = sampler.sample_from_nodes(inputs)
    wanted = "d = 7 AND rates.at <= 30 AND w > 0 AND stars >= 2 AND s IN (SELECT id FROM user WHERE age > 20)"
    assert set(found.edge[RATES].tolist()) == rows(db, "rates", wanted)


def test_an_induced_subgraph_has_no_other_edges(db: dbgnn.Database) -> None:
    found = met(db, subgraph_type="induced", where={"rates": "stars = 5", "movie": "year < 1990"})
    assert found[0]
    assert found[0] <= rows(db, "rates", "stars = 5")
    assert found[1] <= rows(db, "liked", "s IN (SELECT id FROM movie WHERE year < 1990)")
    with pytest.raises(dbgnn.RequestError, match=r"induced subgraph.* not one per hop"):
        met(db, subgraph_type="induced", where={"rates": ["stars = 5", None]})


def test_conditions_that_leave_nothing_and_conditions_of_one_hop(db: dbgnn.Database) -> None:
    assert met(db, where={"rates": "stars > 9"}) == (set(), set())
    assert met(db, where={"rates": [None, "stars > 9"]})[0] == rows(db, "rates", "true")


@pytest.mark.parametrize(
    ("where", "kind", "told"),
    [
        ("stars > 3", dbgnn.RequestError, "a mapping from types to conditions"),
        ({"rates": 3}, dbgnn.RequestError, "where of user-rates-movie must be a condition"),
        ({"rates": ["stars > 3"]}, dbgnn.RequestError, "1 conditions for 2 hops"),
        ({"ratings": "stars > 3"}, dbgnn.UnknownNameError, "did you mean 'rates'"),
        ({"rates": "star > 3"}, dbgnn.SqlError, "star.*stars"),
        ({"rates": "stars > 3; DROP TABLE rates"}, dbgnn.SqlError, "one expression"),
        ({"rates": "s IN (SELECT id FROM user)"}, dbgnn.SqlError, "subquer"),
        ({"rates": "stars"}, dbgnn.SqlError, "'stars' does not fit table 'rates': it is BIGINT, .* compare it"),
        ({"rates": "stars > 3", RATES: "stars > 4"}, dbgnn.SchemaError, "named twice"),
        ({"rates": ["stars > 3", "random() > 0.5"]}, dbgnn.SqlError, "random"),
    ],
    ids=str,
)
def test_what_is_no_condition_is_an_error_of_the_loader(
    db: dbgnn.Database, where: Any, kind: type[Exception], told: str
) -> None:
    with pytest.raises(kind, match=told):
        dbgnn.NeighborLoader(db.graph(), [2, 2], ("movie", None), where=where)


def test_a_condition_that_fails_for_a_row_is_named(db: dbgnn.Database) -> None:
    db.execute("ALTER TABLE liked ADD COLUMN IF NOT EXISTS note VARCHAR; UPDATE liked SET note = 'seven' WHERE rowid = 3")
    with pytest.raises(dbgnn.SqlError, match=r"'note::INTEGER > 3' does not fit table 'liked': .*seven"):
        met(db, where={"liked": "note::INTEGER > 3"})


def test_a_condition_on_nodes_that_nothing_leads_to_is_an_error(tmp_path: Path) -> None:
    with dbgnn.connect(tmp_path / "g.duckdb") as db:
        db.execute(
            "CREATE TABLE a AS SELECT 1 AS id; CREATE TABLE b AS SELECT 1 AS id; CREATE TABLE e AS SELECT 1 AS s, 1 AS d"
        )
        db.execute(
            """CREATE PROPERTY GRAPH g VERTEX TABLES (a KEY (id), b KEY (id))
            EDGE TABLES (e SOURCE KEY (s) REFERENCES a (id) DESTINATION KEY (d) REFERENCES b (id))"""
        )
        with pytest.raises(dbgnn.SchemaError, match="no edge leads to a node of type 'b'"):
            dbgnn.NeighborLoader(db.graph(), [2], ("b", None), where={"b": "id > 0"})
        backward = dbgnn.NeighborSampler(db.graph(), [2], where={"b": "id > 0"}, sample_direction="backward")
        assert backward.where == {"b": "id > 0"}


def test_explain_says_how_many_edges_are_left_and_shows_the_statement(db: dbgnn.Database) -> None:
    loader = dbgnn.NeighborLoader(db.graph(), [2, -1], ("movie", None), where={"rates": ["stars > 4", None]})
    left = len(rows(db, "rates", "stars > 4"))
    text = str(loader.explain(sql=True))
    assert f"lists of user-rates-movie in hop 1: {left} of 900 edges, " in text
    assert " in hop 2" not in text.partition("\n\n-- ")[0]
    assert "dbgnn_lists_of_g" in text
