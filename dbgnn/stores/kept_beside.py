"""What writes do with columns beside a node table: what `graph.encode` keeps is dropped; they are not written to."""

from __future__ import annotations

from dbgnn.errors import SchemaError
from dbgnn.schema import Column
from dbgnn.schema.encoded import SideTable, forget_encoded
from dbgnn.schema.named_beside import NamedBeside
from dbgnn.schema.registry import transaction
from dbgnn.schema.render import shown_table
from dbgnn.stores.binding import Binding
from dbgnn.stores.source import Source


def remove_beside(binding: Binding, source: Source, column: Column) -> None:
    """Drop an encoded column with its side table, in a transaction."""
    if not isinstance(side := column.beside, SideTable):
        raise kept_beside(source, column)
    con = binding.db.cursor()
    with transaction(con):
        forget_encoded(con, binding.definition.name, side.label, side.column)
    binding.select(side.label, side.column, present=False)


def kept_beside(source: Source, column: Column) -> SchemaError:
    """Return the error for a write to a column that is beside the table."""
    name, side = column.name, column.beside
    if isinstance(side, NamedBeside):
        return SchemaError(
            f"Column {name!r} of {source.label!r} is column {side.name!r} of table {str(side.side)!r}, which columns= names. "
            f"Write to it by graph.write_back({source.label!r}, into={shown_table(side.side)!r}, {side.name}=…), or with SQL."
        )
    return SchemaError(
        f"Column {name!r} of {source.label!r} is no column of table {str(source.table)!r}: graph.encode keeps it in a table of "
        f"its own. Encode it again, write under another name, or drop it first: feature_store.remove_tensor({source.label!r}, "
        f"{name!r}, None)."
    )
