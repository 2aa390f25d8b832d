"""A task's query run: its rows as seeds, their keys as ids. Which columns are keys, time and target is said by the task."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

from dbgnn.errors import RequestError, SchemaError
from dbgnn.loader.seeds.task_rows import TaskRows
from dbgnn.schema.key_values import carried
from dbgnn.schema.keys import fits, kind_of, sql_type_of, table_key_types
from dbgnn.schema.model import Label
from dbgnn.sql import quote
from dbgnn.tasks.task_columns import TARGET, TIME, seed_targets, seed_times, target_read, time_read
from dbgnn.tasks.task_query import TaskQuery, source_fingerprint

if TYPE_CHECKING:
    from torch import Tensor

    from dbgnn.stores import DuckDBFeatureStore


@dataclass(frozen=True, slots=True)
class KeysNamed:
    """Columns of a task's query that hold the key of a node.

    Attributes:
        label: The node type.
        columns: The columns, in the order of the key.
        argument: The task's argument that named them, for messages.
    """

    label: str
    columns: tuple[str, ...]
    argument: str


def _keys_read(query: TaskQuery, store: DuckDBFeatureStore, keys: KeysNamed) -> list[str]:
    """Return the SQL of the columns of a key, as they travel, once it is seen that they can be compared.

    Raises:
        SchemaError: There are more or fewer columns than the node's key has, or one is of another type.
    """
    vertex = store.graph.definition.vertex(keys.label)
    if len(keys.columns) != len(vertex.key):
        raise SchemaError(
            f"{keys.argument}={_shown(keys.columns)} of {query.what} names {len(keys.columns)} columns, but the key of "
            f"{keys.label!r} has {len(vertex.key)}: {', '.join(vertex.key)}. Name as many, in that order."
        )
    wanted = table_key_types(store.graph.db.cursor(), vertex.table, vertex.key)
    by_name = dict(zip(dict.fromkeys(vertex.key), wanted, strict=True))
    own = query.key_types(keys.columns)
    for name, key, kind in zip(keys.columns, vertex.key, own, strict=True):
        # Rows that were given have Arrow's types: text for UUID and ENUM, decimals for HUGEINT. They are read exactly, or not.
        given = not isinstance(query.source, str) and kind_of(kind) in ("VARCHAR", "DECIMAL")
        if not given and not fits(by_name[key], kind):
            base = sql_type_of(by_name[key])
            raise SchemaError(
                f"Column {name!r} of {query.what} is {kind}, but the key {key!r} of {keys.label!r} is {by_name[key]}. Give "
                f"both one type, in the query: {quote(name)}::{base} AS {quote(name)}."
            )
    return [carried(quote(name), kind) for name, kind in zip(keys.columns, own, strict=True)]


def read_rows(
    query: TaskQuery,
    store: DuckDBFeatureStore,
    label: Label,
    named: tuple[KeysNamed, ...],
    *,
    time: str | None,
    target: str | None,
) -> Callable[[], TaskRows]:
    """Run a task's query, once, and check what it gave.

    Args:
        query: The query.
        store: The stores.
        label: The node or edge type of the seeds.
        named: The columns that hold keys.
        time: The column that says when.
        target: The column that is to be foretold.

    Returns:
        What looks the keys up, by one join with each node table, and returns the seeds. Call it once the query is closed.

    Raises:
        UnknownNameError: It has no such column.
        SchemaError: A column cannot be what it is named as.
        DataError: A key, time or target is NULL.
        SqlError: It fails.
    """
    expressions: dict[str, str] = {}
    names = [tuple(f"k{end}_{i}" for i in range(len(keys.columns))) for end, keys in enumerate(named)]
    for keys, own in zip(named, names, strict=True):
        expressions |= dict(zip(own, _keys_read(query, store, keys), strict=True))
    of_time = None if time is None else query.column(time, "time")
    of_target = None if target is None else query.column(target, "target")
    if of_time is not None:
        expressions[TIME] = time_read(query, of_time)
    if of_target is not None:
        expressions[TARGET] = target_read(query, of_target)
    table = query.read(expressions)
    for keys, own in zip(named, names, strict=True):
        for name, column in zip(own, keys.columns, strict=True):
            query.need_no_null(table, name, column)
    times = None if of_time is None else seed_times(query, of_time, table)
    targets = None if of_target is None else seed_targets(query, of_target, table)
    columns = [table.select(own) for own in names]

    def looked_up() -> TaskRows:
        ends = tuple(_ids(query, store, *each) for each in zip(named, columns, strict=True))
        return TaskRows(
            label,
            ends,
            tuple(keys.columns for keys in named),
            times,
            None if of_time is None else (of_time, query.columns[of_time]),
            targets,
            source_fingerprint(query.source),
            query.what,
        )

    return looked_up


def _ids(query: TaskQuery, store: DuckDBFeatureStore, named: KeysNamed, keys: pa.Table) -> Tensor:
    try:
        return store.ids(store.group_name(named.label), keys)
    except RequestError as error:
        columns = ", ".join(map(quote, named.columns))
        raise RequestError(
            f"{named.argument}={_shown(named.columns)} of {query.what}: {error} Leave such rows out, as by a SEMI JOIN with "
            f"the node table on {columns}, or add the nodes."
        ) from error


def _shown(names: tuple[str, ...]) -> str:
    return repr(names[0] if len(names) == 1 else names)
