"""What a sampler is asked for, as modes and derived lists: each argument by itself, and then together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dbgnn.errors import RequestError, UnknownNameError, near_misses
from dbgnn.sampling.asked_conditions import conditions_asked
from dbgnn.sampling.asked_times import Fills, strategy_asked, timeline_asked, times_asked, window_asked
from dbgnn.sampling.asked_weights import weights_asked
from dbgnn.sampling.batch import ends_of
from dbgnn.sampling.modes import MODES, Mode
from dbgnn.schema.model import EdgeType
from dbgnn.topology.derived import Derivation
from dbgnn.topology.times import Timeline
from dbgnn.topology.window import Window

if TYPE_CHECKING:
    from dbgnn.indexed_graph import IndexedGraph


def mode_asked(given: Mapping[str, Any], *, replace: bool) -> Mode:
    """Return the mode that arguments mean.

    Raises:
        RequestError: They mean more than one, or one that needs what was not asked for.
        UnknownNameError: There is no mode of that name.
    """
    strategy = strategy_asked(given["temporal_strategy"])
    means = {"weight_attr": "weighted"} if given["weight_attr"] is not None else {}
    means |= {"temporal_strategy": strategy} if strategy != "uniform" else {}
    asked = given["mode"]
    if not isinstance(asked, (str, Mode, type(None))):
        raise RequestError(
            f"mode must be a name ({', '.join(map(repr, MODES))}) or a mode, such as Labor(), not {asked!r:.80}."
        )
    means |= {"mode": _name(asked) if isinstance(asked, Mode) else asked} if asked is not None else {}
    if len(set(means.values())) > 1:
        raise RequestError(f"{' and '.join(f'{n}={given[n]!r}' for n in means)} are two ways to choose; leave one out.")
    if isinstance(asked, Mode):
        mode = asked
        if replace and not getattr(asked, "replace", False):
            raise RequestError(f"replace=True and mode={asked!r} are two ways to choose; leave one out.")
    else:
        name = next(iter(means.values()), "uniform")
        if name not in MODES:
            raise UnknownNameError(f"There is no mode {name!r}" + near_misses(name, [*MODES]))
        mode = MODES[name].asked(replace=replace)
    if mode.needs_times and given["time_attr"] is None:
        raise RequestError(f"{mode!r} chooses by time: give time_attr, the column that says when.")
    if mode.needs_weights and given["weight_attr"] is None:
        raise RequestError(f"{mode!r} chooses by weight: give weight_attr, the column of the edge table that has it.")
    return mode


def _name(mode: Mode) -> str:
    """Return what a mode is known by; one of the user's own has no name."""
    own = "weighted" if mode.needs_weights else ""
    return next((name for name, kind in MODES.items() if kind is type(mode)), own)


def backward_asked(given: object) -> bool:
    """Return whether hops go from sources to destinations.

    Raises:
        RequestError: It is neither ``"forward"`` nor ``"backward"``.
    """
    if given not in ("forward", "backward"):
        raise RequestError(f"sample_direction must be 'forward' or 'backward', not {given!r}.")
    return given == "backward"


def lists_asked(
    graph: IndexedGraph, given: Mapping[str, Any], num_hops: int, fills: Fills
) -> tuple[dict[EdgeType, list[Derivation]], Timeline | None, Window | None]:
    """Return what the lists of every edge type and hop are to be, which columns say when, and how far back they may reach.

    Without a hop there is still one entry per edge type: an induced subgraph has edges.

    Raises:
        SchemaError, SqlError, UnknownNameError: A column or condition is none.
    """
    weights = weights_asked(graph, given["weight_attr"])
    backward = backward_asked(given["sample_direction"])
    conditions = conditions_asked(graph, given["where"], num_hops, backward=backward)
    timeline = timeline_asked(graph, given["time_attr"], fills)
    window = window_asked(graph, timeline, given["time_window"])
    found = {}
    for edge_type in graph.edge_types:
        _, far = ends_of(edge_type, backward=backward)
        times = times_asked(timeline, edge_type, far, window)
        of_hops = conditions.get(edge_type) or [None] * max(num_hops, 1)
        hops = [Derivation(times, weights.get(edge_type), condition) for condition in of_hops]
        if any(hops):
            found[edge_type] = hops
    return found, timeline, window
