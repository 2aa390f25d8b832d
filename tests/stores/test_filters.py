"""Filters from text: what they select, that they can do nothing else, and what their errors say."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import duckdb
import pytest

import dbgnn
from dbgnn.stores import DuckDBFeatureStore

SECRET = "the-content-of-the-secret"
N = 60


class World(NamedTuple):
    """A database with something to read and to change, and a file beside it."""

    db: dbgnn.Database
    fs: DuckDBFeatureStore
    secret: Path

    def state(self) -> tuple[object, ...]:
        """Everything that a filter might change or, by the file's access time, read."""
        query = self.db.connection.execute
        return (
            query("FROM sentinel").fetchall(),
            query("SELECT sequence_name, last_value FROM duckdb_sequences()").fetchall(),
            query("SELECT table_name, estimated_size FROM duckdb_tables() ORDER BY ALL").fetchall(),
            query("SELECT database_name FROM duckdb_databases() ORDER BY ALL").fetchall(),
            query("SELECT name, value FROM duckdb_settings() WHERE name <> 'TimeZone' ORDER BY ALL").fetchall(),
            query("SELECT sum(year), sum(n) FROM paper").fetchall(),
            sorted(p.name for p in self.secret.parent.iterdir() if not p.name.startswith("graph.duckdb")),
            self.secret.read_text() if self.secret.stat().st_size != len(SECRET) else None,
            self.secret.stat().st_atime_ns,
        )


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("filters")
    secret = folder / "secret.csv"
    secret.write_text(SECRET)
    os.utime(secret, ns=(10**18, 10**18 + 1))  # a file last read before it was written: any reading now sets its access time
    with dbgnn.connect(folder / "graph.duckdb", trusted=True) as db:
        db.execute(
            f"""
            CREATE TABLE paper (
                id BIGINT PRIMARY KEY, year INTEGER, n INTEGER, split VARCHAR, "the year" INTEGER, day DATE, ts TIMESTAMP,
                x FLOAT[3], tags VARCHAR[], nums INTEGER[], info JSON, s STRUCT(f INTEGER, g VARCHAR), m MAP(VARCHAR, INTEGER),
                ok BOOLEAN, score DOUBLE, ref UUID
            );
            INSERT INTO paper SELECT i, 2000 + i % 20, i * 7 % 32 - 8, ['train', 'valid', 'te;st'][i % 3 + 1], i,
                DATE '2020-01-01' + i::INTEGER, TIMESTAMP '2020-01-01' + to_hours(i), [i, 1, 2], ['a', 'b' || i % 4],
                [i % 5, i, 3], '{{"a": ' || i % 2 || '}}', {{'f': i % 3, 'g': 'x'}}, MAP {{'k': i % 3}},
                CASE i % 3 WHEN 0 THEN true WHEN 1 THEN false END, CASE WHEN i % 9 = 0 THEN 'nan'::DOUBLE ELSE i / 10 END, NULL
            FROM range({N}) t(i);
            CREATE TABLE sentinel AS SELECT 42 AS v, '{SECRET}' AS w;
            CREATE SEQUENCE counter;
            CREATE TYPE mood AS ENUM ('ok', 'bad');
            CREATE MACRO peek(x) AS (SELECT content FROM read_text('{secret}'));
            CREATE MACRO look(x) AS (SELECT w FROM sentinel);
            CREATE MACRO twice(x) AS 2 * x;
            CREATE MACRO four_times(x) AS twice(twice(x));
            CREATE MACRO sizes(l) AS list_transform(l, lambda v: v + len(l));
            CREATE MACRO least_of(a, b) AS least(a, b), (a, b, c) AS least(a, b, c);
            CREATE MACRO chance(x) AS x + random();
            CREATE MACRO hidden(x, y := 3) AS x + y;
            CREATE MACRO endless(x) AS 1;
            CREATE MACRO within(x) AS endless(x) + 1;
            CREATE OR REPLACE MACRO endless(x) AS within(x) + 1;
            CREATE MACRO deep(x) AS four_times(chance(x));
            CREATE MACRO read_of(x) AS (SELECT max(v) FROM sentinel) + x;
            CREATE MACRO rows_of(x) AS TABLE SELECT * FROM sentinel;
            CREATE MACRO ucase(x) AS (SELECT w FROM sentinel);
            CREATE MACRO array_aggr(l, f) AS (SELECT w FROM sentinel);
            CREATE PROPERTY GRAPH g VERTEX TABLES (paper);
            """
        )
        fs, _ = db.get_torch_geometric_remote_backend()
        fs.node_ids("paper", "true")  # builds the index
        db.connection.create_function("ours", lambda x: x, ["INTEGER"], "INTEGER")
        db.execute("CHECKPOINT")
        yield World(db, fs, secret)


