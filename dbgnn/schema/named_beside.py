"""A column of a table of the user's that has the key of a node type, such as one that `graph.write_back(into=…)` made.

``columns={"paper": ["x", "emb.vec"]}`` names it: the table ``emb``, or ``schema.emb``, and its column ``vec``, which is then
served as ``vec``. Rows are found by key, in the table as it is.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import duckdb

from dbgnn.errors import DataError, SchemaError, UnknownNameError
from dbgnn.schema.catalog import columns, find_column, find_table
from dbgnn.schema.encoded import VALUE
from dbgnn.schema.key_values import carried, key_rows, shown_key
from dbgnn.schema.keys import compared, fits, same, table_key_types, vertex_key_types
from dbgnn.schema.model import EdgeTable, TableName, VertexTable
from dbgnn.schema.names import is_reserved
from dbgnn.schema.paths import names_of_path
from dbgnn.schema.render import shown, shown_table
from dbgnn.schema.types import Column, tensor_type
from dbgnn.sql import quote


@dataclass(frozen=True, slots=True)
class NamedBeside:
    """A column of another table, by the rows of a node table.

    Attributes:
        vertex: The node type.
        kinds: The types of its key.
        side: The other table.
        name: The column.
    """

    vertex: VertexTable
    kinds: tuple[str, ...]
    side: TableName
    name: str

    #: Its ids are rowids of the node table.
    by_rowid = True

    @property
    def table(self) -> str:
        """SQL of ``(id, value)``, for FROM: the rowid in the node table, and the column's value."""
        values = f"SELECT n.rowid AS id, s.{quote(self.name)} AS {VALUE}"
        return f"({values} FROM {self.vertex.rows} AS n JOIN {self.side.sql} AS s ON {self._same})"

    @property
    def _same(self) -> str:
        return same(((f"n.{quote(key)}", f"s.{quote(key)}") for key in self.vertex.key), self.kinds)

    def verify(self, con: duckdb.DuckDBPyConnection) -> None:
        """Raise unless every node has one row there, as this connection sees both tables.

        Raises:
            DataError: A node has none, or several.
            UnknownNameError: The table, or a column of it, is gone.
        """
        rows = f"{self.vertex.rows} AS n LEFT JOIN {self.side.sql} AS s ON {self._same}"
        try:
            [(found, there)] = con.execute(f"SELECT count(*), count(s.{quote(self.vertex.key[0])}) FROM {rows}").fetchall()
        except (duckdb.CatalogException, duckdb.BinderException) as error:
            for name in (*self.vertex.key, self.name):
                find_column(con, find_table(con, self.side.name, self.side.schema), name)
            raise UnknownNameError(f"Table {str(self.side)!r} is another by now: {error}") from error
        [(nodes,)] = con.execute(f"SELECT count(*) FROM {self.vertex.rows}").fetchall()
        what, label = f"{self.name!r} of table {str(self.side)!r}", repr(self.vertex.label)
        if found > there:
            first = self._first(con, "n", f"{self.vertex.rows} AS n ANTI JOIN {self.side.sql} AS s ON {self._same}")
            raise DataError(
                f"{found - there:,} of {nodes:,} nodes of {label} have no {what}; the first has the key {first}. Write them: "
                f"graph.write_back({label}, keys=…, into={shown_table(self.side)!r}, {self.name}=…) or graph.predict; or leave "
                "it out of columns=."
            )
        if found > nodes:
            by = ", ".join(compared(f"s.{quote(key)}", kind) for key, kind in zip(self.vertex.key, self.kinds, strict=True))
            rows = f"{self.side.sql} AS s SEMI JOIN {self.vertex.rows} AS n ON {self._same}"
            first = self._first(con, "s", f"{rows} QUALIFY count(*) OVER (PARTITION BY {by}) > 1")
            raise DataError(
                f"Table {str(self.side)!r} has several rows for a node of {label}, so {what} is not one value for each; the "
                f"first such key is {first}. Delete all but one of each."
            )

    def _first(self, con: duckdb.DuckDBPyConnection, name: str, rows: str) -> str:
        """Return the first key of rows that have this name, by its order, in words."""
        keys = [(f"{name}.{quote(key)}", kind) for key, kind in zip(self.vertex.key, self.kinds, strict=True)]
        order = ", ".join(f"{compared(key, kind)} ASC NULLS LAST" for key, kind in keys)
        shown_keys = ", ".join(carried(key, kind) for key, kind in keys)
        found = key_rows(con, f"SELECT {shown_keys} FROM {rows} ORDER BY {order} LIMIT 1", self.kinds)
        return shown_key(self.vertex.key, found[0])


def named_beside(
    con: duckdb.DuckDBPyConnection, element: VertexTable | EdgeTable, name: str, own: Iterable[Column]
) -> Column | None:
    """Return the column of another table that a name such as ``emb.vec`` means; None: it is no path of names.

    Args:
        con: A connection.
        element: The node type.
        name: What the user wrote.
        own: The columns that are served beside it, from its own table and others.

    Raises:
        UnknownNameError: There is no such table or column.
        SchemaError: An edge type, a table without the node type's key, or a column that is no tensor or whose name is taken.
    """
    path = names_of_path(name)
    if path is None or not 2 <= len(path) <= 3:
        return None
    table = find_table(con, path[-2], path[0] if len(path) == 3 else None)
    column = find_column(con, table, path[-1])
    if isinstance(element, EdgeTable):
        raise SchemaError(
            f"{name!r} is a column of another table; columns= names those for node types only: edges have no key."
        )
    types, kinds = columns(con, table), vertex_key_types(con, element)
    for key, kind in zip(element.key, kinds, strict=True):
        if key not in types or not fits(kind, table_key_types(con, table, [key])[0]):
            raise SchemaError(
                f"Table {str(table)!r} has no key of {element.label!r}: its rows need the column {key!r} of type {kind}, and "
                f"it has {types.get(key, 'none')}. graph.write_back({element.label!r}, into=…) makes such a table."
            )
    found = tensor_type(column, types[column])
    if found.reason is not None:
        raise SchemaError(f"Column {column!r} of table {str(table)!r} is {found.sql_type}, which is no tensor: {found.reason}.")
    if is_reserved(column) or any(column in (c.attr, c.name) for c in own):
        what = "means something to PyG" if is_reserved(column) else f"is what another column of {element.label!r} is called"
        raise SchemaError(
            f"Column {column!r} of table {str(table)!r} would be served as {column!r}, which {what}. Give it another name: "
            f"ALTER TABLE {shown_table(table)} RENAME {shown(column)} TO {shown(f'{table.name}_{column}')}."
        )
    return replace(found, name=name, attr=column, beside=NamedBeside(element, kinds, table, column))
