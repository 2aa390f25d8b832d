"""One way to name a node or edge type, in every argument that names one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

import dbgnn
from dbgnn.errors import near_misses

CITES = ("paper", "cites", "paper")
WROTE = ("writer", "wrote", "paper")
OLD, NEW = ("paper", "in", "journal"), ("paper", "in", "venue")


@pytest.fixture
def db() -> Iterator[dbgnn.Database]:
    """Two edge types have one middle; the table author is the node type writer; the table notes is no part of the graph."""
    with dbgnn.connect(progress=False) as db:
        db.execute(
            """CREATE TABLE paper AS SELECT i AS id, i::FLOAT AS x FROM range(6) t(i);
            CREATE TABLE author AS SELECT i AS id, i::FLOAT AS x FROM range(3) t(i);
            CREATE TABLE journal AS SELECT i AS id FROM range(2) t(i);
            CREATE TABLE venue AS SELECT i AS id FROM range(2) t(i);
            CREATE TABLE notes (id BIGINT);
            CREATE TABLE cites AS SELECT i AS s, (i + 1) % 6 AS d, i::FLOAT AS w FROM range(6) t(i);
            CREATE TABLE wrote AS SELECT i % 3 AS a, i AS p, i::FLOAT AS w FROM range(6) t(i);
            CREATE TABLE in_journal AS SELECT i AS p, i % 2 AS j FROM range(6) t(i);
            CREATE TABLE in_venue AS SELECT i AS p, i % 2 AS v FROM range(6) t(i)"""
        )
        db.execute(
            """CREATE PROPERTY GRAPH g
              VERTEX TABLES (paper KEY (id), author KEY (id) LABEL writer, journal KEY (id), venue KEY (id))
              EDGE TABLES (
                cites SOURCE KEY (s) REFERENCES paper (id) DESTINATION KEY (d) REFERENCES paper (id),
                wrote SOURCE KEY (a) REFERENCES author (id) DESTINATION KEY (p) REFERENCES paper (id),
                in_journal SOURCE KEY (p) REFERENCES paper (id) DESTINATION KEY (j) REFERENCES journal (id) LABEL "in",
                in_venue SOURCE KEY (p) REFERENCES paper (id) DESTINATION KEY (v) REFERENCES venue (id) LABEL "in")"""
        )
        yield db


def fan_out(db: dbgnn.Database, name: Any) -> Any:
    sampler = dbgnn.NeighborSampler(db.graph(), {t: [1] for t in db.graph().edge_types if t != WROTE} | {name: [2]})
    return sampler.fanout.num_neighbors[WROTE]


def columns(db: dbgnn.Database, name: Any) -> Any:
    store, _ = db.get_torch_geometric_remote_backend(columns={name: ["w"]})
    return [a.attr_name for a in store.get_all_tensor_attrs() if a.group_name == WROTE]


def store(db: dbgnn.Database) -> dbgnn.DuckDBFeatureStore:
    return db.get_torch_geometric_remote_backend()[0]


def put(db: dbgnn.Database, name: Any) -> Any:
    before = db.graph().node_types
    assert store(db).put_tensor(torch.full((1,), 7.0), group_name=name, attr_name="w", index=[0])
    assert db.graph().node_types == before
    return store(db).get_tensor(WROTE, "w", index=[0]).tolist()


def by_type(db: dbgnn.Database, name: Any) -> Any:
    data = dbgnn.query_to_heterodata(
        db,
        nodes={"paper": "SELECT id FROM paper", "writer": "SELECT id FROM author"},
        edges={WROTE: "SELECT a, p, w FROM wrote", CITES: "SELECT s, d FROM cites"},
        splits={name: {"train": "w < 3"}},
    )
    return data[WROTE].train_mask.tolist()


EDGES: dict[str, Callable[[dbgnn.Database, Any], Any]] = {
    "num_edges": lambda db, name: db.graph().num_edges(name),
    "num_dropped": lambda db, name: db.graph().num_dropped(name),
    "num_neighbors": fan_out,
    "columns": columns,
    "get_tensor": lambda db, name: store(db).get_tensor(name, "w", index=[1]).tolist(),
    "get_tensor_size": lambda db, name: store(db).get_tensor_size(group_name=name, attr_name="w"),
    "keys": lambda db, name: store(db).keys(name, [1]),
    "fill": lambda db, name: store(db).fill(name, "w", 0).fills(WROTE),
    "put_tensor": put,
    "get_edge_index": lambda db, name: db.get_torch_geometric_remote_backend()[1].get_edge_index(name, "coo")[0].tolist(),
    "write_back": lambda db, name: db.graph().write_back(name, n_id=[0], pred=torch.ones(1)),
    "to_heterodata": lambda db, name: db.graph().to_heterodata({name: "w < 3"})[WROTE].w.tolist(),
    "encoders": lambda db, name: list(db.graph().to_heterodata(encoders={name: {"z": dbgnn.Normalize("w")}})[WROTE].keys()),
    "splits": lambda db, name: db.graph().to_heterodata(splits={name: {"train": "w < 3"}})[WROTE].train_mask.tolist(),
    "by type": by_type,
}


@pytest.mark.parametrize("name", [list(WROTE), "wrote", ("writer", "paper"), "writer__wrote__paper"], ids=str)
@pytest.mark.parametrize("argument", EDGES)
def test_an_edge_type_is_named_by_triple_middle_or_ends(db: dbgnn.Database, argument: str, name: Any) -> None:
    if isinstance(name, list) and argument in {"num_neighbors", "columns", "to_heterodata", "encoders", "splits", "by type"}:
        name = tuple(name)  # the key of a dict
    ask = EDGES[argument]
    found = ask(db, name)
    assert found == ask(db, WROTE)
    assert found is not None


@pytest.mark.parametrize("argument", EDGES)
def test_a_name_of_several_edge_types_is_an_error_that_lists_them(db: dbgnn.Database, argument: str) -> None:
    if argument == "by type":
        pytest.skip("its queries have one edge type of each name")
    message = r"several edge types that 'in' may mean.*\('paper', 'in', 'journal'\), \('paper', 'in', 'venue'\)"
    with pytest.raises(dbgnn.SchemaError, match=message):
        EDGES[argument](db, "in")


NODES: dict[str, Callable[[dbgnn.Database, Any], Any]] = {
    "num_nodes": lambda db, name: db.graph().num_nodes(name),
    "columns": lambda db, name: db.get_torch_geometric_remote_backend(columns={name: []}),
    "get_tensor": lambda db, name: store(db).get_tensor(name, "x", index=[0]),
    "ids": lambda db, name: store(db).ids(name, [0]),
    "fill": lambda db, name: store(db).fill(name, "x", 0),
    "input_nodes": lambda db, name: dbgnn.NeighborLoader(db.graph(), [1], input_nodes=(name, [0])),
    "write_back": lambda db, name: db.graph().write_back(name, n_id=[0], p=torch.ones(1)),
    "encode": lambda db, name: db.graph().encode(name, "z", dbgnn.Normalize("x")),
    "to_heterodata": lambda db, name: db.graph().to_heterodata({name: "true"}),
    "seeds": lambda db, name: db.graph().to_heterodata(seeds=(name, "true")),
}


@pytest.mark.parametrize("argument", NODES)
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("author", r"no node type 'author'; table 'author' is 'writer'"),
        ("notes", r"no node type 'notes'; 'notes' is a table, but no part of this graph"),
        ("Paper", r"did you mean 'paper'\? Case and spaces count\."),
        ("paper ", r"did you mean 'paper'\? Case and spaces count\."),
        ("papr", r"did you mean 'paper'\? \(there are"),
    ],
)
def test_what_is_no_node_type_is_an_error_that_says_what_it_is(
    db: dbgnn.Database, argument: str, name: str, message: str
) -> None:
    if name == "notes" and argument == "seeds":
        message = "no node type 'notes'"  # asked of the definition alone
    with pytest.raises(dbgnn.UnknownNameError, match=message):
        NODES[argument](db, name)


def test_a_type_of_the_other_kind_is_told(db: dbgnn.Database) -> None:
    with pytest.raises(dbgnn.UnknownNameError, match="no edge type 'paper', but a node type of this name"):
        db.graph().num_edges("paper")
    with pytest.raises(dbgnn.UnknownNameError, match="no node type 'cites', but an edge type of this name"):
        db.graph().num_nodes("cites")


def test_one_type_named_twice_is_an_error(db: dbgnn.Database) -> None:
    with pytest.raises(dbgnn.SchemaError, match="named twice, the second time as 'wrote'"):
        db.graph().to_heterodata({WROTE: "w < 3", "wrote": "w > 1"})
    with pytest.raises(dbgnn.SchemaError, match="named twice"):
        db.get_torch_geometric_remote_backend(columns={WROTE: ["w"], "wrote": []})


def test_what_was_given_is_never_proposed() -> None:
    assert "did you mean" not in near_misses("author", ["author", "paper"])
    assert near_misses("Author", ["author"]) == "; did you mean 'author'? Case and spaces count. (there are: author)"
