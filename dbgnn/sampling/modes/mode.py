"""What a mode is to the hop that it chooses for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
import pyarrow as pa

from dbgnn.errors import RequestError
from dbgnn.sampling.modes.short_lists import Numbers, Picks
from dbgnn.sampling.random import Words, mix
from dbgnn.sampling.relabel import Ids


class Step(NamedTuple):
    """A named step of a statement: the columns that it makes of those of the step before, which rows it keeps, their order."""

    name: str
    columns: str
    where: str = ""
    order: str = ""


@dataclass(frozen=True, slots=True)
class Eligible:
    """What there is to choose from, in columns beside ``"at"``, ``key``, ``nbrs``, ``eids`` and ``deg``, how many they are.

    Attributes:
        narrowed: Not the whole list is; without ``ranged`` the first ``deg`` are, gaps not counted.
        ranged: Of a list, those at ``first + 1 … first + deg`` are eligible.
        gaps: The column ``gone`` is a sorted list of positions, counted from ``first``, that are not (NULL: none are missing);
            ``deg`` counts the others.
        weighted: The column ``cum`` is the running total of the weights of the whole list; ``guide`` and ``width`` lead to
            places in it (`topology.weights`).
        bits: The length of every list is less than 2 to this.
        brought: Columns of the frontier that the mode makes (`Mode.brings`).
    """

    narrowed: bool = False
    ranged: bool = False
    gaps: bool = False
    weighted: bool = False
    bits: int = 0
    brought: tuple[str, ...] = ()

    @property
    def kept(self) -> str:
        """What every step hands on."""
        parts = (("first", self.ranged), ("gone", self.gaps), *((name, self.weighted) for name in ("cum", "width", "guide")))
        return ", ".join(['"at", nbrs, eids, deg', *(name for name, there in parts if there), *self.brought])


@dataclass(frozen=True, slots=True)
class Counters:
    """What the random numbers of a hop are made from.

    Attributes:
        batch: Per mini-batch, its key (see `random.fold`).
        sizes: Per mini-batch, how many nodes of the frontier are its.
        hop: The number of the hop, from 0.
        edge_type: The number of the edge type.
        source: The number of the node type of its neighbours.
        node: The nodes of the frontier, mini-batch by mini-batch.
        tree: Per node, the number of its seed where subgraphs are disjoint; else one 0.
    """

    batch: Words
    sizes: Sequence[int]
    hop: int
    edge_type: int
    source: int
    node: Ids
    tree: Ids

    def per_node(self) -> Words:
        """Return a key of its own for every node of the frontier of every hop."""
        key = mix(mix(self.batch ^ np.uint32(self.hop)) ^ np.uint32(self.edge_type))
        return mix(mix(np.repeat(key, self.sizes) ^ self.node.astype(np.uint32)) ^ self.tree.astype(np.uint32))


class Mode(ABC):
    """A way to choose among a node's edges; a frozen dataclass, since a sampler's settings are frozen.

    Attributes:
        needs_weights: It reads ``cum``.
        needs_times: It has a meaning only where lists are sorted by time.
        in_lists: The positions that it gives are those of the list; else they count what is eligible, and the hop
            turns them into positions of the list.
        brings: Columns that it makes for the frontier, and its steps read.
    """

    __slots__ = ()

    needs_weights: ClassVar[bool] = False
    needs_times: ClassVar[bool] = False
    in_lists: ClassVar[bool] = False
    brings: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def asked(cls, *, replace: bool) -> Self:
        """Return the mode that its name and ``replace`` mean.

        Raises:
            RequestError: It has no meaning with replacement.
        """
        if replace:
            raise RequestError(f"replace=True has no meaning for {cls.__name__}; leave it out.")
        return cls()

    @property
    def alike(self) -> int:
        """So many mini-batches in a row share their random numbers."""
        return 1

    def unweighted(self) -> Mode:
        """Return what chooses among the edges of a type without weights."""
        return self

    def keys(self, counters: Counters) -> Words:
        """Return the random key of every node of the frontier: ``key`` in the statement."""
        return counters.per_node()

    def brought(self, keys: Words, k: int, words: int, eligible: Eligible) -> list[pa.Array]:  # noqa: ARG002 - most bring none
        """Return the columns that it `brings`, for nodes of the frontier with these keys; see `steps`."""
        return []

    @abstractmethod
    def steps(self, k: int, words: int, eligible: Eligible) -> Sequence[Step]:
        """Return the steps from ``("at", key, nbrs, eids, deg, …)`` to a last one with `Eligible.kept` and ``p``.

        Args:
            k: How many edges a node is to have at most, 1 or more; all is not a matter of the mode.
            words: How many random words to try per draw. They are the beginning of one endless sequence, so their number
                never shows in the sample; where all are rejected, the statement fails with `draws.TOO_FEW`, and where one
                does less work (a first one, for the nodes that are easy), ``p`` is NULL: those nodes are asked for again.
            eligible: What there is to choose from.

        Returns:
            Steps; ``p`` is a list of positions, counted from 1, in the order in which edges are handed out.
        """

    @abstractmethod
    def identity(self) -> dict[str, Any]:
        """Return what decides the sample, as JSON has it; of two modes with the same identity every sample is the same."""


class FinishedInMemory(Mode):
    """A mode whose statement leaves some lists whole, for NumPy to choose from.

    With one word per draw, the last step has two more columns. ``whole`` says that the whole list is handed out, whatever ``p``
    is; ``totals`` is NULL, or the running totals of the weights of a node all of whose edges are handed out, for `chosen` to
    choose from.
    """

    __slots__ = ()

    @abstractmethod
    def chosen(self, keys: Words, starts: Numbers, lengths: Numbers, totals: Numbers, k: int) -> Picks:
        """Return the positions, counted from 0, ``[lists, k]``, that are chosen from lists which the statement left whole.

        Args:
            keys: The random key of every list.
            starts: Where each begins in ``totals``.
            lengths: Their lengths.
            totals: Their running totals.
            k: How many are chosen of each.
        """
