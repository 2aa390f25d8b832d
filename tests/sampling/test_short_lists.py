"""Draws by weight in NumPy: bits, choices from short lists, and guides into long ones, against the oracle's."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import dbgnn
from dbgnn.sampling.modes import weighted
from dbgnn.sampling.modes.bits import BOUND, END, bits_of, numbers_below, sent
from dbgnn.sampling.modes.short_lists import SHORT, choose
from dbgnn.topology.weights import GUIDED, NEAR, accumulated
from tests.sampling import oracle

KEYS = np.random.default_rng(1).integers(0, 1 << 32, 40_000, dtype=np.uint32)


def bits(key: int, draw: int, attempt: int) -> int:
    high, low = (oracle.mix_well(key ^ (2 * draw + word)) for word in (0, 1))
    if attempt:
        high, low = oracle.mix_well(high ^ attempt), oracle.mix_well(low ^ attempt)
    return ((high & (2**30 - 1)) << 32) | low


def test_bits_that_would_favour_some_are_drawn_again() -> None:
    bound = END // 32769 + 1  # so that nearly as many bits are rejected as it is large
    found = numbers_below(np.full(len(KEYS), bound, dtype=np.uint64), KEYS, range(3, 13))
    again = 0
    for draw in range(3, 13):
        first = bits_of(KEYS, np.array([draw], dtype=np.uint32))
        for at in [0, 1, 2, *np.flatnonzero(first > END - BOUND).tolist()]:
            tries = (bits(int(KEYS[at]), draw, attempt) for attempt in range(9))
            passed = [number for number in tries if number < END - END % bound]
            again += int(first[at]) != passed[0]
            assert found[draw - 3, at] == passed[0] % bound
    assert again > 2


@pytest.mark.parametrize("count", [2, 3, 4, 10, 16, 64])
def test_draws_of_one_node_do_not_depend_on_each_other(count: int) -> None:
    """Pairs from lists of equal weights, kept as totals of 46 bits; lengths that are powers of two show single bits."""
    keys, shift = np.random.default_rng(2).integers(0, 1 << 32, 400_000, dtype=np.uint32), 46 - count.bit_length()
    numbers = numbers_below(np.full(len(keys), count << shift, dtype=np.uint64), keys, range(8))
    chosen = (numbers >> np.uint64(shift)).astype(np.int64)
    expected, freedom = len(keys) / count**2, count**2 - 1
    for i, j in itertools.combinations(range(8), 2):
        seen = np.bincount(chosen[i] * count + chosen[j], minlength=count**2)
        chi_square = ((seen - expected) ** 2 / expected).sum()
        assert (chi_square - freedom) / np.sqrt(2 * freedom) < 5, (i, j)


def test_what_is_sent_is_what_is_drawn_and_more_where_it_may_be_rejected() -> None:
    first, spare = sent(KEYS, 5, 3)
    values = first.values.to_numpy().reshape(-1, 5)
    doubtful = (values > END - BOUND).any(axis=1)
    assert values[:2].tolist() == [[bits(int(key), draw, 0) for draw in range(5)] for key in KEYS[:2]]
    assert np.array_equal(spare.is_valid().to_numpy(zero_copy_only=False), doubtful)
    assert doubtful.any()
    assert not doubtful.all()
    at = int(np.flatnonzero(doubtful)[0])
    assert spare[at].as_py() == [bits(int(KEYS[at]), draw, attempt) for draw in range(5) for attempt in (1, 2, 3)]
    assert [len(column) for column in sent(KEYS[:0], 5, 1)] == [0, 0]


@pytest.mark.parametrize("k", [1, 2, 5, 30])
@pytest.mark.parametrize("replace", [False, True])
def test_the_choice_is_the_oracle_s(k: int, *, replace: bool) -> None:
    """Of lists of every length, gentle and steep ones."""
    rng = np.random.default_rng(k)
    lengths = np.concatenate([np.arange(1 if replace else k + 1, SHORT + 1), rng.integers(k + 1, SHORT + 1, 100)])
    lists = [oracle.whole(np.exp(rng.normal(0, 0.1 + at % 4 * 3, length)).tolist()) for at, length in enumerate(lengths)]
    totals = np.concatenate([np.cumsum(weights) for weights in lists])
    starts = np.cumsum(lengths) - lengths
    tries = [] if replace else [weighted.first_tries(k), weighted.tries(k)]
    found = choose(KEYS[: len(lists)], starts, lengths, totals, k, tries)
    wanted = [oracle.heavy(weights, k, int(key), replace=replace) for weights, key in zip(lists, KEYS, strict=False)]
    assert found.tolist() == wanted


def test_a_guide_leads_near_every_number() -> None:
    rng = np.random.default_rng(2)
    weights: list[list[float]] = [
        [1.0] * (GUIDED + 1),
        [1.0] * 1000,
        rng.random(5000).tolist(),
        np.exp(rng.normal(0, 1.0, 3000)).tolist(),
        [1e9, *[1.0] * 200],
        [1.0, 2.0],
        [*[1e-9] * 50, *[1.0] * 50],
        np.exp(rng.normal(0, 4.0, 2000)).tolist(),
    ]
    offsets = pa.array(np.cumsum([0, *map(len, weights)]))
    lists = accumulated(pa.table({"weights": pa.LargeListArray.from_arrays(offsets, pa.array(np.concatenate(weights)))}))
    guided = lists["guide"].is_valid().to_pylist()
    assert guided == lists["width"].is_valid().to_pylist()
    assert guided == [True, True, True, True, False, False, False, False]
    for cum, width, guide in zip(*(lists[name].to_pylist() for name in ("cum", "width", "guide")), strict=True):
        if guide is None:
            continue
        numbers = np.concatenate([rng.integers(0, cum[-1], 2000), cum[:-1], np.array(cum) - 1, [0]])
        position, part = np.searchsorted(cum, numbers, side="right"), numbers // width
        assert ((position >= np.array(guide)[part]) & (position < np.array(guide)[part] + NEAR)).all()


@pytest.mark.parametrize("replace", [False, True])
def test_how_many_draws_a_statement_makes_does_not_show(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, replace: bool
) -> None:
    """Lists of every length around where the guide and the statement's own draws begin."""
    with dbgnn.connect(tmp_path / "g.duckdb") as db:
        db.execute("CREATE TABLE a AS SELECT range AS id FROM range(300)")
        db.execute("CREATE TABLE b AS SELECT range AS id FROM range(300)")
        db.execute("CREATE TABLE e AS SELECT s, d, (s * 7 + d) % 90 + 1 AS w FROM range(300) t(s), range(300) u(d) WHERE s < d")
        db.execute("UPDATE e SET w = 1000000 WHERE s % 100 = 0 AND d % 2 = 0")
        db.execute(
            """CREATE PROPERTY GRAPH g VERTEX TABLES (a KEY (id), b KEY (id))
            EDGE TABLES (e SOURCE KEY (s) REFERENCES a (id) DESTINATION KEY (d) REFERENCES b (id))"""
        )

        def sample() -> list[int]:
            loader = dbgnn.NeighborLoader(db.graph(), [6], ("b", None), weight_attr="w", batch_size=300, replace=replace)
            return next(iter(loader))["a", "e", "b"].e_id.tolist()  # type: ignore[no-any-return]

        few = sample()
        monkeypatch.setattr(weighted, "_MANY", 0)
        assert sample() == few
        monkeypatch.setattr(weighted, "few_tries", lambda k, nodes: k + nodes * 0)
        assert sample() == few
        monkeypatch.setattr(weighted, "SHORT", 16)
        assert sample() == few
