"""Last: the latest edges before the seed's time, as in temporal graph networks (Rossi et al., TGN, 2020)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from dbgnn.sampling.modes.mode import Eligible, Mode, Step


@dataclass(frozen=True, slots=True)
class Last(Mode):
    """The k latest of a node's edges; among those of one time, the ones that come last by (neighbour, edge id)."""

    needs_times: ClassVar[bool] = True

    def steps(self, k: int, words: int, eligible: Eligible) -> list[Step]:  # noqa: ARG002 - nothing is drawn
        """See `Mode.steps`."""
        return [Step("chosen", f"{eligible.kept},\n    range(greatest(deg - {k}, 0) + 1, deg + 1) AS p")]

    def identity(self) -> dict[str, Any]:
        """See `Mode.identity`."""
        return {"mode": "last"}
