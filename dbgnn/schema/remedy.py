"""What to do about a column that becomes no tensor: the statement that changes its table, or the encoder that fits it.

`Column.reason` says what a column is and, after a semicolon, which cast would do in a query. Here is what to do in a table.
"""

from __future__ import annotations

from dbgnn.schema.model import Label, TableName
from dbgnn.schema.render import shown, shown_table
from dbgnn.schema.types import Column, element_type, tensor_type

#: Types that one cast makes numbers of.
_CAST = {"HUGEINT": "DOUBLE", "UHUGEINT": "DOUBLE", "BIGNUM": "DOUBLE", "DECIMAL": "DOUBLE", "BIT": "BIGINT"}

#: Of those, what an encoder takes as it is, or else says which value a DOUBLE does not hold, in any table.
_EXACT = frozenset(("DECIMAL", "HUGEINT"))

#: Types that are numbers already, so that arrays of them are tensors.
_NUMBERS = frozenset("BOOLEAN TINYINT SMALLINT INTEGER BIGINT UTINYINT USMALLINT UINTEGER UBIGINT FLOAT DOUBLE".split())

#: Types of which `epoch` makes seconds.
_EPOCH = frozenset(("INTERVAL", "TIME", "TIME_NS", "TIME WITH TIME ZONE"))
_DATES = frozenset(("DATE", "TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS", "TIMESTAMP WITH TIME ZONE"))


def encoder_for(column: Column) -> str | None:
    """Return the name of the encoder that makes numbers of a column as it is, if one does whatever its values are like."""
    kind, sizes = element_type(column.sql_type)
    if len(sizes) == 1 and kind in {"VARCHAR", "ENUM", "UUID"}:
        return "MultiHot"
    return "Hash" if not sizes and kind in {"VARCHAR", "UUID"} else None


def remedy(column: Column, table: TableName, label: Label | None) -> str:
    """Return what makes a tensor column of one that is none, as a statement; "" where nothing general can be said.

    Args:
        column: The column.
        table: Its table.
        label: The node or edge type, for what encodes the column; None: only a statement that converts it will do.
    """
    kind, sizes = element_type(column.sql_type)
    alter = f"ALTER TABLE {shown_table(table)} ALTER {shown(column.name)} TYPE"
    if label is not None and (encoder := "Identity" if kind in _EXACT and not sizes else encoder_for(column)):
        few = ", or OneHot of few values" if encoder == "Hash" else ""
        return f"graph.encode({label!r}, {column.name + '_x'!r}, dbgnn.{encoder}({column.name!r})){few}"
    dims = "".join(f"[{size or 'n'}]" for size in sizes)
    if "" in sizes:
        if kind not in _CAST.keys() | _NUMBERS:
            return ""
        return f"{alter} {_CAST.get(kind, kind)}{dims}, if all have n elements"
    if kind in _CAST:
        return f"{alter} {_CAST[kind]}{dims}"
    if kind in _EPOCH and not sizes:
        return f"{alter} DOUBLE USING epoch({shown(column.name)})"
    if kind in _DATES | _EPOCH and len(sizes) == 1 and sizes[0]:
        return f"{alter} DOUBLE{dims} USING list_transform({shown(column.name)}, lambda v: epoch(v))::DOUBLE{dims}"
    return ""


def cast_to(name: str, sql_type: str) -> str:
    """Return how a column gets another type, in a query and in a table; for messages."""
    column = shown(name)
    return f"Cast it: {column}::{sql_type} AS {column} in a query, or ALTER TABLE … ALTER {column} TYPE {sql_type}"


def why(column: Column, table: TableName, label: Label) -> str:
    """Return why a column of a table is not served, and where its type is the reason, what to do about it."""
    reason = column.reason or ""
    if column.reason != tensor_type(column.name, column.sql_type).reason:
        return reason  # a key, say
    statement = remedy(column, table, label)
    return f"{reason.partition(';')[0]}; {statement}" if statement else reason
