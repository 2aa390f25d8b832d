"""The rows of a task as the seed nodes of a loader: their targets and times travel with them into mini-batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import HeteroData
from torch_geometric.sampler import BaseSampler, NodeSamplerInput

from dbgnn.errors import RequestError
from dbgnn.loader.seeds.node_seeds import ChosenNodes, NodeSeeds
from dbgnn.loader.seeds.task_rows import Task, TaskRows
from dbgnn.loader.seeds.task_times import timeline_of, times_of_rows, warn_of_leak
from dbgnn.sampling.start import Start
from dbgnn.translated import keyboard_interrupts

if TYPE_CHECKING:
    from dbgnn.sampling.sampler import NeighborSampler
    from dbgnn.stores import DuckDBFeatureStore
    from dbgnn.topology import Topology

#: The attribute of the seeds that holds their targets.
TARGET = "y"


class TaskSeeds(NodeSeeds):
    """Seed nodes that the rows of a task name; ``input_id`` are the rows.

    Args:
        store: The feature store.
        rows: The rows.
        sampler: What samples around them.

    Raises:
        RequestError: They are links, or mini-batches have ``y`` already.
        SchemaError: Their times are of another kind than the sampler's.
    """

    rows: TaskRows

    def __init__(self, store: DuckDBFeatureStore, rows: TaskRows, sampler: BaseSampler) -> None:
        if not isinstance(rows.label, str):
            raise RequestError(
                f"input_nodes is {rows.called}, whose rows are links; give it to dbgnn.LinkNeighborLoader as edge_label_index."
            )
        super().__init__(store, ChosenNodes(rows.label, rows.ends[0], came_from=f"{rows.called} whose query gives no rows"))
        _need_free(store, rows)
        self.rows = rows
        self._times: dict[str, Tensor] = {}
        self._graph, self._group = store.graph, store.group_name(rows.label)
        self._timed(sampler, self.input_data[torch.arange(0)])  # the times that do not fit are said now

    def starts(
        self,
        sampler: NeighborSampler,
        topology: Topology,
        inputs: Sequence[NodeSamplerInput],
        counters: Sequence[tuple[int, int]],
    ) -> list[Start]:
        """Return the nodes, with their times, as what mini-batches start from."""
        return super().starts(sampler, topology, [self._timed(sampler, given) for given in inputs], counters)

    def sample(self, sampler: Any, inputs: NodeSamplerInput, **counters: int) -> Any:
        """Sample one mini-batch by any sampler's own method."""
        return super().sample(sampler, self._timed(sampler, inputs), **counters)

    def finish(self, batch: Any) -> None:
        """Add the targets of the seeds; and where the sampler does not know of time, theirs."""
        store = batch[self._group] if isinstance(batch, HeteroData) else batch
        if self.rows.target is not None:
            store[TARGET] = self.rows.target[store.input_id]
        if self.rows.times is not None and store.get("seed_time") is None:
            store.seed_time = torch.from_numpy(self.rows.times.view(np.int64))[store.input_id]

    def identity(self) -> dict[str, Any]:
        """Return what decides the mini-batches."""
        return super().identity() | {"task": self.rows.identity()}

    def _timed(self, sampler: BaseSampler, inputs: NodeSamplerInput) -> NodeSamplerInput:
        """Return seeds with their times, in the unit of a sampler that samples by time."""
        timeline = timeline_of(sampler)
        if self.rows.times is None or timeline is None:
            return inputs
        if timeline.unit not in self._times:
            self._times[timeline.unit] = times_of_rows(self._graph, self.rows, timeline)
        return replace(inputs, time=self._times[timeline.unit][inputs.input_id])


@keyboard_interrupts()
def task_seeds(
    store: DuckDBFeatureStore, task: Task, sampler: BaseSampler, *, input_id: Tensor | None, input_time: Any, stacklevel: int
) -> TaskSeeds:
    """Run a task's query, and return its rows as the seeds of a loader.

    Args:
        store: The feature store.
        task: The task.
        sampler: What samples around them.
        input_id: As the user gave it, beside a task.
        input_time: Likewise.
        stacklevel: As of `warnings.warn`, from the caller on.

    Raises:
        RequestError: ``input_id`` or ``input_time`` was given; and what :meth:`Task.read` raises.

    Warns:
        UserWarning: The task has times, and the sampler does not sample by time although tables say when.
    """
    given = [name for name, value in (("input_id", input_id), ("input_time", input_time)) if value is not None]
    if given:
        what = "rows of the task" if given[0] == "input_id" else "times of its column time="
        raise RequestError(f"{given[0]} is not for a task, whose seeds have the {what}; leave it out.")
    seeds = TaskSeeds(store, task.read(store), sampler)
    warn_of_leak(store.graph, seeds.rows, sampler, stacklevel=stacklevel + 2)
    return seeds


def _need_free(store: DuckDBFeatureStore, rows: TaskRows) -> None:
    """Raise if the seeds' targets would have the name of a feature."""
    if rows.target is None:
        return
    group = store.group_name(str(rows.label))
    attrs = [*store.node_tensor_attrs(), *(store.edge_tensor_attrs() if store.homogeneous else [])]
    names = [attr.attr_name for attr in attrs if attr.group_name == group]
    if TARGET in names:
        raise RequestError(
            f"The targets of {rows.called} become the {TARGET!r} of the seeds, and {rows.label!r} has a column that loaders "
            "fetch under that name. Leave it out when the stores are opened: "
            f"columns={{{rows.label!r}: {[name for name in names if name != TARGET]}}}."
        )
