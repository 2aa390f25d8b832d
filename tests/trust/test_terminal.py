r"""A file whose every name and value holds control characters: no command, error, repr, table or notebook shows them raw.

What is looked for is in what was printed: ESC and its like, text from right to left, and lines that a name forges.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import traceback
import unicodedata
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
import torch
from typer.testing import CliRunner, Result

import dbgnn
from dbgnn.cli import app
from dbgnn.progress import Bar
from dbgnn.sql import literal, quote

#: Sets the title, clears the screen (by ESC and by C1), writes from right to left, goes back, begins a line, is HTML.
HOSTILE = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202e\u2066\u200b\r\x08\x7f\ufeff\nFORGED\t<script>\u2028FORGED"
PAPER, CITES, LABEL, OTHER = (name + HOSTILE for name in ("paper", "cites", "label", "other"))
KEY, X, Y, TEXT, SRC, DST = (name + HOSTILE for name in ("id", "x", "y", "text", "src", "dst"))
GRAPH = "g" + HOSTILE
EDGE_TYPE = (PAPER, LABEL, PAPER)


def raw(text: str, *, tabs: bool = False) -> list[str]:
    """What of a text a terminal would obey, or a reader not see, and the lines that a name has forged."""
    hidden = {c for c in text if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") and c not in ("\n", "\t"[:tabs])}
    return sorted(map(repr, hidden)) + [line for line in text.splitlines() if line.startswith("FORGED")]


def make(path: Path, *, build: bool = True) -> Path:
    with dbgnn.connect(path) as db:
        db.execute(
            f"""
            CREATE TABLE {quote(PAPER)} AS SELECT {literal(HOSTILE)} || i AS {quote(KEY)}, [i, i]::FLOAT[2] AS {quote(X)},
              i % 3 AS {quote(Y)}, CASE WHEN i < 9 THEN {literal(HOSTILE)} ELSE i::VARCHAR END AS {quote(TEXT)},
              [1, i] AS {quote("list" + HOSTILE)}, i::FLOAT / 0 AS {quote("inf" + HOSTILE)}
            FROM range(10) t(i)
            """
        )
        db.execute(
            f"""
            CREATE TABLE {quote(CITES)} AS SELECT {literal(HOSTILE)} || i AS {quote(SRC)},
              {literal(HOSTILE)} || (i * 3) % 10 AS {quote(DST)} FROM range(10) t(i)
            """
        )
        db.execute(f"CREATE TABLE {quote(OTHER)} AS SELECT 1 AS a")
        for name, keep in ((GRAPH, True), ("second" + HOSTILE, False)):
            db.execute(
                f"""
                CREATE PROPERTY GRAPH {quote(name)} VERTEX TABLES ({quote(PAPER)} KEY ({quote(KEY)}))
                EDGE TABLES ({quote(CITES)} SOURCE KEY ({quote(SRC)}) REFERENCES {quote(PAPER)} ({quote(KEY)})
                  DESTINATION KEY ({quote(DST)}) REFERENCES {quote(PAPER)} ({quote(KEY)}) LABEL {quote(LABEL)})
                """
            )
            if not keep:
                db.execute(f"DROP PROPERTY GRAPH {quote(name)}")
        if build:
            db.graph(GRAPH).build(progress=False)
    return path


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hostile") / f"f{HOSTILE.replace('/', '')}"
    folder.mkdir()
    return make(folder / "g.duckdb")


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file in which everything is wrong that `check` looks for, and whose index is stale."""
    path = make(tmp_path_factory.mktemp("broken") / "g.duckdb")
    with duckdb.connect(str(path)) as con:
        con.execute(f"INSERT INTO {quote(CITES)} VALUES (?, NULL), (?, ?)", [HOSTILE, "no" + HOSTILE, "none" + HOSTILE])
        con.execute(f"INSERT INTO {quote(PAPER)} SELECT * REPLACE (NULL AS {quote(X)}) FROM {quote(PAPER)}")
        con.execute(f"INSERT INTO {quote(PAPER)} ({quote(KEY)}) VALUES (NULL)")
    return path


def run(*args: str | Path, stdin: str | None = None) -> Result:
    result = CliRunner().invoke(app, list(map(str, args)), input=stdin)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


