"""`LinkTask`: a training table of links: from which node to which, as of when, and what becomes of it."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Any

from dbgnn.errors import SchemaError, near_misses
from dbgnn.loader.seeds.task_rows import Task, TaskRows
from dbgnn.queries.read_only import Params
from dbgnn.tasks.answer import KeysNamed, read_rows
from dbgnn.tasks.entity_task import column_names
from dbgnn.tasks.task_query import TaskSource, opened, task_source

if TYPE_CHECKING:
    from dbgnn.indexed_graph import IndexedGraph
    from dbgnn.schema import EdgeType
    from dbgnn.stores import DuckDBFeatureStore


@dataclass(frozen=True, slots=True)
class LinkTask(Task):
    """A query whose rows are seed links: from which node to which, as of when, and what is to be foretold.

    The links need not be edges of the graph: questions are not. Every row is a seed, in the order of the query; its target is
    its ``edge_label``, its time its ``edge_label_time``. The query is run once, in one transaction, whenever a loader is made.

    Args:
        sql: One query that only reads, or its rows; see :class:`dbgnn.EntityTask`.
        source: The column that holds the source's key, or the columns of a key of several.
        destination: The same of the destination.
        time: The column that says when.
        target: The column to be foretold; None: all are links, with the label that a loader gives to positives.
        edge_type: The edge type whose ends the nodes are; None: the only one.
        params: Values bound to the query.

    Raises:
        SchemaError: ``sql`` is neither text nor a table, or ``source`` or ``destination`` names nothing.
    """

    sql: Any
    _: KW_ONLY
    source: str | tuple[str, ...]
    destination: str | tuple[str, ...]
    time: str | None = None
    target: str | None = None
    edge_type: EdgeType | str | None = None
    params: Params = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "sql", task_source(self.sql, "LinkTask"))
        for argument in ("source", "destination"):
            object.__setattr__(self, argument, column_names(getattr(self, argument), argument))

    def read(self, store: DuckDBFeatureStore) -> TaskRows:
        """See :meth:`Task.read`."""
        given: TaskSource = self.sql
        edge_type = self._edge_type(store.graph)
        with opened(store.graph.db, given, self.params, "a LinkTask") as query:
            ends = tuple(
                KeysNamed(label, tuple(query.column(name, argument) for name in names), argument)
                for label, argument, names in (
                    (edge_type[0], "source", self.source),
                    (edge_type[2], "destination", self.destination),
                )
            )
            looked_up = read_rows(query, store, edge_type, ends, time=self.time, target=self.target)
        return looked_up()

    def _edge_type(self, graph: IndexedGraph) -> EdgeType:
        if self.edge_type is not None:
            return graph.type_names.edge(self.edge_type, "edge_type")
        if len(graph.edge_types) != 1:
            raise SchemaError(
                f"A LinkTask over graph {graph.name!r} must say which edge type's ends it names, with edge_type="
                + near_misses(None, graph.edge_types)
            )
        return graph.edge_types[0]
