"""Weighted: an edge is as likely as its weight says, with or without replacement.

Without replacement it is successive sampling: each edge is drawn from those that are left, by their weights, which is the law
of Efraimidis and Spirakis ("Weighted random sampling with a reservoir", 2006). The first k different ones of an endless
sequence of draws have it too, so a hub costs k draws and a few repeats. Where a few edges outweigh all others, repeats would
not end; so after `tries` draws the rest comes from what is left alone, each draw moved past the edges that were taken.

Weights are integers (`topology.weights`), and integers alone decide. A draw is a number below their total; its edge is found
by search in the running total, where a guide says near which place. That is how a statement draws from long lists, with
random bits that the frontier brings (`bits`); short ones are handed out whole, and the same is done in NumPy (`short_lists`),
for a fraction of the time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Self

import pyarrow as pa

from dbgnn.sampling.modes.bits import BOUND, END, none_sent, sent
from dbgnn.sampling.modes.draws import TOO_FEW
from dbgnn.sampling.modes.mode import Eligible, FinishedInMemory, Step
from dbgnn.sampling.modes.short_lists import SHORT, Numbers, Positions, choose
from dbgnn.sampling.modes.uniform import Uniform
from dbgnn.sampling.random import Words

#: Of so many places or fewer, three steps of a search find one; where a guide leaves more, all of the list's length are made.
_NEAR = 8


def tries(k: int) -> int:
    """Return how many edges are drawn from all for k different ones, before the rest is drawn from what is left."""
    return 3 * k


def first_tries(k: int) -> int:
    """Return how many draws are made of lists in memory at first; most need no more."""
    return k + k // 2


def few_tries(k: int) -> int:
    """Return how many of the `tries` the first statement makes; a node that needs more is asked for again.

    Hardly any does, since short lists are not drawn from there. Another statement takes longer than some more draws.
    """
    return 2 * k if k > 1 else 1


@dataclass(frozen=True, slots=True)
class Weighted(FinishedInMemory):
    """k of a node's edges, by their weights.

    Attributes:
        replace: Each is drawn from all of them again; else all are taken where there are no more than k.
    """

    needs_weights: ClassVar[bool] = True
    in_lists: ClassVar[bool] = True
    brings: ClassVar[tuple[str, ...]] = ("bits", "spare")

    replace: bool = False

    @classmethod
    def asked(cls, *, replace: bool) -> Self:
        """See `Mode.asked`."""
        return cls(replace)

    def unweighted(self) -> Uniform:
        """See `Mode.unweighted`."""
        return Uniform(self.replace)

    def brought(self, keys: Words, k: int, words: int, eligible: Eligible) -> list[pa.Array]:
        """See `Mode.brought`."""
        form = _Form(eligible, k, words, self.replace)
        return sent(keys, form.sent, form.attempts) if form.draws else none_sent(len(keys))

    def steps(self, k: int, words: int, eligible: Eligible) -> list[Step]:
        """See `Mode.steps`."""
        form = _Form(eligible, k, words, self.replace)
        if words > 1:
            if self.replace:
                return [*form.drawn(k), Step("chosen", f"{eligible.kept},\n    drawn AS p")]
            return [form.together(), *form.drawn(tries(k)), *form.finished(tries(k))]
        if not form.draws:
            totals = form.totals("0::BIGINT")
            return [Step("chosen", f"{eligible.kept},\n    {form.all} AS p, {totals} AS totals")]
        drawn = "drawn" if self.replace else form.different
        found = f"CASE WHEN {form.long} THEN {drawn} ELSE {form.all} END"
        enough = f"CASE WHEN NOT ({form.long}) OR len(p) = {k} THEN p END"
        return [
            *form.drawn(k if self.replace else few_tries(k)),
            Step("found", f"{eligible.kept}, before,\n    {found} AS p"),
            Step("chosen", f"{eligible.kept},\n    {enough} AS p, {form.totals('before')} AS totals"),
        ]

    def chosen(self, keys: Words, starts: Numbers, lengths: Numbers, totals: Numbers, k: int) -> Positions:
        """See `FinishedInMemory.chosen`."""
        return choose(keys, starts, lengths, totals, k, [] if self.replace else [first_tries(k), tries(k)])

    def identity(self) -> dict[str, Any]:
        """See `Mode.identity`."""
        return {"mode": "weighted", "replace": self.replace}


@dataclass(frozen=True, slots=True)
class _Form:
    """The steps for what is eligible.

    In them, ``before`` is the weight of what lies before what is eligible, ``total`` the weight of that, ``width`` that of a
    part of the guide, and ``past`` holds the positions that are not eligible.
    """

    eligible: Eligible
    k: int
    words: int
    replace: bool

    @property
    def first(self) -> bool:
        """Whether it is the first statement, which leaves short lists to NumPy, and those that repeat to another one."""
        return self.words == 1

    @property
    def draws(self) -> bool:
        """Whether the statement draws: some lists are not short, or have gaps."""
        return not self.first or self.eligible.gaps or 1 << self.eligible.bits > SHORT

    @property
    def sent(self) -> int:
        """For how many draws the frontier brings bits."""
        if self.replace:
            return self.k
        return few_tries(self.k) if self.first else tries(self.k) + self.k

    @property
    def attempts(self) -> int:
        """How often the bits of a draw may be rejected."""
        return max(self.words - 1, 1)

    @property
    def least(self) -> int:
        """All is taken of lists of at most so many."""
        return 0 if self.replace else self.k

    @property
    def long(self) -> str:
        """Whether a node's edges are drawn by the statement: of the first one, only from lists that are not short."""
        if not self.first:
            return f"deg > {self.least}"
        long = f"deg > {max(self.least, SHORT)}"
        return f"{long} OR (gone IS NOT NULL AND deg > {self.least})" if self.eligible.gaps else long

    def totals(self, before: str) -> str:
        """Return the running totals of the lists that the first statement leaves to be drawn from; NULL of others."""
        found = "cum[first + 1:first + deg]" if self.eligible.ranged else "cum[1:deg]" if self.eligible.narrowed else "cum"
        if self.eligible.ranged:
            found = f"list_transform({found}, lambda c: c - {before})"
        left = f"deg > {self.least} AND NOT ({self.long})" if self.draws else f"deg > {self.least}"
        return f"CASE WHEN {left} THEN {found} END"

    @property
    def all(self) -> str:
        """Every eligible position of the list."""
        if not self.eligible.gaps:
            return "range(first + 1, first + deg + 1)" if self.eligible.ranged else "range(1, deg + 1)"
        first = "first" if self.eligible.ranged else "0"
        return f"list_filter(range({first} + 1, {first} + deg + len(past) + 1), lambda x: NOT list_contains(past, x))"

    @property
    def different(self) -> str:
        """The first k different ones of ``drawn``."""
        return f"list_filter(drawn, lambda x, i: list_position(drawn, x) = i)[:{self.k}]"

    def together(self) -> Step:
        """Return the step that brings few rows together: lambdas cost by the chunk, and a join leaves slivers.

        565 rows of 500,000 took 34 instead of 338 ms.
        """
        return Step("together", self.eligible.kept, order='"at" ASC')

    def drawn(self, count: int) -> list[Step]:
        """Return steps to ``drawn``, a list of ``count`` positions, each drawn by itself from all that are eligible."""
        kept, gaps = self.eligible.kept, self.eligible.gaps
        first = "first" if self.eligible.ranged else "0"
        past = f", coalesce(list_transform(gone, lambda g: g + {first}), []::BIGINT[]) AS past" if gaps else ""
        steps = [Step("bounds", f"{kept},\n    {self._before} AS before, cum[len(cum)] // len(cum) AS width{past}")]
        kept += ", before, width" + ", past" * gaps
        last = "first + deg" if self.eligible.ranged else "deg"
        total = f"cum[{last}{' + len(past)' if gaps else ''}] - before"
        if gaps:
            total += f" - coalesce(list_sum(list_transform(past, lambda c: {_WEIGHT}))::BIGINT, 0)"
        bits = "bits" if count == self.sent else f"bits[:{count}]"
        plain = f"list_transform({bits}, lambda x: {self._at('x % total')})"
        careful = f"list_transform({bits}, lambda x, i: {self._at(self._number('x', 'i', 'total'))})"
        numbers = f"CASE WHEN spare IS NULL THEN {plain}\n    ELSE {careful} END"
        positions = f"list_transform(numbers, lambda r: {self._found('r')})"
        return [
            *steps,
            Step("weighed", f"{kept},\n    {total} AS total"),
            Step("numbers", f"{kept},\n    total, {self._if_drawn(numbers)} AS numbers"),
            Step("drawn", f"{kept},\n    total, {self._if_drawn(positions)} AS drawn"),
        ]

    def finished(self, done: int) -> list[Step]:
        """Return steps to k different positions: what there is of them in ``drawn``, and what is drawn from those left."""
        kept = f"{self.eligible.kept}, before, width, total{', past' if self.eligible.gaps else ''}"
        more = f"CASE WHEN len(p) < least(deg, {self.k}) THEN range({done + 1}, {done + self.k + 1} - len(p)) END"
        taken = "taken[len(past) + 1:]" if self.eligible.gaps else "taken"
        left = f"total - coalesce(list_sum(list_transform({taken}, lambda c: {_WEIGHT}))::BIGINT, 0)"
        number = f"list_transform([{left}], lambda rest: {self._number('bits[i]', 'i', 'rest')})[1]"
        moved = _moved("list_sort(taken, 'ASC', 'NULLS LAST')", f"before + {number}")
        # A list of one, since a lambda evaluates its text as it stands, as often as it stands there.
        one = f"list_append(taken, list_transform([{moved}], lambda y: {self._found('y')})[1])"
        begin = "list_concat(past, p)" if self.eligible.gaps else "p"
        chosen = f"list_reduce(draws, lambda taken, i: {one}, {begin})"
        chosen = f"({chosen})[len(past) + 1:]" if self.eligible.gaps else chosen
        return [
            Step("different", f"{kept},\n    CASE WHEN deg > {self.k} THEN {self.different} ELSE {self.all} END AS p"),
            Step("lacking", f"{kept},\n    p, {more} AS draws"),
            Step("chosen", f"{self.eligible.kept},\n    CASE WHEN draws IS NULL THEN p ELSE {chosen} END AS p"),
        ]

    @property
    def _before(self) -> str:
        return "CASE WHEN first > 0 THEN cum[first] ELSE 0 END" if self.eligible.ranged else "0::BIGINT"

    def _if_drawn(self, values: str) -> str:
        return f"CASE WHEN {self.long} THEN {values} END"

    def _at(self, number: str) -> str:
        """Return where a number below the total lies in the running totals of the whole list."""
        if self.eligible.gaps:
            return _moved("past", f"before + {number}")
        return f"before + {number}" if self.eligible.ranged else number

    def _number(self, bits: str, draw: str, bound: str) -> str:
        """Return one of 0 … bound - 1, every one equally likely: bits that would favour some are passed over."""
        if self.attempts == 1:
            another = _within(f"spare[{draw}]", bound)
        else:
            spare = f"spare[({draw} - 1) * {self.attempts} + 1:{draw} * {self.attempts}]"
            another = f"list_filter({spare}, lambda y: {_within('y', bound)} IS NOT NULL)[1] % {bound}"
        careful = f"coalesce({_within(bits, bound)}, {another}, error('{TOO_FEW}')::BIGINT)"
        return f"CASE WHEN {bits} <= {END - BOUND} THEN {bits} % {bound} ELSE {careful} END"

    def _found(self, number: str) -> str:
        """Return the position whose part of the running total a number lies in: a binary search from where the guide says."""
        every = f"[{', '.join(str(1 << bit) for bit in reversed(range(self.eligible.bits)))}]::BIGINT[]"
        near = f"guide[{number} // width + 2] - guide[{number} // width + 1] < {_NEAR}"
        jumps = f"CASE WHEN {near} THEN [4, 2, 1]::BIGINT[] ELSE {every} END"
        jump = f"CASE WHEN cum[x + b] <= {number} THEN b ELSE 0 END"
        return f"list_reduce({jumps}, lambda x, b: x + {jump}, coalesce(guide[{number} // width + 1], 0)::BIGINT) + 1"


#: The running total before position c, and the weight there.
_BEFORE = "CASE WHEN c > 1 THEN cum[c - 1] ELSE 0 END"
_WEIGHT = f"cum[c] - {_BEFORE}"


def _within(bits: str, bound: str) -> str:
    """Return one of 0 … bound - 1 for random bits; NULL for bits that would favour some."""
    return f"CASE WHEN {bits} - {bits} % {bound} <= {END} - {bound} THEN {bits} % {bound} END"


def _moved(positions: str, number: str) -> str:
    """Return a number moved past the parts of the running total that belong to sorted positions."""
    return f"list_reduce({positions}, lambda y, c: y + CASE WHEN {_BEFORE} <= y THEN {_WEIGHT} ELSE 0 END, {number})"
