"""`graph.predict`: a model over a loader, and what it says of the seed nodes kept in the database.

Predictions gather in a table of schema ``dbgnn``, committed as it grows, so that a call that an error or a kill has
interrupted resumes where it ended. One final transaction moves them to where they belong, and drops that table.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from dbgnn.errors import RequestError, SchemaError, UnknownNameError, near_misses
from dbgnn.progress import Bar
from dbgnn.sql import quote
from dbgnn.translated import translated
from dbgnn.writeback.batch_seeds import SeedsAsked, rows_of_seeds, seed_type
from dbgnn.writeback.evaluation import evaluating, fingerprint
from dbgnn.writeback.predicted import Predicted
from dbgnn.writeback.predicted_rows import PredictedRows, need_one_row_each, task_rows
from dbgnn.writeback.side import find_schema, path_of

if TYPE_CHECKING:
    from dbgnn.indexed_graph import IndexedGraph

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

    Of a task (:class:`dbgnn.EntityTask`), every row is predicted, in a table of its own: the key columns and the time as the
    task's query calls them, and ``pred``, in the order of its rows. If the table is there from an earlier call, it is replaced.

    A node that is a seed more than once is predicted once, by the first mini-batch; at different times (``seed_time``) it is an
    error. Nodes that are no seed keep what they have, or have NULL. What is written is no feature, as of
    :func:`dbgnn.writeback.write.write_back`, and overwrites what is there.

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
    weights, rows = fingerprint(model), task_rows(loader)
    stage: Predicted | None = None
    if rows is not None and side is not None:
        stage = PredictedRows(graph, rows, into, column, side, weights, resume=resume)
    elif label is not None:
        need_one_row_each(rows, into)
        stage = Predicted(graph, label, into, column, side, weights, resume=resume)
    try:
        bar = Bar(total=_length(loader), desc=f"predict {into}", unit=" batches", disable=not shown)
        asked = SeedsAsked.of(loader)
        with evaluating(model, device) as place, _iterating(loader) as batches, bar:
            for batch in batches:
                if stage is None:
                    stage = Predicted(graph, seed_type(graph, batch), into, column, side, weights, resume=resume)
                ids = stage.seeds(batch, asked)
                if stage.asks(ids):
                    stage.add(ids, rows_of_seeds(call(model, batch.to(place)), stage.target.source.label, len(ids)))
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