COMMANDS: dict[str, list[str]] = {
    "info": ["info", "{file}"],
    "info of another graph": ["info", "{file}", "--graph", HOSTILE],
    "check": ["check", "{file}"],
    "check of another graph": ["check", "{file}", "--graph", HOSTILE],
    "build": ["build", "{file}", "--force", "--quiet"],
    "build, dangling": ["build", "{file}", "--dangling", HOSTILE],
    "rows": ["execute", "{file}", f"FROM {quote(PAPER)}"],
    "nested rows": [
        "execute", "{file}", f"SELECT [{quote(TEXT)}], {{'a': {quote(TEXT)}}}, encode({quote(TEXT)}) FROM {quote(PAPER)}"
    ],
    "no such table": ["execute", "{file}", "FROM " + quote("pape" + HOSTILE)],
    "no such column": ["execute", "{file}", f"SELECT {quote('tex' + HOSTILE)} FROM {quote(PAPER)}"],
    "a cast": ["execute", "{file}", f"SELECT {quote(TEXT)}::INT FROM {quote(PAPER)}"],
    "an error of the file's": ["execute", "{file}", f"SELECT error({quote(TEXT)}) FROM {quote(PAPER)}"],
    "no SQL": ["execute", "{file}", HOSTILE],
    "a graph that is there": [
        "execute", "{file}", f"CREATE PROPERTY GRAPH {quote(GRAPH)} VERTEX TABLES ({quote(OTHER)} KEY (a))"
    ],
    "a graph of no table": ["execute", "{file}", f"CREATE PROPERTY GRAPH h VERTEX TABLES ({quote('no' + HOSTILE)} KEY (a))"],
    "a graph of no syntax": ["execute", "{file}", f"CREATE PROPERTY GRAPH {quote(HOSTILE)} VERTEX {quote(HOSTILE)}"],
    "query": ["query", "{file}", "--graph", GRAPH],
    "query by type": ["query", "{file}", "--nodes", f"n{HOSTILE.replace('=', '')}=FROM {quote(PAPER)}"],
    "query, wrong": ["query", "{file}", "--where", f"{HOSTILE}=1"],
    "query, a filter": ["query", "{file}", "--where", f"{HOSTILE.replace(',', '')}"],
    "query, a pattern": ["query", "{file}", f"SELECT {quote(HOSTILE)} FROM {quote(PAPER)} AS {quote(HOSTILE)}"],
    "copy": ["copy", "{file}", f"into{HOSTILE}", "{csv}", "--create", "--quiet"],
    "copy into a table that is there": ["copy", "{file}", PAPER, "{csv}", "--quiet"],
    "copy npy": ["copy", "{file}", OTHER, "{npy}", "--quiet"],
    "copy of no file": ["copy", "{file}", OTHER, f"{HOSTILE}.npy"],
    "no such command": [HOSTILE],
    "no such option": ["--" + HOSTILE],
    "no such option of a command": ["info", "{file}", "--" + HOSTILE],
    "too many arguments": ["info", "{file}", HOSTILE],
    "no number": ["check", "{file}", "--threads", HOSTILE],
    "no limit": ["check", "{file}", "--memory-limit", HOSTILE],
    "no file": ["info", f"{HOSTILE}.duckdb"],
    "no database": ["info", "{csv}"],
    "output in no folder": ["query", "{file}", "--graph", GRAPH, "-o", f"{HOSTILE}/a.pt"],
}  # fmt: skip


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize("what", COMMANDS)
@pytest.mark.parametrize("which", ["file", "broken"])
def test_no_command_prints_what_a_terminal_obeys(
    request: pytest.FixtureRequest, tmp_path: Path, what: str, which: str, *, as_json: bool
) -> None:
    path = request.getfixturevalue(which)
    csv, npy = tmp_path / f"c{HOSTILE}.csv", tmp_path / f"n{HOSTILE}.npy"
    csv.write_text(f'"{HOSTILE}",b\n"{HOSTILE}",2\n3,{HOSTILE!r}\n', encoding="utf-8")
    np.save(npy, np.array([HOSTILE]))
    args = [a.replace("{file}", str(path)).replace("{csv}", str(csv)).replace("{npy}", str(npy)) for a in COMMANDS[what]]
    done = run(*args, *(["--json"] if as_json else []))
    assert done.stdout + done.stderr
    tabs = not as_json  # between the values of a row
    assert raw(done.stdout, tabs=tabs) == []
    assert raw(done.stderr, tabs=True) == []  # DuckDB quotes the statement
    if as_json and done.stdout:
        assert HOSTILE[:9] in str(json.loads(done.stdout)) or repr(HOSTILE)[1:9] in str(json.loads(done.stdout))


