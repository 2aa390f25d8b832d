"""CREATE and DROP PROPERTY GRAPH against a database: what is stored, and what does not fit."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import dbgnn
from dbgnn import SchemaError, SqlError, UnknownNameError
from dbgnn.schema import (
    EdgeTable,
    PropertyGraph,
    TableName,
    VertexTable,
    graph_names,
    load,
    parse_statement,
    run,
    to_sql,
)
from dbgnn.sql import quote

NAMES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=12)

TABLES = """
CREATE TABLE paper (id BIGINT, Year INTEGER, x FLOAT[4], title VARCHAR);
CREATE TABLE author (name VARCHAR PRIMARY KEY, age SMALLINT);
CREATE TABLE flat (street VARCHAR, number INTEGER, area FLOAT, PRIMARY KEY (street, number));
CREATE TABLE cites (src BIGINT, dst INTEGER, weight FLOAT);
CREATE TABLE writes (author VARCHAR, paper BIGINT, position INTEGER);
CREATE TABLE lives (who VARCHAR, no INTEGER, road VARCHAR);
CREATE TABLE owns (who VARCHAR REFERENCES author (name), no INTEGER, road VARCHAR,
                   FOREIGN KEY (road, no) REFERENCES flat (street, number));
"""

VERTICES = "VERTEX TABLES (paper KEY (id), author, flat)"


@pytest.fixture
def con() -> duckdb.DuckDBPyConnection:
    con = duckdb.connect()
    con.execute(TABLES)
    return con


def execute(con: duckdb.DuckDBPyConnection, query: str) -> None:
    statement = parse_statement(query)
    assert statement is not None
    run(con, statement)


def declared(con: duckdb.DuckDBPyConnection, rest: str) -> PropertyGraph:
    execute(con, f"CREATE PROPERTY GRAPH g {rest}")
    return load(con, "g")


PAPER = VertexTable(TableName("paper"), "paper", ("id",))
AUTHOR = VertexTable(TableName("author"), "author", ("name",))
FLAT = VertexTable(TableName("flat"), "flat", ("street", "number"))


def test_names_come_as_the_catalog_spells_them(con: duckdb.DuckDBPyConnection) -> None:
    graph = declared(
        con,
        "VERTEX TABLES (PAPER KEY (ID) PROPERTIES (YEAR, X)) "
        "EDGE TABLES (Cites SOURCE KEY (SRC) REFERENCES Paper (iD) DESTINATION KEY (Dst) REFERENCES paper LABEL Quotes)",
    )
    assert graph == PropertyGraph(
        "g",
        (VertexTable(TableName("paper"), "paper", ("id",), ("Year", "x")),),
        (EdgeTable(TableName("cites"), "Quotes", "paper", ("src",), "paper", ("dst",)),),
    )


def test_a_column_called_rowid_is_refused(con: duckdb.DuckDBPyConnection) -> None:
    con.execute('CREATE TABLE numbered (id BIGINT, "RowId" BIGINT)')
    with pytest.raises(SchemaError, match=r"'numbered' has a column 'RowId', which hides DuckDB's own row numbers.*RENAME"):
        declared(con, "VERTEX TABLES (numbered KEY (id))")
    con.execute('ALTER TABLE numbered RENAME "RowId" TO row_id')
    assert declared(con, "VERTEX TABLES (numbered KEY (id))").vertices[0].label == "numbered"


def test_keys_come_as_the_catalog_spells_them(con: duckdb.DuckDBPyConnection) -> None:
    con.execute(
        'CREATE SCHEMA "Shop"; CREATE TABLE shop.Item (Sku VARCHAR, "No" INTEGER, price FLOAT, PRIMARY KEY (SKU, no)); '
        "CREATE TABLE shop.Pair (a VARCHAR, B INTEGER, c VARCHAR, D INTEGER, w FLOAT, day DATE, "
        "FOREIGN KEY (A, b) REFERENCES shop.ITEM (sku, NO), FOREIGN KEY (C, d) REFERENCES shop.item)"
    )
    with pytest.raises(SchemaError, match="several foreign keys"):
        declared(con, "VERTEX TABLES (SHOP.item) EDGE TABLES (shop.PAIR SOURCE Item DESTINATION item)")
    graph = declared(
        con,
        "VERTEX TABLES (SHOP.ITEM, AUTHOR) EDGE TABLES (sHop.pAIR SOURCE KEY (b, A) REFERENCES shop.item (NO, SKU) "
        "DESTINATION KEY (C, d) REFERENCES ITEM PROPERTIES ALL COLUMNS EXCEPT (DAY), "
        "OWNS AS o SOURCE Author DESTINATION KEY (ROAD, no) REFERENCES ITEM)",
    )
    assert graph == PropertyGraph(
        "g",
        (VertexTable(TableName("Item", "Shop"), "Item", ("Sku", "No")), AUTHOR),
        (
            EdgeTable(TableName("Pair", "Shop"), "Pair", "Item", ("a", "B"), "Item", ("c", "D"), ("w",)),
            EdgeTable(TableName("owns"), "o", "author", ("who",), "Item", ("road", "no")),
        ),
    )


def test_a_foreign_key_in_another_case_is_an_end(con: duckdb.DuckDBPyConnection) -> None:
    con.execute(
        "CREATE TABLE Staff (Id BIGINT, Boss BIGINT, PRIMARY KEY (ID), FOREIGN KEY (BOSS) REFERENCES staff (id)); "
        "CREATE TABLE works (Who BIGINT, road VARCHAR, no INTEGER, FOREIGN KEY (WHO) REFERENCES STAFF, "
        "FOREIGN KEY (ROAD, NO) REFERENCES Flat (STREET, NUMBER))"
    )
    graph = declared(
        con,
        "VERTEX TABLES (staff, flat) EDGE TABLES (works SOURCE staff DESTINATION flat, "
        "staff SOURCE KEY (ID) REFERENCES staff DESTINATION Staff LABEL reports)",
    )
    assert graph.vertices == (VertexTable(TableName("Staff"), "Staff", ("Id",)), FLAT)
    assert graph.edges == (
        EdgeTable(TableName("works"), "works", "Staff", ("Who",), "flat", ("road", "no")),
        EdgeTable(TableName("Staff"), "reports", "Staff", ("Id",), "Staff", ("Boss",)),
    )


def test_letters_beyond_ascii_keep_their_case(con: duckdb.DuckDBPyConnection) -> None:
    con.execute("CREATE TABLE é (ä BIGINT, Ä BIGINT); CREATE TABLE É (Ä BIGINT, ä BIGINT)")
    graph = declared(con, "VERTEX TABLES (é KEY (Ä), É KEY (ä))")
    assert [(v.label, v.key) for v in graph.vertices] == [("é", ("Ä",)), ("É", ("ä",))]


def test_the_primary_key_is_the_key(con: duckdb.DuckDBPyConnection) -> None:
    assert declared(con, "VERTEX TABLES (author, flat)").vertices == (AUTHOR, FLAT)


def test_without_a_primary_key_the_key_must_be_said(con: duckdb.DuckDBPyConnection) -> None:
    with pytest.raises(SchemaError, match=r"'paper' has no primary key; .* paper KEY \(…\) \(there are: id, Year"):
        declared(con, "VERTEX TABLES (paper)")


def test_key_columns_follow_the_order_of_the_key(con: duckdb.DuckDBPyConnection) -> None:
    graph = declared(
        con,
        f"{VERTICES} EDGE TABLES (lives SOURCE KEY (who) REFERENCES author (name) "
        "DESTINATION KEY (no, road) REFERENCES flat (number, street))",
    )
    assert graph.edges[0].destination_key == ("road", "no")


def test_ends_by_foreign_key(con: duckdb.DuckDBPyConnection) -> None:
    graph = declared(con, "VERTEX TABLES (author, flat KEY (number, street)) EDGE TABLES (owns SOURCE author DESTINATION flat)")
    assert graph.edges == (EdgeTable(TableName("owns"), "owns", "author", ("who",), "flat", ("no", "road")),)


def test_ends_without_a_foreign_key(con: duckdb.DuckDBPyConnection) -> None:
    with pytest.raises(
        SchemaError, match=r"'lives': it has no foreign key to 'author'; write SOURCE KEY \(…\) REFERENCES author \(name\)"
    ):
        declared(con, f"{VERTICES} EDGE TABLES (lives SOURCE author DESTINATION flat)")


def test_ends_with_two_foreign_keys(con: duckdb.DuckDBPyConnection) -> None:
    con.execute("CREATE TABLE knows (a VARCHAR REFERENCES author (name), b VARCHAR REFERENCES author (name))")
    with pytest.raises(SchemaError, match=r"several foreign keys, \(a\), \(b\), to 'author'; write DESTINATION KEY"):
        declared(con, f"{VERTICES} EDGE TABLES (knows SOURCE KEY (a) REFERENCES author DESTINATION author)")


def test_one_table_as_several_types(con: duckdb.DuckDBPyConnection) -> None:
    graph = declared(
        con,
        "VERTEX TABLES (author, paper AS old KEY (id) NO PROPERTIES, main.paper AS new KEY (id) LABEL fresh) EDGE TABLES ("
        "cites SOURCE KEY (src) REFERENCES new DESTINATION KEY (dst) REFERENCES old, "
        "cites SOURCE KEY (src) REFERENCES fresh DESTINATION KEY (dst) REFERENCES old LABEL again, "
        "cites SOURCE KEY (dst) REFERENCES old DESTINATION KEY (src) REFERENCES fresh)",
    )
    assert [v.label for v in graph.vertices] == ["author", "old", "fresh"]
    assert [e.edge_type for e in graph.edges] == [
        ("fresh", "cites", "old"),
        ("fresh", "again", "old"),
        ("old", "cites", "fresh"),
    ]


def test_properties(con: duckdb.DuckDBPyConnection) -> None:
    graph = declared(
        con,
        "VERTEX TABLES (paper KEY (id) PROPERTIES ALL COLUMNS EXCEPT (YEAR), "
        "author PROPERTIES ALL COLUMNS, flat NO PROPERTIES)",
    )
    assert [v.properties for v in graph.vertices] == [("x",), None, ()]


def test_tables_in_schemas(con: duckdb.DuckDBPyConnection) -> None:
    con.execute("CREATE SCHEMA s; CREATE TABLE s.paper (id BIGINT PRIMARY KEY); CREATE TABLE s.cites (a BIGINT, b BIGINT)")
    graph = declared(
        con,
        "VERTEX TABLES (S.paper, memory.main.paper AS old KEY (id)) EDGE TABLES "
        "(s.cites SOURCE KEY (a) REFERENCES s.paper (id) DESTINATION KEY (b) REFERENCES main.paper (id))",
    )
    assert graph.vertex("paper").table == TableName("paper", "s")
    assert graph.edges[0].edge_type == ("paper", "cites", "old")
    con.execute("USE s")
    execute(con, "CREATE PROPERTY GRAPH h VERTEX TABLES (paper, author)")
    assert [v.table.schema for v in load(con, "h").vertices] == ["s", "main"]


class TestSchemaNamedAsTheDatabase:
    DDL = "CREATE SCHEMA {0}; CREATE TABLE {1}.{0}.p (id BIGINT PRIMARY KEY, x FLOAT)"

    @pytest.mark.parametrize("schema", ["shop", "SHOP"])
    def test_it_is_refused(self, tmp_path: Path, schema: str) -> None:
        with duckdb.connect(tmp_path / "shop.duckdb") as con:
            con.execute(self.DDL.format(schema, "shop"))
            shown = "shop.shop.p" if schema == "shop" else r'shop\."SHOP"\.p'
            with pytest.raises(
                SchemaError,
                match=rf"'{schema}\.p' lies in schema '{schema}', and database 'shop' .* Give the database another name, .* "
                rf"or the table a schema of another name: CREATE TABLE main\.p AS FROM {shown}\.",
            ):
                declared(con, "VERTEX TABLES (shop.p)")
            assert graph_names(con) == []
            con.execute("CREATE TABLE main.p AS FROM shop.shop.p")
            assert declared(con, "VERTEX TABLES (p KEY (id))").tables == (TableName("p"),)

    def test_an_attached_database_counts(self, con: duckdb.DuckDBPyConnection) -> None:
        con.execute(self.DDL.format("s", "memory"))
        execute(con, "CREATE PROPERTY GRAPH g VERTEX TABLES (s.p)")
        con.execute("ATTACH ':memory:' AS S")
        with pytest.raises(SchemaError, match="schema 's', and database 'S' has that name too"):
            load(con, "g")
        con.execute("DETACH s")
        assert load(con, "g").tables == (TableName("p", "s"),)

    def test_after_the_file_got_another_name(self, tmp_path: Path) -> None:
        with dbgnn.connect(tmp_path / "a.duckdb") as db:
            db.execute(self.DDL.format("shop", "a"))
            db.execute("CREATE PROPERTY GRAPH g VERTEX TABLES (shop.p)")
            assert db.graph().build().num_nodes("p") == 0
        (tmp_path / "a.duckdb").rename(tmp_path / "shop.duckdb")
        with dbgnn.connect(tmp_path / "shop.duckdb") as db:
            with pytest.raises(SchemaError, match="database 'shop' has that name too"):
                db.graph()
            db.execute("CREATE TABLE main.p AS FROM shop.shop.p")
            db.execute("CREATE OR REPLACE PROPERTY GRAPH g VERTEX TABLES (p KEY (id))")
            assert db.graph().build().num_nodes("p") == 0


EDGE = "cites SOURCE KEY (src) REFERENCES paper (id) DESTINATION KEY (dst) REFERENCES paper (id)"


@pytest.mark.parametrize(
    ("rest", "error", "message"),
    [
        (
            "VERTEX TABLES (papr KEY (id))",
            UnknownNameError,
            r"no table 'papr'; did you mean 'paper'\? \(there are: author, cites",
        ),
        ("VERTEX TABLES (s.paper KEY (id))", UnknownNameError, r"no table 's\.paper'"),
        ("VERTEX TABLES (other.main.paper KEY (id))", SchemaError, "'other.main.paper' is in another database"),
        ("VERTEX TABLES (paper KEY (ids))", UnknownNameError, r"'paper' has no column 'ids'; did you mean 'id'\?"),
        ("VERTEX TABLES (paper KEY (id) PROPERTIES (Yaer))", UnknownNameError, "no column 'Yaer'; did you mean 'Year'"),
        ("VERTEX TABLES (paper KEY (id) PROPERTIES ALL COLUMNS EXCEPT (z))", UnknownNameError, "no column 'z'"),
        (
            "VERTEX TABLES (paper KEY (id) PROPERTIES (title))",
            SchemaError,
            "'title' of 'paper' is VARCHAR and cannot be served",
        ),
        ("VERTEX TABLES (author, author)", SchemaError, "'author' is there twice"),
        ("VERTEX TABLES (author, flat LABEL author)", SchemaError, "label 'author' is used twice"),
        (f"{VERTICES} EDGE TABLES ({EDGE}, {EDGE})", SchemaError, "is defined twice; give one a LABEL"),
        (f"{VERTICES} EDGE TABLES ({EDGE.replace('cites', 'cited')})", UnknownNameError, "'cited'; did you mean 'cites'"),
        (f"{VERTICES} EDGE TABLES ({EDGE.replace('cites', 'cites KEY (nr)')})", UnknownNameError, "no column 'nr'"),
        (f"{VERTICES} EDGE TABLES ({EDGE.replace('(src)', '(scr)')})", UnknownNameError, "no column 'scr'; did you mean 'src'"),
        (
            f"{VERTICES} EDGE TABLES ({EDGE.replace('paper', 'papers')})",
            UnknownNameError,
            "SOURCE: VERTEX TABLES has no 'papers'; did",
        ),
        (f"{VERTICES} EDGE TABLES ({EDGE.replace('(id)', '(Year)')})", SchemaError, r"the KEY of 'paper' is \(id\)"),
        (
            f"{VERTICES} EDGE TABLES ({EDGE.replace('(src)', '(src, dst)')})",
            SchemaError,
            r"SOURCE KEY \(src, dst\) REFERENCES paper \(id\): 2 and 1 columns",
        ),
        (
            f"{VERTICES} EDGE TABLES ({EDGE.replace('(dst)', '(weight)')})",
            SchemaError,
            "'weight' of 'cites' is FLOAT, but column 'id' of 'paper' is BIGINT.*ALTER TABLE cites ALTER weight TYPE BIGINT",
        ),
        (
            f"{VERTICES} EDGE TABLES (writes SOURCE KEY (paper) REFERENCES author DESTINATION KEY (paper) REFERENCES paper)",
            SchemaError,
            "'paper' of 'writes' is BIGINT, but column 'name' of 'author' is VARCHAR",
        ),
    ],
)
def test_what_does_not_fit(con: duckdb.DuckDBPyConnection, rest: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        declared(con, rest)
    assert graph_names(con) == []


def test_integers_of_any_width_fit(con: duckdb.DuckDBPyConnection) -> None:
    assert declared(con, f"{VERTICES} EDGE TABLES ({EDGE})").edges[0].destination_key == ("dst",)


class TestNames:
    def test_a_name_is_taken_once(self, con: duckdb.DuckDBPyConnection) -> None:
        declared(con, "VERTEX TABLES (author)")
        with pytest.raises(SchemaError, match="'g' exists already; use CREATE OR REPLACE"):
            execute(con, "CREATE PROPERTY GRAPH G VERTEX TABLES (flat)")
        assert load(con, "g").vertices == (AUTHOR,)

    def test_if_not_exists_keeps_it(self, con: duckdb.DuckDBPyConnection) -> None:
        declared(con, "VERTEX TABLES (author)")
        execute(con, "CREATE PROPERTY GRAPH IF NOT EXISTS g VERTEX TABLES (nothing)")
        assert load(con, "g").vertices == (AUTHOR,)

    def test_or_replace_replaces_it(self, con: duckdb.DuckDBPyConnection) -> None:
        declared(con, "VERTEX TABLES (author)")
        execute(con, "CREATE OR REPLACE PROPERTY GRAPH G VERTEX TABLES (flat)")
        execute(con, "CREATE OR REPLACE PROPERTY GRAPH h VERTEX TABLES (flat)")
        assert graph_names(con) == ["g", "h"]
        assert load(con, "g").vertices == (FLAT,)

    def test_a_failed_replacement_leaves_the_old_one(self, con: duckdb.DuckDBPyConnection) -> None:
        declared(con, "VERTEX TABLES (author)")
        with pytest.raises(UnknownNameError):
            execute(con, "CREATE OR REPLACE PROPERTY GRAPH g VERTEX TABLES (nothing)")
        assert load(con, "g").vertices == (AUTHOR,)

    def test_drop(self, con: duckdb.DuckDBPyConnection) -> None:
        declared(con, "VERTEX TABLES (author)")
        execute(con, "DROP PROPERTY GRAPH G")
        assert graph_names(con) == []
        execute(con, "DROP PROPERTY GRAPH IF EXISTS g")
        with pytest.raises(UnknownNameError, match="no property graph 'g'; there are none"):
            execute(con, "DROP PROPERTY GRAPH g")

    def test_drop_names_near_misses(self, con: duckdb.DuckDBPyConnection) -> None:
        execute(con, "CREATE PROPERTY GRAPH papers VERTEX TABLES (author)")
        with pytest.raises(UnknownNameError, match="did you mean 'papers'"):
            execute(con, "DROP PROPERTY GRAPH paper")


class TestIndexParts:
    @pytest.fixture
    def con(self) -> duckdb.DuckDBPyConnection:
        con = duckdb.connect()
        con.execute(TABLES)
        declared(con, "VERTEX TABLES (author, flat)")
        con.execute("CREATE TABLE dbgnn.index_parts (graph VARCHAR, table_name VARCHAR)")
        con.execute("INSERT INTO dbgnn.index_parts VALUES ('g', 'p1'), ('other', 'p2')")
        return con

    def parts(self, con: duckdb.DuckDBPyConnection) -> list[tuple[str]]:
        return con.execute("SELECT graph FROM dbgnn.index_parts ORDER BY ALL").fetchall()

    def test_drop_forgets_the_index(self, con: duckdb.DuckDBPyConnection) -> None:
        execute(con, "DROP PROPERTY GRAPH g")
        assert self.parts(con) == [("other",)]

    def test_other_tables_forget_the_index(self, con: duckdb.DuckDBPyConnection) -> None:
        execute(con, "CREATE OR REPLACE PROPERTY GRAPH g VERTEX TABLES (author)")
        assert self.parts(con) == [("other",)]

    def test_other_properties_keep_it(self, con: duckdb.DuckDBPyConnection) -> None:
        execute(con, "CREATE OR REPLACE PROPERTY GRAPH g VERTEX TABLES (author NO PROPERTIES, flat PROPERTIES (area))")
        assert self.parts(con) == [("g",), ("other",)]


class TestTransactions:
    def test_an_open_one_is_taken_part_in(self, con: duckdb.DuckDBPyConnection) -> None:
        con.execute("BEGIN")
        declared(con, "VERTEX TABLES (author)")
        execute(con, "CREATE OR REPLACE PROPERTY GRAPH g VERTEX TABLES (flat)")
        execute(con, "DROP PROPERTY GRAPH g")
        execute(con, "CREATE PROPERTY GRAPH g VERTEX TABLES (flat)")
        con.execute("ROLLBACK")
        assert graph_names(con) == []

    def test_a_mistake_leaves_an_open_one_as_it_was(self, con: duckdb.DuckDBPyConnection) -> None:
        con.execute("BEGIN; INSERT INTO author VALUES ('me', 1)")
        with pytest.raises(UnknownNameError):
            declared(con, "VERTEX TABLES (nothing)")
        con.execute("COMMIT")
        assert con.execute("SELECT count(*) FROM author").fetchall() == [(1,)]

    def test_no_result_stays_open(self, con: duckdb.DuckDBPyConnection) -> None:
        declared(con, "VERTEX TABLES (author)")
        con.register("later", con.sql("SELECT 1 AS x").to_arrow_table())


@settings(max_examples=30, deadline=None)  # each makes a database
@given(st.lists(NAMES, min_size=5, max_size=5, unique_by=str.lower))
def test_any_name_goes_through_the_database(names: list[str]) -> None:
    paper, cites, key, source, graph = names
    assume(key.lower() != "x")
    with duckdb.connect() as con:
        con.execute(f"CREATE TABLE {quote(paper)} ({quote(key)} VARCHAR, x FLOAT)")
        con.execute(f"CREATE TABLE {quote(cites)} ({quote(source)} VARCHAR, {quote(source + '2')} VARCHAR)")
        wanted = PropertyGraph(
            graph,
            (VertexTable(TableName(paper), key, (key,), ("x",)),),
            (EdgeTable(TableName(cites), source, key, (source,), key, (source + "2",), ()),),
        )
        execute(con, to_sql(wanted))
        assert load(con, graph) == wanted


def test_through_database_execute_and_a_second_connection(tmp_path: Path) -> None:
    path = tmp_path / "dbgnn.duckdb"  # DuckDB calls this database dbgnn, as dbgnn calls its schema
    with dbgnn.connect(path) as db:
        db.connection.execute(TABLES)
        (done,) = db.execute(f"CREATE PROPERTY GRAPH papers {VERTICES} EDGE TABLES ({EDGE});").fetchall()
        assert done == (True,)
        with pytest.raises(SqlError):
            db.execute("CREATE PROPERTY GRAPH papers VERTEX TABLES paper")
    with dbgnn.connect(path, read_only=True) as db:
        assert db.graph().name == "papers"
        assert db.graph("PAPERS").edge_types == [("paper", "cites", "paper")]
        with pytest.raises(dbgnn.ReadOnlyError):
            db.execute("DROP PROPERTY GRAPH papers")
