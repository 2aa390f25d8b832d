"""Loaders with PyG's signatures, and what they are made of."""

from dbgnn.loader.link_neighbor import LinkNeighborLoader
from dbgnn.loader.neighbor import NeighborLoader
from dbgnn.loader.stats import LoaderStats, StepStats

__all__ = ["LinkNeighborLoader", "LoaderStats", "NeighborLoader", "StepStats"]
