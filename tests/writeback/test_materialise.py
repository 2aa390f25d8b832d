"""`graph.encode`: a column written once, that stores and loaders serve."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

import dbgnn
from dbgnn.encoders import Frame, MultiHot, Normalize, Ordinal, Stack
from dbgnn.writeback.materialise import encode

GENRES = ["a|b", "", "c", "b|c"]


@pytest.fixture
def db(tmp_path: Path) -> Iterator[dbgnn.Database]:
    with dbgnn.connect(tmp_path / "g.duckdb", progress=False) as db:
        db.execute(
            """CREATE TABLE movie AS SELECT 1000 - 3 * i AS id, ['a|b', '', 'c', 'b|c'][1 + i % 4] AS genres,
               i::FLOAT AS budget,               CASE WHEN i = 5 THEN NULL ELSE 'x' END AS note FROM range(300) AS r(i)"""
        )
        db.execute(
            "CREATE TABLE likes AS SELECT 1000 - 3 * i AS src, 1000 - 3 * ((7 * i + 1) % 300) AS dst FROM range(300) AS r(i)"
        )
        db.execute(
            """CREATE PROPERTY GRAPH g VERTEX TABLES (movie KEY (id)) EDGE TABLES
               (likes SOURCE KEY (src) REFERENCES movie (id) DESTINATION KEY (dst) REFERENCES movie (id))"""
        )
        yield db


def hot(i: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.array([[c in GENRES[k % 4] for c in "abc"] for k in i], dtype=np.float32)


def test_a_loader_serves_what_was_encoded(db: dbgnn.Database) -> None:
    graph = db.graph("g")
    fitted = encode(graph, "movie", "tags", MultiHot("genres"), fit="id > 500")
    assert fitted.num_rows == 167
    assert db.sql("SELECT typeof(tags) FROM movie").fetchall()[0] == ("FLOAT[3]",)
    encode(graph, "movie", "y", Ordinal("genres"))
    encode(graph, "movie", "budget", Normalize(how="minmax"))  # in place
    feature_store, graph_store = db.get_torch_geometric_remote_backend("g")
    loader = dbgnn.NeighborLoader((feature_store, graph_store), num_neighbors=[3], input_nodes="movie", batch_size=64)
    seen = 0
    for batch in loader:
        store = batch["movie"]
        i = (1000 - np.asarray(feature_store.keys("movie", store.n_id))) // 3
        assert np.array_equal(store.tags.numpy(), hot(i))
        assert store.y.dtype == torch.int64
        assert store.y.tolist() == [["", "a|b", "b|c", "c"].index(GENRES[k % 4]) for k in i]
        assert np.allclose(store.budget.numpy(), i / 299)
        seen += store.batch_size
    assert seen == 300


def test_encoding_again_overwrites(db: dbgnn.Database) -> None:
    graph = db.graph("g")
    encode(graph, "movie", "z", Normalize("budget", how="minmax"))
    encode(graph, "movie", "z", Normalize("budget", how="minmax"), fit="budget <= 100")
    assert db.sql("SELECT max(z) FROM movie").fetchall()[0][0] == pytest.approx(2.99)


def test_several_chunks_and_a_wide_stack(db: dbgnn.Database) -> None:
    db.execute("INSERT INTO movie SELECT 2000 + i, 'a', i % 100, 'x' FROM range(40000) AS r(i)")
    graph = db.graph("g")
    graph.build()
    encode(graph, "movie", "x", Stack("budget", MultiHot("genres"), Normalize("budget")))
    found = db.sql("SELECT count(*), sum(x[1]), sum(x[2]), count(*) FILTER (x[1] <> budget) FROM movie").fetchall()[0]
    assert found == (40300, 299 * 150 + 99 * 50 * 400, 75 + 40000, 0)


def test_a_table_without_rows_gets_the_column(db: dbgnn.Database) -> None:
    db.execute("DELETE FROM likes; DELETE FROM movie")
    graph = db.graph("g").build()
    encode(graph, "movie", "tags", MultiHot("genres", categories=("a", "b")))
    feature_store, _ = db.get_torch_geometric_remote_backend("g")
    assert feature_store.get_tensor("movie", "tags", index=None).shape == (0, 2)


def test_errors_name_key_and_remedy_and_change_nothing(db: dbgnn.Database) -> None:
    graph = db.graph("g")
    before = db.sql("SELECT * FROM movie").fetchall()
    with pytest.raises(dbgnn.DataError, match=r"Column 'note' of table 'movie' is NULL, or holds NULL, where id = 985\."):
        encode(graph, "movie", "n", Ordinal("note"))
    with pytest.raises(dbgnn.UnknownNameError, match=r"did you mean 'genres'\?"):
        encode(graph, "movie", "n", Ordinal("genre"))
    with pytest.raises(dbgnn.UnknownNameError, match=r"did you mean 'movie'\?"):
        encode(graph, "movies", "n", Ordinal("genres"))
    with pytest.raises(dbgnn.SchemaError, match="'id' is a key of 'movie'"):
        encode(graph, "movie", "id", Ordinal("genres"))
    with pytest.raises(dbgnn.SqlError, match="fit of 'movie'"):
        encode(graph, "movie", "n", Ordinal("genres"), fit="(SELECT true)")
    with pytest.raises(dbgnn.DataError, match="none of the categories fitted"):
        encode(graph, "movie", "n", Ordinal("genres"), fit="genres = 'c'")
    assert db.sql("SELECT * FROM movie").fetchall() == before


def test_what_is_no_tensor_is_no_column(db: dbgnn.Database) -> None:
    pytest.importorskip("torch_frame", reason="pytorch-frame is not installed")
    with pytest.raises(dbgnn.SchemaError, match="Frame makes a TensorFrame, which no column holds"):
        encode(db.graph("g"), "movie", "n", Frame(numerical=["budget"]))


def test_a_read_only_database_is_an_error(db: dbgnn.Database) -> None:
    db.graph("g").build()
    path = db.settings.path
    db.close()
    with (
        dbgnn.connect(path, read_only=True) as again,
        pytest.raises(dbgnn.ReadOnlyError, match=r"graph\.encode\(\) has to write"),
    ):
        encode(again.graph("g"), "movie", "n", Ordinal("genres"))


def test_functions_take_the_place_of_encoders(db: dbgnn.Database) -> None:
    def doubled(array: pa.Array) -> np.ndarray[Any, Any]:
        out: np.ndarray[Any, Any] = array.to_numpy() * 2
        return out

    encode(db.graph("g"), "movie", "budget", doubled)
    assert db.sql("SELECT max(budget) FROM movie").fetchall() == [(598,)]


def test_fit_names_columns_alone(db: dbgnn.Database) -> None:
    graph = db.graph("g")
    assert encode(graph, "movie", "n", Ordinal("genres"), fit="q.id > 500").num_rows == 167
    with pytest.raises(dbgnn.SqlError, match="fit of 'movie'"):
        encode(graph, "movie", "n", Ordinal("genres"), fit="movie.id > 500")
