"""Writing a tensor to a column: new groups, new columns, whole columns, some rows. Ids stay what they are.

Every write is one transaction: the old state or the new.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from dbgnn import schema
from dbgnn.arrow import as_tensor, dtype_of, from_tensor, sql_type
from dbgnn.errors import DataError, RequestError, SchemaError, StaleIndexError, UnknownNameError
from dbgnn.schema import Column, EdgeTable, PropertyGraph, TableName, VertexTable
from dbgnn.schema.catalog import ROWID
from dbgnn.schema.names import attribute_names, is_reserved
from dbgnn.sql import quote
from dbgnn.stores import tables
from dbgnn.stores.binding import NODE, Binding
from dbgnn.stores.kept_beside import kept_beside, remove_beside
from dbgnn.stores.request import Rows, refuse_numbers_as_mask, rows_of
from dbgnn.stores.source import Source
from dbgnn.stores.tables import VALUES
from dbgnn.topology import damaged


def put_column(binding: Binding, group: Any, name: str, values: Tensor | np.ndarray[Any, Any], index: Any) -> None:
    """Write ``values`` to the column ``name`` of a group; see `DuckDBFeatureStore.put_tensor`.

    Args:
        binding: The graph.
        group: A node type, known or new; a known edge type; None in a homogeneous graph.
        name: The attribute, known or new: a column of that name, or that which PyG sees under it.
        values: ``[N, …]`` for all rows, ``[n, …]`` for ``index``.
        index: The rows to write; None: all.

    Raises:
        RequestError: The number of values is not that of the rows, or ids are out of range.
        SchemaError: The dtype has no column type, the column is a key, the new values do not fit the column, or the name
            means something else to PyG.
        DataError: The table is bound so that an array column cannot be written.
    """
    tensor = as_tensor(values)
    if isinstance(group, (list, tuple)):
        if binding.edge_label(group) is None and binding.definition.edges == ():
            raise UnknownNameError(
                f"There are no edges of type {tuple(group)!r} yet; put_edge_index first, then their attributes."
            )
        known: Any = binding.label(group)
    else:
        known = binding.node_label(group)
        if isinstance(group, str):
            with suppress(UnknownNameError):  # a new node type
                known = binding.label(group, "put_tensor")
    if known is None:
        if is_reserved(name):
            raise _taken(group, name, name + "_")
        _put_new_group(binding, group, name, tensor, index)
        return
    name = _column_of(binding.source(known), name)
    refuse_numbers_as_mask(index, binding.source(known).num_rows, f"The index of {known!r}")
    source = _grown(binding, binding.source(known), len(tensor) if tensor.dim() else 1, index)
    rows = rows_of(index, source.num_rows, source.label)
    if rows.scalar:
        tensor = tensor.reshape(1, *tensor.shape) if tensor.dim() == 0 or len(tensor) != 1 else tensor
    sql_type(tensor)
    if len(tensor) != len(rows):
        what = f"{source.num_rows:,} rows" if index is None else f"{len(rows):,} ids in the index"
        raise RequestError(
            f"put_tensor of {name!r}: {len(tensor):,} values for the {what} of {source.label!r}; give one value per row."
        )
    _put_column(binding, source, name, tensor, rows)


def _column_of(source: Source, name: str) -> str:
    """Return the column that is, or becomes, the attribute of this name."""
    for column in source.columns.values():
        if column.is_renamed and column.attr == name:
            return column.name
    if is_reserved(name):
        known = source.columns.get(name)
        other = attribute_names([*source.columns, name])[name] if known is None else known.attr
        raise _taken(source.label, name, other)
    return name


def _taken(group: Any, name: str, other: str) -> SchemaError:
    return SchemaError(
        f"put_tensor: {name!r} means something to PyG, so {group!r} cannot have an attribute of that name. Use another, "
        f"such as {other!r}."
    )


def remove_column(binding: Binding, source: Source, column: Column) -> None:
    """Drop a column of a type's table, and take it out of the definition."""
    if column.name in source.keys:
        raise SchemaError(
            f"Column {column.name!r} is a key of {source.label!r}; without it there are no ids. It cannot be removed."
        )
    con = binding.db.cursor()
    if column.beside is not None:
        remove_beside(binding, source, column)
        return
    definition = _with_property(binding.definition, source, column.name, present=False)
    try:
        with tables.lending_transaction(con):
            schema.unmark_written(con, source.table, [column.name])
            con.execute(f"ALTER TABLE {source.table.sql} DROP COLUMN {quote(column.name)}")
            _keep(con, binding.definition, definition)
    except (duckdb.DependencyException, duckdb.CatalogException, duckdb.BinderException) as error:
        raise SchemaError(f"Column {column.name!r} of table {str(source.table)!r} cannot be dropped: {error}") from error
    binding.redefine(definition)
    binding.select(source.label, column.name, present=False)


