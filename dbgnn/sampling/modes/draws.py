"""Random positions as SQL: words, numbers below a bound, and some of n without repeats. Shared by the modes.

Without repeats it is R. Floyd's algorithm (J. Bentley, "Programming pearls: a sample of brilliance", 1987): for
i = 1 … k draw one of the first ``m = n - k + i`` positions; where that is taken already, take m, which cannot be.
The cost does not grow with the degree of a hub.
"""

from __future__ import annotations

from dbgnn.sampling.modes.mode import Step
from dbgnn.sampling.random import MASK, round_sql

#: Up to this k, every draw is a column of its own: half the time of lists (88 k nodes, k = 5: 41 instead of 84 ms of CPU), but
#: parsing and binding the statement takes 9 ms for k = 5, 30 ms for k = 15.
UNROLLED = 8

#: Part of the error of a statement all of whose words for some draw were rejected.
TOO_FEW = "dbgnn: too few words"


def words_sql(count: str) -> str:
    """Return a list of ``count`` random words, `random.mix` of the key and 0, 1, and so on.

    One list per round, since a lambda evaluates its text as it stands and would repeat the rounds inside of others.
    """
    return f"""list_transform(list_transform(list_transform(range({count}),
    lambda j: xor(key, j)), lambda w: {round_sql("w")}), lambda w: {round_sql("w")})"""


def below(word: str, bound: str, words: int) -> str:
    """Return one of 1 … bound for 32 random bits, every one equally likely.

    It is ``(word * bound) >> 32``, and a word that would favour some number is rejected (D. Lemire, "Fast random integer
    generation in an interval", 2019). Then come ``mix(word ^ 1)``, ``mix(word ^ 2)`` and so on.
    """
    tries = []
    for n in range(words):
        again = word if n == 0 else round_sql(round_sql(f"xor({word}, {n})"))
        product = f"({again} * {bound})"
        low, position = f"({product} & {MASK})", f"(({product} >> 32) + 1)"
        # The first test is cheap and nearly always enough.
        tries.append(f"CASE WHEN {low} >= {bound} THEN {position} WHEN {low} >= {MASK + 1} % {bound} THEN {position} END")
    return f"coalesce({', '.join(tries)}, error('{TOO_FEW}')::BIGINT)"


def positions(bound: str, words: int) -> str:
    """Return a list of positions for the list ``w`` of words, the i-th at most ``bound``."""
    return f"list_transform(w, lambda w, i: {below('w', f'({bound})', words)})"


def or_all(k: int, chosen: str) -> str:
    """Return ``chosen`` for nodes with more than k neighbours, and every position for the others."""
    return f"CASE WHEN deg > {k} THEN {chosen} ELSE range(1, deg + 1) END"


def with_repeats(k: int, words: int, kept: str) -> list[Step]:
    """Return steps to k positions of 1 … deg, each drawn by itself."""
    return [
        Step("words", f"{kept},\n    {words_sql(str(k))} AS w"),
        Step("chosen", f"{kept},\n    {positions('deg', words)} AS p"),
    ]


def without_repeats(k: int, words: int, kept: str) -> list[Step]:
    """Return steps to k different positions of 1 … deg, or all of them."""
    # The rare statement that needs more words takes lists; the sample is the same.
    return _in_columns(k, kept) if k <= UNROLLED and words == 1 else _in_lists(k, words, kept)


def _in_lists(k: int, words: int, kept: str) -> list[Step]:
    """Return Floyd's algorithm with lists."""
    taken = f"CASE WHEN list_contains(taken, x) THEN deg - {k} + i ELSE x END"
    distinct = f"list_reduce(d, lambda taken, x, i: list_append(taken, {taken}), []::BIGINT[])"
    return [
        Step("words", f"{kept},\n    CASE WHEN deg > {k} THEN {words_sql(str(k))} END AS w"),
        Step("drawn", f"{kept},\n    CASE WHEN deg > {k} THEN {positions(f'deg - {k} + i', words)} END AS d"),
        Step("chosen", f"{kept},\n    {or_all(k, distinct)} AS p"),
    ]


def _in_columns(k: int, kept: str) -> list[Step]:
    """Return what `_in_lists` does with a column per draw, ``w<i>`` its word and ``p<i>`` its position.

    Each step is a CTE of its own, since an expression is evaluated as often as its text stands there. What comes out for nodes
    with k neighbours or fewer is not used.
    """
    draws = range(k)

    def last(i: int) -> str:
        return f"(deg - {k - 1 - i})"

    mixed = ",\n    ".join(f"{round_sql(f'w{i}')} AS w{i}" for i in draws)
    steps = [
        Step("counted", ",\n    ".join(f"xor(key, {i}) AS w{i}" for i in draws)),
        Step("mixed", mixed),
        Step("words", mixed),
        Step("drawn", ",\n    ".join(f"{below(f'w{i}', last(i), 1)} AS p{i}" for i in draws)),
    ]
    for i in draws[1:]:
        others = ", ".join(f"p{j}" for j in draws if j != i)
        taken = ", ".join(f"p{j}" for j in range(i))
        steps.append(Step(f"distinct{i + 1}", f"{others}, CASE WHEN p{i} IN ({taken}) THEN {last(i)} ELSE p{i} END AS p{i}"))
    steps.append(Step("chosen", f"{or_all(k, '[' + ', '.join(f'p{i}' for i in draws) + ']')} AS p"))
    return [Step(name, f"{kept},\n    {columns}") for name, columns, *_ in steps]


def smallest(k: int, ranked: str) -> str:
    """Return the positions of the k smallest words, in their order, of a list of ``(word << 31) | position``."""
    # min(…, k) does not sort, but takes less than a million.
    least = f"list_aggregate({ranked}, 'min', {k})" if k < 1_000_000 else f"list_sort({ranked}, 'ASC', 'NULLS LAST')[:{k}]"
    return f"list_transform({least}, lambda w: w & {2**31 - 1})"
