"""Queries by type over what is no table of the file: views, Parquet and CSV by path, attached DuckDB and SQLite files."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import duckdb
import pytest
from torch_geometric.data import HeteroData

import dbgnn
from dbgnn.sql import literal

CITES = ("paper", "cites", "paper")
ROWS = """
    SELECT id, year, x::FLOAT[2] AS x
    FROM (VALUES ('b', 2015, [1, 2]), ('a', 2016, [3, 4]), ('c', 2017, [5, 6])) t(id, year, x)
"""
EDGES = "SELECT * FROM (VALUES ('a', 'b', 1.5::FLOAT), ('b', 'c', 2.5::FLOAT), ('a', 'b', 3.5::FLOAT)) t(src, dst, w)"


def assert_is_the_graph(data: HeteroData, *, with_x: bool = True) -> None:
    assert data["paper"].id == ["b", "a", "c"]
    assert data["paper"].year.tolist() == [2015, 2016, 2017]
    assert data[CITES].edge_index.tolist() == [[1, 0, 1], [0, 2, 0]]
    assert data[CITES].w.tolist() == [1.5, 2.5, 3.5]
    if with_x:
        assert data["paper"].x.tolist() == [[1, 2], [3, 4], [5, 6]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a quote in its name and the graph in it: as Parquet, as CSV, and as a DuckDB file."""
    folder = tmp_path / "it's here"
    folder.mkdir()
    with duckdb.connect(str(folder / "other.duckdb")) as con:
        con.execute(f"CREATE TABLE paper AS {ROWS}; CREATE TABLE cites AS {EDGES}")
        for table in ("paper", "cites"):
            con.execute(f"COPY {table} TO {path_of(folder, f'{table}.parquet')}")
            columns = "* EXCLUDE (x)" if table == "paper" else "*"
            con.execute(f"COPY (SELECT {columns} FROM {table}) TO {path_of(folder, f'{table}.csv')}")
    return folder


def path_of(folder: Path, name: str) -> str:
    return literal(str(folder / name))


@pytest.mark.parametrize("plain", [False, True], ids=["Database", "plain connection"])
def test_parquet_by_path(folder: Path, plain: bool) -> None:
    with duckdb.connect() if plain else dbgnn.connect() as con:
        data = dbgnn.query_to_heterodata(
            con,
            nodes={"paper": f"SELECT id, year, x::FLOAT[2] AS x FROM {path_of(folder, 'paper.parquet')}"},
            edges={CITES: f"FROM read_parquet([{path_of(folder, 'cites.parquet')}])"},
        )
    assert_is_the_graph(data)


def test_arrays_of_parquet_files_are_lists_until_they_are_cast(folder: Path) -> None:
    with dbgnn.connect() as db, pytest.raises(dbgnn.SchemaError, match=r"cast to FLOAT\[n\]"):
        dbgnn.query_to_heterodata(db, nodes={"paper": f"FROM {path_of(folder, 'paper.parquet')}"})


def test_csv_by_path(folder: Path) -> None:
    with dbgnn.connect(folder / "empty.duckdb") as db:
        data = dbgnn.query_to_heterodata(
            db,
            nodes={"paper": f"FROM {path_of(folder, 'paper.csv')}"},
            edges={CITES: f"SELECT src, dst, w::FLOAT AS w FROM read_csv({path_of(folder, 'cites.csv')}, header = true)"},
        )
    assert_is_the_graph(data, with_x=False)


def test_views_and_temporary_tables(tmp_path: Path) -> None:
    with dbgnn.connect(tmp_path / "g.duckdb") as db:
        db.execute(f"CREATE VIEW paper AS {ROWS}; CREATE TEMP VIEW recent AS FROM paper WHERE year > 2000")
        db.execute(f"CREATE TEMP TABLE cites AS {EDGES}")
        assert_is_the_graph(dbgnn.query_to_heterodata(db, nodes={"paper": "FROM recent"}, edges={CITES: "FROM cites"}))


def test_a_view_over_a_file_by_path(folder: Path) -> None:
    with dbgnn.connect(folder / "g.duckdb") as db:
        db.execute(f"CREATE VIEW paper AS SELECT * REPLACE (x::FLOAT[2] AS x) FROM {path_of(folder, 'paper.parquet')}")
        db.execute(f"CREATE TABLE cites AS {EDGES}")
    with dbgnn.connect(folder / "g.duckdb", read_only=True) as db:
        assert_is_the_graph(dbgnn.query_to_heterodata(db, nodes={"paper": "FROM paper"}, edges={CITES: "FROM cites"}))


def test_attached_duckdb_files(folder: Path) -> None:
    with dbgnn.connect(folder / "mine.duckdb") as db:
        db.execute(f"ATTACH {path_of(folder, 'other.duckdb')} AS other (READ_ONLY); CREATE TABLE cites AS {EDGES}")
        data = dbgnn.query_to_heterodata(db, nodes={"paper": "FROM other.paper"}, edges={CITES: "FROM cites"})
        assert_is_the_graph(data)
        data = dbgnn.query_to_heterodata(db, nodes={"paper": "FROM other.main.paper"}, edges={CITES: "FROM other.cites"})
        assert_is_the_graph(data)


