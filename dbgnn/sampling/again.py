"""Sampling again, where a build in another thread has dropped tables that a sample was reading."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

import duckdb

#: How often, before the error is handed on.
ATTEMPTS = 3

T = TypeVar("T")


def again(sample: Callable[[], T]) -> T:
    """Return what ``sample`` returns, which asks for index and lists by itself; from the beginning where one was dropped.

    Args:
        sample: Samples; called again, it must do the same, so random keys are drawn before.
    """
    for _ in range(ATTEMPTS):
        with suppress(duckdb.CatalogException):
            return sample()
    return sample()
