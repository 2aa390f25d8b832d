"""What print(graph) shows."""

from __future__ import annotations

import duckdb
import pytest

from dbgnn import UnknownNameError
from dbgnn.schema import PropertyGraph, describe, infer, load, parse_statement, run
from dbgnn.schema.catalog import DECLARE_AGAIN


@pytest.fixture
def con() -> duckdb.DuckDBPyConnection:
    con = duckdb.connect()
    con.execute(
        """
        CREATE TABLE paper (id BIGINT, x FLOAT[4], year SMALLINT, day DATE, kind ENUM ('a', 'b'), title VARCHAR,
          tags INTEGER[]);
        INSERT INTO paper SELECT i, [i, 0, 0, 0], 2000, '2020-01-01', 'a', 't', [] FROM range(1234) t(i);
        CREATE TABLE cites (src BIGINT, dst BIGINT);
        INSERT INTO cites VALUES (0, 1), (1, 2);
        """
    )
    statement = parse_statement(
        """CREATE PROPERTY GRAPH papers VERTEX TABLES (paper KEY (id), paper AS old KEY (id) PROPERTIES (year)) EDGE TABLES (
             cites SOURCE KEY (src) REFERENCES paper DESTINATION KEY (dst) REFERENCES paper,
             cites SOURCE KEY (dst) REFERENCES old DESTINATION KEY (src) REFERENCES old LABEL "cited by" NO PROPERTIES)"""
    )
    assert statement is not None
    run(con, statement)
    return con


TAGS = "ALTER TABLE paper ALTER tags TYPE INTEGER[n], if all have n elements"
EXPECTED = f"""\
Property graph 'papers': 2 node types, 2 edge types

Node type 'paper': 1,234 rows of table paper
  key       id BIGINT
  tensors   x     float32  [1234, 4]  FLOAT[4]
            year  int16    [1234]     SMALLINT
            day   int64    [1234]     DATE, days since 1970-01-01
            kind  int64    [1234]     ENUM('a', 'b'), code, from 0
  left out  id     BIGINT     the key; PROPERTIES or columns= can name it
            title  VARCHAR    text; graph.encode('paper', 'title_x', dbgnn.Hash('title')), or OneHot of few values
            tags   INTEGER[]  lists may differ in length; {TAGS}

Node type 'old': 1,234 rows of table paper
  key       id BIGINT
  tensors   year  int16  [1234]  SMALLINT
  left out  id     BIGINT          the key; PROPERTIES or columns= can name it
            x      FLOAT[4]        not among the PROPERTIES
            day    DATE            not among the PROPERTIES
            kind   ENUM('a', 'b')  not among the PROPERTIES
            title  VARCHAR         text; graph.encode('old', 'title_x', dbgnn.Hash('title')), or OneHot of few values
            tags   INTEGER[]       lists may differ in length; {TAGS}

Edge type ('paper', 'cites', 'paper'): 2 rows of table cites
  source       src BIGINT → paper (id)
  destination  dst BIGINT → paper (id)
  tensors      none
  left out     src  BIGINT  the source's key
               dst  BIGINT  the destination's key

Edge type ('old', 'cited by', 'old'): 2 rows of table cites
  source       dst BIGINT → old (id)
  destination  src BIGINT → old (id)
  tensors      none
  left out     every column (NO PROPERTIES)"""


def test_the_whole_text(con: duckdb.DuckDBPyConnection) -> None:
    assert describe(con, load(con, "papers")) == EXPECTED


def test_counts_that_are_known_are_not_counted(con: duckdb.DuckDBPyConnection) -> None:
    text = describe(con, load(con, "papers"), num_rows={"paper": 7, ("old", "cited by", "old"): 0})
    assert "Node type 'paper': 7 rows" in text
    assert "float32  [7, 4]" in text
    assert "Node type 'old': 1,234 rows" in text
    assert "('old', 'cited by', 'old'): 0 rows" in text


def test_a_table_that_is_gone(con: duckdb.DuckDBPyConnection) -> None:
    con.execute("DROP TABLE cites")
    with pytest.raises(UnknownNameError, match=r"no table 'cites' .*declare that graph again: CREATE OR REPLACE"):
        describe(con, load(con, "papers"))
    con.execute("ALTER TABLE paper RENAME TO papers")
    with pytest.raises(UnknownNameError, match=r"no table 'paper'; did you mean 'papers'\?.* CREATE OR REPLACE PROPERTY GRAPH"):
        describe(con, load(con, "papers"))


def test_columns_that_are_gone(con: duckdb.DuckDBPyConnection) -> None:
    con.execute("ALTER TABLE cites RENAME src TO source")
    text = describe(con, load(con, "papers"))
    assert "source       src (gone) → paper (id)" in text
    assert text.endswith(f"\n\nKey columns that are gone: cites.src. {DECLARE_AGAIN}")
    con.execute("ALTER TABLE paper RENAME year TO published")
    with pytest.raises(UnknownNameError, match=r"no column 'year' any more.* CREATE OR REPLACE PROPERTY GRAPH"):
        describe(con, load(con, "papers"))


def test_an_inferred_graph_names_what_it_leaves_out() -> None:
    with duckdb.connect() as con:
        con.execute(
            "CREATE TABLE city (id BIGINT PRIMARY KEY); CREATE TABLE log (line VARCHAR); "
            "CREATE TABLE man (id BIGINT PRIMARY KEY, city BIGINT REFERENCES city (id))"
        )
        text = describe(con, infer(con))
    assert text.startswith("Property graph 'inferred' (from foreign keys): 2 node types, 1 edge type\n")
    assert (
        "left out  id    BIGINT  the key; PROPERTIES or columns= can name it\n            city  BIGINT  a foreign key;" in text
    )
    nodes = "left out     every column (they are those of node type 'man'; PROPERTIES or columns= can name them)"
    assert text.count(nodes) == 1
    assert text.endswith("Tables without a part in it: log")


def test_an_empty_homogeneous_graph() -> None:
    with duckdb.connect() as con:
        assert (
            describe(con, PropertyGraph("g", homogeneous=True))
            == "Property graph 'g' (homogeneous): 0 node types, 0 edge types"
        )
