"""What the benchmarks of the loader measure (`Case`), what comes back (`Result`), and how it is run (`apart`).

Imports no torch, so that the process that waits for results takes little memory from those that are measured.
"""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

Auto = int | Literal["auto"]

#: The parts of a step that loaders report.
PARTS = ("sampling", "grouping", "relabelling", "features", "scatter")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """What to measure: a graph, a side (who loads), its settings, and whether a model trains on the batches.

    ``side`` "model" is the model alone: it trains on one batch of the graph again and again. ``epochs`` measures whole
    epochs (the first of several is left out) instead of about ``steps`` steps.
    """

    side: Literal["pyg", "dbgnn", "model"]
    path: str
    nodes: int
    edges: int
    dim: int
    half: bool = False
    batch_size: int
    num_neighbors: Sequence[int]
    seeds: int | None = None
    steps: int = 16
    epochs: int | None = None
    train: bool = False
    hidden: int = 64
    trim: bool = False
    plan: str = "auto"
    cache_bytes: Auto = "auto"
    super_batch: Auto = "auto"
    prefetch: Auto = "auto"
    memory_limit: int | None = None
    threads: int | None = None
    seed: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Result:
    """What a process measured. Times are seconds a step, sizes are bytes a step; memory is in bytes.

    ``baseline`` is the peak before there was a loader: after imports and the making of the model.
    """

    setup: float
    skipped: int
    steps: int
    seconds: float
    waiting: float
    cpu: float
    parts: dict[str, float]
    nodes: float
    edges: float
    bytes_read: float
    bytes_disk: float
    bytes_used: float
    hit_rate: float | None
    baseline: int
    peak: int
    super_batch: int
    explained: str


def apart(case: Case, timeout: float | None = None) -> Result | str:
    """Measure in a fresh process, so that its peak memory is its own; a str says why there is no result.

    Args:
        case: What to measure.
        timeout: Seconds after which the process is stopped.
    """
    command = [sys.executable, str(Path(__file__).with_name("measure.py")), json.dumps(dataclasses.asdict(case))]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
    except subprocess.TimeoutExpired:
        return f"stopped after {timeout:.0f} s"
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if re.match(r"[\w.]*(Error|Exception)\b", line)]
        return said[-1][:300] if said else f"ended with exit code {done.returncode}"
    return Result(**json.loads(done.stdout.splitlines()[-1]))
