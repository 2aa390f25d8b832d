"""Filters by grammar: every function of DuckDB's over arguments of every kind, every kind of expression that sqlglot knows, and
hostile templates, nested in one another. Each is refused, or runs and does nothing else than to say which rows.

`DBGNN_FILTERS=5000` makes as many; seeded, so that number i is the same in every run.
"""

from __future__ import annotations

import os
import random
import re
import resource
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import duckdb
import pytest
from sqlglot import ErrorLevel, exp

import dbgnn
from dbgnn import Database, SqlError
from dbgnn.duckdb_functions import AGGREGATES_OF_LISTS, LIST_AGGREGATES, OF_THE_ROW, builtin
from dbgnn.stores import DuckDBFeatureStore

COUNT = int(os.environ.get("DBGNN_FILTERS", "500"))

#: How long a filter over the table here may take, and by how much the process may grow.
SECONDS, GROWTH = 5.0, 1 << 30

CANARY = "the canary sings"

#: What DuckDB says where it went to look for an extension.
LOADING = re.compile(r"duckdb_extension\b(?!')|automatically install|in the \w+ extension|INSTALL \w")

#: Atoms by what they are; names are columns of the table.
ATOMS = {
    "number": [
        "n", "year", "id", "score", "0", "1", "-1", "3.5", "1e300", "NULL", "9223372036854775807", "rowid",
        "length(split)",
    ],
    "text": [
        "split", "'a'", "''", "'%'", "'['", "'{f}'", "'INET'", "'threads'", "'counter'", "'sentinel'",
        "'{{\"a\": \"INET\"}}'", "'$.a'", "'SELECT 1'", "'é\u202e'", "E'\\x00'", "$$x$$", "'sum'", "'httpfs'", "'%Y'",
        "'YEAR'", "info::VARCHAR",
    ],
    "list": [
        "nums", "tags", "x", "[]", "[NULL]", "[1, 2]", "['a', NULL]", "[[1], []]", "nums[1:2]", "range(3)",
    ],
    "time": [
        "day", "ts", "DATE '2020-01-01'", "TIME '01:02:03'", "INTERVAL 1 DAY", "TIMESTAMPTZ '2020-01-01 00:00:00+00'",
    ],
    "other": [
        "ok", "info", "s", "m", "ref", "{{'a': 1}}", "MAP {{'k': 1}}", "'\\xAA'::BLOB", "'101'::BIT", "true",
    ],
    "lambda": [
        "lambda v: v", "lambda v: v + 1", "lambda v, i: i", "lambda p, q: p", "lambda v: v > 1", "lambda v: peek(1)",
    ],
}  # fmt: skip

#: Atoms by a part of the name of the type.
OF_TYPE = {
    "LAMBDA": [
        "lambda v: v", "lambda v: v IS NULL", "lambda p, q: p",
    ],
    "VARCHAR[]": [
        "tags", "['a', NULL]", "[]",
    ],
    "[]": [
        "nums", "[1, 2]", "[]",
    ],
    "ARRAY": [
        "x", "[1, 2, 3]::FLOAT[3]",
    ],
    "VARCHAR": [
        "split", "'a'", "''", "'%Y'", "'year'",
    ],
    "DATE": [
        "day",
    ],
    "TIMESTAMP": [
        "ts",
    ],
    "TIME": [
        "TIME '01:02:03'",
    ],
    "INTERVAL": [
        "INTERVAL 1 DAY", "to_days(n)",
    ],
    "JSON": [
        "info",
    ],
    "BOOLEAN": [
        "ok", "true",
    ],
    "BLOB": [
        "'\\xAA'::BLOB",
    ],
    "BIT": [
        "'101'::BIT",
    ],
    "MAP": [
        "m",
    ],
    "STRUCT": [
        "s",
    ],
    "UUID": [
        "ref",
    ],
    "DOUBLE": [
        "score", "0.5", "1e300",
    ],
    "FLOAT": [
        "score::FLOAT",
    ],
    "ANY": [
        "n", "split", "nums", "NULL", "s", "day",
    ],
}  # fmt: skip

