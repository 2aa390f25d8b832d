"""What may go into which column, and what a bad file is told."""

from __future__ import annotations

import datetime as dt
import os
import pickle
import tempfile
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from dbgnn.errors import CopyError
from dbgnn.ingest import npy as npy_files
from dbgnn.ingest import parse_copy, run_copy
from dbgnn.ingest.npy import open_array

Copy = Callable[[str], int]
Con = duckdb.DuckDBPyConnection

DAY = dt.date(2020, 2, 29)
NOON = dt.datetime(2020, 2, 29, 12, 0, 0, 250)  # noqa: DTZ001 - numpy's times have no zone


def load(con: Con, copy: Copy, array: np.ndarray[Any, Any], sql_type: str) -> list[Any]:
    """COPY ``array`` into a fresh table of one column and return its values."""
    np.save("a.npy", array)
    con.execute(f"CREATE OR REPLACE TABLE t (a {sql_type})")
    assert copy("COPY t FROM 'a.npy'") == len(array)
    return [row[0] for row in con.execute("SELECT a FROM t ORDER BY rowid").fetchall()]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("dtype", "sql_type"),
    [
        ("i1", "TINYINT"),
        ("i2", "SMALLINT"),
        ("i4", "INTEGER"),
        ("i8", "BIGINT"),
        ("u1", "UTINYINT"),
        ("u2", "USMALLINT"),
        ("u4", "UINTEGER"),
        ("u8", "UBIGINT"),
        ("f4", "FLOAT"),
        ("f8", "DOUBLE"),
        ("f2", "FLOAT"),
        ("f2", "DOUBLE"),
        ("f4", "DOUBLE"),
        ("i4", "BIGINT"),
        ("u4", "BIGINT"),
        ("i8", "HUGEINT"),
        ("u8", "UHUGEINT"),
        ("i2", "FLOAT"),
        ("i4", "DOUBLE"),
        ("i4", "DECIMAL(12, 2)"),
    ],
)
def test_numbers_arrive_as_they_are(con: Con, copy: Copy, dtype: str, sql_type: str, order: str) -> None:
    low, high = (-2.5, 1000.0) if dtype[0] == "f" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    values = np.array([0, 1, low, high, 7], dtype=order + dtype)
    assert load(con, copy, values, sql_type) == values.tolist()


@pytest.mark.parametrize(
    ("values", "sql_type", "expected"),
    [
        (np.array([True, False, True]), "BOOLEAN", [True, False, True]),
        (np.array(["a", "", "bé", "😀"]), "VARCHAR", ["a", "", "bé", "😀"]),
        (np.array(["a", "b"], dtype=">U3"), "ENUM('a', 'b')", ["a", "b"]),
        (np.array([str(uuid.UUID(int=5))]), "UUID", [uuid.UUID(int=5)]),
        (np.array([b"a\x01", b""]), "BLOB", [b"a\x01", b""]),
        (np.array([DAY, "NaT"], "M8[D]"), "DATE", [DAY, None]),
        (np.array([DAY], "M8[ns]"), "DATE", [DAY]),
        (np.array([DAY], ">M8[D]"), "TIMESTAMP", [dt.datetime.combine(DAY, dt.time())]),
        (np.array([NOON], "M8[us]"), "TIMESTAMP", [NOON]),
        (np.array([NOON], "M8[ns]"), "TIMESTAMP", [NOON]),
        (np.array(["2020"], "M8[Y]"), "TIMESTAMP_S", [dt.datetime(2020, 1, 1)]),  # noqa: DTZ001 - no zone
        (np.array([NOON], "M8[us]"), "TIMESTAMP_NS", [NOON]),
    ],
)
def test_other_values_arrive_as_they_are(
    con: Con, copy: Copy, values: np.ndarray[Any, Any], sql_type: str, expected: list[object]
) -> None:
    assert load(con, copy, values, sql_type) == expected


