"""`EntityTask`: a training table of nodes, as in RelBench: which entity, as of when, and what becomes of it."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Any

from dbgnn.errors import SchemaError, UnknownNameError, near_misses
from dbgnn.loader.seeds.task_rows import Task, TaskRows
from dbgnn.queries.read_only import Params
from dbgnn.schema.catalog import folded
from dbgnn.tasks.answer import KeysNamed, read_rows
from dbgnn.tasks.task_query import TaskQuery, TaskSource, opened, task_source

if TYPE_CHECKING:
    from dbgnn.indexed_graph import IndexedGraph
    from dbgnn.stores import DuckDBFeatureStore


@dataclass(frozen=True, slots=True)
class EntityTask(Task):
    """A query whose rows are seed nodes: which one, as of when, and what is to be foretold of it.

    ::

        task = dbgnn.EntityTask(
            "SELECT customer_id, as_of, churned FROM labels WHERE as_of < DATE '2024-01-01'",
            entity="customer_id", time="as_of", target="churned", node_type="customer",
        )
        loader = dbgnn.NeighborLoader(graph, [15, 10], input_nodes=task, time_attr="ts", batch_size=512)

    Every row is a seed, in the order of the query: the same node at many times is many seeds. Mini-batches have, for their
    seeds, ``batch["customer"].y`` (the targets), ``.seed_time``, and ``.input_id``, the rows of the task counted from 0. The
    query is run once, in one transaction, whenever a loader is made.

    Args:
        sql: One query that only reads; or its rows as an Arrow table, or as anything that gives one, such as a pandas or polars
            DataFrame.
        entity: The column that holds the key, or the columns of a key of several. Or a node type: then the key is in the
            columns of the key's own names, or in all but ``time`` and ``target``.
        time: The column that says when: an integer, a DATE (its first moment) or a TIMESTAMP. A loader with ``time_attr``
            samples nothing later.
        target: The column to be foretold. Integers and ENUMs (their codes) become int64; FLOAT, DOUBLE, DECIMAL and BOOLEAN
            float32, as losses want them; arrays ``[n, k]``.
        node_type: The node type; None: the only one, the one called as ``entity`` is, or the one whose key has these names.
        params: Values bound to the query, by position (``?``) or by name (``$name``).

    Raises:
        SchemaError: ``sql`` is neither text nor a table, or ``entity`` names nothing.
    """

    sql: Any
    _: KW_ONLY
    entity: str | tuple[str, ...]
    time: str | None = None
    target: str | None = None
    node_type: str | None = None
    params: Params = None

    def __post_init__(self) -> None:
        source = task_source(self.sql, "EntityTask")
        object.__setattr__(self, "sql", source)
        entity = self.entity if isinstance(self.entity, str) else column_names(self.entity, "entity")
        object.__setattr__(self, "entity", entity)

    def read(self, store: DuckDBFeatureStore) -> TaskRows:
        """See :meth:`Task.read`."""
        source: TaskSource = self.sql
        with opened(store.graph.db, source, self.params, "an EntityTask") as query:
            keys = self._keys(query, store.graph)
            looked_up = read_rows(query, store, keys.label, (keys,), time=self.time, target=self.target)
        return looked_up()

    def _keys(self, query: TaskQuery, graph: IndexedGraph) -> KeysNamed:
        """Return the node type, and the columns that hold its key."""
        if isinstance(self.entity, str) and query.find(self.entity) is None:
            if self.entity not in graph.node_types:
                raise UnknownNameError(
                    f"entity={self.entity!r} is no column of the query of {query.what}, and no node type of graph "
                    f"{graph.name!r}" + near_misses(self.entity, [*query.columns, *graph.node_types])
                )
            if self.node_type not in (None, self.entity):
                raise SchemaError(f"entity={self.entity!r} and node_type={self.node_type!r} are two node types; leave one out.")
            return KeysNamed(self.entity, self._rest(query, graph, self.entity), "entity")
        names = (self.entity,) if isinstance(self.entity, str) else self.entity
        columns = tuple(query.column(name, "entity") for name in names)
        return KeysNamed(self._label(graph, columns), columns, "entity")

    def _rest(self, query: TaskQuery, graph: IndexedGraph, label: str) -> tuple[str, ...]:
        """Return the columns that hold the key where ``entity`` names a node type."""
        key = graph.definition.vertex(label).key
        own = tuple(query.find(name) for name in key)
        if None not in own:
            return tuple(name for name in own if name is not None)
        taken = {query.find(name) for name in (self.time, self.target)}
        rest = tuple(name for name in query.columns if name not in taken)
        if len(rest) != len(key):
            raise SchemaError(
                f"entity={label!r} is a node type with the key {', '.join(key)}, and besides time and target the query of "
                f"{query.what} has {len(rest)} columns: {', '.join(rest) or 'none'}. Name those that hold the key: "
                f"entity={key[0] if len(key) == 1 else key!r}, node_type={label!r}, each as the query calls it."
            )
        return rest

    def _label(self, graph: IndexedGraph, columns: tuple[str, ...]) -> str:
        """Return the node type whose key columns hold."""
        if self.node_type is not None:
            return graph.type_names.node(self.node_type, "node_type")
        labels = graph.node_types
        if len(labels) == 1:
            return labels[0]
        if len(columns) == 1 and columns[0] in labels:
            return columns[0]
        wanted = [folded(name) for name in columns]
        found = [v.label for v in graph.definition.vertices if [folded(name) for name in v.key] == wanted]
        if len(found) != 1:
            raise SchemaError(
                f"entity={self.entity!r} does not say of which node type the keys are: {len(found) or 'none'} of them have a "
                f"key of this name. Say it: node_type={(found or labels or ['paper'])[0]!r}" + near_misses(None, labels) + "."
            )
        return found[0]


def column_names(given: Any, argument: str) -> tuple[str, ...]:
    """Return the names of columns, one or several, that an argument gives.

    Raises:
        SchemaError: They are no names.
    """
    names = (given,) if isinstance(given, str) else given
    if not isinstance(names, (tuple, list)) or not names or not all(isinstance(name, str) for name in names):
        raise SchemaError(f"{argument} names the column that holds the key, or a tuple of several, not {given!r}.")
    return tuple(names)
