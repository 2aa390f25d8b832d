"""`identity()` holds whatever decides a sample, so that no other sampler can continue a pack."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from torch_geometric.sampler.base import SubgraphType

from dbgnn.sampling.khop import Fanout
from dbgnn.sampling.modes import MODES, Mode, Uniform
from dbgnn.sampling.settings import Settings
from dbgnn.topology.conditions import Conditions
from dbgnn.topology.derived import Derivation
from dbgnn.topology.times import TimeColumn, Timeline, Times
from dbgnn.topology.weights import Weights
from dbgnn.topology.window import Window

FANOUT = Fanout({("a", "to", "b"): [3, 2]}, 2)
SETTINGS = Settings(FANOUT, SubgraphType.directional, seed=5, keep_orig_edges=False, replace=False)

TIMELINE = Timeline("number", {"a": TimeColumn("at")}, {})
DERIVED = Derivation(Times(TimeColumn("at"), None), Weights("w"), Conditions("w > 1", "year > 2000"))

#: Other values of what is neither true or false nor a number.
OTHERS: dict[str, Any] = {
    "num_neighbors": {("a", "to", "b"): [3, 1]},
    "mode": Uniform(replace=True),
    "fanout": dataclasses.replace(FANOUT, disjoint=True),
    "subgraph_type": SubgraphType.induced,
    "lists": {("a", "to", "b"): [DERIVED, DERIVED]},
    "window": Window(8),
    "timeline": TIMELINE,
    "unit": "us",
    "nodes": {},
    "edges": {("a", "to", "b"): TimeColumn("at")},
    "edge": TimeColumn("other"),
    "node": TimeColumn("at", 3),
    "column": "other",
    "times": Times(TimeColumn("at"), TimeColumn("born")),
    "weights": Weights("v"),
    "conditions": Conditions("w > 0", None),
}

#: What an object has that is in another field as well.
SAID_ELSEWHERE = {(Settings, "replace")}


def modes() -> list[Mode]:
    return [mode() for mode in MODES.values()]


@pytest.mark.parametrize(
    "given", [SETTINGS, FANOUT, DERIVED, *DERIVED.parts, TIMELINE, Window(7), *modes()], ids=lambda given: type(given).__name__
)
def test_every_field_is_in_the_identity(given: Any) -> None:
    same = given.identity()
    assert json.loads(json.dumps(same)) == same
    assert dataclasses.replace(given).identity() == same
    for field in dataclasses.fields(given):
        if (type(given), field.name) in SAID_ELSEWHERE:
            continue
        value = getattr(given, field.name)
        other = OTHERS[field.name] if field.name in OTHERS else not value if isinstance(value, bool) else value + 1
        assert dataclasses.replace(given, **{field.name: other}).identity() != same, field.name


def test_no_two_modes_have_one_identity() -> None:
    found = [json.dumps(mode.identity()) for mode in modes()]
    assert len(set(found)) == len(found)
