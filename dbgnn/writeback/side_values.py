"""Encoded values in a side table of dbgnn's, for tables whose keys, constraints or indexes do not let them take arrays,
and for tables that are several types.

What a side table is, and when it is stale, stands in `dbgnn.schema.encoded`; here is how one is written, whole or for the rows
that are new or changed, in one transaction.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import duckdb
import pyarrow as pa

from dbgnn import schema
from dbgnn.encoders.collection import Encoders
from dbgnn.encoders.encoder import Encoder
from dbgnn.encoders.numeric import Stack
from dbgnn.errors import DataError, DbgnnError, StaleIndexError
from dbgnn.schema import VertexTable
from dbgnn.schema.catalog import own_columns, own_table
from dbgnn.schema.encoded import VALUE, EncodedColumn, SideTable, keep_encoded, new_side, side_table
from dbgnn.schema.registry import transaction
from dbgnn.schema.render import shown_table
from dbgnn.stores.request import Ids64
from dbgnn.stores.tables import free_name, writing_uncompressed
from dbgnn.translated import translated
from dbgnn.writeback.write import column_kinds, lent
from dbgnn.writeback.write_target import Target

#: The temporary tables in which values gather, and the rows of the table by id.
_STAGED, ROWS = "temp.dbgnn_encoded", "temp.dbgnn_rows"

_PART = "dbgnn_part"


def stage(con: duckdb.DuckDBPyConnection, parts: Iterable[tuple[Ids64, pa.Array, pa.Array]]) -> tuple[str, int]:
    """Gather ids, hashes and values in a temporary table, and return the SQL type of the values and how many there are."""
    kind, count = "", 0
    for ids, src, values in parts:
        if not kind:
            kind = column_kinds(con, {VALUE: values})[VALUE]
            con.execute(f"CREATE TEMP TABLE {_STAGED.partition('.')[2]} (id BIGINT, src UBIGINT, {VALUE} {kind})")
        with lent(con, pa.table({"id": ids, "src": src, VALUE: values})):
            con.execute(f"INSERT INTO {_STAGED} FROM {_PART}")
        count += len(ids)
    return kind, count


def write_side(
    target: Target, con: duckdb.DuckDBPyConnection, column: EncodedColumn, document: str, kept: SideTable | None
) -> None:
    """Make the side table of what is staged, and of the rows of one before that are as they were; one transaction.

    Args:
        target: The node or edge type.
        con: The connection that has what is staged, and, where rows are kept, `ROWS` ``(id, src)`` of all rows.
        column: What was encoded; its side table is named here.
        document: The encoder as JSON.
        kept: The side table before; None: everything is staged.

    Raises:
        StaleIndexError: Rows changed while they were encoded.
        DataError: Two rows have one hash.
    """
    db, element, definition = target.graph.db, target.source.element, target.graph.definition
    label = target.source.label
    with translated(db), writing_uncompressed(con), transaction(con):
        target.verify(con)
        made = replace(column, side=new_side(con))
        table = own_table(con, str(made.side))
        rows = f"SELECT id, src, {VALUE} FROM {_STAGED}"
        if kept is not None:
            same = " AND s.id = r.id" if kept.by_rowid else ""
            rows += f" UNION ALL SELECT r.id, r.src, s.{VALUE} FROM {ROWS} AS r JOIN {kept.table} AS s ON s.src = r.src{same}"
        con.execute(f"CREATE TABLE {table} AS SELECT * FROM ({rows}) ORDER BY id ASC")
        made = replace(made, sql_type=(own_columns(con, str(made.side)) or {})[VALUE])
        [(count, hashes)] = con.execute(f"SELECT count(*), count(DISTINCT src) FROM {table}").fetchall()
        if count != hashes and isinstance(element, VertexTable):  # 1 in 10 million at 2 million rows
            copy = shown_table(free_name(con, f"{element.table.name}_copy"))
            raise DataError(
                f"{count - hashes:,} rows of {label!r} (table {str(element.table)!r}) have the hash of another, by which "
                "encoded values are told apart. Nothing was written. Declare the graph over a copy, which has no keys: "
                f"CREATE TABLE {copy} AS FROM {shown_table(element.table)}"
            )
        side = side_table(table, definition, element, schema.columns(con, element.table), made)
        [(now, then, same, _)] = con.execute(side.stale_query).fetchall()  # rows of one's own transaction have other rowids
        if now != then or not same:
            raise StaleIndexError(
                f"The rows of {label!r} (table {str(element.table)!r}) changed while they were encoded. Nothing was written; "
                "repeat the call."
            )
        keep_encoded(con, definition, made, document)


@contextmanager
def staging(target: Target) -> Iterator[duckdb.DuckDBPyConnection]:
    """Lend a connection of its own, since this thread's reads while it writes."""
    con = target.graph.db.new_cursor()
    try:
        yield con
    finally:
        con.close()


def covered(encoder: Encoder) -> tuple[str, ...]:
    """Return the columns whose NULL an encoder's policies take care of, wherever it reads them."""
    parts: Sequence[Encoder] = encoder.parts if isinstance(encoder, Stack) else [encoder]
    reads = {name: [p for p in parts if name in p.columns] for name in encoder.columns}
    return tuple(name for name, of in reads.items() if of and all(getattr(p, "null", "error") != "error" for p in of))


def says_all(document: str) -> bool:
    """Whether a document of encoders is all that they are: no functions."""
    try:
        Encoders.from_json(document)
    except DbgnnError:
        return False
    return True
