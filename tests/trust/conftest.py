"""Fixtures of the tests of edited indices."""

from __future__ import annotations

from pathlib import Path

import pytest

import dbgnn
from tests.trust.index_edits import WAYS, make


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with an index, to be copied and edited."""
    path = tmp_path_factory.mktemp("base") / "idx.duckdb"
    make(path)
    return path


@pytest.fixture(scope="session")
def right(base: Path) -> dict[str, str]:
    """What every way in gives of the file as it was built."""
    with dbgnn.connect(base, read_only=True, progress=False) as db:
        return {name: way(db) for name, way in WAYS.items()}
