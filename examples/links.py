"""Links: who will rate which movie? Trained on ratings with negatives, against recommending to everybody what is popular.

    python examples/links.py [DIR] [--epochs 6] [--user 15]

DIR holds ratings.csv and movies.csv of any MovieLens release with those files (GroupLens offers them); without it, tables like
them are generated. The first four fifths of every user's ratings, by time, are known; the others come later, and are what is to
be foretold. How many stars there were plays no part.

A mini-batch of `LinkNeighborLoader` is 1,024 ratings, each with four movies drawn at random, popular ones more often.
A user is the mean of the movies that he or she rated before, of 20 at most while training; the rating that is asked for is left
out of them (``exclude_seed_edges``), or the answer could be read off. A movie is a vector and a number of its own.

Tastes are written back to the tables. So the recall (of the 20 movies that rank highest for a user among those not known yet,
how many come later) is one SQL query, and so are ten recommendations.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - its name everywhere in PyTorch
from torch import Tensor, nn
from torch_geometric.data import HeteroData
from torch_geometric.sampler import NegativeSampling
from torch_geometric.utils import scatter

import dbgnn

RATED = ("user", "rated", "movie")
RATED_BY = ("movie", "rated_by", "user")

#: How much more often popular movies are drawn as negatives; what training does not see of it is added to the scores.
POWER = 0.75

MODEL = "array_inner_product(users.taste, movies.taste) + movies.bias"
POPULARITY = "movies.times"

#: Of the 20 movies that rank highest for a user among those not known, how many come later; the mean over users.
RECALL = """
    WITH ranked AS (
      SELECT "userId", arg_max("movieId", {score}, 20) AS movies
      FROM users CROSS JOIN movies ANTI JOIN known USING ("userId", "movieId")
      GROUP BY "userId"
    ), wanted AS (
      SELECT "userId", list("movieId") AS movies FROM later GROUP BY "userId"
    )
    SELECT avg(len(list_intersect(ranked.movies, wanted.movies)) / least(20, len(wanted.movies)))
    FROM ranked JOIN wanted USING ("userId")
"""


def load(db: dbgnn.Database, folder: Path) -> None:
    """Fill the file from the CSV files of ``folder``."""

    def file(name: str) -> str:
        return "'" + str(folder / name).replace("'", "''") + "'"

    db.execute('CREATE TABLE rating ("userId" BIGINT, "movieId" BIGINT, stars FLOAT, "timestamp" BIGINT)')
    db.execute('CREATE TABLE listed ("movieId" BIGINT, title VARCHAR, genres VARCHAR)')
    db.execute(f"COPY rating FROM {file('ratings.csv')} (HEADER)")
    # Said, because the first title with a quote in it comes too late for DuckDB to find out by itself.
    db.execute(f"""COPY listed FROM {file("movies.csv")} (HEADER, QUOTE '"', ESCAPE '"')""")


def generate(db: dbgnn.Database) -> None:
    """Fill the file with users who prefer one of eight kinds of movies, of which some are known to everybody."""
    db.execute("CREATE MACRO chance(a, b, what) AS hash(a, b, what) % 1000003 / 1000003.0")
    db.execute("CREATE TABLE listed AS SELECT i AS \"movieId\", 'movie ' || i AS title FROM range(800) AS t(i)")
    db.execute("""
        CREATE TABLE rating AS
        WITH drawn AS (
          SELECT u, i, (100 * chance(u, i, 'which') ** 2)::BIGINT % 100 AS rank,
                 CASE WHEN chance(u, i, 'own') < 0.7 THEN u % 8 ELSE (8 * chance(u, i, 'other'))::BIGINT % 8 END AS kind
          FROM range(400) AS a(u), range(80) AS b(i)
        )
        SELECT u AS "userId", rank * 8 + kind AS "movieId", min(i) AS "timestamp" FROM drawn GROUP BY ALL
    """)


def divide(db: dbgnn.Database) -> None:
    """Divide the ratings by time, and declare the graph of those that are known."""
    db.execute("""
        CREATE TABLE placed AS
        SELECT "userId", "movieId", percent_rank() OVER (PARTITION BY "userId" ORDER BY "timestamp" ASC, "movieId" ASC) AS place
        FROM rating
    """)
    db.execute('CREATE TABLE known AS SELECT "userId", "movieId" FROM placed WHERE place < 0.8')
    db.execute('CREATE TABLE later AS SELECT "userId", "movieId" FROM placed WHERE place >= 0.8')
    db.execute('CREATE TABLE users AS SELECT DISTINCT "userId" FROM rating ORDER BY "userId" ASC')
    db.execute("""
        CREATE TABLE movies AS
        SELECT "movieId", any_value(title) AS title, count(known."userId") AS times
        FROM listed LEFT JOIN known USING ("movieId") GROUP BY "movieId" ORDER BY "movieId" ASC
    """)
    # One table serves both directions, so that an edge and its reverse are known to be the same rating.
    db.execute("""
        CREATE PROPERTY GRAPH ratings
          VERTEX TABLES (users KEY ("userId") NO PROPERTIES LABEL user, movies KEY ("movieId") NO PROPERTIES LABEL movie)
          EDGE TABLES (
            known SOURCE KEY ("userId") REFERENCES user ("userId")
                  DESTINATION KEY ("movieId") REFERENCES movie ("movieId") NO PROPERTIES LABEL rated,
            known SOURCE KEY ("movieId") REFERENCES movie ("movieId")
                  DESTINATION KEY ("userId") REFERENCES user ("userId") NO PROPERTIES LABEL rated_by
          )
    """)


class Model(nn.Module):
    """A user is the mean of the movies that he or she rated; a movie is liked by users whose taste is like its own."""

    def __init__(self, movies: int, width: int = 24) -> None:
        super().__init__()
        self.rated = nn.Embedding(movies, width)
        self.taste = nn.Embedding(movies, width)
        self.bias = nn.Embedding(movies, 1)
        self.turn = nn.Linear(width, width)
        nn.init.normal_(self.rated.weight, std=0.1)
        nn.init.normal_(self.taste.weight, std=0.1)
        nn.init.zeros_(self.bias.weight)

    def users(self, batch: HeteroData) -> Tensor:
        """Return the tastes of the batch's users [users, width]."""
        movie, user = batch[RATED_BY].edge_index
        rated = self.rated(batch["movie"].n_id)[movie]
        out: Tensor = self.turn(scatter(rated, user, dim_size=batch["user"].num_nodes, reduce="mean"))
        return out

    def forward(self, batch: HeteroData) -> tuple[Tensor, Tensor]:
        """Return the scores of the ratings [links] and of the movies that were not rated [links, negatives]."""
        users = self.users(batch)[batch["user"].src_index]
        tastes, bias = self.taste(batch["movie"].n_id), self.bias(batch["movie"].n_id)[:, 0]
        true, false = batch["movie"].dst_pos_index, batch["movie"].dst_neg_index.view(len(users), -1)
        return (users * tastes[true]).sum(1) + bias[true], (users[:, None] * tastes[false]).sum(2) + bias[false]


