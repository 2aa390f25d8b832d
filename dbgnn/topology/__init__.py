"""The topology index: node and edge ids, adjacency lists, and whether they are up to date."""

from dbgnn.topology.build import build
from dbgnn.topology.compare import Difference, differences
from dbgnn.topology.damage import damaged, ids_within
from dbgnn.topology.derived import forget_lists
from dbgnn.topology.index import EdgeIndex, Topology, VertexIndex, ids_of_keys, same_ids
from dbgnn.topology.state import IncompleteIndexError, are_as_indexed, is_up_to_date, verify

__all__ = [
    "Difference",
    "EdgeIndex",
    "IncompleteIndexError",
    "Topology",
    "VertexIndex",
    "are_as_indexed",
    "build",
    "damaged",
    "differences",
    "forget_lists",
    "ids_of_keys",
    "ids_within",
    "is_up_to_date",
    "same_ids",
    "verify",
]
