"""MovieLens: predict ratings with a heterogeneous GNN over users and movies, sampled from a DuckDB file.

    python examples/movielens.py DIR [--epochs 6]

DIR holds ratings.csv and movies.csv of any MovieLens release with those files (GroupLens offers them). Users
and movies keep their own sparse keys. The ratings are divided once, by a hash of their keys:

- 60 % are known: edges, in both directions, with the rating as edge feature;
- 40 % are questions: nodes of their own, each with an edge from its user and from its movie, and no rating on
  any edge. The model trains on most of them, chooses its epoch on some, and is tested on a quarter of them.

So no rating that is asked for can be read off an edge. The test error (RMSE, in stars) is printed beside that
of predicting the mean rating.
"""

from __future__ import annotations

import argparse
import copy
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - its name everywhere in PyTorch
from torch import Tensor, nn
from torch_geometric.data import HeteroData
from torch_geometric.nn import MessagePassing

import dbgnn

RATED = ("user", "rated", "movie")
RATED_BY = ("movie", "rated_by", "user")
ASKS = ("user", "asks", "question")
ABOUT = ("movie", "about", "question")


def load(db: dbgnn.Database, folder: Path) -> int:
    """Fill the file from the CSV files of ``folder``; return the number of genres."""

    def file(name: str) -> str:
        return "'" + str(folder / name).replace("'", "''") + "'"

    db.execute('CREATE TABLE rating ("userId" BIGINT, "movieId" BIGINT, stars FLOAT, "timestamp" BIGINT)')
    db.execute('CREATE TABLE listed ("movieId" BIGINT, title VARCHAR, genres VARCHAR)')
    db.execute(f"COPY rating FROM {file('ratings.csv')} (HEADER)")
    # Said, because the first title with a quote in it comes too late for DuckDB to find out by itself.
    db.execute(f"""COPY listed FROM {file("movies.csv")} (HEADER, QUOTE '"', ESCAPE '"')""")
    db.execute("CREATE TABLE genre AS SELECT DISTINCT unnest(string_split(genres, '|')) AS name FROM listed ORDER BY name")
    [(genres,)] = db.sql("SELECT count(*) FROM genre").fetchall()
    # Genres as a multi-hot array, in the order of the table `genre`.
    db.execute(f"""
        CREATE TABLE movies AS
        SELECT "movieId", title,
               list_transform((SELECT list(name ORDER BY name) FROM genre),
                              lambda g: list_contains(string_split(genres, '|'), g)::FLOAT)::FLOAT[{genres}] AS genres
        FROM listed ORDER BY "movieId"
    """)
    db.execute('CREATE TABLE users AS SELECT DISTINCT "userId" FROM rating ORDER BY "userId"')
    # Knuth's multiplicative hash, so that the division is the same on every machine.
    db.execute("""
        CREATE TABLE divided AS
        SELECT *, ("userId" * 2654435761 + "movieId" * 2246822519) % 4294967296 * 100 // 4294967296 AS percent FROM rating
    """)
    db.execute('CREATE TABLE known AS SELECT "userId", "movieId", stars FROM divided WHERE percent < 60')
    db.execute("""
        CREATE TABLE question AS
        SELECT "userId", "movieId", stars,
               CASE WHEN percent < 85 THEN 'train' WHEN percent < 90 THEN 'val' ELSE 'test' END AS split
        FROM divided WHERE percent >= 60 ORDER BY "userId", "movieId"
    """)
    # `known` serves two edge types, and `question` is a node type that carries its two edges itself.
    db.execute("""
        CREATE PROPERTY GRAPH movielens
          VERTEX TABLES (
            users    KEY ("userId")            NO PROPERTIES      LABEL user,
            movies   KEY ("movieId")           PROPERTIES (genres) LABEL movie,
            question KEY ("userId", "movieId") PROPERTIES (stars)
          )
          EDGE TABLES (
            known SOURCE KEY ("userId") REFERENCES user ("userId")
                  DESTINATION KEY ("movieId") REFERENCES movie ("movieId") PROPERTIES (stars) LABEL rated,
            known SOURCE KEY ("movieId") REFERENCES movie ("movieId")
                  DESTINATION KEY ("userId") REFERENCES user ("userId") PROPERTIES (stars) LABEL rated_by,
            question SOURCE KEY ("userId") REFERENCES user ("userId")
                     DESTINATION KEY ("userId", "movieId") REFERENCES question ("userId", "movieId")
                     NO PROPERTIES LABEL asks,
            question SOURCE KEY ("movieId") REFERENCES movie ("movieId")
                     DESTINATION KEY ("userId", "movieId") REFERENCES question ("userId", "movieId")
                     NO PROPERTIES LABEL about
          )
    """)
    return int(genres)


