"""The property graphs kept in the file, in ``dbgnn.graphs(name, definition)``.

The definition is JSON and says everything a :class:`PropertyGraph` says; reading works on files that
have no graphs and on read-only connections.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from typing import Any, TypeVar

import duckdb

from dbgnn.errors import SchemaError, UnknownNameError, near_misses
from dbgnn.schema.catalog import check_tables, create_own_schema, first_row, foreign_keys, has_own_table, own_table
from dbgnn.schema.infer import INFERRED, infer
from dbgnn.schema.model import EdgeTable, PropertyGraph, TableName, VertexTable

_Element = TypeVar("_Element", VertexTable, EdgeTable)

#: Raised when the JSON changes in a way older code would misread.
_VERSION = 1


def in_transaction(con: duckdb.DuckDBPyConnection) -> bool:
    """Whether the connection is in a transaction that was begun; outside one, every statement has its own id."""
    first, second = (first_row(con, "SELECT txid_current()") for _ in range(2))
    return first == second


@contextmanager
def transaction(con: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Run the block in a transaction: the one that is open, which the caller then ends, or one of its own."""
    if in_transaction(con):  # in which a BEGIN would abort it
        yield
        return
    try:
        con.execute("BEGIN TRANSACTION")  # within, so that Ctrl-C right behind it ends what it began
        yield
        con.execute("COMMIT")
    except BaseException:
        with suppress(duckdb.TransactionException):  # none is open: it was not begun, or is committed
            con.execute("ROLLBACK")
        raise


def graph_names(con: duckdb.DuckDBPyConnection) -> list[str]:
    """Return the names of the graphs kept in the file, sorted; not that of an inferred one."""
    if not has_own_table(con, "graphs"):
        return []
    return [name for (name,) in con.execute(f"SELECT name FROM {own_table(con, 'graphs')} ORDER BY name ASC").fetchall()]


def find_graph(con: duckdb.DuckDBPyConnection, name: str) -> str | None:
    """Return the graph's name as it was declared, or None; names differ by more than case, as DuckDB's do."""
    return next((known for known in graph_names(con) if known.lower() == name.lower()), None)


def load(con: duckdb.DuckDBPyConnection, name: str | None) -> PropertyGraph:
    """Return a declared graph, or the one that the foreign keys give.

    Args:
        con: An open connection.
        name: The graph's name. None: the only one declared, or the inferred one if none is. ``"inferred"``:
            the inferred one, unless a graph of this name was declared.

    Raises:
        UnknownNameError: No graph has this name.
        SchemaError: ``name`` is None and several graphs are declared, or none is and there are no foreign keys; or a
            table's schema has the name of the database.
    """
    names = graph_names(con)
    if name is None:
        if len(names) > 1:
            raise SchemaError(f"The database has several property graphs, say which: {', '.join(map(repr, names))}.")
        if not names:
            return infer(con)
        name = names[0]
    known = find_graph(con, name)
    if known is None:
        if name == INFERRED:
            return infer(con)
        raise UnknownNameError(f"There is no property graph {name!r}" + near_misses(name, names))
    graph = stored(con, known)
    check_tables(con, graph.tables)  # again: since it was declared, the file may have got another name
    return graph


def has_graph(con: duckdb.DuckDBPyConnection, name: str | None) -> bool:
    """Whether :func:`load` finds one, or one too many."""
    names = graph_names(con)
    if name is None or name == INFERRED:
        return bool(names) or bool(foreign_keys(con))
    return find_graph(con, name) is not None


def stored(con: duckdb.DuckDBPyConnection, name: str) -> PropertyGraph:
    """Return the graph declared under this very name, whether or not it fits the database as it is now."""
    row = first_row(con, f"SELECT definition FROM {own_table(con, 'graphs')} WHERE name = ?", [name])
    if row is None:  # dropped by another connection since the name was found
        raise UnknownNameError(f"The property graph {name!r} has just been dropped.")
    return from_json(row[0])


def is_inferred(con: duckdb.DuckDBPyConnection, graph: PropertyGraph) -> bool:
    """Whether a graph is what the foreign keys give, not one that was declared under that name."""
    return graph.name == INFERRED and INFERRED not in graph_names(con)


def current(con: duckdb.DuckDBPyConnection, graph: PropertyGraph) -> PropertyGraph:
    """Return a graph with the PROPERTIES that the file has by now for types that are the same otherwise.

    Objects that are older than a change of the file see it, whichever object made it.
    """
    if is_inferred(con, graph):
        try:
            kept = infer(con)
        except SchemaError:  # the foreign keys are gone
            return graph
    elif graph.name in graph_names(con):
        kept = stored(con, graph.name)
    else:
        return graph

    def known(elements: tuple[_Element, ...], now: tuple[_Element, ...]) -> tuple[_Element, ...]:
        return tuple(next((n for n in now if replace(n, properties=e.properties) == e), e) for e in elements)

    return replace(graph, vertices=known(graph.vertices, kept.vertices), edges=known(graph.edges, kept.edges))


def save(con: duckdb.DuckDBPyConnection, graph: PropertyGraph) -> None:
    """Keep ``graph`` in the file, in the place of the one with its name, if any."""
    with transaction(con):
        create_own_schema(con)
        target = own_table(con, "graphs")
        con.execute(f"CREATE TABLE IF NOT EXISTS {target} (name VARCHAR PRIMARY KEY, definition VARCHAR NOT NULL)")
        con.execute(f"INSERT OR REPLACE INTO {target} VALUES (?, ?)", [graph.name, to_json(graph)])


def remove(con: duckdb.DuckDBPyConnection, name: str) -> None:
    """Remove the graph of this very name and the entries of its index; its tables stay."""
    with transaction(con):
        con.execute(f"DELETE FROM {own_table(con, 'graphs')} WHERE name = ?", [name])
        forget_index(con, name)


def forget_index(con: duckdb.DuckDBPyConnection, name: str) -> None:
    """Remove the entries of the graph's topology index, whose tables go at the next build."""
    if has_own_table(con, "index_parts"):
        con.execute(f"DELETE FROM {own_table(con, 'index_parts')} WHERE graph = ?", [name])


def to_json(graph: PropertyGraph) -> str:
    """Return the graph as JSON; :func:`from_json` gives back an equal one."""
    return json.dumps({"version": _VERSION, **asdict(graph)}, ensure_ascii=False)


def from_json(text: str) -> PropertyGraph:
    """Return the graph that :func:`to_json` wrote."""
    try:
        return _from_dict(json.loads(text))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, SchemaError):
            raise
        raise SchemaError(f"dbgnn.graphs holds a definition that dbgnn did not write; DROP the graph. {text!r}") from error


def _from_dict(data: dict[str, Any]) -> PropertyGraph:
    if data.get("version") != _VERSION:
        raise SchemaError(f"This property graph was written by a newer dbgnn (format {data.get('version')!r}); upgrade dbgnn.")

    def names(values: list[str] | None) -> tuple[str, ...] | None:
        return None if values is None else tuple(values)

    return PropertyGraph(
        name=data["name"],
        vertices=tuple(
            VertexTable(TableName(**v["table"]), v["label"], tuple(v["key"]), names(v["properties"])) for v in data["vertices"]
        ),
        edges=tuple(
            EdgeTable(
                TableName(**e["table"]),
                e["label"],
                e["source"],
                tuple(e["source_key"]),
                e["destination"],
                tuple(e["destination_key"]),
                names(e["properties"]),
            )
            for e in data["edges"]
        ),
        homogeneous=data["homogeneous"],
    )
