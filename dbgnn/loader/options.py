"""The arguments that loaders of all kinds share, with their types: written down once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypedDict

from torch_geometric.sampler.base import SubgraphType

from dbgnn.sampling.modes import Mode


class SamplerOptions(TypedDict):
    """What a loader hands on to the sampler that it makes."""

    replace: bool
    subgraph_type: SubgraphType | str
    disjoint: bool
    temporal_strategy: str
    time_attr: str | None
    weight_attr: str | None
    is_sorted: bool
    seed: int
    mode: str | Mode | None
    time_window: Any
    where: Mapping[Any, Any] | None
    sample_direction: str
    relative_time: bool


class LoaderOptions(TypedDict):
    """What a loader does with a mini-batch, and how it comes by its features."""

    transform: Callable[[Any], Any] | None
    transform_sampler_output: Callable[[Any], Any] | None
    filter_per_worker: bool | None
    custom_cls: Any
    super_batch: int | str
    prefetch: int | str
    plan: str
    cache_bytes: int | str
    keys: Any