#: What is made of a piece ``{0}`` and another ``{1}``; most of it is refused.
TEMPLATES = [
    "{0} = {1}", "{0} IS NULL", "NOT ({0})", "{0} IN ({1}, {0})", "{0} BETWEEN {1} AND {0}", "({0}) AND ({1})",
    "{0} || {1}", "{0} + {1}", "CASE WHEN {0} IS NULL THEN {1} ELSE {0} END", "coalesce({0}, {1})", "try({0})",
    "({0})::VARCHAR", "try_cast({0} AS INTEGER[])", "({0})::INET", "({0})::mood", "{0} COLLATE NOCASE", "{0} COLLATE de",
    "{0} COLLATE nothing", "({0})[1]", "({0})[1:{1}]", "({0})['k']", "[{0}, {1}]", "{{{{'a': {0}}}}}",
    "MAP {{{{'k': {0}}}}}", "{0} -> {1}", "{0} ->> {1}", "[v FOR v IN {0} IF v IS NOT NULL]",
    "list_transform({0}, lambda v: {1})", "list_reduce({0}, lambda p, q: {1})", "list_filter({0}, lambda v: {1})",
    "list_aggregate({0}, {1})", "json_transform({0}, {1})", "from_json({0}, {1})", "read_text({0})", "getenv({0})",
    "query({0})", "EXISTS(FROM {0})", "{0} = (SELECT {1})", "{0} IN (FROM sentinel)", "(FROM read_text('{f}')) = {0}",
    "peek({0})", "twice({0})", "{0}; DROP TABLE sentinel", "{0}) OR ({1}", "{0} -- {1}", "{0} /* {1}", "max({0})",
    "sum({0}) OVER ()", "COLUMNS({0})", "{0} AS {1}", "enable_logging(storage_path = {0})", "write_log({0})",
    "nextval({0})", "{0} LIKE {1} ESCAPE {0}", "{0} SIMILAR TO {1}", "extract(year FROM {0})", "{0} AT TIME ZONE {1}",
    "cast({0} AS STRUCT(a INET))", "repeat({0}, {1})", "range({0}, {1})", "lpad({0}, {1}, {0})", "replace({0}, {1}, {0})",
    "strptime({0}, {1})", "regexp_matches({0}, {1})", "printf({0}, {1})", "{0} {1}", "[[{0}", "{0}]", "(({0}", "main.{0}",
    "{0}.{1}", "({0}).a", "#1 = {0}", "$1 = {0}", "interval ({0}) month", "{0} IS OF ({1})",
]  # fmt: skip


