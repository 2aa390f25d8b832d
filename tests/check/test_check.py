"""`check()` on small graphs with every defect: counts, examples, remedies, and what is said of graphs without any."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import dbgnn
from dbgnn.check import CheckReport, Finding, check
from tests.test_public import imported_by

GRAPH = """
    CREATE PROPERTY GRAPH g
      VERTEX TABLES (paper KEY (id), author KEY (first, last))
      EDGE TABLES (
        cites SOURCE KEY (src) REFERENCES paper (id) DESTINATION KEY (dst) REFERENCES paper (id),
        cites SOURCE KEY (dst) REFERENCES paper (id) DESTINATION KEY (src) REFERENCES paper (id) LABEL rev_cites,
        wrote SOURCE KEY (first, last) REFERENCES author (first, last) DESTINATION KEY (paper) REFERENCES paper (id)
      );
"""

DEFECTS = """
    CREATE TABLE paper (id BIGINT, x FLOAT[2], z DOUBLE[2][2], v DOUBLE, y INTEGER, c INTEGER, l FLOAT[], m FLOAT[]);
    INSERT INTO paper VALUES
      (1, [1, 2], [[1, 2], [3, 4]], 1.5, 0, 7, [1, 2], [1]),
      (2, [1, 'nan'::FLOAT], [[1, 2], [3, NULL]], 'nan'::DOUBLE, 0, 7, [1, 2], [1]),
      (2, ['-inf'::FLOAT, 1], [NULL, [3, 4]], 'inf'::DOUBLE, 1, 7, [1, 2, 3], [2]),
      (NULL, [1, NULL], [[1, 2], [3, 'nan'::DOUBLE]], 1, 1, 7, [NULL, NULL], [3]),
      (3, NULL, NULL, NULL, NULL, 7, NULL, NULL),
      (4, [5, 6], [[1, 2], [3, 4]], 2, 0, 7, [], [4]);
    CREATE TABLE author (first VARCHAR, last VARCHAR, active BOOLEAN);
    INSERT INTO author VALUES
      ('Ada', 'L', true), ('Ada', 'M', true), ('Alan', 'T', false), (NULL, 'X', true), ('Ada', 'L', true);
    CREATE TABLE cites (src BIGINT, dst BIGINT, w FLOAT);
    INSERT INTO cites VALUES
      (1, 2, 1), (1, 2, 2), (1, 2, 3), (2, 1, NULL), (3, 3, 'inf'::FLOAT), (9, 1, 1), (8, 7, 1), (NULL, 1, 1);
    CREATE TABLE wrote (first VARCHAR, last VARCHAR, paper BIGINT);
    INSERT INTO wrote VALUES ('Ada', 'L', 1), ('Ada', 'L', 2), ('Ada', 'T', 1);
