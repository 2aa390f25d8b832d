"""Train GraphSAGE on real images that live in a DuckDB file, then read its predictions with SQL.

The images are scikit-learn's handwritten digits: 1,797 of them, 64 features each. SQL builds the graph (the
ten nearest neighbours of every image), dbgnn samples it and serves the mini-batches, and SQL reads the result.

    python examples/quickstart.py [FILE]

FILE is the DuckDB file to write, which must not exist yet; without it a temporary one is used.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
import torch.nn.functional as F  # noqa: N812 - its name everywhere in PyTorch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch_geometric.data import Data
from torch_geometric.nn import SAGEConv

import dbgnn

#: Each statement is plain SQL, but the last one: SQL/PGQ, which dbgnn adds to DuckDB.
GRAPH = [
    # Half of the images are for training, chosen by Knuth's multiplicative hash of their id.
    """
    ALTER TABLE digit ADD COLUMN split VARCHAR
    """,
    """
    UPDATE digit SET split = CASE WHEN id * 2654435761 % 4294967296 < 2147483648 THEN 'train' ELSE 'test' END
    """,
    # Labels play no part in the edges: only the pixels do.
    """
    CREATE TABLE resembles AS
    WITH pair AS (
      SELECT a.id AS src, b.id AS dst, array_distance(a.x, b.x) AS distance
      FROM digit AS a JOIN digit AS b ON a.id <> b.id
    )
    FROM pair
    QUALIFY row_number() OVER (PARTITION BY dst ORDER BY distance, src) <= 10
    """,
    """
    CREATE PROPERTY GRAPH images
      VERTEX TABLES (digit KEY (id) PROPERTIES (x, y))
      EDGE TABLES   (resembles SOURCE KEY (src) REFERENCES digit (id)
                                DESTINATION KEY (dst) REFERENCES digit (id) NO PROPERTIES)
    """,
]


class GraphSAGE(nn.Module):
    """Two layers: an image is classified by its own pixels and those of its neighbours' neighbours."""

    def __init__(self, features: int, hidden: int, classes: int) -> None:
        super().__init__()
        self.first = SAGEConv(features, hidden)
        self.second = SAGEConv(hidden, classes)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """Return logits [nodes, classes] from features [nodes, features] and edges [2, edges]."""
        x = self.first(x, edge_index).relu()
        x = F.dropout(x, p=0.5, training=self.training)
        out: Tensor = self.second(x, edge_index)
        return out


def load(db: dbgnn.Database) -> None:
    """Fill the file: images from npy files by COPY, edges by SQL."""
    pixels, labels = load_digits(return_X_y=True)
    with tempfile.TemporaryDirectory() as folder:
        for name, array in {
            "id": np.arange(len(labels)),
            "x": (pixels / 16).astype(np.float32),
            "y": labels.astype(np.int64),
        }.items():
            np.save(f"{folder}/{name}.npy", array)
        db.execute("CREATE TABLE digit (id BIGINT, x FLOAT[64], y BIGINT)")
        db.execute(f"COPY digit FROM ('{folder}/id.npy', '{folder}/x.npy', '{folder}/y.npy') BY COLUMN")
    for statement in GRAPH:
        db.execute(statement)


def seeds_of(model: GraphSAGE, batch: Data) -> Tensor:
    """Return the logits of the batch's seed nodes, which come first."""
    logits: Tensor = model(batch.x, batch.edge_index)
    return logits[: batch.batch_size]


def train(model: GraphSAGE, loader: dbgnn.NeighborLoader, epochs: int) -> None:
    """Train on every image of the loader, ``epochs`` times."""
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01, weight_decay=5e-4)
    model.train()
    for epoch in range(1, epochs + 1):
        losses = []
        for batch in loader:
            optimizer.zero_grad()
            loss = F.cross_entropy(seeds_of(model, batch), batch.y[: batch.batch_size])
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        if epoch % 5 == 0 or epoch == epochs:
            print(f"epoch {epoch:3d}  loss {sum(losses) / len(losses):.4f}")


@torch.no_grad()
def predict(model: GraphSAGE, loader: dbgnn.NeighborLoader, feature_store: dbgnn.DuckDBFeatureStore) -> pa.Table:
    """Return the predicted digit of every image, under the user's own key."""
    model.eval()
    ids, predicted = [], []
    for batch in loader:
        ids.append(batch.n_id[: batch.batch_size])
        predicted.append(seeds_of(model, batch).argmax(dim=1))
    keys = feature_store.keys("digit", torch.cat(ids))
    return pa.table({"id": pa.array(keys), "predicted": pa.array(torch.cat(predicted).numpy())})


def run(path: Path, *, epochs: int, seed: int) -> float:
    """Build the file at ``path``, train, write the predictions back; return the test accuracy."""
    torch.manual_seed(seed)
    with dbgnn.connect(path) as db:
        load(db)
        print(db.graph("images"))

        feature_store, graph_store = db.get_torch_geometric_remote_backend("images", homogeneous=True)
        data = (feature_store, graph_store)
        train_loader = dbgnn.NeighborLoader(
            data, num_neighbors=[10, 5], input_nodes="split = 'train'", batch_size=128, shuffle=True, seed=seed
        )
        all_loader = dbgnn.NeighborLoader(data, num_neighbors=[-1, -1], input_nodes=None, batch_size=512)

        model = GraphSAGE(features=64, hidden=64, classes=10)
        train(model, train_loader, epochs)
        predictions = predict(model, all_loader, feature_store)

        db.connection.register("predictions", predictions)
        db.execute("CREATE TABLE prediction AS SELECT * FROM predictions")
        db.connection.unregister("predictions")

        [(accuracy,)] = db.sql("""
            SELECT avg(CAST(predicted = y AS DOUBLE))
            FROM digit JOIN prediction USING (id)
            WHERE split = 'test'
        """).fetchall()
        print(f"\ntest accuracy {accuracy:.4f}\n\nThe digits most often taken for another, from the file:")
        print(
            db.sql("""
                SELECT y AS digit, predicted AS taken_for, count(*) AS times, list(id ORDER BY id) AS images
                FROM digit JOIN prediction USING (id)
                WHERE split = 'test' AND predicted <> y
                GROUP BY ALL ORDER BY times DESC, digit, taken_for LIMIT 5
            """)
        )
    return float(accuracy)


def main() -> None:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, nargs="?", help="the DuckDB file to write; default: a temporary one")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if args.file is not None and args.file.exists():
        parser.error(f"{args.file} exists; name a file that does not")
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        run(args.file or Path(folder) / "digits.duckdb", epochs=args.epochs, seed=args.seed)
    print(f"{time.perf_counter() - start:.1f} s", f"; {args.file} is yours to query" if args.file else "", sep="")


if __name__ == "__main__":
    main()
