"""NULL in a foreign key is no edge, and is counted: of every kind of key, in node and edge tables, in both directions."""

from __future__ import annotations

import re

import pytest

import dbgnn
from dbgnn.schema import to_sql

#: By name: the types of a key's columns, and four keys as SQL, in the order of their ids.
KEYS = {
    "BIGINT with gaps": (("BIGINT",), ("-3", "5", "6", "90")),
    "0 … N - 1": (("BIGINT",), ("0", "1", "2", "3")),
    "VARCHAR": (("VARCHAR",), ("''", "'NULL'", "'a'", "'b'")),
    "NOCASE": (("VARCHAR COLLATE NOCASE",), ("''", "'Ann'", "'bob'", "'c'")),
    "UUID": (("UUID",), tuple(f"'{n}0000000-0000-0000-0000-000000000001'" for n in range(1, 5))),
    "DATE": (("DATE",), tuple(f"'2024-01-0{n}'" for n in range(1, 5))),
    "DECIMAL": (("DECIMAL(20, 2)",), ("-1.5", "0", "1.25", "9")),
    "ENUM": (("ENUM('b', 'a', '', 'c')",), ("'b'", "'a'", "''", "'c'")),
    "two columns": (("INTEGER", "VARCHAR"), ("1, 'a'", "1, 'b'", "2, 'a'", "2, 'b'")),
}

#: The ids that rows refer to; None: NULL. Of two columns, the negative number -1 - i is id i with NULL in its second part.
BOSS = [None, 0, 0, None]
PAIRS = [(0, 1), (None, 1), (2, 3), (3, None), (None, None), (2, 2), (1, 0), (-2, 1), (0, -1)]

named = pytest.mark.parametrize("name", KEYS)


def written(keys: tuple[str, ...], width: int, end: int | None) -> str:
    """What refers to a key, as SQL; a key with a NULL part refers to none (MATCH SIMPLE)."""
    if end is None:
        return ", ".join(["NULL"] * width)
    if end >= 0:
        return keys[end]
    return f"{keys[-1 - end].partition(',')[0]}, NULL" if width > 1 else "NULL"


def made(name: str, *, no_null: bool = False) -> dbgnn.Database:
    kinds, keys = KEYS[name]
    width, columns = len(kinds), [f"k{i}" for i in range(len(kinds))]

    def own(prefix: str, more: str = "") -> str:
        return ", ".join(f"{prefix}{i} {kind}{more}" for i, kind in enumerate(kinds))

    def refers(prefix: str) -> str:
        return f"FOREIGN KEY ({', '.join(f'{prefix}{i}' for i in range(width))}) REFERENCES staff ({', '.join(columns)})"

    db = dbgnn.connect(progress=False)
    null = " NOT NULL" if no_null else ""
    db.execute(
        f"CREATE TABLE staff ({own('k')}, v BIGINT, {own('boss')}, PRIMARY KEY ({', '.join(columns)}), {refers('boss')});"
        f"CREATE TABLE knows ({own('a', null)}, {own('b', null)}, w BIGINT, {refers('a')}, {refers('b')})"
    )
    for i in (0, 1, 2, 3):  # one by one, since DuckDB checks a self-reference before the row is there
        db.execute(f"INSERT INTO staff VALUES ({keys[i]}, {i}, {written(keys, width, BOSS[i])})")
    for w, (a, b) in enumerate(PAIRS):
        if not no_null or (a is not None and b is not None and a >= 0 and b >= 0):
            db.execute(f"INSERT INTO knows VALUES ({written(keys, width, a)}, {written(keys, width, b)}, {w})")
    return db


EDGES = {(a, b, w) for w, (a, b) in enumerate(PAIRS) if a is not None and b is not None and a >= 0 and b >= 0}


