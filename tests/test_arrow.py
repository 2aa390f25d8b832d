"""Arrow ⇄ torch: every type, slices, NULL, nesting, and what shares memory."""

from __future__ import annotations

from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dbgnn.arrow import DTYPES, from_tensor, scatter_, sql_type, to_tensor
from dbgnn.errors import DataError, SchemaError
from dbgnn.schema import Column
from dbgnn.schema.types import tensor_type


def column(sql: str) -> Column:
    return tensor_type("c", sql)


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=str)
@pytest.mark.parametrize("shape", [(0,), (5,), (5, 3), (0, 3), (4, 2, 3), (2, 2, 1, 3)], ids=str)
def test_a_tensor_comes_back_through_duckdb(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    x = torch.from_numpy(np.random.default_rng(0).integers(0, 100, shape)).to(dtype)
    table = pa.table({"c": from_tensor(x)})
    con = duckdb.connect()
    con.execute(f"CREATE TABLE t (c {sql_type(x)})")
    con.register("v", table)
    con.execute("INSERT INTO t FROM v")
    got = to_tensor(con.sql("SELECT c FROM t").to_arrow_table().column("c"), column(sql_type(x)))
    assert got.dtype == dtype
    assert torch.equal(got, x)


def test_the_last_bracket_of_the_sql_type_is_the_first_dimension() -> None:
    assert sql_type(torch.zeros(7, 2, 3)) == "FLOAT[3][2]"


def test_a_contiguous_tensor_is_not_copied_into_arrow() -> None:
    x = torch.randn(10, 4)
    leaves = from_tensor(x).values
    assert leaves.buffers()[1].address == x.data_ptr()


def test_arrow_values_are_not_copied_into_the_tensor() -> None:
    array = pa.FixedSizeListArray.from_arrays(pa.array(np.arange(12, dtype=np.float32)), 3)
    got = to_tensor(array.slice(1, 2), column("FLOAT[3]"))
    assert got.data_ptr() == array.values.buffers()[1].address + 3 * 4
    assert got.tolist() == [[3.0, 4.0, 5.0], [6.0, 7.0, 8.0]]


def test_chunks_are_joined_in_order_and_none_is_empty() -> None:
    chunks = pa.chunked_array([[1, 2], [], [3]], type=pa.int64())
    assert to_tensor(chunks, column("BIGINT")).tolist() == [1, 2, 3]
    assert to_tensor(pa.chunked_array([], type=pa.int64()), column("BIGINT")).shape == (0,)


@given(
    values=hnp.arrays(np.int32, hnp.array_shapes(min_dims=1, max_dims=4, max_side=5), elements=st.integers(-9, 9)),
    cut=st.tuples(st.integers(0, 5), st.integers(0, 5)),
)
def test_slices_of_nested_lists_keep_their_rows(values: np.ndarray[Any, Any], cut: tuple[int, int]) -> None:
    x = torch.from_numpy(values)
    array = from_tensor(x).slice(*cut)
    assert torch.equal(to_tensor(array, column(sql_type(x))), x[cut[0] : cut[0] + cut[1]])


def nested(rows: list[Any]) -> pa.Array:
    return pa.array(rows, pa.list_(pa.list_(pa.float32(), 2), 2))


def test_null_rows_lists_and_elements_are_found_behind_an_offset() -> None:
    full = [[1, 2], [3, 4]]
    array = nested([None, full, None, [full[0], None], [full[0], [3, None]], full]).slice(1)
    out = torch.zeros(9, 2, 2)
    pos = torch.tensor([8, 6, 4, 2, 0])
    assert sorted(scatter_(out, pos, array, column("FLOAT[2][2]")).tolist()) == [2, 4, 6]  # type: ignore[union-attr]
    assert out[8].tolist() == full
    assert out[0].tolist() == full


def test_a_fill_value_stands_for_null_at_every_depth() -> None:
    array = nested([None, [[1, 2], None], [[1, None], [3, 4]]])
    got = to_tensor(array, column("FLOAT[2][2]"), fill=-1)
    assert got.tolist() == [[[-1, -1], [-1, -1]], [[1, 2], [-1, -1]], [[1, -1], [3, 4]]]


@pytest.mark.parametrize("sql", ["UBIGINT", "USMALLINT", "BOOLEAN", "TINYINT", "DOUBLE"])
def test_a_fill_value_in_every_width(sql: str) -> None:
    con = duckdb.connect()
    array = con.sql(f"SELECT CASE WHEN i <> 1 THEN i::{sql} END AS c FROM range(3) AS r(i)").to_arrow_table().column(0)
    got = to_tensor(array, column(sql), fill=1)
    assert got.tolist() == torch.tensor([0, 1, 2]).to(got.dtype).tolist()


def test_null_without_a_fill_names_the_column() -> None:
    with pytest.raises(DataError, match="'c' holds NULL in 1 of 2"):
        to_tensor(pa.array([1, None]), column("BIGINT"))


def test_nan_is_a_value() -> None:
    assert to_tensor(pa.array([float("nan"), 1.0]), column("DOUBLE")).isnan().tolist() == [True, False]


@pytest.mark.parametrize(
    ("sql", "value", "want"),
    [
        ("DATE", "DATE '1970-01-03'", 2),
        ("DATE", "DATE '1969-12-31'", -1),
        ("TIMESTAMP", "TIMESTAMP '1970-01-01 00:00:01'", 1_000_000),
        ("TIMESTAMP_S", "'1970-01-01 00:00:02'::TIMESTAMP_S", 2),
        ("TIMESTAMP_MS", "'1970-01-01 00:00:02'::TIMESTAMP_MS", 2_000),
        ("TIMESTAMP_NS", "'1970-01-01 00:00:02'::TIMESTAMP_NS", 2_000_000_000),
        ("TIMESTAMP WITH TIME ZONE", "'1970-01-01 01:00:01+01'::TIMESTAMPTZ", 1_000_000),
    ],
)
def test_times_are_int64_in_their_unit(sql: str, value: str, want: int) -> None:
    array = duckdb.connect().sql(f"SELECT {value} AS c FROM range(3)").to_arrow_table().column(0)
    got = to_tensor(array, column(sql))
    assert got.dtype == torch.int64
    assert got.tolist() == [want] * 3


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.complex64], ids=str)
def test_a_dtype_without_a_column_type_is_refused(dtype: torch.dtype) -> None:
    with pytest.raises(SchemaError, match="no DuckDB column type"):
        from_tensor(torch.zeros(2, dtype=dtype))


