"""MovieLens in memory: SQL makes a PyG graph, a GNN learns to rate, and SQL recommends from what it wrote back.

    python examples/recommend.py DIR [--user 15] [--steps 120]

DIR holds ratings.csv and movies.csv of any MovieLens release with those files (GroupLens offers them).

The ratings are divided by time: the first 80 % train, the next 10 % choose when to stop, the last 10 % test. So the model
has to foretell, mostly for users who have not rated anything before, which is harder than filling in ratings at random.
Messages pass along ratings of the training part only; whichever of them a training step asks for are hidden in that step,
with all that follows from them. Of a user nothing is known but such ratings, of a movie its title, genres and decade too.

A user and a movie each get a bias and a taste, a vector; the stars are both biases plus the inner product of the tastes. All
of it is written back to the tables, so that one SQL query recommends, and another one computes every error (RMSE, in stars)
printed at the end: of the mean rating, of the means of user and movie, of the same drawn towards the mean, and of the model.
"""

from __future__ import annotations

import argparse
import copy
import tempfile
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - its name everywhere in PyTorch
from torch import Tensor, nn
from torch_geometric.data import HeteroData
from torch_geometric.nn import GraphConv, HeteroConv
from torch_geometric.utils import degree, scatter

import dbgnn

RATED = ("user", "rated", "movie")
RATED_BY = ("movie", "rev_rated", "user")

#: A mean over n ratings counts as n / (n + 3) of itself, and as the overall mean for the rest.
SHRINKAGE = 3


def load(db: dbgnn.Database, folder: Path) -> None:
    """Fill the file from the CSV files of ``folder``."""

    def file(name: str) -> str:
        return "'" + str(folder / name).replace("'", "''") + "'"

    db.execute('CREATE TABLE rating ("userId" BIGINT, "movieId" BIGINT, stars FLOAT, "timestamp" BIGINT)')
    db.execute('CREATE TABLE movies ("movieId" BIGINT, title VARCHAR, genres VARCHAR)')
    db.execute(f"COPY rating FROM {file('ratings.csv')} (HEADER)")
    # Said, because the first title with a quote in it comes too late for DuckDB to find out by itself.
    db.execute(f"""COPY movies FROM {file("movies.csv")} (HEADER, QUOTE '"', ESCAPE '"')""")
    db.execute('CREATE TABLE users AS SELECT DISTINCT "userId" FROM rating')
    # To read the graph this is not needed; it says where predictions go.
    db.execute("""
        CREATE PROPERTY GRAPH movielens
          VERTEX TABLES (users KEY ("userId") LABEL user, movies KEY ("movieId") LABEL movie)
          EDGE TABLES (rating SOURCE KEY ("userId") REFERENCES user ("userId")
                              DESTINATION KEY ("movieId") REFERENCES movie ("movieId") LABEL rated)
    """)