"""

CITES, REV_CITES, WROTE = ("paper", "cites", "paper"), ("paper", "rev_cites", "paper"), ("author", "wrote", "paper")


def checked(db: dbgnn.Database, name: str | None = None) -> CheckReport:
    return check(db, db.graph(name).definition, progress=False)


def counts(report: CheckReport, *severities: str) -> dict[tuple[object, ...], int]:
    return {(f.what, f.label, f.column): f.count for f in report.findings if f.severity in severities}


def one(report: CheckReport, what: str, label: object, column: str | None = None) -> Finding:
    (found,) = [f for f in report.findings if (f.what, f.label, f.column) == (what, label, column)]
    return found


@pytest.fixture
def defects(tmp_path: Path) -> Path:
    path = tmp_path / "defects.duckdb"
    with dbgnn.connect(path) as db:
        db.execute(DEFECTS + GRAPH)
    return path


def test_every_defect_is_counted(defects: Path) -> None:
    with dbgnn.connect(defects, read_only=True) as db:
        report = checked(db)
    assert not report.ok
    assert counts(report, "error") == {
        ("NULL keys", "paper", "id"): 1,
        ("duplicate keys", "paper", "id"): 1,
        ("NULL", "paper", "x"): 2,
        ("NULL", "paper", "z"): 3,
        ("NULL", "paper", "v"): 1,
        ("NULL", "paper", "y"): 1,
        ("NULL keys", "author", "first, last"): 1,
        ("duplicate keys", "author", "first, last"): 1,
        ("NULL", CITES, "w"): 1,
        ("dangling", CITES, "src"): 3,
        ("dangling", CITES, "dst"): 1,
        ("dangling", REV_CITES, "src"): 3,
        ("dangling", REV_CITES, "dst"): 1,
        ("dangling", WROTE, "first, last"): 1,
    }
    assert counts(report, "warning") == {
        ("NaN", "paper", "x"): 1,
        ("Inf", "paper", "x"): 1,
        ("NaN", "paper", "z"): 1,
        ("NaN", "paper", "v"): 1,
        ("Inf", "paper", "v"): 1,
        ("Inf", CITES, "w"): 1,
        ("ragged", "paper", "l"): 2,
        ("lists", "paper", "m"): 5,
        ("duplicate edges", CITES, None): 2,
        ("isolated", "paper", None): 1,
        ("isolated", "author", None): 2,
    }
    assert {what for what, *_ in counts(report, "info")} == {"degrees", "classes", "constant", "self loops"}
    assert report.num_rows == {"paper": 6, "author": 5, CITES: 8, REV_CITES: 8, WROTE: 3}
    assert report.problems == (*report.errors, *report.warnings)
    assert [f.severity for f in report.findings] == sorted(
        (f.severity for f in report.findings), key="error warning info".index
    )


def test_findings_name_keys_and_remedies(defects: Path) -> None:
    with dbgnn.connect(defects, read_only=True) as db:
        report = checked(db)
    assert one(report, "duplicate keys", "paper", "id").examples == (2,)
    assert one(report, "duplicate keys", "author", "first, last").examples == (("Ada", "L"),)
    assert one(report, "NULL keys", "author", "first, last").examples == ((None, "X"),)
    assert one(report, "NaN", "paper", "x").examples == (2,)
    assert one(report, "Inf", CITES, "w").examples == ((3, 3),)
    assert one(report, "duplicate edges", CITES).examples == ((1, 2),)
    assert one(report, "self loops", CITES).examples == ((3, 3),)
    assert one(report, "isolated", "author").examples == (("Ada", "M"), ("Alan", "T"))
    dangling = one(report, "dangling", CITES, "src")
    assert (dangling.examples, dangling.total) == ((8, 9), 8)
    assert "1 of them NULL" in dangling.text
    assert "dangling='drop'" in dangling.remedy
    assert one(report, "dangling", WROTE, "first, last").examples == (("Ada", "T"),)
    assert "feature_store.fill('paper', 'x', 0)" in one(report, "NULL", "paper", "x").remedy
    ragged = one(report, "ragged", "paper", "l")
    assert ragged.detail == {"2": 3, "0": 1, "3": 1}
    assert ragged.examples == (2, 4)
    assert "FLOAT[2]" in ragged.remedy
    assert one(report, "constant", "paper", "c").total == 6
    balance = one(report, "classes", "paper", "y")
    assert (balance.count, balance.detail) == (5, {"0": 3, "1": 2})
    assert one(report, "classes", "author", "active").detail == {"true": 4, "false": 1}


def test_the_remedies_work(tmp_path: Path) -> None:
    with dbgnn.connect(tmp_path / "g.duckdb") as db:
        db.execute(
            "CREATE TABLE n (id BIGINT, l FLOAT[], m DOUBLE[]);"
            "INSERT INTO n VALUES (0, [1, 2], [1]), (1, [3, 4], [2, 3]), (2, [5, 6], [4]);"
            "CREATE TABLE e (s BIGINT, d BIGINT); INSERT INTO e VALUES (0, 1), (1, 2), (2, 7);"
            "CREATE PROPERTY GRAPH g VERTEX TABLES (n KEY (id)) EDGE TABLES "
            "(e SOURCE KEY (s) REFERENCES n (id) DESTINATION KEY (d) REFERENCES n (id))"
        )
        report = checked(db)
        assert not report.ok
        with pytest.raises(dbgnn.DataError, match="dangling"):
            db.graph().build()
        db.execute(one(report, "lists", "n", "l").remedy.partition(": ")[2].removesuffix("."))
        db.execute(one(report, "ragged", "n", "m").remedy.partition(": ")[2].removesuffix("."))
        db.execute("DELETE FROM e WHERE d = 7")
        after = checked(db)
        assert after.ok
        assert {f.what for f in after.warnings} == set()
        db.graph().build()


def test_a_graph_without_defects(tmp_path: Path) -> None:
    with dbgnn.connect(tmp_path / "g.duckdb") as db:
        db.execute(
            "CREATE TABLE n AS SELECT i AS id, i % 3 AS y, [i, 1]::FLOAT[2] AS x FROM range(300) t(i);"
            "CREATE TABLE e AS SELECT i AS s, (i + 1) % 300 AS d FROM range(300) t(i);"
            "CREATE PROPERTY GRAPH g VERTEX TABLES (n KEY (id)) EDGE TABLES "
            "(e SOURCE KEY (s) REFERENCES n (id) DESTINATION KEY (d) REFERENCES n (id))"
        )
        report = checked(db)
    assert report.ok
    assert report.problems == ()
    assert "no errors, no warnings" in str(report)
    degrees = one(report, "degrees", ("n", "e", "n"), "s").detail
    assert degrees == {"zero": 0, "min": 1, "median": 1, "mean": 1.0, "p90": 1, "p99": 1, "max": 1}
    assert one(report, "classes", "n", "y").detail == {"0": 100, "1": 100, "2": 100}


def test_empty_tables(tmp_path: Path) -> None:
    with dbgnn.connect(tmp_path / "g.duckdb") as db:
        db.execute(
            "CREATE TABLE n (id BIGINT, x FLOAT[2], l FLOAT[]); CREATE TABLE e (s BIGINT, d BIGINT, w FLOAT);"
            "CREATE PROPERTY GRAPH g VERTEX TABLES (n KEY (id)) EDGE TABLES "
            "(e SOURCE KEY (s) REFERENCES n (id) DESTINATION KEY (d) REFERENCES n (id))"
        )
        report = checked(db)
        assert counts(report, "error", "warning", "info") == {("empty", "n", None): 0, ("empty", ("n", "e", "n"), None): 0}
        db.execute("INSERT INTO n VALUES (1, [1, 2], NULL)")
        report = checked(db)
    assert one(report, "degrees", ("n", "e", "n"), "d").detail["zero"] == 1
    assert one(report, "isolated", "n").examples == (1,)
    assert report.ok


def test_foreign_keys_that_are_null_are_no_edges(tmp_path: Path) -> None:
    with dbgnn.connect(tmp_path / "g.duckdb") as db:
        db.execute(
            "CREATE TABLE city (name VARCHAR PRIMARY KEY, size INTEGER);"
            "CREATE TABLE customer (id INTEGER PRIMARY KEY, age INTEGER, city VARCHAR REFERENCES city (name));"
            "INSERT INTO city VALUES ('A', 1), ('B', 2), ('C', 3);"
            "INSERT INTO customer VALUES (1, 20, 'A'), (2, 30, 'A'), (3, NULL, NULL), (4, 40, 'B')"
        )
        report = checked(db)
        db.graph().build()
        (edge_type,) = db.graph().edge_types
        assert report.num_rows[edge_type] == db.graph().num_edges(edge_type) == 3
    assert counts(report, "error") == {("NULL", "customer", "age"): 1}
    assert counts(report, "warning") == {("isolated", "city", None): 1, ("isolated", "customer", None): 1}


def test_what_no_longer_fits_the_definition(tmp_path: Path) -> None:
    with dbgnn.connect(tmp_path / "g.duckdb") as db:
        db.execute(
            "CREATE TABLE n (id BIGINT, x FLOAT); INSERT INTO n VALUES (1, 1), (2, 2);"
            "CREATE TABLE m (id BIGINT); CREATE TABLE e (s BIGINT, d BIGINT); INSERT INTO e VALUES (1, 2);"
            "CREATE PROPERTY GRAPH g VERTEX TABLES (n KEY (id) PROPERTIES (x), m KEY (id)) EDGE TABLES ("
            "e SOURCE KEY (s) REFERENCES n (id) DESTINATION KEY (d) REFERENCES n (id),"
            "e SOURCE KEY (s) REFERENCES n (id) DESTINATION KEY (d) REFERENCES m (id));"
            "DROP TABLE m; ALTER TABLE n ALTER x TYPE VARCHAR; ALTER TABLE e ALTER s TYPE VARCHAR"
        )
        report = checked(db)
    assert counts(report, "error") == {
        ("definition", "m", None): 0,
        ("definition", ("n", "e", "n"), None): 0,
        ("definition", ("n", "e", "m"), None): 0,
        ("type", "n", "x"): 2,
    }
    assert "Give both one type" in one(report, "definition", ("n", "e", "n")).text
    assert "VARCHAR" in one(report, "type", "n", "x").text


def test_names_are_only_names(tmp_path: Path) -> None:
    with dbgnn.connect(tmp_path / "g.duckdb") as db:
        db.execute(
            """CREATE TABLE "no""de" (n BIGINT, "rid" FLOAT, "degree; DROP" FLOAT[2], "v_0" INTEGER, "null_0" BOOLEAN);
            INSERT INTO "no""de" VALUES (0, NULL, [1, 2], 1, true), (1, 1, [1, 2], 2, NULL), (1, 1, [1, 2], 2, false);
            CREATE TABLE "e'e" (k0 BIGINT, degree BIGINT, n BIGINT); INSERT INTO "e'e" VALUES (0, 1, 3), (0, 1, 4), (0, 5, 5);
            CREATE PROPERTY GRAPH g VERTEX TABLES ("no""de" KEY (n)) EDGE TABLES
            ("e'e" SOURCE KEY (k0) REFERENCES "no""de" (n) DESTINATION KEY (degree) REFERENCES "no""de" (n))"""
        )
        report = checked(db)
    edge = ('no"de', "e'e", 'no"de')
    assert counts(report, "error", "warning") == {
        ("duplicate keys", 'no"de', "n"): 1,
        ("NULL", 'no"de', "rid"): 1,
        ("NULL", 'no"de', "null_0"): 1,
        ("dangling", edge, "degree"): 1,
        ("duplicate edges", edge, None): 1,
    }


def test_the_database_stays_as_it_was(defects: Path) -> None:
    before = defects.read_bytes()
    with dbgnn.connect(defects, read_only=True) as db:
        names = db.sql("SELECT table_name FROM duckdb_tables() ORDER BY ALL").fetchall()
        checked(db)
        assert str(checked(db)) == str(checked(db))
        assert db.sql("SELECT table_name FROM duckdb_tables() ORDER BY ALL").fetchall() == names
    assert defects.read_bytes() == before
    assert sorted(p.name for p in defects.parent.iterdir()) == [defects.name]


def test_text_and_json_say_the_same(defects: Path) -> None:
    with dbgnn.connect(defects, read_only=True) as db:
        report = checked(db)
    text = str(report)
    assert text.splitlines()[0] == "Property graph 'g': 11 nodes, 19 edges: 14 errors, 11 warnings"
    assert "  error   paper.id: 1 of 6 rows repeat the key of another; the first: 2." in text
    assert "\x1b" not in text
    data = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert len(data["findings"]) == len(report.findings)
    assert data["ok"] is False
    assert data["nodes"] == {"paper": 6, "author": 5}
    assert data["edges"][0] == {"type": list(CITES), "rows": 8}


def test_rich_shows_it_in_colours(defects: Path) -> None:
    from rich.console import Console

    with dbgnn.connect(defects, read_only=True) as db:
        report = checked(db)
    console = Console(force_terminal=True, color_system="standard", width=100)
    with console.capture() as capture:
        console.print(report)
    assert "\x1b[1;31m  error" in capture.get()
    assert "author-wrote-paper" in capture.get()


def test_keys_that_json_does_not_know(tmp_path: Path) -> None:
    with dbgnn.connect(tmp_path / "g.duckdb") as db:
        db.execute(
            "CREATE TABLE n (id UUID, day DATE); CREATE TABLE e (s UUID, d UUID);"
            "INSERT INTO n SELECT '00000000-0000-0000-0000-000000000001', '2020-01-01' FROM range(2);"
            "CREATE PROPERTY GRAPH g VERTEX TABLES (n KEY (id)) EDGE TABLES "
            "(e SOURCE KEY (s) REFERENCES n (id) DESTINATION KEY (d) REFERENCES n (id))"
        )
        (found,) = checked(db).errors
    assert found.to_dict()["examples"] == ["00000000-0000-0000-0000-000000000001"]


def test_many_classes_and_many_values(tmp_path: Path) -> None:
    with dbgnn.connect(tmp_path / "g.duckdb") as db:
        db.execute(
            "CREATE TABLE n AS SELECT i AS id, i % 50 AS y, i % 50 AS year, (i % 2)::INTEGER::VARCHAR::ENUM('0', '1') AS e, "
            "i AS label FROM range(5000) t(i); CREATE PROPERTY GRAPH g VERTEX TABLES (n KEY (id))"
        )
        report = checked(db)
    assert {f.column for f in report.findings if f.what == "classes"} == {"y", "e"}
    y = one(report, "classes", "n", "y")
    assert (len(y.detail), y.count, sum(y.detail.values())) == (20, 5000, 2000)
    assert "n.y: all others" in str(report)
    assert report.problems == ()


def test_checking_imports_no_torch(defects: Path) -> None:
    code = (
        f"import dbgnn, dbgnn.check; db = dbgnn.connect({str(defects)!r}, read_only=True); "
        "str(dbgnn.check.check(db, db.graph().definition, progress=False))"
    )
    assert not imported_by(code) & {"torch", "torch_geometric"}


def test_names_and_values_are_no_markup(tmp_path: Path) -> None:
    from rich.console import Console

    with dbgnn.connect(tmp_path / "g.duckdb", progress=False) as db:
        db.execute("CREATE TYPE size AS ENUM ('[bold]A', 'B[/x]')")
        db.execute(
            """CREATE TABLE a (id BIGINT, "c[/red]" size);
            INSERT INTO a VALUES (1, '[bold]A'), (2, 'B[/x]'); CREATE TABLE e AS SELECT 1 AS s, 2 AS d;
            CREATE PROPERTY GRAPH g VERTEX TABLES (a KEY (id) LABEL "p[/i]") EDGE TABLES
            (e SOURCE KEY (s) REFERENCES a (id) DESTINATION KEY (d) REFERENCES a (id))"""
        )
        report = checked(db)
    console = Console(width=160, color_system=None)
    with console.capture() as shown:
        console.print(report)
    assert "p[/i].c[/red] = [bold]A" in shown.get()
    assert "p[/i].c[/red] = B[/x]" in shown.get()


def test_null_is_no_constant(tmp_path: Path) -> None:
    with dbgnn.connect(tmp_path / "g.duckdb", progress=False) as db:
        db.execute(
            """CREATE TABLE a AS SELECT i AS id, CASE WHEN i <> 2 THEN 1.5::FLOAT END AS c, 2 AS d FROM range(4) AS r(i);
            CREATE PROPERTY GRAPH g VERTEX TABLES (a KEY (id))"""
        )
        report = checked(db)
    some, every = one(report, "constant", "a", "c"), one(report, "constant", "a", "d")
    assert (some.count, some.total, every.count) == (3, 4, 4)
    assert some.text.startswith("all 3 values that are not NULL are the same")
    assert every.text.startswith("every row holds the same value")


def test_labels_come_first_and_months_are_no_list(tmp_path: Path) -> None:
    with dbgnn.connect(tmp_path / "g.duckdb", progress=False) as db:
        kinds = ", ".join(f"'k{i}'" for i in range(15))
        db.execute(f"CREATE TYPE kind AS ENUM ({kinds})")
        db.execute(
            """CREATE TABLE n AS SELECT i AS id, TIMESTAMP '2020-01-01' + INTERVAL (i) HOUR AS t, month(t)::INTEGER AS month,
            hour(t)::INTEGER AS hour, 'k' || (i % 15) AS kind, i % 3 = 0 AS flag, i % 2 AS y FROM range(5000) r(i);
            ALTER TABLE n ALTER kind TYPE kind;
            CREATE PROPERTY GRAPH g VERTEX TABLES (n KEY (id))"""
        )
        text = str(checked(db))
    assert "n.y = 0" in text
    assert "n.flag = true" in text
    assert text.index("n.y = 0") < text.index("n.flag = true")
    assert "n.month = " not in text
    assert "n.kind = " not in text
    assert re.search(r"n\.month +5,000 +7 values; the commonest is 1, in 14\.9% of 5,000 rows", text)
    assert re.search(r"n\.kind +5,000 +15 values; the commonest is k0, in 6\.7% of 5,000 rows", text)
    assert len(text.splitlines()) < 20


EVENTS = """
    CREATE TABLE account (id BIGINT, opened DATE);
    INSERT INTO account VALUES (1, '2024-01-01'), (2, '2024-02-01'), (3, '2024-03-01');
    CREATE TABLE shop (id BIGINT);
    INSERT INTO shop VALUES (1), (2);
    CREATE TABLE pays (src BIGINT, dst BIGINT, opened TIMESTAMP);
    INSERT INTO pays VALUES (1, 2, '2024-01-15'), (1, 2, '2024-02-15'), (3, 1, '2024-01-01'), (2, 3, '2024-04-01');
    CREATE TABLE visits (account BIGINT, shop BIGINT);
    INSERT INTO visits VALUES (1, 1), (3, 2);
    CREATE PROPERTY GRAPH events VERTEX TABLES (account KEY (id), shop KEY (id)) EDGE TABLES (
      pays SOURCE KEY (src) REFERENCES account (id) DESTINATION KEY (dst) REFERENCES account (id),
      visits SOURCE KEY (account) REFERENCES account (id) DESTINATION KEY (shop) REFERENCES shop (id));
