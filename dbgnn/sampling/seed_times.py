"""The times of seeds: as PyG's samplers are given them, or those of the seeds' own rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from dbgnn.errors import RequestError
from dbgnn.sampling.relabel import Ids
from dbgnn.sampling.relative import times_of
from dbgnn.topology.times import Moments, Timeline

if TYPE_CHECKING:
    from dbgnn.indexed_graph import IndexedGraph
    from dbgnn.topology import Topology

#: Of one mini-batch: its seeds by node type, and the times of those to which one was given.
Timed = tuple[Mapping[str, Ids], Mapping[str, Tensor]]


def times_of_seeds(
    graph: IndexedGraph, topology: Topology, timeline: Timeline | None, given: Sequence[Timed]
) -> list[dict[str, Moments]]:
    """Return, per mini-batch, the time of every seed by node type; nothing where time does not matter.

    Args:
        graph: The graph.
        topology: Its verified index.
        timeline: Which columns say when; None: time does not matter.
        given: Per mini-batch, its seeds and the times that were given: int64 ``[n]``, in the unit of the timeline.

    Raises:
        DataError: A seed's row has no time.
        RequestError: Times are no integers, more or fewer than the seeds, there is no sample by time, or a type of seeds that
            has no times was given none.
    """
    if timeline is None:
        if any(times for _, times in given):
            raise RequestError(
                "Seeds have a time, but the sampler does not know which columns say when: make it with time_attr, or leave "
                "input_time out."
            )
        return [{} for _ in given]
    found = [{label: _as_times(label, tensor, len(seeds[label])) for label, tensor in times.items()} for seeds, times in given]
    for label in dict.fromkeys(label for seeds, _ in given for label in seeds):
        lacking = [i for i, (seeds, _) in enumerate(given) if label in seeds and label not in found[i]]
        if not lacking:
            continue
        if label not in timeline.nodes:
            raise RequestError(no_time(label, timeline))
        ids = [given[i][0][label] for i in lacking]
        own = times_of(graph.db, topology, timeline, label, np.concatenate(ids))
        for i, times in zip(lacking, np.split(own, np.cumsum([len(part) for part in ids])[:-1]), strict=True):
            found[i][label] = times
    return found


def no_time(label: str, timeline: Timeline) -> str:
    """Return what to say of seeds without a time."""
    named = next(iter([*timeline.nodes.values(), *timeline.edges.values()])).name
    return (
        f"Seeds of type {label!r} need a time, and their table has no column {named!r}, which says when: give input_time, the "
        "time of each seed."
    )


def _as_times(label: str, times: Tensor, seeds: int) -> Moments:
    if times.is_floating_point() or times.is_complex() or times.dtype.itemsize < 2:
        raise RequestError(f"The times of seeds of type {label!r} must be integers, of dtype int64, not {times.dtype}.")
    if tuple(times.shape) != (seeds,):
        raise RequestError(
            f"There are times of shape {list(times.shape)} for {seeds:,} seeds of type {label!r}; give one each."
        )
    return times.detach().cpu().numpy().astype(np.int64)