class RatingConv(MessagePassing):
    """What a node learns from its ratings: the mean over its edges of a function of neighbour and stars."""

    def __init__(self, source: int, destination: int, hidden: int) -> None:
        super().__init__(aggr="mean")
        self.tell = nn.Linear(source + 1, hidden)
        self.update_with = nn.Linear(destination + hidden, hidden)

    def forward(self, x: tuple[Tensor, Tensor], edge_index: Tensor, stars: Tensor) -> Tensor:
        """Return [destinations, hidden] from ``x`` = (sources, destinations), edges [2, E] and stars [E, 1]."""
        heard = self.propagate(edge_index, x=x, stars=stars, size=(x[0].size(0), x[1].size(0)))
        out: Tensor = self.update_with(torch.cat([x[1], heard], dim=1)).relu()
        return out

    def message(self, x_j: Tensor, stars: Tensor) -> Tensor:
        """Return [E, hidden]."""
        out: Tensor = self.tell(torch.cat([x_j, stars], dim=1)).relu()
        return out


class Model(nn.Module):
    """Two rounds of ratings between users and movies, then one guess per question."""

    def __init__(self, genres: int, hidden: int, mean: float) -> None:
        super().__init__()
        self.mean = mean
        self.user = nn.ModuleList([RatingConv(genres, 1, hidden), RatingConv(hidden, hidden, hidden)])
        self.movie = nn.ModuleList([RatingConv(1, genres, hidden), RatingConv(hidden, hidden, hidden)])
        self.guess = nn.Sequential(nn.Linear(2 * hidden, hidden), nn.ReLU(), nn.Linear(hidden, 1))

    def forward(self, batch: HeteroData) -> Tensor:
        """Return the stars guessed for the batch's seed questions [batch_size]."""
        # Nothing is known of a user but the ratings.
        user = torch.ones(batch["user"].num_nodes, 1)
        movie = batch["movie"].genres
        rated, rated_by = ((batch[t].edge_index, batch[t].stars[:, None] - self.mean) for t in (RATED, RATED_BY))
        for of_user, of_movie in zip(self.user, self.movie, strict=True):
            user, movie = of_user((movie, user), *rated_by), of_movie((user, movie), *rated)
        # Every question has one user and one movie.
        asks, about = (self.ends(batch, t) for t in (ASKS, ABOUT))
        out: Tensor = self.guess(torch.cat([user[asks], movie[about]], dim=1))[:, 0] + self.mean
        return out

    @staticmethod
    def ends(batch: HeteroData, edge_type: tuple[str, str, str]) -> Tensor:
        """Return the source of each seed question's only edge of this type [batch_size]."""
        source, question = batch[edge_type].edge_index
        ends = torch.empty(batch["question"].batch_size, dtype=torch.int64)
        ends[question] = source
        return ends


def squared_error(model: Model, batch: HeteroData) -> Tensor:
    """Return the mean squared error over the batch's seed questions."""
    return F.mse_loss(model(batch), batch["question"].stars[: batch["question"].batch_size])


@torch.no_grad()
def rmse(model: Model, loader: dbgnn.NeighborLoader) -> float:
    """Return the root of the mean squared error over the loader's questions."""
    model.eval()
    total, count = 0.0, 0
    for batch in loader:
        size = int(batch["question"].batch_size)
        total, count = total + float(squared_error(model, batch)) * size, count + size
    return float((total / count) ** 0.5)


def run(db: dbgnn.Database, genres: int, *, epochs: int, seed: int) -> tuple[float, float]:
    """Train; return the test RMSE of the model and of the mean rating."""
    torch.manual_seed(seed)
    data = db.get_torch_geometric_remote_backend("movielens")

    def loader(split: str, **kwargs: Any) -> dbgnn.NeighborLoader:
        # Hop 1 leads from a question to its user and its movie, hops 2 and 3 along ratings.
        return dbgnn.NeighborLoader(
            data,
            num_neighbors=[1, 20, 10],
            input_nodes=("question", f"split = '{split}'"),
            batch_size=1024,
            seed=seed,
            **kwargs,
        )

    train, val, test = loader("train", shuffle=True), loader("val"), loader("test")
    [(mean, baseline)] = db.sql("""
        WITH seen AS (SELECT stars FROM known UNION ALL SELECT stars FROM question WHERE split = 'train'),
             guess AS (SELECT avg(stars) AS mean FROM seen)
        SELECT any_value(mean), sqrt(avg((stars - mean) ** 2)) FROM question, guess WHERE split = 'test'
    """).fetchall()

    model = Model(genres, hidden=32, mean=float(mean))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.005, weight_decay=1e-4)
    best, state = float("inf"), copy.deepcopy(model.state_dict())
    for epoch in range(1, epochs + 1):
        model.train()
        for batch in train:
            optimizer.zero_grad()
            squared_error(model, batch).backward()
            optimizer.step()
        if (now := rmse(model, val)) < best:
            best, state = now, copy.deepcopy(model.state_dict())
        print(f"epoch {epoch:2d}  validation RMSE {now:.4f}")
    model.load_state_dict(state)
    return rmse(model, test), float(baseline)


def main() -> None:
    """Read the arguments, load the files, train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dir", type=Path, help="the folder with ratings.csv and movies.csv")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder, dbgnn.connect(Path(folder) / "movielens.duckdb") as db:
        genres = load(db, args.dir)
        print(db.graph("movielens"))
        model, mean = run(db, genres, epochs=args.epochs, seed=args.seed)
    print(f"test RMSE {model:.4f}, predicting the mean rating {mean:.4f}, {time.perf_counter() - start:.1f} s")


if __name__ == "__main__":
    main()
