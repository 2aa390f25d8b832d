"""Hostile names, predicates, queries and values through every way in: each is a plain name or value, or an error of ours.

None of them may read or write anything else. After every attempt the whole world is compared with what it was before:
the folder, a canary file and when it was last read, the tables, and DuckDB's settings, databases and extensions.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
import torch
from torch_geometric.data import HeteroData

import dbgnn
from dbgnn import Database, DbgnnError, Graph
from dbgnn.sql import quote
from dbgnn.stores import DuckDBFeatureStore

#: What the canary file and the table of others say; a number, so that tensors can be searched for it.
SECRET = 73577357

# fmt: off
NAMES = [
    *"select from where table order null rid pos id dst e temp main dbgnn node".split(),
    "x.y", "a b", " a", "\t", "a\nb", "a\r\nb", ".", ",", "*", "$1", '"', '""', "'", "''", "`",
    'a"b', "a'b", "{a}", "a)", "\\", "%s", "--", "/*", "/* x */", ";", "x; DROP TABLE sentinel",
    'x"; DROP TABLE sentinel; --', '") FROM sentinel --', "\"; ATTACH 'evil.duckdb'; --",
    '" AS x, * FROM sentinel --', "read_csv('canary.csv')", "canary.csv", "COPY sentinel TO 'evil.csv'",
    "getenv('HOME')", "../evil", "/etc/passwd", "C:\\evil\\", "$$x$$", "日本語", "😀", "\u202e", "\ufeff", "İ",
    "\x01", "x" * 1000, '"' * 300, "__class__", "a__b", "_", "0", "NaN", "CURRENT_DATE", "COLUMNS(*)",
]
# fmt: on

#: Names that no table of DuckDB can have, or that PyG keeps for itself; each must be an error of ours.
IMPOSSIBLE = ["", "\0", "a\0b", "\ud800", "a\udfffb"]

PREDICATES = [
    # reading files, the environment and the catalog
    "exists(FROM 'canary.csv')",
    "exists(SELECT * FROM read_text('canary.csv'))",
    "(SELECT content FROM read_text('canary.csv')) LIKE '7%'",
    "year IN (SELECT * FROM read_csv('canary.csv'))",
    "year = (FROM 'canary.csv')",
    "length(read_text('canary.csv')) > 0",
    "read_blob('canary.csv') IS NOT NULL",
    "len(glob('*')) > 0",
    "exists(FROM glob('/*'))",
    "sniff_csv('canary.csv') IS NOT NULL",
    "getenv('HOME') <> ''",
    "GetEnv('HOME') <> ''",
    "\"getenv\"('HOME') <> ''",
    "main.getenv('HOME') <> ''",
    "system.main.getenv('HOME') <> ''",
    "'HOME'.getenv() <> ''",
    "len(list_transform(['HOME'], lambda v: getenv(v))) > 0",
    "coalesce(peek(year), 0) > 0",
    "peek(year) > 0",
    "look(year) > 0",
    "main.look(year) > 0",
    "year.look() > 0",
    "year IN (FROM rows_of(1))",
    "exists(FROM sentinel)",
    "exists(TABLE sentinel)",
    "year < (SELECT max(v) FROM sentinel)",
    "sentinel.v > 0",
    "main.sentinel.v > 0",
    "exists(SHOW TABLES)",
    "exists(DESCRIBE sentinel)",
    "exists(SUMMARIZE sentinel)",
    "exists(FROM duckdb_settings())",
    "current_setting('threads') > 0",
    "current_user = 'duckdb'",
    "current_database() = 'graph'",
    "version() LIKE 'v%'",
    "pg_get_viewdef(1) IS NULL",
    "query('FROM sentinel') IS NULL",
    "query_table('sentinel') IS NULL",
    "json_execute_serialized_sql(json_serialize_sql('FROM sentinel')) IS NULL",
    "getvariable('x') IS NULL",
    "nextval('counter') > 0",
    "currval('counter') > 0",
    "txid_current() > 0",
    "in_search_path('graph', 'main')",
    "has_table_privilege('sentinel', 'SELECT')",
    # statements
    "1 = 1; DROP TABLE sentinel",
    "1 = 1); DROP TABLE sentinel; --",
    "1 = 1; ATTACH 'evil.duckdb'",
    "1 = 1); COPY sentinel TO 'evil.csv'; SELECT (1",
    "COPY sentinel TO 'evil.csv'",
    "EXPORT DATABASE 'evil'",
    "PRAGMA threads=1",
    "SET threads = 1",
    "INSTALL httpfs",
    "LOAD httpfs",
    "CALL pragma_version()",
    "CHECKPOINT",
    "CREATE TABLE evil (a INTEGER)",
    "DELETE FROM sentinel",
    "UPDATE sentinel SET v = 0",
    "year = (DELETE FROM sentinel RETURNING v)",
    "year IN (WITH gone AS (DELETE FROM sentinel RETURNING v) FROM gone)",
    "exists(WITH gone AS (UPDATE sentinel SET v = 0 RETURNING v) FROM gone)",
    "year = (INSERT INTO sentinel VALUES (1, 'x') RETURNING v)",
    "BEGIN",
    "USE temp",
    # other clauses, and what is no condition
    "1 = 1) UNION SELECT v FROM sentinel --",
    "1 = 1) OR (1 = 1",
    "true) LIMIT 1 --",
    "true ORDER BY year",
    "true GROUP BY year",
    "true QUALIFY true",
    "count(*) > 0",
    "max(year) > 0",
    "row_number() OVER () = 1",
    "*",
    "COLUMNS(*) > 0",
    "year = ?",
    "year = $1",
    "year = $x",
    "random() < 0.5",
    "uuid() IS NOT NULL",
    "now() IS NOT NULL",
    "year AS x",
    "year = 1 --\n) OR true",
    "year = 1 /*",
    "year = 'x",
    'year = "x',
    "year = $$",
    "",
    " ",
    ";",
    "--",
    "\0",
    "year = '\0'",
    "year = '\ud800'",
    "(" * 3000,
    "not " * 3000 + "true",
    "(" * 2000 + "true" + ")" * 2000,
    "year::nothing = 1",
    "year::getenv = 1",
    "error('x')",
    "nothing = 1",
    "write_log('x') IS NULL",
    "list_skewness([year, look(1)]) > 0",
    "list_aggregate([year], 'nothing') > 0",
]

#: Queries that write, act or are none. Reading files is what a query may do, so those are not here.
QUERIES = [
    "",
    ";",
    "--",
    "/*",
    "SELECT",
    "SELECT 1; SELECT 2",
    "SELECT id, year FROM paper; DROP TABLE sentinel",
    "SELECT id, year FROM paper); DROP TABLE sentinel; --",
    "SELECT id, year FROM paper) AS q; DELETE FROM sentinel; --",
    "DROP TABLE sentinel",
    "DELETE FROM sentinel",
    "DELETE FROM sentinel RETURNING v",
    "INSERT INTO sentinel VALUES (1, 'x') RETURNING v",
    "UPDATE sentinel SET v = 0 RETURNING v",
    "MERGE INTO sentinel USING (SELECT 1 AS s) u ON sentinel.v = u.s WHEN NOT MATCHED THEN INSERT VALUES (1, 'x')",
    "TRUNCATE sentinel",
    "WITH gone AS (DELETE FROM sentinel RETURNING v) FROM gone",
    "WITH gone AS (DELETE FROM sentinel RETURNING v) SELECT p FROM paper p JOIN gone ON true",
    "WITH gone AS (UPDATE sentinel SET v = 0 RETURNING v) SELECT v, v FROM gone",
    "WITH new AS (INSERT INTO sentinel VALUES (1, 'x') RETURNING v) SELECT v, v FROM new",
    "SELECT p FROM paper p WHERE id IN (WITH gone AS (DELETE FROM sentinel RETURNING v) FROM gone)",
    "SELECT * FROM (WITH gone AS (DELETE FROM sentinel RETURNING v) FROM gone)",
    "CREATE TABLE evil AS SELECT 1",
    "CREATE TEMP TABLE evil AS SELECT 1",
    "CREATE OR REPLACE TABLE sentinel AS SELECT 1 AS v",
    "CREATE VIEW evil AS SELECT 1",
    "CREATE MACRO evil(x) AS 1",
    "CREATE PROPERTY GRAPH evil VERTEX TABLES (paper)",
    "DROP PROPERTY GRAPH g",
    "ALTER TABLE sentinel ADD COLUMN z INTEGER",
    "COPY sentinel TO 'evil.csv'",
    "COPY (SELECT 1) TO 'evil.parquet'",
    "COPY sentinel FROM 'canary.csv'",
    "EXPORT DATABASE 'evil'",
    "IMPORT DATABASE 'evil'",
    "ATTACH 'evil.duckdb'",
    "ATTACH 'evil.duckdb' AS evil; SELECT 1",
    "DETACH graph",
    "USE temp",
    "SET threads = 1",
    "SET VARIABLE x = 1",
    "RESET threads",
    "PRAGMA threads=1",
    "PRAGMA enable_profiling",
    "CALL enable_logging()",
    "SELECT * FROM enable_logging()",
    "FROM enable_profiling()",
    "FROM force_checkpoint()",
    "SELECT * FROM pragma_database_size(), enable_logging()",
    "INSTALL httpfs",
    "LOAD httpfs",
    "FORCE INSTALL spatial",
    "UPDATE EXTENSIONS",
    "BEGIN",
    "COMMIT",
    "ROLLBACK",
    "CHECKPOINT",
    "VACUUM",
    "ANALYZE",
    "PREPARE evil AS DROP TABLE sentinel",
    "EXECUTE evil",
    "EXPLAIN ANALYZE DELETE FROM sentinel",
    "SELECT nextval('counter'), 1",
    "SELECT id, nextval('counter') FROM paper",
    "SELECT setseed(0.5), 1",
    "SELECT write_log('evil'), 1",
    "SELECT * FROM query('DELETE FROM sentinel')",
    "SELECT * FROM query('SELECT 1; DROP TABLE sentinel')",
    "SELECT * FROM query_table('sentinel')",
    "SELECT * FROM json_execute_serialized_sql(json_serialize_sql('SELECT 1'))",
    "SELECT id, \0 FROM paper",
    "SELECT id, '\ud800' FROM paper",
    "SELECT " + "(" * 300,
    "SELECT id, " + "-" * 3000 + "1 FROM paper",
    "SELECT * FROM getenv('HOME')",
    "SELECT p FROM paper p, nothing",
    "SELECT nothing FROM paper",
    "MATCH (p:paper) RETURN p",
    "PIVOT paper ON year USING count(*)",
]

# fmt: off
VALUES = [
    "", " ", "'", "''", '"', "\\", "\\'", "--", "/*", "*/", ";", "\0", "a\0b", "\n", "%", "_", "?", "$1", "$x", "NULL",
    "null", "true", "' OR 1=1 --", "'; DROP TABLE sentinel; --", '"; DROP TABLE sentinel; --',
    "x' UNION SELECT v FROM sentinel --", "') --", "\ud800", "read_csv('canary.csv')", "canary.csv",
    "(SELECT v FROM sentinel)", "getenv('HOME')", "COPY sentinel TO 'evil.csv'", "$$x$$", "é", "日本語", "😀", "\u202e",
    "\ufeff", "x" * 3000, "{}", "[1]", "0x10", "1e999", "NaN", "{{7*7}}", "%s", "${HOME}", "`id`", -1, 2**63, -(2**63),
    2**64, 2**200, 1.5, float("nan"), float("inf"), None, True, b"\x00'\xff", [], {}, [["'"]], {"'": '"'}, object(),
    Path("canary.csv"), np.int64(3), np.float32(1), np.array(["'; --"]), torch.tensor(1), (1, "'"), slice(None),
]
# fmt: on


def test_there_are_two_hundred_and_more() -> None:
    assert len({*NAMES, *IMPOSSIBLE}) + len(set(PREDICATES)) + len(set(QUERIES)) + len(VALUES) >= 200


# -- the world, and what must not happen to it --------------------------------------------------------------------


class World:
    """A database in a folder with a canary; `attempt` runs something hostile and looks at what comes of it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.canary = folder, folder / "canary.csv"
        self.canary.write_text(f"{SECRET}\n")
        os.utime(self.canary, ns=(10**18, 10**18 + 1))  # last read before it was written: any reading now sets its access time
        self.db = dbgnn.connect(folder / "graph.duckdb", progress=False, trusted=True)
        self.db.execute(
            f"""CREATE TABLE paper (id BIGINT PRIMARY KEY, year INTEGER, split VARCHAR, x FLOAT[2]);
            INSERT INTO paper SELECT i, 2000 + i, ['train', 'val'][i % 2 + 1], [i, 1] FROM range(6) t(i);
            CREATE TABLE cites (src BIGINT, dst BIGINT, year INTEGER);
            INSERT INTO cites SELECT i, (i * 2) % 6, 2000 + i FROM range(6) t(i);
            CREATE TABLE sentinel AS SELECT {SECRET} AS v, 'w' AS w;
            CREATE SEQUENCE counter;
            CREATE MACRO peek(x) AS (SELECT length(content) FROM read_text('canary.csv'));
            CREATE MACRO look(x) AS (SELECT v FROM sentinel);
            CREATE MACRO rows_of(x) AS TABLE SELECT v FROM sentinel;
            CREATE MACRO list_skewness(x) AS (SELECT v FROM sentinel);
            CREATE PROPERTY GRAPH g VERTEX TABLES (paper KEY (id) PROPERTIES (x, year)) EDGE TABLES (
                cites SOURCE KEY (src) REFERENCES paper (id) DESTINATION KEY (dst) REFERENCES paper (id) PROPERTIES (year));"""
        )
        self.graph: Graph = self.db.graph("g").build()
        self.features: DuckDBFeatureStore = self.db.get_torch_geometric_remote_backend("g")[0]
        self.before = self.state()

    def state(self, *, wholly: bool = False) -> tuple[object, ...]:
        """Everything that might be changed or, by the canary's access time, read; ``wholly``: what takes long to ask, too."""
        ask = self.db.connection.execute
        slow = (
            "SELECT function_name FROM duckdb_functions() WHERE NOT internal ORDER BY ALL",
            "SELECT extension_name, loaded, installed FROM duckdb_extensions() ORDER BY ALL",
            "SELECT name, value FROM duckdb_settings() ORDER BY ALL",
        )
        quick = (
            "SELECT database_name, schema_name, table_name, sql FROM duckdb_tables() ORDER BY ALL",
            "SELECT view_name FROM duckdb_views() WHERE NOT internal ORDER BY ALL",
            "SELECT sequence_name, last_value FROM duckdb_sequences() ORDER BY ALL",
            "SELECT database_name, path FROM duckdb_databases() ORDER BY ALL",
            "SELECT current_schema(), getvariable('x'), current_setting('threads'), current_setting('profiling_mode')",
            "SELECT name, definition FROM dbgnn.graphs ORDER BY ALL",
            *(f"SELECT count(*), bit_xor(hash(hash(t))) FROM {t} t" for t in ("sentinel", "paper", "cites")),
        )
        paths = sorted(str(path.relative_to(self.folder)) for path in self.folder.rglob("*"))
        return (
            [path for path in paths if not path.startswith("graph.duckdb")],
            self.canary.stat().st_size,
            self.canary.stat().st_atime_ns,
            *(ask(query).fetchall() for query in (*quick, *(slow if wholly else ()))),
        )

    def unchanged(self) -> bool:
        """Whether all is as it was."""
        return self.state() == self.before

    def attempt(self, call: Callable[[], object]) -> object:
        """Return what ``call`` gives, or the error of ours that it raises; neither shows the secret."""
        result: object
        try:
            result = call()
        except DbgnnError as error:
            result = error
        except (duckdb.InvalidInputException, UnicodeEncodeError) as error:
            if "surrogate" not in str(error):  # half a character: no text of UTF-8 has it, and Python says so
                raise
            result = DbgnnError(str(error))
        assert str(SECRET) not in _shown(result)
        return result


