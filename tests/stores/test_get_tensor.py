"""``get_tensor`` against ``x[ids]``, whatever the keys, the order of the rows, and what happened to them."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import dbgnn
from dbgnn.arrow import from_tensor
from tests.stores.conftest import Open

#: Per kind of key: the columns' types, and the key of a number. Different numbers, different keys.
KINDS: dict[str, tuple[list[str], Any]] = {
    "dense BIGINT": (["BIGINT"], lambda n: (n,)),
    "BIGINT with gaps": (["BIGINT"], lambda n: (n * 7919 % 100_003 - 50_000,)),
    "VARCHAR": (["VARCHAR"], lambda n: (f"{n * 31 % 1009}-ключ-{n}",)),
    "UUID": (["UUID"], lambda n: (str(uuid.uuid5(uuid.NAMESPACE_OID, str(n))),)),
    "composite": (["VARCHAR", "INTEGER"], lambda n: ("abc"[n % 3], -n)),
}


def make(db: dbgnn.Database, kind: str, numbers: list[int]) -> tuple[list[Any], torch.Tensor]:
    """Fill the table ``thing`` with one row per number, in their order; return keys in key order and features to match."""
    types, key = KINDS[kind]
    keys = [key(n) for n in numbers]
    x = torch.tensor([[n, n + 0.25, -n] for n in numbers], dtype=torch.float32).reshape(-1, 3)
    columns = [f"k{i}" for i in range(len(types))]
    declared = ", ".join(f"{c} {t}" for c, t in zip(columns, types, strict=True))
    db.execute("DROP PROPERTY GRAPH IF EXISTS g")
    db.execute("DROP TABLE IF EXISTS thing")
    db.execute(f"CREATE TABLE thing ({declared}, x FLOAT[3], y INTEGER)")
    arrow = (
        {c: pa.array([k[i] for k in keys]) for i, c in enumerate(columns)}
        if keys
        else {c: pa.array([], pa.string()) for c in columns}
    )
    db.connection.register(
        "rows_", pa.table({**arrow, "x": from_tensor(x), "y": from_tensor(torch.tensor(numbers, dtype=torch.int32))})
    )
    db.execute("INSERT INTO thing FROM rows_")
    db.connection.unregister("rows_")
    db.execute(f"CREATE PROPERTY GRAPH g VERTEX TABLES (thing KEY ({', '.join(columns)}))")
    return in_key_order(db, columns, x)


def in_key_order(db: dbgnn.Database, columns: list[str], x: torch.Tensor) -> tuple[list[Any], torch.Tensor]:
    rows = db.sql(f"SELECT {', '.join(columns)}, y FROM thing ORDER BY {', '.join(columns)}").fetchall()
    by_number = {int(v[0]): v for v in x}
    features = torch.stack([by_number[r[-1]] for r in rows]) if rows else torch.empty(0, 3)
    return [r[0] if len(columns) == 1 else r[:-1] for r in rows], features


@pytest.fixture(scope="module")
def shared_db(tmp_path_factory: pytest.TempPathFactory) -> dbgnn.Database:
    """One file for all examples of a property."""
    return dbgnn.connect(Path(tmp_path_factory.mktemp("get_tensor")) / "shared.duckdb", progress=False)


def key_list(keys: Any) -> list[Any]:
    return keys.tolist() if isinstance(keys, np.ndarray) else list(keys)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_get_tensor_is_x_ids(shared_db: dbgnn.Database, kind: str, data: st.DataObject) -> None:
    numbers = data.draw(st.lists(st.integers(0, 500), unique=True, max_size=20))
    keys, x = make(shared_db, kind, numbers)
    fs, _ = shared_db.get_torch_geometric_remote_backend()
    deleted = data.draw(st.lists(st.sampled_from(range(len(keys))), unique=True)) if keys else []
    if data.draw(st.booleans()) and deleted:
        fs.get_tensor("thing", "x", None)  # builds the index that the deletes make stale
        shared_db.execute("DELETE FROM thing WHERE y IN (SELECT unnest(?::INT[]))", [[int(x[i, 0]) for i in deleted]])
        fs.graph.build()
        kept = [i for i in range(len(keys)) if i not in deleted]
        keys, x = [keys[i] for i in kept], x[torch.tensor(kept, dtype=torch.long)]
    ids = data.draw(st.lists(st.integers(0, len(keys) - 1), max_size=30)) if keys else []
    index: torch.Tensor = torch.tensor(ids, dtype=torch.int64)
    assert torch.equal(fs.get_tensor("thing", "x", index), x[index])
    assert torch.equal(fs.get_tensor("thing", "x", index.numpy()), x[index])
    assert torch.equal(fs.get_tensor("thing", "x", None), x)
    cut = data.draw(st.slices(len(keys)))
    assert np.array_equal(fs.get_tensor("thing", "x", cut).numpy(), x.numpy()[cut])
    assert key_list(fs.keys("thing", index)) == [keys[i] for i in ids]
    assert fs.ids("thing", fs.keys("thing", index)).tolist() == ids


def test_no_rows_have_a_shape(scholars: tuple[Any, Any]) -> None:
    fs, _ = scholars
    indices: list[Any] = [[], torch.empty(0, dtype=torch.long), slice(2, 2), torch.zeros(4, dtype=torch.bool)]
    for index in indices:
        got = fs.get_tensor("paper", "x", index)
        assert got.shape == (0, 2)
        assert got.dtype == torch.float32


@pytest.mark.parametrize("kind", ["dense BIGINT", "VARCHAR"])
def test_more_rows_than_a_chunk_and_several_row_groups(open_db: Open, kind: str) -> None:
    db = open_db()
    rng = np.random.default_rng(0)
    _, x = make(db, kind, rng.permutation(150_000).tolist() if kind == "VARCHAR" else list(range(150_000)))
    fs, _ = db.get_torch_geometric_remote_backend()
    ids = torch.from_numpy(rng.integers(0, len(x), 60_000))
    assert torch.equal(fs.get_tensor("thing", "x", ids), x[ids])
    assert torch.equal(fs.get_tensor("thing", "x", None), x)
    assert torch.equal(fs.get_tensor("thing", "x", slice(1_000, 140_000)), x[1_000:140_000])
    assert torch.equal(fs.get_tensor("thing", "x", slice(None, None, -3)), x.flip(0)[::3])


@pytest.mark.parametrize("kind", ["dense BIGINT", "UUID"])
def test_eight_threads_at_once(open_db: Open, kind: str) -> None:
    db = open_db()
    _, x = make(db, kind, list(range(5_000)))
    fs, _ = db.get_torch_geometric_remote_backend()
    y = x[:, 0].to(torch.int32)

    def fetch(seed: int) -> bool:
        rng = np.random.default_rng(seed)
        right = True
        for _ in range(10):
            ids = torch.from_numpy(rng.integers(0, len(x), 700))
            attrs = fs.get_all_tensor_attrs()
            for attr in attrs:
                attr.index = ids
            got = dict(zip([a.attr_name for a in attrs], fs.multi_get_tensor(attrs), strict=True))
            right &= torch.equal(got["x"], x[ids]) and torch.equal(got["y"], y[ids])
        return right

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(fetch, range(8))) == [True] * 8


def test_rows_that_an_update_moved_keep_their_ids(open_db: Open) -> None:
    db = open_db()
    _, x = make(db, "BIGINT with gaps", list(range(50)))
    fs, _ = db.get_torch_geometric_remote_backend()
    fs.get_tensor("thing", "x", None)
    db.execute("UPDATE thing SET x = [0, 0, 0]::FLOAT[3] WHERE y = 7")
    fs.graph.build()
    want = torch.where(x[:, :1] == 7, 0.0, x)
    assert torch.equal(fs.get_tensor("thing", "x", None), want)


def test_features_changed_elsewhere_are_read_as_they_are(open_db: Open) -> None:
    db = open_db()
    make(db, "dense BIGINT", [0, 1, 2])
    fs, _ = db.get_torch_geometric_remote_backend()
    assert fs["thing", "y", None].tolist() == [0, 1, 2]
    db.execute("UPDATE thing SET y = 10 * y")
    assert fs["thing", "y", None].tolist() == [0, 10, 20]
    db.execute("ALTER TABLE thing ADD COLUMN z BIGINT DEFAULT 5")
    assert [a.attr_name for a in fs.get_all_tensor_attrs()] == ["x", "y", "z"]
    db.execute("ALTER TABLE thing ALTER y TYPE DOUBLE")
    assert fs["thing", "y", None].dtype == torch.float64


def test_keys_changed_elsewhere_are_stale(open_db: Open) -> None:
    db = open_db()
    make(db, "dense BIGINT", [0, 1, 2])
    fs, _ = db.get_torch_geometric_remote_backend()
    assert fs["thing", "y", [2]].tolist() == [2]
    db.execute("DELETE FROM thing WHERE y = 0")
    with pytest.raises(dbgnn.StaleIndexError, match="'thing'"):
        fs.get_tensor("thing", "y", [1])
    fs.graph.build()
    assert fs["thing", "y", None].tolist() == [1, 2]