def train(graph: dbgnn.Graph, times: Tensor, *, epochs: int, seed: int) -> Model:
    """Train on the known ratings and four negatives each."""
    torch.manual_seed(seed)
    loader = dbgnn.LinkNeighborLoader(
        graph,
        {RATED: [0], RATED_BY: [20]},  # of a user the movies, of a movie nothing
        edge_label_index=RATED,
        neg_sampling=NegativeSampling("triplet", 4, dst_weight=times**POWER),
        exclude_seed_edges="reverse",
        batch_size=1024,
        shuffle=True,
        seed=seed,
    )
    model = Model(len(times))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02, weight_decay=1e-6)
    for epoch in range(1, epochs + 1):
        total = 0.0
        for batch in loader:
            true, false = model(batch)
            loss = F.softplus(-true).mean() + F.softplus(false).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item()
        print(f"epoch {epoch}  loss {total / len(loader):.3f}")
    return model


def run(db: dbgnn.Database, *, epochs: int, seed: int, user: int) -> tuple[float, float]:
    """Train, write the tastes back, recommend; return the recall of the model and of what is popular."""
    graph = db.graph("ratings")
    times = torch.tensor(db.sql('SELECT times FROM movies ORDER BY "movieId" ASC').fetchnumpy()["times"], dtype=torch.float32)
    model = train(graph, times, epochs=epochs, seed=seed)

    def tastes(model: Any, batch: HeteroData) -> Tensor:
        users: Tensor = model.users(batch)
        return users

    everybody = dbgnn.NeighborLoader(graph, {RATED: [0], RATED_BY: [-1]}, input_nodes="user", batch_size=256)
    graph.predict(model, everybody, into="user.taste", forward=tastes)
    bias = model.bias.weight[:, 0] + POWER * (times + 1).log()
    graph.write_back("movie", taste=model.taste.weight, bias=bias)

    recommended = db.sql(
        f"""
        SELECT title, times, {MODEL} AS score
        FROM users CROSS JOIN movies ANTI JOIN known USING ("userId", "movieId")
        WHERE "userId" = ? ORDER BY score DESC LIMIT 10
        """,
        [user],
    )
    print(f"for user {user}:")
    for title, count, score in recommended.fetchall():
        print(f"  {score:6.2f}  {title} (rated {count} times)")
    [(found,)], [(popular,)] = (db.sql(RECALL.format(score=score)).fetchall() for score in (MODEL, POPULARITY))
    return float(found), float(popular)


def main() -> None:
    """Read the arguments, load or generate the tables, train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dir", type=Path, nargs="?", help="the folder with ratings.csv and movies.csv; none: generated tables")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--user", type=int, default=15)
    args = parser.parse_args()

    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder, dbgnn.connect(Path(folder) / "ratings.duckdb") as db:
        if args.dir is None:
            generate(db)
        else:
            load(db, args.dir)
        divide(db)
        print(db.graph("ratings"))
        found, popular = run(db, epochs=args.epochs, seed=args.seed, user=args.user)
    print(f"recall@20 {found:.4f}, of what is popular {popular:.4f}, {time.perf_counter() - start:.1f} s")


if __name__ == "__main__":
    main()
