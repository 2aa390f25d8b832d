"""What becomes of ``num_workers``: processes where several can open the database, else the loader's own threads."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dbgnn.errors import ConnectionError, RequestError

if TYPE_CHECKING:
    from dbgnn.loader.sampled_loader import SampledLoader
    from dbgnn.open_database import OpenDatabase

#: Torch's arguments that are about worker processes alone.
_OF_PROCESSES = ("num_workers", "prefetch_factor", "persistent_workers", "multiprocessing_context")


def opens_in_workers(db: OpenDatabase) -> bool:
    """Whether other processes can open the database while this one has it open."""
    return db.read_only and not db.in_memory


@dataclass(frozen=True, slots=True)
class Workers:
    """Workers that were asked for where only threads can do their work.

    Attributes:
        kwargs: Torch's arguments, as given.
    """

    kwargs: dict[str, Any]

    @classmethod
    def of(cls, loader: SampledLoader, kwargs: dict[str, Any]) -> Workers | None:
        """Return the workers that threads are to stand for; None: none were asked for, or they are processes.

        Args:
            loader: The loader that is being made.
            kwargs: Torch's arguments; its numbers become plain ones.

        Raises:
            RequestError: A number is no integer.
        """
        for name in ("num_workers", "prefetch_factor"):
            if kwargs.get(name) is not None:
                kwargs[name] = _integer(name, kwargs[name])
        if kwargs.get("num_workers", 0) <= 0 or opens_in_workers(loader.data[0].graph.db):
            return None  # torch judges the number
        factor = kwargs.get("prefetch_factor")
        if factor is not None and factor < 1:
            raise RequestError(f"prefetch_factor must be 1 or more, not {factor!r}.")
        return cls(dict(kwargs))

    def without(self) -> dict[str, Any]:
        """Return torch's arguments without those of processes."""
        return {name: value for name, value in self.kwargs.items() if name not in _OF_PROCESSES}

    def attributes(self) -> dict[str, Any]:
        """Return the attributes by which a loader tells, and is made again, with what was asked for."""
        return {name: self.kwargs[name] for name in _OF_PROCESSES[:3] if name in self.kwargs}

    @property
    def prefetch(self) -> int | None:
        """How many mini-batches lie ready, if that was asked for."""
        factor = self.kwargs.get("prefetch_factor")
        return None if factor is None else factor * self.kwargs["num_workers"]

    def explained(self, loader: SampledLoader) -> str:
        """Return what became of them, for `explain`."""
        db = loader.data[0].graph.db
        why = "is in memory" if db.in_memory else "is open for writing"
        lines = [f"num_workers={self.kwargs['num_workers']}: threads of this process, since {db!s} {why}"]
        if loader.worker_init_fn is not None:
            lines.append("worker_init_fn is not called: there are no worker processes")
        without = [name for name in ("persistent_workers", "multiprocessing_context", "timeout") if self.kwargs.get(name)]
        if without:
            lines.append(f"without effect on threads: {', '.join(without)}")
        return f"\n  {'':<14}".join(lines)


def _integer(name: str, value: Any) -> int:
    try:
        return operator.index(value)  # of True, 1
    except TypeError:
        raise RequestError(f"{name} must be an integer, not {value!r}.") from None


def check_workers(loader: SampledLoader, *, ours: bool) -> None:
    """Raise if workers are asked for that can be neither processes nor threads."""
    db = loader.data[0].graph.db
    if loader.num_workers and not opens_in_workers(db) and not ours:
        raise ConnectionError(
            f"num_workers={loader.num_workers} with a sampler of another kind needs {db!s} to be a file opened read-only, "
            "since a database open for writing excludes every other process: dbgnn.connect(path, read_only=True), or use "
            "num_workers=0, or dbgnn's own sampler, for which threads do the work."
        )
