"""Every form in which a user may give the seed links of a loader."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from dbgnn import schema
from dbgnn.errors import RequestError, SchemaError, UnknownNameError, near_misses
from dbgnn.schema.model import EdgeType, shown_type
from dbgnn.stores.adjacency import coo
from dbgnn.stores.request import refuse_numbers_as_mask, rows_of
from dbgnn.translated import keyboard_interrupts

if TYPE_CHECKING:
    from dbgnn.stores import DuckDBFeatureStore


@dataclass(frozen=True, slots=True)
class ChosenLinks:
    """The links that a user chose as seeds.

    Attributes:
        edge_type: Their type in the property graph.
        row: Ids of their sources, int64 ``[n]``.
        col: Ids of their destinations, likewise.
        edge: Their edge ids, likewise; None: they are pairs of nodes, which need not be edges.
        input_id: What a batch calls ``input_id`` where the user gives none; None: the position among the seeds.
        came_from: What they were given as, for messages.
    """

    edge_type: EdgeType
    row: Tensor
    col: Tensor
    edge: Tensor | None
    input_id: Tensor | None
    came_from: str


@keyboard_interrupts()
def seed_links(store: DuckDBFeatureStore, given: object) -> ChosenLinks:
    """Return the seeds for any form of ``edge_label_index``.

    Args:
        store: The feature store.
        given: An edge type, for all its edges; or a pair of one and: None (all), a tensor ``[2, n]`` of node ids (links that
            need not be edges), edge ids in any form, a boolean mask over all edges, or a SQL predicate over the edge table.
            The edge type may be left out, or None, where there is only one.

    Raises:
        RequestError: Ids that are no integers or out of range, or a tensor of another shape.
        SqlError: The predicate is not one harmless expression over the columns of the edge table.
        UnknownNameError: No such edge type.
    """
    edge_type, links = _of_one_edge_type(store, given)
    index = store.graph.topology().edges[edge_type]
    name = shown_type(edge_type)
    if links is not None and not isinstance(links, str):
        pairs = _as_pairs(links, name)
        if pairs is not None:
            row, col = pairs[0].contiguous(), pairs[1].contiguous()
            _check_ends(store, edge_type, row, col)
            return ChosenLinks(edge_type, row, col, None, None, f"no pairs of {name}")
    row, col, _ = coo(store.graph.db, index)
    if links is None:
        return ChosenLinks(edge_type, row, col, torch.arange(len(row)), None, f"all edges of {name}, which has none")
    if isinstance(links, str):
        edge = store.edge_ids(edge_type, links)
        return ChosenLinks(edge_type, row[edge], col[edge], edge, None, f"the edges of {name} for which {links!r} is true")
    refuse_numbers_as_mask(links, index.num_edges, f"edge_label_index of {name}")
    rows = rows_of(links, index.num_edges, edge_type)
    if rows.scalar:
        raise RequestError(f"edge_label_index of {name} must be a list or a mask of edges, or pairs [2, n], not {links!r:.80}")
    edge = torch.from_numpy(np.array(rows.array()))
    said = f"a mask of {name} without a True" if rows.is_mask else f"an empty list of ids of {name}"
    return ChosenLinks(edge_type, row[edge], col[edge], edge, edge if rows.is_mask else None, said)


def _of_one_edge_type(store: DuckDBFeatureStore, given: object) -> tuple[EdgeType, Any]:
    """Return the edge type, and what is given of its edges."""
    graph, types = store.graph, store.graph.edge_types
    if isinstance(given, (tuple, list)) and len(given) == 2 and _is_name(given[0]):
        return (_only(store, given) if given[0] is None else graph.type_names.edge(given[0], "edge_label_index")), given[1]
    if isinstance(given, tuple) and given and all(isinstance(part, str) for part in given):
        return graph.type_names.edge(given, "edge_label_index"), None
    if isinstance(given, str):
        try:
            return graph.type_names.edge(given, "edge_label_index"), None
        except UnknownNameError:
            if len(types) != 1:
                raise
        columns = schema.columns(graph.db.cursor(), graph.definition.edge(types[0]).table)
        if given.isidentifier() and given not in columns:
            known = [t[1] for t in types]
            raise UnknownNameError(
                f"edge_label_index: {given!r} is no edge type and no column of {shown_type(types[0])}"
                + near_misses(given, known)
            )
    return _only(store, given), given


def _is_name(given: object) -> bool:
    return given is None or isinstance(given, str) or (isinstance(given, tuple) and all(isinstance(p, str) for p in given))


def _only(store: DuckDBFeatureStore, given: object) -> EdgeType:
    types = store.graph.edge_types
    if len(types) == 1:
        return types[0]
    if not types:
        raise SchemaError(f"Graph {store.graph.name!r} has no edge types, so there are no seed links.")
    raise RequestError(
        f"edge_label_index must say which edge type it means, as ({types[0]!r}, …), got {given!r:.80}"
        + near_misses(None, types)
    )


def _as_pairs(links: Any, name: str) -> Tensor | None:
    """Return links as pairs, int64 ``[2, n]``; None: they have one dimension."""
    if isinstance(links, (tuple, list)) and len(links) == 2 and not np.isscalar(links[0]):
        parts = [np.asarray(part) for part in links]
        if any(part.ndim == 1 for part in parts) and len(parts[0]) != len(parts[1]):
            raise RequestError(f"The links of {name} have {len(parts[0]):,} sources and {len(parts[1]):,} destinations.")
        links = np.stack(parts) if parts[0].shape == parts[1].shape else links
    try:
        array = links.detach().cpu().numpy() if isinstance(links, Tensor) else np.asarray(links)
    except ValueError:  # of no shape; what is the matter is said where ids are read
        return None
    if array.ndim < 2:
        return None
    if array.ndim > 2 or array.shape[0] != 2:
        turned = "; turn it: .t() of a tensor, .T of an array" if array.ndim == 2 and array.shape[1] == 2 else ""
        raise RequestError(f"edge_label_index of {name} must be of shape [2, n] or [n], not {list(array.shape)}{turned}.")
    if array.dtype.kind not in "iu" and array.size:
        raise RequestError(f"edge_label_index of {name} must hold integer node ids, not {array.dtype}.")
    return torch.from_numpy(array.astype(np.int64))


def _check_ends(store: DuckDBFeatureStore, edge_type: EdgeType, row: Tensor, col: Tensor) -> None:
    for ids, label, end in ((row, edge_type[0], "source"), (col, edge_type[2], "destination")):
        num_nodes = store.graph.num_nodes(label)
        if len(ids) and not 0 <= int(ids.min()) <= int(ids.max()) < num_nodes:
            at = int(((ids < 0) | (ids >= num_nodes)).nonzero()[0])
            raise RequestError(
                f"edge_label_index of {shown_type(edge_type)}: link {at:,} has the {end} {int(ids[at])}, which is no id of "
                f"{label!r}: it has {num_nodes:,} nodes, counted from 0."
            )
