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
from dbgnn.sampling.modes.short_lists import SHORT, Numbers, Picks, choose
from dbgnn.sampling.modes.uniform import Uniform
from dbgnn.sampling.random import Words
from dbgnn.topology.weights import NEAR

#: So many nodes are worth another statement for some of them.
_MANY = 1 << 18


def tries(k: int) -> int:
    """Return how many edges are drawn from all for k different ones, before the rest is drawn from what is left."""
    return 3 * k


def first_tries(k: int) -> int:
    """Return how many draws are made of lists in memory at first; most need no more."""
    return k + k // 2


def few_tries(k: int, nodes: int) -> int:
    """Return how many of the `tries` the first statement makes for so many nodes; one that needs more is asked for again.

    Another statement takes longer than some more draws of few nodes. It serves one node in a hundred, since no short list is
    drawn from there.
    """
    return 1 if k == 1 else k + max(k // 5, 1) if nodes > _MANY else 2 * k


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
        return sent(keys, form.count(len(keys)), form.attempts) if form.draws else none_sent(len(keys))

    def steps(self, k: int, words: int, eligible: Eligible) -> list[Step]:
        """See `Mode.steps`."""
        form = _Form(eligible, k, words, self.replace)
        if words == 1:
            return form.first_steps()
        if self.replace:
            return [*form.drawn("bits"), Step("chosen", f"{eligible.kept},\n    drawn AS p")]
        return [form.together(), *form.drawn(f"bits[:{tries(k)}]"), *form.finished(tries(k))]

    def chosen(self, keys: Words, starts: Numbers, lengths: Numbers, totals: Numbers, k: int) -> Picks:
        """See `FinishedInMemory.chosen`."""
        return choose(keys, starts, lengths, totals, k, [] if self.replace else [first_tries(k), tries(k)])

    def identity(self) -> dict[str, Any]:
        """See `Mode.identity`."""
        return {"mode": "weighted", "replace": self.replace}


@dataclass(frozen=True, slots=True)
class _Form:
    """The steps for what is eligible.

    In them, ``before`` is the weight of what lies before what is eligible, ``total`` the weight of that, and ``past`` holds the
    positions that are not.
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

    def count(self, nodes: int) -> int:
        """Return for how many draws the frontier brings bits."""
        if self.replace:
            return self.k
        return few_tries(self.k, nodes) if self.first else tries(self.k) + self.k

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

    def first_steps(self) -> list[Step]:
        """Return the steps of the first statement: to positions of long lists, and short lists as they are."""
        kept, narrowed = self.eligible.kept, self.eligible.narrowed
        if not self.draws:
            totals = self._totals(f"deg > {self.least}", "0::BIGINT")
            p = self.all if narrowed else "NULL::BIGINT[]"
            return [Step("chosen", f"{kept},\n    {p} AS p, {not narrowed} AS whole, {totals} AS totals")]
        drawn = "drawn" if self.replace else self.different
        others, exempt = (f" ELSE {self.all}", f"NOT ({self.long}) OR ") if narrowed else ("", "")
        whole = "false" if narrowed else f"NOT ({self.long})"
        totals = self._totals(f"deg > {self.least} AND NOT ({self.long})", "before")
        return [
            *self.drawn("bits"),
            Step("found", f"{kept}, before,\n    CASE WHEN {self.long} THEN {drawn}{others} END AS p"),
            Step(
                "chosen",
                f"{kept},\n    CASE WHEN {exempt}len(p) = {self.k} THEN p END AS p, {whole} AS whole,\n    {totals} AS totals",
            ),
        ]

    def _totals(self, left: str, before: str) -> str:
        """Return the running totals of the lists that are left to be drawn from; NULL of others."""
        found = "cum[first + 1:first + deg]" if self.eligible.ranged else "cum[1:deg]" if self.eligible.narrowed else "cum"
        if self.eligible.ranged:
            found = f"list_transform({found}, lambda c: c - {before})"
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

    def drawn(self, bits: str) -> list[Step]:
        """Return steps to ``drawn``, a list of positions, each drawn by itself from all that are eligible, with its bits."""
        kept, gaps = self.eligible.kept, self.eligible.gaps
        first = "first" if self.eligible.ranged else "0"
        past = f", coalesce(list_transform(gone, lambda g: g + {first}), []::BIGINT[]) AS past" if gaps else ""
        steps = [Step("bounds", f"{kept},\n    {self._before} AS before{past}")]
        kept += ", before" + ", past" * gaps
        last = "first + deg" if self.eligible.ranged else "deg"
        total = f"cum[{last}{' + len(past)' if gaps else ''}] - before"
        if gaps:
            total += f" - coalesce(list_sum(list_transform(past, lambda c: {_WEIGHT}))::BIGINT, 0)"
        plain = f"list_transform({bits}, lambda x: {self._at('x % total')})"
        careful = f"list_transform({bits}, lambda x, i: {self._at(self._number('x', 'i', 'total'))})"
        numbers = f"CASE WHEN spare IS NULL THEN {plain}\n    ELSE {careful} END"
        near, far = (f"list_transform(numbers, lambda r: {self._found('r', guided=guided)})" for guided in (True, False))
        positions = f"CASE WHEN guide IS NOT NULL THEN {near}\n    ELSE {far} END"
        return [
            *steps,
            Step("weighed", f"{kept},\n    {total} AS total"),
            Step("numbers", f"{kept},\n    total, {self._if_drawn(numbers)} AS numbers"),
            Step("drawn", f"{kept},\n    total, {self._if_drawn(positions)} AS drawn"),
        ]

    def finished(self, done: int) -> list[Step]:
        """Return steps to k different positions: what there is of them in ``drawn``, and what is drawn from those left."""
        kept = f"{self.eligible.kept}, before, total{', past' if self.eligible.gaps else ''}"
        more = f"CASE WHEN len(p) < least(deg, {self.k}) THEN range({done + 1}, {done + self.k + 1} - len(p)) END"
        taken = "taken[len(past) + 1:]" if self.eligible.gaps else "taken"
        left = f"total - coalesce(list_sum(list_transform({taken}, lambda c: {_WEIGHT}))::BIGINT, 0)"
        number = f"list_transform([{left}], lambda rest: {self._number('bits[i]', 'i', 'rest')})[1]"
        moved = _moved("list_sort(taken, 'ASC', 'NULLS LAST')", f"before + {number}")
        # A list of one, since a lambda evaluates its text as it stands, as often as it stands there.
        one = f"list_append(taken, list_transform([{moved}], lambda y: {self._found('y', guided=False)})[1])"
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

    def _found(self, number: str, *, guided: bool) -> str:
        """Return the position whose part of the running total a number lies in: a binary search, from where a guide says."""
        bits = (NEAR - 1).bit_length() if guided else self.eligible.bits
        jumps = ", ".join(str(1 << bit) for bit in reversed(range(bits)))
        jump = f"CASE WHEN cum[x + b] <= {number} THEN b ELSE 0 END"
        start = f"guide[{number} // width + 1]::BIGINT" if guided else "0::BIGINT"
        return f"list_reduce([{jumps}]::BIGINT[], lambda x, b: x + {jump}, {start}) + 1"


#: The running total before position c, and the weight there.
_BEFORE = "CASE WHEN c > 1 THEN cum[c - 1] ELSE 0 END"
_WEIGHT = f"cum[c] - {_BEFORE}"


def _within(bits: str, bound: str) -> str:
    """Return one of 0 … bound - 1 for random bits; NULL for bits that would favour some."""
    return f"CASE WHEN {bits} - {bits} % {bound} <= {END} - {bound} THEN {bits} % {bound} END"


def _moved(positions: str, number: str) -> str:
    """Return a number moved past the parts of the running total that belong to sorted positions."""
    return f"list_reduce({positions}, lambda y, c: y + CASE WHEN {_BEFORE} <= y THEN {_WEIGHT} ELSE 0 END, {number})"
