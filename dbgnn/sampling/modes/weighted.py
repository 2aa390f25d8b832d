"""Weighted: an edge is as likely as its weight says, with or without replacement.

Without replacement it is successive sampling: each edge is drawn from those that are left, by their weights, which is the law
of Efraimidis and Spirakis ("Weighted random sampling with a reservoir", 2006). The first k different ones of an endless
sequence of draws have it too, so a hub costs k draws and a few repeats. Where a few edges outweigh all others, repeats would
not end; so after `tries` draws the rest comes from what is left alone, each draw moved past the edges that were taken.

Weights are integers (`topology.weights`), and integers alone decide. A draw is a number below their total; its edge is found
by binary search in the running total. That is how a statement draws from long lists; short ones are handed out whole, and the
same is done in NumPy (`short_lists`), for less than half the time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Self

from dbgnn.sampling.modes.draws import TOO_FEW, words_sql
from dbgnn.sampling.modes.mode import Eligible, FinishedInMemory, Step
from dbgnn.sampling.modes.short_lists import SHORT, Numbers, choose
from dbgnn.sampling.modes.uniform import Uniform
from dbgnn.sampling.random import Words, round_sql

#: A draw has so many random bits: the lower 30 of one word and all 32 of the next.
BITS = 62


def tries(k: int) -> int:
    """Return how many edges are drawn from all for k different ones, before the rest is drawn from what is left."""
    return 3 * k


def few_tries(k: int) -> int:
    """Return how many of the `tries` the first statement makes; a node that needs more is asked for again."""
    return k + (k + 1) // 2


@dataclass(frozen=True, slots=True)
class Weighted(FinishedInMemory):
    """k of a node's edges, by their weights.

    Attributes:
        replace: Each is drawn from all of them again; else all are taken where there are no more than k.
    """

    needs_weights: ClassVar[bool] = True
    in_lists: ClassVar[bool] = True

    replace: bool = False

    @classmethod
    def asked(cls, *, replace: bool) -> Self:
        """See `Mode.asked`."""
        return cls(replace)

    def unweighted(self) -> Uniform:
        """See `Mode.unweighted`."""
        return Uniform(self.replace)

    def steps(self, k: int, words: int, eligible: Eligible) -> list[Step]:
        """See `Mode.steps`."""
        form = _Form(eligible, k, words + 1, self.replace, first=words == 1)
        if words == 1:
            drawn = "drawn" if self.replace else form.different
            found = f"CASE WHEN {form.long} THEN {drawn} ELSE {form.all} END"
            few = k if self.replace else few_tries(k)
            enough = f"CASE WHEN NOT ({form.long}) OR len(p) = {k} THEN p END"
            return [
                *form.drawn(few),
                Step("found", f"{eligible.kept}, before,\n    {found} AS p"),
                Step("chosen", f"{eligible.kept},\n    {enough} AS p, {form.totals} AS totals"),
            ]
        if self.replace:
            return [*form.drawn(k), Step("chosen", f"{eligible.kept},\n    drawn AS p")]
        return [form.together(), *form.drawn(tries(k)), *form.finished(tries(k))]

    def chosen(self, keys: Words, lengths: Numbers, totals: Numbers, k: int) -> Numbers:
        """See `FinishedInMemory.chosen`."""
        return choose(keys, lengths, totals, k, replace=self.replace, tries=tries(k))

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
    first: bool

    @property
    def long(self) -> str:
        """Whether a node's edges are drawn by the statement: of the first one, only from lists that are not short."""
        least = (
            max(self.k, SHORT) if self.first and not self.replace else SHORT if self.first else 0 if self.replace else self.k
        )
        if not self.first or not self.eligible.gaps:
            return f"deg > {least}"
        return f"deg > {least} OR (gone IS NOT NULL AND deg > {0 if self.replace else self.k})"

    @property
    def totals(self) -> str:
        """The running totals of the lists that the first statement leaves to be drawn from; NULL of others."""
        found = "cum[first + 1:first + deg]" if self.eligible.ranged else "cum[1:deg]" if self.eligible.narrowed else "cum"
        if self.eligible.ranged:
            found = f"list_transform({found}, lambda c: c - before)"
        return f"CASE WHEN deg > {0 if self.replace else self.k} AND NOT ({self.long}) THEN {found} END"

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
        return Step("together", f"{self.eligible.kept}, key", order='"at" ASC')

    def drawn(self, count: int) -> list[Step]:
        """Return steps to ``drawn``, a list of ``count`` positions, each drawn by itself from all that are eligible."""
        kept, gaps = f"{self.eligible.kept}, key", self.eligible.gaps
        first = "first" if self.eligible.ranged else "0"
        before = "CASE WHEN first > 0 THEN cum[first] ELSE 0 END" if self.eligible.ranged else "0::BIGINT"
        past = f", coalesce(list_transform(gone, lambda g: g + {first}), []::BIGINT[]) AS past" if gaps else ""
        steps = [Step("bounds", f"{kept},\n    {before} AS before{past}")]
        kept += ", before"
        last = "first + deg" if self.eligible.ranged else "deg"
        total = f"cum[{last}{' + len(past)' if gaps else ''}] - before"
        if gaps:
            kept += ", past"
            total += f" - coalesce(list_sum(list_transform(past, lambda c: {_WEIGHT}))::BIGINT, 0)"
        numbers = f"list_transform(range(1, {count} + 1), lambda i: {_number('w[2 * i - 1]', 'w[2 * i]', 'total', self.words)})"
        # A lambda costs by the chunk what its text is long, so another word is tried in a step that few rows have any use of.
        bits, within = _bits("w[2 * i - 1]", "w[2 * i]"), _within("x", "total")
        bits, within = f"list_transform(range(1, {count} + 1), lambda i: {bits})", f"list_transform(bits, lambda x: {within})"
        number = _moved("past", "before + r") if gaps else "before + r"
        positions = f"list_transform(numbers, lambda r: {self._found(number)})"
        return [
            *steps,
            Step("weighed", f"{kept},\n    {total} AS total"),
            Step("words", f"{kept},\n    total, {self._if_drawn(words_sql(str(2 * count)))} AS w"),
            Step("bits", f"{kept},\n    total, w, {self._if_drawn(bits)} AS bits"),
            Step("numbers", f"{kept},\n    total, w, {self._if_drawn(within)} AS numbers"),
            Step(
                "again",
                f"{kept},\n    total, CASE WHEN list_count(numbers) < {count} THEN {numbers} ELSE numbers END AS numbers",
            ),
            Step("drawn", f"{kept},\n    total, {self._if_drawn(positions)} AS drawn"),
        ]

    def finished(self, done: int) -> list[Step]:
        """Return steps to k different positions: what there is of them in ``drawn``, and what is drawn from those left."""
        kept = f"{self.eligible.kept}, key, before, total{', past' if self.eligible.gaps else ''}"
        more = f"list_transform(range(2 * ({self.k} - len(p))), lambda j: xor(key, {2 * done} + j))"
        mixed = f"list_transform(w, lambda w: {round_sql('w')})"
        numbers = f"list_transform(range(1, {self.k} - len(p) + 1), lambda i: [w[2 * i - 1], w[2 * i]])"
        taken = "taken[len(past) + 1:]" if self.eligible.gaps else "taken"
        left = f"total - coalesce(list_sum(list_transform({taken}, lambda c: {_WEIGHT}))::BIGINT, 0)"
        number = f"list_transform([{left}], lambda rest: {_number('r[1]', 'r[2]', 'rest', self.words)})[1]"
        moved = _moved("list_sort(taken, 'ASC', 'NULLS LAST')", f"before + {number}")
        # A list of one, since a lambda evaluates its text as it stands, as often as it stands there.
        one = f"list_append(taken, list_transform([{moved}], lambda y: {self._found('y')})[1])"
        begin = "list_concat(past, p)" if self.eligible.gaps else "p"
        chosen = f"list_reduce(numbers, lambda taken, r: {one}, {begin})"
        chosen = f"({chosen})[len(past) + 1:]" if self.eligible.gaps else chosen
        return [
            Step("different", f"{kept},\n    CASE WHEN deg > {self.k} THEN {self.different} ELSE {self.all} END AS p"),
            Step("counted", f"{kept},\n    p, CASE WHEN len(p) < least(deg, {self.k}) THEN {more} END AS w"),
            Step("mixed", f"{kept},\n    p, {mixed} AS w"),
            Step("more_words", f"{kept},\n    p, {mixed} AS w"),
            Step("more_numbers", f"{kept},\n    p, CASE WHEN w IS NOT NULL THEN {numbers} END AS numbers"),
            Step("chosen", f"{self.eligible.kept},\n    CASE WHEN numbers IS NULL THEN p ELSE {chosen} END AS p"),
        ]

    def _if_drawn(self, values: str) -> str:
        return f"CASE WHEN {self.long} THEN {values} END"

    def _found(self, number: str) -> str:
        """Return the position whose part of the running total a number lies in."""
        jumps = ", ".join(str(1 << bit) for bit in reversed(range(self.eligible.bits)))
        jump = f"CASE WHEN cum[x + b] <= {number} THEN b ELSE 0 END"
        return f"list_reduce([{jumps}]::BIGINT[], lambda x, b: x + {jump}, 0::BIGINT) + 1"