def _shown(result: object) -> str:
    """Return everything that is in a result or an error, as text."""
    if isinstance(result, DbgnnError):
        return f"{result} {result.__cause__} {result.__context__}"
    if isinstance(result, HeteroData):
        return " ".join(f"{key}: {_shown(value)}" for store in result.stores for key, value in store.items())
    return str(result.tolist() if isinstance(result, torch.Tensor) else result)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("hostile")
        patch.chdir(folder)  # so that a file named without a folder would be found, and made, there
        world = World(folder)
        before = world.state(wholly=True)
        yield world
        assert world.state(wholly=True) == before
        world.db.close()


def _id(value: object) -> str:
    return "an object" if type(value) is object else ascii(value)[:50]


def _some(ways: dict[str, Callable[[], object]], turn: int) -> list[tuple[str, Callable[[], object]]]:
    """Return four of the ways in: which, goes round, so that every way sees a good part of what is hostile, in seconds."""
    names = list(ways)
    return [(name, ways[name]) for name in {names[(4 * turn + i) % len(names)] for i in range(4)}]


# -- predicates ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", PREDICATES, ids=_id)
def test_a_hostile_predicate_is_refused_everywhere(world: World, text: str) -> None:
    ways = {
        "node_ids": lambda: world.features.node_ids("paper", text),
        "where nodes": lambda: world.graph.to_heterodata(where={"paper": text}),
        "where edges": lambda: world.graph.to_heterodata(where={"cites": text}),
        "seeds": lambda: world.graph.to_heterodata(seeds=("paper", text), hops=1),
        "split": lambda: world.graph.to_heterodata(splits={"paper": {"train": text}}),
        "split by type": lambda: dbgnn.query_to_heterodata(
            world.db, nodes={"paper": "SELECT id, year FROM paper"}, splits={"paper": dbgnn.PredicateSplit({"train": text})}
        ),
        "fit": lambda: world.graph.to_heterodata(encoders={"paper": {"n": dbgnn.Normalize("year")}}, fit={"paper": text}),
    }
    for way, call in _some(ways, PREDICATES.index(text)):
        assert isinstance(world.attempt(call), DbgnnError), way
    assert world.unchanged()