def trigrams(titles: list[str]) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Return how often each of 64 hash values is that of three letters in a row, as unit vectors [n, 64]."""
    out = np.zeros((len(titles), 64), dtype=np.float32)
    for row, title in zip(out, titles, strict=True):
        letters = f" {title.lower()} "
        for i in range(len(letters) - 2):
            row[zlib.crc32(letters[i : i + 3].encode()) % 64] += 1
    out /= np.linalg.norm(out, axis=1, keepdims=True)
    return out


def read(db: dbgnn.Database) -> HeteroData:
    """Return the users, the movies, and the ratings in both directions with their stars, times and masks."""
    return dbgnn.query_to_heterodata(
        db,
        nodes={
            "user": 'SELECT "userId" FROM users ORDER BY "userId"',
            "movie": r"""
                SELECT "movieId", title, genres, left(regexp_extract(title, '\((\d{4})\)', 1), 3) AS decade
                FROM movies ORDER BY "movieId"
            """,
        },
        edges={RATED: 'SELECT "userId", "movieId", stars, "timestamp" FROM rating'},
        # Fitted on the catalogue, which holds no rating.
        encoders={
            "movie": {
                "genres": dbgnn.MultiHot(sep="|"),
                "title": dbgnn.Text(trigrams),
                "decade": dbgnn.OneHot(),
            }
        },
        splits={RATED: dbgnn.TimeSplit("timestamp", train=0.8, val=0.1, test=0.1)},
        time={RATED: "timestamp"},
        reverse=True,
    )


class Model(nn.Module):
    """Two rounds of messages between users and movies, each weighted by how far the rating is above the mean."""

    def __init__(self, about_movie: int, mean: float, *, hidden: int = 32, taste: int = 16) -> None:
        super().__init__()
        self.mean = mean
        self.first = nn.ModuleDict({"user": nn.Linear(2, hidden), "movie": nn.Linear(about_movie + 2, hidden)})
        self.convs = nn.ModuleList(
            HeteroConv({t: GraphConv(hidden, hidden, aggr="mean") for t in (RATED, RATED_BY)}) for _ in range(2)
        )
        self.bias = nn.ModuleDict({t: nn.Linear(hidden, 1) for t in ("user", "movie")})
        self.taste = nn.ModuleDict({t: nn.Linear(hidden, taste) for t in ("user", "movie")})

    def embed(self, data: HeteroData, known: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return biases [N] and tastes [N, taste] by node type, from the ratings whose positions ``known`` [K] holds."""
        above = data[RATED].stars[known] - self.mean
        edges = {t: data[t].edge_index[:, known] for t in (RATED, RATED_BY)}
        movie = data["movie"]
        about = {"user": (), "movie": (movie.genres, movie.title, movie.decade)}
        x, bias = {}, {}
        for t, ends in zip(("user", "movie"), edges[RATED], strict=True):
            count = degree(ends, data[t].num_nodes)
            bias[t] = scatter(above, ends, dim_size=data[t].num_nodes) / (count + SHRINKAGE)
            x[t] = self.first[t](torch.cat([*about[t], bias[t][:, None], count.log1p()[:, None] / 5], dim=1)).relu()
        for conv in self.convs:
            heard = conv(x, edges, edge_weight_dict=dict.fromkeys(edges, above))
            x = {t: x[t] + F.dropout(h.relu(), 0.3, self.training) for t, h in heard.items()}
        bias["user"] = bias["user"] + self.mean
        return {t: b + self.bias[t](x[t])[:, 0] for t, b in bias.items()}, {t: self.taste[t](h) for t, h in x.items()}

    def forward(self, data: HeteroData, known: Tensor, asked: Tensor) -> Tensor:
        """Return the stars of the ratings at the positions ``asked`` [A], guessed from those at ``known`` [K]."""
        bias, taste = self.embed(data, known)
        user, movie = data[RATED].edge_index[:, asked]
        out: Tensor = bias["user"][user] + bias["movie"][movie] + (taste["user"][user] * taste["movie"][movie]).sum(dim=1)
        return out


def hide(data: HeteroData, train: Tensor) -> tuple[Tensor, Tensor]:
    """Divide positions of training ratings at random into known ones and those to ask for, as the future will.

    Three users in ten are asked for, half of them as newcomers with no rating known, and one movie in ten as a new one.
    """
    users, movies = data["user"].num_nodes, data["movie"].num_nodes
    newcomer = torch.rand(users) < 0.5
    share = (torch.rand(users) < 0.3) * torch.where(newcomer, 1.0, torch.rand(users))
    new_movie = (torch.rand(movies) < 0.1).float()
    user, movie = data[RATED].edge_index[:, train]
    hidden = torch.rand(len(train)) < torch.maximum(share[user], new_movie[movie])
    return train[~hidden], train[hidden]


def fit(data: HeteroData, *, steps: int, seed: int, patience: int = 8) -> Model:
    """Train until the validation error stays above its best ``patience`` times in a row; it is computed every 5 steps."""
    torch.manual_seed(seed)
    torch.set_num_threads(1)  # tensors this small gain nothing by more
    ratings, movie = data[RATED], data["movie"]
    train, val = (ratings[mask].nonzero()[:, 0] for mask in ("train_mask", "val_mask"))
    width = movie.genres.size(1) + movie.title.size(1) + movie.decade.size(1)
    model = Model(width, mean=float(ratings.stars[train].mean()))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.005, weight_decay=1e-3)
    best, state, since = float("inf"), copy.deepcopy(model.state_dict()), 0
    for step in range(1, steps + 1):
        model.train()
        optimizer.zero_grad()
        known, asked = hide(data, train)
        F.mse_loss(model(data, known, asked), ratings.stars[asked]).backward()
        optimizer.step()
        if step % 5:
            continue
        model.eval()
        with torch.no_grad():
            now = float(F.mse_loss(model(data, train, val), ratings.stars[val]).sqrt())
        since += 1
        if now < best:
            best, state, since = now, copy.deepcopy(model.state_dict()), 0
            print(f"step {step:3d}  validation RMSE {now:.4f}")
        if since == patience:
            break
    model.load_state_dict(state)
    return model