@pytest.mark.parametrize("values", [np.zeros(2, np.complex64), np.array(["a"]), np.array([object()])])
def test_an_array_without_a_column_type_is_refused(values: np.ndarray[Any, Any]) -> None:
    with pytest.raises(SchemaError, match="no DuckDB column type"):
        from_tensor(values)


@pytest.mark.parametrize("shape", [(), (3, 0), (1, 100_001)], ids=str)
def test_a_shape_that_no_column_has_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(SchemaError):
        from_tensor(torch.zeros(shape))


def test_sparse_tensors_are_refused() -> None:
    with pytest.raises(SchemaError, match="to_dense"):
        from_tensor(torch.eye(3).to_sparse())


@pytest.mark.parametrize(
    "values",
    [
        np.arange(6, dtype=">i4").reshape(2, 3),
        np.asfortranarray(np.arange(6).reshape(2, 3)),
        np.arange(12).reshape(2, 6)[:, ::2],
        np.broadcast_to(np.arange(3), (2, 3)),
    ],
    ids=["big-endian", "Fortran", "strided", "read-only"],
)
def test_arrays_of_any_layout(values: np.ndarray[Any, Any]) -> None:
    got = to_tensor(from_tensor(values), column(sql_type(torch.from_numpy(values.astype(values.dtype.newbyteorder("="))))))
    assert got.tolist() == values.tolist()


def test_a_tensor_that_needs_gradients_or_is_transposed() -> None:
    x = torch.randn(3, 4, requires_grad=True).T
    assert torch.equal(to_tensor(from_tensor(x), column("FLOAT[3]")), x.detach())


def test_text_is_no_tensor() -> None:
    with pytest.raises(SchemaError, match="arrived as string"):
        to_tensor(pa.array(["a"]), Column("c", "BIGINT", "int64", ()))
