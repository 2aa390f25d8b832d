"""Keys as the store gives and takes them: arrays of one's own, and nothing rounded."""

from __future__ import annotations

import datetime as dt
import uuid
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch

import dbgnn
from dbgnn import RequestError

NOON = dt.datetime(2020, 1, 1, 12)  # noqa: DTZ001 - a time without a zone is what is tested


@pytest.mark.parametrize(
    "kind", ["TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "UBIGINT", "FLOAT", "DOUBLE", "BOOLEAN"]
)
def test_keys_of_numbers_are_arrays_of_ones_own(kind: str) -> None:
    with dbgnn.connect(progress=False) as db:
        db.execute(f"CREATE TABLE n AS SELECT i::{kind} AS id, i AS v FROM range(2) t(i)")
        db.execute("CREATE PROPERTY GRAPH g VERTEX TABLES (n KEY (id))")
        fs, _ = db.get_torch_geometric_remote_backend()
        dtype = db.execute("SELECT id FROM n").fetchnumpy()["id"].dtype
        for keys in (fs.keys("n"), fs.keys("n", torch.tensor([1])), fs.keys("n", [])):
            assert isinstance(keys, np.ndarray)
            assert keys.flags.writeable
            assert keys.flags.owndata
            torch.from_numpy(keys)  # warns of arrays that cannot be written to
            assert keys.dtype == dtype


@pytest.mark.parametrize(
    ("kind", "key", "given", "message"),
    [
        ("BIGINT", "2", [1.5], "not double"),
        ("BIGINT", "2", ["1.5"], "not of the key's type"),
        ("BIGINT", "1", [True], "not booleans. A mask .* as n_id="),
        ("BOOLEAN", "true", [2], "not int64"),
        ("DECIMAL(4,1)", "1.6", ["1.55"], "not of the key's type"),
        ("DECIMAL(4,1)", "1.6", [1.55], "not double"),
        ("DATE", "'2020-01-01'", ["2020-01-01 10:00:00"], "not of the key's type"),
        ("DATE", "'2020-01-01'", np.array(["2020-01-01T10:00"], dtype="datetime64[s]"), "without loss"),
        ("TIMESTAMP_S", "'2020-01-01'", np.array(["2020-01-01T00:00:00.1"], dtype="datetime64[ms]"), "without loss"),
        ("TIMESTAMP_S", "'2020-01-01'", ["2020-01-01 00:00:00.1"], "not of the key's type"),
        ("TIMESTAMP", "'2020-01-01'", ["2020-01-01 00:00:00+05:30"], "not of the key's type"),
        ("TIMESTAMPTZ", "'2020-01-01 00:00:00+00'", ["2020-01-01 00:00:00"], "not of the key's type"),
        ("TIMESTAMPTZ", "'2020-01-01 05:00:00+00'", [NOON.replace(tzinfo=dt.UTC), NOON], "not of the key's type"),
        ("TIMESTAMPTZ", "'2020-01-01 00:00:00+00'", [NOON.date()], "not of the key's type"),
        ("TIMESTAMP", "'2020-01-01 12:00:00'", [NOON, NOON.replace(tzinfo=dt.UTC)], "not of the key's type"),
        ("DATE", "'2020-01-01'", [NOON.date(), NOON], "not of the key's type"),
        ("TIME", "'12:00:00'", [dt.time(12, tzinfo=dt.UTC)], "not of the key's type"),
        ("TIMETZ", "'12:00:00+00'", [dt.time(12)], "not of the key's type"),
        ("TIMESTAMPTZ", "'2020-01-01 00:00:00+00'", np.array(["2020-01-01"], dtype="datetime64[us]"), "timezone.utc"),
        ("UUID", "uuid()", ["no uuid"], r"not of the key's type \(UUID\): Could not convert"),
        ("UUID", "uuid()", [1.5], r"not of the key's type \(UUID\): Unimplemented"),
    ],
)
def test_no_key_is_rounded_until_it_fits(kind: str, key: str, given: Any, message: str) -> None:
    with dbgnn.connect(progress=False) as db:
        db.execute(f"CREATE TABLE n (id {kind}, v BIGINT); INSERT INTO n VALUES ({key}, 0)")
        db.execute("CREATE PROPERTY GRAPH g VERTEX TABLES (n KEY (id))")
        fs, _ = db.get_torch_geometric_remote_backend()
        with pytest.raises(RequestError, match=message):
            fs.ids("n", given)


@pytest.mark.parametrize("kind", ["TINYINT", "BIGINT", "UBIGINT", "HUGEINT", "DOUBLE", "DECIMAL(4,1)", "VARCHAR", "BLOB"])
def test_a_mask_is_no_list_of_keys(kind: str) -> None:
    """True would be key 1 of numbers, and 'true' of text."""
    with dbgnn.connect(progress=False) as db:
        db.execute(f"CREATE TABLE n AS SELECT i::VARCHAR::{kind} AS id, i AS v FROM range(2) t(i)")
        db.execute("CREATE PROPERTY GRAPH g VERTEX TABLES (n KEY (id))")
        fs, _ = db.get_torch_geometric_remote_backend()
        mask = [True, False]
        forms: list[Any] = [mask, np.array(mask), torch.tensor(mask), pa.array(mask), pd.Series(mask)]
        for given in [*forms, pd.Series(mask, dtype="boolean"), pa.chunked_array([mask]), [np.bool_(True), np.bool_(False)]]:
            with pytest.raises(RequestError, match="not booleans"):
                fs.ids("n", given)
            with pytest.raises(RequestError, match="not booleans"):
                db.graph().write_back("n", keys=given, w=torch.ones(2))
        assert db.graph().write_back("n", n_id=torch.tensor(mask), w=torch.ones(1)) == 1
        assert db.sql("SELECT v FROM n WHERE w = 1").fetchall() == [(0,)]


@pytest.mark.parametrize(
    ("kind", "key", "given"),
    [
        ("TIMESTAMP", "'2020-01-01 12:00:00'", [NOON, np.datetime64(NOON), "2020-01-01 12:00:00"]),
        (
            "TIMESTAMP",
            "'2020-01-01'",
            [NOON.date(), np.datetime64("2020-01-01"), np.datetime64("2020-01-01", "ns")],
        ),
        ("TIMESTAMP_NS", "'infinity'", [np.datetime64(2**63 - 1, "ns"), "infinity"]),
        ("TIMESTAMP_NS", "'2020-01-01 12:00:00'", [NOON, np.datetime64(NOON, "ns")]),
        ("TIMESTAMPTZ", "'2020-01-01 12:00:00+00'", [NOON.replace(tzinfo=dt.UTC), "2020-01-01T17:30:00+05:30"]),
        ("DATE", "'2020-01-01'", [NOON.date(), NOON.replace(hour=0), "2020-01-01"]),
        ("TIMETZ", "'12:00:00+00'", [dt.time(12, tzinfo=dt.UTC), "12:00:00+00"]),
        ("HUGEINT", "5", [5, np.int8(5)]),
        ("UBIGINT", "18446744073709551615", [2**64 - 1, np.uint64(2**64 - 1)]),
        ("DECIMAL(4,1)", "1.5", [Decimal("1.5"), Decimal("1.50")]),
        ("UUID", "'00000000-0000-0000-0000-000000000001'", [uuid.UUID(int=1), str(uuid.UUID(int=1))]),
    ],
)
def test_keys_are_taken_in_every_form_that_says_them_exactly(kind: str, key: str, given: list[Any]) -> None:
    with dbgnn.connect(progress=False) as db:
        db.execute(f"CREATE TABLE n (id {kind}, v BIGINT); INSERT INTO n VALUES ({key}, 0)")
        db.execute("CREATE PROPERTY GRAPH g VERTEX TABLES (n KEY (id))")
        fs, _ = db.get_torch_geometric_remote_backend()
        assert fs.ids("n", given).tolist() == [0] * len(given)