# -- new groups ------------------------------------------------------------------------------------------


def _put_new_group(binding: Binding, group: Any, name: str, tensor: Tensor, index: Any) -> None:
    """Create the table of a node type that the graph does not have, with a key ``id`` of 0 … N - 1."""
    if group is not None and not isinstance(group, str):
        raise UnknownNameError(f"A group is a node type (a string), an edge type (three strings) or None, not {group!r}.")
    kind = sql_type(tensor)
    rows = rows_of(index, len(tensor), group)
    if not rows.covers(len(tensor)):
        tensor = _in_order(group, name, tensor, rows)
    con = binding.db.cursor()
    label = NODE if group is None else group
    vertex = new_vertex(con, binding.definition, label, "id_" if name.lower() == "id" else "id")
    definition = replace(binding.definition, homogeneous=binding.definition.homogeneous or group is None).with_vertex(vertex)
    with tables.writing_uncompressed(con), tables.lending_transaction(con):
        con.execute(f"CREATE TABLE {vertex.table.sql} ({quote(vertex.key[0])} BIGINT, {quote(name)} {kind})")
        tables.lend(con, pa.table({"id": np.arange(len(tensor)), "v": from_tensor(tensor)}))
        con.execute(f"INSERT INTO {vertex.table.sql} SELECT id, v FROM {VALUES}")
        schema.save(con, definition)
    binding.redefine(definition)
    binding.rebuild()


def new_vertex(con: duckdb.DuckDBPyConnection, definition: PropertyGraph, label: str, key: str = "id") -> VertexTable:
    """Return the vertex table to make for a label: named after it, unless a table of the graph has that name in another case.

    Raises:
        SchemaError: A table of that name exists and is not of the graph.
    """
    ours = {table.name.lower() for table in definition.tables}
    if label and label.lower() not in ours and tables.is_taken(con, label):
        raise SchemaError(
            f"There is a table {label!r} that is not part of graph {definition.name!r}. Declare it as a vertex table with "
            "CREATE OR REPLACE PROPERTY GRAPH, rename it, or put under another name."
        )
    return VertexTable(tables.free_name(con, label), label, (key,))


def _in_order(group: Any, name: str, tensor: Tensor, rows: Rows) -> Tensor:
    """Return a new column's values by id; ``rows`` must be all rows in some order."""
    ids = torch.from_numpy(rows.array())
    if len(ids) != len(tensor) or len(torch.unique(ids)) != len(tensor):
        raise RequestError(
            f"{group!r} has no attribute {name!r} yet, so an index has to name every row once. "
            "Put the whole tensor with index None first; then rows of it can be written."
        )
    out = torch.empty_like(tensor)
    out[ids] = tensor
    return out


