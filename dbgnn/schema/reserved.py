"""Columns whose names PyG reserves: served under another name, where ``columns=`` asks for that, and else an error."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import duckdb

from dbgnn.errors import SchemaError
from dbgnn.schema.catalog import all_columns, first_row, foreign_keys, key_columns
from dbgnn.schema.encoded import encoded
from dbgnn.schema.model import EdgeTable, EdgeType, PropertyGraph, TableName, VertexTable
from dbgnn.schema.registry import current, is_inferred
from dbgnn.schema.render import shown, shown_table
from dbgnn.schema.types import Column, named_columns, served
from dbgnn.schema.written import written

_Label: TypeAlias = str | EdgeType

#: The calls that take ``columns=``; for messages.
STORES = "db.get_torch_geometric_remote_backend()"
IN_MEMORY = "graph.to_heterodata(), graph.to_data() or query_to_heterodata()"
ALL = "db.get_torch_geometric_remote_backend(), graph.to_heterodata() and graph.to_data()"


@dataclass(frozen=True, slots=True)
class _Type:
    """A node or edge type as a call would serve it.

    Attributes:
        label: The type.
        element: Its table in the graph.
        unasked: The columns of reserved names that it would serve without having been asked for them by another.
        names: What ``columns=`` has to name to serve all of it, under the names that PyG sees.
        is_asked: ``columns=`` named it.
    """

    label: _Label
    element: VertexTable | EdgeTable
    unasked: tuple[Column, ...]
    names: tuple[str, ...]
    is_asked: bool

    @property
    def rest(self) -> list[str]:
        """The names without the unasked columns."""
        left_out = {c.attr for c in self.unasked}
        return [name for name in self.names if name not in left_out]


def refuse_unasked(
    con: duckdb.DuckDBPyConnection,
    graph: PropertyGraph,
    asked: Mapping[_Label, Sequence[str]],
    where: str = STORES,
    *,
    only: Collection[_Label] | None = None,
) -> None:
    """Raise if a column of a reserved name would be served without having been asked for by the name that it is served under.

    Args:
        con: An open connection.
        graph: The graph.
        asked: By type, what ``columns=`` names: columns that are there, or names that PyG sees.
        where: The call that takes ``columns=``.
        only: The types that are served; None: all.

    Raises:
        SchemaError: The message names all such columns of all types, and the ``columns=`` that serve them or leave them out.
    """
    if text := _refusal(con, graph, list(_types(con, graph, asked, only)), where):
        raise SchemaError(text)


def unasked(con: duckdb.DuckDBPyConnection, graph: PropertyGraph) -> str:
    """Return what calls that are not told any ``columns=`` will raise; "" for nothing."""
    return _refusal(con, graph, list(_types(con, graph, {}, None)), ALL)


def _refusal(con: duckdb.DuckDBPyConnection, graph: PropertyGraph, types: Sequence[_Type], where: str) -> str:
    found = [t for t in types if t.unasked]
    if not found:
        return ""
    shown_types = [t for t in types if t.unasked or t.is_asked]
    one = sum(len(columns) for columns in _by_table(found).values()) == 1
    it, name = ("it", "this name") if one else ("them", "these names")
    said = ", ".join(f"{_columns(columns)} of table {str(table)!r}" for table, columns in _by_table(found).items())
    return (
        f"{said[:1].upper()}{said[1:]}: PyG uses {name} for something else, so that mini-batches cannot hold the "
        f"column{'' if one else 's'} under {it}. Serve {it} by what columns= of {where} names: "
        f"columns={ {t.label: list(t.names) for t in shown_types}!r}; or leave {it} out: "
        f"columns={ {t.label: t.rest for t in shown_types}!r}{_renaming(con, graph, found, it)}."
    )


def _types(
    con: duckdb.DuckDBPyConnection,
    graph: PropertyGraph,
    asked: Mapping[_Label, Sequence[str]],
    only: Collection[_Label] | None,
) -> Iterator[_Type]:
    definition, types, back, keys = current(con, graph), all_columns(con), written(con), key_columns(con)
    made = encoded(con, definition)
    for element in definition.elements:
        label: _Label = element.label if isinstance(element, VertexTable) else element.edge_type
        if element.table not in types:
            continue
        if label in asked:
            columns = {c.name: c for c in named_columns(types[element.table])}
            fetched = [columns[name] for name in asked[label] if name in columns]
            names = [columns[name].attr if name in columns else name for name in asked[label]]
        else:
            fetched = [c for c in served(definition, element, types[element.table], back, keys, made) if c.reason is None]
            names = [c.attr for c in fetched]
        is_served = only is None or label in only
        reserved = tuple(dict.fromkeys(c for c in fetched if c.is_renamed and is_served))
        yield _Type(label, element, reserved, tuple(dict.fromkeys(names)), label in asked)


def _by_table(found: Sequence[_Type]) -> dict[TableName, dict[str, Column]]:
    """Return the columns by table, once each: a table may be several edge types."""
    out: dict[TableName, dict[str, Column]] = {}
    for each in found:
        out.setdefault(each.element.table, {}).update({c.name: c for c in each.unasked})
    return out


def _columns(columns: Collection[str]) -> str:
    return f"column{'s' if len(columns) > 1 else ''} {', '.join(map(repr, columns))}"


def _renaming(con: duckdb.DuckDBPyConnection, graph: PropertyGraph, found: Sequence[_Type], it: str) -> str:
    """Return the remedy of other names in the tables; "" where DuckDB would refuse, or the graph or the call names a column."""
    (read_only,) = first_row(con, "SELECT readonly FROM duckdb_databases() WHERE database_name = current_database()") or (True,)
    bound = _bound(con)
    is_named = any(t.is_asked for t in found) or (
        not is_inferred(con, graph) and any(c.name in (t.element.properties or ()) for t in found for c in t.unasked)
    )
    if read_only or is_named or any(t.element.table in bound for t in found):
        return ""
    renamed = (
        f"ALTER TABLE {shown_table(table)} RENAME COLUMN {shown(c.name)} TO {shown(c.attr)}"
        for table, columns in _by_table(found).items()
        for c in columns.values()
    )
    return f"; or rename {it} in the table: {'; '.join(renamed)}"


def _bound(con: duckdb.DuckDBPyConnection) -> set[TableName]:
    """Return the tables whose columns DuckDB does not rename: those with an index, and those that a foreign key refers to."""
    indexed = con.execute(
        "SELECT DISTINCT schema_name, table_name FROM duckdb_indexes() WHERE database_name = current_database()"
    ).fetchall()
    return {TableName(name, schema) for schema, name in indexed} | {key.target for key in foreign_keys(con)}