"""
PAYS, VISITS = ("account", "pays", "account"), ("account", "visits", "shop")


def test_edges_that_a_loader_by_time_never_reaches_are_told() -> None:
    with dbgnn.connect() as db:
        db.execute(EVENTS)
        graph = db.graph()
        assert not [f for f in graph.check().findings if "later" in f.text]
        report = graph.check(time_attr="OPENED")
        never = one(report, "never reached", PAYS, "opened")
        assert (never.severity, never.count, never.total, never.examples) == ("warning", 1, 4, ((2, 3),))
        # An edge is there when its source is, too: the third is as late as account 3.
        late = one(report, "later than their node", PAYS, "opened")
        assert (late.severity, late.count, late.total, late.examples) == ("info", 3, 4, ((1, 2), (3, 1), (2, 3)))
        assert not [f for f in report.findings if f.label == VISITS and "later" in f.text]
        # The same by a loader: of seeds at their own times, and of seeds at the times that the remedy gives.
        for input_time, there in ((None, [[], [0], []]), ("opened + INTERVAL '1 year'", [[2], [0, 1], [3]])):
            loader = dbgnn.NeighborLoader(graph, [-1], "account", time_attr="opened", input_time=input_time, batch_size=1)
            assert [batch[PAYS].e_id.tolist() for batch in loader] == there


def test_rows_without_a_time_are_told() -> None:
    with dbgnn.connect() as db:
        db.execute(EVENTS)
        db.execute("UPDATE pays SET opened = 'infinity' WHERE src = 1; UPDATE account SET opened = NULL WHERE id = 2")
        report = db.graph().check(time_attr="opened")
        assert (one(report, "no time", PAYS, "opened").count, one(report, "no time", "account", "opened").count) == (2, 1)
        with pytest.raises(dbgnn.DataError, match="beyond what 64 bits hold, in 2 of 4 rows"):
            next(iter(dbgnn.NeighborLoader(db.graph(), [2], "account", time_attr="opened", input_time="DATE '2024-05-01'")))
        db.execute("UPDATE account SET opened = NULL")  # no node has a time, so none is the latest
        assert not [f for f in db.graph().check(time_attr="opened").findings if f.what == "never reached"]
        with pytest.raises(dbgnn.UnknownNameError, match="did you mean 'opened'"):
            db.graph().check(time_attr="opend")
