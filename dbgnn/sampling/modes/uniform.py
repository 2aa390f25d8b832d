"""Uniform: every neighbour is equally likely, with or without replacement (Hamilton et al., GraphSAGE, 2017)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

from dbgnn.sampling.modes.draws import or_all, smallest, with_repeats, without_repeats, words_sql
from dbgnn.sampling.modes.mode import Eligible, Mode, Step

#: From this k on, comparing every draw with those before it costs more than a random word for every neighbour.
RANKED = 256

#: A word per neighbour, with its position.
_WORDS = f"list_transform({words_sql('deg')}, lambda w, i: (w << 31) | i)"


@dataclass(frozen=True, slots=True)
class Uniform(Mode):
    """k of a node's neighbours, all equally likely.

    Attributes:
        replace: Each is drawn from all of them again; else all are taken where there are no more than k.
    """

    replace: bool = False

    @classmethod
    def asked(cls, *, replace: bool) -> Self:
        """See `Mode.asked`."""
        return cls(replace)

    def steps(self, k: int, words: int, eligible: Eligible) -> list[Step]:
        """See `Mode.steps`."""
        if self.replace:
            return with_repeats(k, words, eligible.kept)
        if k >= RANKED:
            return [Step("chosen", f"{eligible.kept},\n    {or_all(k, smallest(k, _WORDS))} AS p")]
        return without_repeats(k, words, eligible.kept)

    def identity(self) -> dict[str, Any]:
        """See `Mode.identity`."""
        return {"mode": "uniform", "replace": self.replace}