@torch.no_grad()
def write_back(graph: dbgnn.Graph, model: Model, data: HeteroData) -> None:
    """Write what the model makes of the training ratings to columns of both tables."""
    model.eval()
    bias, taste = model.embed(data, data[RATED].train_mask.nonzero()[:, 0])
    graph.write_back("user", keys=data["user"].userId, bias=bias["user"], taste=taste["user"])
    graph.write_back("movie", keys=data["movie"].movieId, bias=bias["movie"], taste=taste["movie"])


def report(db: dbgnn.Database, data: HeteroData) -> None:
    """Print the test errors, all by one query over the tables."""
    ratings = data[RATED]
    rows = db.sql(
        """
        WITH past AS (SELECT * FROM rating WHERE "timestamp" <= $train),
             overall AS (SELECT avg(stars) AS mean FROM past),
             of_user AS (SELECT "userId", sum(stars - mean) AS s, count(*) AS n FROM past, overall GROUP BY ALL),
             of_movie AS (SELECT "movieId", sum(stars - mean) AS s, count(*) AS n FROM past, overall GROUP BY ALL),
             guess AS (
               SELECT stars, mean, u.n IS NULL AS new_user,
                      mean + coalesce(u.s / u.n, 0) + coalesce(m.s / m.n, 0) AS means,
                      mean + coalesce(u.s / (u.n + $shrinkage), 0) + coalesce(m.s / (m.n + $shrinkage), 0) AS shrunk,
                      users.bias + movies.bias + array_inner_product(users.taste, movies.taste) AS model
               FROM rating JOIN users USING ("userId") JOIN movies USING ("movieId") CROSS JOIN overall
                    LEFT JOIN of_user AS u USING ("userId") LEFT JOIN of_movie AS m USING ("movieId")
               WHERE rating."timestamp" > $val)
        SELECT CASE new_user WHEN true THEN 'by new users' WHEN false THEN 'by known users' ELSE 'all' END, count(*),
               sqrt(avg((stars - mean) ** 2)), sqrt(avg((stars - means) ** 2)), sqrt(avg((stars - shrunk) ** 2)),
               sqrt(avg((stars - model) ** 2))
        FROM guess GROUP BY GROUPING SETS ((), new_user) ORDER BY count(*) DESC
        """,
        {
            "train": int(ratings.time[ratings.train_mask].max()),
            "val": int(ratings.time[ratings.val_mask].max()),
            "shrinkage": SHRINKAGE,
        },
    ).fetchall()
    print("test RMSE       ratings  mean rating  user and movie means  the same, shrunk     GNN")
    for which, count, mean, means, shrunk, model in rows:
        print(f"{which:<14} {count:8,} {mean:12.4f} {means:21.4f} {shrunk:17.4f} {model:7.4f}")


def recommend(db: dbgnn.Database, user: int) -> None:
    """Print the ten movies not rated yet that the user should like most."""
    found = db.sql(
        """
        SELECT title, round(users.bias + movies.bias + array_inner_product(users.taste, movies.taste), 2) AS stars
        FROM users, movies
        WHERE "userId" = $user AND "movieId" NOT IN (SELECT "movieId" FROM rating WHERE "userId" = $user)
        ORDER BY stars DESC, title LIMIT 10
        """,
        {"user": user},
    )
    print(f"for user {user}:")
    for title, stars in found.fetchall():
        print(f"  {stars:.2f}  {title}")


def main() -> None:
    """Read the arguments, load the files, train, write back, recommend."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dir", type=Path, help="the folder with ratings.csv and movies.csv")
    parser.add_argument("--user", type=int, default=15, help="whom to recommend movies to")
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder, dbgnn.connect(Path(folder) / "movielens.duckdb") as db:
        load(db, args.dir)
        data = read(db)
        print(data)
        write_back(db.graph("movielens"), fit(data, steps=args.steps, seed=args.seed), data)
        report(db, data)
        recommend(db, args.user)
    print(f"{time.perf_counter() - start:.1f} s")


if __name__ == "__main__":
    main()
