"""What sampling reads and sends, for whoever wants to know: `loader.explain()` and packs. Nothing is sampled here."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from dbgnn.sampling.hop import expand_sql, induce_sql
from dbgnn.sampling.khop import Fanout
from dbgnn.sampling.narrow import Narrowed
from dbgnn.schema.model import EdgeType, shown_type
from dbgnn.topology.derived import Lists, lists_of

if TYPE_CHECKING:
    from dbgnn.open_database import OpenDatabase
    from dbgnn.topology import Topology


def statements_of(
    db: OpenDatabase, topology: Topology, fanout: Fanout, left_out: Collection[EdgeType] = ()
) -> Iterator[tuple[str, str]]:
    """Yield what is sampled, in words, and its statement, of every edge type and number of neighbours.

    Args:
        db: The database.
        topology: The verified index.
        fanout: What is sampled.
        left_out: Edge types of which some edges are left out of their mini-batch.
    """
    for edge_type, hops in fanout.num_neighbors.items():
        asked = {(k, fanout.derivation(edge_type, hop)): None for hop, k in enumerate(hops) if k}
        for k, derivation in asked:
            alike = [str(h + 1) for h, n in enumerate(hops) if (n, fanout.derivation(edge_type, h)) == (k, derivation)]
            lists = lists_of(db, topology, topology.edges[edge_type], derivation)
            timed = derivation.times is not None
            excluded = edge_type in left_out
            narrowed = Narrowed(until=timed, since=timed and fanout.window is not None, excluded=excluded)
            what = f"{shown_type(edge_type)}, {'all' if k < 0 else k} neighbours, in hop {', '.join(alike)}"
            yield what, expand_sql(lists, k, fanout.mode, narrowed, words=1)
        if fanout.induced:
            derivation = replace(fanout.derivation(edge_type, 0), weights=None)
            lists = lists_of(db, topology, topology.edges[edge_type], derivation)
            yield f"{shown_type(edge_type)}, all among the nodes", induce_sql(lists, window=fanout.window is not None)


def derived_lists_of(db: OpenDatabase, topology: Topology, fanout: Fanout) -> list[tuple[EdgeType, list[int], Lists]]:
    """Return the derived lists that hops read, with their edge type and the numbers of those hops, from 1; they are made."""
    found: dict[str, tuple[EdgeType, list[int], Lists]] = {}
    for edge_type, hops in fanout.num_neighbors.items():
        for hop, k in enumerate(hops):
            if k and (derivation := fanout.derivation(edge_type, hop)):
                lists = lists_of(db, topology, topology.edges[edge_type], derivation)
                found.setdefault(lists.table, (edge_type, [], lists))[1].append(hop + 1)
    return list(found.values())