@pytest.fixture(scope="module")
def objects(file: Path, broken: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """One of everything that shows itself."""
    folder = tmp_path_factory.mktemp("packs") / f"p{HOSTILE.replace('/', '')}"
    with dbgnn.connect(file, read_only=True) as db, dbgnn.connect(broken, read_only=True) as wrong:
        graph = db.graph()
        stores = db.get_torch_geometric_remote_backend(columns={PAPER: [X]})
        loader = dbgnn.NeighborLoader(stores, num_neighbors=[2], input_nodes=(PAPER, torch.arange(10)), batch_size=5)
        for _ in loader:
            pass
        loader.pack(folder, progress=False)
        report = wrong.graph().check(progress=False)
        fractions: dict[str, Any] = {HOSTILE: 0.5}
        encoders = dbgnn.Encoders({PAPER: {"a" + HOSTILE: dbgnn.OneHot(TEXT), "b": dbgnn.Normalize(Y)}})
        graph.to_heterodata(encoders=encoders, progress=False)
        yield {
            "database": db,
            "graph": graph,
            "stale graph": wrong.graph(),
            "definition": graph.definition,
            "feature store": stores[0],
            "graph store": stores[1],
            "loader": loader,
            "sampler": loader.node_sampler,
            "pack": dbgnn.PackedLoader(folder),
            "stats": loader.stats(),
            "explain": loader.explain(),
            "report": report,
            "another report": graph.check(progress=False),
            "finding": report.findings[0],
            "encoders": encoders,
            "splits": [dbgnn.ColumnSplit(HOSTILE), dbgnn.PredicateSplit({HOSTILE: HOSTILE}), dbgnn.HashSplit(**fractions)],
            "attributes": stores[0].get_all_tensor_attrs(),
        }


SHOWN = (
    "database, graph, stale graph, definition, feature store, graph store, loader, sampler, pack, stats, explain, report, "
    "another report, finding, encoders, splits, attributes"
).split(", ")


@pytest.mark.parametrize("kind", SHOWN)
def test_no_object_shows_what_a_terminal_obeys(objects: dict[str, Any], kind: str) -> None:
    one = objects[kind]
    assert raw(repr(one)) == raw(str(one)) == []
    if hasattr(one, "_repr_html_"):
        shown = one._repr_html_()
        assert raw(shown) == []
        assert "<script" not in shown


def test_columns_of_hostile_names_stay_aligned(objects: dict[str, Any]) -> None:
    lines = str(objects["graph"]).splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith("  tensors"))
    rows = [line for line in lines[first : first + 4] if "[10" in line]
    assert len(rows) >= 2
    assert len({line.index("[10") for line in rows}) == 1


def test_a_report_in_colours_has_no_other_escapes(objects: dict[str, Any]) -> None:
    from io import StringIO

    from rich.console import Console

    console = Console(file=StringIO(), force_terminal=True, width=100)
    console.print(objects["report"])
    text = console.file.getvalue()  # type: ignore[attr-defined]
    colours = r"\x1b\[[0-9;]*m"
    assert re.search(colours, text)
    assert raw(re.sub(colours, "", text)) == []


