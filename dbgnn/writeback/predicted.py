"""The predictions that are there: they gather in a table of schema ``dbgnn``, which an interrupted call leaves to the next."""

from __future__ import annotations

import json
import time
import uuid
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np
import pyarrow as pa
import torch
import xxhash
from torch import Tensor

from dbgnn import schema
from dbgnn.arrow import as_tensor, from_tensor, sql_type
from dbgnn.display import warn
from dbgnn.errors import DbgnnError, SchemaError
from dbgnn.schema import TableName
from dbgnn.schema.catalog import OWN_SCHEMA, own_table
from dbgnn.schema.model import Label
from dbgnn.schema.registry import transaction
from dbgnn.sql import literal
from dbgnn.stores.request import Ids64
from dbgnn.topology.distinct import sorted_distinct
from dbgnn.translated import translated
from dbgnn.writeback.batch_seeds import OneTimeEach, SeedsAsked, seeds_of
from dbgnn.writeback.writable import check_writable
from dbgnn.writeback.write import PART, append, create, finish, lent
from dbgnn.writeback.write_target import Target

if TYPE_CHECKING:
    from dbgnn.indexed_graph import IndexedGraph

#: Predictions are committed when so many bytes, or seconds, of them have gathered; and when an error ends the run. Not after
#: every mini-batch: a loader reads its hot rows again, and checks the index, whenever something was committed to the file.
FLUSH_BYTES, FLUSH_SECONDS = 64 << 20, 10.0


