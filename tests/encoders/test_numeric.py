"""`Identity`, `Stack`, `Normalize`: against NumPy, with NULL, NaN, constants and large integers."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from dbgnn import DataError, SchemaError, UnknownNameError
from dbgnn.encoders import Apply, Encoder, FittedEncoder, Identity, Normalize, OneHot, Ordinal, Stack
from dbgnn.encoders.nulls import NullValueError
from tests.encoders.encoding import chunk, encode, fit

FINITE = st.floats(-1e9, 1e9)


@pytest.fixture
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as con:
        con.execute(
            """CREATE TABLE t AS SELECT i, i::SMALLINT AS small, i / 3 AS f, (i / 3)::FLOAT AS f32, i % 2 = 0 AS b,
               DATE '1970-01-01' + i::INT AS d, [i, -i, 7]::FLOAT[3] AS x, (i * 1.25)::DECIMAL(10, 2) AS price,
               CASE WHEN i = 4 THEN NULL ELSE i END AS gap, i::UBIGINT AS u, 'a' || (i % 3) AS word, i::HUGEINT AS huge,
               CASE WHEN i = 2 THEN NULL WHEN i = 5 THEN [1, NULL]::DOUBLE[2] ELSE [i, 2 * i]::DOUBLE[2] END AS xg,
               [[i, 1], [2, i]]::FLOAT[2][2] AS square, [i] AS ragged FROM range(10) AS r(i)"""
        )
        yield con


@pytest.mark.parametrize(
    ("column", "dtype", "expected"),
    [
        ("i", torch.int64, list(range(10))),
        ("small", torch.int16, list(range(10))),
        ("f", torch.float64, [i / 3 for i in range(10)]),
        ("b", torch.bool, [i % 2 == 0 for i in range(10)]),
        ("d", torch.int64, list(range(10))),
        ("u", torch.uint64, list(range(10))),
        ("x", torch.float32, [[i, -i, 7] for i in range(10)]),
        ("square", torch.float32, [[[i, 1], [2, i]] for i in range(10)]),
    ],
)
def test_identity_keeps_values_and_dtype(
    con: duckdb.DuckDBPyConnection, column: str, dtype: torch.dtype, expected: Any
) -> None:
    assert torch.equal(encode(con, fit(con, Identity(column))), torch.tensor(expected, dtype=dtype))


@pytest.mark.parametrize("column", ["word", "ragged"])
def test_identity_of_what_is_no_number_is_an_error(con: duckdb.DuckDBPyConnection, column: str) -> None:
    fitted = fit(con, Identity(column))
    with pytest.raises(SchemaError, match=f"Column '{column}' arrives as .*, which is no number"):
        fitted.encode(chunk(con, fitted))


@pytest.mark.parametrize("column", ["price", "huge"])
def test_identity_and_stack_take_decimals_and_huge_integers(con: duckdb.DuckDBPyConnection, column: str) -> None:
    wanted = [float(v) for (v,) in con.execute(f"SELECT {column} FROM t ORDER BY i").fetchall()]
    out = encode(con, fit(con, Identity(column)))
    assert (out.dtype, out.tolist()) == (torch.float64, wanted)
    stacked = encode(con, fit(con, Stack(column, "i", dtype="float64")))
    assert stacked[:, 0].tolist() == wanted


@pytest.mark.parametrize(
    ("value", "ok"), [(2**53, True), (2**53 + 1, False), (-(2**53) - 1, False), (2**100, True), (10**30, False)]
)
def test_whole_numbers_that_float64_does_not_hold_are_an_error(con: duckdb.DuckDBPyConnection, value: int, ok: bool) -> None:
    for kind in ("HUGEINT", "DECIMAL(38, 0)"):
        query = f"SELECT {value}::{kind} AS v UNION ALL SELECT 1 UNION ALL SELECT NULL"
        fitted = fit(con, Identity("v", null="fill", fill=0), query)
        if ok:
            assert sorted(encode(con, fitted, query).tolist())[2 if value > 0 else 0] == value
        else:
            with pytest.raises(DataError, match=rf"Column 'v' holds {value}, which float64 cannot hold.*Normalize\('v'\)"):
                encode(con, fitted, query)


def test_the_default_column_is_the_attribute_s(con: duckdb.DuckDBPyConnection) -> None:
    assert fit(con, Identity(), "SELECT i AS a FROM t").columns == ("a",)


def test_null_policies_of_scalars(con: duckdb.DuckDBPyConnection) -> None:
    error = fit(con, Identity("gap"))
    with pytest.raises(NullValueError) as caught:
        error.encode(chunk(con, error))
    assert (caught.value.column, caught.value.row) == ("gap", 4)
    filled = encode(con, fit(con, Identity("gap", null="fill", fill=-1)))
    assert filled.tolist() == [0, 1, 2, 3, -1, 5, 6, 7, 8, 9]
    assert filled.dtype == torch.int64
    masked = encode(con, fit(con, Identity("gap", null="mask")))
    assert masked.tolist() == [[0 if i == 4 else i, int(i == 4)] for i in range(10)]
    assert encode(con, fit(con, Identity("i", null="mask"))).tolist() == [[i, 0] for i in range(10)]


def test_null_policies_of_arrays(con: duckdb.DuckDBPyConnection) -> None:
    error = fit(con, Identity("xg"))
    with pytest.raises(NullValueError) as caught:
        error.encode([a[3:] for a in chunk(con, error)])
    assert caught.value.row == 2  # row 5 of the table
    filled = encode(con, fit(con, Identity("xg", null="fill", fill=0.5)))
    assert filled.tolist() == [[0.5, 0.5] if i == 2 else [1, 0.5] if i == 5 else [i, 2 * i] for i in range(10)]
    masked = encode(con, fit(con, Identity("xg", null="mask")))
    assert masked.tolist() == [[0, 0, 1] if i in {2, 5} else [i, 2 * i, 0] for i in range(10)]


@pytest.mark.parametrize(
    ("encoder", "message"),
    [
        (lambda: Identity("i", null="drop"), "null='drop' is none of 'error', 'fill', 'mask'"),
        (lambda: Identity("i", null="fill"), "null='fill' needs it"),
        (lambda: Identity("i", fill=0), "fill=0 goes with null='fill'"),
        (lambda: Normalize(how="z"), "how='z' is none of 'standard', 'minmax', 'robust'"),
        (Stack, "Stack needs columns"),
        (lambda: Stack("i", Normalize()), r"Normalize\(\) names no column"),
        (lambda: Stack(Apply(len)), r"Apply\(called='len'\) in a Stack names no column"),
        (lambda: Stack("i", 3), "not 3"),  # type: ignore[arg-type] # what is tested
        (lambda: Stack("i", dtype="float16"), "dtype='float16' is none of"),
    ],
)
def test_wrong_declarations_are_errors(encoder: Any, message: str) -> None:
    with pytest.raises(SchemaError, match=message):
        encoder()


def test_a_fill_that_does_not_fit_is_an_error(con: duckdb.DuckDBPyConnection) -> None:
    fitted = fit(con, Identity("gap", null="fill", fill="many"))
    with pytest.raises(SchemaError, match="fill='many' cannot stand for NULL in a column that arrives as int64"):
        fitted.encode(chunk(con, fitted))


def test_stack_puts_columns_side_by_side(con: duckdb.DuckDBPyConnection) -> None:
    out = encode(con, fit(con, Stack("i", "x", "b", Normalize("i", how="minmax"), OneHot("word"), Ordinal("word"))))
    words = np.eye(3)[np.arange(10) % 3]
    i = np.arange(10)
    expected = np.column_stack([i, i, -i, np.full(10, 7), i % 2 == 0, i / 9, words, i % 3])
    assert out.dtype == torch.float32
    assert np.array_equal(out.numpy(), expected.astype(np.float32))


def test_stack_reads_a_column_once_and_hands_its_policy_to_names(con: duckdb.DuckDBPyConnection) -> None:
    fitted = fit(con, Stack("gap", Normalize("gap", null="mask"), "i", null="fill", fill=-5))
    assert fitted.columns == ("gap", "i")
    assert encode(con, fitted)[4].tolist() == [-5, 0, 1, 4]


@pytest.mark.parametrize(
    ("value", "ok32", "ok64"), [(2**24, 1, 1), (2**24 + 1, 0, 1), (2**25 + 2, 0, 1), (-(2**30), 1, 1), (2**53 + 1, 0, 0)]
)
def test_stack_holds_whole_numbers_exactly_or_refuses(con: duckdb.DuckDBPyConnection, value: int, ok32: int, ok64: int) -> None:
    # 2**25 + 2 = 2 * (2**24 + 1) has 25 significant bits
    query = f"SELECT i + {value} - 3 AS n FROM t WHERE i = 3"
    for dtype, ok in (("float32", ok32), ("float64", ok64)):
        fitted = fit(con, Stack("n", dtype=dtype), query)
        if ok:
            assert int(fitted.encode(chunk(con, fitted, query)).item()) == value
        else:
            with pytest.raises(DataError, match=rf"Column 'n' holds {value}, which {dtype} cannot hold\. .*Normalize\('n'\)"):
                fitted.encode(chunk(con, fitted, query))


@settings(max_examples=40)
@given(st.lists(st.integers(-(2**63), 2**64 - 1), min_size=1, max_size=20))
def test_exactness_is_that_of_python_s_floats(values: list[int]) -> None:
    dtype: Any = pa.uint64() if min(values) >= 0 else pa.int64()
    values = [v for v in values if dtype == pa.uint64() or v < 2**63]
    fitted = FittedEncoder(Stack("n", dtype="float64"), {"parts": [{}]}, 1)
    held = all(int(float(v)) == v for v in values)
    try:
        out = fitted.encode([pa.array(values, dtype)])
    except DataError:
        assert not held
    else:
        assert held
        assert [int(v) for v in out[:, 0].tolist()] == values


def test_a_float_too_large_for_float32_is_an_error(con: duckdb.DuckDBPyConnection) -> None:
    query = "SELECT 1e300 AS n UNION ALL SELECT 'inf'::DOUBLE"
    fitted = fit(con, Stack("n"), query)
    with pytest.raises(DataError, match=r"Column 'n' holds 1e\+300, which float32"):
        fitted.encode(chunk(con, fitted, query))


@pytest.mark.parametrize("how", ["standard", "minmax", "robust"])
@settings(max_examples=15)
@given(values=st.lists(st.none() | FINITE, min_size=1, max_size=30))
def test_normalize_is_numpy_s(how: str, values: list[float | None]) -> None:
    with duckdb.connect() as con:
        con.execute("CREATE TABLE t AS SELECT unnest(?::DOUBLE[]) AS v", [values])
        there = np.array([v for v in values if v is not None])
        if not len(there):
            with pytest.raises(DataError, match="has no value but NULL in the rows to fit on"):
                fit(con, Normalize("v", how=how))
            return
        low, middle, high = np.quantile(there, [0.25, 0.5, 0.75])
        # Quartiles next to each other take what is far from them beyond float32, which is an error of its own.
        assume(how != "robust" or high == low or np.abs(there - middle).max() < 1e38 * (high - low))
        fitted = fit(con, Normalize("v", how=how, null="mask"))
        out = fitted.encode(chunk(con, fitted)).numpy()
    shift = {"standard": there.mean(), "minmax": there.min(), "robust": middle}[how]
    scale = {"standard": there.std(), "minmax": np.ptp(there), "robust": high - low}[how]
    state = fitted.state
    if np.ptp(there) == 0:
        assert state == {"shift": there[0], "scale": 1.0}
    else:
        assert math.isclose(state["shift"], shift, rel_tol=1e-9, abs_tol=1e-6)
        assert math.isclose(state["scale"], scale or 1.0, rel_tol=1e-6, abs_tol=1e-6) or scale < 1e-6
    missing = np.array([v is None for v in values])
    given_ = np.array([0.0 if v is None else v for v in values])
    expected = np.where(missing, 0, (given_ - state["shift"]) / state["scale"]).astype(np.float32)
    assert np.array_equal(out, np.column_stack([expected, missing]))


def test_normalize_of_arrays_is_element_by_element(con: duckdb.DuckDBPyConnection) -> None:
    x = np.array([[i, -i, 7] for i in range(10)], dtype=np.float64)
    for how in ("standard", "minmax", "robust"):
        out = encode(con, fit(con, Normalize("x", how=how))).numpy()
        assert out.shape == (10, 3)
        assert np.array_equal(out[:, 2], np.zeros(10))
        assert np.allclose(out[:, 0], encode(con, fit(con, Normalize("i", how=how))).numpy())
    assert np.allclose(encode(con, fit(con, Normalize("x"))).numpy()[:, 1], (x[:, 1] - x[:, 1].mean()) / x[:, 1].std())


def test_normalize_of_long_arrays_takes_several_statements(con: duckdb.DuckDBPyConnection) -> None:
    con.execute(
        "CREATE TABLE long AS SELECT list_transform(range(300), lambda k: k * i)::FLOAT[300] AS x FROM range(5) AS r(i)"
    )
    x = np.arange(5)[:, None] * np.arange(300)
    out = encode(con, fit(con, Normalize("x", how="minmax"), "FROM long"), "FROM long").numpy()
    assert np.allclose(out, x / np.maximum(x.max(axis=0), 1))


def test_null_elements_of_arrays_take_no_part(con: duckdb.DuckDBPyConnection) -> None:
    fitted = fit(con, Normalize("xg", how="minmax", null="mask"))
    assert fitted.state == {"shift": [0, 0], "scale": [9, 18]}
    assert encode(con, fitted)[5].tolist() == [0, 0, 1]


def test_normalize_takes_decimals_huge_integers_and_truth_values(con: duckdb.DuckDBPyConnection) -> None:
    for column in ("price", "huge", "i", "small", "u"):
        out = encode(con, fit(con, Normalize(column, how="minmax")))
        assert out.tolist() == pytest.approx([i / 9 for i in range(10)])
    assert encode(con, fit(con, Normalize("b", how="minmax"))).tolist() == [1, 0] * 5


def test_null_among_decimals(con: duckdb.DuckDBPyConnection) -> None:
    query = "SELECT CASE WHEN i = 3 THEN NULL ELSE price END AS v FROM t"
    assert encode(con, fit(con, Normalize("v", how="minmax", null="mask"), query), query)[3].tolist() == [0, 1]
    for fill in (11.25, 9, "4.50"):
        filled = encode(con, fit(con, Normalize("v", how="minmax", null="fill", fill=fill), query), query)
        assert filled[3].item() == pytest.approx(float(fill) / 11.25)
    fitted = fit(con, Normalize("v", null="fill", fill="much"), query)
    with pytest.raises(SchemaError, match="fill='much' cannot stand for NULL"):
        fitted.encode(chunk(con, fitted, query))


def test_a_constant_becomes_zero_even_where_rounding_gives_a_deviation(con: duckdb.DuckDBPyConnection) -> None:
    query = "SELECT 0.1::DOUBLE AS v FROM range(1000)"
    assert encode(con, fit(con, Normalize("v"), query), query).abs().max() == 0


def test_normalize_fits_on_the_rows_of_a_condition(con: duckdb.DuckDBPyConnection) -> None:
    fitted = fit(con, Normalize("i", how="minmax"), where="(i < 5)")
    assert fitted.state == {"shift": 0.0, "scale": 4.0}
    assert (fitted.num_rows, fitted.where) == (5, "(i < 5)")
    assert encode(con, fitted)[9] == 9 / 4


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_nan_and_infinity_are_errors_in_fitting_and_values_in_encoding(con: duckdb.DuckDBPyConnection, value: str) -> None:
    query = f"SELECT i::DOUBLE AS v FROM t UNION ALL SELECT '{value}'::DOUBLE"
    with pytest.raises(DataError, match="Column 'v' of 'movie' holds NaN, infinity or numbers too large in the rows to fit on"):
        fit(con, Normalize("v"), query)
    out = encode(con, fit(con, Normalize("v"), query, where="(isfinite(v))"), query)
    assert not math.isfinite(out[10])
    assert torch.isfinite(out[:10]).all()


@pytest.mark.parametrize(
    ("column", "remedy"), [("word", "text"), ("d", "use Datetime"), ("ragged", "cast to"), ("square", "OneHot")]
)
def test_normalize_refuses_what_is_no_number(con: duckdb.DuckDBPyConnection, column: str, remedy: str) -> None:
    with pytest.raises(SchemaError, match=f"Column '{column}' has type .*{remedy}"):
        fit(con, Normalize(column))


def test_values_of_another_shape_than_fitted_are_an_error(con: duckdb.DuckDBPyConnection) -> None:
    fitted = fit(con, Normalize("x"))
    with pytest.raises(SchemaError, match=r"Column 'x' has values of shape \[\]; the encoder was fitted on \[3\]"):
        fitted.encode([pa.array([1.0])])


@pytest.mark.parametrize("encoder", [Identity("yaer"), Stack("i", Normalize("yaer")), Normalize("yaer")])
def test_unknown_columns_are_errors_with_near_misses(con: duckdb.DuckDBPyConnection, encoder: Encoder) -> None:
    with pytest.raises(UnknownNameError, match=r"no column 'yaer' for the encoders of 'movie'; did you mean 'year'\?"):
        fit(con, encoder, "SELECT i, 1 AS year FROM t")


def test_columns_of_any_name(con: duckdb.DuckDBPyConnection) -> None:
    name = "a\"b'); DROP TABLE t; --"
    query = 'SELECT i AS "a""b\'); DROP TABLE t; --" FROM t'
    for encoder in (Normalize(name), OneHot(name), Stack(name)):
        assert len(encode(con, fit(con, encoder, query), query)) == 10


@pytest.mark.parametrize("how", ["standard", "minmax", "robust"])
def test_a_query_without_rows_is_left_as_it_is(con: duckdb.DuckDBPyConnection, how: str) -> None:
    query = "SELECT 1.5::DOUBLE AS v, [1, 2]::FLOAT[2] AS x WHERE false"
    assert fit(con, Normalize("v", how=how), query).state == {"shift": 0.0, "scale": 1.0}
    assert encode(con, fit(con, Stack("v", Normalize("x", how=how)), query), query).shape == (0, 3)
    with pytest.raises(DataError, match=r"'v' of 'movie' has no value but NULL in the rows to fit on: no row meets \(v > 9\)"):
        fit(con, Normalize("v", how=how), "SELECT 1.5::DOUBLE AS v", where="(v > 9)")