def _grown(binding: Binding, source: Source, count: int, index: Any) -> Source:
    """Add nodes to a table whose nodes were counted from edges, so that ``count`` features fit; else return ``source``."""
    con = binding.db.cursor()
    if (
        index is not None
        or not isinstance(source.element, VertexTable)
        or tables.comment_of(con, source.table) != tables.NODES_COUNTED
    ):
        return source
    if count > source.num_rows:
        with tables.lending_transaction(con):
            tables.add_nodes(con, source.table, source.element.key[0], source.num_rows, count)
        binding.rebuild()
    return binding.source(source.label)


# -- columns of known groups -----------------------------------------------------------------------------


def _put_column(binding: Binding, source: Source, name: str, tensor: Tensor, rows: Rows) -> None:
    con = binding.db.cursor()
    if name in source.keys:
        raise SchemaError(f"Column {name!r} is a key of {source.label!r} (table {str(source.table)!r}); change keys with SQL.")
    tables.check_new_column(source.table, name, source.columns)
    column = source.columns.get(name)
    if column is not None and column.beside is not None:
        raise kept_beside(source, column)
    if column is None and not rows.covers(source.num_rows):
        tensor, rows = _in_order_of(source, name, tensor, rows), Rows(range(source.num_rows))
    kind = _column_type(source, column, tensor, rows)
    tensor, rows = _without_duplicates(tensor, rows)
    moved = False
    with tables.writing_uncompressed(con):  # one write of the process at a time: the one before may have moved rows
        source = _as_now(binding, source, name)
        definition = _with_property(schema.current(con, binding.definition), source, name, present=True)
        try:
            with rewriting(con, source.table):
                moved = _write(con, source, name, kind, tensor, rows)
                if tables.comment_of(con, source.table) == tables.NODES_COUNTED:
                    tables.set_comment(con, source.table, None)
                schema.unmark_written(con, source.table, [name])
                _keep(con, binding.definition, definition)
        except duckdb.ConstraintException as error:
            raise DataError(
                f"Column {name!r} of table {str(source.table)!r} cannot be written: DuckDB moves rows whose arrays change, and "
                f"a foreign key holds them ({error}). Drop the foreign key, or keep the features in a table without one."
            ) from error
    binding.redefine(definition)
    binding.select(source.label, name, present=True)
    if moved:
        binding.rebuild()


def _as_now(binding: Binding, source: Source, name: str) -> Source:
    """Return the same type as its table is now."""
    now = binding.source(source.label)
    if now.num_rows != source.num_rows or now.columns.get(name) != source.columns.get(name):
        raise StaleIndexError(
            f"Table {str(source.table)!r} changed while a write to it waited. Nothing was written; put again."
        )
    return now


@contextmanager
def rewriting(con: duckdb.DuckDBPyConnection, table: TableName) -> Iterator[None]:
    """As `tables.transaction`, for a table that `tables.remake` may put another in the place of.

    Rows that others insert, update or delete in the same time would be lost with the old table, without an error. A comment
    set first, to what it was, makes their COMMIT fail.
    """
    comment, free = tables.comment_of(con, table), tables.bound_by(con, table) is None
    with tables.lending_transaction(con):
        if free:
            tables.set_comment(con, table, comment)
        yield


def _in_order_of(source: Source, name: str, tensor: Tensor, rows: Rows) -> Tensor:
    if len(rows) != source.num_rows:
        raise RequestError(
            f"{source.label!r} has no attribute {name!r} yet, and {len(rows):,} of its {source.num_rows:,} rows were given. "
            "Put the whole tensor with index None first; then rows of it can be written."
        )
    return _in_order(source.label, name, tensor, rows)


