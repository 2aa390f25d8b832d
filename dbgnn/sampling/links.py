"""`Links`: seed links, with negatives, as what mini-batches start from; which links there are is a loader's.

What PyG's `edge_sample` does, for many mini-batches at once, by counters, and with edges left out. Unlike there, a negative
link belongs to one positive link in every layout: the one at the same place, over and over (place modulo their number), from
which it has its time, its number in a disjoint ``batch``, and in triplets its source.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch_geometric.sampler import EdgeSamplerInput, NegativeSampling

from dbgnn.errors import RequestError
from dbgnn.sampling.edges_between import edges_of_pairs
from dbgnn.sampling.negatives import EndNodes, whole_weights
from dbgnn.sampling.random import Words
from dbgnn.sampling.relabel import Ids
from dbgnn.sampling.relative import times_of
from dbgnn.sampling.roots import Excluded, Roots
from dbgnn.sampling.seed_times import times_of_seeds
from dbgnn.sampling.start import Start
from dbgnn.schema.model import EdgeType, shown_type
from dbgnn.topology.times import Moments

if TYPE_CHECKING:
    from dbgnn.sampling.sampler import NeighborSampler
    from dbgnn.topology import EdgeIndex, Topology

#: How many candidates a negative link that must be no edge has, try by try, before there is an error.
_CANDIDATES = (1, 8, 64, 512)


class LinkInput(EdgeSamplerInput):
    """PyG's seed links, which know their edge ids as well.

    Attributes:
        edge: Their edge ids ``[n]``; None: they are pairs of nodes, which need not be edges.
    """

    edge: Tensor | None = None

    def __getitem__(self, index: Any) -> LinkInput:
        some = super().__getitem__(index)
        made = LinkInput(some.input_id, some.row, some.col, some.label, some.time, some.input_type)
        if self.edge is not None:
            made.edge = self.edge[index if isinstance(index, Tensor) else torch.tensor(index, dtype=torch.long)]
        return made


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Edges that are left out of the neighbourhoods of their own mini-batch.

    Attributes:
        edge_type: Their type.
        turned: They lead from the destination of the seed link to its source.
        by_edge: They have the edge ids of the seed links, where those are known; else all edges between the pair are meant.
    """

    edge_type: EdgeType
    turned: bool = False
    by_edge: bool = False


@dataclass(slots=True)
class _Draft:
    """One mini-batch, while negatives are drawn.

    Attributes:
        given: What it was given.
        src: Sources: those of the positive links, and of the negative ones unless they are triplets.
        dst: Destinations: of the positive links, then of the negative ones.
        key: Its random key for negatives.
    """

    given: EdgeSamplerInput
    src: Ids
    dst: Ids
    key: int

    @property
    def num_pos(self) -> int:
        return len(self.given.row)


