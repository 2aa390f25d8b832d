"""The pattern form: which nodes and edges one SELECT over the tables of a graph matches, and where it is refused."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import duckdb
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dbgnn import Database, DbgnnError, SqlError, connect
from dbgnn.errors import UnknownNameError
from dbgnn.queries.pattern import match
from dbgnn.schema.model import PropertyGraph

RATED = ("users", "rated", "movies")
TABLES = """
CREATE TABLE users (id BIGINT PRIMARY KEY, age INTEGER);
CREATE TABLE movies (id VARCHAR PRIMARY KEY, year INTEGER);
CREATE TABLE ratings (user_id BIGINT, movie_id VARCHAR, rating FLOAT);
CREATE TABLE follows (a BIGINT, b BIGINT);
CREATE TABLE banned (user_id BIGINT);
INSERT INTO users VALUES (10, 20), (20, 30), (30, 40), (40, 50);
INSERT INTO movies VALUES ('a', 1980), ('b', 1990), ('c', 2000);
INSERT INTO ratings VALUES (10, 'a', 5), (10, 'a', 5), (20, 'b', 3), (30, 'b', 4), (30, 'gone', 5), (NULL, 'c', 1);
INSERT INTO follows VALUES (10, 20), (20, 30), (30, 30);
INSERT INTO banned VALUES (30);
CREATE PROPERTY GRAPH g
  VERTEX TABLES (users KEY (id), movies KEY (id))
  EDGE TABLES (
    ratings SOURCE KEY (user_id) REFERENCES users (id) DESTINATION KEY (movie_id) REFERENCES movies (id) LABEL rated,
    follows SOURCE KEY (a) REFERENCES users (id) DESTINATION KEY (b) REFERENCES users (id)
  );
