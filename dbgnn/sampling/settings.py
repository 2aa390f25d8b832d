"""What decides a sample besides seeds and counters, and how it is set later: by the code that judges it at first."""

from __future__ import annotations

import copy
import difflib
import operator
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

import numpy as np
from torch_geometric.sampler import BaseSampler, NumNeighbors
from torch_geometric.sampler.base import SubgraphType

from dbgnn.errors import RequestError, SchemaError, UnknownNameError, near_misses
from dbgnn.sampling.asked import backward_asked, lists_asked, mode_asked
from dbgnn.sampling.asked_times import Fills, check_relative
from dbgnn.sampling.khop import Fanout
from dbgnn.sampling.modes import UNIFORM, Mode, Uniform

if TYPE_CHECKING:
    from dbgnn.indexed_graph import IndexedGraph

#: What may be set on a sampler, as it may be given; ``keep_orig_edges`` is PyG's, an attribute alone.
NAMES = (
    "num_neighbors subgraph_type replace disjoint temporal_strategy time_attr weight_attr is_sorted share_memory seed "
    "keep_orig_edges mode time_window where relative_time sample_direction"
).split()


@dataclass(frozen=True, slots=True)
class Settings:
    """What decides a sample besides seeds and counters.

    Attributes:
        fanout: Neighbours, hops, and how they are drawn.
        subgraph_type: Which edges the output has.
        seed: The seed of the random numbers.
        keep_orig_edges: Of a bidirectional subgraph, keep the directed edges as well.
        replace: Draw with replacement.
    """

    fanout: Fanout
    subgraph_type: SubgraphType
    seed: int
    keep_orig_edges: bool
    replace: bool

    def identity(self) -> dict[str, Any]:
        """Return what decides the sample, as JSON has it."""
        own = {"seed": self.seed, "subgraph_type": self.subgraph_type.value, "keep_orig_edges": self.keep_orig_edges}
        return own | self.fanout.identity()

    @classmethod
    def of(
        cls, graph: IndexedGraph, given: Mapping[str, Any], fan_out: tuple[Mapping[Any, list[int]], int], fills: Fills
    ) -> Settings:
        """Judge what was given, by the names in `NAMES`.

        Args:
            graph: The graph.
            given: The values.
            fan_out: The neighbours of every edge type and the number of hops.
            fills: What stands for NULL in columns that say when.

        Raises:
            DbgnnError: Something does not go together, or is no column; see `asked`.
            RequestError: A value is of the wrong kind.
            SchemaError: There is no such subgraph type.
        """
        flags = {name: _flag(name, given[name]) for name in ("replace", "disjoint", "keep_orig_edges", "relative_time")}
        try:
            subgraph_type = SubgraphType(given["subgraph_type"])
        except ValueError:
            known = ", ".join(repr(kind.value) for kind in SubgraphType)
            raise SchemaError(f"subgraph_type must be one of {known}, not {given['subgraph_type']!r}.") from None
        try:
            seed = operator.index(given["seed"])
        except TypeError:
            raise RequestError(f"seed must be an integer, not {given['seed']!r}.") from None
        per_type, num_hops = fan_out
        induced = subgraph_type == SubgraphType.induced
        mode = mode_asked(given, replace=flags["replace"])
        lists, timeline, window = lists_asked(graph, given, num_hops, fills)
        if induced and any(len({derivation.conditions for derivation in hops}) > 1 for hops in lists.values()):
            raise RequestError("An induced subgraph has edges of no hop: give where as one condition, not one per hop.")
        if flags["relative_time"]:
            check_relative(timeline, subgraph_type.value)
        fanout = Fanout(
            per_type,
            num_hops,
            mode,
            disjoint=flags["disjoint"] or timeline is not None,
            induced=induced,
            backward=backward_asked(given["sample_direction"]),
            lists=lists,
            timeline=timeline,
            window=window,
            relative=flags["relative_time"],
        )
        return cls(fanout, subgraph_type, seed, flags["keep_orig_edges"], flags["replace"])


def shown_settings(given: Mapping[str, Any], mode: Mode) -> list[str]:
    """Return how edges are chosen, as arguments of a sampler: those that are not what they are if nothing is given."""
    shown = [] if mode.unweighted() in {UNIFORM, Uniform(replace=True)} else [f"mode={mode!r}"]
    names = ("time_attr", "time_window", "weight_attr", "where", "relative_time")
    shown += [f"{name}={given[name]!r}" for name in names if given[name] not in (None, False)]
    return shown + (["sample_direction='backward'"] if given["sample_direction"] == "backward" else [])


def _flag(name: str, value: object) -> bool:
    try:
        number = int(value) if isinstance(value, np.bool_) else operator.index(value)  # type: ignore[arg-type] # judged here
    except TypeError:
        number = -1
    if number not in {0, 1}:
        raise RequestError(f"{name} must be True or False, not {value!r}.")
    return bool(number)


T = TypeVar("T")


