"""Train PyTorch Geometric models straight from a DuckDB file.

Node and edge tables live in DuckDB, k-hop neighbor sampling runs there as SQL, tensors leave over Arrow.
This module is the whole public face; everything else is private by position. Importing it does not import
torch: the names that need it are loaded when they are first asked for.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from dbgnn.database import Database, connect
from dbgnn.errors import (
    ConnectionError,
    CopyError,
    DataError,
    DbgnnError,
    ReadOnlyError,
    RequestError,
    ResourceError,
    SchemaError,
    SqlError,
    StaleIndexError,
    UnknownNameError,
)
from dbgnn.schema.model import EdgeTable, PropertyGraph, VertexTable

if TYPE_CHECKING:
    from dbgnn.graph import Graph
    from dbgnn.loader import LoaderStats, NeighborLoader, PackedLoader, StepStats
    from dbgnn.sampling import NeighborSampler
    from dbgnn.stores import DuckDBFeatureStore, DuckDBGraphStore

__version__ = "0.1.0"

__all__ = [
    "ConnectionError",
    "CopyError",
    "DataError",
    "Database",
    "DbgnnError",
    "DuckDBFeatureStore",
    "DuckDBGraphStore",
    "EdgeTable",
    "Graph",
    "LoaderStats",
    "NeighborLoader",
    "NeighborSampler",
    "PackedLoader",
    "PropertyGraph",
    "ReadOnlyError",
    "RequestError",
    "ResourceError",
    "SchemaError",
    "SqlError",
    "StaleIndexError",
    "StepStats",
    "UnknownNameError",
    "VertexTable",
    "__version__",
    "connect",
]

#: Where the names live that are loaded at first use, because they import torch or what does.
_LAZY = {
    "DuckDBFeatureStore": "dbgnn.stores",
    "DuckDBGraphStore": "dbgnn.stores",
    "Graph": "dbgnn.graph",
    "LoaderStats": "dbgnn.loader",
    "NeighborLoader": "dbgnn.loader",
    "PackedLoader": "dbgnn.loader",
    "StepStats": "dbgnn.loader",
    "NeighborSampler": "dbgnn.sampling",
}


def __getattr__(name: str) -> object:
    if name not in _LAZY:
        raise AttributeError(f"module 'dbgnn' has no attribute {name!r}")
    value = getattr(importlib.import_module(_LAZY[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