class Predicted:
    """The predictions that are there: in a table of schema ``dbgnn``, and those about to be committed to it.

    The table's comment says what they are of; a table for the same target with another comment is dropped.
    """

    def __init__(
        self, graph: IndexedGraph, label: Label, into: str, column: str, side: str | None, weights: str, *, resume: bool
    ) -> None:
        with translated(graph.db):
            self.target = Target.of(graph, label, into=side)
            self._con = graph.db.new_cursor()  # the loader reads on this thread's own
            self._column = column
            self._of = {"graph": graph.name, "label": label, "into": into, "weights": weights, "ids": _ids_are(graph)}
            self._of = json.loads(json.dumps(self._of | self._about()))  # as it is when read again
            self._name, self._kinds = "", dict[str, str]()
            self._known, self._asked = (np.zeros(self._total(), dtype=bool) for _ in range(2))
            self._times = OneTimeEach(self.target.source)
            self._parts: list[tuple[Ids64, Tensor]] = []
            self._flushed = time.monotonic()
            self._find(resume=resume)

    def _total(self) -> int:
        """Return how many predictions there may be; their ids are below."""
        return self.target.source.num_rows

    def _about(self) -> dict[str, Any]:
        """Return what else the predictions are of."""
        return {}

    def _check(self, kinds: dict[str, str]) -> None:
        """Raise if predictions of these types cannot go where they are to."""
        check_writable(self.target, self._con, kinds)

    def _move(self) -> int:
        """Move what is staged to where it is to go, drop its table, and return the number of rows."""
        return finish(self._con, self.target, self._name, self._kinds, then=f"DROP TABLE {self._name}")

    def _find(self, *, resume: bool) -> None:
        """Take the table that an interrupted run has left, or drop it."""
        for name, text in self._tables():
            of = _read_comment(text)
            if any(of.get(key) != self._of[key] for key in ("graph", "into")):
                continue
            usable = resume and of == self._of and not self._name
            if usable and self._take(name):
                continue
            if resume:
                parts = {"ids": "the graph's nodes or edges", "task": "the task", "label": "the type of the seeds"}
                others = [said for part, said in parts.items() if of.get(part) != self._of.get(part)]
                what = next(iter(others), "the model's kind or weights")
                warn(
                    f"Predictions for {self._of['into']!r} that a broken run left are dropped: "
                    f"{'they were edited' if usable else f'{what} changed'}.",
                    stacklevel=5,
                )
            self._con.execute(f"DROP TABLE {own_table(self._con, name)}")

    def _take(self, name: str) -> bool:
        """Take what a table holds, if it is what `_flush` writes: a value for each of distinct ids."""
        known = schema.columns(self._con, TableName(name, OWN_SCHEMA))
        if list(known) != ["id", "c0"] or known["id"] != "BIGINT":
            return False
        table = own_table(self._con, name)
        nulls = self._con.execute(f"SELECT count(*) FROM {table} WHERE id IS NULL OR c0 IS NULL").fetchall()[0][0]
        ids = self._con.sql(f"SELECT id FROM {table}").to_arrow_table().column(0).to_numpy()
        if nulls or len(sorted_distinct(ids)) < len(ids) or ((ids < 0) | (ids >= len(self._known))).any():
            return False
        self._name, self._kinds = table, {self._column: known["c0"]}
        self._known[ids] = True
        return True

    def _tables(self) -> list[tuple[str, str | None]]:
        return self._con.execute(
            "SELECT table_name, comment FROM duckdb_tables() WHERE database_name = current_database() AND schema_name = ? "
            "AND regexp_matches(table_name, '^predicted_[0-9]+$') ORDER BY table_name ASC",
            [OWN_SCHEMA],
        ).fetchall()

    def seeds(self, batch: Any, asked: SeedsAsked | None) -> Ids64:
        """Return the ids of what a mini-batch asks predictions for: int64 ``[n]``, with the duplicates it has."""
        ids = seeds_of(batch, self.target.source, asked)
        self._times.check(ids, batch)
        return ids

    def asks(self, ids: Ids64) -> bool:
        """Note the seeds of a mini-batch; return whether one of them has no prediction yet."""
        self._asked[ids] = True
        return not self._known[ids].all()

    def add(self, ids: Ids64, values: Tensor) -> None:
        """Take the predictions of a mini-batch, but those of nodes that have one; ``values`` is ``[len(ids), …]``."""
        distinct, first = np.unique(ids, return_index=True)
        new = ~self._known[distinct]
        ids = distinct[new]
        rows = as_tensor(values[torch.from_numpy(first[new]).to(values.device)])
        kinds = {self._column: sql_type(rows)}
        if not self._kinds:
            self._begin(kinds)
        if kinds != self._kinds:
            raise SchemaError(
                f"Predictions for {self._of['into']!r} were {self._kinds[self._column]} a row, and now {kinds[self._column]}; "
                "resume=False computes all of them again."
            )
        self._known[ids] = True
        self._parts.append((ids, rows))
        if sum(v.nbytes for _, v in self._parts) >= FLUSH_BYTES or time.monotonic() - self._flushed >= FLUSH_SECONDS:
            self._flush()

    def _begin(self, kinds: dict[str, str]) -> None:
        with translated(self.target.graph.db):
            self._check(kinds)
            self._name = own_table(self._con, f"predicted_{uuid.uuid4().int}")
            with transaction(self._con):
                create(self._con, f"TABLE {self._name}", kinds)
                self._con.execute(f"COMMENT ON TABLE {self._name} IS {literal(json.dumps(self._of))}")
        self._kinds = kinds

    def _flush(self) -> None:
        """Commit what has gathered."""
        if self._parts:
            ids, values = zip(*self._parts, strict=True)
            array = from_tensor(torch.cat(values))
            with translated(self.target.graph.db):
                append(self._con, self._name, self._kinds, np.concatenate(ids), {self._column: array})
        self._parts, self._flushed = [], time.monotonic()

    def finish(self) -> int:
        """Move the predictions of the seeds to where they belong, and return their number."""
        self._flush()
        if not self._name or not self._asked.any():  # a loader of no seeds says nothing of what others asked for
            return 0
        graph, con = self.target.graph, self._con
        if len(others := np.flatnonzero(self._known & ~self._asked)):  # an interrupted run had other seeds
            with translated(graph.db), lent(con, pa.table({"id": others})):
                con.execute(f"DELETE FROM {self._name} WHERE id IN (SELECT id FROM {PART})")
        return self._move()

    def close(self) -> None:
        """Keep what was computed, whatever broke the run off."""
        with suppress(duckdb.Error, DbgnnError):  # or it would hide what did
            self._flush()
        self._con.close()


def _read_comment(text: str | None) -> dict[str, Any]:
    """Return what the comment on a staged table says; nothing, where it is not one of ours."""
    try:
        of = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return {}
    return of if isinstance(of, dict) else {}


def _ids_are(graph: IndexedGraph) -> str:
    """Return a text that is another one once nodes or edges came, went or changed."""
    topology = graph.topology()
    nodes = {label: index.keys for label, index in topology.vertices.items()}
    edges = [(t, e.adjacency.rpartition(".")[2], e.num_edges) for t, e in topology.edges.items()]
    return xxhash.xxh3_128_hexdigest(json.dumps([nodes, edges]).encode())
