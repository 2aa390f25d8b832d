"""`StepStats` and `LoaderStats`: what the steps of a loader took, and how to look at it. What is measured, others measure."""

from __future__ import annotations

import importlib
import math
import os
from collections import deque
from dataclasses import dataclass, fields
from itertools import accumulate, pairwise
from operator import add, attrgetter
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from dbgnn import files
from dbgnn.display import Listed, Shown
from dbgnn.errors import DbgnnError

if TYPE_CHECKING:
    import pandas as pd

#: How many steps are kept one by one; older ones live on in the total.
_KEPT = 10_000

#: How many steps, the last ones, are shown as text.
_SHOWN = 10

#: How many columns a plot has at most.
_COLUMNS = 1000


@dataclass(frozen=True, slots=True)
class StepStats:
    """What one step took: one mini-batch, from the hand-out of the one before to its own.

    The first five times are work that may be done in other threads, ahead of the step and while the model trains, so they
    may sum up to more than ``seconds``. What is done for many mini-batches at once counts in equal parts.

    Attributes:
        epoch: The epoch, from 0.
        step: The number of the mini-batch in it, from 0.
        sampling: Seconds in the SQL of sampling.
        grouping: Seconds to sort what was sampled by mini-batch.
        relabelling: Seconds to number its nodes.
        features: Seconds in the SQL of features.
        scatter: Seconds to write features to where they belong.
        waiting: Seconds that the training loop waited for the mini-batch.
        seconds: Seconds of the whole step, training included.
        nodes: Nodes of the mini-batch.
        edges: Edges of the mini-batch.
        rows: Rows of features handed out.
        hits: How many of them were hot rows, kept in memory.
        bytes_used: Bytes of features handed out.
        bytes_read: Bytes that the process read, from disk or from the page cache; 0 where the system does not tell.
        peak_rss: The most memory that the process has used so far, in bytes.
    """

    epoch: int
    step: int
    sampling: float = 0.0
    grouping: float = 0.0
    relabelling: float = 0.0
    features: float = 0.0
    scatter: float = 0.0
    waiting: float = 0.0
    seconds: float = 0.0
    nodes: int = 0
    edges: int = 0
    rows: int = 0
    hits: int = 0
    bytes_used: int = 0
    bytes_read: int = 0
    peak_rss: int = 0


_TYPES = {field.name: pa.float64() if field.type == "float" else pa.int64() for field in fields(StepStats)}
_NAMES = tuple(_TYPES)
_values = attrgetter(*_NAMES)

#: What is added up over the steps.
_SUMMED = _NAMES[2:-1]
_summed = attrgetter(*_SUMMED)

#: The parts that are stacked in a plot: work, in any thread.
_WORK = ("sampling", "grouping", "relabelling", "features", "scatter")


