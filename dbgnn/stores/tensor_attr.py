"""How a column is named to PyG: `DuckDBTensorAttr`, its index, and the names that stand for none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import TensorAttr
from torch_geometric.data.feature_store import _FieldStatus

from dbgnn.errors import UnknownNameError

#: The attribute that stands for a type without any tensor column: the ids themselves, which PyG's loaders
#: put into a batch by the same name. Without it PyG's samplers would not know the type.
NODE_ID = "n_id"

#: The column of an attribute whose name is None, which PyG allows.
UNNAMED = "<none>"


@dataclass(eq=False)
class DuckDBTensorAttr(TensorAttr):
    """PyG's `TensorAttr` that takes NumPy arrays as index: PyG compares them with ``!=``."""

    def is_set(self, key: str) -> bool:
        """Whether a field is set; None is a value, UNSET is not."""
        return getattr(self, key) is not _FieldStatus.UNSET

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, TensorAttr):
            return NotImplemented
        names = self.group_name == other.group_name and self.attr_name == other.attr_name
        return names and same_index(self.index, other.index)

    __hash__ = None  # type: ignore[assignment] # mutable, as PyG's

    @classmethod
    def cast(cls, *args: Any, **kwargs: Any) -> Any:
        """Return a `DuckDBTensorAttr` from one, from PyG's own, from a tuple or dict, or from the fields."""
        if len(args) == 1 and not kwargs and isinstance(args[0], TensorAttr) and not isinstance(args[0], cls):
            return cls(args[0].group_name, args[0].attr_name, args[0].index)
        if len(args) == 1 and not kwargs and args[0] is None:
            return cls(None)  # PyG returns None: store[None] is the homogeneous group
        return super().cast(*args, **kwargs)


class ListedEdgeAttr(DuckDBTensorAttr):
    """An edge attribute among those of a homogeneous graph: the index that is set later is of nodes if PyG's loaders set it."""


def same_index(a: Any, b: Any) -> bool:
    """Whether two indices are the same object or equal."""
    if a is b:
        return True
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return a.dtype == b.dtype and a.shape == b.shape and torch.equal(a, b)
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return a.dtype == b.dtype and np.array_equal(a, b)
    return type(a) is type(b) and not isinstance(a, (Tensor, np.ndarray)) and bool(a == b)


def column_name(attr: object) -> str:
    """Return the column of an attribute."""
    if attr is None:
        return UNNAMED
    if not isinstance(attr, str):
        raise UnknownNameError(f"An attribute is named by a string or None, not by {attr!r}.")
    return attr


def attr_name(column: str) -> str | None:
    """Return the attribute of a column; the inverse of `column_name`."""
    return None if column == UNNAMED else column
