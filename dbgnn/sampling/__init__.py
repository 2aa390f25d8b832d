"""Neighbor sampling: the SQL of a hop, the k-hop driver, relabelling, random numbers, and PyG's sampler."""

from dbgnn.sampling.khop import Fanout, KHop, Roots, Subgraph
from dbgnn.sampling.sampler import NeighborSampler

__all__ = ["Fanout", "KHop", "NeighborSampler", "Roots", "Subgraph"]
