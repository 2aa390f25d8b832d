"""``keys=`` of loaders: the user's own keys of the nodes and edges of a mini-batch, by ``n_id`` and ``e_id``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from torch_geometric.data import Data, HeteroData

from dbgnn.errors import RequestError
from dbgnn.schema import Column, current
from dbgnn.schema.asked_keys import asked_keys
from dbgnn.schema.model import Label

if TYPE_CHECKING:
    from dbgnn.stores import DuckDBFeatureStore
    from dbgnn.topology import Topology

#: The columns that come along, by type, and what they hold, by type and attribute.
KeysAsked = Mapping[Label, tuple[Column, ...]]
BatchKeys = Mapping[Label, Mapping[str, Any]]


def loader_keys(store: DuckDBFeatureStore, given: Any) -> KeysAsked:
    """Return the columns that come along; those that are fetched as features do already.

    Raises:
        SchemaError, UnknownNameError: As `asked_keys`.
    """
    con = store.graph.db.cursor()
    asked = asked_keys(con, current(con, store.graph.definition), given)
    topology = store.graph.topology() if asked else None
    out: dict[Label, tuple[Column, ...]] = {}
    for label, columns in asked.items():
        assert topology is not None
        served = {c.name for c in store.served(label, topology)[0]}
        out[label] = tuple(c for c in columns if c.name not in served)
    return {label: columns for label, columns in out.items() if columns}


def keys_identity(asked: KeysAsked) -> dict[str, Any]:
    """Return what of a loader's identity they are; nothing where none come along."""
    return {"keys": [[label, [c.name for c in columns]] for label, columns in asked.items()]} if asked else {}


def read_keys(store: DuckDBFeatureStore, asked: KeysAsked, out: Any, topology: Topology | None = None) -> BatchKeys:
    """Return the keys of the nodes and edges of a sampler's output, whose ids are of an index; None: of that of now.

    Raises:
        RequestError: It has no ids of a type whose keys are asked for.
    """
    found: dict[Label, Mapping[str, Any]] = {}
    for label, columns in asked.items():
        ids, of = (out.node, out.node) if isinstance(label, str) else (out.edge, out.row)
        if isinstance(of, dict) and label not in of:
            continue
        ids = ids.get(label) if isinstance(ids, dict) else ids
        if ids is None:
            raise RequestError(
                f"What was sampled has no ids of {label!r}, as PyG's bidirectional subgraphs of heterogeneous graphs have none "
                "of edges, so its keys cannot come along. Leave this type out of keys=, or sample with another subgraph_type."
            )
        values = store.columns_at(label, columns, ids.numpy(), topology or store.graph.topology())
        found[label] = dict(zip((c.attr for c in columns), values, strict=True))
    return found


def add_keys(batch: Data | HeteroData, keys: BatchKeys) -> None:
    """Add keys to a mini-batch.

    Raises:
        RequestError: It has something of that name.
    """
    for label, values in keys.items():
        place = batch[label] if isinstance(batch, HeteroData) else batch
        for name, value in values.items():
            if name in place:
                raise RequestError(
                    f"keys= adds {name!r} of {label!r} to mini-batches, which have something of that name. Leave that out with "
                    "columns=, or name by keys= the types whose keys are to come."
                )
            place[name] = value
