"""What a user hands to a loader or sampler as data: the two stores of one graph, or what is told from them."""

from __future__ import annotations

from typing import Any

from torch_geometric.data import Data, FeatureStore, GraphStore, HeteroData

from dbgnn.errors import RequestError
from dbgnn.stores.feature_store import DuckDBFeatureStore
from dbgnn.stores.graph_store import DuckDBGraphStore

_WANTED = (
    "the stores of a graph in a database, (feature_store, graph_store) of db.get_torch_geometric_remote_backend(), or the "
    "graph itself, db.graph()"
)


def stores_of(data: Any) -> tuple[DuckDBFeatureStore, DuckDBGraphStore]:
    """Return feature store and graph store of a pair of them, in this order, in which they need not have been given.

    Raises:
        RequestError: Data is in memory, is something else, or the stores are of two graphs.
    """
    if isinstance(data, (Data, HeteroData)):
        raise RequestError(
            f"data is a {type(data).__name__}, which is in memory already: dbgnn reads {_WANTED}. "
            f"dbgnn.from_pyg(data, db) writes it into a database and returns the graph; PyG's own loaders take it as it is."
        )
    if isinstance(data, (FeatureStore, GraphStore)):
        raise RequestError(f"data is one store, {data!r:.200}; give {_WANTED}.")
    pair = tuple(data) if isinstance(data, (tuple, list)) else ()
    if len(pair) == 2 and isinstance(pair[0], DuckDBGraphStore) and isinstance(pair[1], DuckDBFeatureStore):
        pair = pair[::-1]
    if len(pair) != 2 or not isinstance(pair[0], DuckDBFeatureStore) or not isinstance(pair[1], DuckDBGraphStore):
        shown = (
            f"({', '.join(type(part).__name__ for part in data)})" if isinstance(data, (tuple, list)) else type(data).__name__
        )
        raise RequestError(f"data is {shown}; dbgnn reads {_WANTED}.")
    features, edges = pair
    if not features.serves_with(edges):
        raise RequestError(
            f"The stores are of two graphs: features of {features!r}, edges of {edges!r}, so ids would mean other rows. Take "
            "both from one call of db.get_torch_geometric_remote_backend()."
        )
    return features, edges
