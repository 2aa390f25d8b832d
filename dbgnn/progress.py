"""Progress bars: tqdm's, with printable names, shown on work that takes more than two seconds."""

from __future__ import annotations

from typing import Any

from tqdm import tqdm

from dbgnn.terminal import one_line


class Bar(tqdm):
    """A bar of tqdm's. What it is called may hold names of the user's, such as that of a table.

    Args:
        desc: What is done.
        total: How much there is to do.
        delay: After how many seconds it is shown.
        kwargs: As of tqdm.
    """

    def __init__(self, *, desc: str = "", total: float | None = None, delay: float = 2, **kwargs: Any) -> None:
        super().__init__(desc=one_line(desc), total=total, delay=delay, **kwargs)

    def set_description(self, desc: str | None = None, refresh: bool | None = True) -> None:  # noqa: FBT001, FBT002 - tqdm's
        """Call it otherwise from now on."""
        super().set_description(one_line(desc or ""), refresh=refresh)
