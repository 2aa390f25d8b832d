"""Fixtures shared by the tests of every part."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

#: Real data sets that may lie beside the checkout; no test needs them to pass.
SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


# On a loaded machine a single example can take longer than hypothesis' 200 ms, which says nothing about the code.
settings.register_profile("dbgnn", deadline=None)
settings.load_profile("dbgnn")


@pytest.fixture(scope="session")
def cora_dir() -> Path:
    """The folder with Cora's files, or a skip."""
    return _shared("cora", "x.npy")


@pytest.fixture(scope="session")
def movielens_dir() -> Path:
    """The folder with MovieLens' files, or a skip."""
    return _shared("movielens-small", "ratings.csv")


def _shared(name: str, file: str) -> Path:
    folder = SHARED_DATA / name
    if not (folder / file).exists():
        pytest.skip(f"the data set {name} is not beside the checkout (../shared/data/{name})")
    return folder
