"""Fitting and encoding in the tests of encoders: by SQL on a real connection, in chunks that are slices with offsets."""

from __future__ import annotations

import itertools
from typing import Any

import duckdb
import pyarrow as pa
import torch

from dbgnn.encoders import Encoders, FittedEncoder
from dbgnn.sql import quote

LABEL = "movie"


def fit(con: duckdb.DuckDBPyConnection, encoder: Any, query: str = "FROM t", *, where: str | None = None) -> FittedEncoder:
    """Fit an encoder of the attribute ``a``."""
    encoders = Encoders({LABEL: {"a": encoder}})
    fit_all(con, encoders, query, where=where)
    return encoders.fitted(LABEL)["a"]


def fit_all(con: duckdb.DuckDBPyConnection, encoders: Encoders, query: str = "FROM t", *, where: str | None = None) -> None:
    types = {row[0]: row[1] for row in con.execute(f"DESCRIBE SELECT * FROM ({query}\n)").fetchall()}
    encoders.fit(lambda sql: con.sql(sql).to_arrow_table(), LABEL, query, types, where)


def encode(con: duckdb.DuckDBPyConnection, fitted: FittedEncoder, query: str = "FROM t") -> torch.Tensor:
    """Encode a query's rows as a whole, and see that it is the same in slices; the empty slice has the same type."""
    arrays = chunk(con, fitted, query)
    whole = fitted.encode(arrays)
    assert isinstance(whole, torch.Tensor)
    cuts = [0, 1, 4, 4, len(arrays[0])]
    parts = [fitted.encode([a[i:j] for a in arrays]) for i, j in itertools.pairwise(cuts)]
    joined = fitted.concat(parts)
    assert joined.dtype == whole.dtype
    assert joined.shape == whole.shape
    assert torch.equal(torch.nan_to_num(joined.double()), torch.nan_to_num(whole.double()))
    return whole


def chunk(con: duckdb.DuckDBPyConnection, fitted: FittedEncoder, query: str = "FROM t") -> list[pa.Array]:
    """Return what an encoder reads of a query, one array per column."""
    columns = ", ".join(f"q.{quote(c)}" for c in fitted.columns)
    table = con.sql(f"SELECT {columns} FROM ({query}) AS q").to_arrow_table()
    return [column.combine_chunks() for column in table.columns]
