"""Which column types become which tensors."""

from __future__ import annotations

import duckdb
import pytest

from dbgnn import UnknownNameError
from dbgnn.schema import EdgeTable, PropertyGraph, TableName, VertexTable, served_columns, tensor_columns
from dbgnn.schema.types import comparable

TENSORS = {
    "BOOLEAN": ("bool", ()),
    "TINYINT": ("int8", ()),
    "SMALLINT": ("int16", ()),
    "INTEGER": ("int32", ()),
    "BIGINT": ("int64", ()),
    "UTINYINT": ("uint8", ()),
    "USMALLINT": ("uint16", ()),
    "UINTEGER": ("uint32", ()),
    "UBIGINT": ("uint64", ()),
    "FLOAT": ("float32", ()),
    "REAL": ("float32", ()),
    "DOUBLE": ("float64", ()),
    "DATE": ("int64", ()),
    "TIMESTAMP": ("int64", ()),
    "TIMESTAMP_S": ("int64", ()),
    "TIMESTAMP_MS": ("int64", ()),
    "TIMESTAMP_NS": ("int64", ()),
    "TIMESTAMPTZ": ("int64", ()),
    "ENUM ('a', 'b[]', 'c(''')": ("int64", ()),
    "FLOAT[128]": ("float32", (128,)),
    "FLOAT[2][3]": ("float32", (3, 2)),
    "DOUBLE[2][3][4]": ("float64", (4, 3, 2)),
    "BOOLEAN[7]": ("bool", (7,)),
    "UTINYINT[3][2]": ("uint8", (2, 3)),
}

REASONS = {
    "HUGEINT": "cast to BIGINT or DOUBLE",
    "UHUGEINT": "cast to UBIGINT or DOUBLE",
    "DECIMAL(10, 2)": "cast to DOUBLE",
    "DECIMAL(10, 2)[3]": "cast to DOUBLE",
    "VARCHAR": "text; cast it to an ENUM, or encode it",
    "VARCHAR[2]": "encode them (MultiHot)",
    "VARCHAR[]": "encode them (MultiHot)",
    "INTEGER[][]": "cast to INTEGER[n][n]",
    "DECIMAL(10, 2)[]": "cast to DOUBLE[n]",
    "BLOB": "bytes",
    "BIT": "BOOLEAN",
    "UUID": "identifier",
    "JSON": "JSON",
    "TIME": "epoch",
    "TIMETZ": "epoch",
    "INTERVAL": "epoch",
    "FLOAT[]": "cast to FLOAT[n]",
    "FLOAT[2][]": "cast to FLOAT[2][n]",
    "FLOAT[][2]": "cast to FLOAT[n][2]",
    "STRUCT(a FLOAT[2], b INTEGER)": "struct",
    "MAP(VARCHAR, FLOAT)": "map",
    "UNION(a INTEGER, b VARCHAR)": "union",
    "DATE[2]": "epoch(v)",
    "ENUM('a')[2]": "encode them (MultiHot)",
}


@pytest.fixture
def con() -> duckdb.DuckDBPyConnection:
    return duckdb.connect()


def test_every_type_that_becomes_a_tensor(con: duckdb.DuckDBPyConnection) -> None:
    names = [f"c{i}" for i in range(len(TENSORS))]
    con.execute(f"CREATE TABLE t ({', '.join(f'{n} {t}' for n, t in zip(names, TENSORS, strict=True))})")
    found = tensor_columns(con, TableName("t"))
    assert [c.name for c in found] == names
    assert {t: (c.dtype, c.shape) for t, c in zip(TENSORS, found, strict=True)} == TENSORS
    assert {c.reason for c in found} == {None}


def test_a_shape_is_numpys(con: duckdb.DuckDBPyConnection) -> None:
    con.execute("CREATE TABLE t AS SELECT [[1, 2], [3, 4], [5, 6]]::FLOAT[2][3] AS x")
    (column,) = tensor_columns(con, TableName("t"))
    array = con.sql("FROM t").to_arrow_table()["x"].combine_chunks()
    assert column.shape == (3, 2)
    assert [array.type.list_size, array.type.value_type.list_size] == [3, 2]


@pytest.mark.parametrize(("sql_type", "reason"), REASONS.items())
def test_every_type_that_does_not(con: duckdb.DuckDBPyConnection, sql_type: str, reason: str) -> None:
    con.execute(f"CREATE TABLE t (c {sql_type})")
    (column,) = tensor_columns(con, TableName("t"))
    assert column.dtype == ""
    assert column.reason is not None
    assert reason in column.reason


