"""Splits: which row is in which part, as the SQL expression says it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dbgnn import DataError, SchemaError, SqlError, UnknownNameError
from dbgnn.queries.split import Split
from dbgnn.queries.splits_by_share import HashSplit, TimeSplit
from dbgnn.queries.splits_by_value import ColumnSplit, PredicateSplit
from dbgnn.sql import quote


@pytest.fixture
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as con:
        con.execute("SET threads = 2")
        yield con


def parts(
    con: duckdb.DuckDBPyConnection, split: Split, query: str, keys: tuple[str, ...] = ("id",)
) -> tuple[list[str | None], tuple[str, ...]]:
    """Return the part of every row in the order of the key, and the parts there are."""

    def run(sql: str) -> pa.Table:
        return con.sql(sql).to_arrow_table()

    types = {row[0]: row[1] for row in con.execute(f"DESCRIBE {query}").fetchall()}
    sql, names = split.expression(run, con, query, types, keys, "nodes 'paper'")
    order = ", ".join(f"q.{quote(k)}" for k in keys)
    # A table of the same names beside it, as edges have the keys of their ends; a user's condition does not say which it means.
    beside = "" if isinstance(split, PredicateSplit) else f"LEFT JOIN ({query}\n) AS s ON false"
    rows = f"SELECT {sql} FROM ({query}\n) AS q {beside} ORDER BY {order}"
    assert con.execute(f"DESCRIBE {rows}").fetchall()[0][1] == "INTEGER"
    return [None if i is None else names[i] for (i,) in con.execute(rows).fetchall()], names


SPLITS = """SELECT * FROM (VALUES
  (1, 'train', 0), (2, 'val', 1), (3, 'train', 0), (4, NULL, NULL), (5, 'te''st', 2)) AS t(id, split, fold)"""


# -- columns -----------------------------------------------------------------------------------------------


def test_a_column_of_text(con: duckdb.DuckDBPyConnection) -> None:
    found, names = parts(con, ColumnSplit("split"), SPLITS)
    assert found == ["train", "val", "train", None, "te'st"]
    assert names == ("te'st", "train", "val")


def test_a_column_with_names(con: duckdb.DuckDBPyConnection) -> None:
    assert parts(con, ColumnSplit("split", ["train", "gone"]), SPLITS) == (
        ["train", None, "train", None, None],
        ("train", "gone"),
    )
    found = parts(con, ColumnSplit("fold", {0: "train", 1: "train", 2: "test"}), SPLITS)
    assert found == (["train", "train", "train", None, "test"], ("train", "test"))


def test_columns_of_other_types(con: duckdb.DuckDBPyConnection) -> None:
    query = "SELECT id, fold = 0 AS is_train, split::ENUM('val', 'train', 'te''st') AS e, fold FROM (" + SPLITS + ")"
    assert parts(con, ColumnSplit("is_train", {True: "train"}), query)[0] == ["train", None, "train", None, None]
    assert parts(con, ColumnSplit("is_train"), query)[1] == ("false", "true")
    assert parts(con, ColumnSplit("e"), query)[0] == ["train", "val", "train", None, "te'st"]
    assert parts(con, ColumnSplit("fold"), query)[0] == ["0", "1", "0", None, "2"]


def test_a_column_without_rows(con: duckdb.DuckDBPyConnection) -> None:
    empty = f"{SPLITS} WHERE id > 5"
    assert parts(con, ColumnSplit("split"), empty) == ([], ())
    assert parts(con, ColumnSplit("split", ["train", "val"]), empty) == ([], ("train", "val"))


def test_column_mistakes(con: duckdb.DuckDBPyConnection) -> None:
    with pytest.raises(
        UnknownNameError, match="splits: the query for nodes 'paper' has no column 'splt'; did you mean 'split'"
    ):
        parts(con, ColumnSplit("splt"), SPLITS)
    with pytest.raises(DataError, match="Column 'id' of nodes 'paper' has more than 32 values, such as '0' and '1'"):
        parts(con, ColumnSplit("id"), "SELECT range AS id FROM range(100)")
    with pytest.raises(SchemaError, match="Column 's' of nodes 'paper' has a part '_x'"):
        parts(con, ColumnSplit("s"), "SELECT 1 AS id, '_x' AS s")
    with pytest.raises(SchemaError, match="not the text 'train'"):
        ColumnSplit("split", "train")
    with pytest.raises(SchemaError, match="has a part ''"):
        ColumnSplit("split", {"a": ""})


# -- predicates --------------------------------------------------------------------------------------------


def test_predicates(con: duckdb.DuckDBPyConnection) -> None:
    split = PredicateSplit({"train": "id <= 2 -- and a comment", "val": "q.fold = 0 AND id > 2", "test": "false"})
    assert parts(con, split, SPLITS) == (["train", "train", "val", None, None], ("train", "val", "test"))


def test_predicates_may_not_overlap(con: duckdb.DuckDBPyConnection) -> None:
    split = PredicateSplit({"train": "id <= 3", "val": "id >= 2", "test": "fold IS NULL"})
    with pytest.raises(
        DataError, match=r"3 rows of nodes 'paper' are in several parts of PredicateSplit\(\{'train': 'id <= 3'"
    ):
        parts(con, split, SPLITS)


@pytest.mark.parametrize(
    "condition",
    [
        "id = (SELECT 1)",
        "id; DROP TABLE x",
        "read_csv('/etc/passwd')",
        "yeer < 3",
        "random() < 0.5",
        "count(*) > 1",
        "id =",
        "?",
    ],
)
def test_hostile_predicates(con: duckdb.DuckDBPyConnection, condition: str) -> None:
    with pytest.raises(SqlError, match="'val' in the split of nodes 'paper'"):
        parts(con, PredicateSplit({"train": "id < 3", "val": condition}), SPLITS)


def test_a_predicate_that_fails_while_it_runs(con: duckdb.DuckDBPyConnection) -> None:
    with pytest.raises(SqlError, match="split of nodes 'paper' cannot be run: Could not convert string 'train'"):
        parts(con, PredicateSplit({"train": "split"}), SPLITS)


def test_predicate_mistakes() -> None:
    with pytest.raises(SchemaError, match="no parts"):
        PredicateSplit({})
    with pytest.raises(SchemaError, match="condition of 'train' must be SQL"):
        PredicateSplit({"train": 3})  # type: ignore[dict-item]
    with pytest.raises(SchemaError, match="has a part '_hidden'"):
        PredicateSplit({"_hidden": "true"})


# -- hashes ------------------------------------------------------------------------------------------------


def oracle(key: str, seed: int, shares: dict[str, Any]) -> str | None:
    number, bound = int(hashlib.md5(f"{seed}|{key}".encode()).hexdigest()[:13], 16) / 16**13, 0.0
    for name, share in shares.items():
        bound += share
        if number < bound:
            return name
    return None


def test_a_hash_split_is_what_it_was(con: duckdb.DuckDBPyConnection) -> None:
    split = HashSplit(train=0.6, val=0.2, test=0.2, seed=7)
    found, names = parts(con, split, "SELECT range AS id FROM range(12)")
    assert names == ("train", "val", "test")
    assert "".join(str(p)[1] for p in found) == "rrraeerrrrrr"


@pytest.mark.parametrize("shares", [{"train": 0.6, "val": 0.2, "test": 0.2}, {"a": 0.1, "b": 0.0, "c": 0.7}])
@pytest.mark.parametrize("seed", [0, 1, -5])
def test_hashes_are_the_oracles(con: duckdb.DuckDBPyConnection, shares: dict[str, Any], seed: int) -> None:
    found, _ = parts(con, HashSplit(seed=seed, **shares), "SELECT range AS id FROM range(2000)")
    assert found == [oracle(str(i), seed, shares) for i in range(2000)]


def test_proportions(con: duckdb.DuckDBPyConnection) -> None:
    shares: dict[str, Any] = {"train": 0.5, "val": 0.3, "test": 0.1}
    found, _ = parts(con, HashSplit(**shares), "SELECT range * 3 AS id FROM range(20000)")
    for name, share in [*shares.items(), (None, 0.1)]:
        # five standard deviations of a binomial count
        assert abs(found.count(name) - 20_000 * share) < 5 * (20_000 * share * (1 - share)) ** 0.5


def test_shares_that_add_up_to_one_leave_nothing(con: duckdb.DuckDBPyConnection) -> None:
    shares: dict[str, Any] = {f"p{i}": 0.1 for i in range(10)}  # 0.1 added ten times is less than 1
    found, _ = parts(con, HashSplit(**shares), "SELECT range AS id FROM range(20000)")
    assert None not in found
    sql, _ = HashSplit(**shares).expression(lambda sql: pa.table({}), con, "", {"id": "BIGINT"}, ("id",), "")
    assert "WHEN true THEN 9" in sql


def test_a_row_stays_in_its_part(con: duckdb.DuckDBPyConnection) -> None:
    split = HashSplit(train=0.5, test=0.5)
    many, _ = parts(con, split, "SELECT range AS id FROM range(1000)")
    assert parts(con, split, "SELECT range::INTEGER AS id FROM range(1000) ORDER BY range DESC")[0] == many
    text = "SELECT range::VARCHAR AS id, range AS place FROM range(1000)"
    assert parts(con, HashSplit(train=0.5, test=0.5, columns="id"), text, ("place",))[0] == many
    some, _ = parts(con, split, "SELECT range AS id FROM range(1000) WHERE range % 7 = 3")
    assert some == many[3::7]


def test_hashed_columns(con: duckdb.DuckDBPyConnection) -> None:
    query = "SELECT range AS id, range % 5 AS user, CASE WHEN range < 10 THEN NULL ELSE 'x' END AS u FROM range(20)"
    by_user, _ = parts(con, HashSplit(train=0.5, test=0.5, columns="user"), query)
    assert by_user == by_user[:5] * 4
    both, _ = parts(con, HashSplit(a=0.5, b=0.5, columns=["user", "u"]), query)
    assert both[10:] == [oracle(f"{i % 5}|x", 0, {"a": 0.5, "b": 0.5}) for i in range(10)]
    assert None not in both
    composite, _ = parts(con, HashSplit(a=0.5, b=0.5), query, ("user", "id"))
    assert composite == [oracle(f"{i % 5}|{i}", 0, {"a": 0.5, "b": 0.5}) for i in sorted(range(20), key=lambda i: (i % 5, i))]


def test_hash_mistakes(con: duckdb.DuckDBPyConnection) -> None:
    with pytest.raises(UnknownNameError, match="no column 'usr'; did you mean 'user'"):
        parts(con, HashSplit(train=1, columns="usr"), "SELECT 1 AS id, 2 AS user")
    with pytest.raises(
        SchemaError, match=r"HashSplit\(train=0\.8, test=0\.3, seed=0\): the shares add up to 1\.1, more than 1"
    ):
        HashSplit(train=0.8, test=0.3)
    for wrong in (-0.1, 1.5, float("nan"), "a", True):
        with pytest.raises(SchemaError, match="share of 'train' must be a number from 0 to 1"):
            HashSplit(train=wrong)  # type: ignore[arg-type]
    with pytest.raises(SchemaError, match="has no parts"):
        HashSplit(seed=3)
    with pytest.raises(SchemaError, match="seed must be an integer"):
        HashSplit(seed="a", train=1)  # type: ignore[arg-type]
    with pytest.raises(SchemaError, match="at least one column"):
        HashSplit(train=1, columns=[])


# -- time --------------------------------------------------------------------------------------------------


def test_time_of_distinct_rows(con: duckdb.DuckDBPyConnection) -> None:
    query = "SELECT range AS id, DATE '2020-01-01' + (range * 7 % 10)::INTEGER AS day FROM range(10)"
    found, names = parts(con, TimeSplit("day", train=0.7, val=0.1, test=0.2), query)
    assert names == ("train", "val", "test")
    wanted = ["train"] * 7 + ["val"] + ["test"] * 2
    assert found == [wanted[i * 7 % 10] for i in range(10)]


def test_rows_of_one_time_go_to_the_earlier_part(con: duckdb.DuckDBPyConnection) -> None:
    def split_of(*times: int) -> list[str | None]:
        rows = ", ".join(f"({i}, {t})" for i, t in enumerate(times))
        return parts(con, TimeSplit("t", a=0.5, b=0.25, c=0.25), f"SELECT * FROM (VALUES {rows}) AS v(id, t)")[0]

    assert split_of(1, 2, 3, 4) == ["a", "a", "b", "c"]
    assert split_of(1, 2, 2, 2) == ["a", "a", "a", "a"]
    assert split_of(1, 2, 3, 3) == ["a", "a", "b", "b"]
    assert split_of(5, 5, 5, 5) == ["a"] * 4
    assert split_of(4, 3, 2, 1) == ["c", "b", "a", "a"]


@settings(max_examples=50)
@given(st.lists(st.integers(-3, 3), max_size=12), st.lists(st.sampled_from([0.0, 0.1, 0.25, 1 / 3]), min_size=1, max_size=3))
def test_time_is_the_oracles(times: list[int], shares: list[float]) -> None:
    fractions: dict[str, Any] = {f"p{i}": share for i, share in enumerate(shares)}
    ordered, wanted = sorted(times), dict[int, str | None]()
    for time in ordered:
        wanted[time] = None
        for i, name in reversed(list(enumerate(fractions))):
            bound = sum(shares[: i + 1])
            last = int(bound * len(times) + 0.5)
            if last and time <= ordered[last - 1]:
                wanted[time] = name
    rows = "".join(f" UNION ALL SELECT {i}, {t}" for i, t in enumerate(times))
    with duckdb.connect(config={"threads": "1"}) as con:
        query = f"SELECT * FROM (SELECT 0 AS id, 0 AS t WHERE false{rows})"
        assert parts(con, TimeSplit("t", **fractions), query)[0] == [wanted[t] for t in times]


@pytest.mark.parametrize(
    ("kind", "first", "second"),
    [
        ("DOUBLE", "0.1", "0.30000000000000004"),
        ("FLOAT", "0.1", "'nan'"),
        ("DECIMAL(9, 3)", "0.125", "0.126"),
        ("HUGEINT", "-170141183460469231731687303715884105727", "1"),
        ("UTINYINT", "1", "255"),
        ("DATE", "'-infinity'", "'2020-02-29'"),
        ("TIME", "'01:02:03.000004'", "'01:02:03.000005'"),
        ("TIMESTAMP", "'2020-01-01 00:00:00.000001'", "'2020-01-01 00:00:00.000002'"),
        ("TIMESTAMP_S", "'1969-01-01'", "'infinity'"),
        ("TIMESTAMP_NS", "'2020-01-01 00:00:00.000000001'", "'2020-01-01 00:00:00.000000002'"),
        ("TIMESTAMP WITH TIME ZONE", "'2020-01-01 00:00:00+02'", "'2020-01-01 00:00:00+01'"),
    ],
)
def test_every_kind_of_time(con: duckdb.DuckDBPyConnection, kind: str, first: str, second: str) -> None:
    query = f"SELECT 1 AS id, {first}::{kind} AS t UNION ALL SELECT 2, {second}::{kind}"
    assert parts(con, TimeSplit("t", a=0.5, b=0.5), query)[0] == ["a", "b"]


def test_shares_may_leave_rows_out(con: duckdb.DuckDBPyConnection) -> None:
    query = "SELECT range AS id FROM range(10)"
    assert parts(con, TimeSplit("id", train=0.3, val=0.2), query)[0] == ["train"] * 3 + ["val"] * 2 + [None] * 5


def test_no_rows_and_few(con: duckdb.DuckDBPyConnection) -> None:
    split = TimeSplit("id", train=0.4, test=0.6)
    assert parts(con, split, "SELECT 1 AS id WHERE false") == ([], ("train", "test"))
    assert parts(con, split, "SELECT 1 AS id")[0] == ["test"]


def test_the_order_of_the_session_does_not_matter(con: duckdb.DuckDBPyConnection) -> None:
    con.execute("SET default_order = 'desc'; SET default_null_order = 'nulls_first'")
    query = "SELECT range AS id FROM range(4)"
    sql, _ = TimeSplit("id", a=0.5, b=0.5).expression(
        lambda s: con.sql(s).to_arrow_table(), con, query, {"id": "BIGINT"}, ("id",), ""
    )
    assert con.execute(f"SELECT {sql} FROM ({query}) AS q ORDER BY id ASC").fetchall() == [(0,), (0,), (1,), (1,)]


def test_rows_without_a_time(con: duckdb.DuckDBPyConnection) -> None:
    query = "SELECT * FROM (VALUES (1, 10), (2, NULL), (3, 20), (4, NULL)) AS t(id, t)"
    with pytest.raises(DataError, match=r"Column 't' of nodes 'paper' is NULL in 2 of 4 rows, .*nulls='none'"):
        parts(con, TimeSplit("t", a=0.5, b=0.5), query)
    assert parts(con, TimeSplit("t", a=0.5, b=0.5, nulls="none"), query)[0] == ["a", None, "b", None]


def test_time_mistakes(con: duckdb.DuckDBPyConnection) -> None:
    for kind in ("VARCHAR", "DATE[]", "DECIMAL(9, 3)[2]", "BOOLEAN", "INTERVAL"):
        with pytest.raises(SchemaError, match="a split by time needs a date, timestamp, time or number"):
            parts(con, TimeSplit("t", train=1), f"SELECT 1 AS id, NULL::{kind} AS t")
    with pytest.raises(UnknownNameError, match="no column 'tim'"):
        parts(con, TimeSplit("tim", train=1), "SELECT 1 AS id, 2 AS time")
    with pytest.raises(SchemaError, match="nulls must be"):
        TimeSplit("t", nulls="drop", train=1)
    with pytest.raises(SchemaError, match="more than 1"):
        TimeSplit("t", train=0.9, test=0.2)


def test_names_are_quoted(con: duckdb.DuckDBPyConnection) -> None:
    query = 'SELECT range AS "a""; DROP" FROM range(4)'
    assert parts(con, TimeSplit('a"; DROP', a=0.5, b=0.5), query, ('a"; DROP',))[0] == ["a", "a", "b", "b"]
    assert len(parts(con, HashSplit(a=1), query, ('a"; DROP',))[0]) == 4
    assert parts(con, ColumnSplit('a"; DROP', ["' OR true --", 2]), query, ('a"; DROP',))[0] == [None, None, "2", None]


def test_a_split_shows_itself() -> None:
    assert repr(ColumnSplit("split", ["a"])) == "ColumnSplit('split', ['a'])"
    assert repr(HashSplit(train=0.5, columns=["a"])) == "HashSplit(train=0.5, seed=0, columns=('a',))"
    assert repr(TimeSplit("t", train=0.5, nulls="none")) == "TimeSplit('t', train=0.5, nulls='none')"
