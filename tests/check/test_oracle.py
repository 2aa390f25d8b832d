"""Every count of `check()` against plain Python and NumPy, on random graphs with keys of three kinds."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dbgnn
from dbgnn.check import check

#: Per kind of key: SQL types of its columns, and the values one may have.
KEYS: dict[str, tuple[tuple[str, ...], list[tuple[Any, ...]]]] = {
    "integer": (("BIGINT",), [(v,) for v in (None, -1, 0, 1, 2, 3, 2**40)]),
    "text": (("VARCHAR",), [(v,) for v in (None, "", "a", "A", "o'k", "ü")]),
    "composite": (("INTEGER", "VARCHAR"), list(itertools.product((None, 0, 1), (None, "x", "y")))),
}
FLOATS = st.one_of(st.none(), st.sampled_from([math.nan, math.inf, -math.inf, 0.0, 1.5]))


@st.composite
def tables(draw: st.DrawFn) -> tuple[str, list[Any], list[Any]]:
    kind = draw(st.sampled_from(sorted(KEYS)))
    key = st.sampled_from(KEYS[kind][1])
    array = st.one_of(st.none(), st.lists(FLOATS, min_size=2, max_size=2))
    nodes = draw(st.lists(st.tuples(key, FLOATS, array), max_size=12))
    edges = draw(st.lists(st.tuples(key, key, array), max_size=25))
    return kind, nodes, edges


def expected(nodes: list[Any], edges: list[Any], name: str) -> dict[tuple[str, str, str | None], int]:
    """Counts by kind, ``"n"`` or ``"e"``, and column; without those that are 0."""
    found: Counter[tuple[str, str, str | None]] = Counter()
    keys = Counter(k for k, *_ in nodes if None not in k)
    found["NULL keys", "n", name.format("k")] = sum(None in k for k, *_ in nodes)
    found["duplicate keys", "n", name.format("k")] = sum(c - 1 for c in keys.values())
    for where, column, values in (
        ("n", "x", [[x] for _, x, _ in nodes]),
        ("n", "a", [a for *_, a in nodes]),
        ("e", "a", [a for *_, a in edges]),
    ):
        found["NULL", where, column] = sum(v is None or None in v for v in values)
        leaves = [[x for x in v or [] if x is not None] for v in values]
        found["NaN", where, column] = sum(any(map(math.isnan, v)) for v in leaves)
        found["Inf", where, column] = sum(any(map(math.isinf, v)) for v in leaves)
    found["dangling", "e", name.format("s")] = sum(s not in keys for s, *_ in edges)
    found["dangling", "e", name.format("d")] = sum(d not in keys for _, d, _ in edges)
    pairs = Counter((s, d) for s, d, _ in edges if None not in (*s, *d))
    found["duplicate edges", "e", None] = sum(c - 1 for c in pairs.values())
    found["self loops", "e", None] = sum(c for (s, d), c in pairs.items() if s == d)
    touched = {k for s, d, _ in edges for k in (s, d)}
    found["isolated", "n", None] = sum(None not in k and k not in touched for k, *_ in nodes)
    found["empty", "n", None], found["empty", "e", None] = 0, 0
    return {k: c for k, c in found.items() if c}


def table(columns: dict[str, tuple[str, list[Any]]]) -> pa.Table:
    kinds = {"BIGINT": pa.int64(), "INTEGER": pa.int32(), "VARCHAR": pa.string(), "DOUBLE": pa.float64()}
    kinds["FLOAT[2]"] = pa.list_(pa.float32(), 2)
    return pa.table({name: pa.array(values, kinds[kind]) for name, (kind, values) in columns.items()})


def keyed(prefix: str, types: tuple[str, ...], keys: list[tuple[Any, ...]]) -> dict[str, tuple[str, list[Any]]]:
    return {f"{prefix}{i}": (kind, [k[i] for k in keys]) for i, kind in enumerate(types)}


@pytest.fixture(scope="module")
def db() -> Any:
    with dbgnn.connect(threads=2) as db:
        yield db


@settings(max_examples=30)
@given(graph=tables())
def test_counts_are_those_of_the_oracle(db: dbgnn.Database, graph: tuple[str, list[Any], list[Any]]) -> None:
    kind, nodes, edges = graph
    types = KEYS[kind][0]
    n = table({**keyed("k", types, [k for k, *_ in nodes]), "x": ("DOUBLE", [x for _, x, _ in nodes]),
               "a": ("FLOAT[2]", [a for *_, a in nodes])})  # fmt: skip
    e = table({**keyed("s", types, [s for s, *_ in edges]), **keyed("d", types, [d for _, d, _ in edges]),
               "a": ("FLOAT[2]", [a for *_, a in edges])})  # fmt: skip
    name = ", ".join(f"{{0}}{i}" for i in range(len(types)))
    with db.relations(new_n=n, new_e=e) as con:
        con.execute("CREATE OR REPLACE TABLE n AS FROM new_n; CREATE OR REPLACE TABLE e AS FROM new_e")
    db.execute(
        f"CREATE OR REPLACE PROPERTY GRAPH g VERTEX TABLES (n KEY ({name.format('k')})) EDGE TABLES (e "
        f"SOURCE KEY ({name.format('s')}) REFERENCES n ({name.format('k')}) "
        f"DESTINATION KEY ({name.format('d')}) REFERENCES n ({name.format('k')}))"
    )
    report = check(db, db.graph("g").definition, progress=False)
    counted = {
        (f.what, f.label if isinstance(f.label, str) else f.label[1], f.column): f.count
        for f in report.findings
        if f.what not in ("degrees", "classes", "constant", "empty")
    }
    assert counted == expected(nodes, edges, name)
    assert {f.label if isinstance(f.label, str) else f.label[1] for f in report.findings if f.what == "empty"} == {
        label for label, rows in (("n", nodes), ("e", edges)) if not rows
    }
    keys = {k for k, *_ in nodes if None not in k}
    for end, prefix in ((0, "s"), (1, "d")):
        degrees = [f.detail for f in report.findings if f.what == "degrees" and f.column == name.format(prefix)]
        per_node = Counter(edge[end] for edge in edges)
        assert degrees == ([quantiles([per_node[k] for k in keys])] if keys else [])


def quantiles(degrees: list[int]) -> dict[str, float]:
    found = np.quantile(degrees, [0, 0.5, 0.9, 0.99, 1], method="inverted_cdf").astype(int).tolist()
    named = dict(zip(["min", "median", "p90", "p99", "max"], found, strict=True))
    return {"zero": degrees.count(0), "mean": pytest.approx(np.mean(degrees)), **named}
