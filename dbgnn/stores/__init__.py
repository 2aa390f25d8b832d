"""PyG's remote backend: a feature store and a graph store over one property graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dbgnn.indexed_graph import IndexedGraph
from dbgnn.stores.binding import bind, definition_to_serve
from dbgnn.stores.feature_store import DuckDBFeatureStore
from dbgnn.stores.graph_store import DuckDBGraphStore
from dbgnn.stores.tensor_attr import DuckDBTensorAttr

__all__ = ["DuckDBFeatureStore", "DuckDBGraphStore", "DuckDBTensorAttr", "definition_to_serve", "open_stores"]


def open_stores(
    graph: IndexedGraph,
    *,
    columns: Mapping[Any, Sequence[str]] | None = None,
    homogeneous: bool = False,
) -> tuple[DuckDBFeatureStore, DuckDBGraphStore]:
    """Return the two stores of a graph; what one of them writes the other one sees.

    Args:
        graph: The graph; the stores' own begins as it is.
        columns: Per node or edge type, the columns that loaders fetch, by the names that PyG sees; types not named fetch all
            theirs.
        homogeneous: Serve a graph of one vertex and at most one edge table without type names.

    Raises:
        UnknownNameError: No such type or column.
        SchemaError: A selected column is no tensor, or the graph is not homogeneous. Or loaders would fetch a column whose name
            means something to PyG, such as ``batch``, and ``columns`` does not name it as it is served, ``batch_``.
    """
    binding = bind(graph, columns, homogeneous=homogeneous)
    return DuckDBFeatureStore(binding), DuckDBGraphStore(binding)
