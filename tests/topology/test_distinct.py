"""The distinct numbers of an array are those of NumPy, whose own function is not called where it hashes."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest

import dbgnn
from dbgnn.topology.distinct import sorted_distinct

PACKAGE = Path(dbgnn.__file__).parent


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.float32])
@pytest.mark.parametrize("size", [0, 1, 2, 5000])
def test_every_number_once(dtype: type[np.generic], size: int) -> None:
    values = np.random.default_rng(size).integers(-200, 200, size).astype(dtype)
    found = sorted_distinct(values)
    assert found.dtype == dtype
    assert found.tolist() == sorted(set(values.tolist()))


def hashes(call: ast.AST) -> bool:
    """Whether it is a call of ``np.unique`` that returns nothing else, or of what is made of such calls."""
    if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute)):
        return False
    name = ast.unparse(call.func)
    return (name == "np.unique" and not call.keywords) or name in {
        "np.setdiff1d",
        "np.union1d",
        "np.intersect1d",
        "np.setxor1d",
    }


def test_numpy_s_own_is_not_called() -> None:
    assert hashes(ast.parse("np.unique(x)", mode="eval").body)
    assert not hashes(ast.parse("np.unique(x, return_index=True)", mode="eval").body)
    found = [str(f) for f in sorted(PACKAGE.rglob("*.py")) for node in ast.walk(ast.parse(f.read_text())) if hashes(node)]
    assert found == []
