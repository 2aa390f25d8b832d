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
    FanoutError,
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
    from dbgnn.check import CheckReport
    from dbgnn.etl.encoders import (
        Apply,
        Datetime,
        Encoders,
        Frame,
        Hash,
        Identity,
        MultiHot,
        Normalize,
        OneHot,
        Ordinal,
        Stack,
        Text,
    )
    from dbgnn.etl.from_networkx import from_networkx
    from dbgnn.etl.from_pyg import from_pyg
    from dbgnn.etl.heterodata import query_to_heterodata
    from dbgnn.etl.splits import ColumnSplit, HashSplit, PredicateSplit, TimeSplit
    from dbgnn.graph import Graph
    from dbgnn.loader import LoaderStats, NeighborLoader, PackedLoader, StepStats
    from dbgnn.sampling import NeighborSampler
    from dbgnn.stores import DuckDBFeatureStore, DuckDBGraphStore

__version__ = "0.1.0"

__all__ = [
    "Apply",
    "CheckReport",
    "ColumnSplit",
    "ConnectionError",
    "CopyError",
    "DataError",
    "Database",
    "Datetime",
    "DbgnnError",
    "DuckDBFeatureStore",
    "DuckDBGraphStore",
    "EdgeTable",
    "Encoders",
    "FanoutError",
    "Frame",
    "Graph",
    "Hash",
    "HashSplit",
    "Identity",
    "LoaderStats",
    "MultiHot",
    "NeighborLoader",
    "NeighborSampler",
    "Normalize",
    "OneHot",
    "Ordinal",
    "PackedLoader",
    "PredicateSplit",
    "PropertyGraph",
    "ReadOnlyError",
    "RequestError",
    "ResourceError",
    "SchemaError",
    "SqlError",
    "Stack",
    "StaleIndexError",
    "StepStats",
    "Text",
    "TimeSplit",
    "UnknownNameError",
    "VertexTable",
    "__version__",
    "connect",
    "from_networkx",
    "from_pyg",
    "query_to_heterodata",
]

#: Where the names live that are loaded at first use, because they import torch or what does.
_LAZY = {
    "CheckReport": "dbgnn.check",
    "Apply": "dbgnn.etl.encoders",
    "Datetime": "dbgnn.etl.encoders",
    "Encoders": "dbgnn.etl.encoders",
    "Frame": "dbgnn.etl.encoders",
    "Hash": "dbgnn.etl.encoders",
    "Identity": "dbgnn.etl.encoders",
    "MultiHot": "dbgnn.etl.encoders",
    "Normalize": "dbgnn.etl.encoders",
    "OneHot": "dbgnn.etl.encoders",
    "Ordinal": "dbgnn.etl.encoders",
    "Stack": "dbgnn.etl.encoders",
    "Text": "dbgnn.etl.encoders",
    "from_networkx": "dbgnn.etl.from_networkx",
    "from_pyg": "dbgnn.etl.from_pyg",
    "query_to_heterodata": "dbgnn.etl.heterodata",
    "ColumnSplit": "dbgnn.etl.splits",
    "HashSplit": "dbgnn.etl.splits",
    "PredicateSplit": "dbgnn.etl.splits",
    "TimeSplit": "dbgnn.etl.splits",
    "Graph": "dbgnn.graph",
    "LoaderStats": "dbgnn.loader",
    "NeighborLoader": "dbgnn.loader",
    "PackedLoader": "dbgnn.loader",
    "StepStats": "dbgnn.loader",
    "NeighborSampler": "dbgnn.sampling",
    "DuckDBFeatureStore": "dbgnn.stores",
    "DuckDBGraphStore": "dbgnn.stores",
}


def __getattr__(name: str) -> object:
    if name not in _LAZY:
        raise AttributeError(f"module 'dbgnn' has no attribute {name!r}")
    value = getattr(importlib.import_module(_LAZY[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
