"""The times of a loader's seeds, in every form in which a user may give them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor

from dbgnn.errors import RequestError
from dbgnn.sampling.given_times import given_times
from dbgnn.sampling.sampler import NeighborSampler
from dbgnn.sampling.seed_times import no_time
from dbgnn.translated import keyboard_interrupts

if TYPE_CHECKING:
    from dbgnn.indexed_graph import IndexedGraph
    from dbgnn.loader.seeds.node_seeds import ChosenNodes


@dataclass(frozen=True, slots=True, eq=False)
class InputTimes:
    """The times that were given to seeds.

    Attributes:
        values: int64 ``[n]``.
        unit: The unit that they are in; None: that of a sampler of another kind.
    """

    values: Tensor
    unit: str | None

    def check(self, sampler: Any) -> None:
        """Raise if a sampler's times are in another unit by now.

        Raises:
            RequestError: They are: ``time_attr`` was set since.
        """
        timeline = sampler.fanout.timeline if isinstance(sampler, NeighborSampler) else None
        if timeline is not None and timeline.unit != self.unit:
            raise RequestError(
                f"time_attr is {sampler.time_attr!r} now, whose times are in another unit ({timeline.unit}) than "
                f"input_time was given in ({self.unit}); make another loader."
            )


@keyboard_interrupts()
def input_times(graph: IndexedGraph, sampler: Any, chosen: ChosenNodes, given: Any) -> InputTimes | None:
    """Return the times of a loader's seeds; None: each has the time of its row, or time does not matter.

    Args:
        graph: The graph.
        sampler: The loader's sampler.
        chosen: The seeds.
        given: Integers or moments, one per seed, or a column or SQL expression over the seeds' table; None: none are given.

    Raises:
        DataError, RequestError, SchemaError, SqlError: See `given_times`.
        RequestError: Time does not matter, or the seeds have none and were given none.
    """
    if not isinstance(sampler, NeighborSampler):
        if given is not None and not isinstance(given, Tensor):
            raise RequestError(f"With a sampler of another kind input_time must be a tensor, not {given!r:.80}.")
        return None if given is None else InputTimes(given, None)
    timeline = sampler.fanout.timeline
    if timeline is None:
        if given is not None:
            raise RequestError("input_time needs time_attr, the name of the columns that say when.")
        return None
    if given is None:
        if chosen.label not in timeline.nodes:
            raise RequestError(no_time(chosen.label, timeline))
        return None
    values = given_times(graph, chosen.label, chosen.nodes.numpy(), given, timeline.unit, "input_time")
    return InputTimes(values, timeline.unit)
