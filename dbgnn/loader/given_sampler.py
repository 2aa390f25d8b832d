"""What is asked of a sampler before a loader uses it: that it fits the stores, and that no argument beside it is ignored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from torch_geometric.sampler import BaseSampler
from torch_geometric.sampler.base import SubgraphType

from dbgnn.errors import DbgnnError, RequestError
from dbgnn.sampling.sampler import NeighborSampler

if TYPE_CHECKING:
    from dbgnn.stores import DuckDBFeatureStore


def check_sampler(sampler: object, store: DuckDBFeatureStore) -> None:
    """Raise if a sampler, as it is set now, does not fit the stores.

    Raises:
        RequestError: It is none, or samples another graph, whose ids would be other nodes.
        DbgnnError: It leaves edges without ids, and edge features are asked for.
    """
    if not isinstance(sampler, BaseSampler):
        raise RequestError(f"The sampler must be one of PyG's kind, such as dbgnn.NeighborSampler, not {sampler!r:.80}.")
    if isinstance(sampler, NeighborSampler):
        _check_same_graph(sampler, store)
    if store.homogeneous or getattr(sampler, "subgraph_type", None) != SubgraphType.bidirectional:
        return
    if attrs := store.edge_tensor_attrs():
        raise DbgnnError(
            "PyG's bidirectional subgraphs of heterogeneous graphs have no edge ids, so edge features cannot be fetched: "
            f"leave out {[(a.group_name, a.attr_name) for a in attrs]} with columns={{edge_type: []}}."
        )


def _check_same_graph(sampler: NeighborSampler, store: DuckDBFeatureStore) -> None:
    mine, theirs = store.graph, sampler.graph
    if not mine.db.is_same(theirs.db) or mine.name != theirs.name or sampler.homogeneous != store.homogeneous:
        kinds = {True: "without", False: "with"}
        raise RequestError(
            f"The sampler samples {theirs!r} of {theirs.db!s}, {kinds[sampler.homogeneous]} type names; the stores hold "
            f"{mine!r} of {mine.db!s}, {kinds[store.homogeneous]} type names. Make the sampler of the same stores: "
            "dbgnn.NeighborSampler(stores, num_neighbors)."
        )


def check_unused(sampler: BaseSampler, given: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
    """Raise if an argument was given that a loader's own sampler would have, and the given sampler has not.

    Args:
        sampler: The sampler that was given.
        given: The arguments, by name.
        defaults: Their defaults, which a caller may not have meant.
    """
    for name, value in given.items():
        kept = getattr(sampler, name, None)
        plain, mine = (getattr(v, "value", v) for v in (value, kept))  # 'induced' and SubgraphType.induced are one
        if plain not in (defaults[name], mine):
            raise RequestError(
                f"{name}={plain!r} is for the sampler that a loader makes, and the one given as neighbor_sampler has {mine!r}. "
                f"Leave out {name}, or make that sampler with it."
            )
