"""How far back from a seed's time an edge may be: a length, or months of the calendar."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dbgnn.topology.times import BEFORE_ALL, NANOSECONDS, Moments

_DAY = 86_400_000_000  # microseconds


@dataclass(frozen=True, slots=True)
class Window:
    """How long before a seed's time an edge may be, exclusive.

    Attributes:
        length: In the unit of the times.
        months: Months of the calendar, besides; they are taken off first, and end with the month as DuckDB's do.
        unit: The unit; of numbers there are no months.
    """

    length: int
    months: int = 0
    unit: str = "number"

    def before(self, times: Moments) -> Moments:
        """Return when the window of each time begins; `BEFORE_ALL` where that is out of range."""
        scale = 1000 if self.unit == NANOSECONDS else 1
        span = self.length + self.months * 31 * _DAY * scale
        starts = np.full_like(times, BEFORE_ALL)
        if span <= np.iinfo(np.int64).max:
            within = times >= BEFORE_ALL + span
            starts[within] = self._months_before(times[within], scale) - self.length
        return starts

    def _months_before(self, times: Moments, scale: int) -> Moments:
        if not self.months:
            return times
        whole, rest = np.divmod(times, scale)
        moment = whole.view("datetime64[us]")
        month = moment.astype("datetime64[M]")
        day, time = np.divmod((moment - month.astype("datetime64[us]")).astype(np.int64), _DAY)
        before = month - self.months
        last = ((before + 1).astype("datetime64[D]") - before.astype("datetime64[D]")).astype(np.int64) - 1
        found = before.astype("datetime64[us]").astype(np.int64) + np.minimum(day, last) * _DAY + time
        started: Moments = found * scale + rest
        return started

    def identity(self) -> list[int | str]:
        """Return what it decides, as JSON has it."""
        return [self.length, self.months, self.unit]
