"""Keys as the store gives and takes them: arrays of one's own, and nothing rounded."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import dbgnn
from dbgnn import RequestError


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
        ("BIGINT", "1", [True], "not bool"),
        ("BOOLEAN", "true", [2], "not int64"),
        ("DECIMAL(4,1)", "1.6", ["1.55"], "not of the key's type"),
        ("DECIMAL(4,1)", "1.6", [1.55], "not double"),
        ("DATE", "'2020-01-01'", ["2020-01-01 10:00:00"], "not of the key's type"),
        ("DATE", "'2020-01-01'", np.array(["2020-01-01T10:00"], dtype="datetime64[s]"), "without loss"),
        ("TIMESTAMP_S", "'2020-01-01'", np.array(["2020-01-01T00:00:00.1"], dtype="datetime64[ms]"), "without loss"),
        ("TIMESTAMP_S", "'2020-01-01'", ["2020-01-01 00:00:00.1"], "not of the key's type"),
        ("TIMESTAMP", "'2020-01-01'", ["2020-01-01 00:00:00+05:30"], "not of the key's type"),
        ("TIMESTAMPTZ", "'2020-01-01 00:00:00+00'", ["2020-01-01 00:00:00"], "not of the key's type"),
        ("TIMESTAMPTZ", "'2020-01-01 00:00:00+00'", np.array(["2020-01-01"], dtype="datetime64[us]"), "timezone.utc"),
    ],
)
def test_no_key_is_rounded_until_it_fits(kind: str, key: str, given: Any, message: str) -> None:
    with dbgnn.connect(progress=False) as db:
        db.execute(f"CREATE TABLE n (id {kind}, v BIGINT); INSERT INTO n VALUES ({key}, 0)")
        db.execute("CREATE PROPERTY GRAPH g VERTEX TABLES (n KEY (id))")
        fs, _ = db.get_torch_geometric_remote_backend()
        with pytest.raises(RequestError, match=message):
            fs.ids("n", given)