#: The running total before position c, and the weight there.
_BEFORE = "CASE WHEN c > 1 THEN cum[c - 1] ELSE 0 END"
_WEIGHT = f"cum[c] - {_BEFORE}"


def _moved(positions: str, number: str) -> str:
    """Return a number moved past the parts of the running total that belong to sorted positions."""
    return f"list_reduce({positions}, lambda y, c: y + CASE WHEN {_BEFORE} <= y THEN {_WEIGHT} ELSE 0 END, {number})"


def _number(high: str, low: str, bound: str, words: int) -> str:
    """Return one of 0 … bound - 1 for two words, every one equally likely: what would favour some is rejected."""
    attempts = []
    for n in range(words):
        upper, lower = (word if n == 0 else round_sql(round_sql(f"xor({word}, {n})")) for word in (high, low))
        attempts.append(_within(_bits(upper, lower), bound))
    return f"coalesce({', '.join(attempts)}, error('{TOO_FEW}')::BIGINT)"


def _bits(high: str, low: str) -> str:
    """Return the random bits of a draw, of two words."""
    return f"((({high} & {(1 << (BITS - 32)) - 1}) << 32) | {low})"


def _within(bits: str, bound: str) -> str:
    """Return one of 0 … bound - 1 for random bits, every one equally likely; NULL for bits that would favour some."""
    return f"CASE WHEN {bits} - {bits} % {bound} <= {1 << BITS} - {bound} THEN {bits} % {bound} END"