"""
JOINED = "FROM users u JOIN ratings r ON r.user_id = u.id JOIN movies m ON r.movie_id = m.id"
FOLLOWS = ("users", "follows", "users")

Found = dict[Any, list[int]]


@pytest.fixture(scope="module")
def db() -> Iterator[Database]:
    with connect() as db:
        db.execute(TABLES)
        yield db


def run(db: Database, text: str, params: Sequence[object] | dict[str, object] | None = None, graph: str | None = None) -> Found:
    """Return the rowids matched per type, sorted; and check that they are distinct and that nothing is left."""
    definition: PropertyGraph = db.graph(graph).definition
    con = db.cursor()
    found: Found = {}
    with match(con, definition, text, params) as matched:
        for name, query in (*matched.nodes.items(), *matched.edges.items()):
            relation = con.execute(query)
            assert [column[0] for column in relation.description] == ["rid"]
            found[name] = sorted(rid for (rid,) in relation.fetchall())
            assert len(set(found[name])) == len(found[name])
    assert temporary(con) == []
    return found


def temporary(con: duckdb.DuckDBPyConnection) -> list[Any]:
    return con.execute("SELECT table_name FROM duckdb_tables() WHERE database_name = 'temp'").fetchall()


def refused(db: Database, text: str, params: Sequence[object] | None = None, graph: str | None = None) -> tuple[str, str]:
    """Return the message, and what the marker stands under ("" without one); check that nothing is left."""
    con = db.cursor()
    with pytest.raises(DbgnnError) as caught:
        match(con, db.graph(graph).definition, text, params)
    assert temporary(con) == []
    message, *lines = str(caught.value).split("\n")
    under = ""
    for above, line in pairwise(lines):
        if line.strip() and not line.strip(" \t^"):
            under = above[line.index("^") : line.rindex("^") + 1]
    return message, under


# -- what is matched -----------------------------------------------------------------------------------------------


def test_nodes_and_edges_of_a_join_come_once_and_parallel_edges_stay(db: Database) -> None:
    found = run(db, f"SELECT u, r, m {JOINED} WHERE r.rating >= 4")
    assert found == {"users": [0, 2], "movies": [0, 1], RATED: [0, 1, 3]}


def test_nodes_alone_give_no_edges(db: Database) -> None:
    assert run(db, f"SELECT u {JOINED} WHERE m.year > 1985") == {"users": [1, 2]}


def test_edges_alone_bring_their_ends_as_far_as_they_exist(db: Database) -> None:
    assert run(db, "SELECT r FROM ratings r WHERE rating = 5") == {"users": [0, 2], "movies": [0], RATED: [0, 1, 4]}
    assert run(db, "SELECT r FROM ratings r WHERE rating = 1") == {"users": [], "movies": [2], RATED: [5]}


def test_nothing_matched_is_empty(db: Database) -> None:
    assert run(db, f"SELECT u, r, m {JOINED} WHERE false") == {"users": [], "movies": [], RATED: []}


def test_what_an_outer_join_left_null_is_no_node_and_no_edge(db: Database) -> None:
    left = JOINED.replace("JOIN", "LEFT JOIN")
    assert run(db, f"SELECT u, r, m {left}") == {"users": [0, 1, 2, 3], "movies": [0, 1], RATED: [0, 1, 2, 3, 4]}
    full = JOINED.replace("JOIN", "FULL JOIN")
    assert run(db, f"SELECT m {full} WHERE u.id IS NULL") == {"movies": [2]}
    assert run(db, f"SELECT u {left} WHERE r.rating IS NULL") == {"users": [3]}


def test_aliases_of_one_type_give_the_union_of_their_rows(db: Database) -> None:
    joined = "FROM users p JOIN follows f ON f.a = p.id JOIN users q ON f.b = q.id"
    assert run(db, f"SELECT p, q {joined} WHERE p.age = 20") == {"users": [0, 1]}
    assert run(db, f"SELECT p, f {joined} WHERE p.age = 20") == {"users": [0, 1], FOLLOWS: [0]}
    assert run(db, f"SELECT * {joined} WHERE p.id = q.id") == {"users": [2], FOLLOWS: [2]}
    assert run(db, "SELECT f, g FROM follows f JOIN follows g ON f.b = g.a WHERE f.a = 10") == {
        "users": [0, 1, 2],
        FOLLOWS: [0, 1],
    }


@pytest.mark.parametrize(
    "text",
    [
        f"SELECT u, r, m {JOINED}",
        f"SELECT * {JOINED}",
        f"SELECT u.*, r.*, M.* {JOINED}",
        f"select U, R AS rated, m as movies {JOINED};",
        f"SELECT r AS users__rated__movies {JOINED}",
        f"SELECT rated: r {JOINED}",
        f"SELECT *, r AS rated {JOINED} ORDER BY r.rating",
        f"{JOINED} SELECT r, ",
        f"({JOINED} SELECT *)",
        f'SELECT /* é -- \' */ "u" -- comment; SELECT\n, r /* /* nested */ */,\n\tm {JOINED} -- the end',
        f"SELECT r {JOINED} ORDER BY u DESC, r",
        f"WITH x AS (SELECT 'SELECT a FROM b' AS t) SELECT r {JOINED}, x WHERE x.t LIKE 'SELECT%FROM%'",
        "SELECT r FROM ratings r SEMI JOIN users u ON r.user_id = u.id SEMI JOIN movies m ON r.movie_id = m.id",
        "SELECT ratings FROM main.ratings WHERE user_id IN (SELECT id FROM users) AND movie_id IN (SELECT id FROM movies)",
        "SELECT r FROM memory.main.ratings r WHERE EXISTS (FROM users u, movies m WHERE user_id = u.id AND movie_id = m.id)",
        "SELECT r FROM users AS x(k) JOIN ratings r ON r.user_id = x.k JOIN (SELECT id FROM movies) m ON m.id = r.movie_id",
    ],
)
def test_ways_to_write_the_same(db: Database, text: str) -> None:
    assert run(db, text) == {"users": [0, 1, 2], "movies": [0, 1], RATED: [0, 1, 2, 3]}


def test_other_tables_filter(db: Database) -> None:
    assert run(db, "SELECT u FROM users u JOIN banned b ON u.id = b.user_id") == {"users": [2]}
    assert run(db, "SELECT u FROM users u ANTI JOIN banned b ON u.id = b.user_id") == {"users": [0, 1, 3]}
    assert run(db, "SELECT * FROM users u JOIN banned b ON u.id = b.user_id") == {"users": [2]}
    assert run(db, "SELECT u FROM users u, (VALUES (10), (40)) v(k) WHERE u.id = k") == {"users": [0, 3]}
    assert run(db, "WITH old AS (SELECT * FROM users WHERE age > 35) SELECT u FROM users u JOIN old USING (id)") == {
        "users": [2, 3]
    }
    best = "SELECT user_id FROM ratings GROUP BY user_id HAVING count(DISTINCT movie_id) > 1"
    assert run(db, f"SELECT u FROM users u WHERE u.id IN ({best})") == {"users": [2]}


def test_limit_and_qualify_keep_matched_rows(db: Database) -> None:
    assert run(db, "SELECT u FROM users u ORDER BY age DESC LIMIT 2") == {"users": [2, 3]}
    last = "QUALIFY row_number() OVER (PARTITION BY r.movie_id ORDER BY r.rating DESC, r.user_id) = 1"
    assert run(db, f"SELECT u, m {JOINED} {last}") == {"users": [0, 2], "movies": [0, 1]}


def test_values_are_bound(db: Database) -> None:
    assert run(db, "SELECT u FROM users u WHERE age > ? ORDER BY id LIMIT ?", [20, 1]) == {"users": [1]}
    assert run(db, "SELECT u FROM users u WHERE age > $low AND age < $high", {"low": 20, "high": 50}) == {"users": [1, 2]}
    assert run(db, "SELECT m FROM movies m WHERE id = ?", ["' OR true --"]) == {"movies": []}
    message, _ = refused(db, "SELECT u FROM users u WHERE age > ?")
    assert "cannot be run: Values were not provided" in message
    assert "cannot be run" in refused(db, "SELECT u FROM users u WHERE age > ?", [object()])[0]


def test_names_may_be_anything() -> None:
    with connect() as db:
        db.execute(
            'CREATE SCHEMA "se.lect"; CREATE TABLE "se.lect"."from ""é"", --" ("ke y" INTEGER, k2 VARCHAR, "rowid," INTEGER)'
        )
        db.execute('CREATE TABLE "se.lect"."select" (a INTEGER, a2 VARCHAR, b INTEGER, b2 VARCHAR)')
        db.execute("""INSERT INTO "se.lect"."from ""é"", --" VALUES (1, 'x', 0), (1, 'y', 0), (2, 'x', 0)""")
        db.execute("""INSERT INTO "se.lect"."select" VALUES (1, 'x', 1, 'y'), (1, 'x', 1, 'y'), (2, 'x', 2, 'x')""")
        db.execute(
            """CREATE PROPERTY GRAPH "g 1" VERTEX TABLES ("se.lect"."from ""é"", --" AS "a;b" KEY ("ke y", k2)) EDGE TABLES (
            "se.lect"."select" SOURCE KEY (a, a2) REFERENCES "a;b" ("ke y", k2)
            DESTINATION KEY (b, b2) REFERENCES "a;b" ("ke y", k2) LABEL "x'y")"""
        )
        edge = ("a;b", "x'y", "a;b")
        text = """SELECT "sé""l,", "SELECT" FROM "se.lect"."from ""é"", --" AS "sé""l," JOIN "SE.lect"."Select"
            ON "ke y" = a AND k2 = a2 WHERE b2 = 'y'"""
        assert run(db, text) == {"a;b": [0, 1], edge: [0, 1]}
        assert run(db, """SELECT x AS "x'y" FROM "se.lect"."select" x WHERE x.a = 2""") == {"a;b": [2], edge: [2]}


def test_a_table_in_two_roles_is_told_by_its_name() -> None:
    with connect() as db:
        db.execute(
            """CREATE TABLE t (id INTEGER); INSERT INTO t VALUES (1), (2), (3);
            CREATE TABLE e (id INTEGER, a INTEGER, b INTEGER); INSERT INTO e VALUES (7, 1, 2), (8, 2, 3);
            CREATE PROPERTY GRAPH g VERTEX TABLES (t KEY (id), e AS event KEY (id)) EDGE TABLES (
            e SOURCE KEY (a) REFERENCES t (id) DESTINATION KEY (b) REFERENCES t (id) LABEL goes,
            e SOURCE KEY (b) REFERENCES t (id) DESTINATION KEY (a) REFERENCES t (id) LABEL comes,
            e SOURCE KEY (id) REFERENCES event (id) DESTINATION KEY (a) REFERENCES t (id) LABEL goes)"""
        )
        assert run(db, "SELECT e AS event FROM e WHERE a = 1") == {"event": [0]}
        assert run(db, "SELECT e AS comes FROM e WHERE a = 1") == {"t": [0, 1], ("t", "comes", "t"): [0]}
        assert run(db, "SELECT e AS t__goes__t FROM e WHERE a = 1") == {"t": [0, 1], ("t", "goes", "t"): [0]}
        both = run(db, "SELECT e AS Event, e AS event__goes__t FROM e WHERE a = 1")
        assert both == {"t": [0], "event": [0], ("event", "goes", "t"): [0]}
        assert run(db, "SELECT *, x AS comes FROM t JOIN e x ON t.id = x.b")[("t", "comes", "t")] == [0, 1]
        message, under = refused(db, "SELECT t,\n  x\nFROM t JOIN e x ON t.id = x.a")
        assert "several things" in message
        assert "say in the SELECT list x AS event or x AS t__goes__t or x AS t__comes__t or x AS event__goes__t" in message
        assert under == "x"
        message, under = refused(db, "SELECT e AS goes FROM e")
        assert "'e' AS 'goes' is several things" in message
        assert under == "e"
        assert refused(db, "SELECT * FROM t, e")[1] == "*"


def test_dangling_ends_and_deleted_rows() -> None:
    with connect() as db:
        db.execute(TABLES)
        db.execute("DELETE FROM users WHERE id = 10; DELETE FROM ratings WHERE rating = 3")
        assert run(db, "SELECT r FROM ratings r WHERE user_id < 30") == {"users": [], "movies": [0], RATED: [0, 1]}


@pytest.fixture(scope="module")
def small() -> Iterator[Database]:
    with connect() as db:
        db.execute(
            """CREATE TABLE u AS SELECT range * 2 AS id FROM range(4); CREATE TABLE m AS SELECT range AS id FROM range(4);
            CREATE TABLE r (a INTEGER, b INTEGER, w INTEGER);
            CREATE PROPERTY GRAPH g VERTEX TABLES (u KEY (id), m KEY (id)) EDGE TABLES (
            r SOURCE KEY (a) REFERENCES u (id) DESTINATION KEY (b) REFERENCES m (id))"""
        )
        yield db


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 4), st.integers(0, 3)), max_size=12),
    st.integers(0, 3),
    st.sampled_from(["", "LEFT "]),
)
def test_equal_to_an_oracle(small: Database, ratings: list[tuple[int, int, int]], least: int, kind: str) -> None:
    users, movies = np.arange(0, 8, 2), np.arange(0, 4)  # edges of the users 1, 3, 5 and the movie 4 dangle
    a, b, w = np.array(ratings, dtype=int).reshape(-1, 3).T
    small.execute("CREATE OR REPLACE TABLE r (a INTEGER, b INTEGER, w INTEGER)")
    small.execute(
        "INSERT INTO r SELECT unnest($1::INT[]), unnest($2::INT[]), unnest($3::INT[])", [x.tolist() for x in (a, b, w)]
    )
    joined = f"FROM u {kind}JOIN r ON u.id = r.a {kind}JOIN m ON m.id = r.b"
    found = run(small, f"SELECT u, r, m {joined} WHERE r.w >= ? OR r.w IS NULL", [least])
    edges = np.isin(a, users) & (w >= least) & (np.isin(b, movies) if not kind else True)
    lonely = users[~np.isin(users, a)] if kind else users[:0]
    assert found["u", "r", "m"] == np.flatnonzero(edges).tolist()
    assert found["u"] == np.flatnonzero(np.isin(users, np.concatenate([a[edges], lonely]))).tolist()
    assert found["m"] == np.flatnonzero(np.isin(movies, b[edges])).tolist()


# -- what is refused -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "says", "under"),
    [
        ("SELECT x FROM users u", "'x' is no alias of a table in FROM (there are: u)", "x"),
        (f"SELECT u, rr {JOINED}", "did you mean 'r'", "rr"),
        ("SELECT users FROM users u", "'users' is no alias", "users"),
        ("SELECT u", "there are none", "u"),
        ("SELECT u.age FROM users u", "'u.age' is a column", "u.age"),
        ("SELECT u,\n\tu.age AS a\nFROM users u", "SELECT u. Which columns", "u.age"),
        ("SELECT 'é', u FROM users u", "not values", "'é'"),
        ("SELECT u, max(age) FROM users u", "not values", "max(age)"),
        ("SELECT u.* EXCLUDE (age) FROM users u", "not values", "u.* EXCLUDE (age)"),
        ("SELECT COLUMNS('a') FROM users u", "not values", "COLUMNS('a')"),
        ("SELECT (SELECT 1) FROM users u", "not values", "(SELECT 1)"),
        ("SELECT (u) FROM users u", "without parentheses", "u"),
        ("SELECT DISTINCT u FROM users u", "Leave DISTINCT out", "DISTINCT"),
        ("SELECT DISTINCT ON (age) u FROM users u", "Leave DISTINCT out", "DISTINCT"),
        ("WITH x AS (SELECT DISTINCT 1)\nSELECT  DISTINCT u FROM users u", "Leave DISTINCT out", "DISTINCT"),
        ("SELECT u FROM users u GROUP BY ALL", "not groups", "GROUP BY"),
        ("SELECT u FROM users u GROUP BY u", "not groups", "GROUP BY"),
        ("SELECT u FROM users u HAVING count(*) > 1", "not groups", "HAVING"),
        ("SELECT u FROM users u UNION SELECT u FROM users u", "must be one SELECT", "UNION"),
        ("FROM users u", "must say which", ""),
        ("TABLE users", "must say which", ""),
        ("VALUES (1)", "must say which", ""),
        ("SELECT id FROM users id", "also the name of a column", "id"),
        ("SELECT AGE FROM users AS Age", "also the name of a column", "AGE"),
        ("SELECT m, age FROM movies m JOIN (SELECT 1 AS m) x ON true, users age", "also the name of a column", "m"),
        ("SELECT rated: age FROM ratings age, users", "also the name of a column", "age"),
        ("SELECT u FROM users u, users U", "called 'u'", "users U"),
        ("SELECT * FROM users u, movies u", "called 'u'", "movies u"),
        ("SELECT u FROM users u(a, b)", "their own names", "users u(a, b)"),
        ("SELECT u AS person FROM users u", "no 'person' in the graph; say in the SELECT list u AS users", "u"),
        ("SELECT b FROM banned b", "table 'banned', no vertex or edge table of graph 'g'", "b"),
        ("SELECT u FROM userz u", "did you mean 'users'", "u"),
        ("SELECT * FROM banned", "No table in FROM", "*"),
        ("SELECT q FROM users u, (SELECT * FROM users) q", "a subquery", "q"),
        ("SELECT q FROM range(3) q", "a table function", "q"),
        ("SELECT m FROM users u SEMI JOIN movies m ON true", "'m' is no alias", "m"),
        ("WITH users AS (SELECT 1) SELECT users FROM users", "the CTE 'users'", "users"),
        ("SELECT u FROM other.users u", "table 'other.users'", "u"),
    ],
)
def test_the_place_is_shown(db: Database, text: str, says: str, under: str) -> None:
    message, marked = refused(db, text)
    assert says in message
    assert marked == under


@pytest.mark.parametrize(
    "text",
    [
        "",
        "SELECT u FROM users u; DELETE FROM users",
        "WITH gone AS (DELETE FROM users RETURNING *) SELECT u FROM users u JOIN gone USING (id)",
        "DELETE FROM users",
        "CREATE TABLE x AS SELECT u FROM users u",
        "COPY (SELECT 1) TO 'x.csv'",
        "ATTACH 'x.duckdb'",
        "PRAGMA threads = 1",
        "SET threads = 1",
        "INSTALL json",
        "SELECT u FROM users u WHERE",
        "SELECT u FROM users u WHERE nothing = 1",
        "SELECT u FROM users u WHERE age = error('mine')",
        "SELECT u FROM users u WHERE id = 'x'::INTEGER",
        "SELECT u FROM users u WHERE id = '\0'",
        "MATCH (u:users) RETURN u",
    ],
)
def test_what_is_no_select_or_cannot_run_is_refused(db: Database, text: str) -> None:
    before = db.execute("SELECT count(*) FROM users").fetchall()
    with pytest.raises(SqlError):
        match(db.cursor(), db.graph().definition, text)
    assert db.execute("SELECT count(*) FROM users").fetchall() == before
    assert temporary(db.cursor()) == []


def test_a_long_query_is_cut_around_the_place(db: Database) -> None:
    many = " OR ".join(f"age = {i}" for i in range(300))
    with pytest.raises(UnknownNameError) as caught:
        match(
            db.cursor(),
            db.graph().definition,
            f"SELECT {' ' * 500}u,\n\n\n\n\n\n{' ' * 500} nobody {' ' * 500} FROM users u\nWHERE {many}",
        )
    shown = str(caught.value).splitlines()[1:]
    assert max(map(len, shown)) <= 130
    assert len(shown) <= 10
    at = next(i for i, line in enumerate(shown) if set(line.strip()) == {"^"})
    assert shown[at - 1][shown[at].index("^") :].startswith("nobody ")


def test_a_view_and_a_temporary_table_are_no_tables_of_the_graph() -> None:
    with connect() as db:
        db.execute(
            """CREATE TABLE t (id INTEGER); INSERT INTO t VALUES (1); CREATE TABLE e (a INTEGER); INSERT INTO e VALUES (1);
            CREATE PROPERTY GRAPH g VERTEX TABLES (t KEY (id))
            EDGE TABLES (e SOURCE KEY (a) REFERENCES t (id) DESTINATION KEY (a) REFERENCES t (id)); CREATE VIEW v AS FROM t"""
        )
        assert "no vertex or edge table" in refused(db, "SELECT v FROM v")[0]
        db.cursor().execute("CREATE TEMP TABLE t (id INTEGER)")
        try:
            with pytest.raises(SqlError, match="no vertex or edge table"):
                match(db.cursor(), db.graph().definition, "SELECT t FROM t")
            with match(db.cursor(), db.graph().definition, "SELECT e FROM e, memory.t") as matched:
                assert db.cursor().execute(matched.nodes["t"]).fetchall() == [(0,)]
        finally:
            db.cursor().execute("DROP TABLE temp.t")


# -- its temporary table -------------------------------------------------------------------------------------------


def test_closing_twice_is_fine_and_an_error_inside_leaves_nothing(db: Database) -> None:
    con = db.cursor()
    matched = match(con, db.graph().definition, "SELECT u FROM users u")
    assert len(temporary(con)) == 1
    matched.close()
    matched.close()
    assert temporary(con) == []
    with pytest.raises(duckdb.Error, match="mine"), match(con, db.graph().definition, "SELECT u FROM users u"):
        con.execute("SELECT error('mine')")
    assert temporary(con) == []


def test_a_transaction_that_fails_takes_the_table_with_it(db: Database) -> None:
    con = db.cursor()
    con.execute("BEGIN")
    with pytest.raises(duckdb.ConversionException), match(con, db.graph().definition, "SELECT u FROM users u"):
        con.execute("SELECT 'x'::INTEGER")
    con.execute("ROLLBACK")
    assert temporary(con) == []


def test_a_read_only_database_can_be_asked(tmp_path: Any) -> None:
    with connect(tmp_path / "g.duckdb") as db:
        db.execute(TABLES)
    with connect(tmp_path / "g.duckdb", read_only=True) as db:
        assert run(db, "SELECT r FROM g.ratings r WHERE rating = 3") == {"users": [1], "movies": [1], RATED: [2]}