@named
def test_null_is_no_edge_and_is_counted(name: str) -> None:
    with made(name) as db:
        graph = db.graph("inferred_both")
        label = "_".join(f"boss{i}" for i in range(len(KEYS[name][0])))
        text = str(graph)
        columns = [f"{end}{i}" for end in "ab" for i in range(len(KEYS[name][0]))]
        lost = len(PAIRS) - len(EDGES)
        assert text.count(f"no edge      {lost} rows of knows have no {' or '.join(columns)}\n") == 2  # both directions
        assert text.count(f"2 rows of staff have no {label.replace('_', ' or ')}\n") == 2
        report = graph.check()
        assert report.ok
        found = {f.label: (f.column, f.severity, f.count, f.total) for f in report.findings if f.what == "no edge"}
        knows = (", ".join(columns), "info", lost, len(PAIRS))
        boss = (label.replace("_", ", "), "info", 2, 4)
        assert found == {
            ("staff", "knows", "staff"): knows,
            ("staff", "rev_knows", "staff"): knows,
            ("staff", label, "staff"): boss,
            ("staff", f"rev_{label}", "staff"): boss,
        }
        graph.build()  # no dangling edge
        assert (graph.num_edges("knows"), graph.num_dropped("knows")) == (len(EDGES), 0)
        assert graph.num_edges(label) == 2
        for data in (graph.to_heterodata(), next(iter(dbgnn.NeighborLoader(graph, [-1], input_nodes="staff", batch_size=4)))):
            v = data["staff"].v
            for edge_type, ends in (("knows", (0, 1)), ("rev_knows", (1, 0))):
                store = data["staff", edge_type, "staff"]
                pairs = v[store.edge_index].T.tolist()
                assert {(p[ends[0]], p[ends[1]], w) for p, w in zip(pairs, store.w.tolist(), strict=True)} == EDGES


@named
def test_new_rows_with_null_leave_the_index_as_it_is(name: str) -> None:
    kinds, keys = KEYS[name]
    with made(name) as db:
        graph = db.graph().build()
        db.execute(f"INSERT INTO knows VALUES ({written(keys, len(kinds), None)}, {keys[1]}, 20)")
        assert f"{len(PAIRS) - len(EDGES) + 1} rows of knows have no a0" in str(graph)
        assert graph.num_edges("knows") == len(EDGES)
        db.execute(f"INSERT INTO knows VALUES ({keys[3]}, {keys[1]}, 21)")
        with pytest.raises(dbgnn.StaleIndexError, match=r"table 'knows' changed"):
            graph.num_edges("knows")
        assert graph.build().num_edges("knows") == len(EDGES) + 1
        store, _ = db.get_torch_geometric_remote_backend()
        assert store.get_tensor(("staff", "knows", "staff"), "w", None).tolist() == [*sorted(w for _, _, w in EDGES), 21]


@named
def test_what_cannot_be_null_has_no_condition(name: str) -> None:
    with made(name, no_null=True) as db:
        graph = db.graph("inferred_both")
        assert graph.definition.edge(("staff", "knows", "staff")).condition is None
        assert "rows of knows have no" not in str(graph)
        assert graph.build().num_edges("knows") == len(EDGES)


def test_a_declared_graph_takes_null_for_a_fault_unless_it_says_otherwise() -> None:
    with made("VARCHAR") as db:
        inferred = db.graph().definition
        db.execute(to_sql(inferred).replace("GRAPH inferred", "GRAPH copy"))
        db.execute(re.sub(r" WHERE [^,\n]*", "", to_sql(inferred)).replace("GRAPH inferred", "GRAPH strict"))
        assert db.graph("copy").build().num_edges("knows") == len(EDGES)
        assert "rows of knows have no" not in str(db.graph("strict"))
        lost = len(PAIRS) - len(EDGES)
        assert f"{lost} rows of knows have no a0 or b0" in str(db.graph("copy"))
        with pytest.raises(dbgnn.DataError, match=rf"^{lost} rows of edge table 'knows' .*a0=NULL.*dangling='drop'\)"):
            db.graph("strict").build()
        graph = db.graph("strict").build(dangling="drop")
        assert (graph.num_edges("knows"), graph.num_dropped("knows")) == (len(EDGES), lost)
        assert not db.graph("strict").check().ok


def test_a_condition_of_the_users_own_counts_nothing() -> None:
    with made("VARCHAR") as db:
        db.execute(
            """CREATE PROPERTY GRAPH own VERTEX TABLES (staff KEY (k0)) EDGE TABLES (knows SOURCE KEY (a0) REFERENCES staff
            DESTINATION KEY (b0) REFERENCES staff WHERE w IN (0, 2) AND b0 IS NOT NULL)"""
        )
        graph = db.graph("own").build()
        assert "no edge" not in str(graph)
        assert graph.num_edges("knows") == 2
