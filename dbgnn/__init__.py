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
    from dbgnn.datasets.from_networkx import from_networkx
    from dbgnn.datasets.from_pyg import from_pyg
    from dbgnn.encoders import (
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
        Quantize,
        Stack,
        Text,
    )
    from dbgnn.graph import Graph
    from dbgnn.loader import LinkNeighborLoader, LoaderStats, NeighborLoader, StepStats
    from dbgnn.packs import PackedLoader
    from dbgnn.queries.heterodata import query_to_heterodata
    from dbgnn.queries.splits_by_share import HashSplit, TimeSplit
    from dbgnn.queries.splits_by_value import ColumnSplit, PredicateSplit
    from dbgnn.sampling import NeighborSampler
    from dbgnn.sampling.modes import Labor
    from dbgnn.stores import DuckDBFeatureStore, DuckDBGraphStore
    from dbgnn.tasks import EntityTask, LinkTask

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
    "EntityTask",
    "FanoutError",
    "Frame",
    "Graph",
    "Hash",
    "HashSplit",
    "Identity",
    "Labor",
    "LinkNeighborLoader",
    "LinkTask",
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
    "Quantize",
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
    "Apply": "dbgnn.encoders",
    "Datetime": "dbgnn.encoders",
    "Encoders": "dbgnn.encoders",
    "Frame": "dbgnn.encoders",
    "Hash": "dbgnn.encoders",
    "Identity": "dbgnn.encoders",
    "MultiHot": "dbgnn.encoders",
    "Normalize": "dbgnn.encoders",
    "OneHot": "dbgnn.encoders",
    "Ordinal": "dbgnn.encoders",
    "Quantize": "dbgnn.encoders",
    "Stack": "dbgnn.encoders",
    "Text": "dbgnn.encoders",
    "from_networkx": "dbgnn.datasets.from_networkx",
    "from_pyg": "dbgnn.datasets.from_pyg",
    "query_to_heterodata": "dbgnn.queries.heterodata",
    "ColumnSplit": "dbgnn.queries.splits_by_value",
    "HashSplit": "dbgnn.queries.splits_by_share",
    "PredicateSplit": "dbgnn.queries.splits_by_value",
    "TimeSplit": "dbgnn.queries.splits_by_share",
    "Graph": "dbgnn.graph",
    "LinkNeighborLoader": "dbgnn.loader",
    "LoaderStats": "dbgnn.loader",
    "NeighborLoader": "dbgnn.loader",
    "PackedLoader": "dbgnn.packs",
    "StepStats": "dbgnn.loader",
    "NeighborSampler": "dbgnn.sampling",
    "Labor": "dbgnn.sampling.modes",
    "EntityTask": "dbgnn.tasks",
    "LinkTask": "dbgnn.tasks",
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
