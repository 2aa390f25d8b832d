"""`OneHot`, `Ordinal`, `MultiHot`, `Hash`: kinds of categories, unseen values, NULL, ENUMs, slices; a Python oracle."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterator
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest
import torch
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from dbgnn import DataError, SchemaError
from dbgnn.encoders import FittedEncoder, Hash, MultiHot, OneHot, Ordinal
from dbgnn.encoders.category import CategoryEncoder
from dbgnn.encoders.nulls import NullValueError
from tests.encoders.encoding import chunk, encode, fit


@pytest.fixture
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as con:
        con.execute("CREATE TYPE size AS ENUM ('small', 'large', 'huge', 'unused')")
        con.execute(
            """CREATE TABLE t AS SELECT i, ['c', 'a', 'b'][1 + i % 3] AS word,
               ['small', 'large', 'huge'][1 + i % 3]::size AS size,
               i % 4 AS n, (i % 4)::UTINYINT AS tiny, 18446744073709551615::UBIGINT - (i % 3)::UBIGINT AS u, i % 2 = 0 AS flag,
               DATE '2020-01-01' - (i % 3)::INT AS day, (i % 3) / 2 - 0.5 AS f, md5('' || (i % 3))::UUID AS uuid,
               CASE WHEN i % 4 = 1 THEN NULL ELSE 'k' || (i % 2) END AS gap,
               ['a|b', '', 'c', 'b||c', 'a|a'][1 + i % 5] AS tags,
               [['a', 'b'], [], ['c'], ['b', 'c'], ['a', 'a']][1 + i % 5] AS list,
               [['small'], ['huge', 'large']][1 + i % 2]::size[] AS sizes, [i % 2, 7]::BIGINT[2] AS pair,
               CASE i WHEN 3 THEN NULL WHEN 4 THEN ['a', NULL] ELSE ['b'] END AS glist
               FROM range(12) AS r(i)"""
        )
        yield con


def values(con: duckdb.DuckDBPyConnection, column: str) -> list[Any]:
    return [row[0] for row in con.execute(f"SELECT {column} FROM t").fetchall()]


@pytest.mark.parametrize("column", ["word", "n", "tiny", "u", "flag", "day", "f", "uuid"])
def test_every_kind_of_category(con: duckdb.DuckDBPyConnection, column: str) -> None:
    given_ = values(con, column)
    known = sorted(set(given_))
    ordinal = encode(con, fit(con, Ordinal(column)))
    assert ordinal.dtype == torch.int64
    assert ordinal.tolist() == [known.index(v) for v in given_]
    one_hot = encode(con, fit(con, OneHot(column)))
    assert one_hot.dtype == torch.float32
    assert one_hot.tolist() == [[float(v == k) for k in known] for v in given_]


def test_enums_keep_their_order_and_come_in_dictionaries_of_any_codes(con: duckdb.DuckDBPyConnection) -> None:
    fitted = fit(con, Ordinal("size"))
    assert fitted.state == {"kind": "text", "categories": ["small", "large", "huge"]}
    assert encode(con, fitted).tolist() == [0, 1, 2] * 4
    one = pa.array(["huge", "small"]).dictionary_encode()
    two = pa.array(["small", "large", "huge"]).dictionary_encode()
    assert fitted.encode([one]).tolist() == [2, 0]
    assert fitted.encode([two.slice(1)]).tolist() == [1, 2]
    assert fitted.encode([pa.chunked_array([one, two])]).tolist() == [2, 0, 0, 1, 2]


@pytest.mark.parametrize("kind", [pa.large_string(), pa.string_view(), pa.string()])
def test_text_of_any_arrow_type(con: duckdb.DuckDBPyConnection, kind: pa.DataType) -> None:
    array = pa.array(["x", "b", "c", "a"], pa.string()).cast(kind)
    assert fit(con, Ordinal("word")).encode([array.slice(1)]).tolist() == [1, 2, 0]


def test_nan_infinity_and_signed_zero_are_categories(con: duckdb.DuckDBPyConnection) -> None:
    query = "SELECT unnest(['0', '-0', 'nan', 'inf', '1.5']::DOUBLE[]) AS v"
    fitted = fit(con, Ordinal("v"), query)
    assert fitted.state == {"kind": "float", "categories": [0.0, 1.5, "inf", "nan"]}
    assert encode(con, fitted, query).tolist() == [0, 0, 3, 2, 1]
    assert fitted.encode([pa.array([-0.0, math.nan], pa.float32())]).tolist() == [0, 3]


def test_whole_numbers_may_arrive_wider_or_signed(con: duckdb.DuckDBPyConnection) -> None:
    fitted = fit(con, Ordinal("n", unseen="other"))
    assert fitted.encode([pa.array([3, 0], pa.uint64())]).tolist() == [3, 0]
    assert fitted.encode([pa.array([2**64 - 1, 2], pa.uint64())]).tolist() == [4, 2]
    big = fit(con, Ordinal("u", unseen="other"))
    assert big.encode([pa.array([-1, 5], pa.int64())]).tolist() == [3, 3]
    assert big.encode([pa.array([2**64 - 3], pa.uint64())]).tolist() == [0]


def test_given_categories_keep_their_order(con: duckdb.DuckDBPyConnection) -> None:
    fitted = fit(con, Ordinal("word", categories=("b", "c", "a", "z")))
    assert encode(con, fitted).tolist() == [1, 2, 0] * 4
    day = fit(con, OneHot("day", categories=(dt.date(2020, 1, 1), "2019-12-31", dt.date(2019, 12, 30))))
    assert encode(con, day).tolist() == np.eye(3).tolist() * 4


@pytest.mark.parametrize(
    ("categories", "message"),
    [
        (("a", 1), "1 is no value of a column of kind 'text'"),
        (("a", "a"), "'a' is there twice"),
        ("abc", "a list of values, not the text 'abc'"),
    ],
)
def test_wrong_categories_are_errors(con: duckdb.DuckDBPyConnection, categories: Any, message: str) -> None:
    with pytest.raises(SchemaError, match=message):
        fit(con, OneHot("word", categories=categories))


def test_unseen_values(con: duckdb.DuckDBPyConnection) -> None:
    where = "(word <> 'c')"  # every third row, from the first on
    error = fit(con, OneHot("word"), where=where)
    with pytest.raises(DataError, match=r"Column 'word' holds 'c', .* 4 of 12 values .*unseen='zero' or unseen='other'"):
        error.encode(chunk(con, error))
    assert encode(con, fit(con, OneHot("word", unseen="zero"), where=where)).tolist() == [[0, 0], [1, 0], [0, 1]] * 4
    assert encode(con, fit(con, OneHot("word", unseen="other"), where=where)).tolist() == [[0, 0, 1], [1, 0, 0], [0, 1, 0]] * 4
    assert encode(con, fit(con, Ordinal("word", unseen="other"), where=where)).tolist() == [2, 0, 1] * 4
    with pytest.raises(SchemaError, match="unseen='zero' is none of 'error', 'other'"):
        Ordinal("word", unseen="zero")


def test_null_policies(con: duckdb.DuckDBPyConnection) -> None:
    error = fit(con, OneHot("gap"))
    with pytest.raises(NullValueError, match="Column 'gap' is NULL in row 1"):
        error.encode(chunk(con, error))
    assert encode(con, fit(con, OneHot("gap", null="mask")))[:4].tolist() == [[1, 0, 0], [0, 0, 1], [1, 0, 0], [0, 1, 0]]
    other = fit(con, OneHot("gap", null="mask", unseen="other"), where="(i = 0)")
    assert encode(con, other)[:4].tolist() == [[1, 0, 0], [0, 0, 1], [1, 0, 0], [0, 1, 0]]  # k0, other, NULL
    filled = fit(con, OneHot("gap", null="fill", fill="none"))
    assert filled.state["categories"] == ["k0", "k1", "none"]
    assert encode(con, filled)[:4].tolist() == [[1, 0, 0], [0, 0, 1], [1, 0, 0], [0, 1, 0]]
    assert fit(con, OneHot("gap", null="fill", fill="k1")).state["categories"] == ["k0", "k1"]


def test_null_has_a_number_of_its_own(con: duckdb.DuckDBPyConnection) -> None:
    assert encode(con, fit(con, Ordinal("gap", null="mask")))[:4].tolist() == [0, 2, 0, 1]
    both = fit(con, Ordinal("gap", null="mask", unseen="other"), where="(i = 0)")
    assert encode(con, both)[:4].tolist() == [0, 2, 0, 1]


def test_too_many_categories_are_an_error_before_they_are_read(con: duckdb.DuckDBPyConnection) -> None:
    assert len(fit(con, OneHot("i", max_categories=12)).state["categories"]) == 12
    with pytest.raises(DataError, match=r"Column 'i' of 'movie' has more than 11 categories\. Use Hash, Ordinal"):
        fit(con, OneHot("i", max_categories=11))


def test_no_category_at_all(con: duckdb.DuckDBPyConnection) -> None:
    with pytest.raises(DataError, match="Column 'word' of 'movie' has no category in the rows to fit on"):
        fit(con, OneHot("word"), where="(false)")
    assert encode(con, fit(con, OneHot("word", unseen="other"), where="(false)")).tolist() == [[1]] * 12


@pytest.mark.parametrize(
    "query", ["SELECT 1::HUGEINT AS v", "SELECT TIMESTAMP '2020-01-01' AS v", "SELECT [1] AS v", "SELECT 1.5 AS v"]
)
def test_what_is_no_category_is_an_error(con: duckdb.DuckDBPyConnection, query: str) -> None:
    for encoder in (OneHot("v"), Hash("v")):
        with pytest.raises(SchemaError, match=r"Column 'v' arrives as .*; categories are text"):
            fit(con, encoder, query)


def test_another_kind_than_fitted_is_an_error(con: duckdb.DuckDBPyConnection) -> None:
    with pytest.raises(SchemaError, match="'word' holds values of kind 'integer'; its categories are of kind 'text'"):
        fit(con, OneHot("word")).encode([pa.array([1])])


@pytest.mark.parametrize("column", ["tags", "list"])
def test_multi_hot_of_text_and_of_lists(con: duckdb.DuckDBPyConnection, column: str) -> None:
    fitted = fit(con, MultiHot(column))
    assert fitted.state["categories"] == ["a", "b", "c"]
    expected = [[1, 1, 0], [0, 0, 0], [0, 0, 1], [0, 1, 1], [1, 0, 0]]
    assert encode(con, fitted).tolist() == [expected[i % 5] for i in range(12)]


def test_multi_hot_of_enums_numbers_and_other_separators(con: duckdb.DuckDBPyConnection) -> None:
    assert fit(con, MultiHot("sizes")).state["categories"] == ["small", "large", "huge"]
    assert encode(con, fit(con, MultiHot("sizes")))[:2].tolist() == [[1, 0, 0], [0, 1, 1]]
    assert encode(con, fit(con, MultiHot("pair")))[:2].tolist() == [[1, 0, 1], [0, 1, 1]]
    query = "SELECT 'a'', b, |' AS v UNION ALL SELECT ' b'"
    assert fit(con, MultiHot("v", sep=", "), query).state["categories"] == [" b", "a'", "b", "|"]
    hostile = fit(con, MultiHot("v", sep="'||(SELECT 1)||'"), query)
    assert hostile.state["categories"] == [" b", "a', b, |"]
    with pytest.raises(SchemaError, match="sep is empty"):
        MultiHot(sep="")


def test_multi_hot_of_unseen_values_and_null(con: duckdb.DuckDBPyConnection) -> None:
    where = "(tags = 'a|b')"
    assert encode(con, fit(con, MultiHot("tags", unseen="zero"), where=where))[3].tolist() == [0, 1]
    assert encode(con, fit(con, MultiHot("tags", unseen="other"), where=where))[3].tolist() == [0, 1, 1]
    fitted = fit(con, MultiHot("tags"), where=where)
    with pytest.raises(DataError, match="Column 'tags' holds 'c'"):
        fitted.encode(chunk(con, fitted))
    fitted = fit(con, MultiHot("glist"))
    with pytest.raises(NullValueError) as caught:
        fitted.encode([a.slice(2) for a in chunk(con, fitted)])
    assert caught.value.row == 1
    mask = encode(con, fit(con, MultiHot("glist", null="mask")))
    assert mask[2:6].tolist() == [[0, 1, 0], [0, 0, 1], [0, 0, 1], [0, 1, 0]]
    filled = fit(con, MultiHot("glist", null="fill", fill="b"))
    assert encode(con, filled)[2:6].tolist() == [[0, 1], [0, 1], [1, 1], [0, 1]]


@settings(max_examples=60)
@given(rows=st.lists(st.none() | st.text("ab|é", max_size=6), max_size=12), start=st.integers(0, 3))
def test_multi_hot_is_python_s_split(rows: list[str | None], start: int) -> None:
    known = ["a", "é", "ab"]
    fitted = FittedEncoder(MultiHot("v", null="mask", unseen="other"), {"kind": "text", "categories": known}, 1)
    out = fitted.encode([pa.array(rows, pa.string()).slice(start)])
    expected = []
    for row in rows[start:]:
        pieces = {p for p in (row or "").split("|") if p}
        expected.append([*(float(k in pieces) for k in known), float(bool(pieces - set(known))), float(row is None)])
    assert out.tolist() == expected
    assert out.shape == (len(rows[start:]), 5)


@settings(max_examples=60)
@given(rows=st.lists(st.none() | st.lists(st.none() | st.integers(0, 4), max_size=4), max_size=10), start=st.integers(0, 3))
def test_multi_hot_of_lists_is_python_s_sets(rows: list[list[int | None] | None], start: int) -> None:
    array = pa.array(rows, pa.list_(pa.int16())).slice(start)
    state = {"kind": "integer", "categories": [3, 1, 9]}
    masked = FittedEncoder(MultiHot("v", null="mask", unseen="zero"), state, 1).encode([array])
    filled = FittedEncoder(MultiHot("v", null="fill", fill=9, unseen="zero"), state, 1).encode([array])
    gone = [row is None or None in row for row in rows[start:]]
    assert masked.tolist() == [
        [0, 0, 0, 1] if g or row is None else [float(k in row) for k in (3, 1, 9)] + [0]
        for g, row in zip(gone, rows[start:], strict=True)
    ]
    full = [{9} if row is None else {9 if v is None else v for v in row} for row in rows[start:]]
    assert filled.tolist() == [[float(k in row) for k in (3, 1, 9)] for row in full]


def test_hash_is_xxh3_of_the_text(con: duckdb.DuckDBPyConnection) -> None:
    for column in ("word", "n", "u", "day", "uuid", "flag", "size", "f"):
        ids = encode(con, fit(con, Hash(column, buckets=7)))
        assert ids.dtype == torch.int64
        assert ids.tolist() == [xxhash.xxh3_64_intdigest(str(v).encode()) % 7 for v in values(con, column)]
    # fixed numbers, the first from XXH3's own tests (0x2D06800538D394C2): a hash means the same everywhere
    fixed = FittedEncoder(Hash("v", buckets=1000), {}, 0)
    assert fixed.encode([pa.array(["", "a", "title"])]).tolist() == [0x2D06800538D394C2 % 1000, 719, 557]
    assert fixed.encode([pa.array([5], pa.int8())]).tolist() == fixed.encode([pa.array([5], pa.uint64())]).tolist()


def test_hash_as_vectors(con: duckdb.DuckDBPyConnection) -> None:
    ids = encode(con, fit(con, Hash("word", buckets=5))).numpy()
    assert np.array_equal(encode(con, fit(con, Hash("word", buckets=5, output="onehot"))).numpy(), np.eye(5)[ids])
    signed = encode(con, fit(con, Hash("i", buckets=5, output="onehot", signed=True))).numpy()
    assert set(signed[signed != 0]) == {-1.0, 1.0}
    assert np.array_equal(np.abs(signed).argmax(axis=1), encode(con, fit(con, Hash("i", buckets=5))).numpy())


def test_hash_of_null(con: duckdb.DuckDBPyConnection) -> None:
    assert encode(con, fit(con, Hash("gap", buckets=3, null="mask")))[1] == 3
    vector = encode(con, fit(con, Hash("gap", buckets=3, null="mask", output="onehot")))
    assert vector[1].tolist() == [0, 0, 0, 1]
    assert vector[0].sum() == 1
    plain = fit(con, Hash("gap"))
    with pytest.raises(NullValueError):
        plain.encode(chunk(con, plain))


@pytest.mark.parametrize("options", [{"buckets": 0}, {"signed": True}, {"output": "dense"}])
def test_wrong_hashes_are_errors(options: dict[str, Any]) -> None:
    with pytest.raises(SchemaError, match="Hash: "):
        Hash(**options)


@pytest.mark.parametrize("encoder", [OneHot("word"), Ordinal("word"), MultiHot("word")])
def test_categories_never_reach_sql(con: duckdb.DuckDBPyConnection, encoder: CategoryEncoder) -> None:
    con.execute("UPDATE t SET word = 'x''; DROP TABLE t; --\"' WHERE i = 0")
    assert len(encode(con, fit(con, encoder))) == 12


@pytest.mark.parametrize("default", ["", "NOCASE"])
def test_categories_are_told_apart_byte_by_byte_whatever_the_collation(default: str) -> None:
    with duckdb.connect() as con:
        con.execute(f"SET default_collation = '{default}'; SET default_order = 'DESC'")
        con.execute("CREATE TABLE t (a VARCHAR COLLATE NOCASE, tags VARCHAR[])")
        con.execute("INSERT INTO t VALUES ('A', ['x', 'X']), ('a', ['x']), ('b', []), ('B', ['y'])")
        ordinal = fit(con, Ordinal("a", unseen="other"))
        assert ordinal.state["categories"] == ["A", "B", "a", "b"]
        assert encode(con, ordinal).tolist() == [0, 2, 3, 1]
        assert fit(con, MultiHot("a", unseen="zero")).state["categories"] == ["A", "B", "a", "b"]
        assert fit(con, MultiHot("tags", unseen="zero")).state["categories"] == ["X", "x", "y"]


def test_every_nan_is_the_same_category(con: duckdb.DuckDBPyConnection) -> None:
    query = "SELECT unnest(['-nan', 'nan', '2']::DOUBLE[]) AS v"
    bits = con.sql(query).to_arrow_table().column(0).to_numpy().view(np.int64)
    assert bits[0] != bits[1]
    assert encode(con, fit(con, Ordinal("v"), query), query).tolist() == [1, 1, 0]
    assert len(set(encode(con, fit(con, Hash("v", buckets=1 << 40), query), query).tolist())) == 2


@pytest.mark.parametrize("encoder", [OneHot("v"), Hash("v"), MultiHot("l")])
def test_a_date_that_python_does_not_have_is_an_error(con: duckdb.DuckDBPyConnection, encoder: Any) -> None:
    query = "SELECT unnest(['2020-01-01', 'infinity', '20000-01-01']::DATE[]) AS v, [v] AS l"
    with pytest.raises(DataError, match=r"Column '[vl]' holds a date beyond the years 1 to 9999, such as 'infinity'"):
        encode(con, fit(con, encoder, query), query)


def test_an_unseen_date_that_python_does_not_have_is_one_like_any_other(con: duckdb.DuckDBPyConnection) -> None:
    query = "SELECT unnest(['2020-01-01', 'infinity']::DATE[]) AS v"
    fitted = fit(con, OneHot("v", unseen="zero"), query, where="(isfinite(v))")
    assert encode(con, fitted, query).tolist() == [[1], [0]]
    error = fit(con, OneHot("v"), query, where="(isfinite(v))")
    with pytest.raises(DataError, match="holds a date beyond the years"):
        error.encode(chunk(con, error, query))


@pytest.mark.parametrize(
    ("query", "fill", "categories"),
    [
        ("SELECT unnest(['a|b', NULL]) AS v", "a|b", ["a", "b"]),
        ("SELECT unnest(['a|b', NULL]) AS v", "b|c|d", ["a", "b", "c", "d"]),
        ("SELECT unnest(['a|b', NULL]) AS v", "", ["a", "b"]),
        ("SELECT ['a', NULL] AS v", "a|b", ["a", "a|b"]),
        ("SELECT ['a', NULL] AS v", "", ["a"]),
        ("SELECT [1, NULL] AS v", 7, [1, 7]),
    ],
)
def test_what_fills_several_categories_is_cut_as_the_column_is(
    con: duckdb.DuckDBPyConnection, query: str, fill: Any, categories: list[Any]
) -> None:
    fitted = fit(con, MultiHot("v", null="fill", fill=fill), query)
    assert fitted.state["categories"] == categories
    assert encode(con, fitted, query).any(dim=0).all()  # no column that nothing can reach


@pytest.mark.parametrize(
    ("encoder", "shape", "dtype"),
    [
        (OneHot("word"), (0, 0), torch.float32),
        (OneHot("word", null="mask"), (0, 1), torch.float32),
        (MultiHot("tags"), (0, 0), torch.float32),
        (MultiHot("list"), (0, 0), torch.float32),
        (Ordinal("n"), (0,), torch.int64),
    ],
)
def test_a_query_without_rows_has_no_categories(
    con: duckdb.DuckDBPyConnection, encoder: Any, shape: tuple[int, ...], dtype: torch.dtype
) -> None:
    query = "FROM t WHERE false"
    made = encode(con, fit(con, encoder, query), query)
    assert (made.shape, made.dtype) == (shape, dtype)
    with pytest.raises(DataError, match=r"has no category in the rows to fit on: no row meets \(i > 99\)"):
        fit(con, encoder, where="(i > 99)")