@dataclass
class World:
    """A database beside a file that nobody is to read."""

    db: Database
    fs: DuckDBFeatureStore
    secret: Path

    def state(self) -> tuple[Any, ...]:
        """All that a filter could have changed or read; the access time of the file changes when it is read."""
        con = self.db.connection
        queries = (
            "FROM sentinel",
            "SELECT bit_xor(hash(paper)) FROM paper",
            "SELECT table_name, estimated_size FROM duckdb_tables() ORDER BY ALL ASC",
            "SELECT sequence_name, last_value FROM duckdb_sequences() ORDER BY ALL ASC",
            "SELECT name, value FROM duckdb_settings() ORDER BY ALL ASC",
            "SELECT extension_name FROM duckdb_extensions() WHERE loaded OR installed ORDER BY ALL ASC",
            "SELECT database_name FROM duckdb_databases() ORDER BY ALL ASC",
            "SELECT count(*) FROM duckdb_logs()",
        )
        return (
            *(con.execute(query).fetchall() for query in queries),
            sorted(os.listdir(self.secret.parent)),
            os.stat(self.secret).st_atime_ns,
        )


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("corpus")
    secret = folder / "canary.txt"
    secret.write_text(CANARY)
    os.utime(secret, ns=(10**18, 10**18 + 1))  # last read before it was written: any reading now sets its access time
    with dbgnn.connect(folder / "graph.duckdb", threads=1) as db:
        db.execute(f"""
            CREATE TABLE paper (
                id BIGINT PRIMARY KEY, year INTEGER, n INTEGER, split VARCHAR, day DATE, ts TIMESTAMP, x FLOAT[3],
                tags VARCHAR[], nums INTEGER[], info JSON, s STRUCT(f INTEGER, g VARCHAR), m MAP(VARCHAR, INTEGER), ok BOOLEAN,
                score DOUBLE, ref UUID
            );
            INSERT INTO paper SELECT i, 2000 + i, i - 3, ['train', '1.2.3.4', ''][i % 3 + 1], DATE '2020-01-01' + i::INTEGER,
                TIMESTAMP '2020-01-01', [i, 1, 2], ['a', NULL], [i, 3], '{{"a": "1"}}', {{'f': i, 'g': 'x'}}, MAP {{'k': i}},
                i % 2 = 0, CASE i WHEN 1 THEN 'nan'::DOUBLE ELSE i / 10 END, NULL
            FROM range(8) t(i);
            CREATE TABLE sentinel AS SELECT 42 AS v;
            CREATE SEQUENCE counter;
            CREATE TYPE mood AS ENUM ('ok', 'bad');
            CREATE MACRO peek(x) AS (SELECT content FROM read_text('{secret}'));
            CREATE MACRO twice(x) AS x || x;
            CREATE PROPERTY GRAPH g VERTEX TABLES (paper);
            CHECKPOINT
        """)
        fs, _ = db.get_torch_geometric_remote_backend()
        fs.node_ids("paper", "true")
        yield World(db, fs, secret)


@cache
def signatures() -> list[tuple[str, tuple[str, ...]]]:
    """Return the names of DuckDB's scalar functions and macros, with the types of the arguments of each form."""
    with duckdb.connect() as con:
        query = """
            SELECT lower(function_name), [coalesce(t, 'ANY') FOR t IN parameter_types] FROM duckdb_functions()
            WHERE function_type IN ('scalar', 'macro') AND NOT starts_with(function_name, '__')
                AND NOT contains(function_name, 'collate_')
            ORDER BY ALL ASC
        """
        return [(name, tuple(types)) for name, types in con.execute(query).fetchall()]


@cache
def returning() -> dict[str, list[tuple[str, tuple[str, ...]]]]:
    """Return the forms of functions by the type that they return."""
    found: dict[str, list[tuple[str, tuple[str, ...]]]] = {}
    with duckdb.connect() as con:
        query = """
            SELECT return_type, lower(function_name), parameter_types FROM duckdb_functions()
            WHERE function_type = 'scalar' AND return_type IS NOT NULL AND NOT list_contains(parameter_types, NULL)
            ORDER BY ALL ASC
        """
        for kind, name, types in con.execute(query).fetchall():
            found.setdefault(kind, []).append((name, tuple(types)))
    return found


