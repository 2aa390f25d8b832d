"""Edge types in both directions: each is followed by its reverse, over the same rows of the same table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from dbgnn.schema.model import EdgeTable

#: What the label of an edge type begins with that is another one's the other way round, as PyG's ``ToUndirected`` has it.
REVERSE = "rev_"


def in_both_directions(edges: Sequence[EdgeTable]) -> Iterable[EdgeTable]:
    """Yield each edge type and its reverse; a number keeps a label apart from those of the tables."""
    seen = {edge.edge_type for edge in edges}
    for edge in edges:
        yield edge
        label = f"{REVERSE}{edge.label}"
        back = replace(
            edge,
            label=label,
            source=edge.destination,
            source_key=edge.destination_key,
            destination=edge.source,
            destination_key=edge.source_key,
        )
        number = 2
        while back.edge_type in seen:
            back = replace(back, label=f"{label}_{number}")
            number += 1
        seen.add(back.edge_type)
        yield back
