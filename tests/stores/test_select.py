"""The SQL that reads rows, as text, and that it reads them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import dbgnn
from dbgnn.schema import TableName, VertexTable
from dbgnn.schema.types import tensor_type
from dbgnn.stores.select import passes_for, select_ids, select_keys, select_rows, select_where
from dbgnn.stores.source import Source
from dbgnn.topology import VertexIndex

PAPER = VertexTable(TableName("paper"), "paper", ("id",))
COLUMNS = {
    c.name: c for c in (tensor_type("x", "FLOAT[4]"), tensor_type("kind", "ENUM('a', 'b')"), tensor_type("id", "BIGINT"))
}
IDENTITY = Source("paper", PAPER, COLUMNS, ("x", "kind"), VertexIndex(PAPER, 10, None, dense=True, keys=""))
MAPPED = replace(IDENTITY, index=VertexIndex(PAPER, 10, 'dbgnn."map_1"', dense=False, keys=""))
X, KIND = COLUMNS["x"], COLUMNS["kind"]


def flat(sql: str) -> str:
    return " ".join(sql.split())


def test_rows_of_a_request() -> None:
    assert select_rows(IDENTITY, [X, KIND], None) == (
        'SELECT r.pos, t."x", enum_code(t."kind")::BIGINT FROM "main"."paper" AS t JOIN dbgnn_request AS r ON t.rowid = r.id'
    )
    assert select_rows(MAPPED, [X], None) == (
        'SELECT r.pos, t."x" FROM dbgnn_request AS r JOIN dbgnn."map_1" AS m ON m.id = r.id '
        'JOIN "main"."paper" AS t ON t.rowid = m.rid'
    )


def test_rows_of_a_request_in_two_passes() -> None:
    assert select_rows(IDENTITY, [X], None, passes=2) == (
        'SELECT r.pos, t."x" FROM "main"."paper" AS t JOIN (FROM dbgnn_request WHERE pos % 2 = 0) AS r ON t.rowid = r.id '
        'UNION ALL SELECT r.pos, t."x" FROM "main"."paper" AS t '
        "JOIN (FROM dbgnn_request WHERE pos % 2 = 1) AS r ON t.rowid = r.id"
    )


def test_rows_of_a_range() -> None:
    assert select_rows(IDENTITY, [X], range(10)) == 'SELECT t.rowid AS pos, t."x" FROM "main"."paper" AS t'
    assert select_rows(IDENTITY, [X], range(2, 5)) == (
        'SELECT t.rowid - 2 AS pos, t."x" FROM "main"."paper" AS t WHERE t.rowid BETWEEN 2 AND 4'
    )
    assert select_rows(MAPPED, [X], range(5)) == (
        'SELECT m.id AS pos, t."x" FROM "main"."paper" AS t '
        'JOIN dbgnn."map_1" AS m ON m.rid = t.rowid WHERE m.id BETWEEN 0 AND 4'
    )


def test_keys_and_ids() -> None:
    assert select_keys(IDENTITY, ["id"], ["BIGINT"]) == (
        'SELECT t."id" FROM dbgnn_request AS r JOIN "main"."paper" AS t ON t.rowid = r.id ORDER BY r.pos ASC'
    )
    assert flat(select_ids(MAPPED, ["BIGINT"])) == (
        'SELECT r.pos, m.id FROM dbgnn_request AS r LEFT JOIN ("main"."paper" AS t JOIN dbgnn."map_1" AS m ON m.rid = t.rowid) '
        'ON t."id" = r.k0::BIGINT ORDER BY r.pos ASC'
    )
    assert select_where(IDENTITY, "(year > 1)") == (
        'SELECT rid AS id FROM (SELECT rowid AS rid FROM "main"."paper" WHERE (year > 1)) ORDER BY id ASC'
    )


@pytest.mark.parametrize(("requested", "passes"), [(60_000, 1), (75_000, 2), (100_000, 2), (150_000, 1), (2_000_000, 1)])
def test_when_two_passes_pay(requested: int, passes: int) -> None:
    assert passes_for(2_000_000, [tensor_type("x", "FLOAT[128]")], requested) == passes
    assert passes_for(2_000_000, [tensor_type("x", "FLOAT[16]"), tensor_type("y", "BIGINT")], requested) == 1


def test_two_passes_give_the_same_rows(db: dbgnn.Database) -> None:
    fs, _ = db.get_torch_geometric_remote_backend()
    x = torch.randn(9_000, 64)
    fs["p", "x", None] = x
    ids = torch.from_numpy(np.random.default_rng(0).integers(0, len(x), 201))  # odd, with duplicates
    assert passes_for(len(x), [tensor_type("x", "FLOAT[64]")], len(ids)) == 2
    assert torch.equal(fs["p", "x", ids], x[ids])
