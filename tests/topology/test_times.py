"""What is a time: units, and rows that have none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch_geometric.sampler import NodeSamplerInput

import dbgnn
from tests.topology.two_times import edges_of, two_columns

MOMENTS = ["DATE", "TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS", "TIMESTAMP WITH TIME ZONE"]
DAY = int(np.datetime64("2024-03-31", "us").astype(np.int64))


@pytest.mark.parametrize("node", MOMENTS)
@pytest.mark.parametrize("edge", MOMENTS)
def test_moments_of_every_kind_are_compared_in_one_unit(node: str, edge: str) -> None:
    db = two_columns(node, edge, rows="SET TimeZone = 'UTC'", at="'2024-03-31 00:00:00+00'")
    scale = 1000 if "TIMESTAMP_NS" in (node, edge) else 1
    assert edges_of(db, DAY * scale) == 1
    assert edges_of(db, DAY * scale - 1) == 0


@pytest.mark.parametrize("kind", "TINYINT SMALLINT INTEGER BIGINT HUGEINT UTINYINT USMALLINT UINTEGER UBIGINT UHUGEINT".split())
def test_integers_are_taken_as_they_are(kind: str) -> None:
    db = two_columns(kind, "BIGINT", at="7")
    assert [edges_of(db, until) for until in (6, 7)] == [0, 1]


@pytest.mark.parametrize("kind", ["DOUBLE", "VARCHAR", "DECIMAL(9,2)", "BOOLEAN", "TIME", "INTERVAL", "BIGINT[]"])
def test_other_types_have_no_times(kind: str) -> None:
    db = two_columns("BIGINT", "BIGINT", at="1", rows=f"ALTER TABLE item DROP ts; ALTER TABLE item ADD ts {kind}")
    with pytest.raises(dbgnn.SchemaError, match=r"Column 'ts' of table 'item' is .*; times are integers, dates or timestamps"):
        dbgnn.NeighborSampler(db.graph(), [1], time_attr="ts")


def test_integers_and_moments_are_not_compared() -> None:
    db = two_columns("BIGINT", "BIGINT", at="1", rows="ALTER TABLE next DROP ts; ALTER TABLE next ADD ts DATE")
    with pytest.raises(dbgnn.SchemaError, match="'ts' of table 'item' is an integer, and column 'ts' of table 'next' a date"):
        dbgnn.NeighborSampler(db.graph(), [1], time_attr="ts")


def test_a_name_is_found_in_any_case_and_a_missing_one_has_near_misses() -> None:
    db = two_columns("BIGINT", "BIGINT", at="1")
    assert dbgnn.NeighborSampler(db.graph(), [1], time_attr="TS").is_temporal
    with pytest.raises(dbgnn.UnknownNameError, match=r"time_attr='tss' is a column of no node or edge table.*'ts'"):
        dbgnn.NeighborSampler(db.graph(), [1], time_attr="tss")
    with pytest.raises(dbgnn.RequestError, match="time_attr must be the name of a column"):
        dbgnn.NeighborSampler(db.graph(), [1], time_attr=3)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("BIGINT", "NULL"),
        ("TIMESTAMP", "NULL"),
        ("UBIGINT", "18446744073709551615"),
        ("BIGINT", "-9223372036854775807 - 1"),
        ("DATE", "'infinity'"),
        ("DATE", "'-infinity'"),
        ("DATE", "'5000000-01-01'"),
        ("TIMESTAMP", "'infinity'"),
        ("TIMESTAMP_S", "'infinity'"),
        ("TIMESTAMP_MS", "'-infinity'"),
        ("TIMESTAMP_NS", "'infinity'"),
        ("TIMESTAMP WITH TIME ZONE", "'infinity'"),
    ],
)
@pytest.mark.parametrize("table", ["item", "next"])
def test_a_row_without_an_exact_time_is_an_error_with_its_key(kind: str, value: str, table: str) -> None:
    at = "1" if kind.endswith("INT") else "'2024-03-31'"
    db = two_columns(kind, kind, at=at, rows=f"INSERT INTO {table} VALUES {'(1, 0,' if table == 'next' else '(2,'} {value})")
    what = "NULL in" if value == "NULL" else "infinite, or beyond what 64 bits hold, in"
    keys = r"source and destination: \(1, 0\)" if table == "next" else "key: 2"
    with pytest.raises(dbgnn.DataError, match=f"Column 'ts' of table '{table}' is {what} 1 of . rows .the first by {keys}"):
        edges_of(db, 3)


def test_what_is_too_late_for_nanoseconds_is_an_error() -> None:
    db = two_columns("TIMESTAMP", "TIMESTAMP_NS", rows="UPDATE item SET ts = '2900-01-01' WHERE id = 0")
    with pytest.raises(dbgnn.DataError, match=r"beyond what 64 bits hold, in 1 of 2 rows .the first by key: 0"):
        edges_of(db, 3)


def test_the_remedy_for_null_works() -> None:
    db = two_columns("BIGINT", "BIGINT", at="1", rows="UPDATE item SET ts = NULL WHERE id = 0")
    stores = db.get_torch_geometric_remote_backend()
    with pytest.raises(dbgnn.DataError, match=r"feature_store\.fill\('item', 'ts', 0\)"):
        edges_of(db, 3)
    stores[0].fill("item", "ts", 5)
    sampler = dbgnn.NeighborSampler(stores, [-1], time_attr="ts")
    for until, found in ((4, 0), (5, 1)):
        inputs = NodeSamplerInput(None, torch.tensor([1]), torch.tensor([until]), "item")
        out: Any = sampler.sample_from_nodes(inputs)
        assert len(out.edge[("item", "next", "item")]) == found
    db.execute("UPDATE item SET ts = 0 WHERE ts IS NULL")
    db.graph().build()
    assert edges_of(db, 3) == 1


def test_changed_times_are_seen() -> None:
    db = two_columns("BIGINT", "BIGINT", at="1")
    assert edges_of(db, 1) == 1
    db.execute("UPDATE next SET ts = 2")
    with pytest.raises(dbgnn.StaleIndexError, match="'ts'"):
        edges_of(db, 1)
    db.graph().build()
    assert edges_of(db, 1) == 0
