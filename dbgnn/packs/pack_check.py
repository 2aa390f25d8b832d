"""What a mini-batch of a pack must hold so that no model reads beside its tensors: ends of edges, lengths of ids, truth values.

Some kernels of PyG's, and everything on a GPU, index without looking. A loader's own batches always pass; a pack is a file, and
may come from anybody.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Data, HeteroData

from dbgnn.documents import MalformedError


@dataclass(frozen=True, slots=True)
class Claims:
    """What the manifest of a pack says of nodes and edges.

    Attributes:
        columns: By label, as text: the names of the attributes that are served.
        counts: By label, as text: how many there are in the graph.
    """

    columns: Mapping[str, frozenset[str]] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, loader: Mapping[str, Any]) -> Claims:
        """Return what is said under ``columns of …`` and ``keys of …``.

        Raises:
            MalformedError: It is not said as packs say it; the message names the entry.
        """
        columns, counts = {}, {}
        for name, value in loader.items():
            if name.startswith("columns of "):
                if not (isinstance(value, list) and all(isinstance(c, list) and c and isinstance(c[0], str) for c in value)):
                    raise MalformedError(f"says under {name!r:.100} no list of columns")
                columns[name.removeprefix("columns of ")] = frozenset(c[0] for c in value)
            elif name.startswith("keys of "):
                if not (isinstance(value, list) and value and type(value[0]) is int and 0 <= value[0] < 2**62):
                    raise MalformedError(f"says under {name!r:.100} no number of rows")
                counts[name.removeprefix("keys of ")] = value[0]
        return cls(columns, counts)

    def names(self, key: Any, *, edges: bool) -> frozenset[str]:
        """Return the names of the attributes of a type, or, without a key, of all edges or all nodes."""
        if key is not None:
            return self.columns.get(repr(key), frozenset())
        return frozenset().union(*(names for label, names in self.columns.items() if label.startswith("(") == edges))

    def count(self, key: Any, *, edges: bool) -> int | None:
        """Return how many there are of a type, or, without a key, of the only one; None: that is not said."""
        if key is not None:
            return self.counts.get(repr(key))
        found = [count for label, count in self.counts.items() if label.startswith("(") == edges]
        return found[0] if len(found) == 1 else None


def check_batch(batch: Data | HeteroData, claims: Claims) -> None:
    """Check lengths and values of what a loader puts into a mini-batch; anything else it holds is left alone.

    Raises:
        MalformedError: Something does not hold; the message says what, to follow the batch's name.
    """
    if isinstance(batch, Data):
        store = batch.stores[0]
        # Names of both are an error where stores have no type names, so a name says what it is an attribute of.
        of_edges = claims.names(None, edges=True)
        of_nodes = (claims.names(None, edges=False) | {"x"}) - of_edges
        rows = _check_nodes(store, of_nodes, claims.count(None, edges=False), "")
        _check_edges(store, of_edges, claims.count(None, edges=True), (rows, rows), "")
        _check_triplets(store, of_edges | of_nodes, rows, "")
        _check_links(store, of_edges | of_nodes, (rows, rows), "")
        return
    rows_of = {
        key: _check_nodes(store, claims.names(key, edges=False) | {"x"}, claims.count(key, edges=False), f"{key!r} ")
        for key, store in batch.node_items()
    }
    for key, store in batch.edge_items():
        ends = rows_of.get(key[0]), rows_of.get(key[2])
        _check_edges(store, claims.names(key, edges=True), claims.count(key, edges=True), ends, f"{key!r} ")
        _check_links(store, claims.names(key, edges=True), ends, f"{key!r} ")
    for key, store in batch.node_items():
        _check_triplets(store, claims.names(key, edges=False), rows_of[key], f"{key!r} ")


def check_bool(values: Tensor) -> None:
    """Raise for a truth value that is neither 0 nor 1: torch counts and copies what they say in ways that do not agree.

    Args:
        values: Contiguous, of dtype bool.
    """
    if values.numel() and (largest := int(values.view(torch.uint8).numpy().max())) > 1:
        raise MalformedError(f"holds the truth value {largest}, which is neither 0 nor 1")


def _check_nodes(store: Any, served: frozenset[str], count: int | None, where: str) -> int | None:
    """Check the tensors of nodes; return how many nodes there are, None where nothing says so."""
    lengths: dict[str, int] = {}
    if (given := store.get("num_nodes")) is not None:
        if type(given) is not int or given < 0:
            raise MalformedError(f"{where}has {given!r:.50} for num_nodes")
        lengths["num_nodes"] = given
    for name in ("n_id", *sorted(served)):
        if isinstance(value := store.get(name), Tensor):
            if value.dim() == 0:
                raise MalformedError(f"{where}has a single value for {name!r}")
            lengths[name] = len(value)
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"{name} {length:,}" for name, length in lengths.items())
        raise MalformedError(f"{where}has different numbers of nodes: {listed}")
    rows = next(iter(lengths.values()), None)
    _check_ids(store, "n_id", count, where)
    if isinstance(store.get("batch"), Tensor) and rows is not None:
        _check_ids(store, "batch", rows, where)
        if len(store["batch"]) != rows:
            raise MalformedError(f"{where}has {len(store['batch']):,} values of batch for {rows:,} nodes")
    return rows


def _check_triplets(store: Any, served: frozenset[str], rows: int | None, where: str) -> None:
    for name in ("src_index", "dst_pos_index", "dst_neg_index"):
        if name not in served:  # else it is a column, whose values are the user's
            _check_positions(store.get(name), rows, f"{where}has {name!r} that")


def _check_positions(positions: Any, rows: int | None, what: str) -> None:
    """Raise unless seeds of links are nodes of the mini-batch."""
    if isinstance(positions, Tensor):
        if positions.dtype not in {torch.int64, torch.int32}:
            raise MalformedError(f"{what} is of {positions.dtype}")
        _check_range(positions, rows or 0, what)


def _check_links(store: Any, served: frozenset[str], ends: tuple[int | None, int | None], where: str) -> None:
    links = store.get("edge_label_index")
    if not isinstance(links, Tensor) or "edge_label_index" in served:
        return
    if links.dim() != 2 or len(links) != 2:
        raise MalformedError(f"{where}has an edge_label_index of shape {list(links.shape)}")
    for end, rows, name in zip(links, ends, ("source", "destination"), strict=True):
        _check_positions(end, rows, f"{where}has seed links whose {name}")


def _check_edges(
    store: Any, served: frozenset[str], count: int | None, ends: tuple[int | None, int | None], where: str
) -> None:
    if (edge_index := store.get("edge_index")) is None:
        return
    if not isinstance(edge_index, Tensor) or edge_index.dtype not in {torch.int64, torch.int32} or edge_index.dim() != 2:
        raise MalformedError(f"{where}has an edge_index that is no tensor [2, E] of integers")
    if len(edge_index) != 2:
        raise MalformedError(f"{where}has an edge_index of shape {list(edge_index.shape)}")
    edges = edge_index.shape[1]
    if edges and None in ends:
        raise MalformedError(f"{where}has edges between nodes whose number is not said: neither n_id, num_nodes nor x is there")
    for end, rows, name in zip(edge_index, ends, ("source", "destination"), strict=True):
        _check_range(end, rows, f"{where}has edges whose {name}")
    _check_ids(store, "e_id", count, where)
    for name in ("e_id", *sorted(served)):
        if isinstance(value := store.get(name), Tensor) and (value.dim() == 0 or len(value) != edges):
            raise MalformedError(f"{where}has {list(value.shape)} values of {name!r} for {edges:,} edges")


def _check_ids(store: Any, name: str, count: int | None, where: str) -> None:
    if isinstance(value := store.get(name), Tensor):
        if value.dtype not in {torch.int64, torch.int32} or value.dim() != 1:
            raise MalformedError(f"{where}has {name!r} of {value.dtype} {list(value.shape)}")
        _check_range(value, count, f"{where}has {name!r} that")


def _check_range(ids: Tensor, count: int | None, what: str) -> None:
    """Raise unless all ids are from 0 to ``count - 1``; None: any that is not negative."""
    if not ids.numel():
        return
    values = ids.numpy()
    low, high = int(np.min(values)), int(np.max(values))
    if low < 0 or (count is not None and high >= count):
        of = "" if count is None else f", and there are {count:,}"
        raise MalformedError(f"{what} is {low:,} to {high:,}{of}")
