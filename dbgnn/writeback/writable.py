"""What may be written where: columns of which names and types a target takes, judged before anything is staged."""

from __future__ import annotations

from collections.abc import Mapping

import duckdb

from dbgnn import schema
from dbgnn.errors import DataError, SchemaError
from dbgnn.schema import TableName
from dbgnn.schema.catalog import ROWID
from dbgnn.schema.render import shown_table
from dbgnn.sql import quote
from dbgnn.stores import features, tables
from dbgnn.stores.kept_beside import kept_beside
from dbgnn.writeback.write_target import Target, moves_its_row


def check_writable(target: Target, con: duckdb.DuckDBPyConnection, kinds: Mapping[str, str]) -> None:
    """Raise if columns of these SQL types cannot go there; before anything is staged.

    Raises:
        SchemaError: A column is a key, is of another type, or is indexed; or the side table lacks the keys.
        DataError: DuckDB would move rows of the table to other places, which a constraint or the ids of edges forbid.
    """
    if not kinds:
        raise SchemaError(f"There is no column to write to {target.source.label!r}; name at least one.")
    for name in kinds:
        if not name:
            raise SchemaError(f"A column to write to {target.source.label!r} has the name ''; give it another.")
        if name.lower() in {k.lower() for k in target.source.keys}:
            raise SchemaError(
                f"Column {name!r} is a key of {target.source.label!r} (table {str(target.source.table)!r}); write under "
                "another name, and change keys with SQL."
            )
        if [other.lower() for other in kinds].count(name.lower()) > 1:
            raise SchemaError(f"Column {name!r} is named twice; to DuckDB names that differ by case are one.")
        if name.lower() == "rowid":
            raise SchemaError("A column 'rowid' would hide DuckDB's own; write under another name.")
    if target.into is None:
        for name in kinds:
            if (column := target.source.columns.get(name)) is not None and column.beside is not None:
                raise kept_beside(target.source, column)
        _check_attributes(target, kinds)
        _check_types(target, con, target.source.table, {name: c.sql_type for name, c in target.source.columns.items()}, kinds)
        _check_place(target, con, kinds)
    elif (side := target.find_side(con)) is not None:
        known = schema.columns(con, side)
        _check_types(target, con, side, known, kinds)
        _check_keys(target, side, known)


def _check_attributes(target: Target, kinds: Mapping[str, str]) -> None:
    """Raise if a new column has the name under which PyG sees another one, which would get another name by that."""
    seen = {c.attr.lower(): c for c in target.source.columns.values() if c.is_renamed}
    for name in kinds:
        if name not in target.source.columns and (other := seen.get(name.lower())) is not None:
            raise SchemaError(
                f"Loaders serve column {other.name!r} of table {str(target.source.table)!r} as {other.attr!r}, so a new "
                f"column cannot have the name {name!r}. Write under another."
            )


def _check_types(
    target: Target, con: duckdb.DuckDBPyConnection, table: TableName, known: Mapping[str, str], kinds: Mapping[str, str]
) -> None:
    for name, kind in kinds.items():
        tables.check_new_column(table, name, known)
        if known.get(name, kind) != kind:
            # What foreign keys or indexes depend on, DuckDB does not alter.
            drop = f", or drop the column first: ALTER TABLE {shown_table(table)} DROP COLUMN {quote(name)}"
            listed = table == target.source.table and name in (target.source.element.properties or ())
            raise SchemaError(
                f"Column {name!r} of table {str(table)!r} is {known[name]}, the values are {kind}. Convert them, or write "
                f"under another name{'' if listed or tables.bound_by(con, table) else drop}."
            )


def _check_keys(target: Target, side: TableName, known: Mapping[str, str]) -> None:
    for key in target.source.keys:
        if known.get(key) != (kind := target.source.columns[key].sql_type):
            raise SchemaError(
                f"Table {str(side)!r} cannot hold values of {target.source.label!r}: its rows need the key column {key!r} "
                f"of type {kind}, and it has {known.get(key, 'none')}. Name another table; it is made if absent."
            )


def _check_place(target: Target, con: duckdb.DuckDBPyConnection, kinds: Mapping[str, str]) -> None:
    """Raise if the table itself cannot take the columns without a change of what the ids mean."""
    table = target.source.table
    bound = tables.bound_by(con, table)
    if bound is None:
        return
    for name in kinds:
        if name in target.source.columns and features.is_indexed(con, target.source, name):
            raise SchemaError(
                f"Column {name!r} of table {str(table)!r} is part of an index or constraint; change it with SQL, or write "
                "under another name."
            )
    nested = [name for name, kind in kinds.items() if moves_its_row(kind)]
    if not nested:
        return
    where = f"Column {nested[0]!r} ({kinds[nested[0]]}) cannot be written to table {str(table)!r}"
    if any(edge.table == table for edge in target.graph.definition.edges):
        raise DataError(
            f"{where}: DuckDB moves rows whose arrays change, the ids of edges are their order, and the table cannot be "
            f"written again in its order, because it has {bound}. {target.remedy}"
        )
    if ROWID in target.source.keys:
        raise DataError(
            f"{where}: DuckDB moves rows whose arrays change, and rowids are what they are known by. Give it a key."
        )
    if by := next((key for key in schema.foreign_keys(con) if key.target == table), None):
        raise DataError(
            f"{where}: DuckDB moves rows whose arrays change, and the foreign key of table {str(by.table)!r} holds them. "
            f"{target.remedy}"
        )
