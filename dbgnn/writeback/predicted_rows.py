"""Predictions of a task: one per row of its query, into a table ``(key columns, time, pred)`` of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from torch_geometric.data import HeteroData

from dbgnn import schema
from dbgnn.errors import RequestError, SchemaError
from dbgnn.loader.seeds.kind import Seeds
from dbgnn.loader.seeds.task_rows import TaskRows
from dbgnn.schema.catalog import folded
from dbgnn.schema.registry import transaction
from dbgnn.schema.written import mark_written, unmark_written, written
from dbgnn.sql import quote
from dbgnn.stores.request import Ids64
from dbgnn.stores.tables import writing_uncompressed
from dbgnn.topology.distinct import sorted_distinct
from dbgnn.translated import translated
from dbgnn.writeback.batch_seeds import SeedsAsked, seeds_of
from dbgnn.writeback.predicted import Predicted
from dbgnn.writeback.write import PART, lent
from dbgnn.writeback.write_target import Target

if TYPE_CHECKING:
    from dbgnn.indexed_graph import IndexedGraph
    from dbgnn.schema import TableName


def task_rows(loader: Any) -> TaskRows | None:
    """Return the rows of the task whose seeds a loader has; None: it has others."""
    seeds = getattr(loader, "seeds", None)
    return seeds.rows if isinstance(seeds, Seeds) else None


def need_one_row_each(rows: TaskRows | None, into: str) -> None:
    """Raise if a task has several rows of one node, of which a column of the node's table could hold one."""
    if rows is None:
        return
    count, distinct = len(rows), len(sorted_distinct(rows.ends[0].numpy()))
    if len(rows.ends) > 1 or distinct < count:
        raise RequestError(
            f"into={into!r} is a column, which has one value per {rows.label!r}, and the {count:,} rows of {rows.called} name "
            f"{distinct:,} of them. Name a table, in which every row of the task has one: into='predictions'."
        )


class PredictedRows(Predicted):
    """The predictions of a task that are there, by the rows of its query; see `Predicted`."""

    def __init__(
        self, graph: IndexedGraph, rows: TaskRows, into: str, column: str, side: str, weights: str, *, resume: bool
    ) -> None:
        self._rows = rows
        names = [*(name for names in rows.names for name in names), *(rows.time_column or ())[:1]]
        taken = [folded(name) for name in (*names, column)]
        if len(set(taken)) < len(taken):
            raise SchemaError(
                f"into={into!r} would have two columns of one name: {', '.join(map(repr, names))} are of the query of "
                f"{rows.called}, and {column!r} holds what is predicted. Rename a column of the query, or name the last by "
                "into='schema.table.column'."
            )
        super().__init__(graph, rows.label, into, column, side, weights, resume=resume)
        labels = (rows.label,) if isinstance(rows.label, str) else rows.label[::2]
        with translated(graph.db):
            self._ends = [Target.of(graph, label, into=side) for label in labels]

    def _total(self) -> int:
        return len(self._rows)

    def _about(self) -> dict[str, Any]:
        return {"task": self._rows.identity()}

    def _check(self, kinds: dict[str, str]) -> None:  # noqa: ARG002 - a table of its own takes any
        self._need_ours()

    def _need_ours(self) -> TableName | None:
        """Return the table that is there and may be replaced; raise :class:`SchemaError` for one of the user's own."""
        side = self.target.find_side(self._con)
        if side is not None and not written(self._con).side_table(side):
            raise SchemaError(
                f"Table {str(side)!r} is there, and was not made by a prediction, so it is not replaced. Name another, or "
                f"DROP TABLE {side.sql} first."
            )
        return side

    def seeds(self, batch: Any, asked: SeedsAsked | None) -> Ids64:
        """Return the rows of the task that a mini-batch asks predictions for."""
        if isinstance(self._rows.label, str):
            seeds_of(batch, self.target.source, asked)  # the nodes are still those of the rows
        store = batch
        if isinstance(batch, HeteroData):
            store = batch[self._rows.label]
        found: Ids64 = store.input_id.cpu().numpy()
        return found

    def finish(self) -> int:
        """See `Predicted.finish`; of a task without rows, the table of an earlier call is left without rows."""
        if not len(self._rows) and (side := self._need_ours()) is not None:
            with translated(self.target.graph.db):
                self._con.execute(f"DELETE FROM {side.sql}")
        return super().finish()

    def _move(self) -> int:
        con, target = self._con, self.target
        with translated(target.graph.db), writing_uncompressed(con), lent(con, self._placed()):
            self._ends = [end.now() for end in self._ends]
            with transaction(con):
                for end in self._ends:
                    end.verify(con)
                if (side := self._need_ours()) is not None:
                    unmark_written(con, side, schema.columns(con, side))
                    con.execute(f"DROP TABLE {side.sql}")
                into = side or target.into
                assert into is not None
                con.execute(f"CREATE TABLE {into.sql} AS {self._query()}")
                mark_written(con, into, [self._column], whole=True)
                [(count,)] = con.execute(f"SELECT count(*) FROM {into.sql}").fetchall()
                con.execute(f"DROP TABLE {self._name}")
        return int(count)

    def _placed(self) -> pa.Table:
        """Return the rows as an Arrow table ``(row, n0, …, at)``: node ids and time."""
        rows = self._rows
        columns: dict[str, Any] = {"row": np.arange(len(rows))}
        columns |= {f"n{i}": end.numpy() for i, end in enumerate(rows.ends)}
        if rows.times is not None and rows.time_column is not None:
            times = pa.array(rows.times)
            zoned = rows.time_column[1] == "TIMESTAMP WITH TIME ZONE"
            columns["at"] = times.cast(pa.timestamp("us", "UTC")) if zoned else times
        return pa.table(columns)

    def _query(self) -> str:
        """Return the query of the table: keys as the node tables have them, by the rows of the task."""
        selected, joins = [], []
        for i, (end, names) in enumerate(zip(self._ends, self._rows.names, strict=True)):
            source = end.source
            selected += [f"t{i}.{quote(key)} AS {quote(name)}" for key, name in zip(source.keys, names, strict=True)]
            if source.map_table is None:
                joins.append(f"JOIN {source.table.sql} AS t{i} ON t{i}.rowid = r.n{i}")
            else:
                joins.append(f"JOIN {source.map_table} AS m{i} ON m{i}.id = r.n{i}")
                joins.append(f"JOIN {source.table.sql} AS t{i} ON t{i}.rowid = m{i}.rid")
        if self._rows.time_column is not None:
            name, kind = self._rows.time_column
            selected.append(f"r.at::{kind} AS {quote(name)}")
        selected.append(f"s.c0 AS {quote(self._column)}")
        lines = [f"SELECT {', '.join(selected)}", f"FROM {self._name} AS s", f"JOIN {PART} AS r ON r.row = s.id", *joins]
        return "\n".join([*lines, "ORDER BY s.id ASC"])