@pytest.mark.parametrize("layout", ["C", "F"])
@pytest.mark.parametrize("dtype", ["<f4", ">f4"])
@pytest.mark.parametrize(("shape", "sql_type"), [((5, 3), "FLOAT[3]"), ((5, 4, 2, 3), "FLOAT[3][2][4]"), ((5, 1), "FLOAT[1]")])
def test_arrays_of_any_dimension_layout_and_byte_order(
    con: Con, copy: Copy, shape: tuple[int, ...], sql_type: str, dtype: str, layout: Any
) -> None:
    values = np.arange(np.prod(shape)).reshape(shape).astype(dtype, order=layout)
    assert np.array_equal(np.array(load(con, copy, values, sql_type)), values)


def test_a_list_column_takes_any_width(con: Con, copy: Copy) -> None:
    assert load(con, copy, np.array([[1, 2, 3], [4, 5, 6]], "i4"), "INTEGER[]") == [[1, 2, 3], [4, 5, 6]]


def test_nan_stays_nan(con: Con, copy: Copy) -> None:
    np.save("a.npy", np.array([[np.nan, 1.0], [-0.0, np.inf]], "f4"))
    con.execute("CREATE TABLE t (a FLOAT[2] NOT NULL)")
    assert copy("COPY t FROM 'a.npy'") == 2
    query = "SELECT count(*) FROM t WHERE isnan(a[1]) AND a[2] = 1 OR isinf(a[2]) AND signbit(a[1])"
    assert con.execute(query).fetchall() == [(2,)]


def test_files_without_rows(con: Con, copy: Copy) -> None:
    assert load(con, copy, np.zeros((0, 3), "f4"), "FLOAT[3]") == []


