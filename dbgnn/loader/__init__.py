"""Loaders with PyG's signatures."""

from dbgnn.loader.neighbor import NeighborLoader

__all__ = ["NeighborLoader"]
