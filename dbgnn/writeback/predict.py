"""`graph.predict`: a model over a loader, and what it says of the seed nodes kept in the database.

Predictions gather in a table of schema ``dbgnn``, committed as it grows, so that a call that an error or a kill has
interrupted resumes where it ended. One final transaction moves them to where they belong, and drops that table.
"""

from __future__ import annotations

import json
import re
import time
import uuid
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np
import pyarrow as pa
import torch
import xxhash
from torch import Tensor
from torch_geometric.data import HeteroData

from dbgnn import schema
from dbgnn.arrow import as_tensor, from_tensor, sql_type
from dbgnn.display import warn
from dbgnn.errors import DbgnnError, RequestError, SchemaError, UnknownNameError, near_misses
from dbgnn.progress import Bar
from dbgnn.schema import TableName
from dbgnn.schema.catalog import OWN_SCHEMA, own_table
from dbgnn.schema.model import Label
from dbgnn.schema.registry import transaction
from dbgnn.sql import literal, quote
from dbgnn.stores.binding import Source
from dbgnn.stores.request import Ids64, rows_of
from dbgnn.translated import translated
from dbgnn.writeback.side import find_schema, path_of
from dbgnn.writeback.staging import Target
from dbgnn.writeback.write import PART, append, create, finish, lent

if TYPE_CHECKING:
    from dbgnn.indexed_graph import IndexedGraph

#: Predictions are committed when so many bytes, or seconds, of them have gathered; and when an error ends the run. Not after
#: every mini-batch: a loader reads its hot rows again, and checks the index, whenever something was committed to the file.
FLUSH_BYTES, FLUSH_SECONDS = 64 << 20, 10.0

#: The column of a side table.
_COLUMN = "pred"


def predict(
    graph: IndexedGraph,
    model: Any,
    loader: Iterable[Any],
    into: str,
    *,
    forward: Callable[[Any, Any], Any] | None = None,
    device: Any = None,
    resume: bool = True,
    progress: bool | None = None,
) -> int:
    """Run a model over a loader, and write what it says of the seed nodes; see :meth:`dbgnn.Graph.predict`.

    A node that is a seed several times is predicted once: the first prediction stays. Nodes that are no seed keep what they
    have, or have NULL. What is written is no feature, as of :func:`dbgnn.writeback.write.write_back`, and overwrites what is
    there.

    Resume an interrupted call by repeating it, with the same target, weights and graph: mini-batches whose seeds are
    all known are not computed again. If weights or graph are others now, what is known is dropped, with a warning. What
    ``forward`` does, how the loader samples, and the features are not compared: after a change of those, call with
    ``resume=False``. Two runs for one target at the same time are in each other's way.

    Args:
        graph: The graph.
        model: A ``torch.nn.Module``, put in evaluation mode and back into its own afterwards.
        loader: Gives ``Data`` or ``HeteroData`` with ``n_id`` and ``batch_size``: the first ``batch_size`` nodes are the seeds,
            as dbgnn's and PyG's loaders have them. Without a ``batch_size`` every node of a batch counts as a seed.
        into: ``"paper.pred"``: the column ``pred`` of node type ``paper`` (if several types fit, the longest name). Where no
            node type fits, a side table of the key columns and ``pred``: ``"table"``, ``"schema.table"``, or with a column of
            another name ``"schema.table.column"``. Names are quoted as in SQL, and what begins with a quoted name is a table.
        forward: ``forward(model, batch)``, None: ``model(batch)``; gives a tensor ``[n, …]``, n ≥ ``batch_size``, whose first
            rows are the seeds', or such tensors by node type.
        device: Where model and batches are moved to; None: batches go where the model is.
        resume: Resume an interrupted call; False: compute all again.
        progress: Show a progress bar on what takes more than two seconds; None: as the database does.

    Returns:
        The number of rows written.

    Raises:
        UnknownNameError: ``into`` names neither a node type nor a table of a schema that is there.
        RequestError: A loader of another graph, batches without ``n_id``, seeds of another type, or fewer rows than seeds.
        SchemaError: The predictions do not fit the column.
        DataError: The table cannot take arrays; see :func:`dbgnn.writeback.write.write_back`.
        ReadOnlyError: The database is open read-only.
    """
    label, column, side = _resolve(graph, into)
    _check_loader(graph, loader)
    call = forward or _call
    shown = graph.db.settings.progress if progress is None else progress
    weights = _fingerprint(model)
    stage = None if label is None else _Stage(graph, label, into, column, side, weights, resume=resume)
    try:
        bar = Bar(total=_length(loader), desc=f"predict {into}", unit=" batches", disable=not shown)
        asked = _Asked.of(loader)
        with _evaluating(model, device) as place, _iterating(loader) as batches, bar:
            for batch in batches:
                if stage is None:
                    stage = _Stage(graph, _seed_type(graph, batch), into, column, side, weights, resume=resume)
                ids = _seeds(batch, stage.target.source, asked)
                if stage.asks(ids):
                    stage.add(ids, _of_seeds(call(model, batch.to(place)), stage.target.source.label, len(ids)))
                bar.update(1)
        return 0 if stage is None else stage.finish()
    finally:
        if stage is not None:
            stage.close()


