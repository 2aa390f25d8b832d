"""Eligibility: which positions of a node's list a hop may choose from, as steps before those of the mode.

Time makes a list shorter by binary search (lists are sorted by it), so a hub's list is not walked. Excluded edges leave gaps,
which the choice passes over. Where nothing narrows, there is no step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dbgnn.sampling.modes import Eligible, Step

if TYPE_CHECKING:
    from dbgnn.topology.derived import Lists


@dataclass(frozen=True, slots=True)
class Narrowed:
    """What narrows the lists of a frontier, by the columns that it has.

    Attributes:
        until: Edges that are later than ``until`` are not eligible.
        since: Nor are those that are not later than ``since``; of two times, the earlier one counts.
        excluded: Nor are those whose ids are in the list ``excluded``.
    """

    until: bool = False
    since: bool = False
    excluded: bool = False

    def eligible(self, lists: Lists, *, weighted: bool, brought: tuple[str, ...] = ()) -> Eligible:
        """Return what there is to choose from."""
        bits = max(1, lists.longest.bit_length())  # of no edges at all, too, there is a column to ask for
        gaps = self.excluded or self._earlier(lists)
        mine = brought if weighted else ()
        return Eligible(narrowed=self != WHOLE, ranged=self.since, gaps=gaps, weighted=weighted, bits=bits, brought=mine)

    def steps(self, lists: Lists, eligible: Eligible) -> tuple[str, list[Step]]:
        """Return the query that joins lists to the frontier, and the steps to what is eligible."""
        asked = [n for n, there in (("until", self.until), ("since", self.since), ("excluded", self.excluded)) if there]
        earlier = self._earlier(lists)
        lists_have = [n for n, there in (("times", self.until), ("earlier", earlier)) if there]
        passed = ["cum", "width", "guide"] * eligible.weighted
        of_frontier, of_lists = [*asked, *eligible.brought], [*lists_have, *passed]
        more = [*(f"f.{name}" for name in of_frontier), *(f"a.{name}" for name in of_lists)]
        columns = ", ".join(['f."at", f.key', *more, "a.nbrs, a.eids, len(a.nbrs)::BIGINT AS deg"])
        joined = f"""
  SELECT {columns}
  FROM {lists.table} AS a JOIN frontier AS f ON a.dst = f.node"""
        passed += eligible.brought
        in_time = self._in_time(eligible.bits, passed, earlier=earlier)
        return joined, [*in_time, *self._with_gaps(passed, earlier=earlier)]

    def _earlier(self, lists: Lists) -> bool:
        """Whether edges have two times, and a window looks at the earlier one."""
        return self.since and lists.derivation.times is not None and lists.derivation.times.earlier

    def _in_time(self, bits: int, passed: list[str], *, earlier: bool) -> list[Step]:
        if not self.until:
            return []
        excluded = ["excluded"] * self.excluded
        passed = [*passed, *(["earlier"] * earlier)]
        own = ", ".join(['"at", key, nbrs, eids, times', *excluded, *passed])
        steps = _not_later("until", "upto", ", ".join([own, *(["since, until"] if self.since else ["until"])]), bits)
        if self.since:
            steps += _not_later("since", "first", f"{own}, since, upto", bits)
        kept = ", ".join(['"at", key, nbrs, eids', *excluded, *passed, *(["first"] * self.since), *(["since"] * earlier)])
        count = "upto - first" if self.since else "upto"
        return [*steps, Step("eligible", f"{kept}, {count} AS deg", f"{count} > 0")]

    def _with_gaps(self, passed: list[str], *, earlier: bool) -> list[Step]:
        """Return steps to ``gone``: positions of excluded edges, and of those one of whose two times is before the window.

        For the latter the range is walked: it is sorted by the later of the two.
        """
        if not (self.excluded or earlier):
            return []
        own = ", ".join(['"at", key, nbrs, eids, deg', *passed, *(["first"] * self.since)])
        first = "first" if self.since else "0"
        found = f"list_transform(excluded, lambda e: list_position(eids, e)::BIGINT - {first})"
        inside = f"list_filter({found}, lambda g: g BETWEEN 1 AND deg)"
        gone = f"CASE WHEN excluded IS NOT NULL THEN list_sort({inside}, 'ASC', 'NULLS LAST') END"
        if earlier:
            gone = "list_filter(range(1, deg + 1), lambda g: earlier[first + g] <= since)"
            if self.excluded:  # a list without NULL, whatever is excluded
                both = f"list_concat({gone}, coalesce({inside}, []))"
                gone = f"list_sort(list_distinct({both}), 'ASC', 'NULLS LAST')"
        lessened = own.replace(", deg", ", deg - coalesce(len(gone), 0) AS deg")
        return [
            Step("searched", f"{own},\n    {gone} AS gone"),
            Step("without", f"{lessened}, gone", "deg > coalesce(len(gone), 0)"),
        ]


#: Whole lists are eligible.
WHOLE = Narrowed()


def _not_later(bound: str, name: str, kept: str, bits: int) -> list[Step]:
    """Return steps to ``name``, how many times of a list are not later than ``bound``: a binary search, bit by bit."""
    steps, so_far = [], ""
    for bit in reversed(range(bits)):
        jump = f"CASE WHEN times[{so_far}{1 << bit}] <= {bound} THEN {1 << bit}::BIGINT ELSE 0 END"
        steps.append(Step(f"{name}{bit}", f"{kept},\n    {so_far}{jump} AS {name}"))
        so_far = f"{name} + "
    return steps


def placed(eligible: Eligible) -> list[Step]:
    """Return steps from positions among what is eligible to positions in lists."""
    if eligible.gaps:
        start = "x + first" if eligible.ranged else "x"
        passed = f"list_transform(p, lambda x: {start} + len(list_filter(gone, lambda g: g <= x)))"
        plain = "list_transform(p, lambda x: x + first)" if eligible.ranged else "p"
        # The n-th gap, less the gaps before it, is how many of the positions lie before it.
        before = f"{eligible.kept.replace('gone', 'list_transform(gone, lambda g, i: g - i + 1) AS gone')}, p"
        return [
            Step("levelled", before),
            Step("placed", f"{eligible.kept},\n    CASE WHEN gone IS NULL THEN {plain}\n    ELSE {passed} END AS p"),
        ]
    if eligible.ranged:
        return [
            Step("placed", f"{eligible.kept}, CASE WHEN first = 0 THEN p ELSE list_transform(p, lambda x: x + first) END AS p")
        ]
    return []
