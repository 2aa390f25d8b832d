"""What a step of a loader is measured by: the clocks of its mini-batch, and what the kernel says of the process."""

from __future__ import annotations

import os
import resource
import sys

import duckdb

from dbgnn.errors import RequestError
from dbgnn.loader.pipeline import MiniBatch
from dbgnn.loader.stats import StepStats
from dbgnn.open_database import OpenDatabase
from dbgnn.translated import translated

#: ru_maxrss is in kilobytes on Linux, in bytes on macOS.
_RSS_UNIT = 1 if sys.platform == "darwin" else 1024


def step_of(mini: MiniBatch, seconds: float, read: int) -> StepStats:
    """Return the figures of a mini-batch that is about to be handed out.

    Args:
        mini: The mini-batch.
        seconds: The time since the one before was.
        read: The bytes that the process read in that time.
    """
    spent, out = mini.clock.seconds, mini.out
    parts = ("sampling", "grouping", "relabelling", "features", "scatter", "waiting")
    return StepStats(
        epoch=mini.index.epoch,
        step=mini.index.number,
        **{part: spent.get(part, 0.0) for part in parts},
        seconds=seconds,
        nodes=_count(out.node),
        edges=_count(out.row),
        rows=mini.taken.rows,
        hits=mini.taken.hits,
        bytes_used=mini.taken.num_bytes,
        bytes_read=read,
        peak_rss=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _RSS_UNIT,
    )


def bytes_read() -> int:
    """Return the bytes this process asked the kernel for so far, from disk or page cache; 0 where nobody counts them."""
    try:
        counters = os.open("/proc/self/io", os.O_RDONLY)  # 6 µs; open() takes 14
    except OSError:
        return 0
    try:
        return int(os.read(counters, 64).split()[1])
    finally:
        os.close(counters)


def parse_bytes(db: OpenDatabase, name: str, text: str) -> int:
    """Return a number of bytes written as DuckDB writes them, such as ``"2GB"``."""
    try:
        with translated(db):
            return int(db.cursor().execute("SELECT parse_formatted_bytes(?)", [text]).fetchall()[0][0])
    except duckdb.Error as error:
        raise RequestError(f"{name} must be 'auto', a number of bytes or text such as '2GB', not {text!r}.") from error


def _count(ids: object) -> int:
    """Return how many ids a sampler's output holds, of one type or by type."""
    return sum(map(len, ids.values())) if isinstance(ids, dict) else len(ids)  # type: ignore[arg-type]
