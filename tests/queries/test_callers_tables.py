"""DataFrames in queries: an index that says something is never lost without a word."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import dbgnn

E = ("user", "rated", "movie")

movies = pd.DataFrame({"movieId": [3, 1, 2], "rank": [1, 2, 3], "year": [1990, 1980, 2000]})
ratings = pd.DataFrame({"userId": [7, 7, 8], "movieId": [3, 2, 1], "stars": [5, 1, 3]})
users = pd.DataFrame({"userId": [8, 7]})


@pytest.fixture
def db() -> dbgnn.Database:
    return dbgnn.connect(":memory:", progress=False)


WANTED = movies.set_index("movieId").year.loc[ratings.movieId].tolist()

WITH_INDEX = {
    "named": movies.set_index("movieId"),
    "named like a column": movies.set_index("movieId", drop=False),
    "several levels": movies.set_index(["movieId", "rank"]),
    "several unnamed levels": movies.set_axis(pd.MultiIndex.from_product([[0], [1, 2, 3]])),
    "unnamed text": movies.set_axis(["a", "b", "c"]),
    "unnamed times": movies.set_axis(pd.date_range("2020-01-01", periods=3)),
    "a named range": movies.rename_axis("place"),
    "named, and no rows": movies.set_index("movieId").iloc[:0],
}


@pytest.mark.parametrize("way", ["node query", "edge query", "join", "subquery", "attribute"])
@pytest.mark.parametrize("what", WITH_INDEX)
def test_an_index_that_says_something_is_an_error_whose_remedies_work(db: dbgnn.Database, what: str, way: str) -> None:
    frame = WITH_INDEX[what]
    nodes, edges, attributes = "FROM movies", "FROM ratings", None
    if way == "node query":
        nodes = "SELECT COLUMNS(lambda c: c <> 'index') FROM frame"  # text is no attribute
    elif way == "edge query":
        edges = "SELECT r.* FROM ratings AS r, frame"
    elif way == "join":
        nodes = "SELECT m.* FROM movies AS m LEFT JOIN frame AS f ON f.year = m.year"
    elif way == "subquery":
        nodes = "FROM movies WHERE year IN (SELECT year FROM frame)"
    else:
        attributes = {"movie": {"other": "SELECT movieId, 1 FROM movies WHERE EXISTS (FROM frame)"}}

    def read() -> Any:
        return dbgnn.query_to_heterodata(
            db,
            nodes={"user": "FROM users", "movie": nodes},
            edges={E: edges},
            keys={"movie": "movieId"} if "movieId" in frame.columns else None,
            attributes=attributes,
            dangling="drop",
        )

    with pytest.raises(dbgnn.SchemaError, match="index") as caught:
        read()
    for name in frame.index.names:
        assert name is None or repr(name) in str(caught.value)
    remedies = re.findall(r"frame = (frame\.reset_index\([^)]*\))", str(caught.value))
    assert len(remedies) == (1 if what == "named like a column" else 2)
    for remedy in remedies:
        frame = eval(remedy, {"frame": WITH_INDEX[what]})
        if way == "attribute" and frame.empty:
            continue
        read()


def test_the_index_as_the_error_says_is_the_key(db: dbgnn.Database) -> None:
    indexed = movies.set_index("movieId").reset_index()
    data = dbgnn.query_to_heterodata(db, nodes={"user": "FROM users", "movie": "FROM indexed"}, edges={E: "FROM ratings"})
    assert data["movie"].year[data[E].edge_index[1]].tolist() == WANTED
    assert len(indexed) == 3


@pytest.mark.parametrize(
    "frame",
    [
        movies,
        movies[movies["year"] > 0],
        movies.sort_values("year"),
        movies.rename_axis(columns="column"),
        movies.set_axis(np.array([7, 7, 7], dtype=np.uint8)),
        pa.Table.from_pandas(movies),
    ],
    ids=["range", "selected", "sorted", "named columns", "other integers", "arrow"],
)
def test_other_frames_are_read(db: dbgnn.Database, frame: Any) -> None:
    assert len(frame) == 3
    data = dbgnn.query_to_heterodata(db, nodes={"user": "FROM users", "movie": "FROM frame"}, edges={E: "FROM ratings"})
    assert data["movie"].year[data[E].edge_index[1]].tolist() == WANTED


def test_a_frame_without_rows(db: dbgnn.Database) -> None:
    empty = pd.DataFrame(columns=["id", "x"]).astype("int64")
    assert not len(empty.index)
    assert dbgnn.query_to_heterodata(db, nodes={"n": "FROM empty"})["n"].x.tolist() == []
