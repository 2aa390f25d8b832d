"""The seed nodes of a mini-batch, and the rows that a model returned for them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import HeteroData

from dbgnn.errors import RequestError, SchemaError, near_misses
from dbgnn.schema.model import Label
from dbgnn.stores.request import Ids64, rows_of
from dbgnn.stores.source import Source

if TYPE_CHECKING:
    from dbgnn.indexed_graph import IndexedGraph


def seed_type(graph: IndexedGraph, batch: Any) -> str:
    """Return the node type of a mini-batch's seeds."""
    need_nodes(batch)
    types = graph.node_types
    if isinstance(batch, HeteroData):
        types = [label for label in batch.node_types if "batch_size" in batch[label]]
    if len(types) != 1:
        raise RequestError(
            f"The mini-batch does not say of which node type its seeds are: it may be any of {types or graph.node_types}. "
            "Name it: into='type.column'."
        )
    return str(types[0])


def need_nodes(batch: Any) -> None:
    """Raise if the seeds of a mini-batch are links: what a model says of them is about no node.

    Raises:
        RequestError: They are.
    """
    stores = [batch] if not isinstance(batch, HeteroData) else batch.edge_stores
    if any("input_id" in store and "batch_size" not in store for store in stores):
        raise RequestError(
            "The seeds of the loader are links, and what is predicted for them belongs to no node. Give the links as a "
            "dbgnn.LinkTask, and into= the name of a table, in which every link has a row; or give the nodes to a "
            "dbgnn.NeighborLoader."
        )


@dataclass(frozen=True, slots=True)
class SeedsAsked:
    """The seeds that a loader was given, against which those of its mini-batches are held.

    Attributes:
        nodes: All of them, in the loader's order.
        by_id: A mini-batch's ``input_id`` are node ids, as of a mask; else positions among ``nodes``.
    """

    nodes: Tensor
    by_id: bool

    @classmethod
    def of(cls, loader: Any) -> SeedsAsked | None:
        """Return those of dbgnn's and PyG's loaders of nodes; None of others, or where ``input_id`` is the user's own."""
        given = getattr(loader, "input_data", None)
        nodes, input_id = getattr(given, "node", None), getattr(given, "input_id", None)
        if not isinstance(nodes, Tensor) or (input_id is not None and not torch.equal(input_id, nodes)):
            return None
        return cls(nodes, by_id=input_id is not None)

    def check(self, ids: Ids64, input_id: Any, label: Label) -> None:
        """Raise if a transform has put other nodes in the place of the seeds."""
        if not isinstance(input_id, Tensor):
            return
        given = input_id.cpu().numpy()
        with suppress(IndexError):
            wanted = given if self.by_id else self.nodes.numpy()[given]
            if np.array_equal(wanted, ids):
                return
        raise RequestError(
            f"The first {len(ids):,} nodes of a mini-batch (n_id) are not the seeds of {label!r} that the loader drew "
            "(input_id), so predictions would be written to other rows. A transform has changed n_id, input_id, batch_size or "
            "the order of nodes: leave it out, or keep them as they are."
        )


def seeds_of(batch: Any, source: Source, asked: SeedsAsked | None) -> Ids64:
    """Return the ids of a mini-batch's seeds: int64 ``[n]``, with the duplicates it has."""
    need_nodes(batch)
    store = batch
    if isinstance(batch, HeteroData):
        of = [label for label in batch.node_types if "batch_size" in batch[label]]
        if source.label not in (of or batch.node_types):
            raise RequestError(
                f"The seeds of the loader are of type {', '.join(map(repr, of or batch.node_types))}, not {source.label!r}; "
                f"give it input_nodes={source.label!r}."
            )
        store = batch[source.label]
    if "n_id" not in store:
        raise RequestError(
            f"The mini-batch has no n_id, so nobody knows which nodes of {source.label!r} it is about: {batch!r:.200}. Use a "
            "NeighborLoader, or predict by yourself and call graph.write_back with keys."
        )
    rows = rows_of(store["n_id"], source.num_rows, source.label).array()
    if "batch_size" not in store:
        return rows
    ids = rows[: int(store["batch_size"])]
    if asked is not None:
        asked.check(ids, store.get("input_id"), source.label)
    return ids


class OneTimeEach:
    """Holds nodes to one time each: at several times, a node would have one prediction, that of the first."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._times: Ids64 | None = None
        self._known = np.empty(0, dtype=np.bool_)

    def check(self, ids: Ids64, batch: Any) -> None:
        """Raise if a seed of a mini-batch was a seed at another time already.

        Raises:
            RequestError: It was; with both times.
        """
        store = batch[self._source.label] if isinstance(batch, HeteroData) else batch
        given = store.get("seed_time")
        if not isinstance(given, Tensor) or given.shape != ids.shape:
            return
        times = given.detach().cpu().numpy().astype(np.int64)
        if self._times is None:
            self._times = np.zeros(self._source.num_rows, dtype=np.int64)
            self._known = np.zeros(self._source.num_rows, dtype=np.bool_)
        new = ~self._known[ids]
        self._times[ids[new]], self._known[ids] = times[new], True
        if len(wrong := np.flatnonzero(self._times[ids] != times)):
            node, then, now = int(ids[wrong[0]]), int(self._times[ids[wrong[0]]]), int(times[wrong[0]])
            raise RequestError(
                f"Node {node} of {self._source.label!r} is a seed at several times, such as {then} and {now}, and a row per "
                "node holds one prediction. Give the nodes and times as a dbgnn.EntityTask to the loader, the loader to "
                "predict, and into= the name of a table: it has a row for each."
            )


def rows_of_seeds(out: Any, label: Label, count: int) -> Tensor:
    """Return the rows of the seeds in what a model returned: ``[count, …]``."""
    if isinstance(out, Mapping):
        if label not in out:
            raise RequestError(f"The model returned nothing for {label!r}" + near_misses(label, out))
        out = out[label]
    if not isinstance(out, Tensor) or out.dim() == 0:
        raise SchemaError(
            f"The model returned {'one number' if isinstance(out, Tensor) else type(out).__name__}; predictions are a tensor "
            "with a row per node, or such tensors by node type. Choose with forward=lambda model, batch: …"
        )
    if len(out) < count:
        raise RequestError(f"The model returned {len(out):,} rows for {count:,} seeds of {label!r}; the seeds' come first.")
    return out[:count].detach()
