"""Work of NumPy's in two threads, since it lets others run while it computes. They end with it, so none is there at a fork."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Piece = TypeVar("Piece")
Answer = TypeVar("Answer")


def in_threads(work: Callable[[Piece], Answer], items: Sequence[Piece]) -> list[Answer]:
    """Return what ``work`` returns for each item, in their order."""
    if len(items) < 2:
        return [work(item) for item in items]
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(work, items))
