"""What writes do with columns that `graph.encode` keeps beside a node table: they are dropped, and not written to."""

from __future__ import annotations

from dbgnn.errors import SchemaError
from dbgnn.schema.encoded import SideTable, forget_encoded
from dbgnn.schema.registry import transaction
from dbgnn.stores.binding import Binding
from dbgnn.stores.source import Source


def remove_beside(binding: Binding, side: SideTable) -> None:
    """Drop an encoded column with its side table, in a transaction."""
    con = binding.db.cursor()
    with transaction(con):
        forget_encoded(con, binding.definition.name, side.label, side.column)
    binding.select(side.label, side.column, present=False)


def kept_beside(source: Source, name: str) -> SchemaError:
    """Return the error for a write to a column that `graph.encode` keeps beside the table."""
    return SchemaError(
        f"Column {name!r} of {source.label!r} is no column of table {str(source.table)!r}: graph.encode keeps it in a table of "
        f"its own. Encode it again, write under another name, or drop it first: feature_store.remove_tensor({source.label!r}, "
        f"{name!r}, None)."
    )