@pytest.mark.parametrize("text", PREDICATES[::8], ids=_id)
def test_a_hostile_predicate_is_refused_by_a_loader(world: World, text: str) -> None:
    stores = world.db.get_torch_geometric_remote_backend("g")
    loader = world.attempt(lambda: dbgnn.NeighborLoader(stores, [1], input_nodes=("paper", text)))
    assert isinstance(loader, DbgnnError)
    assert world.unchanged()


# -- queries ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", QUERIES, ids=_id)
def test_a_query_that_does_more_than_read_is_refused_everywhere(world: World, text: str) -> None:
    paper = {"paper": "SELECT id, year FROM paper"}
    ways = {
        "pattern": lambda: dbgnn.query_to_heterodata(world.db, text),
        "nodes": lambda: dbgnn.query_to_heterodata(world.db, nodes={"paper": text}),
        "edges": lambda: dbgnn.query_to_heterodata(world.db, nodes=paper, edges={("paper", "to", "paper"): text}),
        "attribute": lambda: dbgnn.query_to_heterodata(world.db, nodes=paper, attributes={"paper": {"y": text}}),
    }
    for way, call in ways.items():
        assert isinstance(world.attempt(call), DbgnnError), way
    assert world.unchanged()


# -- names --------------------------------------------------------------------------------------------------------

