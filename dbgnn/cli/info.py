"""What `dbgnn info` tells of a file: its graphs, their types and columns, the state of the index, the other tables."""

from __future__ import annotations

import os
from typing import Any

import duckdb

from dbgnn import schema, topology
from dbgnn.database import Database
from dbgnn.errors import DbgnnError, SchemaError, StaleIndexError
from dbgnn.graph import Graph
from dbgnn.schema import INFERRED, EdgeTable, VertexTable
from dbgnn.terminal import one_line


def describe_file(db: Database, graph: str | None) -> dict[str, Any]:
    """Return what is in the file, as what JSON can hold.

    Args:
        db: The database.
        graph: The one graph to tell of; None: all of them, or the one that the foreign keys give.
    """
    con, path = db.cursor(), db.settings.path
    found: dict[str, Any] = {
        "file": path,
        "bytes": os.path.getsize(path) if os.path.exists(path) else 0,
        "tables": {str(table): _count(con, table.sql) for table in schema.tables(con)},
        "graphs": [],
        "note": "",
    }
    for name in [graph] if graph is not None else schema.graph_names(con) or [INFERRED]:
        try:
            found["graphs"].append(_describe(db, db.graph(name)))
        except SchemaError as error:
            if graph is not None:
                raise
            found["note"] = str(error)  # what is wrong with one graph hides no other
    return found


def describe_text(document: dict[str, Any]) -> str:
    """Return the document as text."""
    tables = [f"{one_line(name)} ({count:,} rows)" for name, count in document["tables"].items()]
    lines = [f"{one_line(document['file'])}: {size(document['bytes'])}, {len(tables)} table{'s' * (len(tables) != 1)}"]
    if not document["graphs"]:
        lines += ["Tables: " + ", ".join(tables)] if tables else []
    return "\n\n".join(filter(None, ["\n".join(lines), *(g["text"] for g in document["graphs"]), document["note"]]))


def size(number: float) -> str:
    """Return a number of bytes as one reads it."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:,.0f} {unit}" if unit == "bytes" else f"{number:,.1f} {unit}"
        number /= 1000
    return f"{number:,.1f} TB"


def _describe(db: Database, graph: Graph) -> dict[str, Any]:
    con, definition = db.cursor(), graph.definition
    return {
        "name": graph.name,
        "declared": graph.name in schema.graph_names(con),
        "sql": schema.to_sql(definition),
        "nodes": {v.label: {"key": list(v.key), **_element(con, definition, v)} for v in definition.vertices},
        "edges": [
            {
                "type": list(e.edge_type),
                "source_key": list(e.source_key),
                "destination_key": list(e.destination_key),
                **_element(con, definition, e),
            }
            for e in definition.edges
        ],
        "index": _index(con, graph),
        "text": str(graph),
    }


def _element(
    con: duckdb.DuckDBPyConnection, definition: schema.PropertyGraph, element: VertexTable | EdgeTable
) -> dict[str, Any]:
    columns = [
        {"name": c.name, "sql_type": c.sql_type, "dtype": c.dtype or None, "shape": list(c.shape), "left_out": c.reason}
        for c in schema.served_columns(con, definition, element)
    ]
    return {"table": str(element.table), "rows": _count(con, element.rows), "columns": columns}


def _index(con: duckdb.DuckDBPyConnection, graph: Graph) -> dict[str, Any]:
    try:
        found = topology.verify(con, graph.definition)
    except StaleIndexError as error:
        missing = isinstance(error, topology.IncompleteIndexError)
        return {"state": "missing" if missing else "stale", "why": str(error), "dropped": 0}
    except DbgnnError as error:
        return {"state": "unknown", "why": str(error), "dropped": 0}
    return {"state": "up to date", "why": "", "dropped": sum(e.dropped for e in found.edges.values())}


def _count(con: duckdb.DuckDBPyConnection, rows: str) -> int:
    return int(con.execute(f"SELECT count(*) FROM {rows}").fetchall()[0][0])
