"""`Task`: seeds that are a query, as loaders know it; and what it says of every seed. It knows no query."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt
import xxhash

from dbgnn.errors import RequestError
from dbgnn.schema.model import Label

if TYPE_CHECKING:
    from torch import Tensor

    from dbgnn.stores import DuckDBFeatureStore

#: The times of seeds: datetime64[us] or [ns], or int64 in the unit of the column ``[n]``.
SeedTimes: TypeAlias = npt.NDArray[np.datetime64] | npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class TaskRows:
    """The seeds of a task, one per row of its query, in its order; the same node at many times is many seeds.

    Attributes:
        label: The node type, or the edge type of a task of links.
        ends: Of every node that a row names, the ids int64 ``[n]``: of an entity one, of a link source and destination.
        names: Of every such node, the columns of the query that name it.
        times: Its time ``[n]``; None: the task has none.
        time_column: The column of the query that says when, and its SQL type; None: there is none.
        target: What is to be foretold, float32 or int64 ``[n, …]``; None: nothing is said.
        source: A checksum of the query's text.
        called: What messages call the task.
    """

    label: Label
    ends: tuple[Tensor, ...]
    names: tuple[tuple[str, ...], ...]
    times: SeedTimes | None
    time_column: tuple[str, str] | None
    target: Tensor | None
    source: str
    called: str

    def __len__(self) -> int:
        return len(self.ends[0])

    def identity(self) -> dict[str, Any]:
        """Return what they are, as JSON has it: checksums of the query, the ids, the times and the targets."""
        return {
            "label": self.label,
            "query": self.source,
            "ids": [_checksum(end.numpy()) for end in self.ends],
            "times": None if self.times is None else [str(self.times.dtype), _checksum(self.times)],
            "target": None if self.target is None else [str(self.target.dtype), _checksum(self.target.numpy())],
        }


def _checksum(values: npt.NDArray[Any]) -> str:
    return xxhash.xxh3_64_hexdigest(np.ascontiguousarray(values).reshape(-1).view(np.uint8).data)


def task_given(given: object) -> Task | None:
    """Return the task that a loader is given as its seeds; None: they are of another form.

    Raises:
        RequestError: It stands beside a type, which it says itself.
    """
    if isinstance(given, (tuple, list)) and len(given) == 2 and isinstance(given[1], Task):
        raise RequestError(
            f"A task says itself of which type its rows are; give it alone, without {given[0]!r}. An EntityTask takes "
            "node_type=, a LinkTask edge_type=."
        )
    return given if isinstance(given, Task) else None


class Task(ABC):
    """Seeds that a query gives: which node or link, as of when, and what is to be foretold."""

    @abstractmethod
    def read(self, store: DuckDBFeatureStore) -> TaskRows:
        """Run the query, once, and return the seeds that its rows are.

        Raises:
            SqlError: It is not one query that only reads, or fails.
            UnknownNameError: It has no such column, or the graph no such type.
            SchemaError: A column cannot be a key, time or target.
            DataError: One is NULL.
            RequestError: A key does not exist.
        """
