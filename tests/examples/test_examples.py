"""The examples, run as scripts, and judged by what they print."""

from __future__ import annotations

import contextlib
import io
import os
import re
import runpy
import subprocess
import sys
import warnings
from pathlib import Path

import duckdb
import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]


def run_example(name: str, *args: str | Path, alone: bool = False) -> str:
    """Run an example and return what it printed.

    Args:
        name: The script.
        args: Its arguments.
        alone: In an interpreter of its own, as a reader runs it, which takes seconds to start.
    """
    script, given = ROOT / "examples" / name, list(map(str, args))
    if alone:
        # As after an installation, whether or not there was one.
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        done = subprocess.run([sys.executable, script, *given], capture_output=True, text=True, env=environment, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout
    printed, said, threads = io.StringIO(), io.StringIO(), torch.get_num_threads()
    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng())
        stack.enter_context(contextlib.redirect_stdout(printed))
        stack.enter_context(contextlib.redirect_stderr(said))
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")  # the tests' own filter makes errors of other packages' warnings
        stack.enter_context(pytest.MonkeyPatch.context()).setattr(sys, "argv", [str(script), *given])
        stack.callback(torch.set_num_threads, threads)
        torch.set_num_threads(1)  # tensors this small gain nothing by more, and lose much where the cores are busy
        try:
            runpy.run_path(str(script), run_name="__main__")
        except SystemExit as end:
            if end.code:
                raise AssertionError(said.getvalue()) from end
    return printed.getvalue()


def number(pattern: str, text: str) -> float:
    """The number after the given words."""
    found = re.search(pattern + r"\s+([0-9.]+)", text)
    assert found, text
    return float(found[1])


def test_quickstart_classifies_the_digits_and_leaves_its_predictions_in_the_file(tmp_path: Path) -> None:
    file = tmp_path / "digits.duckdb"
    printed = run_example("quickstart.py", file, alone=True)
    assert number("test accuracy", printed) >= 0.95
    assert "taken_for" in printed

    with duckdb.connect(file, read_only=True) as con:  # plain DuckDB reads what dbgnn wrote
        tables = con.execute("SELECT table_name FROM duckdb_tables() WHERE schema_name = 'main' ORDER BY ALL").fetchall()
        assert tables == [("digit",), ("prediction",), ("resembles",)]
        accuracy = con.execute("""
            SELECT avg(CAST(predicted = y AS INTEGER)), count(*) FROM digit JOIN prediction USING (id) WHERE split = 'test'
        """).fetchone()
        assert accuracy is not None
        assert accuracy[0] == pytest.approx(number("test accuracy", printed), abs=1e-4)
        # Every image has ten neighbours, and none of them is itself.
        neighbours = con.execute("""
            SELECT count(DISTINCT dst), count(*), count(*) FILTER (src = dst), max(times)
            FROM (SELECT *, count(*) OVER (PARTITION BY src, dst) AS times FROM resembles)
        """).fetchone()
    assert neighbours == (1797, 17970, 0, 1)


def test_quickstart_does_not_touch_a_file_that_exists(tmp_path: Path) -> None:
    file = tmp_path / "mine"
    file.write_text("mine")
    with pytest.raises(AssertionError, match="exists"):
        run_example("quickstart.py", file)
    assert file.read_text() == "mine"


def test_a_script_for_kuzu_trains_with_the_arguments_it_had() -> None:
    printed = run_example("kuzu_papers.py", "--papers", "1600", "--citations", "16000", "--batch-size", "80")
    assert "num_workers=4: threads of this process" in printed
    assert number("epoch 02  loss", printed) < number("epoch 01  loss", printed)
    assert number("validation accuracy", printed) >= 0.3  # of 16 areas


def test_cora(cora_dir: Path) -> None:
    printed = run_example("cora.py", cora_dir, "--seeds", "1", "--epochs", "20")
    assert number("mean test accuracy", printed) >= 0.74


def test_movielens(movielens_dir: Path) -> None:
    printed = run_example("movielens.py", movielens_dir, "--epochs", "1")
    assert number("test RMSE", printed) < number("predicting the mean rating", printed)


def test_recommend_beats_the_means(movielens_dir: Path) -> None:
    printed = run_example("recommend.py", movielens_dir, "--steps", "10", "--user", "15")
    errors = re.search(r"^all +10,000 +([0-9.]+) +([0-9.]+) +([0-9.]+) +([0-9.]+)$", printed, re.MULTILINE)
    assert errors, printed
    mean, means, shrunk, model = map(float, errors.groups())
    assert model < shrunk < means < mean

    recommended = re.findall(r"^  ([0-9.]+)  (.+)$", printed.partition("for user 15:")[2], re.MULTILINE)
    stars = [float(guess) for guess, _ in recommended]
    assert len(recommended) == 10
    assert stars == sorted(stars, reverse=True)
    with duckdb.connect() as con:
        rated = con.execute(
            """SELECT title FROM read_csv($1) JOIN read_csv($2, quote='"', escape='"') USING ("movieId") WHERE "userId" = 15""",
            [str(movielens_dir / "ratings.csv"), str(movielens_dir / "movies.csv")],
        ).fetchall()
    assert rated
    assert not {(title,) for _, title in recommended} & set(rated)


def test_shop_foretells_who_comes_back() -> None:
    printed = run_example("shop.py", "--epochs", "30")
    areas = dict(re.findall(r"^  (\w[\w ]*?) +(0\.\d{4})$", printed, re.MULTILINE))
    model = float(areas.pop("the GNN"))
    assert "days_since_last" in areas
    assert model > max(map(float, areas.values())) > 0.5
    assert len(re.findall(r"^ 0\.\d{3}  .+ \(\w+\)$", printed, re.MULTILINE)) == 5


def test_events_respects_time_and_shows_what_a_leak_promises() -> None:
    printed = run_example("events.py", "--accounts", "600", "--epochs", "3")
    honest, leaky = number("honest AUC", printed), number("leaky AUC", printed)
    assert 0.6 < honest < leaky - 0.03


def recommends(printed: str) -> None:
    """Ten movies for one user, the best first, and a recall above that of what is popular."""
    scores = [float(score) for score in re.findall(r"^ +(-?[0-9.]+)  .+ \(rated [0-9]+ times\)$", printed, re.MULTILINE)]
    assert len(scores) == 10
    assert scores == sorted(scores, reverse=True)
    assert number("recall@20", printed) > 1.1 * number("of what is popular", printed)


def test_links_recommend_better_than_popularity_on_generated_ratings() -> None:
    recommends(run_example("links.py", "--epochs", "3"))


def test_links_recommend_better_than_popularity(movielens_dir: Path) -> None:
    recommends(run_example("links.py", movielens_dir, "--epochs", "3"))
