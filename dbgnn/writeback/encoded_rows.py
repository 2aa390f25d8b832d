"""`EncodedRows`: the rows of a node or edge type that `graph.encode` reads, their numbers, and what is made of them."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
from torch import Tensor

from dbgnn.encoders.encoder import FittedEncoder
from dbgnn.encoders.nulls import NullValueError
from dbgnn.errors import DataError, SchemaError
from dbgnn.schema import EdgeTable, PropertyGraph, VertexTable
from dbgnn.schema.key_values import carried, key_rows, shown_key
from dbgnn.schema.keys import table_key_types
from dbgnn.sql import quote
from dbgnn.stores.source import key_columns
from dbgnn.topology import EdgeIndex, VertexIndex

#: Rows per chunk: what an encoder makes of them, 1000 floats each, say, is held in memory twice.
_CHUNK = 16_384


@dataclass(frozen=True, slots=True)
class EncodedRows:
    """Rows of a type's table and their numbers.

    Attributes:
        element: The vertex or edge table.
        origin: SQL of the rows, called ``t``, for FROM.
        number: SQL of the number of a row.
        map_table: The quoted table ``(id, rid)`` that leads from numbers to rowids; None: a number is a rowid.
    """

    element: VertexTable | EdgeTable
    origin: str
    number: str
    map_table: str | None

    @staticmethod
    def by_id(index: VertexIndex | EdgeIndex) -> EncodedRows:
        """Return all nodes or edges, by their ids."""
        if index.map_table is None:  # every row that counts is one
            return EncodedRows(index.element, f"{index.element.rows} AS t", "t.rowid", None)
        joined = f"{index.element.table.sql} AS t JOIN {index.map_table} AS m ON m.rid = t.rowid"
        return EncodedRows(index.element, joined, "m.id", index.map_table)

    @staticmethod
    def for_side(graph: PropertyGraph, index: VertexIndex | EdgeIndex) -> EncodedRows:
        """Return the rows of a side table by its ids: nodes by theirs, edges by rowid, those that miss an end too."""
        if isinstance(index, VertexIndex):
            return EncodedRows.by_id(index)
        return EncodedRows(index.edge, f"{graph.rows_of(index.edge)} AS t", "t.rowid", None)

    def hashes(self, src: str) -> str:
        """Return a query of ``(id, src)``; ``src`` is SQL of a row ``t``."""
        return f"SELECT {self.number} AS id, {src} AS src FROM {self.origin}"

    def parts(
        self,
        con: duckdb.DuckDBPyConnection,
        fitted: FittedEncoder,
        bar: Any,
        *,
        src: str = "NULL::UBIGINT",
        but: str | None = None,
    ) -> Generator[tuple[np.ndarray[Any, Any], pa.Array, Tensor | pa.Array], None, None]:
        """Yield numbers, hashes and encoded values of rows, chunk by chunk, in any order.

        Args:
            con: The connection.
            fitted: The encoder.
            bar: Counts the rows.
            src: What is hashed of a row ``t``, as SQL.
            but: A side table whose rows are left out; None: all rows.
        """
        columns = "".join(f", t.{quote(c)}" for c in fitted.columns)
        query = f"SELECT {self.number} AS dbgnn_id, {src} AS dbgnn_src{columns} FROM {self.origin}"
        if but is not None:
            query += f" ANTI JOIN {but} AS s ON s.src = {src}{self.same_row('s.id', 't.rowid')}"
        with con.sql(query).to_arrow_reader(_CHUNK) as reader:
            for batch in chain(reader, [pa.RecordBatch.from_pylist([], schema=reader.schema)]):  # none has a type, too
                ids = batch.column(0).to_numpy()
                yield ids, batch.column(1), self.encoded(con, fitted, batch.columns[2:], ids)
                bar.update(len(ids))

    def same_row(self, one: str, other: str) -> str:
        """Return what hashes that are the same must have in common besides: of edges the row, of nodes the key is hashed."""
        return f" AND {one} = {other}" if isinstance(self.element, EdgeTable) else ""

    def nothing_encoded(self, con: duckdb.DuckDBPyConnection, fitted: FittedEncoder) -> Tensor | pa.Array:
        """Return what the encoder makes of no row, which has its type."""
        columns = ", ".join(["0::BIGINT AS id", *(quote(column) for column in fitted.columns)])
        none = con.sql(f"SELECT {columns} FROM {self.element.rows} LIMIT 0").to_arrow_table()
        return self.encoded(con, fitted, [pa.array([], type=kind) for kind in none.schema.types[1:]], np.empty(0, np.int64))

    def encoded(
        self, con: duckdb.DuckDBPyConnection, fitted: FittedEncoder, arrays: Sequence[pa.Array], ids: np.ndarray[Any, Any]
    ) -> Tensor | pa.Array:
        """Return what the encoder makes of some rows, given by its columns and their numbers.

        Raises:
            DataError: A value is NULL and the encoder has no policy for it; the message names the row.
            SchemaError: No column holds what it makes.
        """
        try:
            made = fitted.encode_for_column(arrays)
        except NullValueError as error:
            raise DataError(
                f"Column {error.column!r} of table {str(self.element.table)!r} is NULL, or holds NULL, where "
                f"{self._shown(con, int(ids[error.row]))}. Fill it with SQL, or give the encoder null='fill' or null='mask'."
            ) from error
        if not isinstance(made, Tensor | pa.Array):
            raise SchemaError(
                f"{type(fitted.encoder).__name__} makes a {type(made).__name__}, which no column holds; use it in "
                "query_to_heterodata or graph.to_heterodata."
            )
        return made

    def _shown(self, con: duckdb.DuckDBPyConnection, number: int) -> str:
        """Return the key of a row, of an edge those of its ends, for a message."""
        names, rid = key_columns(self.element), number
        with con.cursor() as other:  # the stream is still open
            if self.map_table is not None:
                rid = other.execute(f"SELECT rid FROM {self.map_table} WHERE id = {number}").fetchall()[0][0]
            types = table_key_types(other, self.element.table, names)
            keys = ", ".join(carried(quote(k), kind) for k, kind in zip(names, types, strict=True))
            values = key_rows(other, f"SELECT {keys} FROM {self.element.table.sql} WHERE rowid = {rid}", types)[0]
        return shown_key(names, values)