#: Aliases that are no column's name.
PATTERN = """SELECT "the node" AS {label}, "the edge"
    FROM {nodes} "the node" JOIN {edges} "the edge" ON "the node".{key} = "the edge".{key}"""


@pytest.fixture(scope="module")
def named(world: World) -> Iterator[Database]:
    """A database beside the world, for tables of every name."""
    with dbgnn.connect(progress=False) as db:
        db.execute("CREATE TABLE sentinel AS SELECT 1 AS v")
        yield db
        assert db.connection.execute("SELECT table_name FROM duckdb_tables() WHERE schema_name = 'main'").fetchall() == [
            ("sentinel",)
        ]


def _make(db: Database, name: str) -> tuple[str, str]:
    """Make a table of nodes, one of edges, and their graph, with ``name`` for whatever has one; return the tables in SQL."""
    nodes, edges, key, other = quote(name), quote(name + '" e'), quote(name), quote(name + "_d")
    db.execute(
        f"CREATE TABLE {nodes} ({key} BIGINT, {quote(name + '_f')} FLOAT); INSERT INTO {nodes} VALUES (3, 0.5), (5, 1.5)"
    )
    db.execute(f"CREATE TABLE {edges} ({key} BIGINT, {other} BIGINT); INSERT INTO {edges} VALUES (5, 3), (5, 3)")
    db.execute(
        f"""CREATE PROPERTY GRAPH {key} VERTEX TABLES ({nodes} KEY ({key})) EDGE TABLES ({edges} SOURCE KEY ({key})
        REFERENCES {nodes} ({key}) DESTINATION KEY ({other}) REFERENCES {nodes} ({key}) LABEL {key})"""
    )
    return nodes, edges


