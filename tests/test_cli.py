"""The command line: what each command does, says and returns; errors that say what to do; what it imports."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
import torch
from typer.testing import CliRunner, Result

import dbgnn
from dbgnn.cli import app
from tests.test_public import ROOT, imported_by

GRAPH = """
    CREATE PROPERTY GRAPH papers
      VERTEX TABLES (paper KEY (id))
      EDGE TABLES (cites SOURCE KEY (src) REFERENCES paper (id) DESTINATION KEY (dst) REFERENCES paper (id))
"""
CITES = ("paper", "cites", "paper")


def run(*args: str | Path, code: int = 0, stdin: str | None = None) -> Result:
    result = CliRunner().invoke(app, list(map(str, args)), input=stdin)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result


def loaded(*args: str | Path, code: int = 0) -> Any:
    return json.loads(run(*args, "--json", code=code).stdout)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "graph.duckdb"
    with dbgnn.connect(path) as db:
        db.execute(
            "CREATE TABLE paper (id BIGINT PRIMARY KEY, x FLOAT[2], year INTEGER);"
            "INSERT INTO paper VALUES (0, [0, 1], 2014), (1, [2, 3], 2015), (2, [4, 5], 2016);"
            "CREATE TABLE cites (src BIGINT, dst BIGINT); INSERT INTO cites VALUES (0, 1), (1, 2), (2, 0);" + GRAPH
        )
    return path


def test_help_shows_every_command_and_examples() -> None:
    text = run("--help").stdout
    for command in ("info", "check", "build", "copy", "execute", "query"):
        assert re.search(rf"^  {command} ", text, re.MULTILINE)
        assert f"\n    dbgnn {command} " in run(command, "--help").stdout.partition("Examples:")[2]
    assert dbgnn.__version__ in run("--version").stdout


def test_info(file: Path) -> None:
    text = run("info", file).stdout
    assert "Node type 'paper': 3 rows of table paper" in text
    assert "Index: not built yet" in text
    found = loaded("info", file)
    (graph,) = found["graphs"]
    assert (found["bytes"], found["tables"]) == (file.stat().st_size, {"cites": 3, "paper": 3})
    assert graph["nodes"]["paper"]["rows"] == 3
    assert [c["name"] for c in graph["nodes"]["paper"]["columns"] if c["left_out"] is None] == ["x", "year"]
    assert graph["edges"][0]["type"] == list(CITES)
    assert graph["index"]["state"] == "missing"
    run("build", file)
    assert loaded("info", file, "--graph", "papers")["graphs"][0]["index"]["state"] == "up to date"
    assert "Index: in the file, built and up to date by its own checksums; that of a stranger's" in run("info", file).stdout
    assert "Index: built and up to date" in run("info", file, "--trusted").stdout
    with duckdb.connect(str(file)) as con:
        con.execute("INSERT INTO cites VALUES (0, 2)")
    assert loaded("info", file)["graphs"][0]["index"]["state"] == "stale"
    assert "Index: in the file, stale or damaged" in run("info", file).stdout
    assert "it had 3 rows and has 4" in run("info", file, "--trusted").stdout


def test_info_of_files_without_a_graph_or_with_a_broken_one(tmp_path: Path, file: Path) -> None:
    with dbgnn.connect(tmp_path / "bare.duckdb") as db:
        db.execute("CREATE TABLE t (a INTEGER); INSERT INTO t VALUES (1)")
    text = run("info", tmp_path / "bare.duckdb").stdout
    assert "Tables: t (1 rows)" in text
    assert "CREATE PROPERTY GRAPH" in text
    with dbgnn.connect(file) as db:
        db.execute(GRAPH.replace("papers", "second").replace("KEY (id)", "KEY (id) PROPERTIES (year)"))
        db.execute("ALTER TABLE paper DROP year")
    found = loaded("info", file)
    assert [g["name"] for g in found["graphs"]] == ["papers"]
    assert "year" in found["note"]
    assert "year" in run("info", file, "-g", "second", code=1).stderr


def test_check_exits_with_what_it_found(file: Path) -> None:
    assert "no errors, no warnings" in run("check", file).stdout
    run("check", file, "--strict")
    with dbgnn.connect(file) as db:
        db.execute("INSERT INTO cites VALUES (0, 1)")
    assert loaded("check", file)["ok"] is True
    found = loaded("check", file, "--strict", code=1)
    assert [f["what"] for f in found["findings"] if f["severity"] == "warning"] == ["duplicate edges"]
    with dbgnn.connect(file) as db:
        db.execute("INSERT INTO cites VALUES (0, 9)")
    assert "no key of 'paper'; the first: 9" in run("check", file, code=1).stdout


def test_build(file: Path) -> None:
    with dbgnn.connect(file) as db:
        db.execute("INSERT INTO cites VALUES (0, 9)")
    error = run("build", file, code=1).stderr
    assert error.startswith("Error: 1 rows of edge table 'cites' have an endpoint that does not exist")
    assert "paper-cites-paper: 3 edges, 1 dangling ones left out" in run("build", file, "--dangling", "drop").stdout
    found = loaded("build", file, "--force", "--graph", "papers")
    assert found["nodes"] == {"paper": 3}
    assert found["edges"] == [{"type": list(CITES), "edges": 3, "dropped": 1}]


def test_copy_npy(file: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "ids.npy", np.arange(3, 6))
    np.save(tmp_path / "x.npy", np.ones((3, 2), dtype=np.float32))
    np.save(tmp_path / "edges.npy", np.array([[3, 4], [4, 5]]))
    files = tmp_path / "ids.npy", tmp_path / "x.npy"
    assert "3 rows copied into paper" in run("copy", file, "paper", *files, "--by-column", "--columns", "id, x").stdout
    assert loaded("copy", file, "cites", tmp_path / "edges.npy") == {"table": "cites", "rows": 2}
    with dbgnn.connect(file, read_only=True) as db:
        assert db.sql("SELECT id, x, year FROM paper WHERE id = 5").fetchall() == [(5, (1.0, 1.0), None)]
        assert db.sql("SELECT count(*) FROM cites").fetchall() == [(5,)]


def test_copy_csv_makes_a_table_or_fills_one(tmp_path: Path) -> None:
    for name, rows in (("a.csv", "id;it's\n1;x\n2;y\n"), ("b.csv", "id;it's\n3;z\n")):
        (tmp_path / name).write_text(rows, encoding="utf-8")
    file, table = tmp_path / "new.duckdb", 'o"k'
    both = tmp_path / "a.csv", tmp_path / "b.csv"
    assert loaded("copy", file, table, *both, "--create", "--delimiter", ";")["rows"] == 3
    assert loaded("copy", file, table, *both, "--header", "--delimiter", ";", "--format", "csv")["rows"] == 3
    (tmp_path / "b.csv").write_text("id;it's\nseven;z\n", encoding="utf-8")
    error = run("copy", file, table, *both, "--header", "--delimiter", ";", code=1).stderr
    assert "b.csv" in error
    with dbgnn.connect(file, read_only=True) as db:
        assert db.sql('SELECT id, "it\'s" FROM "o""k" ORDER BY ALL').fetchall() == [
            (1, "x"), (1, "x"), (2, "y"), (2, "y"), (3, "z"), (3, "z")
        ]  # fmt: skip


def test_copy_parquet(file: Path, tmp_path: Path) -> None:
    path = tmp_path / "it's.parquet"
    with duckdb.connect() as con:
        con.execute(f"COPY (SELECT 7 AS src, 8 AS dst) TO '{str(path).replace(chr(39), chr(39) * 2)}'")
    assert loaded("copy", file, "main.cites", path)["rows"] == 1
    assert loaded("copy", file, "other", path, "--create")["rows"] == 1


def test_execute(file: Path) -> None:
    text = run("execute", file, "SELECT id, year FROM paper ORDER BY id; SELECT 1 AS one, 'a;b' AS two").stdout
    assert text == "one\ttwo\n1\ta;b\n"
    run("execute", file, "-", stdin=GRAPH.replace("papers", "second"))
    assert [g["name"] for g in loaded("info", file)["graphs"]] == ["papers", "second"]
    assert loaded("execute", file, "SELECT DATE '2020-01-01' AS day") == [{"day": "2020-01-01"}]
    assert run("execute", file, "CREATE TABLE t (a INTEGER)").stdout == ""
    assert "no_such_table" in run("execute", file, "FROM no_such_table", code=1).stderr


def test_rows_are_lines(file: Path) -> None:
    text = run("execute", file, r"SELECT e'a\tb' AS t, e'c\nd\\e' AS n, NULL AS gap, 'None' AS none, 1.5 AS f").stdout
    assert text == "t\tn\tgap\tnone\tf\na\\tb\tc\\nd\\\\e\t\\N\tNone\t1.5\n"


def test_rows_as_json_lose_nothing(file: Path) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    query = """SELECT 1 AS a, 2 AS a, 3 AS a_1, 'nan'::FLOAT AS n, [{'x': '-inf'::DOUBLE}] AS i,
        MAP {DATE '2020-01-01': 1} AS m, '\\xAA'::BLOB AS b, true AS t"""
    (row,) = json.loads(run("execute", file, query, "--json").stdout, parse_constant=refuse)
    assert row == {
        "a": 1, "a_1": 2, "a_1_1": 3, "n": "nan", "i": [{"x": "-inf"}], "m": {"2020-01-01": 1}, "b": "aa", "t": True
    }  # fmt: skip


@pytest.mark.parametrize("sql", ["", ";", "/* nothing */"])
def test_no_statement_at_all(file: Path, sql: str) -> None:
    assert run("execute", file, sql).stdout == ""
    assert loaded("execute", file, sql) == []


def test_a_file_made_by_execute_is_told(tmp_path: Path, file: Path) -> None:
    new = tmp_path / "new.duckdb"
    done = run("execute", new, "CREATE TABLE t (a INTEGER)")
    assert (done.stdout, done.stderr) == ("", f"{new} is a new file.\n")
    assert run("execute", new, "FROM t").stderr == ""
    assert run("execute", ":memory:", "SELECT 1").stderr == ""


def test_standard_input_that_is_no_text(file: Path) -> None:
    command = [sys.executable, "-m", "dbgnn.cli", "execute", str(file), "-"]
    environment = {**os.environ, "NO_COLOR": "1", "PYTHONUTF8": "1"}
    given = "SELECT 'ä'".encode("latin-1")
    done = subprocess.run(command, input=given, capture_output=True, cwd=ROOT, env=environment, check=False)
    assert done.returncode == 2
    assert b"is no UTF-8" in done.stderr
    assert b"Traceback" not in done.stderr


def test_a_reader_that_goes_away_is_no_error(file: Path) -> None:
    command = [sys.executable, "-m", "dbgnn.cli", "execute", str(file), "SELECT range, repeat('x', 99) FROM range(50000)"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT) as program:
        assert program.stdout is not None
        assert program.stderr is not None
        program.stdout.readline()
        program.stdout.close()
        assert program.stderr.read() == b""


def test_files_of_different_columns_go_by_name(tmp_path: Path, file: Path) -> None:
    (tmp_path / "a.csv").write_text("id,v\n1,2\n", encoding="utf-8")
    (tmp_path / "b.csv").write_text("w,v,id\n7,8,9\n", encoding="utf-8")
    run("copy", file, "either", tmp_path / "a.csv", tmp_path / "b.csv", "--create")
    found = loaded("execute", file, "FROM either ORDER BY id")
    assert found == [{"id": 1, "v": 2, "w": None}, {"id": 9, "v": 8, "w": 7}]


def test_the_ending_says_the_format(tmp_path: Path, file: Path) -> None:
    for name, form in (("a.pq", "parquet"), ("b.ndjson", "json")):
        with duckdb.connect() as con:
            con.execute(f"COPY (SELECT 1 AS src, 2 AS dst) TO '{tmp_path / name}' (FORMAT {form})")
        assert loaded("copy", file, "cites", tmp_path / name)["rows"] == 1


def test_output_that_cannot_be_written(tmp_path: Path, file: Path) -> None:
    everything = "query", file, "--graph", "papers", "-o"
    assert "is a folder" in re.sub(r"\s+", " ", run(*everything, tmp_path, code=2).stderr)
    error = run(*everything, tmp_path / ("x" * 300), code=1).stderr
    assert error.startswith("Error: ")
    assert "too long" in error


def test_query_by_type(file: Path, tmp_path: Path) -> None:
    out = tmp_path / "sub.pt"
    by_type = ["--nodes", "paper=SELECT id, x, year FROM paper WHERE year >= 2015", "--edges", "paper,cites,paper=FROM cites"]
    text = run("query", file, *by_type, "-o", out).stdout
    assert "paper: 2 nodes" in text
    assert "paper-cites-paper: 1 edges (2 dropped: an end is not among the nodes)" in text
    dangling = ["--edges", "paper,cites,paper=SELECT src, dst FROM cites UNION ALL VALUES (99, 99)"]
    text = run("query", file, *by_type[:2], *dangling, "-o", tmp_path / "dangling.pt").stdout
    assert "1 edges (3 dropped: an end is not among the nodes; 1 of them dangle)" in text
    data = torch.load(out, weights_only=False)
    assert data["paper"].x.tolist() == [[2, 3], [4, 5]]
    assert data[CITES].edge_index.tolist() == [[0], [1]]
    assert "dangling" in run("query", file, *by_type, "--dangling", "error", code=1).stderr.lower()


def test_query_by_pattern(file: Path) -> None:
    pattern = "SELECT a, c, b FROM paper a JOIN cites c ON c.src = a.id JOIN paper b ON b.id = c.dst WHERE a.year = 2014"
    found = loaded("query", file, pattern)
    assert found["nodes"]["paper"]["num_nodes"] == 2
    assert found["edges"][0]["num_edges"] == 1
    assert found["nodes"]["paper"]["attributes"]["x"] == {"type": "float32", "shape": [2, 2]}


def test_query_by_graph(file: Path, tmp_path: Path) -> None:
    where = ["--where", "paper=year != 2014", "--where", "paper,cites,paper=src < 5", "--columns", "paper=x"]
    found = loaded("query", file, *where, "--reverse", "-o", tmp_path / "a.pt")
    assert {"x"} <= found["nodes"]["paper"]["attributes"].keys() <= {"x", "id"}
    assert {tuple(e["type"]): e["num_edges"] for e in found["edges"]} == {CITES: 1, ("paper", "rev_cites", "paper"): 1}
    assert found["output"] == str(tmp_path / "a.pt")
    assert loaded("query", file, "--graph", "papers")["edges"][0]["num_edges"] == 3
    assert loaded("query", file, "--seeds", "paper=id = 1", "--hops", "1")["nodes"]["paper"]["num_nodes"] == 2


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["query"], "Missing argument"),
        (["query", "{file}"], "give one of SQL"),
        (["query", "{file}", "SELECT 1", "--where", "paper=true"], "give one of SQL"),
        (["query", "{file}", "--nodes", "paper"], "not of the form"),
        (["query", "{file}", "--where", "a,b=true"], "not of the form"),
        (["query", "{file}", "--nodes", "a=FROM a", "--nodes", "a=FROM b"], "given twice"),
        (["query", "{file}", "--nodes", "a,b,c=FROM a"], "none for"),
        (["query", "{file}", "--graph", "papers", "-o", "no/such/folder/a.pt"], "there is no folder"),
        (["build", "{file}", "--dangling", "keep"], "neither 'error' nor 'drop'"),
        (["copy", "{file}", "t", "a.npy", "--create"], "--create"),
        (["chek", "{file}"], "No such command"),
    ],
)
def test_wrong_usage_exits_with_2(file: Path, args: list[str], said: str) -> None:
    error = run(*(a.format(file=file) for a in args), code=2).stderr
    assert said in re.sub(r"\s+", " ", error)


@pytest.mark.parametrize("command", [["info"], ["check"], ["build"], ["query", "--graph", "g"], ["copy", "t", "a.csv"]])
def test_a_file_that_is_not_there_is_not_made(tmp_path: Path, command: list[str]) -> None:
    missing = tmp_path / "missing.duckdb"
    error = run(command[0], missing, *command[1:], code=1).stderr
    assert error.startswith("Error: ")
    assert "does not exist" in error
    assert not missing.exists()


def test_errors_say_what_to_do(file: Path, tmp_path: Path) -> None:
    assert "did you mean 'papers'" in run("check", file, "--graph", "paper", code=1).stderr
    (tmp_path / "text.duckdb").write_text("this is no database, however long it is" * 100, encoding="utf-8")
    assert "not a DuckDB database" in run("info", tmp_path / "text.duckdb", code=1).stderr
    assert "memory_limit='much'" in run("check", file, "--memory-limit", "much", code=1).stderr


def subprocess_run(*args: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "dbgnn.cli", *map(str, args)]
    environment = {**os.environ, "NO_COLOR": "1"}
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, check=False)


def test_as_a_program(file: Path) -> None:
    done = subprocess_run("check", file, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["graph"] == "papers"
    done = subprocess_run("check", file, "--graph", "nothing")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("Error: There is no property graph 'nothing'")
    assert "Traceback" not in done.stderr


def test_commands_that_need_no_torch_import_none(file: Path) -> None:
    calls = [["--help"], ["info", str(file)], ["check", str(file)], ["build", str(file)]]
    code = f"from typer.testing import CliRunner; from dbgnn.cli import app; [CliRunner().invoke(app, a) for a in {calls}]"
    assert not imported_by(code) & {"torch", "torch_geometric"}