def _column_type(source: Source, column: Column | None, tensor: Tensor, rows: Rows) -> str:
    """Return the SQL type the column has after the write.

    Some rows must be of the column's own dtype and shape. All rows may replace a column of numbers by one of another.
    """
    kind = sql_type(tensor)
    if column is None or (column.sql_type == kind and column.reason is None):
        return kind
    if column.packed == str(tensor.dtype).removeprefix("torch.") and column.shape == tensor.shape[1:]:
        return column.sql_type  # halves, in words of the user's choice
    where = f"Column {column.name!r} of table {str(source.table)!r}"
    if column.reason is not None or column.unit:
        raise SchemaError(
            f"{where} has type {column.sql_type}; a tensor of {tensor.dtype} does not go there. Use SQL, or put it "
            "under another name."
        )
    if not rows.covers(source.num_rows) or len(rows) == 0:
        raise SchemaError(
            f"{where} is {dtype_of(column)} {list(column.shape)} a row, the values are {tensor.dtype} "
            f"{list(tensor.shape[1:])}; convert them."
        )
    return kind


def _without_duplicates(tensor: Tensor, rows: Rows) -> tuple[Tensor, Rows]:
    """Return each id once, with the last of its values, as NumPy's ``x[ids] = values`` does."""
    if isinstance(rows.ids, range):
        return tensor, rows
    ids, last = np.unique(rows.ids[::-1], return_index=True)
    if len(ids) == len(rows.ids):
        return tensor, rows
    return tensor[torch.from_numpy(len(rows.ids) - 1 - last)], Rows(ids)


def _write(con: duckdb.DuckDBPyConnection, source: Source, name: str, kind: str, tensor: Tensor, rows: Rows) -> bool:
    """Write the values inside of a transaction; return whether rows were moved to other rowids."""
    column = source.columns.get(name)
    bound = tables.bound_by(con, source.table)
    is_new, retyped = column is None, column is not None and column.sql_type != kind
    if bound is not None and retyped:
        raise SchemaError(
            f"Column {name!r} of table {str(source.table)!r} has type {column.sql_type if column else ''}, not "
            f"{kind}, and the table has {bound}. Remove the column with remove_tensor first."
        )
    if not retyped and (bound is not None or tensor.dim() == 1) and not is_indexed(con, source, name):
        if bound is not None and tensor.dim() > 1 and (isinstance(source.element, EdgeTable) or ROWID in source.keys):
            raise DataError(
                f"Column {name!r} of table {str(source.table)!r} cannot be written: DuckDB moves rows whose arrays change, the "
                f"ids of {source.label!r} are their order, and the table cannot be written again because it has {bound}. Drop "
                "that, or CREATE TABLE … AS."
            )
        if is_new:
            con.execute(f"ALTER TABLE {source.table.sql} ADD COLUMN {quote(name)} {kind}")
        _update(con, source, name, kind, tensor, rows)
        return tensor.dim() > 1
    if bound is not None:
        raise DataError(
            f"Column {name!r} of table {str(source.table)!r} is part of an index or constraint; change it with SQL."
        )
    _remake(con, source, name, kind, tensor, rows)
    return True


def is_indexed(con: duckdb.DuckDBPyConnection, source: Source, name: str) -> bool:
    """Whether an index or a constraint with an index holds the column; then an UPDATE moves rows."""
    found = tables.one(
        con,
        """SELECT count(*) FROM (
          SELECT 1 FROM duckdb_constraints() WHERE database_name = current_database() AND schema_name = $s AND table_name = $t
            AND constraint_type IN ('PRIMARY KEY', 'UNIQUE', 'FOREIGN KEY') AND list_contains(constraint_column_names, $c)
          UNION ALL SELECT 1 FROM duckdb_indexes() WHERE database_name = current_database() AND schema_name = $s
            AND table_name = $t AND contains(lower(expressions), lower($c)))""",
        {"s": source.table.schema, "t": source.table.name, "c": name},
    )
    return bool(found)


def _update(con: duckdb.DuckDBPyConnection, source: Source, name: str, kind: str, tensor: Tensor, rows: Rows) -> None:
    values = pa.table({"id": rows.array(), "v": from_tensor(tensor, kind)})
    rid = "v.id" if source.map_table is None else "m.rid"
    origin = f"{VALUES} AS v" if source.map_table is None else f"{VALUES} AS v JOIN {source.map_table} AS m ON m.id = v.id"
    tables.lend(con, values)
    con.execute(
        f"UPDATE {source.table.sql} AS t SET {quote(name)} = w.v "
        f"FROM (SELECT {rid} AS rid, v.v FROM {origin}) AS w WHERE t.rowid = w.rid"
    )


