"""How long before its seed's time each node and edge of a mini-batch was: the attribute ``rel_time``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor
from torch_geometric.data import Data, HeteroData

from dbgnn.errors import RequestError
from dbgnn.sampling.output import RELATIVE
from dbgnn.sampling.sampler import NeighborSampler
from dbgnn.schema.model import Label

if TYPE_CHECKING:
    from dbgnn.loader.sampled_loader import SampledLoader

#: The attribute, and that of edges where nodes and edges share one place.
NAME, OF_EDGES = "rel_time", "edge_rel_time"


def relative_times(loader: SampledLoader, out: Any) -> Mapping[Label, Tensor]:
    """Take the relative times from a sampler's output, before what changes it has run.

    Raises:
        RequestError: ``transform_sampler_output`` may have changed which nodes and edges there are.
    """
    found: Mapping[Label, Tensor] = vars(out).pop(RELATIVE, {})
    sampler = loader.neighbor_sampler
    asked = isinstance(sampler, NeighborSampler) and sampler.relative_time
    if asked and loader.transform_sampler_output is not None:
        raise RequestError(
            "relative_time=True does not go with transform_sampler_output, which may change which nodes and edges there are. "
            "Leave one of them out, or do in transform what that does."
        )
    return found


def add_relative_times(batch: Data | HeteroData, times: Mapping[Label, Tensor]) -> None:
    """Add relative times to a mini-batch.

    Raises:
        RequestError: A column of that name is there already.
    """
    for label, values in times.items():
        if isinstance(batch, HeteroData):
            place, name = batch[label], NAME
        else:
            place, name = batch, NAME if isinstance(label, str) else OF_EDGES
        if name in place:
            raise RequestError(
                f"relative_time=True adds {name!r} to mini-batches, and {label!r} has a column of that name. Leave the column "
                "out with columns=, or leave relative_time out."
            )
        place[name] = values