class Setting(Generic[T]):
    """An attribute of a sampler that can be set; ``read`` says what it is now, by default what was given."""

    def __init__(self, doc: str, read: Callable[[Settings], T] | None = None) -> None:
        self.__doc__, self._read, self._name = doc, read, ""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, sampler: None, owner: type) -> Setting[T]: ...
    @overload
    def __get__(self, sampler: Settable, owner: type) -> T: ...
    def __get__(self, sampler: Settable | None, owner: type) -> Setting[T] | T:
        if sampler is None:
            return self
        return sampler._given[self._name] if self._read is None else self._read(sampler._settings)

    def __set__(self, sampler: Settable, value: Any) -> None:
        sampler.configure(**{self._name: value})

    def __delete__(self, sampler: Settable) -> None:
        raise RequestError(f"{self._name} of {sampler!r} cannot be taken away; set it to something else.")


def _num_neighbors(settings: Settings) -> NumNeighbors:
    by_type = {edge_type: tuple(hops) for edge_type, hops in settings.fanout.num_neighbors.items()}
    if len(set(by_type.values())) <= 1:
        return NumNeighbors(next(iter(by_type.values()), (0,) * settings.fanout.num_hops))
    return NumNeighbors(by_type)


class Settable(BaseSampler):
    """A sampler whose settings are attributes: to set one is to make the sampler with it, errors included.

    A sampler that PyG's loaders hold samples the next mini-batch with it; an epoch of :class:`dbgnn.NeighborLoader` that runs
    already ends as it began. Nothing else can be set, so that a misspelt name is an error.
    """

    _given: Mapping[str, Any]
    _settings: Settings

    num_neighbors = Setting("Neighbours per node and hop; reads as PyG's ``NumNeighbors``.", _num_neighbors)
    subgraph_type = Setting("Which edges the output has.", lambda s: s.subgraph_type)
    replace = Setting("Whether neighbours are drawn with replacement.", lambda s: s.replace)
    disjoint = Setting("Whether every seed gets a subgraph of its own.", lambda s: s.fanout.disjoint)
    seed = Setting("The seed of the random numbers.", lambda s: s.seed)
    keep_orig_edges = Setting("Keep a bidirectional subgraph's directed edges too, as PyG does.", lambda s: s.keep_orig_edges)
    temporal_strategy: Setting[str] = Setting("Which of the earlier edges are taken: ``'uniform'`` or ``'last'``.")
    time_attr: Setting[str | None] = Setting("The column of node and edge tables that says when.")
    weight_attr: Setting[str | None] = Setting("The column of edge tables that says how likely.")
    mode: Setting[Mode] = Setting("How a hop chooses among a node's edges.", lambda s: s.fanout.mode)
    time_window: Setting[Any] = Setting("How long before a seed's time an edge may be; None: for ever.")
    relative_time = Setting("Whether nodes and edges say how long before their seed they were.", lambda s: s.fanout.relative)
    where: Setting[Any] = Setting("Conditions on edges and on the nodes that they lead to.")
    sample_direction: Setting[str] = Setting("``'forward'``: from destinations to sources; ``'backward'``: the other way.")
    is_sorted: Setting[bool] = Setting("Taken for PyG's sake; the index is sorted.")
    share_memory: Setting[bool] = Setting("Taken for PyG's sake; the index is shared.")

    @abstractmethod
    def _judged(self, given: Mapping[str, Any]) -> Settings:
        """Return the settings that the values make."""

    def configure(self, **changes: Any) -> None:
        """Set several settings at once, all or none: ``sampler.configure(num_neighbors=[-1], replace=False)``.

        Raises:
            UnknownNameError: There is no such setting.
            DbgnnError: As when a sampler is made with it; then nothing is changed.
        """
        for name in changes:
            if name not in NAMES:
                raise UnknownNameError(f"A sampler has no setting {name!r}" + near_misses(name, NAMES))
        self._set({**self._given, **changes})

    def _set(self, given: Mapping[str, Any]) -> None:
        """Judge what was given, and keep a copy: a list that the caller changes later changes nothing here."""
        self.__dict__.update(_settings=self._judged(given), _given=copy.deepcopy(given))

    @property
    def fanout(self) -> Fanout:
        """What is sampled, by edge type."""
        return self._settings.fanout

    def identity(self) -> dict[str, Any]:
        """Return what decides a sample besides seeds and counters, as JSON has it: two samplers alike in it sample the same."""
        return self._settings.identity()

    def __setattr__(self, name: str, value: object) -> None:
        ours = next(cls for cls in type(self).__mro__ if cls.__module__.startswith("dbgnn."))
        if name in NAMES or name.startswith("_"):
            super().__setattr__(name, value)
        elif hasattr(ours, name) or name in {"graph", "homogeneous", "edge_types"}:
            raise RequestError(f"{name} of {self!r} cannot be set; make another sampler. What can be set: {', '.join(NAMES)}.")
        elif ours is type(self) or difflib.get_close_matches(name, NAMES, cutoff=0.85):  # a derived class has its own
            raise UnknownNameError(f"A sampler has no setting {name!r}" + near_misses(name, NAMES))
        else:
            super().__setattr__(name, value)