@dataclass(frozen=True, eq=False)
class Links:
    """How mini-batches start from links.

    Attributes:
        sampler: What samples around them.
        neg_sampling: PyG's configuration; None: no negatives.
        avoid_true_edges: A negative link is no edge.
        left_out: The edges that are left out.
        kept: Holds what is read once for many mini-batches; give the same list again.
    """

    sampler: NeighborSampler
    neg_sampling: NegativeSampling | None = None
    avoid_true_edges: bool = False
    left_out: Sequence[LeftOut] = ()
    kept: list[Any] = field(default_factory=list, repr=False)

    def starts(self, topology: Topology, inputs: Sequence[EdgeSamplerInput], keys: Sequence[int]) -> list[Start]:
        """Return what mini-batches start from.

        Args:
            topology: The graph's verified index.
            inputs: Per mini-batch, its seed links.
            keys: Per mini-batch, its random key for negatives.

        Raises:
            RequestError: A link has no time in a sample by time, no node can be the end of a negative link, or none was found
                that is no edge.
        """
        if not inputs:
            return []
        edge_type = self._edge_type(inputs[0])
        drafts = [_Draft(i, i.row.numpy(), i.col.numpy(), key) for i, key in zip(inputs, keys, strict=True)]
        self._check(topology, edge_type, drafts)
        if self.neg_sampling is not None:
            self._add_negatives(topology, edge_type, drafts)
        excluded = self._excluded(topology, drafts)
        return [self._start(topology, edge_type, draft, left) for draft, left in zip(drafts, excluded, strict=True)]

    def _edge_type(self, given: EdgeSamplerInput) -> EdgeType:
        if (given.input_type is None) != self.sampler.homogeneous:
            kind = "without" if self.sampler.homogeneous else "with"
            raise RequestError(f"Graph {self.sampler.graph.name!r} is served {kind} type names; give seed links likewise.")
        if given.input_type is not None:
            return self.sampler.graph.type_names.edge(given.input_type)
        label = self.sampler.graph.node_types[0]
        return next(iter(self.sampler.edge_types), (label, "to", label))

    def _check(self, topology: Topology, edge_type: EdgeType, drafts: Sequence[_Draft]) -> None:
        for label, end in ((edge_type[0], 0), (edge_type[2], 1)):
            num_nodes = topology.vertices[label].num_nodes
            for draft in drafts:
                ids = draft.dst if end else draft.src
                wrong = ids[(ids < 0) | (ids >= num_nodes)]
                if len(wrong):
                    raise RequestError(
                        f"A seed link of {shown_type(edge_type)} leads {'to' if end else 'from'} node {int(wrong[0])} of type "
                        f"{label!r}, which has {num_nodes:,} nodes, counted from 0."
                    )
        if self.sampler.is_temporal and any(draft.given.time is None for draft in drafts):
            raise RequestError(
                f"The seed links of {self.sampler!r} need a time, since it samples by time: give edge_label_time."
            )

    # -- negatives -------------------------------------------------------------------------------------

    def _add_negatives(self, topology: Topology, edge_type: EdgeType, drafts: Sequence[_Draft]) -> None:
        """Draw the negative links of all mini-batches, and append them."""
        asked = self.neg_sampling
        assert asked is not None
        counts = [math.ceil(draft.num_pos * asked.amount) for draft in drafts]
        place = np.concatenate([np.arange(count, dtype=np.uint32) for count in counts])
        keys = np.repeat(np.array([draft.key for draft in drafts], dtype=np.uint32), counts)
        of = [np.arange(count) % max(draft.num_pos, 1) for draft, count in zip(drafts, counts, strict=True)]
        positive = np.concatenate([draft.src[at] for draft, at in zip(drafts, of, strict=True)])
        until = None
        if self.sampler.is_temporal:
            until = np.concatenate([draft.given.time.numpy()[at] for draft, at in zip(drafts, of, strict=True)])
        src, dst = self._drawn(topology, edge_type, keys, place, positive, until)
        parts = np.cumsum(counts)[:-1]
        for draft, sources, targets in zip(drafts, np.split(src, parts), np.split(dst, parts), strict=True):
            draft.dst = np.concatenate([draft.dst, targets])
            if asked.is_binary():
                draft.src = np.concatenate([draft.src, sources])

    def _drawn(
        self,
        topology: Topology,
        edge_type: EdgeType,
        keys: Words,
        place: Words,
        positive: Ids,
        until: Moments | None,
    ) -> tuple[Ids, Ids]:
        """Return the ends of negative links; those of triplets have the source of their positive link."""
        ends = self._ends_of(topology, edge_type)
        assert self.neg_sampling is not None
        binary = self.neg_sampling.is_binary()
        src, dst = positive.copy(), np.empty_like(positive)
        left, attempt = np.arange(len(place)), 0
        for candidates in _CANDIDATES:
            at = np.repeat(left, candidates)
            tries = np.tile(np.arange(attempt, attempt + candidates, dtype=np.uint32), len(left))
            times = None if until is None else until[at]
            sources = ends[0].draw(keys[at], place[at], tries, times) if binary else positive[at]
            targets = ends[1].draw(keys[at], place[at], tries, times)
            good = np.ones(len(at), dtype=bool)
            if self.avoid_true_edges:
                good[edges_of_pairs(self.sampler.graph.db, topology.edges[edge_type], sources, targets)[0]] = False
            # The first that is no edge, in the order of the tries.
            table = good.reshape(len(left), candidates)
            found, first = table.any(axis=1), table.argmax(axis=1)
            chosen = np.flatnonzero(found) * candidates + first[found]
            src[left[found]], dst[left[found]] = sources[chosen], targets[chosen]
            left, attempt = left[~found], attempt + candidates
            if not len(left):
                return src, dst
        raise self._too_dense(edge_type, topology.edges[edge_type], positive[left[0]], len(left))

    def _too_dense(self, edge_type: EdgeType, index: EdgeIndex, source: int, missing: int) -> RequestError:
        pairs = index.num_src * index.num_dst
        assert self.neg_sampling is not None
        whose = "" if self.neg_sampling.is_binary() else f", such as for the source {int(source)},"
        return RequestError(
            f"For {missing:,} negative links{whose} {sum(_CANDIDATES)} draws each were edges of {shown_type(edge_type)}. It "
            f"has {index.num_edges:,} edges for {pairs:,} pairs of nodes ({index.num_edges / max(pairs, 1):.1%}). Leave out "
            "avoid_true_edges, give weights (dst_weight) under which pairs without an edge are drawn more often, or leave out "
            "the sources that have edges to nearly all."
        )

    def _ends_of(self, topology: Topology, edge_type: EdgeType) -> tuple[EndNodes, EndNodes]:
        """Return the nodes that may be ends; kept until the graph's file changes."""
        stamp = self.sampler.graph.db.stamp()
        state = (stamp, edge_type, self.sampler.fanout.timeline)
        for known, found in self.kept:
            if stamp is not None and known == state:
                ends: tuple[EndNodes, EndNodes] = found
                return ends
        made = (self._end(topology, edge_type[0], 0), self._end(topology, edge_type[2], 1))
        self.kept[:] = [(state, made)]
        return made

    def _end(self, topology: Topology, label: str, side: int) -> EndNodes:
        assert self.neg_sampling is not None
        num_nodes, timeline = topology.vertices[label].num_nodes, self.sampler.fanout.timeline
        given = self.neg_sampling.dst_weight if side else self.neg_sampling.src_weight
        name = "dst_weight" if side else "src_weight"
        weights = None if given is None else whole_weights(given.detach().cpu().numpy(), num_nodes, f"{name} of {label!r}")
        times = None
        if timeline is not None and label in timeline.nodes:
            times = times_of(self.sampler.graph.db, topology, timeline, label, np.arange(num_nodes))
        return EndNodes.of(label, side, num_nodes, weights, times)

    # -- edges that are left out -----------------------------------------------------------------------

    def _excluded(self, topology: Topology, drafts: Sequence[_Draft]) -> list[dict[EdgeType, Excluded]]:
        """Return, per mini-batch, the edges that are left out."""
        out: list[dict[EdgeType, Excluded]] = [{} for _ in drafts]
        for rule in self.left_out:
            for found, (at, edge) in zip(out, self._left_out(topology, rule, drafts), strict=True):
                other = found.get(rule.edge_type)
                found[rule.edge_type] = (
                    Excluded(at, edge)
                    if other is None
                    else Excluded(np.concatenate([other.at, at]), np.concatenate([other.edge, edge]))
                )
        return out

    def _left_out(self, topology: Topology, rule: LeftOut, drafts: Sequence[_Draft]) -> Iterator[tuple[Ids, Ids]]:
        """Yield, per mini-batch, the node whose list each edge is in, and the edges' ids."""
        by_source = self.sampler.fanout.backward
        links = []
        for draft in drafts:
            src, dst = draft.given.row.numpy(), draft.given.col.numpy()
            links.append((dst, src) if rule.turned else (src, dst))
        if rule.by_edge and all(getattr(draft.given, "edge", None) is not None for draft in drafts):
            for draft, (src, dst) in zip(drafts, links, strict=True):
                yield (src if by_source else dst), draft.given.edge.numpy()
            return
        src, dst = (np.concatenate([link[end] for link in links]) for end in (0, 1))
        at, edge = edges_of_pairs(self.sampler.graph.db, topology.edges[rule.edge_type], src, dst)
        parts = np.searchsorted(at, np.cumsum([len(link[0]) for link in links])[:-1])
        yield from zip(np.split((src if by_source else dst)[at], parts), np.split(edge, parts), strict=True)

    # -- as PyG has it ---------------------------------------------------------------------------------

    def _start(self, topology: Topology, edge_type: EdgeType, draft: _Draft, excluded: dict[EdgeType, Excluded]) -> Start:
        """Return seeds and metadata as PyG's `edge_sample` lays them out."""
        given, num_pos = draft.given, draft.num_pos
        src, dst = torch.from_numpy(draft.src), torch.from_numpy(draft.dst)
        time = given.time if self.sampler.is_temporal else None
        ends: list[tuple[str, Tensor, Tensor | None]] = [
            (label, ids, None if time is None else time[torch.arange(len(ids)) % max(num_pos, 1)])
            for label, ids in ((edge_type[0], src), (edge_type[2], dst))
        ]
        seeds: dict[str, Tensor] = {}
        times: dict[str, Tensor] = {}
        places: list[Tensor] = []
        belong: list[Tensor] = []
        for label, ids, own in ends:
            begin = len(seeds[label]) if label in seeds else 0
            seeds[label] = torch.cat([seeds[label], ids]) if begin else ids
            if own is not None:
                times[label] = torch.cat([times[label], own]) if begin else own
            places.append(torch.arange(begin, begin + len(ids)))
            belong.append(torch.arange(len(ids)) % max(num_pos, 1))
        trees = None
        if self.sampler.disjoint:
            trees = torch.cat(belong)
        else:
            for label, ids in list(seeds.items()):
                seeds[label], inverse = ids.unique(return_inverse=True)
                places = [inverse[p] if end[0] == label else p for p, end in zip(places, ends, strict=True)]
        ids_by_type = {label: ids.numpy() for label, ids in seeds.items()}
        (moments,) = times_of_seeds(self.sampler.graph, topology, self.sampler.fanout.timeline, [(ids_by_type, times)])
        return Start(Roots(ids_by_type, moments, excluded), self._metadata(given, ends[0][2], places), trees)

    def _metadata(self, given: EdgeSamplerInput, time: Tensor | None, places: Sequence[Tensor]) -> tuple[Any, ...]:
        num_pos, src, dst = len(given.row), *places
        input_id = torch.arange(num_pos) if given.input_id is None else given.input_id
        if self.neg_sampling is not None and self.neg_sampling.is_triplet():
            negative = dst[num_pos:].view(-1, num_pos).t() if num_pos else dst.view(0, 1)
            return input_id, src, dst[:num_pos], negative.squeeze(-1), time
        label = given.label
        if self.neg_sampling is not None:
            label = torch.ones(num_pos) if label is None else label
            label = torch.cat([label, label.new_zeros((len(src) - num_pos, *label.shape[1:]))])
        return input_id, torch.stack([src, dst]), label, time
