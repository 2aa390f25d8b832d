"""A DuckDB file in a folder of its own, and COPY on it the way `Database.execute` runs it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import duckdb
import pytest

from dbgnn.ingest import parse_copy, run_copy

Copy = Callable[[str], int]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, so that statements name files without a path."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def con(folder: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect("test.db") as connection:
        yield connection


@pytest.fixture
def copy(con: duckdb.DuckDBPyConnection) -> Copy:
    def run(query: str) -> int:
        statement = parse_copy(query)
        assert statement is not None, "the statement is not ours"
        return run_copy(con, statement, progress=False)

    return run
