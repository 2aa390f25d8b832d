"""The graph that foreign keys give."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

import dbgnn
from dbgnn import SchemaError
from dbgnn.schema import CreateGraph, EdgeTable, PropertyGraph, TableName, VertexTable, infer, parse_statement, resolve


def inferred(ddl: str) -> PropertyGraph:
    with duckdb.connect() as con:
        con.execute(ddl)
        graph = infer(con)
        assert infer(con) == graph
    assert graph.name == "inferred"
    return graph


def edge_types(graph: PropertyGraph) -> list[tuple[str, str, str]]:
    return [e.edge_type for e in graph.edges]


PERSON = "CREATE TABLE person (id BIGINT PRIMARY KEY, age INTEGER, name VARCHAR);"
ITEM = "CREATE TABLE item (sku VARCHAR PRIMARY KEY, price FLOAT);"


def test_two_foreign_keys_make_an_edge() -> None:
    graph = inferred(
        f"{PERSON} {ITEM} CREATE TABLE buys (who BIGINT REFERENCES person (id), what VARCHAR REFERENCES item (sku))"
    )
    assert graph.vertices == (
        VertexTable(TableName("item"), "item", ("sku",)),
        VertexTable(TableName("person"), "person", ("id",)),
    )
    assert graph.edges == (EdgeTable(TableName("buys"), "buys", "person", ("who",), "item", ("what",), ()),)


def test_many_to_many_with_attributes_and_a_composite_key() -> None:
    graph = inferred(
        f"{PERSON} {ITEM} CREATE TABLE buys (who BIGINT REFERENCES person (id), what VARCHAR REFERENCES item (sku), "
        "day DATE, amount FLOAT, note VARCHAR, PRIMARY KEY (who, what))"
    )
    assert graph.edges == (EdgeTable(TableName("buys"), "buys", "person", ("who",), "item", ("what",), ("day", "amount")),)
    assert len(graph.vertices) == 2


def test_a_surrogate_key_leaves_it_an_edge() -> None:
    graph = inferred(
        f"{PERSON} {ITEM} CREATE TABLE buys (id BIGINT PRIMARY KEY, who BIGINT REFERENCES person (id), "
        "what VARCHAR REFERENCES item (sku))"
    )
    assert edge_types(graph) == [("person", "buys", "item")]


def test_a_foreign_key_of_a_vertex_table() -> None:
    graph = inferred(
        "CREATE TABLE city (id BIGINT PRIMARY KEY); "
        "CREATE TABLE customer (id BIGINT PRIMARY KEY, city_id BIGINT REFERENCES city (id), age INTEGER)"
    )
    assert graph.vertex("customer").properties == ("age",)
    assert graph.edges == (EdgeTable(TableName("customer"), "city_id", "customer", ("id",), "city", ("city_id",), ()),)


def test_self_references() -> None:
    graph = inferred(
        "CREATE TABLE staff (id BIGINT PRIMARY KEY, boss BIGINT REFERENCES staff (id)); "
        "CREATE TABLE knows (a BIGINT REFERENCES staff (id), b BIGINT REFERENCES staff (id))"
    )
    assert edge_types(graph) == [("staff", "knows", "staff"), ("staff", "boss", "staff")]
    assert graph.edges[0].source_key == ("a",)
    assert graph.edges[0].destination_key == ("b",)


def test_two_self_references_are_a_vertex_table() -> None:
    graph = inferred(
        "CREATE TABLE person (id BIGINT PRIMARY KEY, mother BIGINT REFERENCES person (id), "
        "father BIGINT REFERENCES person (id))"
    )
    assert edge_types(graph) == [("person", "mother", "person"), ("person", "father", "person")]


def test_composite_keys() -> None:
    graph = inferred(
        "CREATE TABLE flat (street VARCHAR, number INTEGER, PRIMARY KEY (number, street)); "
        "CREATE TABLE person (id BIGINT PRIMARY KEY, no INTEGER, road VARCHAR, "
        "FOREIGN KEY (no, road) REFERENCES flat (number, street));"
        "CREATE TABLE near (r1 VARCHAR, n1 INTEGER, r2 VARCHAR, n2 INTEGER, "
        "FOREIGN KEY (n1, r1) REFERENCES flat (number, street), FOREIGN KEY (n2, r2) REFERENCES flat (number, street))"
    )
    assert graph.vertex("flat").key == ("number", "street")
    near, lives = graph.edges
    assert near.edge_type == ("flat", "near", "flat")
    assert near.source_key == ("n1", "r1")
    assert near.destination_key == ("n2", "r2")
    assert lives.edge_type == ("person", "no_road", "flat")
    assert lives.source_key == ("id",)
    assert lives.destination_key == ("no", "road")


def test_a_table_that_is_referred_to_is_a_vertex_table() -> None:
    graph = inferred(
        f"{PERSON} {ITEM} CREATE TABLE buys (id BIGINT PRIMARY KEY, who BIGINT REFERENCES person (id), "
        "what VARCHAR REFERENCES item (sku)); CREATE TABLE refund (id BIGINT PRIMARY KEY, of BIGINT REFERENCES buys (id))"
    )
    assert [v.label for v in graph.vertices] == ["buys", "item", "person", "refund"]
    assert edge_types(graph) == [("buys", "who", "person"), ("buys", "what", "item"), ("refund", "of", "buys")]


THREE = "who BIGINT REFERENCES person (id), what VARCHAR REFERENCES item (sku), seller BIGINT REFERENCES person (id)"


def test_three_foreign_keys_without_a_key_are_three_edge_types() -> None:
    graph = inferred(f"{PERSON} {ITEM} CREATE TABLE buys ({THREE})")
    assert edge_types(graph) == [("person", "buys", "item"), ("person", "buys", "person"), ("item", "buys", "person")]
    assert [(e.source_key, e.destination_key) for e in graph.edges] == [
        (("who",), ("what",)),
        (("who",), ("seller",)),
        (("what",), ("seller",)),
    ]


def test_three_foreign_keys_with_a_key_of_its_own_are_a_vertex_table() -> None:
    graph = inferred(f"{PERSON} {ITEM} CREATE TABLE buys (id BIGINT PRIMARY KEY, {THREE})")
    assert edge_types(graph) == [("buys", "who", "person"), ("buys", "what", "item"), ("buys", "seller", "person")]


def test_three_foreign_keys_to_one_table_get_labels_apart() -> None:
    graph = inferred(f"{PERSON} CREATE TABLE t ({', '.join(f'{c} BIGINT REFERENCES person (id)' for c in 'abc')})")
    assert edge_types(graph) == [("person", "t", "person"), ("person", "t_a_c", "person"), ("person", "t_b_c", "person")]


def test_the_key_is_what_foreign_keys_refer_to() -> None:
    graph = inferred(
        "CREATE TABLE person (id BIGINT PRIMARY KEY, mail VARCHAR UNIQUE); "
        "CREATE TABLE writes (a VARCHAR REFERENCES person (mail), b VARCHAR REFERENCES person (mail))"
    )
    assert graph.vertices[0].key == ("mail",)


def test_foreign_keys_to_different_columns() -> None:
    with pytest.raises(SchemaError, match=r"'person' refer to different columns, \(id\), \(mail\); .* CREATE PROPERTY GRAPH"):
        inferred(
            "CREATE TABLE person (id BIGINT PRIMARY KEY, mail VARCHAR UNIQUE); "
            "CREATE TABLE writes (a BIGINT REFERENCES person (id), b VARCHAR REFERENCES person (mail))"
        )


def test_tables_of_one_name_in_two_schemas() -> None:
    graph = inferred(
        "CREATE SCHEMA s; CREATE TABLE person (id BIGINT PRIMARY KEY, up BIGINT REFERENCES person (id)); "
        "CREATE TABLE s.person (id BIGINT PRIMARY KEY, up BIGINT REFERENCES s.person (id))"
    )
    assert edge_types(graph) == [("main.person", "up", "main.person"), ("s.person", "up", "s.person")]
    assert graph.edges[1].table == TableName("person", "s")


def test_dbgnns_own_tables_have_no_part() -> None:
    graph = inferred(
        f"{PERSON} CREATE TABLE knows (a BIGINT REFERENCES person (id), b BIGINT REFERENCES person (id)); "
        "CREATE SCHEMA dbgnn; CREATE TABLE dbgnn.graphs (name VARCHAR PRIMARY KEY)"
    )
    assert [v.label for v in graph.vertices] == ["person"]


MIXED_CASE = {
    "single": (
        (
            "CREATE TABLE Paper (id BIGINT PRIMARY KEY, x FLOAT); INSERT INTO Paper VALUES (7, 0), (8, 1);"
            "CREATE TABLE Cites (Src BIGINT, dst BIGINT, w FLOAT, FOREIGN KEY (SRC) REFERENCES paper (ID), "
            "FOREIGN KEY (DST) REFERENCES PAPER); INSERT INTO Cites VALUES (7, 8, 0.5)"
        ),
        PropertyGraph(
            "inferred",
            (VertexTable(TableName("Paper"), "Paper", ("id",)),),
            (EdgeTable(TableName("Cites"), "Cites", "Paper", ("Src",), "Paper", ("dst",), ("w",)),),
        ),
    ),
    "composite": (
        (
            'CREATE SCHEMA "Town"; CREATE TABLE town.Flat (street VARCHAR, "No" INTEGER, m2 FLOAT, PRIMARY KEY (STREET, no)); '
            "INSERT INTO town.flat VALUES ('a', 1, 9), ('a', 2, 9);"
            "CREATE TABLE town.near (S1 VARCHAR, n1 INTEGER, s2 VARCHAR, N2 INTEGER, PRIMARY KEY (s1, N1, S2, n2), "
            "FOREIGN KEY (s1, N1) REFERENCES town.FLAT (Street, NO), FOREIGN KEY (S2, n2) REFERENCES town.flat (STREET, nO)); "
            "INSERT INTO town.near VALUES ('a', 2, 'a', 1)"
        ),
        PropertyGraph(
            "inferred",
            (VertexTable(TableName("Flat", "Town"), "Flat", ("street", "No")),),
            (EdgeTable(TableName("near", "Town"), "near", "Flat", ("S1", "n1"), "Flat", ("s2", "N2"), ()),),
        ),
    ),
    "self-reference": (
        (
            "CREATE TABLE Staff (Id BIGINT, boss BIGINT, age INTEGER, PRIMARY KEY (ID), FOREIGN KEY (Boss) REFERENCES STAFF); "
            "INSERT INTO staff VALUES (1, NULL, 60); INSERT INTO staff VALUES (2, 1, 30)"
        ),
        PropertyGraph(
            "inferred",
            (VertexTable(TableName("Staff"), "Staff", ("Id",), ("age",)),),
            (EdgeTable(TableName("Staff"), "boss", "Staff", ("Id",), "Staff", ("boss",), ()),),
        ),
    ),
}


@pytest.mark.parametrize(("ddl", "wanted"), MIXED_CASE.values(), ids=MIXED_CASE)
def test_keys_come_as_the_tables_spell_them(ddl: str, wanted: PropertyGraph) -> None:
    assert inferred(ddl) == wanted
    with dbgnn.connect() as db:
        db.execute(ddl)
        graph = db.graph().build()
        assert graph.num_nodes(wanted.vertices[0].label) == 2
        assert graph.num_edges(wanted.edges[0].edge_type) == 1
        assert "(gone)" not in str(graph)
        assert "Index: built and up to date" in str(graph)


def test_letters_beyond_ascii_keep_their_case() -> None:
    graph = inferred("CREATE TABLE é (Ä BIGINT PRIMARY KEY); CREATE TABLE É (ä BIGINT PRIMARY KEY, Ä BIGINT REFERENCES é (Ä));")
    assert [(v.label, v.key) for v in graph.vertices] == [("É", ("ä",)), ("é", ("Ä",))]
    assert [(e.edge_type, e.destination_key) for e in graph.edges] == [(("É", "Ä", "é"), ("Ä",))]


def test_a_schema_with_the_name_of_the_database(tmp_path: Path) -> None:
    with duckdb.connect(tmp_path / "shop.duckdb") as con:
        con.execute("CREATE SCHEMA Shop; CREATE TABLE shop.Shop.log (id BIGINT PRIMARY KEY)")
        con.execute("CREATE TABLE man (id BIGINT PRIMARY KEY, boss BIGINT REFERENCES man (id))")
        con.execute("DROP TABLE shop.shop.log")
        assert [v.label for v in infer(con).vertices] == ["man"]
        con.execute("CREATE TABLE shop.shop.item (id BIGINT PRIMARY KEY, part BIGINT REFERENCES item (id))")
        with pytest.raises(SchemaError, match=r"'Shop.item' lies in schema 'Shop', and database 'shop' has that name too"):
            infer(con)


class TestWithoutForeignKeys:
    def suggestion(self, ddl: str) -> tuple[str, PropertyGraph | None]:
        """Return the message, and the graph that its statement declares in this database."""
        with duckdb.connect() as con:
            con.execute(ddl)
            with pytest.raises(SchemaError, match="no table has a foreign key") as caught:
                infer(con)
            _, _, statement = str(caught.value).partition("\n")
            parsed = parse_statement(statement)
            assert isinstance(parsed, CreateGraph)
            return statement, resolve(con, parsed) if ddl != "" else None

    def test_an_empty_database_shows_an_example(self) -> None:
        statement, _ = self.suggestion("")
        assert "paper KEY (id)" in statement
        assert "cites SOURCE KEY (src) REFERENCES paper (id) DESTINATION KEY (dst) REFERENCES paper (id)" in statement

    def test_the_databases_own_tables_are_shown(self) -> None:
        _, graph = self.suggestion(
            "CREATE TABLE users (user_id BIGINT); CREATE TABLE movie (id BIGINT PRIMARY KEY); CREATE TABLE notes (t VARCHAR); "
            'CREATE TABLE "My ratings" (rating FLOAT, "movieId" BIGINT, "userId" INTEGER)'
        )
        assert graph is not None
        assert [(v.label, v.key) for v in graph.vertices] == [("movie", ("id",)), ("users", ("user_id",))]
        assert [(e.edge_type, e.source_key, e.destination_key) for e in graph.edges] == [
            (("movie", "My ratings", "users"), ("movieId",), ("userId",))
        ]

    def test_ends_of_one_type(self) -> None:
        _, graph = self.suggestion("CREATE TABLE paper (id BIGINT, x FLOAT[2]); CREATE TABLE cites (src BIGINT, dst BIGINT)")
        assert graph is not None
        assert [e.edge_type for e in graph.edges] == [("paper", "cites", "paper")]
