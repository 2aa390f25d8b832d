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
from dbgnn.schema.catalog import (
    OWN_SCHEMA,
    check_tables,
    create_own_schema,
    first_row,
    folded,
    foreign_keys,
    has_own_table,
    own_columns,
    own_table,
)
from dbgnn.schema.encoded import forget_encoded
from dbgnn.schema.infer import INFERRED, INFERRED_BOTH, infer
from dbgnn.schema.model import EdgeTable, PropertyGraph, TableName, VertexTable, View
from dbgnn.schema.render import shown
from dbgnn.schema.row_conditions import check_rows

_Element = TypeVar("_Element", VertexTable, EdgeTable)

#: Raised when the JSON changes in a way older code would misread. Graphs that it would not misread keep the first number.
_VERSION, _WITHOUT_CONDITIONS = 2, 1

#: The columns of the table, and how much of what is not understood a message shows.
_GRAPHS = {"name": "VARCHAR", "definition": "VARCHAR"}
_SHOWN = 200


def in_transaction(con: duckdb.DuckDBPyConnection) -> bool:
    """Whether the connection is in a transaction that was begun; outside one, every statement has its own id."""
    first, second = (first_row(con, "SELECT system.main.txid_current()") for _ in range(2))
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
    if not has_own_table(con, "graphs", _GRAPHS):
        return []
    rows = con.execute(f"SELECT name FROM {own_table(con, 'graphs')} ORDER BY name ASC NULLS LAST").fetchall()
    return [name for (name,) in rows if name is not None]


def find_graph(con: duckdb.DuckDBPyConnection, name: str) -> str | None:
    """Return the graph's name as it was declared, or None; names differ by more than case, as DuckDB's do."""
    return next((known for known in graph_names(con) if known.lower() == name.lower()), None)


def load(con: duckdb.DuckDBPyConnection, name: str | None) -> PropertyGraph:
    """Return a declared graph, or the one that the foreign keys give.

    Args:
        con: An open connection.
        name: The graph's name. None: the only one declared, or the inferred one if none is. ``"inferred"``:
            the inferred one, unless a graph of this name was declared; ``"inferred_both"``: likewise, with every edge type in
            both directions.

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
        if name in (INFERRED, INFERRED_BOTH):
            return infer(con, name)
        raise UnknownNameError(f"There is no property graph {name!r}" + near_misses(name, names))
    graph = stored(con, known)
    check_tables(con, graph.tables)  # again: since it was declared, the file may have got another name
    check_rows(con, graph)  # again: what a file holds may be anybody's, and its tables and views may have changed
    return graph


def has_graph(con: duckdb.DuckDBPyConnection, name: str | None) -> bool:
    """Whether :func:`load` finds one, or one too many."""
    names = graph_names(con)
    if name is None or name in (INFERRED, INFERRED_BOTH):
        return bool(names) or bool(foreign_keys(con))
    return find_graph(con, name) is not None


def stored(con: duckdb.DuckDBPyConnection, name: str) -> PropertyGraph:
    """Return the graph declared under this very name, whether or not it fits the database as it is now."""
    rows = con.execute(f"SELECT definition FROM {own_table(con, 'graphs')} WHERE name = ?", [name]).fetchall()
    if not rows:  # dropped by another connection since the name was found
        raise UnknownNameError(f"The property graph {name!r} has just been dropped.")
    graph = from_json(rows[0][0], name) if len(rows) == 1 else None
    if graph is None or graph.name != name:
        raise _not_ours(name, "several definitions, or that of another")
    return graph


def is_inferred(con: duckdb.DuckDBPyConnection, graph: PropertyGraph) -> bool:
    """Whether a graph is what the foreign keys give, not one that was declared under that name."""
    return graph.name in (INFERRED, INFERRED_BOTH) and graph.name not in graph_names(con)


def current(con: duckdb.DuckDBPyConnection, graph: PropertyGraph) -> PropertyGraph:
    """Return a graph with the PROPERTIES that the file has by now for types that are the same otherwise.

    Objects that are older than a change of the file see it, whichever object made it.
    """
    if graph.name not in graph_names(con):  # what foreign keys give has no PROPERTIES
        return graph
    kept = stored(con, graph.name)

    def known(elements: tuple[_Element, ...], now: tuple[_Element, ...]) -> tuple[_Element, ...]:
        return tuple(next((n for n in now if replace(n, properties=e.properties) == e), e) for e in elements)

    return replace(graph, vertices=known(graph.vertices, kept.vertices), edges=known(graph.edges, kept.edges))


def save(con: duckdb.DuckDBPyConnection, graph: PropertyGraph) -> None:
    """Keep ``graph`` in the file, in the place of the one with its name, if any."""
    with transaction(con):
        create_own_schema(con)
        target = own_table(con, "graphs")
        con.execute(f"CREATE TABLE IF NOT EXISTS {target} (name VARCHAR PRIMARY KEY, definition VARCHAR NOT NULL)")
        try:
            con.execute(f"INSERT OR REPLACE INTO {target} VALUES (?, ?)", [graph.name, to_json(graph)])
        except duckdb.BinderException as error:  # without a primary key there is nothing to replace by
            raise SchemaError(
                f"dbgnn's table {OWN_SCHEMA}.graphs has lost its primary key. Give it back: "
                f"ALTER TABLE {target} ADD PRIMARY KEY (name)."
            ) from error


def remove_graph(con: duckdb.DuckDBPyConnection, name: str) -> None:
    """Remove the graph of this very name and the entries of its index; its tables stay."""
    with transaction(con):
        con.execute(f"DELETE FROM {own_table(con, 'graphs')} WHERE name = ?", [name])
        forget_index(con, name)
        forget_encoded(con, name)


def forget_index(con: duckdb.DuckDBPyConnection, name: str) -> None:
    """Remove the entries of the graph's topology index, whose tables go at the next build."""
    known = own_columns(con, "index_parts")
    if known is not None and known.get("graph") == "VARCHAR":  # else it is none of dbgnn's, and graph.build() makes it again
        con.execute(f"DELETE FROM {own_table(con, 'index_parts')} WHERE graph = ?", [name])


