"""`graph.encode`: an encoder fitted on a node table, and what it makes written once to a column that loaders serve."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from itertools import chain
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np
import pyarrow as pa
from torch import Tensor

from dbgnn import schema
from dbgnn.encoders.collection import Encoders
from dbgnn.encoders.encoder import Encoder, FittedEncoder
from dbgnn.encoders.nulls import NullValueError
from dbgnn.errors import DataError, ReadOnlyError, SchemaError
from dbgnn.open_database import OpenDatabase
from dbgnn.progress import Bar
from dbgnn.schema import VertexTable, is_reserved
from dbgnn.schema.key_values import carried, key_rows, shown_key
from dbgnn.schema.keys import vertex_key_types
from dbgnn.schema.render import shown_table
from dbgnn.sql import check_filter, quote
from dbgnn.stores import tables
from dbgnn.topology import VertexIndex
from dbgnn.translated import translated
from dbgnn.writeback.write import write_rows

if TYPE_CHECKING:
    from dbgnn.indexed_graph import IndexedGraph

#: Rows per chunk: what an encoder makes of them, 1000 floats each, say, is held in memory twice.
_CHUNK = 16_384


def encode(
    graph: IndexedGraph,
    label: str,
    attr_name: str,
    encoder: Encoder | Callable[..., Any],
    *,
    fit: str | None = None,
    progress: bool | None = None,
) -> FittedEncoder:
    """Fit an encoder on a node type's table, and write what it makes to a column of it, in one transaction.

    ``[N]`` becomes a column of the dtype's SQL type, ``[N, k]`` one of ``FLOAT[k]``; it is added if absent, and otherwise
    overwritten. The rows stream, so memory is bounded.

    Args:
        graph: The graph.
        label: The node type.
        attr_name: The column to write; also the one to read, where the encoder names none.
        encoder: An encoder, or a function of Arrow arrays.
        fit: A condition on the rows that it is fitted on; None: all.
        progress: Show a progress bar on what takes more than two seconds; None: as the database does.

    Returns:
        The fitted encoder.

    Raises:
        SchemaError: An edge type, an encoder that makes no tensors, or a column that cannot take them.
        DataError: A value is NULL under ``null='error'``, or cannot be encoded; the message names its key.
        ReadOnlyError: The database is open read-only.
    """
    db = graph.db
    found = graph.type_names.find(label, "encode")
    if not isinstance(found, str):
        raise SchemaError(
            f"graph.encode() takes node types, not {label!r}: DuckDB would move the rows of an edge table, whose ids are their "
            "places. Encode edges on the way out: graph.to_heterodata(encoders=…)."
        )
    if db.read_only:
        raise ReadOnlyError(f"graph.encode() has to write, but {db!s} is open read-only. Connect with read_only=False.")
    if is_reserved(attr_name):
        raise SchemaError(
            f"graph.encode(): {attr_name!r} means something to PyG, so loaders would serve such a column under another name. "
            f"Write under another name, such as {attr_name + '_'!r}; an encoder names the column that it reads."
        )
    label = found
    vertex = graph.definition.vertex(label)
    index = graph.topology().vertices[label]
    with translated(db):
        types = schema.columns(db.cursor(), vertex.table)
        where = fit
        if fit is not None:
            where = check_filter(db.cursor(), fit, where=f"fit of {label!r}", table=("main", "q"), columns=types)
        encoders = Encoders({label: {attr_name: encoder}})
        encoders.fit(db.arrow, label, f"SELECT * FROM {vertex.table.sql}{vertex.where_all()}", types, where)
        fitted = encoders.fitted(label)[attr_name]
        shown = db.settings.progress if progress is None else progress
        reader = db.new_cursor()  # of its own: this thread's writes while this one reads
        try:
            bar = Bar(total=index.num_nodes, desc=f"encode {label}.{attr_name}", unit=" rows", disable=not shown)
            with bar, closing(_parts(reader, index, fitted, attr_name, bar)) as parts:
                write_rows(graph, label, parts, remedy=_remedy(db, vertex, attr_name))
        finally:
            reader.close()
    return fitted


def _remedy(db: OpenDatabase, vertex: VertexTable, name: str) -> str:
    """Return what to do where the constraints of the table do not let it take the column."""
    copy = tables.free_name(db.cursor(), f"{vertex.table.name}_copy")
    statement = f"CREATE TABLE {shown_table(copy)} AS FROM {shown_table(vertex.table)}"
    return (
        f"In memory, graph.to_heterodata(encoders={{{vertex.label!r}: {{{name!r}: …}}}}) needs no column. For loaders, name a "
        f"copy of the table in CREATE PROPERTY GRAPH, since a copy has no constraints: {statement}."
    )


def _parts(
    con: duckdb.DuckDBPyConnection, index: VertexIndex, fitted: FittedEncoder, name: str, bar: Any
) -> Generator[tuple[np.ndarray[Any, Any], dict[str, Tensor]], None, None]:
    """Yield the ids and the encoded values of all rows, chunk by chunk; the order is not that of the ids."""
    columns = ", ".join(["", *(f"t.{quote(c)}" for c in fitted.columns)])
    table = index.vertex.table.sql
    if index.map_table is None:
        query = f"SELECT t.rowid AS dbgnn_id{columns} FROM {index.vertex.rows} AS t"
    else:
        query = f"SELECT m.id AS dbgnn_id{columns} FROM {table} AS t JOIN {index.map_table} AS m ON m.rid = t.rowid"
    with con.sql(query).to_arrow_reader(_CHUNK) as reader:
        for batch in chain(reader, [pa.RecordBatch.from_pylist([], schema=reader.schema)]):  # a table without rows has a type
            ids = batch.column(0).to_numpy()
            yield ids, {name: _encoded(con, index.vertex, fitted, batch.columns[1:], ids, index.map_table)}
            bar.update(len(ids))


def _encoded(
    con: duckdb.DuckDBPyConnection,
    vertex: VertexTable,
    fitted: FittedEncoder,
    arrays: Sequence[pa.Array],
    ids: np.ndarray[Any, Any],
    map_table: str | None,
) -> Tensor:
    try:
        made = fitted.encode(arrays)
    except NullValueError as error:
        rid = int(ids[error.row])
        with con.cursor() as other:  # the stream is still open
            if map_table is not None:
                rid = other.execute(f"SELECT rid FROM {map_table} WHERE id = {rid}").fetchall()[0][0]
            types = vertex_key_types(other, vertex)
            keys = ", ".join(carried(quote(k), kind) for k, kind in zip(vertex.key, types, strict=True))
            values = key_rows(other, f"SELECT {keys} FROM {vertex.table.sql} WHERE rowid = {rid}", types)[0]
        shown = shown_key(vertex.key, values)
        raise DataError(
            f"Column {error.column!r} of table {str(vertex.table)!r} is NULL, or holds NULL, where {shown}. Fill it with SQL, "
            "or give the encoder null='fill' or null='mask'."
        ) from error
    if not isinstance(made, Tensor):
        raise SchemaError(
            f"{type(fitted.encoder).__name__} makes a {type(made).__name__}, which no column holds; use it in "
            "query_to_heterodata or graph.to_heterodata."
        )
    return made