def test_two_sources_joined_in_one_query(folder: Path) -> None:
    with dbgnn.connect() as db:
        db.execute(f"ATTACH {path_of(folder, 'other.duckdb')} AS other (READ_ONLY)")
        joined = f"SELECT p.id, c.year, p.x FROM other.paper p JOIN {path_of(folder, 'paper.csv')} c USING (id) ORDER BY c.year"
        data = dbgnn.query_to_heterodata(db, nodes={"paper": joined}, edges={CITES: "FROM other.cites"})
    assert_is_the_graph(data)


@pytest.mark.parametrize("name", ["gone.parquet", "gone.csv"])
def test_a_file_that_is_not_there_is_named(folder: Path, name: str) -> None:
    with dbgnn.connect() as db, pytest.raises(dbgnn.SqlError, match=r"'paper'.*gone\."):
        dbgnn.query_to_heterodata(db, nodes={"paper": f"FROM {path_of(folder, name)}"})


def test_a_bad_row_of_a_csv_file_is_an_error(folder: Path) -> None:
    (folder / "bad.csv").write_text("id,year\n1,2015\n2,never\n", encoding="utf-8")
    read = f"FROM read_csv({path_of(folder, 'bad.csv')}, columns = {{'id': 'BIGINT', 'year': 'INTEGER'}})"
    with dbgnn.connect() as db, pytest.raises(dbgnn.SqlError, match=r"bad\.csv"):
        dbgnn.query_to_heterodata(db, nodes={"paper": read})


def test_a_graph_is_declared_over_tables_made_of_what_is_no_table(folder: Path) -> None:
    graph = """CREATE PROPERTY GRAPH g VERTEX TABLES (paper KEY (id))
        EDGE TABLES (cites SOURCE KEY (src) REFERENCES paper (id) DESTINATION KEY (dst) REFERENCES paper (id))"""
    with dbgnn.connect() as db:
        db.execute(f"ATTACH {path_of(folder, 'other.duckdb')} AS other (READ_ONLY)")
        db.execute("CREATE VIEW paper AS FROM other.paper; CREATE TABLE cites AS FROM other.cites")
        with pytest.raises(
            dbgnn.SchemaError,
            match=r"'paper' is a view that a graph cannot name, since it reads 'other\.paper'",
        ):
            db.execute(graph)
        db.execute("DROP VIEW paper; CREATE TABLE paper AS FROM other.paper")
        db.execute(graph)
        assert db.graph("g").to_heterodata()["paper"].x.tolist() == [[3, 4], [1, 2], [5, 6]]


# -- SQLite, through an extension of DuckDB's --------------------------------------------------------------------------


@pytest.fixture
def sqlite_file(tmp_path: Path) -> Path:
    path = tmp_path / "papers.sqlite"
    with closing(sqlite3.connect(path)) as con:
        con.execute("CREATE TABLE paper (id TEXT, year INTEGER)")
        con.executemany("INSERT INTO paper VALUES (?, ?)", [("b", 2015), ("a", 2016), ("c", 2017)])
        con.execute("CREATE TABLE cites (src TEXT, dst TEXT, w REAL)")
        con.executemany("INSERT INTO cites VALUES (?, ?, ?)", [("a", "b", 1.5), ("b", "c", 2.5), ("a", "b", 3.5)])
        con.commit()
    return path


def test_without_the_extension_the_error_says_what_to_do(sqlite_file: Path, tmp_path: Path) -> None:
    nothing = {"extension_directory": str(tmp_path / "extensions"), "autoinstall_known_extensions": "false"}
    with dbgnn.connect(config=nothing) as db:
        for statement in (f"ATTACH '{sqlite_file}' AS lite (TYPE sqlite)", f"ATTACH '{sqlite_file}' AS lite", "LOAD sqlite"):
            with pytest.raises(dbgnn.ConnectionError, match=r"'sqlite(_scanner)?' is not installed.*INSTALL sqlite.*Parquet"):
                db.execute(statement)
        with pytest.raises(dbgnn.DbgnnError, match="sqlite_scanner"):
            dbgnn.query_to_heterodata(db, nodes={"paper": f"FROM sqlite_scan('{sqlite_file}', 'paper')"})


def test_sqlite(sqlite_file: Path) -> None:
    with dbgnn.connect(config={"autoinstall_known_extensions": "false"}) as db:
        try:
            db.execute("LOAD sqlite")
        except (dbgnn.DbgnnError, duckdb.Error) as error:
            pytest.skip(f"DuckDB's extension for SQLite is not installed (INSTALL sqlite): {str(error).splitlines()[0]}")
        db.execute(f"ATTACH '{sqlite_file}' AS lite (TYPE sqlite, READ_ONLY)")
        data = dbgnn.query_to_heterodata(db, nodes={"paper": "FROM lite.paper"}, edges={CITES: "FROM lite.cites"})
    assert_is_the_graph(data, with_x=False)
