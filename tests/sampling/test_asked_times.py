"""Windows in every form, the times of seeds, and what has no meaning."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import pytest
import torch
from torch_geometric.sampler import NodeSamplerInput

import dbgnn
from tests.topology.two_times import edges_of, two_columns

# -- windows -----------------------------------------------------------------------------------------------


INTERVALS = "1 day,1 month,2 months 3 days 4 hours,1 year,12 months,1.5 days,90 minutes,13 months 1 microsecond".split(",")


@pytest.mark.parametrize("window", INTERVALS)
@pytest.mark.parametrize("kind", ["TIMESTAMP", "TIMESTAMP_NS"])
def test_a_window_is_duckdb_s_interval(window: str, kind: str) -> None:
    db = two_columns(kind, kind)
    sampler = dbgnn.NeighborSampler(db.graph(), [1], time_attr="ts", time_window=window)
    moments = ["2024-03-31 10:00:00.123456", "2024-02-29", "2023-03-01", "1969-12-31 23:59:59.999999", "2000-01-01"]
    scale = 1000 if kind.endswith("NS") else 1
    times = np.array(moments, dtype="datetime64[us]").astype(np.int64) * scale + scale // 2
    query = "SELECT epoch_us(CAST(? AS TIMESTAMP) - CAST(? AS INTERVAL))"
    wanted = [db.connection.execute(query, [moment, window]).fetchall()[0][0] * scale + scale // 2 for moment in moments]
    assert sampler.fanout.window is not None
    assert sampler.fanout.window.before(times).tolist() == wanted


def test_a_window_that_begins_before_all_times_is_for_ever() -> None:
    db = two_columns("BIGINT", "BIGINT", at="-9223372036854775807")
    assert [edges_of(db, until, time_window=2**63 - 1) for until in (-1, 0)] == [1, 0]
    assert edges_of(db, 5 - 2**63, time_window=6) == 1
    assert edges_of(db, 5 - 2**63, time_window=4) == 0


@pytest.mark.parametrize(
    "given", ["30 days", np.timedelta64(30, "D"), np.timedelta64(720, "h"), dt.timedelta(days=30)], ids=repr
)
def test_one_window_in_every_form(given: Any) -> None:
    for kind, scale in (("DATE", 1), ("TIMESTAMP_NS", 1000)):
        sampler = dbgnn.NeighborSampler(two_columns(kind, kind).graph(), [1], time_attr="ts", time_window=given)
        assert sampler.fanout.window is not None
        assert sampler.fanout.window.length == 30 * 86_400_000_000 * scale
        assert sampler.time_window == given


WRONG: list[tuple[str, Any, str]] = [
    ("BIGINT", 0, "longer than nothing"),
    ("BIGINT", -1, "longer than nothing"),
    ("BIGINT", "30 days", "must be an integer"),
    ("BIGINT", 1.5, "must be an integer"),
    ("BIGINT", True, "must be an integer"),
    ("DATE", 30, "must be a text"),
    ("DATE", "30", "must be a text"),
    ("DATE", "0 days", "longer than nothing"),
    ("DATE", "-3 days", "longer than nothing"),
    ("DATE", "1 month -1 day", "longer than nothing"),
    ("DATE", "a while", "is no interval"),
    ("DATE", np.timedelta64("NaT"), "no length or no unit"),
    ("DATE", np.timedelta64(5), "no length or no unit"),
    ("DATE", np.timedelta64(1500, "ns"), "not a whole number of us"),
]


@pytest.mark.parametrize(("kind", "window", "said"), WRONG, ids=str)
def test_a_window_that_is_none_is_an_error(kind: str, window: Any, said: str) -> None:
    db = two_columns(kind, kind, at="1" if kind == "BIGINT" else "'2024-03-31'")
    with pytest.raises(dbgnn.RequestError, match=f"time_window.*{said}"):
        dbgnn.NeighborSampler(db.graph(), [1], time_attr="ts", time_window=window)


def test_what_has_no_meaning_without_time_attr_is_an_error() -> None:
    graph = two_columns("BIGINT", "BIGINT", at="1").graph()
    options: list[dict[str, Any]] = [{"time_window": 3}, {"relative_time": True}, {"temporal_strategy": "last"}]
    for options_ in options:
        with pytest.raises(dbgnn.RequestError, match="time_attr"):
            dbgnn.NeighborSampler(graph, [1], **options_)
    with pytest.raises(dbgnn.RequestError, match="bidirectional"):
        dbgnn.NeighborSampler(graph, [1], "bidirectional", time_attr="ts", relative_time=True)


# -- the times of seeds ------------------------------------------------------------------------------------


def test_seeds_have_the_times_of_their_rows_unless_others_are_given() -> None:
    db = two_columns("BIGINT", "BIGINT", at="1", rows="UPDATE item SET ts = 0 WHERE id = 1")
    sampler = dbgnn.NeighborSampler(db.graph(), [-1], time_attr="ts")
    for time, seen in ((None, 0), (torch.tensor([1]), 1)):
        out: Any = sampler.sample_from_nodes(NodeSamplerInput(None, torch.tensor([1]), time, "item"))
        assert len(out.edge[("item", "next", "item")]) == seen
        assert out.metadata[1].tolist() == [seen]


def test_seeds_of_a_timeless_type_need_a_time() -> None:
    db = two_columns("BIGINT", "BIGINT", at="1", rows="ALTER TABLE item DROP ts")
    sampler = dbgnn.NeighborSampler(db.graph(), [-1], time_attr="ts")

    def seeds(time: Any) -> NodeSamplerInput:
        return NodeSamplerInput(None, torch.tensor([1, 0]), time, "item")

    with pytest.raises(dbgnn.RequestError, match=r"Seeds of type 'item' need a time.*input_time"):
        sampler.sample_from_nodes(seeds(None))
    with pytest.raises(dbgnn.RequestError, match=r"shape \[1\] for 2 seeds of type 'item'"):
        sampler.sample_from_nodes(seeds(torch.tensor([1])))
    with pytest.raises(dbgnn.RequestError, match=r"must be integers, of dtype int64, not torch\.float32"):
        sampler.sample_from_nodes(seeds(torch.tensor([1.0, 2.0])))
    timeless = dbgnn.NeighborSampler(db.graph(), [-1])
    with pytest.raises(dbgnn.RequestError, match="make it with time_attr, or leave input_time out"):
        timeless.sample_from_nodes(seeds(torch.tensor([1, 2])))


def test_numbers_beyond_64_bits_are_no_times() -> None:
    graph = two_columns("BIGINT", "BIGINT", at="1").graph()
    with pytest.raises(dbgnn.RequestError, match="input_time must hold integers of 64 bits"):
        dbgnn.NeighborLoader(graph, [1], [0, 1], input_time=[1, 2**70], time_attr="ts")


@pytest.mark.filterwarnings("ignore:There are no seeds")
def test_no_seeds_have_no_times() -> None:
    graph = two_columns("DATE", "DATE", at="'2024-03-31'").graph()
    forms: list[Any] = [[], np.empty(0, dtype="datetime64[us]"), np.empty(0, dtype=object)]
    for none in forms:
        assert not list(dbgnn.NeighborLoader(graph, [1], [], input_time=none, time_attr="ts"))
    with pytest.raises(dbgnn.RequestError, match="entry for each of 2 seeds"):
        dbgnn.NeighborLoader(graph, [1], [0, 1], input_time=[], time_attr="ts")
