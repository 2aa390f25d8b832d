"""The benchmarks of the loader and of the ETL run, at sizes that say nothing about speed."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PEER = any(importlib.util.find_spec(name) for name in ("pyg_lib", "torch_sparse"))


def run_benchmark(name: str, *args: str | Path) -> str:
    """Run a script as a reader does, and return what it printed."""
    command = [sys.executable, str(ROOT / "bench" / name), *map(str, args)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def rows(markdown: str) -> list[dict[str, str]]:
    """The rows of the one table in a text, by the names of its columns."""
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in markdown.splitlines() if line.startswith("|")]
    return [dict(zip(lines[0], line, strict=True)) for line in lines[2:]]


def test_loader_measures_its_rows_and_says_what_it_leaves_out(tmp_path: Path) -> None:
    arguments = "--nodes 400 --edges 2000 --dim 4 --batch-size 8 --num-neighbors 3 2 --steps 2 --super-batch 4 --only-training"
    printed = run_benchmark(
        "loader.py", *arguments.split(), "--rows", "pyg", "join+hot50", "--limits", "default", "0.25", "--out", tmp_path
    )
    model, pyg, measured, skipped = rows(printed)
    assert [row["row"] for row in (model, pyg, measured, skipped)] == ["model", "pyg", "join+hot50", "join+hot50"]
    assert float(measured["ms/step"]) >= float(measured["model"]) > 0
    assert measured["steps (skipped)"] == "4 (4)"
    assert 0 < int(measured["hits"].removesuffix("%")) < 100
    assert "its hot rows take" in skipped["memory_limit"] + skipped["ms/step"]
    assert (measured["× PyG"] != "") == PEER
    assert ("make bench-peers" in pyg["ms/step"]) != PEER

    (table,) = tmp_path.glob("*.md")
    assert table.read_text() == printed
    pytest.importorskip("matplotlib")
    assert table.with_suffix(".png").read_bytes().startswith(b"\x89PNG")


def test_loader_measures_halves() -> None:
    arguments = "--half --nodes 400 --edges 2000 --dim 4 --batch-size 8 --num-neighbors 3 2 --steps 2 --super-batch 4"
    (_, _, measured) = rows(
        run_benchmark("loader.py", *arguments.split(), "--only-training", "--rows", "pyg", "spooled", "--limits", "default")
    )
    assert float(measured["ms/step"]) > 0


def test_gather_fetches_the_same_rows_in_every_dtype(tmp_path: Path) -> None:
    arguments = "--dtypes --nodes 3000 --dim 8 --rows 500 --repeat 1"
    printed = run_benchmark("gather.py", *arguments.split(), "--folder", tmp_path)
    assert re.search(r"500 rows, +time: float32 +[\d.]+ \(1\.00 ×\) +float16 .* ×\) +8-bit codes .* ×\)", printed)


def test_gather_fetches_the_same_rows_beside_a_table_with_a_key(tmp_path: Path) -> None:
    arguments = "--beside --nodes 3000 --dim 8 --rows 500 --repeat 1"
    printed = run_benchmark("gather.py", *arguments.split(), "--folder", tmp_path)
    assert re.search(r"500 rows, +time: column +[\d.]+ \(1\.00 ×\) +beside .* ×\)", printed)


def test_modes_take_turns_and_labor_meets_fewer_nodes() -> None:
    arguments = "--nodes 3000 --edges 60000 --kinds rmat --batch-size 64 --num-neighbors 4 4 --super-batch 2 --rounds 2"
    found = {row["mode"]: row for row in rows(run_benchmark("modes.py", *arguments.split()))}
    assert found["uniform"]["× uniform"] == found["uniform"]["nodes × uniform"] == "1.00"
    assert all(float(row["ms per M edges"]) > 0 for row in found.values())
    assert float(found["LABOR, layers alike"]["nodes × uniform"]) < float(found["LABOR"]["nodes × uniform"]) < 0.9


def test_scale_fits_exponents_and_stops_before_the_disk_is_full(tmp_path: Path) -> None:
    arguments = (
        "--sizes 300 900 1000000000000 --degree 4 --dim 4 --batch-size 16 --num-neighbors 3 2 --fraction 0.5 --no-training"
    )
    printed = run_benchmark("scale.py", *arguments.split(), "--folder", tmp_path)
    small, large, exponent = rows(printed)
    assert (small["edges"], small["steps"], large["edges"], large["steps"]) == ("1,200", "10", "3,600", "29")
    assert all(float(row["epoch (s)"]) > 0 and float(row["index (s)"]) > 0 for row in (small, large))
    assert exponent["epoch (s)"].startswith("**")
    assert "Stopped before 1,000,000,000,000 nodes" in printed
    assert "GB of disk" in printed
    assert list(tmp_path.iterdir()) == []


def test_etl_measures_time_and_memory_and_says_what_it_leaves_out(tmp_path: Path) -> None:
    arguments = "--nodes 500 --edges 3000 --dim 4 --repeat 1 --forms type --limits 200MB 0.5 --kuzu-edges 100"
    printed = run_benchmark("etl.py", *arguments.split(), "--folder", tmp_path, "--kuzu-python", sys.executable)
    times, memory = (rows(part) for part in printed.split("Kùzu is left out: "))
    assert [row[""] for row in times] == ["by type", "by graph", "Arrow"]
    assert all(float(row["÷ Arrow"]) > 0 for row in times)
    assert [(row[""], row["memory_limit"]) for row in memory] == [("by type", "200 MB")]
    assert memory[0]["result (MB)"] == "0.1"  # 500 × (4 × 4 + 8) + 3000 × 2 × 8 bytes
    assert int(memory[0]["cold (ms)"]) > 0
    assert "more than 100 edges" in printed
    assert "memory_limit 0.5 is left out" in printed
    assert [path.suffix for path in tmp_path.iterdir()] == [".duckdb"]


def test_places_measures_every_place() -> None:
    arguments = "--nodes 400 --edges 2000 --dim 4 --batch-size 16 --num-neighbors 3 2 --steps 6 --rounds 1"
    found = rows(run_benchmark("places.py", *arguments.split()))
    assert [row["place"].split(",")[0] for row in found] == ["file", "file", "memory", "memory"]
    assert found[0]["× file"] == "1.00"
    assert all(float(row["ms/step"]) > 0 for row in found)
