"""Macros with the names of DuckDB's own functions: an error that names them, or the same results; those of other names work."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import pytest

import dbgnn
from dbgnn.errors import SchemaError
from dbgnn.shadows import shadows
from tests.trust import everything

#: What the statements of ours call at the least; a recording that misses them has missed much more.
SURELY = frozenset("bit_xor hash count_star len list_select xor range unnest + - % & current_database duckdb_tables".split())


class Recorded(NamedTuple):
    """A file, what all that dbgnn does with it gives, and the names that its statements called."""

    path: Path
    results: list[Any]
    names: frozenset[str]

    def copy(self, folder: Path, *macros: str) -> Path:
        """A copy of the file, with macros."""
        path = folder / "copy.duckdb"
        shutil.copy(self.path, path)
        with duckdb.connect(str(path)) as con:
            for macro in macros:
                con.execute(macro)
        return path


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    folder = tmp_path_factory.mktemp("recorded")
    kept, used = folder / "kept.duckdb", folder / "used.duckdb"
    everything.make(kept)
    shutil.copy(kept, used)
    with dbgnn.connect(used, progress=False) as db:
        db.connection.execute("CALL enable_logging('QueryLog')")
        results = everything.run(db, folder)
        log = db.connection.execute("SELECT DISTINCT message FROM duckdb_logs_parsed('QueryLog')").fetchall()
    return Recorded(kept, results, called([text for (text,) in log]))


def called(statements: list[str]) -> frozenset[str]:
    """DuckDB's own functions in statements: by its own tree where it makes one, else every word in front of a parenthesis."""
    with duckdb.connect() as con:
        own = {name for (name,) in con.execute("SELECT DISTINCT function_name FROM duckdb_functions()").fetchall()}
        trees = con.execute("SELECT json_serialize_sql(unnest($1))", [statements]).fetchall()
    found: set[str] = set()
    for text, (tree,) in zip(statements, trees, strict=True):
        found |= {name.lower() for name in re.findall(r'(\w+)"?\s*\(', text)}
        found |= set(_functions(json.loads(tree)))
    return frozenset(found & own)


def _functions(tree: Any) -> Iterator[str]:
    if isinstance(tree, dict):
        if "function_name" in tree:
            yield tree["function_name"].lower()
        tree = list(tree.values())
    for part in tree if isinstance(tree, list) else ():
        yield from _functions(part)


def macros_of(name: str) -> tuple[str, str]:
    """A macro of one to four arguments in the place of a scalar or aggregate, and one in that of a table function."""
    quoted = '"' + name.replace('"', '""') + '"'
    lists = [", ".join("abcd"[:n]) for n in range(1, 5)]
    scalar, table = (", ".join(f"({given}) AS {body}" for given in lists) for body in ("1", "TABLE (SELECT 1 AS evil)"))
    return f"CREATE MACRO {quoted} {scalar}", f"CREATE MACRO {quoted} {table}"


def do_what_is_said(error: BaseException) -> None:
    """Run the remedy of a message, word for word."""
    found = re.search(r"(duckdb\.connect\(.*?\)\.execute\(.*\))\.( If the file|$)", str(error))
    assert found is not None, error
    exec(found[1], {"duckdb": duckdb})


def test_every_function_that_our_statements_call(recorded: Recorded, tmp_path: Path) -> None:
    assert recorded.names >= SURELY
    path = recorded.copy(tmp_path)
    for name in sorted(recorded.names):
        with duckdb.connect(str(path)) as con:
            for macro in macros_of(name):
                con.execute(macro)
        for trusted in (False, True):
            with dbgnn.connect(path, trusted=trusted) as db, pytest.raises(SchemaError) as caught:
                db.graph("g")
            assert f"macro {name!r} in schema 'main'" in str(caught.value), (name, trusted)
        do_what_is_said(caught.value)
    with dbgnn.connect(path) as db:
        assert db.graph("g").name == "g"


