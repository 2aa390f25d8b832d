"""Packs: epochs of mini-batches kept as files, and the loader that replays them."""

from dbgnn.packs.pack import PackedLoader

__all__ = ["PackedLoader"]