def calls_that_fail(file: Path) -> dict[str, Callable[[dbgnn.Database], object]]:
    return {
        "graph": lambda db: db.graph(HOSTILE),
        "execute": lambda db: db.execute("FROM " + quote("paper" + HOSTILE[:-1])),
        "fetch": lambda db: db.execute(f"SELECT {quote(TEXT)}::INT FROM {quote(PAPER)}").fetchall(),
        "columns": lambda db: db.get_torch_geometric_remote_backend(columns={PAPER: [HOSTILE]}),
        "no type": lambda db: db.get_torch_geometric_remote_backend(columns={HOSTILE: [X]}),
        "no tensor": lambda db: db.get_torch_geometric_remote_backend(columns={PAPER: [TEXT]}),
        "fan-out": lambda db: dbgnn.NeighborSampler(db.graph(), {(HOSTILE, HOSTILE, HOSTILE): [1]}),
        "seeds": lambda db: dbgnn.NeighborLoader(db.graph(), [1], HOSTILE),
        "filter": lambda db: db.graph().to_heterodata(where={PAPER: HOSTILE}),
        "filter by no column": lambda db: db.graph().to_heterodata(where={PAPER: f"{quote(HOSTILE)} = 1"}),
        "filter that fails": lambda db: db.graph().to_heterodata(where={PAPER: f"{quote(TEXT)}::INT = 1"}),
        "query": lambda db: dbgnn.query_to_heterodata(db, f"SELECT {quote(HOSTILE)} FROM {quote(PAPER)}"),
        "no key": lambda db: db.get_torch_geometric_remote_backend()[0].node_ids(PAPER, ["no" + HOSTILE]),
        "write": lambda db: db.graph().write_back(PAPER, **{HOSTILE: torch.zeros(10)}),
        "file": lambda db: dbgnn.connect("/no/such" + HOSTILE, read_only=True),
        "setting": lambda db: dbgnn.connect(config={"threads": HOSTILE}),
        "no setting": lambda db: dbgnn.connect(config={HOSTILE: "1"}),
        "pack": lambda db: dbgnn.PackedLoader("/no/such" + HOSTILE),
        "encoders": lambda db: db.graph().to_heterodata(encoders={PAPER: {"a": dbgnn.OneHot(HOSTILE)}}),
        "null": lambda db: db.get_torch_geometric_remote_backend(columns={PAPER: [X]})[0].get_tensor(PAPER, X),
        "stale": lambda db: db.graph().num_nodes(PAPER),
    }


@pytest.mark.parametrize("which", ["file", "broken"])
@pytest.mark.parametrize("what", calls_that_fail(Path()))
def test_no_traceback_shows_what_a_terminal_obeys(request: pytest.FixtureRequest, which: str, what: str) -> None:
    path = request.getfixturevalue(which)
    with dbgnn.connect(path, read_only=True) as db:
        try:
            calls_that_fail(path)[what](db)
        except Exception as error:  # noqa: BLE001 - DuckDB's own, too, are shown on a terminal
            text = "".join(traceback.format_exception(error))
            assert [found for found in raw(text, tabs=True) if not found.startswith("FORGED")] == []  # lines may be DuckDB's
            return
        assert (which, what) in {("file", "stale"), ("file", "null")}


def test_warnings_and_bars_are_printable(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with dbgnn.connect() as db, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        db.execute(
            f"""
            CREATE TABLE {quote(PAPER)} AS SELECT range AS id, range AS x FROM range(3);
            CREATE PROPERTY GRAPH g VERTEX TABLES ({quote(PAPER)} KEY (id) PROPERTIES (x))
            """
        )
        dbgnn.NeighborLoader(db.graph(), [], (PAPER, torch.arange(0)))
    assert caught
    assert [raw(str(warning.message)) for warning in caught] == [[]] * len(caught)
    with Bar(desc=PAPER, total=2, delay=0, mininterval=0) as bar:
        bar.update()
        bar.set_description(CITES)
        bar.update()
    shown = capsys.readouterr().err.replace("\r", "")
    assert "cites" in shown
    assert raw(shown) == []


def test_file_names_that_are_no_text_are_an_error_that_says_so(tmp_path: Path) -> None:
    name = os.fsencode(tmp_path) + b"/\xff.duckdb"
    make_new = os.fsencode(tmp_path / "a.duckdb")
    for command in ([b"execute", name, b"SELECT 1"], [b"copy", make_new, b"t", name, b"--create", b"--format", b"csv"]):
        args = [os.fsencode(sys.executable), b"-m", b"dbgnn.cli", *command]
        done = subprocess.run(args, capture_output=True, check=False)
        assert done.returncode == 1
        assert b"Traceback" not in done.stderr
        assert b"Error: " in done.stderr
        assert raw(done.stderr.decode()) == []
