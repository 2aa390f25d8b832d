"""Writing tensors back: to columns of a type's table, or to a side table joined by key. One transaction a write."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

import duckdb
import numpy as np
import pyarrow as pa
from torch import Tensor

from dbgnn.arrow import as_tensor, from_tensor
from dbgnn.errors import DataError, RequestError, SchemaError
from dbgnn.progress import Bar
from dbgnn.schema.registry import transaction
from dbgnn.sql import quote
from dbgnn.stores.features import rewriting
from dbgnn.stores.key_lookup import ids_of
from dbgnn.stores.request import Ids64, refuse_numbers_as_mask, rows_of
from dbgnn.stores.source import Source
from dbgnn.stores.tables import writing_uncompressed
from dbgnn.translated import translated
from dbgnn.writeback import moving
from dbgnn.writeback.writable import check_writable
from dbgnn.writeback.write_target import ASIDE, Target

if TYPE_CHECKING:
    from dbgnn.indexed_graph import IndexedGraph

#: What one column of a write may be.
WrittenValues: TypeAlias = Tensor | np.ndarray[Any, Any] | pa.Array | pa.ChunkedArray

#: The Arrow table registered for a part, and the temporary table that parts gather in.
PART, STAGED = "dbgnn_part", "temp.dbgnn_staged"

#: Bytes of values that go to DuckDB at a time.
_PART_BYTES = 32 << 20


def write_back(
    graph: IndexedGraph,
    label: Any,
    columns: Mapping[str, WrittenValues],
    *,
    n_id: Any = None,
    keys: Any = None,
    into: str | None = None,
    on_conflict: str = "update",
    progress: bool | None = None,
) -> int:
    """Write values by node to columns; see :meth:`dbgnn.Graph.write_back`.

    What is written back is no feature: what loaders fetch stays as it was. A column that the write makes is remembered as
    written back, in the same transaction, and left out wherever ``PROPERTIES`` or ``columns=`` does not name it; so is a side
    table where a graph is inferred from foreign keys. A column that was there before is served as before. See
    :mod:`dbgnn.schema.written` for what a user's own SQL changes of that.

    Values are kept as they are, NaN too; a NULL of an Arrow array becomes NULL. In a table with a primary key, index, default
    or constraint, DuckDB moves every row whose array changes, which is slower than a side table; where a foreign key refers to
    such a table it is an error that says so.

    Args:
        graph: The graph.
        label: A node type, or None in a homogeneous graph. An edge type, with ``n_id`` for its ``e_id``, works as well.
        columns: By name, ``[n]`` or ``[n, …]``: a tensor or array of numbers, or an Arrow array of anything.
        n_id: ids ``[n]`` as loaders give them: integers of any width, or a bool mask of all rows.
        keys: Instead, the user's own keys, as :meth:`dbgnn.DuckDBFeatureStore.ids` takes them. Neither: all rows by id.
        into: A side table, ``"table"`` or ``"schema.table"``, quoted as in SQL where a name holds a point: the key columns,
            which are its primary key, and ``columns``; made if absent, else rows are updated or added. None: the type's own
            table; rows not named keep their values, or have NULL in a new column.
        on_conflict: ``"update"``, or ``"error"`` where a row has a value (not NULL) already.
        progress: Show a progress bar on what takes more than two seconds; None: as the database does.

    Returns:
        The number of rows written.

    Raises:
        RequestError: Ids out of range or twice, unknown keys, or another number of values than of rows.
        UnknownNameError: No such node type, or no such schema.
        SchemaError: A column is a key, of another type or shape than the values, or of a dtype that DuckDB does not have.
        DataError: A value is there already, or the table cannot take arrays without a change of ids.
        ReadOnlyError: The database is open read-only.
    """
    with translated(graph.db):
        target = Target.of(graph, label, into=into, on_conflict=on_conflict)
        source = target.source
        if n_id is not None and keys is not None:
            raise RequestError(f"write_back to {source.label!r}: give n_id or keys, not both.")
        ids = _ids(graph, source, n_id, keys)
    arrays = {name: to_arrow(name, values) for name, values in columns.items()}
    for name, array in arrays.items():
        if len(array) != len(ids):
            raise RequestError(
                f"write_back of {name!r}: {len(array):,} values for {len(ids):,} rows of {source.label!r}; give one per row."
            )
    return _write(target, _cut(ids, arrays), total=len(ids), progress=progress)


def write_rows(
    graph: IndexedGraph,
    label: Any,
    parts: Iterable[tuple[Ids64, Mapping[str, WrittenValues]]],
    *,
    into: str | None = None,
    on_conflict: str = "update",
    serve: bool = True,
    remedy: str = ASIDE,
) -> int:
    """Write rows that come in parts, in one transaction and bounded memory; what a part holds is staged, and spills to disk.

    Args:
        graph: The graph.
        label: A node or edge type.
        parts: Ids int64 ``[n]`` and values by column name ``[n, …]``; every part has the same columns, dtypes and shapes, and
            no id comes twice. It may read the database, on a cursor of its own. No part at all writes nothing.
        into: See `write_back`.
        on_conflict: See `write_back`.
        serve: Whether loaders fetch new columns from now on.
        remedy: What the caller can do where the type's own table does not take a column; for messages.

    Returns:
        The number of rows written.

    Raises:
        SchemaError: Parts differ in columns or types; and what `write_back` raises.
    """
    with translated(graph.db):
        target = Target.of(graph, label, into=into, on_conflict=on_conflict, serve=serve, remedy=remedy)
    num_rows, name = target.source.num_rows, target.source.label
    arrow = ((rows_of(ids, num_rows, name).array(), {c: to_arrow(c, v) for c, v in values.items()}) for ids, values in parts)
    return _write(target, arrow, total=None, progress=False)


def _ids(graph: IndexedGraph, source: Source, n_id: Any, keys: Any) -> Ids64:
    if keys is None:
        refuse_numbers_as_mask(n_id, source.num_rows, f"write_back: n_id of {source.label!r}")
        return rows_of(n_id, source.num_rows, source.label).array()
    if not isinstance(source.label, str):
        raise RequestError(f"keys are for node types; name rows of {source.label!r} by e_id, with n_id=.")
    ids: Ids64 = ids_of(graph.db, source, keys).numpy()
    return ids


def to_arrow(name: str, values: WrittenValues) -> pa.Array | pa.ChunkedArray:
    """Return a column as Arrow; shares the memory of a contiguous tensor on the CPU.

    Raises:
        SchemaError: No column has such values.
    """
    if isinstance(values, (pa.Array, pa.ChunkedArray)):
        return values
    try:
        return from_tensor(as_tensor(values))
    except SchemaError as error:
        raise SchemaError(f"Column {name!r}: {error}") from error


def _cut(ids: Ids64, arrays: Mapping[str, Any]) -> Iterator[tuple[Ids64, dict[str, Any]]]:
    """Cut one large part into smaller ones."""
    row_bytes = sum(array.nbytes for array in arrays.values()) // max(len(ids), 1)
    step = max(1, _PART_BYTES // max(row_bytes, 1))
    for start in range(0, max(len(ids), 1), step):
        yield ids[start : start + step], {name: array.slice(start, step) for name, array in arrays.items()}


def _write(
    target: Target, parts: Iterable[tuple[Ids64, Mapping[str, Any]]], *, total: int | None, progress: bool | None
) -> int:
    """Gather the parts in a temporary table, which spills, and move them from there."""
    db = target.graph.db
    shown = db.settings.progress if progress is None else progress
    kinds: dict[str, str] | None = None
    con = db.new_cursor()  # the parts may read on this thread's own
    try:
        with Bar(total=total, desc=f"write {target.source.label}", unit=" rows", disable=not shown) as bar:
            for ids, arrays in parts:
                with translated(db):
                    if kinds is None:
                        kinds = column_kinds(con, arrays)
                        check_writable(target, con, kinds)
                        create(con, f"TEMP TABLE {STAGED}", kinds)
                    append(con, STAGED, kinds, ids, arrays)
                bar.update(len(ids))
        return 0 if kinds is None else finish(con, target, STAGED, kinds)
    finally:
        con.close()


# -- staging ---------------------------------------------------------------------------------------------


def column_kinds(con: duckdb.DuckDBPyConnection, arrays: Mapping[str, Any]) -> dict[str, str]:
    """Return the SQL type that DuckDB gives to each Arrow column."""
    if not arrays:
        return {}
    table = pa.table({f"c{i}": array.slice(0, 0) for i, array in enumerate(arrays.values())})
    with lent(con, table):
        found = con.execute(f"DESCRIBE FROM {PART}").fetchall()
    return {name: row[1] for name, row in zip(arrays, found, strict=True)}


def create(con: duckdb.DuckDBPyConnection, what: str, kinds: Mapping[str, str]) -> None:
    """Create a table ``(id, c0, c1, …)``; ``what`` says which: ``TABLE name`` or ``TEMP TABLE name``."""
    con.execute(f"CREATE {what} (id BIGINT{''.join(f', c{i} {kind}' for i, kind in enumerate(kinds.values()))})")


def append(
    con: duckdb.DuckDBPyConnection, staged: str, kinds: Mapping[str, str], ids: Ids64, arrays: Mapping[str, Any]
) -> None:
    """Append rows to a staged table.

    Raises:
        SchemaError: The columns or their types are not those that the table was created with.
    """
    if (found := column_kinds(con, arrays)) != dict(kinds):
        raise SchemaError(f"The first part to write had the columns {dict(kinds)}, a later one has {found}; keep to the same.")
    table = pa.table({"id": ids, **{f"c{i}": arrays[name] for i, name in enumerate(kinds)}})
    with lent(con, table):
        con.execute(f"INSERT INTO {staged} FROM {PART}")


@contextmanager
def lent(con: duckdb.DuckDBPyConnection, table: pa.Table) -> Iterator[None]:
    """Register an Arrow table as `PART` while the block runs."""
    con.complete()
    con.register(PART, table)
    try:
        yield
    finally:
        con.complete()
        con.unregister(PART)


def finish(
    con: duckdb.DuckDBPyConnection,
    target: Target,
    staged: str,
    kinds: Mapping[str, str],
    *,
    then: str = "",
    also: Callable[[], None] | None = None,
) -> int:
    """Move what is staged to its target in one transaction, with the statement ``then``, and return the number of rows.

    ``also`` is called first in that transaction, and may raise to end it.

    Raises:
        StaleIndexError: Ids are other rows than they were.
    """
    with translated(target.graph.db):
        try:
            with writing_uncompressed(con):  # one write of the process at a time: the one before may have moved rows
                target = target.now()
                with rewriting(con, target.source.table) if target.moves_rows(kinds) else transaction(con):
                    if also is not None:
                        also()
                    count, definition = moving.move_staged(target, con, staged, kinds)
                    if then:
                        con.execute(then)
        except duckdb.ConstraintException as error:
            raise DataError(
                f"Columns {', '.join(map(quote, kinds))} cannot be written to {target.source.label!r}, because of a constraint "
                f"of the table. {target.remedy} DuckDB says: {error}"
            ) from error
        moving.settle(target, definition, kinds)
    return count
