"""What may be set on a loader after it was made, and what that does: an effect from the next epoch on, or an error.

Nothing is taken and ignored. A loader is only told here what its attributes may be; what they do lives in `sampled_loader.py`.
"""

from __future__ import annotations

import difflib
from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Self
from weakref import WeakSet

from torch.utils.data import DataLoader

from dbgnn.errors import RequestError, UnknownNameError, near_misses
from dbgnn.loader.batch_keys import KeysAsked
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
    "data input_data directed dataset batch_size shuffle sampler batch_sampler drop_last "
    "generator num_workers persistent_workers prefetch_factor timeout multiprocessing_context pin_memory_device in_order "
    "collate_fn keys key_columns"
).split()

#: Attributes of a loader, and of torch's, that are nobody else's; every other private one is a derived class's.
PRIVATE = frozenset(
    "_asked _batches _epochs _has_edge_attrs _is_ready _iterating _iterator _made _origin _seeds _stats "
    "_threads _dataset_kind _DataLoader__initialized _DataLoader__multiprocessing_context _IterableDataset_len_called".split()
)


class OfSampler:
    """An attribute of a loader that is one of its sampler's."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, loader: Attributes | None, owner: type) -> Any:
        return self if loader is None else getattr(loader.neighbor_sampler, self._name)

    def __set__(self, loader: Attributes, value: Any) -> None:
        if not isinstance(loader.neighbor_sampler, Settable):
            raise RequestError(
                f"{self._name} is for dbgnn's own sampler, and the loader has {loader.neighbor_sampler!r}. Set what that "
                "sampler knows on the sampler itself."
            )
        setattr(loader.neighbor_sampler, self._name, value)


class ItsSampler:
    """``neighbor_sampler`` of a loader by another name, which PyG's loaders of its kind have."""

    def __get__(self, loader: Attributes | None, owner: type) -> Any:
        return self if loader is None else loader.neighbor_sampler

    def __set__(self, loader: Attributes, sampler: BaseSampler) -> None:
        loader.neighbor_sampler = sampler


class Attributes(DataLoader[Any]):
    """A loader whose attributes take effect from the next epoch on, or cannot be set."""

    neighbor_sampler: BaseSampler

    #: The columns of keys that come along, by type.
    key_columns: KeysAsked

    #: The copies that epochs run on.
    _epochs: WeakSet[Any]

    #: Attributes of one kind of loader that say how it was made, and cannot be set.
    _fixed: ClassVar[frozenset[str]] = frozenset()

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
    sample_direction = OfSampler()
    relative_time = OfSampler()

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
        elif isinstance(getattr(type(self), name, None), (OfSampler, ItsSampler)):
            object.__setattr__(self, name, value)
        elif name in FIXED or name in self._fixed or hasattr(of_dbgnn(type(self)), name):
            raise RequestError(
                f"{name} is decided when a loader is made and cannot be set later; make another loader with it. What can be "
                f"set: {', '.join(_settable())}."
            )
        elif not name.startswith("_") and difflib.get_close_matches(name, [*_settable(), *FIXED, *self._fixed], cutoff=0.85):
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


def of_dbgnn(cls: type) -> type:
    """Return dbgnn's own class of a loader, of whose methods and properties none may be hidden by an attribute."""
    return next(c for c in cls.__mro__ if c.__module__.startswith("dbgnn."))


def _settable() -> list[str]:
    return [*JUDGED, *FREE, *(name for name in OF_SAMPLERS if isinstance(Attributes.__dict__.get(name), OfSampler))]
