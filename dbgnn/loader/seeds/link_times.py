"""The times of a loader's seed links: given, or those of their own edges; and whether they are still what they were read as."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from dbgnn.errors import RequestError, StaleIndexError
from dbgnn.sampling.given_times import given_times
from dbgnn.sampling.relative import times_of
from dbgnn.schema.model import EdgeType, shown_type
from dbgnn.topology.times import TimeColumn

if TYPE_CHECKING:
    from torch_geometric.sampler import EdgeSamplerInput

    from dbgnn.indexed_graph import IndexedGraph
    from dbgnn.loader.seeds.link_forms import ChosenLinks
    from dbgnn.sampling.sampler import NeighborSampler
    from dbgnn.topology import Topology


@dataclass(slots=True, eq=False)
class LinkTimes:
    """The times of seed links.

    Attributes:
        values: int64 ``[n]``.
        unit: The unit that they are in.
        edge_type: The type of the links.
        own: The column of the edge table that they were read from; None: they were given.
        edge: Where they are their edges' own, the edge ids ``[n]``.
    """

    values: Tensor
    unit: str
    edge_type: EdgeType
    own: TimeColumn | None = None
    edge: Tensor | None = None
    _seen: object = field(default=None, repr=False)

    def check(self, sampler: NeighborSampler, topology: Topology, inputs: Sequence[EdgeSamplerInput]) -> None:
        """Raise if these are not the times that a sampler compares with edges and nodes.

        Args:
            sampler: The sampler as it is now.
            topology: The verified index.
            inputs: What mini-batches are about to start from.

        Raises:
            RequestError: ``time_attr`` was set since.
            StaleIndexError: The edges have other times by now.
        """
        timeline = sampler.fanout.timeline
        if timeline is None:
            return
        if timeline.unit != self.unit or (self.own is not None and timeline.edges.get(self.edge_type) != self.own):
            whose = "edge_label_time was given" if self.own is None else f"those of the seed links, {self.own.name!r},"
            raise RequestError(
                f"time_attr is {sampler.time_attr!r} now, whose times are others (in {timeline.unit}) than {whose} in "
                f"{self.unit}; make another loader."
            )
        if self.own is None or self.edge is None:
            return
        # A file's stamp says whether anybody committed anything; of a database in memory nothing does.
        stamp = sampler.graph.db.stamp()
        if stamp is not None and stamp == self._seen:
            return
        edge, known = self.edge, self.values
        if stamp is None:
            edge = torch.cat([getattr(given, "edge", edge[:0]) for given in inputs])
            known = torch.cat([known[:0] if given.time is None else given.time for given in inputs])
        now = times_of(sampler.graph.db, topology, timeline, self.edge_type, edge.numpy())
        if not np.array_equal(now, known.numpy()):
            raise StaleIndexError(
                f"Column {self.own.name!r} of {shown_type(self.edge_type)} changed since this loader was made, so its seed "
                "links have other times now. Make the loader again."
            )
        self._seen = stamp


def link_times(graph: IndexedGraph, sampler: NeighborSampler, chosen: ChosenLinks, given: Any) -> LinkTimes | None:
    """Return the times of seed links; None: time does not matter.

    Args:
        graph: The graph.
        sampler: The loader's sampler.
        chosen: The links.
        given: As `given_times` takes them; None: the edges' own.

    Raises:
        RequestError: The links have no times and were given none, or time does not matter; and what `given_times` raises.
    """
    timeline, name = sampler.fanout.timeline, shown_type(chosen.edge_type)
    if timeline is None:
        if given is not None:
            raise RequestError("edge_label_time needs time_attr, which says what columns it is compared with; give both.")
        return None
    if given is None:
        if chosen.edge is None or chosen.edge_type not in timeline.edges:
            raise RequestError(
                f"The seed links of {name} need a time, since time_attr is given, and they have none "
                "of their own: give edge_label_time, the time of each link."
            )
        stamp = graph.db.stamp()
        own = torch.from_numpy(times_of(graph.db, graph.topology(), timeline, chosen.edge_type, chosen.edge.numpy()))
        column = timeline.edges[chosen.edge_type]
        return LinkTimes(own, timeline.unit, chosen.edge_type, column, chosen.edge, stamp)
    if isinstance(given, str) and chosen.edge is None:
        raise RequestError(
            f"edge_label_time={given!r} is about rows of {name}, and these links are pairs of nodes. "
            "Give the times, or edge ids."
        )
    ids = chosen.row if chosen.edge is None else chosen.edge
    values = given_times(graph, chosen.edge_type, ids.numpy(), given, timeline.unit, "edge_label_time")
    return LinkTimes(values, timeline.unit, chosen.edge_type)