HOSTILE = [
    # reading files
    "exists(summarize '{f}')",
    "exists(describe '{f}')",
    "exists(FROM '{f}')",
    "exists(SELECT * FROM read_text('{f}'))",
    "(SELECT content FROM read_text('{f}')) LIKE 'the%'",
    "n IN (SELECT 1 FROM '{f}')",
    "n = ANY (SELECT 1 FROM '{f}')",
    "n > ALL (FROM '{f}')",
    "[1] = ARRAY(SELECT 1 FROM '{f}')",
    "length(read_text('{f}')) > 0",
    "peek(n) LIKE 'the%'",
    "main.peek(n) IS NOT NULL",
    "n.peek() IS NOT NULL",
    "coalesce(peek(n), '') <> ''",
    "len(list_transform(nums, lambda v: peek(v))) > 0",
    "len([peek(v) for v in nums]) > 0",
    "CASE WHEN peek(1) = 'x' THEN ok ELSE ok END",
    "try(peek(1)) IS NULL",
    "split[length(peek(1)):] = ''",
    "m[peek(1)] = 1",
    "glob('{f}') = '{f}'",
    "exists(FROM glob('{f}'))",
    "sniff_csv('{f}') IS NULL",
    "exists(PIVOT '{f}' ON a)",
    # reading tables, and the catalog
    "exists(FROM sentinel)",
    "exists(values (1))",
    "exists(TABLE sentinel)",
    "exists(SHOW TABLES)",
    "n IN (FROM rows_of(1))",
    "look(n) = 'x'",
    "(n, year) IN (SELECT v, v FROM sentinel)",
    "ucase(split) = 'x'",
    "array_aggr(nums, 'sum') = 1",
    "sentinel.v = 42",
    "main.sentinel.v = 42",
    "main.array_slice(nums, 1, 2) = [1]",
    "n IN (SELECT v FROM sentinel WHERE v = paper.n)",
    "pg_get_viewdef(1) IS NULL",
    "get_block_size('graph') > 1",
    "index_key({{'table': 'paper'}}, 'x') IS NOT NULL",
    "query('FROM sentinel') IS NULL",
    "json_execute_serialized_sql(json_serialize_sql('SELECT 1')) IS NULL",
    "json_serialize_sql('SELECT 1') IS NOT NULL",
    "json_deserialize_sql(json_serialize_sql('SELECT 1')) = ''",
    "json_serialize_plan('FROM sentinel') IS NOT NULL",
    # statements, and other clauses
    "n = 1; DROP TABLE sentinel",
    "n = 1); DROP TABLE sentinel; --",
    "n = 1); UPDATE sentinel SET v = 0; SELECT (1",
    "n = 1 /* ; */); DELETE FROM sentinel; --",
    "n = 1 --\n); DROP TABLE sentinel --",
    "n = 1) UNION SELECT v FROM sentinel --",
    "n = 1) UNION ALL (SELECT 1",
    "n = 1) OR (n = 2",
    "n = 1) ORDER BY (n",
    "n = 1) LIMIT (1",
    "n = 1) USING SAMPLE (1",
    "(WITH a AS (DELETE FROM sentinel RETURNING 1) SELECT 1) = 1",
    "COPY sentinel TO 'out.csv'",
    "ATTACH 'other.duckdb'",
    "INSTALL httpfs",
    "PRAGMA version",
    "SET threads = 1",
    "$$ $$); DROP TABLE sentinel; --",
    "E'\\'' = ''); DROP TABLE sentinel; --'",
    # state, settings, time and chance
    "nextval('counter') > 0",
    "setval('counter', 5) > 0",
    "currval('counter') > 0",
    "getenv('HOME') <> ''",
    "getvariable('x') IS NULL",
    "current_setting('memory_limit') <> ''",
    "write_log('x') IS NULL",
    "setseed(0.5) IS NULL",
    "random() < 0.5",
    "uuid() = ref",
    "gen_random_uuid() = ref",
    "list_aggregate(nums, 'reservoir_quantile', 0.5) = 1",
    "list_aggregate(nums, split) = 1",
    "now() > ts",
    "today() > day",
    "current_date > day",
    "current_timestamp > ts",
    "localtimestamp > ts",
    "get_current_timestamp() > ts",
    "age(ts) > INTERVAL 1 DAY",
    "ago(INTERVAL 1 DAY) > ts",
    "sleep_ms(1) IS NULL",
    "pg_sleep(0.01) IS NULL",
    "current_query() <> ''",
    "current_query <> ''",
    "current_database() = 'graph'",
    "current_catalog = 'graph'",
    "current_user = 'duckdb'",
    "user = 'duckdb'",
    "current_schemas(true) IS NULL",
    "in_search_path('graph', 'main')",
    "txid_current() > 0",
    "version() <> ''",
    "error('x')",
    "assert_true(ok) IS NULL",
    "stats(n) IS NULL",
    "ours(n) = 2",
    "chance(n) = 2",
    "hidden(n) = 2",
    "endless(n) = 2",
    "within(n) = 2",
    "deep(n) = 2",
    "read_of(n) = 2",
    "list_transform(nums, lambda v: chance(v)) = nums",
    # more than one row or column
    "COLUMNS(n) = 1",
    "COLUMNS('n|year') = 1",
    "COLUMNS(lambda c: c = 'n') = 1",
    "struct_pack(*COLUMNS(*)) IS NULL",
    "paper.* IS NULL",
    "sum(n) > 1",
    "count(*) > 1",
    "n = max(n)",
    "first(n) = 1",
    "list(n) = [1]",
    "row_number() OVER () = 1",
    "lag(n) OVER (ORDER BY id) = 1",
    "sum(n) FILTER (WHERE ok) = 1",
    "lower(DISTINCT split) = 'a'",
    "lower(split ORDER BY n) = 'a'",
    "unnest(nums) = 1",
    "generate_subscripts(nums, 1) = 1",
    "GROUPING(n) = 1",
    "#1 = 1",
    "DEFAULT",
    "n = ?",
    "n = $1",
    "n = :name",
    # extensions that would be downloaded
    "split::inet IS NULL",
    "host(split) IS NULL",
    "st_read(split) IS NULL",
    "http_get(split) IS NULL",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_filters_read_and_change_nothing(world: World, text: str) -> None:
    before = world.state()
    with pytest.raises(dbgnn.SqlError, match="'paper'") as caught:
        world.fs.node_ids("paper", text.format(f=world.secret))
    assert "does not fit" not in str(caught.value)  # refused before DuckDB bound it
    assert SECRET not in str(caught.value)
    assert "\033" not in str(caught.value)
    assert "<class" not in str(caught.value)
    assert world.state() == before


LEGITIMATE = [
    "year > 2015",
    "year > 2015 -- the new ones",
    "year /* in */ > /* AD */ 2015 --",
    "n & 2 NOT IN (0, 1)",
    "n & 2 IN (0, 1)",
    "id > - ~n",
    "- n ** 2 < -4",
    "-n % 3 = 1",
    "n // 2 * 3 - 1 > 4",
    "(n + 8) << 1 | 1 = 9",
    "(n & 3) = 1 OR n ^ 2 = 4 AND NOT ok",
    "NOT n = 1 AND n <> 2",
    "NOT (ok OR n > 3) IS TRUE",
    "ok",
    "ok IS NOT TRUE",
    "ok IS NULL OR ok",
    "ok = (n > 3)",
    "NOT ok",
    "n = 1 OR n = 2 AND year = 2001",
    "n BETWEEN 1 AND 5 AND year NOT BETWEEN 2001 AND 2005",
    "n BETWEEN 1 AND 5 = ok",
    "n IN (1, 2, NULL)",
    "n NOT IN (1, 2)",
    "n IN nums",
    "n IS DISTINCT FROM 3 AND ref IS NULL",
    "split = 'te;st'",
    "split LIKE 'tr%' OR split ILIKE 'VAL%'",
    "split ~ 't.*n' AND split ^@ 't'",
    "split SIMILAR TO '(train|valid)'",
    "split GLOB 'v*'",
    "split[1:2] || 'x' = 'trx'",
    "split COLLATE NOCASE = 'TRAIN'",
    "upper(lower(split)) = 'TRAIN'",
    "starts_with(split, 't') AND length(split) = 5 AND position('r' in split) = 2",
    "substring(split FROM 1 FOR 2) = 'tr' OR trim(BOTH 't' FROM split) = 'e;s'",
    "$$train$$ = split",
    '"the year" < 10',
    '"YEAR" = 2001 AND Paper.n > 0 AND main.paper.n < 20',
    "rowid % 2 = 0",
    "day >= DATE '2020-02-01' AND day < DATE '2020-02-01' + INTERVAL 5 DAY",
    "extract(month FROM day) = 2 AND date_trunc('month', day) = DATE '2020-02-01'",
    "strftime(day, '%d') = '05' OR dayname(day) = 'Monday'",
    "age(ts, TIMESTAMP '2020-01-01') > INTERVAL 1 DAY",
    "ts::DATE = '2020-01-02'",
    "x[1] > 20.5 AND x[-1] = 2",
    "list_dot_product(x::FLOAT[], [1, 0, 0]::FLOAT[]) > 9 AND array_distance(x, [0, 0, 0]::FLOAT[3]) < 30",
    "list_contains(tags, 'b1') OR tags @> ['b2']",
    "len(list_filter(nums, lambda v: v > n)) > 1",
    "list_reduce(list_transform(nums, lambda v, i: v * i), lambda p, q: p + q) > 20",
    "len([v for v in nums if v > 3]) = 1",
    "len(list_filter(nums, lambda current_user: current_user > 3)) = 1",
    "list_transform(nums, lambda v: list_transform([v], lambda w: v + w)[1])[1] = 4",
    "nums[1:2] = [1, 1] OR nums && [7]",
    "s.f = 1 AND s['g'] = 'x' AND (s).f < 2 AND paper.s.f > 0",
    "{'a': n}.a = 1 OR struct_pack(a := n).a = 2",
    "m['k'] = 1 AND map_contains(m, 'k')",
    "(info->'a') = '1'",
    "(info->>'a')::INTEGER = 1",
    "info->>'$.a' = '1' AND json_extract(info, '$.a')::INT = 1",
    "json_type(info->'a') = 'UBIGINT'",
    "CASE WHEN n > 3 THEN ok WHEN n < 0 THEN true END",
    "coalesce(ok, n > 3) AND nullif(n, 3) IS NOT NULL AND ifnull(ok, true)",
    "if(n > 3, ok, NOT ok)",
    "try_cast(split AS INTEGER) IS NULL",
    "try(split::INTEGER) IS NULL",
    "n::VARCHAR = '1' OR CAST(n AS DECIMAL(5, 1)) = 2.0",
    "hash(id) % 10 < 3",
    "isnan(score) OR round(score, 1) = 1.1 OR @score > 5.5",
    "greatest(n, year) = year AND least(n, 3) = 3 AND bit_count(n) > 2",
    "(n, year) = (1, 2003) OR (n, year) IN ((6, 2002), (13, 2003))",
    "1e1 > n AND 1_000 > n AND .5 < n",
    "true",
    "false",
    "try_cast(split AS mood) IS NULL",
    "twice(n) = 2",
    "four_times(n + 1) = 8 AND twice(x := n) = 2",
    "sizes(nums)[1] = 4 OR least_of(n, 1, 2) = 1",
    "lpad(split, 6, '-') = '-train' OR repeat('a', 3) = split OR n IN range(1, 5)",
    "format('{:02d}-{}', n, split) = '01-train' OR printf('%04d', n) = '0003'",
    " + ".join(["n"] * 900) + " > 0",
    "split || " * 900 + "'x' LIKE 'train%'",
    " OR ".join(f"n = {i % 7}" for i in range(3000)),
    f"id IN ({', '.join(map(str, range(5, 8000)))})",
    "((((((((((" * 10 + "n > 3" + "))))))))))" * 10,
]


@pytest.mark.parametrize("text", LEGITIMATE)
def test_filters_select_what_duckdb_selects(world: World, text: str) -> None:
    expected = world.db.connection.execute(f"SELECT id FROM paper WHERE {text}\n ORDER BY id").fetchall()
    assert world.fs.node_ids("paper", text).tolist() == [i for (i,) in expected]


def test_the_legitimate_filters_are_no_formality(world: World) -> None:
    sizes = [len(world.fs.node_ids("paper", text)) for text in LEGITIMATE]
    assert sum(0 < size < N for size in sizes) > 0.8 * len(LEGITIMATE)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("year", "must be a condition, of type BOOLEAN, but 'year' is of type INTEGER"),
        ("1/0", "is of type DOUBLE"),
        ("split", "is of type VARCHAR"),
        ("NULL", "is of type NULL"),
        ("nums", r"is of type INTEGER\[\]"),
        ("year < ", "it ends too early"),
        ("yeer > 1", "'yeer', which is no column of table 'paper'; did you mean 'year'"),
        ("paper.yeer > 1", "'paper.yeer', which is no column"),
        ('split = "a"', "'a', which is no column of table 'paper'; text takes single quotes: 'a'"),
        ("s.h = 1", "does not fit table 'paper'.*year INTEGER"),
        ("split ~ '['", "does not fit table 'paper'.*missing ]"),
        ("strptime(split, '%Q') IS NULL", "does not fit table 'paper'"),
        ("chr(-1) = 'a'", "does not fit table 'paper'"),
        ("(n * 9223372036854775807::BIGINT) % 5 = 1", "does not fit table 'paper'.*Overflow"),
        ("split::INTEGER = 1", "does not fit table 'paper'.*'(train|valid|te;st)'"),
        ("split > DATE '2020-01-01' + 'x'", "does not fit table 'paper'"),
        ("substr(split) = 'a'", "does not fit table 'paper'"),
        ("json_extract(split, '$.a') IS NULL", "does not fit table 'paper'"),
        ("'{\"a\": 1}'->'a' = 1", "does not fit table 'paper'"),
    ],
)
def test_filters_that_do_not_fit(world: World, text: str, message: str) -> None:
    with pytest.raises(dbgnn.SqlError, match=message) as caught:
        world.fs.node_ids("paper", text)
    said = str(caught.value)
    assert "paper" in said
    assert "\033" not in said
    assert "<class" not in said
    assert "LINE 1" not in said  # a statement that the user did not write


@pytest.mark.parametrize("error", [duckdb.IOException, duckdb.InterruptException])
def test_errors_that_are_not_the_filters_pass(world: World, monkeypatch: pytest.MonkeyPatch, error: type[Exception]) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise error("IO Error: the disk is gone")

    monkeypatch.setattr(world.db, "arrow", fail)
    with pytest.raises(error, match="the disk is gone"):
        world.fs.node_ids("paper", "year > 2015")


def test_out_of_memory_is_a_resource_error(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise duckdb.OutOfMemoryException("Out of Memory Error: failed to allocate")

    monkeypatch.setattr(world.db, "arrow", fail)
    with pytest.raises(dbgnn.ResourceError, match="memory_limit"):
        world.fs.node_ids("paper", "year > 2015")