@pytest.mark.parametrize(
    ("sql_type", "unit"),
    [
        ("DATE", "days since 1970-01-01"),
        ("TIMESTAMP", "microseconds since 1970-01-01"),
        ("TIMESTAMP_S", "seconds since 1970-01-01"),
        ("TIMESTAMP_MS", "milliseconds since 1970-01-01"),
        ("TIMESTAMP_NS", "nanoseconds since 1970-01-01"),
        ("TIMESTAMPTZ", "microseconds since 1970-01-01"),
        ("ENUM('a')", "code, from 0"),
        ("BIGINT", ""),
    ],
)
def test_units(con: duckdb.DuckDBPyConnection, sql_type: str, unit: str) -> None:
    con.execute(f"CREATE TABLE t (c {sql_type})")
    assert tensor_columns(con, TableName("t"))[0].unit == unit


def test_named_types_are_what_they_stand_for(con: duckdb.DuckDBPyConnection) -> None:
    con.execute("CREATE TYPE mood AS ENUM ('ok'); CREATE TYPE embedding AS FLOAT[4]; CREATE TABLE t (m mood, e embedding)")
    assert [(c.dtype, c.shape) for c in tensor_columns(con, TableName("t"))] == [("int64", ()), ("float32", (4,))]


def test_excluded_columns_are_not_listed(con: duckdb.DuckDBPyConnection) -> None:
    con.execute("CREATE TABLE t (a INTEGER, b INTEGER, c VARCHAR)")
    assert [c.name for c in tensor_columns(con, TableName("t"), exclude=("a", "c"))] == ["b"]


def test_unknown_table(con: duckdb.DuckDBPyConnection) -> None:
    con.execute("CREATE TABLE paper (a INTEGER)")
    with pytest.raises(UnknownNameError, match="no table 'papr'; did you mean 'paper'"):
        tensor_columns(con, TableName("papr"))


class TestServedColumns:
    @pytest.fixture
    def con(self) -> duckdb.DuckDBPyConnection:
        con = duckdb.connect()
        con.execute("CREATE TABLE t (id BIGINT, other BIGINT, x FLOAT[2], y BIGINT, name VARCHAR)")
        return con

    def reasons(self, con: duckdb.DuckDBPyConnection, element: VertexTable | EdgeTable) -> dict[str, str | None]:
        return {c.name: c.reason for c in served_columns(con, PropertyGraph("g"), element)}

    def test_all_but_the_key(self, con: duckdb.DuckDBPyConnection) -> None:
        found = self.reasons(con, VertexTable(TableName("t"), "t", ("id",)))
        assert [name for name, reason in found.items() if reason is None] == ["other", "x", "y"]
        assert "key" in str(found["id"])
        assert "text" in str(found["name"])

    def test_all_but_the_ends(self, con: duckdb.DuckDBPyConnection) -> None:
        found = self.reasons(con, EdgeTable(TableName("t"), "t", "a", ("id",), "b", ("other",)))
        assert [name for name, reason in found.items() if reason is None] == ["x", "y"]
        assert found["id"] == "the source's key"
        assert found["other"] == "the destination's key"

    def test_all_but_a_foreign_key_that_is_an_edge(self, con: duckdb.DuckDBPyConnection) -> None:
        table = TableName("t")
        vertex = VertexTable(table, "t", ("id",))
        graph = PropertyGraph("g", (vertex,), (EdgeTable(table, "of", "t", ("id",), "t", ("other",)),))
        found = {c.name: c.reason for c in served_columns(con, graph, vertex)}
        assert [name for name, reason in found.items() if reason is None] == ["x", "y"]
        assert "foreign key" in str(found["other"])

    def test_properties_in_their_order_and_the_key_if_named(self, con: duckdb.DuckDBPyConnection) -> None:
        found = self.reasons(con, VertexTable(TableName("t"), "t", ("id",), ("y", "id")))
        assert list(found.items())[:2] == [("y", None), ("id", None)]
        assert found["x"] == "not among the PROPERTIES"
        assert set(found) == {"id", "other", "x", "y", "name"}

    def test_no_properties(self, con: duckdb.DuckDBPyConnection) -> None:
        assert None not in self.reasons(con, VertexTable(TableName("t"), "t", ("id",), ())).values()

    def test_a_property_that_is_gone(self, con: duckdb.DuckDBPyConnection) -> None:
        con.execute("ALTER TABLE t DROP y")
        with pytest.raises(UnknownNameError, match="no column 'y' any more"):
            served_columns(con, PropertyGraph("g"), VertexTable(TableName("t"), "t", ("id",), ("y",)))


@pytest.mark.parametrize(
    ("one", "other", "fit"),
    [
        ("BIGINT", "INTEGER", True),
        ("UTINYINT", "HUGEINT", True),
        ("UHUGEINT", "UHUGEINT", True),
        ("UHUGEINT", "HUGEINT", False),  # DuckDB compares them as DOUBLE
        ("VARCHAR", "VARCHAR", True),
        ("UUID", "UUID", True),
        ("VARCHAR", "BIGINT", False),
        ("UUID", "VARCHAR", False),
        ("DOUBLE", "BIGINT", False),
        ("DATE", "TIMESTAMP", False),
    ],
)
def test_comparable_keys(one: str, other: str, fit: bool) -> None:
    assert comparable(one, other) is comparable(other, one) is fit
