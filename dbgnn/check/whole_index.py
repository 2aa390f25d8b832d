"""The topology index against the tables, as findings; the comparison itself is in `dbgnn.topology.compare`."""

from __future__ import annotations

from collections.abc import Iterator

import duckdb

from dbgnn.check.report import Finding, Severity
from dbgnn.schema.model import PropertyGraph, VertexTable
from dbgnn.topology import differences


def check_index(con: duckdb.DuckDBPyConnection, graph: PropertyGraph) -> Iterator[Finding]:
    """Yield an error per part of the index that is not what its tables make it; to know, where one was not built yet."""
    for found in differences(con, graph):
        label = found.part.label if isinstance(found.part, VertexTable) else found.part.edge_type
        table = str(found.part.table)
        severity: Severity = "info" if found.is_missing else "error"
        if found.is_stale:
            yield Finding(severity, "index", label, table, None, 0, 0, found.text.rstrip("."))
            continue
        text = f"the topology index is wrong: {found.text}"
        remedy = "Call graph.build(force=True) to build it again."
        yield Finding(severity, "index", label, table, None, found.count, found.total, text, found.ids, remedy)
