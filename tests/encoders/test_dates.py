"""`Datetime`: against Python's datetime, for every type of date and time."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterator

import duckdb
import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dbgnn import DataError, SchemaError
from dbgnn.encoders import Datetime, FittedEncoder
from tests.encoders.encoding import chunk, encode, fit

PARTS = ("year", "epoch", "month", "day", "dayofyear", "dayofweek", "hour", "minute", "second")


@pytest.fixture
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as con:
        con.execute("SET TimeZone = 'Asia/Tokyo'")
        con.execute(
            """CREATE TABLE t AS SELECT i, TIMESTAMP '1969-12-31 22:30:15' + INTERVAL (i * 1000) HOUR AS ts, ts::DATE AS day,
               ts::TIMESTAMP_S AS s, ts::TIMESTAMP_MS AS ms, ts::TIMESTAMP_NS AS ns, ts AT TIME ZONE 'UTC' AS tz,
               CASE WHEN i = 2 THEN NULL ELSE ts END AS gap FROM range(8) AS r(i)"""
        )
        yield con


def numbers(t: dt.datetime) -> list[float]:
    seconds = (t - dt.datetime(1970, 1, 1)) / dt.timedelta(seconds=1)  # noqa: DTZ001 - UTC without saying so, as in Arrow
    return [t.year, seconds, t.month, t.day, t.timetuple().tm_yday, t.weekday(), t.hour, t.minute, t.second]


@pytest.mark.parametrize("column", ["ts", "s", "ms", "ns", "tz", "day"])
def test_parts_are_python_s(con: duckdb.DuckDBPyConnection, column: str) -> None:
    times = [row[0] for row in con.execute(f"SELECT {'ts' if column != 'day' else 'day::TIMESTAMP'} FROM t").fetchall()]
    out = encode(con, fit(con, Datetime(column, parts=PARTS, cyclic=False, scale=False)))
    assert out.dtype == torch.float64
    assert out.tolist() == [numbers(t) for t in times]


@settings(max_examples=50)
@given(st.lists(st.datetimes(dt.datetime(1700, 1, 1), dt.datetime(2200, 1, 1)), max_size=10))  # noqa: DTZ001 - as above
def test_parts_of_any_time_are_python_s(times: list[dt.datetime]) -> None:
    fitted = FittedEncoder(Datetime("v", parts=PARTS[2:], cyclic=False), {}, 0)
    out = fitted.encode([pa.array(times, pa.timestamp("us"))])
    assert out.dtype == torch.float32
    assert out.tolist() == [numbers(t)[2:] for t in times]


def test_cyclic_parts_are_angles(con: duckdb.DuckDBPyConnection) -> None:
    plain = encode(con, fit(con, Datetime("ts", parts=PARTS[2:], cyclic=False))).numpy()
    out = encode(con, fit(con, Datetime("ts", parts=PARTS[2:]))).numpy()
    for k, (first, cycle) in enumerate([(1, 12), (1, 31), (1, 366), (0, 7), (0, 24), (0, 60), (0, 60)]):
        angle = 2 * math.pi * (plain[:, k] - first) / cycle
        assert np.allclose(out[:, 2 * k : 2 * k + 2], np.column_stack([np.sin(angle), np.cos(angle)]), atol=1e-6)


def test_parts_that_go_on_are_scaled_by_the_rows_fitted_on(con: duckdb.DuckDBPyConnection) -> None:
    for column in ("ts", "tz", "day", "ns"):
        fitted = fit(con, Datetime(column, parts=("epoch",)), where="(i < 5)")
        assert encode(con, fitted).flatten().tolist() == pytest.approx([i / 4 for i in range(8)], abs=0.02)
    year = fit(con, Datetime("ts", parts=("year",)))
    assert year.state == {"year": [1969.0, 1970.0]}
    assert encode(con, year).flatten().tolist() == [0, *[1] * 7]
    constant = fit(con, Datetime("ts", parts=("year",)), where="(i > 0)")
    assert encode(con, constant).flatten().tolist() == [-1, *[0] * 7]


def test_null_policies(con: duckdb.DuckDBPyConnection) -> None:
    error = fit(con, Datetime("gap"))
    with pytest.raises(DataError, match="Column 'gap' is NULL in row 2"):
        error.encode(chunk(con, error))
    mask = encode(con, fit(con, Datetime("gap", parts=("hour",), null="mask")))
    assert mask[2].tolist() == [0, 0, 1]
    assert mask[1, 2] == 0
    for fill in ("2000-01-01 05:00:00", dt.datetime(2000, 1, 1, 5)):  # noqa: DTZ001 - UTC without saying so
        filled = encode(con, fit(con, Datetime("gap", parts=("hour",), cyclic=False, null="fill", fill=fill)))
        assert filled[2] == 5


@pytest.mark.parametrize("kind", ["DATE", "TIMESTAMP", "TIMESTAMPTZ"])
@pytest.mark.parametrize("sign", ["", "-"])
def test_infinity_is_an_error(con: duckdb.DuckDBPyConnection, kind: str, sign: str) -> None:
    query = f"SELECT '2020-01-01'::{kind} AS v UNION ALL SELECT '{sign}infinity'::{kind}"
    with pytest.raises(DataError, match="Column 'v' holds 'infinity'"):
        fit(con, Datetime("v"), query)
    fitted = fit(con, Datetime("v", parts=("month",)), query)
    with pytest.raises(DataError, match="Column 'v' holds 'infinity'"):
        fitted.encode(chunk(con, fitted, query))


def test_wrong_uses_are_errors(con: duckdb.DuckDBPyConnection) -> None:
    with pytest.raises(SchemaError, match="no part 'week'; there are year, epoch, month"):
        Datetime(parts=("week",))
    with pytest.raises(SchemaError, match="parts is empty"):
        Datetime(parts=())
    with pytest.raises(SchemaError, match="Column 'i' arrives as int64; Datetime takes dates and timestamps"):
        fit(con, Datetime("i"))
    with pytest.raises(DataError, match="has no value but NULL in the rows to fit on"):
        fit(con, Datetime("gap"), where="(i = 2)")


def test_a_query_without_rows(con: duckdb.DuckDBPyConnection) -> None:
    query = "SELECT DATE '2020-01-01' AS v WHERE false"
    assert encode(con, fit(con, Datetime("v"), query), query).shape == (0, 7)
    with pytest.raises(DataError, match=r"no row meets \(v IS NULL\)"):
        fit(con, Datetime("v"), "SELECT DATE '2020-01-01' AS v", where="(v IS NULL)")
