"""The rows of a task as the seed links of a loader: their targets are the labels, their times those of the links."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dbgnn.errors import RequestError
from dbgnn.loader.seeds.link_forms import ChosenLinks
from dbgnn.loader.seeds.link_seeds import LinkOptions, LinkSeeds
from dbgnn.loader.seeds.task_rows import Task, TaskRows
from dbgnn.loader.seeds.task_times import timeline_of, times_of_rows, warn_of_leak
from dbgnn.translated import keyboard_interrupts

if TYPE_CHECKING:
    from dbgnn.stores import DuckDBFeatureStore


class TaskLinks(LinkSeeds):
    """Seed links that the rows of a task name; ``input_id`` are the rows.

    Args:
        store: The feature store.
        sampler: What samples around them.
        rows: The rows.
        options: What is asked of them.

    Raises:
        RequestError: They are nodes.
        SchemaError: Their times are of another kind than the sampler's.
    """

    rows: TaskRows

    def __init__(self, store: DuckDBFeatureStore, sampler: Any, rows: TaskRows, options: LinkOptions) -> None:
        if isinstance(rows.label, str):
            raise RequestError(
                f"edge_label_index is {rows.called}, whose rows are nodes; give it to dbgnn.NeighborLoader as input_nodes."
            )
        timeline = timeline_of(sampler)
        times = None if rows.times is None or timeline is None else times_of_rows(store.graph, rows, timeline)
        came_from = f"{rows.called} whose query gives no rows"
        row, col = rows.ends
        chosen = ChosenLinks(rows.label, row, col, edge=None, input_id=None, came_from=came_from)
        super().__init__(store, sampler, chosen, options, edge_label=rows.target, edge_label_time=times)
        self.rows = rows

    def identity(self) -> dict[str, Any]:
        """Return what decides the mini-batches."""
        return super().identity() | {"task": self.rows.identity()}


@keyboard_interrupts()
def task_links(
    store: DuckDBFeatureStore, task: Task, sampler: Any, options: LinkOptions, given: dict[str, Any], *, stacklevel: int
) -> TaskLinks:
    """Run a task's query, and return its rows as the seed links of a loader.

    Args:
        store: The feature store.
        task: The task.
        sampler: What samples around them.
        options: What is asked of the links.
        given: What the user gave beside a task, by the names of the arguments; None: nothing.
        stacklevel: As of `warnings.warn`, from the caller on.

    Raises:
        RequestError: Something was given that the task says; and what :meth:`Task.read` raises.

    Warns:
        UserWarning: The task has times, and the sampler does not sample by time although tables say when.
    """
    if beside := [name for name, value in given.items() if value is not None]:
        says = {"edge_label": "target", "edge_label_time": "time"}.get(beside[0])
        remedy = "leave it out" if says is None else f"name the column of its query with {says}="
        raise RequestError(f"{beside[0]} is not for a task, whose rows say it; {remedy}.")
    seeds = TaskLinks(store, sampler, task.read(store), options)
    warn_of_leak(store.graph, seeds.rows, sampler, stacklevel=stacklevel + 2)
    return seeds
