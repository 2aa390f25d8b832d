"""`Clock`: adds up where time goes. Knows nothing of what is timed."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager


class Clock:
    """Adds up the seconds spent on named parts of a piece of work; for one thread at a time."""

    __slots__ = ("seconds",)

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)

    @contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        """Count the time until the end of the block as spent on ``part``."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[part] += time.perf_counter() - start

    def add(self, part: str, seconds: float) -> None:
        """Count ``seconds`` as spent on ``part``."""
        self.seconds[part] += seconds

    def share(self, parts: int) -> Clock:
        """Return a clock with an equal share of what this one counted, as of one of ``parts`` mini-batches."""
        clock = Clock()
        clock.seconds.update({part: seconds / parts for part, seconds in self.seconds.items()})
        return clock