@pytest.mark.parametrize(
    ("values", "sql_type", "message"),
    [
        (np.array([0.5]), "BIGINT", r"dtype float64 does not fit. Save a.astype\('int64'\) \(after deciding how to round"),
        (np.array([1.0, 2.0]), "FLOAT", r"float64 would be rounded. Save a.astype\('float32'\), or declare the column DOUBLE"),
        (np.array([[1.0, 2.0]]), "FLOAT[2]", r"column 'a' FLOAT\[2\]: float64 would be rounded"),
        (np.array([1, 300, -1]), "TINYINT", "row 1 holds 300, outside -128 to 127. Declare the column BIGINT"),
        (np.array([[1, 2], [3, -4]]), "UINTEGER[2]", r"row 1 \(position 1\) holds -4, outside 0 to 4294967295.*signed"),
        (np.array([1, 2**63], "u8"), "BIGINT", "row 1 holds 9223372036854775808, .*UBIGINT"),
        (np.array([-1]), "UHUGEINT", "row 0 holds -1"),
        (np.array([0, 2**24 + 1]), "FLOAT", "row 1 holds 16777217, which float32 cannot hold exactly"),
        (np.array([2**63 - 1]), "DOUBLE", "row 0 holds 9223372036854775807, which float64 cannot hold"),
        (np.array([2**64 - 1], "u8"), "FLOAT", "row 0 holds 18446744073709551615"),
        (np.array([1]), "VARCHAR", r"dtype int64 does not fit. Save a.astype\(str\)"),
        (np.array([1]), "BOOLEAN", r"Save a.astype\(bool\)"),
        (np.array([True]), "INTEGER", r"dtype bool does not fit. Save a.astype\('int32'\)"),
        (np.array(["1"]), "INTEGER", r"dtype <U1 does not fit"),
        (np.array([1]), "DATE", r"Save a.astype\('datetime64\[D\]'\)"),
        (np.array([1], "m8[s]"), "INTERVAL", "COPY from npy fills numbers"),
        (np.array([1j]), "FLOAT", "dtype complex128 does not fit"),
        (np.array([1.5]), "DECIMAL(5, 2)", "Save whole numbers, or declare the column DOUBLE"),
        (np.array([NOON], "M8[us]"), "DATE", "row 0 holds 2020-02-29T12:00:00.000250, which datetime64.D. cannot hold"),
        (np.array([300000], "M8[Y]"), "TIMESTAMP", "row 0 holds 301970, which"),
        (np.array([NOON], "M8[us]"), "TIMESTAMPTZ", "numpy's times have no zone"),
        (np.array(["NaT"], "M8"), "DATE", "without a unit"),
        (np.array([b"x"]), "VARCHAR", r"Save a.astype\(str\)"),
        (np.array(["x"]), "BLOB", "array of bytes"),
        (np.array([1]), "STRUCT(a INTEGER)", "COPY from npy fills numbers"),
        (np.zeros((2, 3), "f4"), "FLOAT[4]", r"shape \(2, 3\), the column takes \[N, 4\]. Declare the column FLOAT\[3\]"),
        (np.zeros((2, 3), "f4"), "FLOAT", r"shape \(2, 3\), the column takes \[N\]. Declare the column FLOAT\[3\]"),
        (np.zeros((2, 1), "f4"), "FLOAT", r"Save a.reshape\(-1\)"),
        (np.zeros(2, "f4"), "FLOAT[1]", r"Save a.reshape\(-1, 1\)"),
        (np.zeros(2, "f4"), "FLOAT[2]", r"shape \(2,\), the column takes \[N, 2\]. Declare the column FLOAT,"),
        (np.zeros((2, 0), "f4"), "FLOAT[]", r"shape \(2, 0\); rows without values"),
        (np.float32(1), "FLOAT", "a single value, not rows"),
        (np.zeros(2, "i4,f4"), "INTEGER", "holds records .*a file of its own"),
        (np.array([0, 2**31]).astype("M8[D]"), "DATE", "row 1 holds 5881580-07-12, which .*that DATE reaches"),
        (np.array([2**31 - 1]).astype("M8[D]"), "DATE", "row 0 holds 5881580-07-11, which"),  # DuckDB's infinity
        (np.array([-(2**31)]).astype(">M8[D]"), "DATE", "row 0 holds -5877641-06-23, which"),
        (np.array([[0, 2**26]]).astype("M8[Y]"), "DATE[2]", r"row 0 \(position 1\) holds 67110834, which"),
        (np.array([2**63 - 1]).astype("M8[us]"), "TIMESTAMP", "row 0 holds 294247-01-10T04:00:54.775807, which"),
        (np.array([-(2**63) + 9]).astype("M8[us]"), "TIMESTAMP", "row 0 holds -290308-12-21T19:59:05.224201, which"),
        (np.array([2**60]).astype("M8[s]"), "TIMESTAMP_S", "row 0 holds .*, which"),
        (np.array(["ab", "a\0b"]), "VARCHAR", r"row 1 holds 'a\\x00b', with a NUL character inside"),
        (np.array([["ab", "\0b"]], ">U2"), "VARCHAR[2]", r"row 0 \(position 1\) holds '\\x00b', with a NUL"),
        (np.array([b"ab", b"a\0b"]), "BLOB", r"row 1 holds b'a\\x00b', with a NUL"),
        (np.array(["c"]), "ENUM('a', 'b')", "No row was kept. Change the value"),
        (np.array(["no-uuid"]), "UUID", "No row was kept. Change the value"),
        (np.array([10**6]), "DECIMAL(5, 2)", "No row was kept. Change the value"),
    ],
)
def test_what_does_not_fit_is_refused(con: Con, copy: Copy, values: np.ndarray[Any, Any], sql_type: str, message: str) -> None:
    np.save("a.npy", values)
    con.execute(f"CREATE TABLE t (a {sql_type})")
    with pytest.raises(CopyError, match=message) as caught:
        copy("COPY t FROM 'a.npy'")
    assert "COPY t" in str(caught.value)
    assert "'a.npy'" in str(caught.value)
    assert con.execute("SELECT count(*) FROM t").fetchall() == [(0,)]