def _call(model: Any, batch: Any) -> Any:
    try:
        return model(batch)
    except TypeError as error:
        error.add_note(
            "graph.predict calls model(batch). A model of other arguments is called by forward=, such as "
            "forward=lambda model, batch: model(batch.x_dict, batch.edge_index_dict)['paper']."
        )
        raise


def _resolve(graph: IndexedGraph, into: str) -> tuple[str | None, str, str | None]:
    """Return node type, column, and side table that ``into`` names; the node type of a side table is that of the seeds."""
    if not into:
        raise SchemaError(f"into must be 'type.column', or the name of a side table, not {into!r}.")
    names = graph.type_names
    points = [i for i, char in enumerate(into[:-1]) if char == "." and into[:i] in names.nodes]
    if points:
        return names.node(into[: points[-1]], "into"), into[points[-1] + 1 :], None
    path = () if into.endswith(".") else path_of(into)
    if len(path) == 1:
        return None, _COLUMN, into
    with translated(graph.db):
        if not 1 < len(path) < 4 or find_schema(graph.db.cursor(), path[0]) is None:
            above = into.rpartition(".")[0]
            what = "" if above in names.nodes else f"; {above!r} is no node type{names.meant(above)}"
            raise UnknownNameError(
                f"into={into!r} should be a node type of graph {graph.name!r}, a point, and a column{what}"
                + near_misses(above, names.nodes)
                + ", or a side table: 'table', 'schema.table' or 'schema.table.column', of a schema that is there. A name that "
                f"holds a point is quoted: into={quote(into)!r}."
            )
    return None, path[2] if len(path) == 3 else _COLUMN, ".".join(map(quote, path[:2]))


def _check_loader(graph: IndexedGraph, loader: Any) -> None:
    """Raise if the loader reads another graph, in which an id may be another node."""
    data = getattr(loader, "data", None)
    other = getattr(data[0], "graph", None) if isinstance(data, tuple) and data else None
    if other is not None and not (other.name == graph.name and graph.db.is_same(other.db)):
        where = f"another {other.db!s}" if str(other.db) == str(graph.db) and other.db is not graph.db else str(other.db)
        raise RequestError(
            f"The loader reads graph {other.name!r} of {where}, not {graph.name!r} of {graph.db!s}; ids may mean other "
            "nodes there. Predict with the graph that the loader reads."
        )


# -- the model -------------------------------------------------------------------------------------------


@contextmanager
def _evaluating(model: Any, device: Any) -> Iterator[torch.device]:
    """Put every module in evaluation mode, without gradients, and back into its own afterwards; yields the model's device."""
    modules = list(model.modules()) if isinstance(model, torch.nn.Module) else []
    modes = [module.training for module in modules]
    if modules:
        model.eval()
        if device is not None:
            model.to(device)
    parameter = next(iter(model.parameters()), None) if modules else None
    place = torch.device(device) if device is not None else torch.device("cpu") if parameter is None else parameter.device
    try:
        with torch.no_grad():
            yield place
    finally:
        for module, mode in zip(modules, modes, strict=True):
            module.training = mode