class LoaderStats(Listed, Shown):
    """What the steps of a loader took: the last 10,000 one by one, and all in total. ``print()`` shows a table.

    Attributes:
        steps: The last 10,000 steps, oldest first.
        num_steps: How many there were in all.
    """

    _internal = frozenset({"add"})

    def __init__(self) -> None:
        self.steps: deque[StepStats] = deque(maxlen=_KEPT)
        self.num_steps = 0
        self._sums: tuple[float, ...] = (0,) * len(_SUMMED)
        self._peak_rss = 0

    def add(self, step: StepStats) -> None:
        """Count a step."""
        self.steps.append(step)
        self.num_steps += 1
        self._sums = tuple(map(add, self._sums, _summed(step)))
        self._peak_rss = max(self._peak_rss, step.peak_rss)

    @property
    def total(self) -> StepStats:
        """All steps added up; ``peak_rss`` is the highest, ``epoch`` and ``step`` are those of the last (0: there is none)."""
        epoch, step = (self.steps[-1].epoch, self.steps[-1].step) if self.steps else (0, 0)
        return StepStats(epoch, step, **dict(zip(_SUMMED, self._sums, strict=True)), peak_rss=self._peak_rss)  # type: ignore[arg-type]

    @property
    def hit_rate(self) -> float:
        """The part of the rows of features that were hot rows, 0 to 1; NaN before there was any row."""
        return _ratio(self.total.hits, self.total.rows)

    @property
    def read_amplification(self) -> float:
        """Bytes read by the process per byte of features handed out; NaN before there was any."""
        return _ratio(self.total.bytes_read, self.total.bytes_used)

    # -- looking at it ---------------------------------------------------------------------------------

    def as_table(self) -> pa.Table:
        """Return the last 10,000 steps as an Arrow table, a column per attribute of `StepStats`."""
        columns = list(zip(*map(_values, list(self.steps)), strict=True)) or [()] * len(_NAMES)
        return pa.table([pa.array(c, kind) for c, kind in zip(columns, _TYPES.values(), strict=True)], names=_NAMES)

    def as_frame(self) -> pd.DataFrame:
        """Return the last 10,000 steps as a pandas data frame, a column per attribute of `StepStats`.

        Raises:
            DbgnnError: pandas is not installed.
        """
        _need("pandas", "as_frame()")
        return self.as_table().to_pandas()

    def plot(self, path: str | os.PathLike[str]) -> None:
        """Draw the time of the last 10,000 steps, the work by part and stacked, into a file.

        Args:
            path: The file, overwritten; its suffix says what it becomes: ``.png``, ``.svg``, ``.pdf``.

        Raises:
            DbgnnError: matplotlib is not installed, there is no step yet, or no such kind of picture.
        """
        figure = _need("matplotlib.figure", "plot()").Figure(figsize=(10, 5), layout="constrained")
        steps = list(self.steps)
        if not steps:
            raise DbgnnError("There is nothing to plot before the first step; iterate over the loader first.")
        kinds = figure.canvas.get_supported_filetypes()
        kind = os.path.splitext(path)[1].removeprefix(".").lower()
        if kind not in kinds:
            raise DbgnnError(f"The name of a plot must end in one of {', '.join('.' + k for k in sorted(kinds))}: {path!s}")
        _draw(figure.add_subplot(), steps, first=self.num_steps - len(steps))
        figure.legend(loc="outside right upper")
        with files.replaced(os.path.expanduser(path)) as file:
            figure.savefig(file, format=kind)

    def __str__(self) -> str:
        if not self.steps:
            return "no step was made yet"
        shown, total = list(self.steps)[-_SHOWN:], self.total
        head = ("epoch", "step", *_WORK, "waiting", "whole", "nodes", "edges", "rows", "hits", "used", "read", "peak")
        units = ("", "", *["ms"] * (len(_WORK) + 2), "", "", "", "", "MB", "MB", "MB")
        rows = [head, units, *((f"{s.epoch}", f"{s.step}", *_cells(s)) for s in shown)]
        rows += [("", "mean", *_cells(total, self.num_steps)), ("", "total/1000", *_cells(total, 1000))]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
        lines.insert(len(lines) - 2, "")
        lines += [
            "",
            f"{self.num_steps:,} steps; {self.hit_rate:.1%} of rows hit; {self.read_amplification:.2f} bytes read per used",
        ]
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"dbgnn.LoaderStats({self.num_steps:,} step{'s' * (self.num_steps != 1)}, {self.total.seconds:.3f} s)"


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else math.nan


def _cells(step: StepStats, divisor: int = 1) -> list[str]:
    """Return the figures of a step in ms and MB, all but the peak divided."""
    _, _, *times, nodes, edges, rows, hits, used, read, peak = _values(step)
    counts = [f"{count / divisor:,.0f}" for count in (nodes, edges, rows, hits)]
    return [
        *(f"{seconds * 1e3 / divisor:,.1f}" for seconds in times),
        *counts,
        *(f"{size / 1e6 / divisor:,.1f}" for size in (used, read)),
        f"{peak / 1e6:,.0f}",
    ]


def _draw(axes: Any, steps: list[StepStats], first: int) -> None:
    """Draw steps numbered from ``first`` as columns; where there are too many to see, each is the mean of some."""
    group = math.ceil(len(steps) / _COLUMNS)
    starts = np.arange(0, len(steps), group)
    edges = np.append(starts, len(steps)) + (first - 0.5)

    def ms(part: str) -> np.ndarray[Any, Any]:
        sums: np.ndarray[Any, Any] = np.add.reduceat([getattr(step, part) for step in steps], starts)
        return sums / np.diff(edges) * 1e3

    levels = accumulate((ms(part) for part in _WORK), initial=np.zeros(len(starts)))
    for part, (below, above) in zip(_WORK, pairwise(levels), strict=True):
        axes.stairs(above, edges, baseline=below, fill=True, label=part)
    for part, label, style in (("waiting", "waiting", "dotted"), ("seconds", "whole step", "solid")):
        axes.stairs(ms(part), edges, baseline=None, label=label, color="black", linestyle=style)
    axes.set_xlim(edges[0], edges[-1])
    axes.set_ylim(bottom=0)
    axes.set_xlabel("step" if group == 1 else f"step (means of {group})")
    axes.set_ylabel("ms")


def _need(module: str, what: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        name = module.partition(".")[0]
        raise DbgnnError(f"stats().{what} needs {name}, which is not installed: pip install 'dbgnn[plot]'") from error