class Trap:
    """An object whose unpickling leaves a file behind."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("unpickled"),))


def test_objects_are_never_unpickled(con: Con, copy: Copy, folder: Path) -> None:
    np.save("a.npy", np.array([Trap()], dtype=object), allow_pickle=True)
    con.execute("CREATE TABLE t (a INTEGER)")
    with pytest.raises(CopyError, match=r"dtype object.*never unpickled.*astype"):
        copy("COPY t FROM 'a.npy'")
    (folder / "a.npy").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(CopyError, match="not an npy file"):
        copy("COPY t FROM 'a.npy'")
    assert not Path("unpickled").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cut short"),
        (b"\x93NUMPY\x01\x00", "cut short"),
        (b"id,x\n1,2\n", "not an npy file"),
        (b"PK\x03\x04 and more", "not an npy file .* npz archives must be unpacked"),
        (b"\x93NUMPY\x01\x00\x06\x00{'a':}", "damaged npy header"),
    ],
)
def test_files_that_are_not_npy(con: Con, copy: Copy, folder: Path, content: bytes, message: str) -> None:
    (folder / "a.npy").write_bytes(content)
    con.execute("CREATE TABLE t (a INTEGER)")
    with pytest.raises(CopyError, match=f"COPY t: 'a.npy' .*{message}"):
        copy("COPY t FROM 'a.npy'")


def npy(header: str, data: bytes = b"") -> bytes:
    """An npy file with any text for a header."""
    text = header.encode("latin1") + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + data


@pytest.mark.parametrize(
    "header",
    [
        "{'descr': '<i8', 'fortran_order': False, 'shape': (99999999999999999999999999,)}",
        "{'descr': '<i8', 'fortran_order': False, 'shape': (4611686018427387904, 4)}",
        "{'descr': '<U0', 'fortran_order': False, 'shape': (99999999999999999999999999,)}",
        "{'descr': '<i8', 'fortran_order': False, 'shape': (True,)}",
        "{'descr': '<i8', 'fortran_order': False, 'shape': (-1,)}",
        "{'descr': '<i8', 'fortran_order': False, 'shape': 3}",
        "{'descr': '<q9', 'fortran_order': False, 'shape': (1,)}",
        "{'descr': ('<i8',), 'fortran_order': False, 'shape': (1,)}",
        "{[]: 1}",
        "{'descr': '<i8', 'fortran_order': False, 'shape': (1,",
        "(" * 4000,
        "-" * 9000 + "1",
        "'''",
        "\0",
        "",
    ],
)
def test_damaged_headers(con: Con, copy: Copy, folder: Path, header: str) -> None:
    (folder / "a.npy").write_bytes(npy(header, bytes(16)))
    con.execute("CREATE TABLE t (a BIGINT)")
    with pytest.raises(CopyError, match=r"COPY t: 'a\.npy' (has a damaged npy header|is cut short)"):
        copy("COPY t FROM 'a.npy'")


@settings(max_examples=200, deadline=None)
@given(at=st.integers(0, 127), byte=st.integers(0, 255))
def test_a_header_with_a_changed_byte_is_read_or_refused(at: int, byte: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "a.npy")
        np.save(file, np.zeros((3, 2), "f4"))
        content = bytearray(file.read_bytes())
        content[at] = byte
        file.write_bytes(content)
        with suppress(CopyError):
            assert open_array(str(file), "t").nbytes <= len(content)


def test_a_file_that_becomes_shorter_while_it_is_read(con: Con, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    con.execute("CREATE TABLE t (a BIGINT)")
    np.save("a.npy", np.arange(400_000, dtype=">i8"))  # copied batch by batch: DuckDB has no page of the file
    statement = parse_copy("COPY t FROM 'a.npy'")
    assert statement is not None
    arrow = npy_files.NpySource.arrow

    def cut(source: npy_files.NpySource, start: int, stop: int) -> pa.Array:
        if start == 2 * npy_files.ROW_GROUP:
            os.truncate("a.npy", 5000)
        return arrow(source, start, stop)

    monkeypatch.setattr(npy_files.NpySource, "arrow", cut)
    with pytest.raises(CopyError, match=r"COPY t: 'a\.npy'.*: the file was cut short while it was read.*No row was kept"):
        run_copy(con, statement, progress=False)
    assert con.execute("SELECT count(*) FROM t").fetchall() == [(0,)]


@pytest.mark.parametrize("view", [np.s_[0], np.s_[:, 1:], np.s_[:]])
def test_every_view_of_a_file_knows_its_size(folder: Path, view: Any) -> None:
    np.save("a.npy", np.arange(40_000).reshape(2, 20_000))
    array = open_array("a.npy", "t")[view].T
    npy_files.check_size(array, "here")
    os.truncate("a.npy", 5000)
    with pytest.raises(CopyError, match="here: the file was cut short"):
        npy_files.check_size(array, "here")


@pytest.mark.parametrize(
    ("sql_type", "unit", "low", "high"),
    [
        ("DATE", "D", "5877642-06-25 (BC)", "5881580-07-10"),
        ("TIMESTAMP", "us", "290309-12-22 (BC) 00:00:00", "294247-01-10 04:00:54.775806"),
        ("TIMESTAMP_S", "s", "290309-12-22 (BC) 00:00:00", "294247-01-10 04:00:54"),
        ("TIMESTAMP_MS", "ms", "290309-12-22 (BC) 00:00:00", "294247-01-10 04:00:54.775"),
        ("TIMESTAMP_NS", "ns", "1677-09-21 00:12:43.145224194", "2262-04-11 23:47:16.854775806"),
    ],
)
def test_times_at_the_limits(con: Con, copy: Copy, sql_type: str, unit: str, low: str, high: str) -> None:
    limits = np.array(npy_files._TIME_LIMITS[sql_type.lower()])
    np.save("a.npy", limits.astype(f"M8[{unit}]"))
    con.execute(f"CREATE TABLE t (a {sql_type})")
    assert copy("COPY t FROM 'a.npy'") == 2
    assert con.execute("SELECT a::VARCHAR FROM t").fetchall() == [(low,), (high,)]


@pytest.mark.parametrize("size", [60, 500, 8127])
def test_a_truncated_file(con: Con, copy: Copy, size: int) -> None:
    np.save("a.npy", np.zeros(1000))
    os.truncate("a.npy", size)
    con.execute("CREATE TABLE t (a DOUBLE)")
    with pytest.raises(CopyError, match=r"'a\.npy' is cut short"):
        copy("COPY t FROM 'a.npy'")


def test_a_missing_file(con: Con, copy: Copy, folder: Path) -> None:
    con.execute("CREATE TABLE t (a DOUBLE)")
    with pytest.raises(CopyError, match=r"no file 'nope.npy' \(looked in"):
        copy("COPY t FROM 'nope.npy'")
    with pytest.raises(CopyError, match="Patterns are not expanded"):
        copy("COPY t FROM '*.npy'")
    (folder / "dir.npy").mkdir()
    with pytest.raises(CopyError, match=r"'dir\.npy' cannot be read: it is a folder, not a regular file"):
        copy("COPY t FROM 'dir.npy'")


INTEGERS = {
    "TINYINT": "i1",
    "SMALLINT": "i2",
    "INTEGER": "i4",
    "BIGINT": "i8",
    "UTINYINT": "u1",
    "USMALLINT": "u2",
    "UINTEGER": "u4",
    "UBIGINT": "u8",
}


@settings(max_examples=60, deadline=None)
@given(
    values=st.sampled_from(sorted(INTEGERS.values())).flatmap(lambda dtype: arrays.arrays(dtype, st.integers(1, 6))),
    sql_type=st.sampled_from([*INTEGERS, "FLOAT", "DOUBLE"]),
)
def test_integers_are_kept_or_refused(values: np.ndarray[Any, Any], sql_type: str) -> None:
    """Every integer dtype into every numeric column: the same numbers, or an error exactly where one does not fit."""
    exact = values.tolist()
    if sql_type in INTEGERS:
        limits = np.iinfo(INTEGERS[sql_type])
        fits = all(limits.min <= v <= limits.max for v in exact)
    else:
        bits = 24 if sql_type == "FLOAT" else 53
        fits = all(v == 0 or abs(v) // (v & -v) < 2**bits for v in exact)
    with tempfile.TemporaryDirectory() as folder, duckdb.connect() as con:
        np.save(f"{folder}/a.npy", values)
        con.execute(f"CREATE TABLE t (a {sql_type})")
        statement = parse_copy(f"COPY t FROM '{folder}/a.npy'")
        assert statement is not None
        if fits:
            assert run_copy(con, statement, progress=False) == len(exact)
            assert [row[0] for row in con.execute("SELECT a FROM t ORDER BY rowid").fetchall()] == exact
        else:
            with pytest.raises(CopyError, match="holds"):
                run_copy(con, statement, progress=False)
