"""The graph that foreign keys give."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import duckdb
import pytest

import dbgnn
from dbgnn import SchemaError, SqlError
from dbgnn.schema import (
    CreateGraph,
    EdgeTable,
    PropertyGraph,
    TableName,
    VertexTable,
    infer,
    parse_statement,
    resolve,
    served_columns,
    to_sql,
)


def inferred(ddl: str) -> PropertyGraph:
    with duckdb.connect() as con:
        con.execute(ddl)
        graph = infer(con, "inferred_both")
        assert infer(con, "inferred_both") == graph
        assert infer(con) == replace(graph, name="inferred", edges=tuple(forward(graph)))
    assert graph.name == "inferred_both"
    return graph


def forward(graph: PropertyGraph) -> list[EdgeTable]:
    """The edge types of the tables, each of which is followed by its reverse."""
    edges, backs = graph.edges[::2], graph.edges[1::2]
    for edge, back in zip(edges, backs, strict=True):
        assert back == replace(
            edge,
            label=back.label,
            source=edge.destination,
            source_key=edge.destination_key,
            destination=edge.source,
            destination_key=edge.source_key,
        )
        assert back.label.startswith(f"rev_{edge.label}")
    return list(edges)


def edge_types(graph: PropertyGraph) -> list[tuple[str, str, str]]:
    return [e.edge_type for e in forward(graph)]


def served(db: dbgnn.Database, graph: PropertyGraph) -> dict[object, list[str]]:
    """The columns that are features, by type."""
    con = db.cursor()
    return {
        e.label if isinstance(e, VertexTable) else e.edge_type: [
            c.name for c in served_columns(con, graph, e) if c.reason is None
        ]
        for e in graph.elements
    }


PERSON = "CREATE TABLE person (id BIGINT PRIMARY KEY, age INTEGER, name VARCHAR);"
ITEM = "CREATE TABLE item (sku VARCHAR PRIMARY KEY, price FLOAT);"


def test_two_foreign_keys_without_a_key_are_an_edge_type_in_both_directions() -> None:
    graph = inferred(
        f"{PERSON} {ITEM} CREATE TABLE buys (who BIGINT REFERENCES person (id), what VARCHAR REFERENCES item (sku))"
    )
    assert graph.vertices == (
        VertexTable(TableName("item"), "item", ("sku",)),
        VertexTable(TableName("person"), "person", ("id",)),
    )
    there = "what IS NOT NULL AND who IS NOT NULL"
    assert graph.edges == (
        EdgeTable(TableName("buys"), "buys", "person", ("who",), "item", ("what",), condition=there),
        EdgeTable(TableName("buys"), "rev_buys", "item", ("what",), "person", ("who",), condition=there),
    )


@pytest.mark.parametrize(
    "key", ["PRIMARY KEY (who, what)", "PRIMARY KEY (id)", "PRIMARY KEY (id, day)"], ids=["of both", "of its own", "composite"]
)
def test_a_table_with_a_primary_key_is_a_node_type_whatever_the_key(key: str) -> None:
    graph = inferred(
        f"{PERSON} {ITEM} CREATE TABLE buys (id BIGINT, who BIGINT REFERENCES person (id), "
        f"what VARCHAR REFERENCES item (sku), day DATE, amount FLOAT, {key})"
    )
    assert [v.label for v in graph.vertices] == ["buys", "item", "person"]
    assert edge_types(graph) == [("buys", "who", "person"), ("buys", "what", "item")]


def test_a_foreign_key_of_a_vertex_table() -> None:
    graph = inferred(
        "CREATE TABLE city (id BIGINT PRIMARY KEY); "
        "CREATE TABLE customer (id BIGINT PRIMARY KEY, city_id BIGINT REFERENCES city (id), age INTEGER)"
    )
    assert forward(graph) == [EdgeTable(TableName("customer"), "city_id", "customer", ("id",), "city", ("city_id",))]


def test_keys_are_no_features_and_the_columns_of_nodes_none_of_edges() -> None:
    with dbgnn.connect(progress=False) as db:
        db.execute(
            "CREATE TABLE city (id BIGINT PRIMARY KEY, code INTEGER UNIQUE, size FLOAT);"
            "CREATE TABLE customer (id BIGINT PRIMARY KEY, y BIGINT, city_code INTEGER REFERENCES city (code));"
            "CREATE TABLE friend (a BIGINT REFERENCES customer (id), b BIGINT REFERENCES customer (id), c BIGINT, w FLOAT);"
            "CREATE TABLE pays (tx BIGINT PRIMARY KEY, s BIGINT, d BIGINT, amount FLOAT);"
        )
        graph = infer(db.cursor(), "inferred_both")
        assert served(db, graph) == {
            "city": ["size"],
            "customer": ["y"],
            "pays": ["s", "d", "amount"],
            ("customer", "city_code", "city"): [],
            ("city", "rev_city_code", "customer"): [],
            ("customer", "friend", "customer"): ["c", "w"],
            ("customer", "rev_friend", "customer"): ["c", "w"],
        }
        # the same of a graph that is declared, by what prints the inferred one and by hand
        db.execute(to_sql(replace(graph, name="copy")))
        assert served(db, db.graph("copy").definition) == served(db, graph)
        db.execute(
            """CREATE PROPERTY GRAPH own VERTEX TABLES (customer KEY (id), city KEY (id)) EDGE TABLES (
              customer AS lives SOURCE KEY (id) REFERENCES customer (id) DESTINATION KEY (y) REFERENCES city (id),
              customer AS dwells SOURCE KEY (id) REFERENCES customer (id) DESTINATION KEY (y) REFERENCES city (id)
                PROPERTIES ALL COLUMNS,
              customer AS stays SOURCE KEY (id) REFERENCES customer (id) DESTINATION KEY (y) REFERENCES city (id)
                PROPERTIES (city_code),
              friend SOURCE KEY (a) REFERENCES customer (id) DESTINATION KEY (b) REFERENCES customer (id),
              friend AS third SOURCE KEY (a) REFERENCES customer (id) DESTINATION KEY (c) REFERENCES customer (id)
                PROPERTIES ALL COLUMNS,
              pays SOURCE KEY (s) REFERENCES customer (id) DESTINATION KEY (d) REFERENCES customer (id))"""
        )
        assert served(db, db.graph("own").definition) == {
            "customer": [],
            "city": ["code", "size"],
            ("customer", "lives", "city"): [],
            ("customer", "dwells", "city"): [],
            ("customer", "stays", "city"): ["city_code"],
            ("customer", "friend", "customer"): ["w"],
            ("customer", "third", "customer"): ["w"],
            ("customer", "pays", "customer"): ["amount"],
        }


def test_a_loader_of_nodes_that_others_refer_to_samples_what_refers_to_them() -> None:
    with dbgnn.connect(progress=False) as db:
        db.execute(
            "CREATE TABLE customer (id BIGINT PRIMARY KEY, age FLOAT); INSERT INTO customer SELECT i, i FROM range(5) t(i);"
            "CREATE TABLE orders (id BIGINT PRIMARY KEY, who BIGINT REFERENCES customer (id), price FLOAT);"
            "INSERT INTO orders SELECT i, CASE WHEN i < 6 THEN i % 3 END, i FROM range(8) t(i)"
        )
        with pytest.warns(UserWarning, match=r"No edge types lead to 'orders'.*db.graph\('inferred_both'\)"):
            dbgnn.NeighborLoader(db.graph(), [-1], input_nodes="orders")
        graph = db.graph("inferred_both").build()
        assert next(iter(dbgnn.NeighborLoader(graph, [-1], input_nodes="orders")))["customer"].num_nodes == 1
        batch = next(iter(dbgnn.NeighborLoader(graph, [-1], input_nodes="customer", batch_size=5)))
        assert graph.num_edges(("customer", "rev_who", "orders")) == 6  # NULL is no edge
    assert batch["orders"].price.tolist() == [0, 1, 2, 3, 4, 5]
    assert batch["orders", "who", "customer"].edge_index.tolist() == [[0, 3, 1, 4, 2, 5], [0, 0, 1, 1, 2, 2]]


def test_self_references() -> None:
    graph = inferred(
        "CREATE TABLE staff (id BIGINT PRIMARY KEY, boss BIGINT REFERENCES staff (id)); "
        "CREATE TABLE knows (a BIGINT REFERENCES staff (id), b BIGINT REFERENCES staff (id))"
    )
    assert edge_types(graph) == [("staff", "knows", "staff"), ("staff", "boss", "staff")]
    assert graph.edges[0].source_key == ("a",)
    assert graph.edges[0].destination_key == ("b",)


def test_a_reverse_has_a_label_of_its_own() -> None:
    graph = inferred(
        "CREATE TABLE person (id BIGINT PRIMARY KEY, up BIGINT REFERENCES person (id), rev_up BIGINT REFERENCES person (id))"
    )
    assert [e.label for e in graph.edges] == ["up", "rev_up_2", "rev_up", "rev_rev_up"]


def test_composite_keys() -> None:
    graph = inferred(
        "CREATE TABLE flat (street VARCHAR, number INTEGER, PRIMARY KEY (number, street)); "
        "CREATE TABLE person (id BIGINT PRIMARY KEY, no INTEGER, road VARCHAR, "
        "FOREIGN KEY (no, road) REFERENCES flat (number, street));"
        "CREATE TABLE near (r1 VARCHAR, n1 INTEGER, r2 VARCHAR, n2 INTEGER, "
        "FOREIGN KEY (n1, r1) REFERENCES flat (number, street), FOREIGN KEY (n2, r2) REFERENCES flat (number, street))"
    )
    assert graph.vertex("flat").key == ("number", "street")
    near, lives = forward(graph)
    assert near.edge_type == ("flat", "near", "flat")
    assert near.source_key == ("n1", "r1")
    assert near.destination_key == ("n2", "r2")
    assert lives.edge_type == ("person", "no_road", "flat")
    assert lives.source_key == ("id",)
    assert lives.destination_key == ("no", "road")


THREE = "who BIGINT REFERENCES person (id), what VARCHAR REFERENCES item (sku), seller BIGINT REFERENCES person (id)"


def test_three_foreign_keys_without_a_key_are_three_edge_types() -> None:
    graph = inferred(f"{PERSON} {ITEM} CREATE TABLE buys ({THREE})")
    assert edge_types(graph) == [("person", "buys", "item"), ("person", "buys", "person"), ("item", "buys", "person")]
    assert [(e.source_key, e.destination_key) for e in forward(graph)] == [
        (("who",), ("what",)),
        (("who",), ("seller",)),
        (("what",), ("seller",)),
    ]


def test_three_foreign_keys_to_one_table_get_labels_apart() -> None:
    graph = inferred(f"{PERSON} CREATE TABLE t ({', '.join(f'{c} BIGINT REFERENCES person (id)' for c in 'abc')})")
    assert edge_types(graph) == [("person", "t", "person"), ("person", "t_a_c", "person"), ("person", "t_b_c", "person")]


def test_one_foreign_key_without_a_key_takes_no_part() -> None:
    graph = inferred(f"{PERSON} CREATE TABLE visit (who BIGINT REFERENCES person (id), n FLOAT)")
    assert [v.label for v in graph.vertices] == ["person"]
    assert graph.edges == ()


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
    assert forward(graph)[1].table == TableName("person", "s")


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
            (
                EdgeTable(
                    TableName("Cites"),
                    "Cites",
                    "Paper",
                    ("Src",),
                    "Paper",
                    ("dst",),
                    condition='"Src" IS NOT NULL AND dst IS NOT NULL',
                ),
            ),
        ),
    ),
    "composite": (
        (
            'CREATE SCHEMA "Town"; CREATE TABLE town.Flat (street VARCHAR, "No" INTEGER, m2 FLOAT, PRIMARY KEY (STREET, no)); '
            "INSERT INTO town.flat VALUES ('a', 1, 9), ('a', 2, 9);"
            "CREATE TABLE town.near (S1 VARCHAR, n1 INTEGER, s2 VARCHAR, N2 INTEGER, "
            "FOREIGN KEY (s1, N1) REFERENCES town.FLAT (Street, NO), FOREIGN KEY (S2, n2) REFERENCES town.flat (STREET, nO)); "
            "INSERT INTO town.near VALUES ('a', 2, 'a', 1)"
        ),
        PropertyGraph(
            "inferred",
            (VertexTable(TableName("Flat", "Town"), "Flat", ("street", "No")),),
            (
                EdgeTable(
                    TableName("near", "Town"),
                    "near",
                    "Flat",
                    ("S1", "n1"),
                    "Flat",
                    ("s2", "N2"),
                    condition='"N2" IS NOT NULL AND "S1" IS NOT NULL AND n1 IS NOT NULL AND s2 IS NOT NULL',
                ),
            ),
        ),
    ),
    "self-reference": (
        (
            "CREATE TABLE Staff (Id BIGINT, boss BIGINT, age INTEGER, PRIMARY KEY (ID), FOREIGN KEY (Boss) REFERENCES STAFF); "
            "INSERT INTO staff VALUES (1, NULL, 60); INSERT INTO staff VALUES (2, 1, 30)"
        ),
        PropertyGraph(
            "inferred",
            (VertexTable(TableName("Staff"), "Staff", ("Id",)),),
            (EdgeTable(TableName("Staff"), "boss", "Staff", ("Id",), "Staff", ("boss",)),),
        ),
    ),
}


@pytest.mark.parametrize(("ddl", "wanted"), MIXED_CASE.values(), ids=MIXED_CASE)
def test_keys_come_as_the_tables_spell_them(ddl: str, wanted: PropertyGraph) -> None:
    found = inferred(ddl)
    assert (found.vertices, tuple(forward(found))) == (wanted.vertices, wanted.edges)
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
    assert [(e.edge_type, e.destination_key) for e in forward(graph)] == [(("É", "Ä", "é"), ("Ä",))]


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
    def suggestion(self, ddl: str) -> tuple[str, PropertyGraph]:
        """Return the message, and the graph that what follows its first line declares in this database, as it stands there."""
        with duckdb.connect() as con:
            con.execute(ddl)
            with pytest.raises(SchemaError, match="no table has a foreign key") as caught:
                infer(con)
            _, _, statement = str(caught.value).partition("\n")
            parsed = parse_statement(statement)
            assert isinstance(parsed, CreateGraph)
            return statement, resolve(con, parsed)

    def refusal(self, ddl: str) -> str:
        """Return the message where nothing can be proposed: it holds no statement that could be taken for one."""
        with duckdb.connect() as con:
            con.execute(ddl)
            with pytest.raises(SchemaError, match="no table has a foreign key") as caught:
                infer(con)
        with pytest.raises(SqlError):
            parse_statement(str(caught.value)[str(caught.value).index("CREATE") :])
        return str(caught.value)

    def test_nothing_is_made_up_where_there_is_nothing(self) -> None:
        assert "Make tables of nodes and edges" in self.refusal("")
        text = self.refusal("CREATE TABLE notes (t BIGINT); INSERT INTO notes VALUES (1), (1)")
        assert "No column of notes is a key: each has NULL or repeats a value." in text

    def test_the_databases_own_tables_are_shown(self) -> None:
        statement, graph = self.suggestion(
            "CREATE TABLE users (user_id BIGINT); CREATE TABLE movie (id BIGINT PRIMARY KEY); CREATE TABLE notes (t VARCHAR); "
            'CREATE TABLE "My ratings" (rating FLOAT, "movieId" BIGINT, "userId" INTEGER)'
        )
        assert [(v.label, v.key) for v in graph.vertices] == [("movie", ("id",)), ("users", ("user_id",))]
        assert [(e.edge_type, e.source_key, e.destination_key) for e in forward(graph)] == [
            (("movie", "My ratings", "users"), ("movieId",), ("userId",))
        ]
        assert "-- users (user_id): a key by its name, not measured, since there are no values\n" in statement
        assert '-- "My ratings" ("movieId") → movie (id): not measured, since there are no values\n' in statement

    def test_ends_of_one_type(self) -> None:
        _, graph = self.suggestion("CREATE TABLE paper (id BIGINT, x FLOAT[2]); CREATE TABLE cites (src BIGINT, dst BIGINT)")
        assert edge_types(graph) == [("paper", "cites", "paper")]

    def test_what_is_proposed_was_measured(self) -> None:
        statement, graph = self.suggestion(
            "CREATE TABLE users AS SELECT i AS user_id, i % 3 AS city_id FROM range(10) r(i);"
            "CREATE TABLE city AS SELECT i AS id, 'c' || i AS name FROM range(3) r(i);"
            "CREATE TABLE movie AS SELECT i + 100 AS id, i AS user_id FROM range(20) r(i);"
            "CREATE TABLE rates AS SELECT i % 10 AS user_id, 100 + i % 21 AS movie_id, i AS stamp FROM range(210) r(i);"
            "CREATE TABLE tag AS SELECT i // 2 AS id, i % 5 AS user_id, i AS movie_id FROM range(20) r(i);"
            "CREATE TABLE cites AS SELECT 100 + i % 20 AS src, i / 2 AS weight, 100 + i * 7 % 20 AS dst FROM range(50) r(i);"
            "CREATE TABLE carrier AS SELECT 'a' || i AS code, 'x' AS name FROM range(4) r(i);"
            "CREATE TABLE flight AS SELECT 'a' || i % 4 AS code, i % 2 AS late FROM range(9) r(i)"
        )
        assert [(v.label, v.key) for v in graph.vertices] == [
            ("carrier", ("code",)), ("city", ("id",)), ("movie", ("id",)), ("users", ("user_id",))
        ]  # fmt: skip
        assert edge_types(graph) == [
            ("movie", "cites", "movie"), ("users", "rates", "movie"), ("users", "city_id", "city")
        ]  # fmt: skip
        for line in (
            "users (user_id): a key: 10 rows have as many values and no NULL",
            "users (city_id) → city (id): 100.0% of 3 different values are keys",
            "tag (id) is no key: 10 different values in 20 rows",
            "tag (movie_id) → movie (id): 0.0% of 20 different values are keys; left out",
            "movie (user_id) → users (user_id): 50.0% of 20 different values are keys; left out",
            "rates (movie_id) → movie (id): 95.2% of 21 different values are keys",
            "cites (dst) → movie (id): 100.0% of 20 different values are keys (which its name does not say)",
        ):
            assert f"-- {line}\n" in statement

    def test_long_tables_are_looked_at_in_part_and_for_so_long(self, monkeypatch: pytest.MonkeyPatch) -> None:
        ddl = (
            "CREATE TABLE paper AS SELECT least(i, 15) AS id FROM range(20) r(i);"
            "CREATE TABLE cites AS SELECT i % 7 AS src, i % 5 AS dst FROM range(50) r(i)"
        )
        monkeypatch.setattr("dbgnn.schema.suggest._ROWS", 10)
        statement, _ = self.suggestion(ddl)
        assert "-- paper (id): a key: the first 10 rows have as many values and no NULL\n" in statement
        assert "-- cites (src) → paper (id): in the first 10 rows, 100.0% of 7 different values are keys" in statement
        monkeypatch.setattr("dbgnn.schema.suggest._SECONDS", -1.0)
        statement, _ = self.suggestion(ddl)
        assert "-- paper (id): a key by its name, not measured, since -1 s had passed\n" in statement
