"""The statements of a hop, as they are sent: to be read, and so that a change of one is seen.

To write the files again, run ``python -m tests.sampling.test_statements``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from dbgnn.sampling.edges_between import edges_of_pairs_sql
from dbgnn.sampling.hop import expand_sql, induce_sql
from dbgnn.sampling.modes import MODES, Labor, Last, Uniform, Weighted
from dbgnn.sampling.narrow import Narrowed
from dbgnn.topology.derived import Derivation, Lists
from dbgnn.topology.times import TimeColumn, Times
from dbgnn.topology.weights import Weights

FOLDER = Path(__file__).parent / "statements"
ADJACENCY = '"shop"."dbgnn"."adj_1"'
HEAVY = Lists(
    '"dbgnn_lists_of_shop"."dbgnn"."lists_1"', Derivation(Times(TimeColumn("at"), None), Weights("amount")), longest=100
)

#: Lists by the time of edges, none longer than 3; and those by the later of two times, which hold the earlier one as well.
TIMED = Lists('"lists"."timed_1"', Derivation(Times(TimeColumn("at"), None)), longest=3)
OF_TWO_TIMES = Lists('"lists"."timed_2"', Derivation(Times(TimeColumn("at"), TimeColumn("born"), earlier=True)), longest=3)

#: What narrows lists: a time, a window of times, edges that are left out.
UNTIL, WINDOW, LEFT_OUT = Narrowed(until=True), Narrowed(until=True, since=True), Narrowed(excluded=True)
NARROWED = Narrowed(until=True, since=True, excluded=True)


def statements() -> Mapping[str, str]:
    """Every form of the statements, by the name of its file."""
    return {
        "all": expand_sql(Lists(ADJACENCY), -1, Uniform(), words=1),
        "uniform_of_few": expand_sql(Lists(ADJACENCY), 3, Uniform(), words=1),
        "uniform_of_many": expand_sql(Lists(ADJACENCY), 12, Uniform(), words=1),
        "uniform_of_very_many": expand_sql(Lists(ADJACENCY), 256, Uniform(), words=1),
        "uniform_with_replacement": expand_sql(Lists(ADJACENCY), 3, Uniform(replace=True), words=1),
        "uniform_with_more_words": expand_sql(Lists(ADJACENCY), 2, Uniform(), words=4),
        "labor": expand_sql(Lists(ADJACENCY), 3, Labor(), words=1),
        "labor_without_some_edges": expand_sql(Lists(ADJACENCY), 3, Labor(), LEFT_OUT, words=1),
        "weighted": expand_sql(HEAVY, 3, Weighted(), words=1),
        "weighted_of_short_lists": expand_sql(replace(HEAVY, longest=60), 3, Weighted(), words=1),
        "weighted_of_what_is_left": expand_sql(HEAVY, 3, Weighted(), words=4),
        "weighted_with_replacement": expand_sql(HEAVY, 3, Weighted(replace=True), words=1),
        "weighted_in_a_window_without_some_edges": expand_sql(HEAVY, 3, Weighted(), NARROWED, words=1),
        "all_until": expand_sql(TIMED, -1, Uniform(), UNTIL, words=1),
        "all_in_a_window": expand_sql(TIMED, -1, Uniform(), WINDOW, words=1),
        "uniform_until": expand_sql(TIMED, 2, Uniform(), UNTIL, words=1),
        "uniform_without_some_edges": expand_sql(Lists(ADJACENCY), 2, Uniform(), LEFT_OUT, words=1),
        "last_until": expand_sql(TIMED, 2, Last(), UNTIL, words=1),
        "last_in_a_window_without_some_edges": expand_sql(TIMED, 2, Last(), NARROWED, words=1),
        "edges_between": edges_of_pairs_sql(ADJACENCY),
        "induced": induce_sql(Lists(ADJACENCY)),
        "induced_until": induce_sql(TIMED),
        "induced_in_a_window": induce_sql(TIMED, window=True),
        "induced_in_a_window_of_two_times": induce_sql(OF_TWO_TIMES, window=True),
    }


@pytest.mark.parametrize("name", statements())
def test_a_statement_is_as_it_was(name: str) -> None:
    assert statements()[name] + "\n" == (FOLDER / f"{name}.sql").read_text(encoding="utf-8")


def test_every_mode_has_a_statement_to_read() -> None:
    assert set(MODES) <= {name.partition("_")[0] for name in statements()}


def test_every_file_is_one_of_a_statement() -> None:
    assert {path.stem for path in FOLDER.iterdir()} == set(statements())


if __name__ == "__main__":
    for name, text in statements().items():
        (FOLDER / f"{name}.sql").write_text(text + "\n", encoding="utf-8")