@pytest.mark.filterwarnings("ignore:There exist type names")  # PyG's word on double underscores
@pytest.mark.parametrize("name", NAMES, ids=_id)
def test_a_hostile_name_is_a_plain_name_everywhere(world: World, named: Database, name: str) -> None:
    edge, feature, key = (name, name, name), name + "_f", quote(name)
    nodes, edges = _make(named, name)
    graph = named.graph(name)
    assert (graph.name, graph.node_types, graph.edge_types) == (name, [name], [edge])
    text = PATTERN.format(label=key, nodes=nodes, edges=edges, key=key)
    data = world.attempt(lambda: dbgnn.query_to_heterodata(named, text, graph=name, keys=True))
    assert isinstance(data, HeteroData), data
    assert data[name][name].tolist() == [3, 5]
    assert data[edge].edge_index.tolist() == [[1, 1], [0, 0]]
    if NAMES.index(name) % 2:
        data = world.attempt(
            lambda: dbgnn.query_to_heterodata(
                named,
                nodes={name: f"FROM {nodes} ORDER BY {key}"},
                edges={edge: f"FROM {edges}"},
                keys={name: name},
                splits={name: {"train": f"{key} = 5"}},
                encoders={name: {"n": dbgnn.Normalize(feature)}},
            )
        )
        assert isinstance(data, HeteroData), data
        assert data[name].train_mask.tolist() == [False, True]
        assert data[edge].edge_index.tolist() == [[1, 1], [0, 0]]
    else:
        data = world.attempt(lambda: graph.to_heterodata(where={name: f"{key} > 3"}, columns={name: [feature]}))
        assert isinstance(data, HeteroData), data
        assert data[name][feature].tolist() == [1.5]
    named.execute(f"DROP PROPERTY GRAPH {key}; DROP TABLE {nodes}; DROP TABLE {edges}")
    assert world.unchanged()


