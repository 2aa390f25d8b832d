"""Both forms against the oracle: random graphs with keys of many kinds, NULL and dangling ends, moved and deleted rows."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from itertools import product
from typing import Any

import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_geometric.utils import k_hop_subgraph

import dbgnn
from dbgnn import Database, DataError, query_to_heterodata
from tests.queries.oracle import Edges, EdgeType, Key, Nodes, assert_equal, kept, positions_of, reached

#: The edge types of every random graph: within a type, between types, and two with one middle.
TYPES: list[EdgeType] = [("a", "r", "a"), ("a", "s", "b"), ("b", "r", "a")]

DTYPES = {"y": torch.int16, "x": torch.float32, "b": torch.bool, "w": torch.int32, "v": torch.float64}

#: Keys that are tensors; others are lists.
TENSORS = {"BIGINT": torch.int64, "INTEGER": torch.int32, "UBIGINT": torch.uint64}


@dataclass(frozen=True)
class Kind:
    """A kind of key: the SQL types of its columns in node and edge tables, and values in ascending order."""

    node: tuple[str, ...]
    edge: tuple[str, ...]
    values: list[Key]


def one(node: str, edge: str, *values: Any) -> Kind:
    return Kind((node,), (edge,), [(v,) for v in values])


KINDS = {
    "neighbours": one("BIGINT", "BIGINT", *range(-2, 8)),
    "gaps": one("BIGINT", "BIGINT", -(2**63), -(2**63) + 1, -5, 0, 1, 2, 2**40, 2**63 - 1),
    "narrow": one("INTEGER", "BIGINT", -(2**31), -1, 0, 1, 2, 3, 2**31 - 1),
    "narrow ends": one("BIGINT", "SMALLINT", -(2**15), -1, 0, 1, 2, 3, 2**15 - 1),
    "unsigned": one("UBIGINT", "UBIGINT", 0, 1, 2, 3, 2**63, 2**64 - 1),
    "signs": one("BIGINT", "UBIGINT", 0, 1, 2, 3, 4, 2**63 - 1),
    "huge": one("HUGEINT", "HUGEINT", -(2**100), 0, 1, 2**64, 2**100, 2**100 + 1),
    "decimal": one("DECIMAL(9, 2)", "DECIMAL(9, 2)", *(Decimal(v) / 100 for v in (-150, -1, 0, 1, 99, 100))),
    "text": one("VARCHAR", "VARCHAR", "", " ", "A", "a", "a ", "o'k", "ü", "😀"),
    "uuid": one("UUID", "UUID", *(uuid.UUID(int=i) for i in (0, 1, 2**64, 2**127, 2**128 - 1))),
    "date": one("DATE", "DATE", *(dt.date(*d) for d in ((1, 1, 1), (1969, 12, 31), (1970, 1, 1), (2024, 2, 29)))),
    "bytes": one("BLOB", "BLOB", b"", b"a", b"b", b"b'"),
    "composite": Kind(("INTEGER", "VARCHAR"), ("BIGINT", "VARCHAR"), list(product((-1, 0, 1), ("", "x", "y")))),
}


@dataclass
class Graph:
    """A random graph, in tables ``n_a``, ``n_b``, ``e_0`` …, read back from them in the order of their rows."""

    kinds: dict[str, Kind]
    nodes: dict[str, Nodes]
    edges: dict[EdgeType, Edges]

    def key(self, label: str, prefix: str | None = None) -> str:
        """The key columns of a node type, ``a0, a1``; with a prefix those of edges."""
        return ", ".join(f"{prefix or label}{i}" for i in range(len(self.kinds[label].node)))


def partly(draw: st.DrawFn, keys: list[Key]) -> st.SearchStrategy[Key]:
    """Keys, and rarely one that is NULL, in all its columns or in one."""
    null = [tuple(None if i in gone else v for i, v in enumerate(keys[0])) for gone in ((0,), range(len(keys[0])))]
    return st.sampled_from(keys * 4 + null) if draw(st.booleans()) else st.sampled_from(keys)


@st.composite
def graphs(draw: st.DrawFn) -> dict[str, Any]:
    """What `make` fills tables with."""
    kinds = {label: KINDS[draw(st.sampled_from(sorted(KINDS)))] for label in "ab"}
    nodes, edges = {}, {}
    small = st.integers(0, 3)
    for label, kind in kinds.items():
        if draw(st.booleans()):  # neighbours in order
            start, stop = sorted(draw(st.tuples(*[st.integers(0, len(kind.values))] * 2)))
            keys = kind.values[start:stop]
        else:
            keys = draw(st.lists(st.sampled_from(kind.values), unique=True))
        nodes[label] = [(k, draw(small)) for k in keys]
    for edge_type in TYPES:
        # Ends among the nodes, or among all keys, so that some edges dangle.
        ends = []
        for label in edge_type[::2]:
            there = [k for k, _ in nodes[label]]
            ends.append(partly(draw, kinds[label].values if not there or draw(st.booleans()) else there))
        edges[edge_type] = draw(st.lists(st.tuples(*ends, small), max_size=20))
    return {"kinds": kinds, "nodes": nodes, "edges": edges, "change": draw(st.sampled_from(["none", "delete", "update"]))}


def text(value: Any) -> str | None:
    """How a value is written so that DuckDB casts it back."""
    return None if value is None else value.decode() if isinstance(value, bytes) else str(value)


def make(db: Database, given: dict[str, Any]) -> Graph:
    """Fill the tables, declare the property graph ``g``, and read the tables back by plain DuckDB."""
    kinds, con = given["kinds"], db.connection
    graph = Graph(kinds, {}, {})
    declared = []
    for label, rows in given["nodes"].items():
        own = kinds[label]
        keys = {f"{label}{i}": (t, [k[i] for k, _ in rows]) for i, t in enumerate(own.node)}
        extra = "y::SMALLINT AS y, [y, y + 0.5]::FLOAT[2] AS x, y % 2 = 1 AS b"
        table = fill(db, f"n_{label}", keys, [y for _, y in rows], extra, given["change"])
        graph.nodes[label] = Nodes([r[:-3] for r in table], columns_of(table, "yxb"))
        declared.append(f"n_{label} KEY ({graph.key(label)}) LABEL {label}")
    ends = []
    for i, (edge_type, rows) in enumerate(given["edges"].items()):
        first, second = (kinds[label] for label in edge_type[::2])
        keys = {f"s{j}": (t, [s[j] for s, _, _ in rows]) for j, t in enumerate(first.edge)}
        keys |= {f"d{j}": (t, [d[j] for _, d, _ in rows]) for j, t in enumerate(second.edge)}
        table = fill(db, f"e_{i}", keys, [w for *_, w in rows], "y::INTEGER AS w, [y]::DOUBLE[1] AS v", given["change"])
        cut = len(first.edge)
        graph.edges[edge_type] = Edges([(r[:cut], r[cut:-2]) for r in table], columns_of(table, "wv"))
        source, _, destination = edge_type
        ends.append(
            f"e_{i} SOURCE KEY ({graph.key(source, 's')}) REFERENCES {source} ({graph.key(source)}) "
            f"DESTINATION KEY ({graph.key(destination, 'd')}) REFERENCES {destination} ({graph.key(destination)}) "
            f"LABEL {edge_type[1]}"
        )
    db.execute(f"CREATE OR REPLACE PROPERTY GRAPH g VERTEX TABLES ({', '.join(declared)}) EDGE TABLES ({', '.join(ends)})")
    assert con.execute("SELECT count(*) FROM duckdb_tables() WHERE table_name ~ '^[ne]_'").fetchall() == [(5,)]
    return graph


def fill(db: Database, name: str, keys: dict[str, Any], y: list[int], extra: str, change: str) -> list[tuple[Any, ...]]:
    """Make one table, and return its rows in the order of their rowids."""
    con = db.connection
    given = pa.table({**{k: pa.array([text(v) for v in values], pa.string()) for k, (_, values) in keys.items()},
                      "y": pa.array(y, pa.int64())})  # fmt: skip
    con.register("given", given)
    cast = ", ".join(f"{k}::{kind} AS {k}" for k, (kind, _) in keys.items())
    con.execute(f"CREATE OR REPLACE TABLE {name} AS SELECT {cast}, {extra} FROM given")
    con.unregister("given")
    value = extra.partition(" AS ")[2].partition(",")[0]
    if change == "delete":  # rows between the others, gone again
        con.execute(f"INSERT INTO {name} SELECT * REPLACE (-1 AS {value}) FROM {name}; INSERT INTO {name} FROM {name}")
        con.execute(f"DELETE FROM {name} WHERE {value} = -1 OR rowid < {len(y)}")
    elif change == "update":  # of an array column, which moves rows
        array = extra.rpartition("AS ")[2] if value == "w" else "x"
        con.execute(f"UPDATE {name} SET {array} = {array} WHERE {value} % 2 = 0")
    rows: list[tuple[Any, ...]] = con.execute(f"SELECT * FROM {name} ORDER BY rowid").fetchall()
    return rows


def columns_of(rows: list[tuple[Any, ...]], names: str) -> dict[str, list[Any]]:
    return {name: [r[i - len(names)] for r in rows] for i, name in enumerate(names)}


@pytest.fixture(scope="module")
def databases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[int, Database]]:
    """A database by number of threads."""
    folder = tmp_path_factory.mktemp("oracle")
    opened = {n: dbgnn.connect(folder / f"{n}.duckdb", threads=n, progress=False) for n in (1, 2)}
    yield opened
    for db in opened.values():
        db.close()


@settings(max_examples=20)
@given(given=graphs(), threads=st.sampled_from([1, 2]), least=st.tuples(*[st.integers(0, 2)] * 2), columns=st.booleans())
def test_by_type(
    databases: dict[int, Database], given: dict[str, Any], threads: int, least: tuple[int, int], columns: bool
) -> None:
    db = databases[threads]
    graph = make(db, given)
    served, on_edges = (["y", "x", "b"], ["w", "v"]) if columns else ([], [])
    queries, nodes = {}, {}
    for label in "ab":
        order = f"y DESC, {graph.key(label)}"
        select = ", ".join([graph.key(label), *served])
        queries[label] = f"SELECT {select} FROM n_{label} WHERE y >= {least[0]} ORDER BY {order}"
        chosen = graph.nodes[label].where("y", least[0]).by_key()
        chosen = chosen.only(sorted(range(len(chosen.keys)), key=lambda i, c=chosen: -c.columns["y"][i]))  # type: ignore[misc]
        keys = {f"{label}{i}": [k[i] for k in chosen.keys] for i in range(len(graph.kinds[label].node))}
        nodes[label] = Nodes(chosen.keys, {**keys, **{c: chosen.columns[c] for c in served}})
    edges = {t: graph.edges[t].where("w", least[1]) for t in TYPES}
    edges = {t: Edges(e.ends, {c: e.columns[c] for c in on_edges}) for t, e in edges.items()}
    texts = {}
    for i, (source, relation, destination) in enumerate(TYPES):
        select = ", ".join([graph.key(source, "s"), graph.key(destination, "d"), *on_edges])
        texts[source, relation, destination] = f"SELECT {select} FROM e_{i} WHERE w >= {least[1]}"
    composite = {label: tuple(graph.key(label).split(", ")) for label in "ab"}
    data = query_to_heterodata(db, nodes=queries, edges=texts, keys=composite, progress=False)
    for label, kind in graph.kinds.items():
        assert isinstance(data[label][f"{label}0"], torch.Tensor) == (kind.node[0] in TENSORS)
    dtypes = {f"{label}0": TENSORS[kind.node[0]] for label, kind in graph.kinds.items() if kind.node[0] in TENSORS}
    assert_equal(data, nodes, edges, DTYPES | dtypes)
    assert data.num_dropped == {t: len(e.ends) - len(kept(t, e, nodes)) for t, e in edges.items()}
    assert data.num_dangling == {t: len(e.ends) - len(kept(t, e, graph.nodes)) for t, e in edges.items()}


@settings(max_examples=20)
@given(given=graphs(), threads=st.sampled_from([1, 2]), where=st.fixed_dictionaries({}, optional={
    "a": st.integers(0, 3), "b": st.integers(0, 3), ("a", "s", "b"): st.integers(0, 3)}), build=st.booleans())  # fmt: skip
def test_by_graph(
    databases: dict[int, Database], given: dict[str, Any], threads: int, where: dict[Any, int], build: bool
) -> None:
    db = databases[threads]
    graph = make(db, given)
    conditions = {label: f"{'y' if isinstance(label, str) else 'w'} >= {least}" for label, least in where.items()}
    nodes = {label: (n.where("y", where[label]) if label in where else n).by_key() for label, n in graph.nodes.items()}
    edges = {t: e.where("w", where[t]) if t in where else e for t, e in graph.edges.items()}
    gone = {t: len(e.ends) - len(kept(t, e, nodes)) for t, e in edges.items()}
    filtered = [label for label in where if isinstance(label, str)]
    strict = [t for t in TYPES if gone[t] and not {t[0], t[2]} & set(filtered)]
    if strict:
        with pytest.raises(DataError, match="dangling='drop'"):
            db.graph("g").to_heterodata(conditions, keys=False, progress=False)
    dangling = "drop" if strict else None
    data = db.graph("g").to_heterodata(conditions, keys=False, dangling=dangling, progress=False)
    assert_equal(data, nodes, edges, DTYPES)
    counted = {t: n for t, n in gone.items() if strict or {t[0], t[2]} & set(filtered)}
    assert getattr(data, "num_dropped", {}) == counted
    dangling_ends = {t: len(edges[t].ends) - len(kept(t, edges[t], graph.nodes)) for t in counted}
    assert getattr(data, "num_dangling", {}) == dangling_ends
    if build and not where:  # the index knows the same nodes and edges by the same numbers
        index = db.graph("g").build(dangling="drop", progress=False)
        features, topology = db.get_torch_geometric_remote_backend(index)
        for label, n in nodes.items():
            if graph.kinds[label] is not KINDS["huge"]:  # which ids() takes as Arrow arrays only
                keys = [k if len(k) > 1 else k[0] for k in n.keys]
                assert features.ids(label, keys).tolist() == list(range(len(keys)))
        for t in TYPES:
            assert torch.equal(torch.stack(topology.get_edge_index(t, "coo")), data[t].edge_index)


@settings(max_examples=10)
@given(given=graphs(), threads=st.sampled_from([1, 2]), hops=st.integers(0, 3), seed=st.integers(0, 3),
       least=st.none() | st.integers(0, 2))  # fmt: skip
def test_hops(
    databases: dict[int, Database], given: dict[str, Any], threads: int, hops: int, seed: int, least: int | None
) -> None:
    db = databases[threads]
    graph = make(db, given)
    where = {} if least is None else {"a": f"y >= {least}", ("a", "r", "a"): f"w >= {least}"}
    nodes = {label: n.by_key() for label, n in graph.nodes.items()}
    edges = dict(graph.edges)
    if least is not None:
        nodes["a"] = nodes["a"].where("y", least)
        edges["a", "r", "a"] = edges["a", "r", "a"].where("w", least)
    there = {t: e.only(kept(t, e, nodes)) for t, e in edges.items()}
    seeds = {"a": [k for k, y in zip(nodes["a"].keys, nodes["a"].columns["y"], strict=True) if y == seed]}
    near = reached(nodes, there, seeds, hops)
    chosen = {label: n.only(near[label]) for label, n in nodes.items()}
    data = db.graph("g").to_heterodata(where, seeds=("a", f"y = {seed}"), hops=hops, keys=False, progress=False)
    for label, n in chosen.items():
        assert data[label].seed_mask.tolist() == [k in seeds.get(label, []) for k in n.keys]
        assert data[label].seed_mask.dtype == torch.bool
        del data[label]["seed_mask"]
    assert_equal(data, chosen, edges, DTYPES)

    # PyG's own answer within one node type, where the others lead nowhere
    alone = there["a", "r", "a"]
    at = positions_of(nodes["a"])
    index = torch.tensor([[at[s], at[d]] for s, d in alone.ends], dtype=torch.int64).view(-1, 2).T
    start = torch.tensor([at[k] for k in seeds["a"]], dtype=torch.int64)
    subset, *_ = k_hop_subgraph(start, hops, index, num_nodes=len(at))
    assert set(subset.tolist()) <= set(near["a"])
    if not there["b", "r", "a"].ends:
        assert subset.tolist() == near["a"]