def test_macros_that_our_statements_do_not_call_change_nothing(recorded: Recorded, tmp_path: Path) -> None:
    """All of them at once, in a file of one's own."""
    with duckdb.connect() as con:
        own = {name.lower() for (name,) in con.execute("SELECT DISTINCT function_name FROM duckdb_functions()").fetchall()}
        con.execute("; ".join(macro for name in sorted(own) for macro in macros_of(name)))
        hiding = {each.name for each in shadows(con, {("memory", "main")}, trusted=True)}
    free = own - hiding
    assert len(free) > 200
    path = recorded.copy(tmp_path, *(macro for name in sorted(free) for macro in macros_of(name)))
    with dbgnn.connect(path, progress=False, trusted=True) as db:
        assert everything.run(db, tmp_path) == recorded.results
    for _ in range(len(free) // 50 + 1):  # an error says how to drop fifty
        with dbgnn.connect(path) as db, pytest.raises(SchemaError, match="trusted=True lets be") as caught:
            db.graph("g")
        do_what_is_said(caught.value)
        if "Drop it: " in str(caught.value):
            break
    with dbgnn.connect(path) as db:
        assert db.execute("SELECT ucase('a')").fetchall() == [("A",)]


@pytest.fixture
def db(recorded: Recorded, tmp_path: Path) -> Iterator[dbgnn.Database]:
    with dbgnn.connect(recorded.copy(tmp_path), progress=False) as db:
        yield db


LEN = "CREATE MACRO len(x) AS 1"


def test_the_first_statement_is_refused_whichever_it_is(recorded: Recorded, tmp_path: Path) -> None:
    path = recorded.copy(tmp_path, LEN)
    acts: list[Callable[[dbgnn.Database], object]] = [
        lambda db: db.execute("SELECT 1"),
        lambda db: db.sql("SELECT 1"),
        lambda db: db.connection,
        lambda db: db.graph(),
        lambda db: db.cursor(),
        lambda db: db.get_torch_geometric_remote_backend(),
        lambda db: dbgnn.query_to_heterodata(db, nodes={"paper": "FROM paper"}, edges={}),
    ]
    for act in acts:
        for read_only in (False, True):
            with (
                dbgnn.connect(path, read_only=read_only) as db,
                pytest.raises(SchemaError, match="macro 'len' in schema 'main'"),
            ):
                act(db)


def test_a_macro_made_meanwhile_by_execute(db: dbgnn.Database) -> None:
    graph = db.graph("g").build(progress=False)
    db.execute(LEN)
    for act in (lambda: db.graph("g"), lambda: db.execute("SELECT 1"), lambda: graph.check(progress=False)):
        with pytest.raises(SchemaError, match="macro 'len'"):
            act()
    db.execute('DROP MACRO "main"."len"')
    assert db.graph("g").num_nodes("paper") == 60


def test_a_macro_made_meanwhile_by_plain_duckdb(db: dbgnn.Database) -> None:
    graph = db.graph("g").build(progress=False)
    with duckdb.connect(db.settings.path) as con:
        con.execute(LEN)
        for act in (
            lambda: db.graph("g"),
            lambda: graph.check(progress=False),
            db.get_torch_geometric_remote_backend,
        ):
            with pytest.raises(SchemaError, match="macro 'len'"):
                act()
        con.execute("DROP MACRO len")
    assert db.graph("g").num_nodes("paper") == 60


def test_a_macro_of_a_transaction_and_a_temporary_one(db: dbgnn.Database) -> None:
    for begin, macro, end in (
        ("BEGIN", LEN, "ROLLBACK"),
        ("SELECT 1", "CREATE TEMP MACRO len(x) AS 1", 'DROP MACRO temp."main"."len"'),
    ):
        db.execute(begin)
        db.execute(macro)
        with pytest.raises(SchemaError, match="macro 'len'"):
            dbgnn.query_to_heterodata(db, nodes={"paper": "FROM paper"}, edges={}, progress=False)
        db.execute(end)
        assert db.graph("g").num_nodes("paper") == 60


def test_a_macro_of_a_connection_that_was_handed_in() -> None:
    con = duckdb.connect()
    con.execute(everything.TABLES)
    with dbgnn.connect(con, progress=False) as db:
        db.execute(everything.GRAPH)
        con.execute(LEN)
        for act in (lambda: db.graph("g"), lambda: dbgnn.query_to_heterodata(db, nodes={"paper": "FROM paper"}, edges={})):
            with pytest.raises(SchemaError, match=r"db\.execute\('DROP MACRO \"memory\"\.\"main\"\.\"len\"'\)"):
                act()


def test_macros_of_an_attached_file_count_once_it_is_used(db: dbgnn.Database, recorded: Recorded, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = recorded.copy(tmp_path / "other", LEN)
    db.execute(f"ATTACH '{other}' AS other (READ_ONLY)")
    assert db.graph("g").num_nodes("paper") == 60
    for name in ("other", "OTHER"):
        db.execute(f"USE {name}")
        with pytest.raises(SchemaError, match=r"macro 'len' in schema 'other\.main'") as caught:
            db.execute("SELECT 1")
        said = re.search(r"Use the database without it: (db\.execute\(.*?\))\. If", str(caught.value))
        assert said is not None
        exec(said[1], {"db": db})
        assert db.graph("g").num_nodes("paper") == 60


def test_a_macro_of_a_connection_that_was_handed_in_read_only(recorded: Recorded, tmp_path: Path) -> None:
    path = recorded.copy(tmp_path, LEN)
    with duckdb.connect(str(path), read_only=True) as con, pytest.raises(SchemaError, match="macro 'len'") as caught:
        dbgnn.connect(con).graph("g")
    do_what_is_said(caught.value)
    with duckdb.connect(str(path), read_only=True) as con:
        assert dbgnn.connect(con).graph("g").num_nodes("paper") == 60


def test_macros_of_other_schemas_hide_nothing(recorded: Recorded, tmp_path: Path) -> None:
    path = recorded.copy(tmp_path, "CREATE SCHEMA mine", "CREATE MACRO mine.len(x) AS 1")
    with dbgnn.connect(path) as db:
        assert db.graph("g").num_nodes("paper") == 60
        db.execute("SET search_path = 'copy.mine,copy.main'")
        with pytest.raises(SchemaError, match="macro 'len' in schema 'mine'"):
            dbgnn.query_to_heterodata(db, nodes={"paper": "FROM main.paper"}, edges={})


def test_types_that_extensions_bring_are_hidden_by_types(recorded: Recorded, tmp_path: Path) -> None:
    path = recorded.copy(tmp_path, "CREATE TYPE json AS VARCHAR")
    with dbgnn.connect(path) as db, pytest.raises(SchemaError, match="type 'json' in schema 'main'") as caught:
        db.graph("g")
    do_what_is_said(caught.value)
    with dbgnn.connect(path) as db:
        assert db.graph("g").num_nodes("paper") == 60


#: Of a name of DuckDB's, what it does not look for where it looks for that.
HIDE_NOTHING = [
    "CREATE TYPE mode AS ENUM ('train', 'test')",
    "CREATE TYPE rank AS ENUM ('a', 'b')",
    "CREATE TYPE len AS INTEGER",
    "CREATE MACRO sum(n) AS TABLE SELECT 1 AS evil",
    "CREATE MACRO bit_xor(n) AS TABLE SELECT 1 AS evil",
    "CREATE MACRO count_star() AS TABLE SELECT 1 AS evil",
    "CREATE MACRO duckdb_tables() AS 1",
    "CREATE MACRO duckdb_columns() AS 1",
    "CREATE MACRO date(x) AS 1",
    "CREATE MACRO show_tables() AS TABLE SELECT 1 AS evil",
]


def test_what_is_looked_up_as_something_else_hides_nothing(recorded: Recorded, tmp_path: Path) -> None:
    with duckdb.connect() as con:
        own = con.execute("SELECT function_name, function_type FROM duckdb_functions()").fetchall()
    tables = {name for name, kind in own if kind in {"table", "table_macro"}}
    scalars = {name for name, kind in own if kind not in {"table", "table_macro", "pragma"}}
    others = [macros_of(name)[1] for name in sorted(scalars - tables) if name.isidentifier()]
    path = recorded.copy(tmp_path, *HIDE_NOTHING, "; ".join(m.replace("MACRO", "OR REPLACE MACRO") for m in others))
    with dbgnn.connect(path, progress=False) as db:
        assert everything.run(db, tmp_path) == recorded.results


def test_a_type_that_columns_are_of_is_dropped_once_they_are_not(recorded: Recorded, tmp_path: Path) -> None:
    path = recorded.copy(tmp_path, "CREATE TYPE json AS VARCHAR", "CREATE TABLE typed (j json)")
    with dbgnn.connect(path) as db, pytest.raises(SchemaError, match="ALTER TABLE … ALTER … TYPE VARCHAR") as caught:
        db.graph("g")
    with duckdb.connect(str(path)) as con:
        con.execute("ALTER TABLE typed ALTER j TYPE VARCHAR")
    do_what_is_said(caught.value)
    with dbgnn.connect(path) as db:
        assert db.graph("g").num_nodes("paper") == 60


def test_several_macros_are_dropped_by_one_script() -> None:
    with dbgnn.connect() as db:
        db.connection.execute(f"{LEN.replace('MACRO', 'TEMP MACRO')}; CREATE MACRO hash(x) AS 1")
        with pytest.raises(SchemaError, match=r"'hash' .*'len'") as caught:
            db.execute("SELECT 1; SELECT 2")
        said = re.search(r"Drop it: (db\.execute\(.*?\))\. If", str(caught.value))
        assert said is not None
        exec(said[1], {"db": db})
        assert db.execute("SELECT len('four')").fetchall() == [(4,)]


@pytest.mark.parametrize("of", ["execute", "connection"])
def test_looking_for_macros_ends_no_result(of: str) -> None:
    with dbgnn.connect() as db:
        con = db.connection  # on which any statement may have made one
        rows = (con if of == "connection" else db).execute("SELECT unnest(range(100_000))")
        assert rows.fetchone() == (0,)
        query = db.sql("SELECT 1")
        assert len(rows.fetchall()) == 99_999
        assert query.fetchall() == [(1,)]


def test_a_macro_made_in_a_script_is_seen_by_its_next_statement(db: dbgnn.Database) -> None:
    with pytest.raises(SchemaError, match="macro 'len'"):
        db.execute(f"{LEN}; SELECT len('four')")
    db.execute("DROP MACRO len; SELECT len('four')")


@pytest.mark.parametrize("name", ["system", "temp", "main", "memory", 'we"ir.d, name'])
def test_names_that_mean_something_to_duckdb(recorded: Recorded, tmp_path: Path, name: str) -> None:
    """The statement that lists the macros is no macro of the file's, whatever the file and its schemas are called."""
    path = tmp_path / f"{name}.duckdb"
    shutil.copy(recorded.path, path)
    with duckdb.connect(str(path)) as con:
        (database,) = con.execute("SELECT current_database()").fetchall()[0]
        database = '"' + database.replace('"', '""') + '"'
        con.execute(f"CREATE SCHEMA {database}.system")
        con.execute(f"CREATE MACRO {database}.system.duckdb_functions() AS TABLE SELECT 1 AS evil WHERE false")
        con.execute(f"CREATE MACRO {database}.main.duckdb_functions() AS TABLE SELECT 1 AS evil WHERE false")
        con.execute(f"CREATE MACRO {database}.main.current_database() AS 'evil'")
    with dbgnn.connect(path) as db, pytest.raises(SchemaError, match="macro 'current_database'") as caught:
        db.graph("g")
    assert "macro 'duckdb_functions'" in str(caught.value)
    do_what_is_said(caught.value)
    with dbgnn.connect(path) as db:
        assert db.graph("g").num_nodes("paper") == 60


def test_macros_of_other_names_work(db: dbgnn.Database) -> None:
    db.execute("CREATE MACRO twice(x) AS 2 * x")
    db.execute("CREATE MACRO recent() AS TABLE SELECT id, year FROM paper WHERE year > 2010")
    data = dbgnn.query_to_heterodata(
        db, nodes={"paper": "SELECT id, twice(year) AS double FROM recent()"}, edges={}, progress=False
    )
    assert len(data["paper"].double) == 27
    assert data["paper"].double.min() == 4022
    assert len(db.graph("g").to_heterodata({"paper": "twice(year) > 4020"}, progress=False)["paper"].year) == 27


@pytest.mark.parametrize("where", ["file", "memory"])
def test_a_loop_of_statements_looks_once(tmp_path: Path, where: str) -> None:
    """Also once the connection was lent, by which statements run that are not seen."""
    with dbgnn.connect(tmp_path / "g.duckdb" if where == "file" else ":memory:", progress=False) as db:
        db.connection.execute("CREATE TABLE t (i INTEGER)")
        db.execute("INSERT INTO t VALUES (0)")
        db.connection.execute("CALL enable_logging('QueryLog')")
        for i in range(20):
            db.execute("INSERT INTO t VALUES (?)", [i])
            assert db.execute("SELECT count(*) FROM t").fetchall() == [(i + 2,)]
        listed = "message LIKE '%duckdb_functions()%' AND message NOT LIKE '%duckdb_logs%'"
        looks = f"SELECT count(*) FROM duckdb_logs WHERE {listed}"
        assert db.connection.execute(looks).fetchall()[0][0] <= 2
        db.connection.execute("CREATE MACRO len(x) AS 1")
        with pytest.raises(dbgnn.SchemaError, match="'len'"):
            db.graph()
        if where == "file":  # which says that something was committed
            with pytest.raises(dbgnn.SchemaError, match="'len'"):
                db.execute("SELECT len('ab')")


def test_a_macro_that_comes_with_a_commit_that_is_seen(tmp_path: Path) -> None:
    """Its own statement was run on the connection that was lent, and is not."""
    with dbgnn.connect(tmp_path / "g.duckdb", progress=False) as db:
        db.execute("CREATE TABLE t (i INTEGER)")
        con = db.connection
        db.execute("INSERT INTO t VALUES (1)")
        con.execute("BEGIN; CREATE MACRO len(x) AS 1")
        db.execute("INSERT INTO t VALUES (2)")  # nothing was committed
        db.execute("COMMIT")
        with pytest.raises(dbgnn.SchemaError, match="'len'"):
            db.graph()
        with pytest.raises(dbgnn.SchemaError, match="'len'"):
            db.execute("SELECT 1")


def test_a_macro_that_plain_duckdb_makes_between_two_statements(tmp_path: Path) -> None:
    with dbgnn.connect(tmp_path / "g.duckdb", progress=False) as db:
        db.execute("CREATE TABLE t (i INTEGER)")
        db.connection.execute("SELECT 1")
        db.execute("INSERT INTO t VALUES (1)")
        with duckdb.connect(str(tmp_path / "g.duckdb")) as other:
            other.execute("CREATE MACRO len(x) AS 1")
        db.execute("DROP TABLE t")  # calls nothing, so that a macro can be got rid of
        for _ in range(2):
            with pytest.raises(dbgnn.SchemaError, match="'len'"):
                db.execute("SELECT 1")
            with pytest.raises(dbgnn.SchemaError, match="'len'"):
                db.graph()