@pytest.mark.filterwarnings("ignore:There exist type names")  # PyG's word on double underscores
@pytest.mark.parametrize("name", NAMES[::14], ids=_id)
def test_a_hostile_name_is_a_plain_name_to_index_and_stores(world: World, named: Database, name: str) -> None:
    nodes, edges = _make(named, name)
    features, edge_store = named.get_torch_geometric_remote_backend(name)
    assert features.node_ids(name, f"{nodes} = 5").tolist() == [1]
    assert features.get_tensor(name, name + "_f", index=None).tolist() == [0.5, 1.5]
    loader = dbgnn.NeighborLoader((features, edge_store), {(name, name, name): [1]}, input_nodes=(name, [0]))
    assert next(iter(loader))[name].n_id.tolist() == [0, 1]
    graph = named.graph(name)
    found: dict[str, Any] = {name + "_w": torch.tensor([1.0, 2.0])}
    assert graph.write_back(name, **found) == 2
    side = quote(name + " side")
    assert graph.write_back(name, keys=[5, 3], into=side, **found) == 2
    assert named.execute(f"FROM {side} ORDER BY ALL").fetchall() == [(3, 2.0), (5, 1.0)]
    assert named.execute(f"SELECT {quote(name + '_w')} FROM {nodes} ORDER BY {nodes}").fetchall() == [(1.0,), (2.0,)]
    named.execute(
        f"DROP PROPERTY GRAPH {nodes}; DROP TABLE {nodes}; DROP TABLE {edges}; DROP TABLE {side}; DROP SCHEMA dbgnn CASCADE"
    )
    assert world.unchanged()


