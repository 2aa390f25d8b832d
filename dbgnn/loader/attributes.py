"""What may be set on a loader after it was made, and what that does: an effect from the next epoch on, or an error.

Nothing is taken and ignored. A loader is only told here what its attributes may be; what they do lives in `neighbor.py`.
"""

from __future__ import annotations

import difflib
from abc import abstractmethod
from typing import TYPE_CHECKING, Any, Self
from weakref import WeakSet

from torch_geometric.loader import NodeLoader

from dbgnn.errors import RequestError, UnknownNameError, near_misses
from dbgnn.sampling.settings import NAMES as OF_SAMPLERS
from dbgnn.sampling.settings import Settable

if TYPE_CHECKING:
    from torch_geometric.sampler import BaseSampler

#: Attributes whose values are judged together when one is set.
JUDGED = ("neighbor_sampler", "super_batch", "prefetch", "plan", "cache_bytes", "transform_sampler_output", "pin_memory")

#: Attributes that may have any value.
FREE = ("transform", "custom_cls", "filter_per_worker", "worker_init_fn", "loader_cores")

#: Attributes that say how a loader was made, and cannot be set.
FIXED = (
    "data input_nodes input_id input_time input_data directed dataset batch_size shuffle sampler batch_sampler drop_last "
    "generator num_workers persistent_workers prefetch_factor timeout multiprocessing_context pin_memory_device in_order "
    "collate_fn"
).split()

#: Attributes of a loader, and of torch's, that are nobody else's; every other private one is a derived class's.
PRIVATE = frozenset(
    "_asked _batches _epochs _has_edge_attrs _is_ready _iterating _iterator _made _origin _seed_keys _seed_label _stats "
    "_threads _dataset_kind _DataLoader__initialized _DataLoader__multiprocessing_context _IterableDataset_len_called".split()
)


class OfSampler:
    """An attribute of a loader that is one of its sampler's."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, loader: Attributes | None, owner: type) -> Any:
        return self if loader is None else getattr(loader.node_sampler, self._name)

    def __set__(self, loader: Attributes, value: Any) -> None:
        if not isinstance(loader.node_sampler, Settable):
            raise RequestError(
                f"{self._name} is for dbgnn's own sampler, and the loader has {loader.node_sampler!r}. Set what that sampler "
                "knows on the sampler itself."
            )
        setattr(loader.node_sampler, self._name, value)


class Attributes(NodeLoader):
    """A loader whose attributes take effect from the next epoch on, or cannot be set."""

    neighbor_sampler: BaseSampler

    #: Of the copy that an epoch runs on: the loader that it was made of, which has whatever is set on the copy.
    _origin: Attributes | None = None

    num_neighbors = OfSampler()
    replace = OfSampler()
    subgraph_type = OfSampler()
    disjoint = OfSampler()
    temporal_strategy = OfSampler()
    time_attr = OfSampler()
    weight_attr = OfSampler()
    is_sorted = OfSampler()
    seed = OfSampler()
    mode = OfSampler()
    time_window = OfSampler()
    where = OfSampler()

    @property
    def node_sampler(self) -> BaseSampler:
        """The sampler: ``neighbor_sampler``, by PyG's other name."""
        sampler: BaseSampler = self.__dict__["neighbor_sampler"]
        return sampler

    @node_sampler.setter
    def node_sampler(self, sampler: BaseSampler) -> None:
        self.neighbor_sampler = sampler

    @abstractmethod
    def _judge(self) -> None:
        """Raise if the attributes in `JUDGED` do not go together."""

    def _ready(self) -> None:
        """Say that the loader is made: from now on attributes are set by its user."""
        self.__dict__.update(_is_ready=True, _epochs=WeakSet())

    def _for_an_epoch(self) -> Self:
        """Return a copy whose settings stay as they are now. What a derived class sets is set on both."""
        now = object.__new__(type(self))
        now.__dict__.update(self.__dict__ | {"_origin": self})
        self._epochs.add(now)
        return now

    def __setattr__(self, name: str, value: Any) -> None:
        if name in PRIVATE or not self.__dict__.get("_is_ready"):
            super().__setattr__(name, value)
        elif self._origin is not None:
            setattr(self._origin, name, value)
        elif name in FREE:
            super().__setattr__(name, value)
        elif name in JUDGED:
            self._set_judged(name, value)
        elif name == "node_sampler" or isinstance(getattr(type(self), name, None), OfSampler):
            object.__setattr__(self, name, value)
        elif name in FIXED or _is_ours(type(self), name):
            raise RequestError(
                f"{name} is decided when a loader is made and cannot be set later; make another loader with it. What can be "
                f"set: {', '.join(_settable())}."
            )
        elif not name.startswith("_") and difflib.get_close_matches(name, [*_settable(), *FIXED], cutoff=0.85):
            raise UnknownNameError(f"A loader has no attribute {name!r} to set" + near_misses(name, _settable()))
        else:  # the user's own
            super().__setattr__(name, value)
            if name in self.__dict__:  # and no property of a derived class
                for epoch in self._epochs:
                    epoch.__dict__[name] = value

    def __delattr__(self, name: str) -> None:
        if self._origin is not None:
            delattr(self._origin, name)
            return
        super().__delattr__(name)
        for epoch in self.__dict__.get("_epochs", ()):
            epoch.__dict__.pop(name, None)

    def _set_judged(self, name: str, value: Any) -> None:
        before = self.__dict__.copy()
        self.__dict__[name] = value
        try:
            self._judge()
        except BaseException:
            self.__dict__.clear()
            self.__dict__.update(before)
            raise


def _is_ours(cls: type, name: str) -> bool:
    """Whether a name is a method or property of a loader, which an attribute would hide without an effect."""
    ours = next(c for c in cls.__mro__ if c.__module__.startswith("dbgnn."))
    return hasattr(ours, name)


def _settable() -> list[str]:
    return [*JUDGED, *FREE, *(name for name in OF_SAMPLERS if isinstance(Attributes.__dict__.get(name), OfSampler))]