def _fingerprint(model: Any) -> str:
    """Return a checksum of the model's kind, as its name and text tell it, and of its weights."""
    kind = model if hasattr(model, "__qualname__") else type(model)  # without its module: a script's is __main__ today
    text = re.sub(" at 0x[0-9a-f]+", "", repr(model)) if isinstance(model, torch.nn.Module) else ""
    digest = xxhash.xxh3_128(f"{kind.__qualname__} {text}".encode())
    state = model.state_dict() if isinstance(model, torch.nn.Module) else {}
    for name, value in state.items():
        digest.update(name.encode())
        if isinstance(value, Tensor) and not torch.nn.parameter.is_lazy(value):
            digest.update(f"{value.dtype} {tuple(value.shape)}".encode())
            dense = value.detach().to_dense() if value.layout is not torch.strided else value.detach()
            dense = dense.cpu().resolve_conj().resolve_neg().contiguous()
            digest.update(dense.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


@contextmanager
def _iterating(loader: Iterable[Any]) -> Iterator[Iterator[Any]]:
    """Iterate, and end a generator's threads with the block, not when an error that holds it is forgotten."""
    batches = iter(loader)
    try:
        yield batches
    finally:
        if isinstance(batches, Generator):
            batches.close()


def _length(loader: Iterable[Any]) -> int | None:
    try:
        return len(loader)  # type: ignore[arg-type] # some have one
    except TypeError:
        return None


# -- mini-batches ----------------------------------------------------------------------------------------


def _seed_type(graph: IndexedGraph, batch: Any) -> str:
    """Return the node type of a mini-batch's seeds."""
    types = graph.node_types
    if isinstance(batch, HeteroData):
        types = [label for label in batch.node_types if "batch_size" in batch[label]]
    if len(types) != 1:
        raise RequestError(
            f"The mini-batch does not say of which node type its seeds are: it may be any of {types or graph.node_types}. "
            "Name it: into='type.column'."
        )
    return str(types[0])


@dataclass(frozen=True, slots=True)
class _Asked:
    """The seeds that a loader was given, against which those of its mini-batches are held.

    Attributes:
        nodes: All of them, in the loader's order.
        by_id: A mini-batch's ``input_id`` are node ids, as of a mask; else positions among ``nodes``.
    """

    nodes: Tensor
    by_id: bool

    @classmethod
    def of(cls, loader: Any) -> _Asked | None:
        """Return those of dbgnn's and PyG's loaders of nodes; None of others, or where ``input_id`` is the user's own."""
        given = getattr(loader, "input_data", None)
        nodes, input_id = getattr(given, "node", None), getattr(given, "input_id", None)
        if not isinstance(nodes, Tensor) or (input_id is not None and not torch.equal(input_id, nodes)):
            return None
        return cls(nodes, by_id=input_id is not None)

    def check(self, ids: Ids64, input_id: Any, label: Label) -> None:
        """Raise if a transform has put other nodes in the place of the seeds."""
        if not isinstance(input_id, Tensor):
            return
        given = input_id.cpu().numpy()
        with suppress(IndexError):
            wanted = given if self.by_id else self.nodes.numpy()[given]
            if np.array_equal(wanted, ids):
                return
        raise RequestError(
            f"The first {len(ids):,} nodes of a mini-batch (n_id) are not the seeds of {label!r} that the loader drew "
            "(input_id), so predictions would be written to other rows. A transform has changed n_id, input_id, batch_size or "
            "the order of nodes: leave it out, or keep them as they are."
        )


def _seeds(batch: Any, source: Source, asked: _Asked | None) -> Ids64:
    """Return the ids of a mini-batch's seeds: int64 ``[n]``, with the duplicates it has."""
    store = batch
    if isinstance(batch, HeteroData):
        of = [label for label in batch.node_types if "batch_size" in batch[label]]
        if source.label not in (of or batch.node_types):
            raise RequestError(
                f"The seeds of the loader are of type {', '.join(map(repr, of or batch.node_types))}, not {source.label!r}; "
                f"give it input_nodes={source.label!r}."
            )
        store = batch[source.label]
    if "n_id" not in store:
        raise RequestError(
            f"The mini-batch has no n_id, so nobody knows which nodes of {source.label!r} it is about: {batch!r:.200}. Use a "
            "NeighborLoader, or predict by yourself and call graph.write_back with keys."
        )
    rows = rows_of(store["n_id"], source.num_rows, source.label).array()
    if "batch_size" not in store:
        return rows
    ids = rows[: int(store["batch_size"])]
    if asked is not None:
        asked.check(ids, store.get("input_id"), source.label)
    return ids


def _of_seeds(out: Any, label: Label, count: int) -> Tensor:
    """Return the rows of the seeds in what a model returned: ``[count, …]``."""
    if isinstance(out, Mapping):
        if label not in out:
            raise RequestError(f"The model returned nothing for {label!r}" + near_misses(label, out))
        out = out[label]
    if not isinstance(out, Tensor) or out.dim() == 0:
        raise SchemaError(
            f"The model returned {'one number' if isinstance(out, Tensor) else type(out).__name__}; predictions are a tensor "
            "with a row per node, or such tensors by node type. Choose with forward=lambda model, batch: …"
        )
    if len(out) < count:
        raise RequestError(f"The model returned {len(out):,} rows for {count:,} seeds of {label!r}; the seeds' come first.")
    return out[:count].detach()


# -- what is known ---------------------------------------------------------------------------------------


class _Stage:
    """The predictions that are there: in a table of schema ``dbgnn``, and those about to be committed to it.

    The table's comment says what they are of; a table for the same target with another comment is dropped.
    """

    def __init__(
        self, graph: IndexedGraph, label: str, into: str, column: str, side: str | None, weights: str, *, resume: bool
    ) -> None:
        with translated(graph.db):
            self.target = Target.of(graph, label, into=side)
            self._con = graph.db.new_cursor()  # the loader reads on this thread's own
            self._column = column
            self._of = {"graph": graph.name, "label": label, "into": into, "weights": weights, "ids": _ids_are(graph)}
            self._name, self._kinds = "", dict[str, str]()
            self._known, self._asked = (np.zeros(self.target.source.num_rows, dtype=bool) for _ in range(2))
            self._parts: list[tuple[Ids64, Tensor]] = []
            self._flushed = time.monotonic()
            self._find(resume=resume)

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
                same_ids = of.get("ids") == self._of["ids"]
                what = "the model's kind or weights" if same_ids else "the graph's nodes or edges"
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
        if nulls or len(np.unique(ids)) < len(ids) or ((ids < 0) | (ids >= len(self._known))).any():
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
            self.target.check(self._con, kinds)
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
        return finish(con, self.target, self._name, self._kinds, then=f"DROP TABLE {self._name}")

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
