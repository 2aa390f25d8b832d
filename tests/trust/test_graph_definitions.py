"""Definitions of graphs in a file, ``dbgnn.graphs``, that dbgnn did not write: errors of ours, whose remedy works."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import duckdb
import pytest

import dbgnn
from dbgnn.errors import SchemaError, StaleIndexError, UnknownNameError
from tests.trust.index_edits import (
    COUNT,
    PAPERS,
    edit,
    outcome,
)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE {} SET definition = repeat('[', 100000)",
        "UPDATE {} SET definition = repeat('{\"a\":', 100000)",
        "UPDATE {} SET definition = 'null'",
        "UPDATE {} SET definition = '[]'",
        "UPDATE {} SET definition = '{\"version\": 1}'",
        'UPDATE {} SET definition = replace(definition, \'"key": ["id"]\', \'"key": []\')',
        'UPDATE {} SET definition = replace(definition, \'"key": ["id"]\', \'"key": [1]\')',
        'UPDATE {} SET definition = replace(definition, \'"key": ["id"]\', \'"key": "id"\')',
        'UPDATE {} SET definition = replace(definition, \'"schema": "main"\', \'"schema": "dbgnn"\')',
        'UPDATE {} SET definition = replace(definition, \'"schema": "main"\', \'"schema": "a\\u0000"\')',
        'UPDATE {} SET definition = replace(definition, \'"label": "paper"\', \'"label": {}\')',
        'UPDATE {} SET definition = replace(definition, \'"label": "paper"\', \'"label": "\\ud800"\')',
        'UPDATE {} SET definition = replace(definition, \'"source": "paper"\', \'"source": "nobody"\')',
        "UPDATE {} SET definition = replace(definition, '\"homogeneous\": false', '\"homogeneous\": 0')",
        'UPDATE {} SET definition = replace(definition, \'"name": "g"\', \'"name": "h"\')',
        "UPDATE {} SET definition = replace(definition, '\"version\": 1', '\"version\": [1]')",
    ],
)
def test_a_definition_that_is_not_ours_is_an_error_and_can_be_dropped(change: str, base: Path, tmp_path: Path) -> None:
    path = tmp_path / "idx.duckdb"
    shutil.copy(base, path)
    edit(path, change.replace("{}", "idx.dbgnn.graphs", 1))
    with dbgnn.connect(path, progress=False) as db:
        with pytest.raises(SchemaError, match="DROP PROPERTY GRAPH g") as raised:
            db.graph("g")
        assert len(str(raised.value)) < 500
        db.execute("DROP PROPERTY GRAPH g")
        with pytest.raises(UnknownNameError):
            db.graph("g")


def _by_any_name(db: dbgnn.Database) -> str:
    """Load the neighbours of whatever nodes there are: an edit may have given types other names."""
    label = db.graph("g").node_types[0]
    loader = dbgnn.NeighborLoader(db.get_torch_geometric_remote_backend(), [2], input_nodes=label, batch_size=50)
    return str(sum(batch[label].batch_size for batch in loader))


def test_random_definitions_are_errors_of_ours_or_work(base: Path, tmp_path: Path) -> None:
    path = tmp_path / "idx.duckdb"
    with duckdb.connect(str(base), read_only=True) as con:
        [(text,)] = con.execute("SELECT definition FROM idx.dbgnn.graphs").fetchall()
    shutil.copy(base, path)
    works = 0
    for seed in range(COUNT):
        rng = random.Random(seed)
        at = rng.randrange(len(text))
        piece = rng.choice(
            ["", "0", '"', "[", "]", "{", "}", ",", "null", "true", ".", "\\u0000", text[rng.randrange(len(text)) :][:9]]
        )
        with duckdb.connect(str(path)) as con:
            con.execute("UPDATE idx.dbgnn.graphs SET definition = ?", [text[:at] + piece + text[at + rng.randrange(9) :]])
        with dbgnn.connect(path, read_only=True, progress=False, threads=1) as db:
            works += not outcome(_by_any_name, db).endswith("Error")
    assert works < COUNT


@pytest.mark.parametrize(
    ("statements", "remedy"),
    [
        (("DROP TABLE idx.dbgnn.graphs", "CREATE VIEW idx.dbgnn.graphs AS SELECT 'g' AS name, '' AS definition"), "DROP VIEW"),
        (("ALTER TABLE idx.dbgnn.graphs ADD COLUMN more INTEGER",), "DROP TABLE"),
        (("DROP TABLE idx.dbgnn.graphs", "CREATE TABLE idx.dbgnn.graphs (name INTEGER, definition BLOB)"), "DROP TABLE"),
    ],
)
def test_another_table_of_the_registrys_name_is_an_error_whose_remedy_works(
    statements: tuple[str, ...], remedy: str, base: Path, tmp_path: Path
) -> None:
    path = tmp_path / "idx.duckdb"
    shutil.copy(base, path)
    edit(path, *statements)
    with dbgnn.connect(path, progress=False) as db:
        with pytest.raises(SchemaError, match=remedy) as raised:
            db.graph("g")
        db.execute(str(raised.value).rpartition(": ")[2].rstrip("."))
        db.execute("CREATE PROPERTY GRAPH g VERTEX TABLES (paper KEY (id) PROPERTIES (x))")
        assert db.graph("g").build().num_nodes("paper") == PAPERS


@pytest.mark.parametrize(
    ("old", "new"), [('"key": ["id"]', '"key": ["no"]'), ('"source_key": ["src"]', '"source_key": ["no"]')]
)
def test_keys_that_are_not_there_are_named(old: str, new: str, base: Path, tmp_path: Path) -> None:
    path = tmp_path / "idx.duckdb"
    shutil.copy(base, path)
    edit(path, f"UPDATE idx.dbgnn.graphs SET definition = replace(definition, '{old}', '{new}')")
    with dbgnn.connect(path, read_only=True, progress=False) as db:
        graph = db.graph("g")
        for act in (
            graph.topology,
            graph.to_heterodata,
            lambda: graph.to_heterodata(seeds=("paper", "y = 1"), hops=1),
            lambda: dbgnn.query_to_heterodata(db, "SELECT p, c FROM paper p JOIN cites c ON true", graph="g"),
        ):
            with pytest.raises((UnknownNameError, StaleIndexError), match="has no column 'no'"):
                act()
