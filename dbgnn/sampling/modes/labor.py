"""LABOR: nodes of a mini-batch agree on whom they sample (Balin and Çatalyürek, "Layer-Neighbor Sampling", NeurIPS 2023).

Each source node draws one random number per mini-batch and hop, and every destination takes those of its neighbours whose
numbers are the smallest. What each destination gets by itself is as under uniform sampling; together they get fewer nodes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from dbgnn.errors import RequestError
from dbgnn.sampling.modes.draws import smallest
from dbgnn.sampling.modes.mode import Counters, Eligible, Mode, Step
from dbgnn.sampling.random import MASK, Words, mix, round_sql


@dataclass(frozen=True, slots=True)
class Labor(Mode):
    """k of a node's neighbours, those with the smallest random numbers, where a source has one number for all of them.

    The law is LABOR-0 as sequential Poisson sampling (the paper's appendix A.3, and GraphBolt's ``LayerNeighborSampler``): with
    ``r(t)`` uniform and independent per source ``t``, a node of degree d takes the ``min(k, d)`` neighbours with the smallest
    ``r(t)``, so each one with probability ``min(1, k / d)``, and every set of k is equally likely. Only between destinations
    are samples no longer independent. Here ``r(t) = mix(key ^ t)`` of 32 bits, which no two sources of a type share; parallel
    edges share their source's number and follow one another as in the list.

    In disjoint subgraphs a source keeps one number for the whole mini-batch, so fewer distinct rows of features are read. The
    whole list of every node is read, 25 ns per neighbour, where uniform sampling reads what it takes.

    Attributes:
        batch_dependency: So many mini-batches in a row draw the same numbers, and thus meet more of the same nodes.
        layer_dependency: All hops draw the same numbers too, so that hops meet nodes that are there already.

    Raises:
        RequestError: ``batch_dependency`` is less than 1.
    """

    batch_dependency: int = 1
    layer_dependency: bool = False

    in_lists = True

    def __post_init__(self) -> None:
        if type(self.batch_dependency) is not int or self.batch_dependency < 1:
            raise RequestError(f"batch_dependency must be a number of mini-batches, 1 or more, not {self.batch_dependency!r}.")

    @property
    def alike(self) -> int:
        """See `Mode.alike`."""
        return self.batch_dependency

    def keys(self, counters: Counters) -> Words:
        """See `Mode.keys`: one for all nodes of a mini-batch; edge types from one type of sources share it."""
        hop = 0 if self.layer_dependency else counters.hop
        key = mix(mix(counters.batch ^ np.uint32(hop)) ^ np.uint32(counters.source))
        return np.repeat(key, counters.sizes)

    def steps(self, k: int, words: int, eligible: Eligible) -> list[Step]:  # noqa: ARG002 - a word for every source
        """See `Mode.steps`."""
        kept = eligible.kept
        first = "first" if eligible.ranged else "0"
        length = "deg + coalesce(len(gone), 0)" if eligible.gaps else "deg"
        sources = f"nbrs[{first} + 1:{first} + {length}]" if eligible.narrowed else "nbrs"
        once = f"list_transform({sources}, lambda t: {round_sql(f'xor(key, t & {MASK})')})"
        mixed = f"list_transform({once}, lambda w: {round_sql('w')})"
        ranked, every = "list_transform(w, lambda w, i: (w << 31) | i)", f"range(1, {length} + 1)"
        if eligible.gaps:
            ranked = _without_gaps(ranked, f"NOT list_contains(gone, x & {2**31 - 1})")
            every = _without_gaps(every, "NOT list_contains(gone, x)")
        chosen = f"CASE WHEN deg > {k} THEN {smallest(k, ranked)} ELSE {every} END"
        if eligible.ranged:
            chosen = f"list_transform({chosen}, lambda x: x + first)"
        return [
            Step("words", f"{kept},\n    CASE WHEN deg > {k} THEN {mixed} END AS w"),
            Step("chosen", f"{kept},\n    {chosen} AS p"),
        ]

    def identity(self) -> dict[str, Any]:
        """See `Mode.identity`."""
        return {"mode": "labor", "batch_dependency": self.batch_dependency, "layer_dependency": self.layer_dependency}


def _without_gaps(positions: str, there: str) -> str:
    """Return a list without the positions that are gone; of most nodes none is."""
    return f"CASE WHEN gone IS NULL THEN {positions} ELSE list_filter({positions}, lambda x: {there}) END"