def to_json(graph: PropertyGraph) -> str:
    """Return the graph as JSON; :func:`from_json` gives back an equal one."""
    plain = all(e.condition is None and e.view is None for e in graph.elements)
    data = {"version": _WITHOUT_CONDITIONS if plain else _VERSION, **asdict(graph)}
    if plain:
        for element in (*data["vertices"], *data["edges"]):
            del element["condition"], element["view"]
    return json.dumps(data, ensure_ascii=False)


def from_json(text: object, name: str | None = None) -> PropertyGraph:
    """Return the graph that :func:`to_json` wrote.

    Args:
        text: What the file holds.
        name: The name under which it holds it, for messages.

    Raises:
        SchemaError: It is anything else, or what a newer dbgnn wrote.
    """
    try:
        return _from_dict(json.loads(text))  # type: ignore[arg-type] # or TypeError
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        if isinstance(error, SchemaError) and not isinstance(error, KeyError):
            raise
        raise _not_ours(name, f"{text!r}"[:_SHOWN]) from error


def _not_ours(name: str | None, found: str) -> SchemaError:
    remedy = "" if name is None else f": DROP PROPERTY GRAPH {shown(name)}"
    return SchemaError(
        f"{OWN_SCHEMA}.graphs holds a definition that dbgnn did not write{'' if name is None else f' for {name!r}'}: {found}. "
        f"Drop the graph, and declare it again{remedy}."
    )


def _from_dict(data: dict[str, Any]) -> PropertyGraph:
    version = data["version"]
    if version not in (_VERSION, _WITHOUT_CONDITIONS) or isinstance(version, bool):
        if not isinstance(version, int) or version < _VERSION:
            raise TypeError(version)
        raise SchemaError(f"This property graph was written by a newer dbgnn (format {version!r}); upgrade dbgnn.")
    homogeneous = data["homogeneous"]
    if not isinstance(homogeneous, bool):
        raise TypeError(homogeneous)
    return PropertyGraph(
        name=_text(data["name"]),
        vertices=tuple(
            VertexTable(
                _table(v["table"]), _text(v["label"]), _texts(v["key"]), _properties(v["properties"]), *_rows(v, version)
            )
            for v in data["vertices"]
        ),
        edges=tuple(
            EdgeTable(
                _table(e["table"]),
                _text(e["label"]),
                _text(e["source"]),
                _texts(e["source_key"]),
                _text(e["destination"]),
                _texts(e["destination_key"]),
                _properties(e["properties"]),
                *_rows(e, version),
            )
            for e in data["edges"]
        ),
        homogeneous=homogeneous,
    )


def _table(found: Any) -> TableName:
    """Return a table of the user's; those of dbgnn are in no graph."""
    table = TableName(_text(found["name"]), _text(found["schema"]))
    if folded(table.schema) == OWN_SCHEMA:
        raise ValueError(table)
    return table


def _rows(found: Any, version: int) -> tuple[str | None, View | None]:
    """Return the condition on the rows of a table, and the view that it was named by."""
    if version == _WITHOUT_CONDITIONS:
        return None, None
    condition, view = found["condition"], found["view"]
    return (
        None if condition is None else _text(condition),
        None if view is None else View(_table(view["name"]), _text(view["definition"])),
    )


def _text(found: Any) -> str:
    """Return what has to be text that SQL can name."""
    if not isinstance(found, str):
        raise TypeError(found)
    found.encode()  # no half of a surrogate pair
    if "\0" in found:
        raise ValueError(found)
    return found


def _texts(found: Any) -> tuple[str, ...]:
    if not isinstance(found, list) or not found:
        raise TypeError(found)
    return tuple(map(_text, found))


def _properties(found: Any) -> tuple[str, ...] | None:
    return None if found is None else _texts(found) if found else ()