def _remake(con: duckdb.DuckDBPyConnection, source: Source, name: str, kind: str, tensor: Tensor, rows: Rows) -> None:
    """Replace the table by a new one, its rows in the same order, with the values in their place."""
    table, column = source.table.sql, quote(name)
    is_new = name not in source.columns
    if rows.covers(source.num_rows) and _holds_all(con, source):
        # All values: beside the rows, one by one. A join would have to sort whole rows again.
        if source.map_table is not None:
            con.complete()
            rids = con.sql(f"SELECT rid FROM {source.map_table} ORDER BY id ASC").to_arrow_table().column(0).to_numpy()
            if len(rids) != len(tensor):
                raise damaged(source.index, f"{source.map_table} has {len(rids):,} rows instead of {len(tensor):,}")
            tensor = tensor[torch.from_numpy(np.argsort(rids))]
        select = f"t.*, v.v AS {column}" if is_new else f"t.* REPLACE (v.v::{kind} AS {column})"
        tables.lend(con, pa.table({"v": from_tensor(tensor, kind)}))
        tables.remake(con, source.table, f"SELECT {select} FROM {table} AS t POSITIONAL JOIN {VALUES} AS v")
        return
    written = "SELECT id AS dbgnn_rid, v AS dbgnn_v FROM " + VALUES
    if source.map_table is not None:
        written = f"SELECT m.rid AS dbgnn_rid, v.v AS dbgnn_v FROM {VALUES} AS v JOIN {source.map_table} AS m ON m.id = v.id"
    kept = f"t.*, NULL::{kind} AS {column}" if is_new else "t.*"
    given = f"t.*, w.dbgnn_v AS {column}" if is_new else f"t.* REPLACE (w.dbgnn_v::{kind} AS {column})"
    tables.lend(con, pa.table({"id": rows.array(), "v": from_tensor(tensor, kind)}))
    # Not one LEFT JOIN with CASE WHEN: DuckDB 2.0.0 fails, and reads wild memory, where CASE picks between arrays and the
    # join found none.
    query = f"""SELECT * EXCLUDE (dbgnn_rid) FROM (
      SELECT t.rowid AS dbgnn_rid, {kept} FROM {table} AS t ANTI JOIN ({written}) AS w ON w.dbgnn_rid = t.rowid
      UNION ALL SELECT t.rowid AS dbgnn_rid, {given} FROM {table} AS t JOIN ({written}) AS w ON w.dbgnn_rid = t.rowid
    ) ORDER BY dbgnn_rid ASC"""
    tables.remake(con, source.table, query)


def _holds_all(con: duckdb.DuckDBPyConnection, source: Source) -> bool:
    """Whether every row of the table has an id; edges left out as dangling have none."""
    return bool(tables.one(con, f"SELECT count(*) FROM {source.table.sql}") == source.num_rows)


def _keep(con: duckdb.DuckDBPyConnection, before: PropertyGraph, after: PropertyGraph) -> None:
    """Save a definition whose PROPERTIES changed; what foreign keys give is inferred from the tables as they are."""
    if after != before and not schema.is_inferred(con, after):
        schema.save(con, after)


def _with_property(definition: PropertyGraph, source: Source, name: str, *, present: bool) -> PropertyGraph:
    """Return the definition with a column among, or not among, the PROPERTIES of a type that lists them."""
    element = source.element
    if element.properties is None or (name in element.properties) == present:
        return definition
    properties = (*element.properties, name) if present else tuple(p for p in element.properties if p != name)
    if isinstance(element, VertexTable):
        return definition.with_vertex(replace(element, properties=properties))
    return definition.with_edge(replace(element, properties=properties))