@pytest.mark.parametrize("name", IMPOSSIBLE, ids=_id)
def test_what_cannot_be_a_name_is_an_error_everywhere(world: World, name: str) -> None:
    ways = {
        "graph": lambda: world.db.graph(name),
        "table": lambda: world.db.execute(f'CREATE PROPERTY GRAPH h VERTEX TABLES ("{name}" KEY (id))'),
        "column": lambda: world.db.execute(f'CREATE PROPERTY GRAPH h VERTEX TABLES (paper KEY ("{name}"))'),
        "columns": lambda: world.graph.to_heterodata(columns={"paper": [name]}),
        "where": lambda: world.graph.to_heterodata(where={name: "true"}),
        "keys": lambda: dbgnn.query_to_heterodata(world.db, nodes={"p": "SELECT id FROM paper"}, keys={"p": name}),
        "time": lambda: world.graph.to_heterodata(time={"paper": name}),
        "split": lambda: world.graph.to_heterodata(splits={"paper": name}),
        "encoder": lambda: world.graph.to_heterodata(encoders={"paper": {"z": dbgnn.OneHot(name)}}),
    }
    for way, call in ways.items():
        assert isinstance(world.attempt(call), DbgnnError), way
    assert world.unchanged()


# -- values -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", VALUES, ids=_id)
def test_a_hostile_value_is_a_value_or_an_error(world: World, value: Any) -> None:
    query = "SELECT id, year FROM paper WHERE split = CAST($v AS VARCHAR)"
    ways = {
        "by type": lambda: dbgnn.query_to_heterodata(world.db, nodes={"paper": query}, params={"v": value}),
        "pattern": lambda: dbgnn.query_to_heterodata(
            world.db, "SELECT p FROM paper p WHERE split = CAST(? AS VARCHAR)", params=[value]
        ),
    }
    for way, call in ways.items():
        data = world.attempt(call)
        assert isinstance(data, DbgnnError) or (isinstance(data, HeteroData) and data["paper"].num_nodes == 0), (way, data)
    read = {"paper": "SELECT id, CAST($v AS VARCHAR) AS word FROM paper"}
    world.attempt(
        lambda: dbgnn.query_to_heterodata(
            world.db, nodes=read, params={"v": value}, encoders={"paper": {"c": dbgnn.OneHot("word")}}, splits={"paper": "word"}
        )
    )
    assert isinstance(world.attempt(lambda: world.features.ids("paper", [value])), (DbgnnError, torch.Tensor))
    assert world.unchanged()


@pytest.mark.parametrize("value", [v for v in VALUES if isinstance(v, str)], ids=_id)
def test_hostile_text_in_the_place_of_a_name_is_an_error(world: World, value: str) -> None:
    ways = {
        "graph": lambda: world.db.graph(value),
        "type": lambda: world.graph.to_heterodata(where={value: "true"}),
        "edge type": lambda: world.graph.to_heterodata(where={("paper", value, "paper"): "true"}),
        "columns": lambda: world.graph.to_heterodata(columns={"paper": [value]}),
        "seeds": lambda: world.graph.to_heterodata(seeds=(value, "true")),
        "time": lambda: world.graph.to_heterodata(time={"paper": value}),
        "split": lambda: world.graph.to_heterodata(splits={"paper": value}),
        "encoder": lambda: world.graph.to_heterodata(encoders={"paper": {"z": dbgnn.OneHot(value)}}),
        "undirected": lambda: world.graph.to_heterodata(undirected=value),
        "dangling": lambda: world.graph.to_heterodata(dangling=value),
        "key": lambda: dbgnn.query_to_heterodata(world.db, nodes={"p": "SELECT id FROM paper"}, keys={"p": value}),
    }
    for way, call in _some(ways, VALUES.index(value)):
        if value or way != "undirected":
            assert isinstance(world.attempt(call), DbgnnError), way
    assert world.unchanged()