class Grammar:
    """Makes filters of all kinds; number i is the same in every run."""

    def __init__(self, number: int) -> None:
        self._random = random.Random(f"filters {number}")
        self._functions = sorted(builtin().names | {"peek", "twice", "ours", "getenv", "host", "st_read", "http_get"})
        self._row = sorted(OF_THE_ROW)
        self._kinds = sorted(k.__name__ for k in vars(exp).values() if isinstance(k, type) and issubclass(k, exp.Condition))

    def text(self) -> str:
        """Return a filter; what it would read is written ``{f}``."""
        depth = self._random.choice([1, 1, 2, 2, 3, 4])
        made = self._fitting(*self._random.choice(signatures()), depth) if self._random.random() < 0.5 else self._piece(depth)
        if self._random.random() < 0.9:
            made = f"({made}) IS NOT NULL"
        return made

    def _fitting(self, name: str, types: tuple[str, ...], depth: int) -> str:
        """Return a call with arguments of the types that it wants."""
        arguments = [self._of_type(kind, depth - 1) for kind in types]
        if not name.replace("_", "a").isalnum():
            return f"({f' {name} '.join(arguments)})" if len(arguments) == 2 else f"({name} {''.join(arguments)})"
        return f"{name}({', '.join(arguments)})"

    def _of_type(self, kind: str, depth: int) -> str:
        made = [signature for signature in returning().get(kind, ()) if signature[0] in OF_THE_ROW]
        if depth > 0 and made and self._random.random() < 0.6:
            return self._fitting(*self._random.choice(made), depth)
        return self._random.choice(next((atoms for part, atoms in OF_TYPE.items() if part in kind), ATOMS["number"]))

    def _atom(self) -> str:
        return self._random.choice(ATOMS[self._random.choice([*ATOMS][:-1])])

    def _piece(self, depth: int) -> str:
        chance = self._random.random()
        if depth == 0:
            return self._atom()
        if chance < 0.35:
            first, second = self._piece(depth - 1), self._piece(depth - 1)
            return (
                self._random.choice(TEMPLATES)
                .replace("{0}", first)
                .replace("{1}", second)
                .replace("{{{{", "{{")
                .replace("}}}}", "}}")
            )
        if chance < 0.85:
            return self._call(depth)
        return self._kind(depth)

    def _call(self, depth: int) -> str:
        name = self._random.choice(self._row if self._random.random() < 0.7 else self._functions)
        if not name.replace("_", "a").isalnum():
            return f"{self._piece(depth - 1)} {name} {self._piece(depth - 1)}"
        arguments = [self._piece(depth - 1) for _ in range(self._random.choice([0, 1, 1, 2, 2, 3]))]
        if self._random.random() < 0.15:
            arguments.append(self._random.choice(ATOMS["lambda"]))
        if name in LIST_AGGREGATES and len(arguments) > 1:
            arguments[1] = "'" + self._random.choice(sorted(AGGREGATES_OF_LISTS)) + "'"
        return f"{name}({', '.join(arguments)})"

    def _kind(self, depth: int) -> str:
        """Return what one of sqlglot's expressions looks like in DuckDB's dialect."""
        kind: Any = getattr(exp, self._random.choice(self._kinds))
        names = [name for name, needed in kind.arg_types.items() if needed or self._random.random() < 0.3]
        holes = {name: exp.Var(this=f"hole_{i}_") for i, name in enumerate(names)}
        try:
            text = kind(**holes).sql(dialect="duckdb", unsupported_level=ErrorLevel.IGNORE)
        except Exception:  # noqa: BLE001 - an expression that is not what its arguments should be
            return self._atom()
        for hole in holes.values():
            text = text.replace(hole.name, self._piece(depth - 1))
        return str(text)


def run(world: World, text: str) -> str:
    """Return what came of a filter: "ran" or "refused". Any other error is a failure, and so is a filter that takes long."""
    start, error = time.perf_counter(), ""
    try:
        world.fs.node_ids("paper", text)
    except SqlError as found:
        error = str(found)
    assert time.perf_counter() - start < SECONDS, text
    assert CANARY not in error
    assert not LOADING.search(error), text
    return "refused" if error else "ran"


def test_a_filter_says_which_rows_and_does_nothing_else(world: World) -> None:
    before, size = world.state(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    said = {"ran": 0, "refused": 0}
    for number in range(COUNT):
        text = Grammar(number).text().replace("{{", "{").replace("}}", "}").replace("{f}", str(world.secret))
        said[run(world, text)] += 1
        if number % 25 == 24 or number == COUNT - 1:
            assert world.state() == before, f"one of the filters {number - 24} to {number}"
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - size) << 10 < GROWTH
    assert said["ran"] > COUNT / 12, said
    assert said["refused"] > COUNT / 3, said
