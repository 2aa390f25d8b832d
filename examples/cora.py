"""Cora, the citation network, from npy and CSV files through a DuckDB file to a GraphSAGE model.

    python examples/cora.py DIR [--seeds 5]

DIR holds ids.npy [2708], x.npy [2708, 1433] (bags of words), y.npy [2708], edges.csv (src, dst: every citation
in both directions) and split.csv (id, split: Planetoid's 140 training, 500 validation and 1,000 test papers).
Prints the mean test accuracy over the seeds; of each run the epoch with the best validation accuracy counts.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - its name everywhere in PyTorch
from torch import Tensor, nn
from torch_geometric.data import Data
from torch_geometric.nn import SAGEConv

import dbgnn


class GraphSAGE(nn.Module):
    """Two mean-aggregating layers with dropout on what goes into each."""

    def __init__(self, features: int, hidden: int, classes: int) -> None:
        super().__init__()
        self.first = SAGEConv(features, hidden)
        self.second = SAGEConv(hidden, classes)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """Return logits [nodes, classes] from features [nodes, features] and edges [2, edges]."""
        x = F.dropout(x, p=0.8, training=self.training)
        x = self.first(x, edge_index).relu()
        x = F.dropout(x, p=0.8, training=self.training)
        out: Tensor = self.second(x, edge_index)
        return out


def load(db: dbgnn.Database, folder: Path) -> None:
    """Fill the file from the files of ``folder``."""

    def file(name: str) -> str:
        return "'" + str(folder / name).replace("'", "''") + "'"

    db.execute("CREATE TABLE paper (id BIGINT, words FLOAT[1433], y BIGINT)")
    db.execute("CREATE TABLE cites (src BIGINT, dst BIGINT)")
    db.execute(f"COPY paper FROM ({file('ids.npy')}, {file('x.npy')}, {file('y.npy')}) BY COLUMN")
    db.execute(f"COPY cites FROM {file('edges.csv')} (HEADER)")
    # Words are counted per paper; x holds their shares, as usual on Cora.
    db.execute(f"""
        CREATE TABLE article AS
        WITH counted AS (SELECT *, greatest(list_sum(words), 1) AS total FROM paper)
        SELECT id, list_transform(words, lambda w: w / total)::FLOAT[1433] AS x, y, split
        FROM counted JOIN read_csv({file("split.csv")}) USING (id)
        ORDER BY id
    """)
    db.execute("""
        CREATE PROPERTY GRAPH cora
          VERTEX TABLES (article KEY (id) PROPERTIES (x, y))
          EDGE TABLES   (cites SOURCE KEY (src) REFERENCES article (id)
                               DESTINATION KEY (dst) REFERENCES article (id) NO PROPERTIES)
    """)


def seeds_of(model: GraphSAGE, batch: Data) -> Tensor:
    """Return the logits of the batch's seed nodes, which come first."""
    logits: Tensor = model(batch.x, batch.edge_index)
    return logits[: batch.batch_size]


@torch.no_grad()
def accuracy(model: GraphSAGE, batches: list[Data]) -> float:
    """Return the share of the batches' seed nodes that the model gets right."""
    model.eval()
    right = sum(int((seeds_of(model, b).argmax(dim=1) == b.y[: b.batch_size]).sum()) for b in batches)
    return right / sum(int(b.batch_size) for b in batches)


def run(db: dbgnn.Database, *, seed: int, epochs: int) -> tuple[float, float]:
    """Train once; return validation and test accuracy of the epoch that is best on the validation papers."""
    torch.manual_seed(seed)
    data = db.get_torch_geometric_remote_backend("cora", homogeneous=True)

    def loader(split: str, neighbors: list[int], **kwargs: Any) -> dbgnn.NeighborLoader:
        return dbgnn.NeighborLoader(data, num_neighbors=neighbors, input_nodes=f"split = '{split}'", **kwargs)

    train_loader = loader("train", [15, 10], batch_size=70, shuffle=True, seed=seed)
    # Whole neighbourhoods are the same in every epoch, so they are fetched once.
    val, test = (list(loader(split, [-1, -1], batch_size=1000)) for split in ("val", "test"))

    model = GraphSAGE(features=1433, hidden=128, classes=7)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01, weight_decay=5e-3)
    best, state = -1.0, copy.deepcopy(model.state_dict())
    for _ in range(epochs):
        model.train()
        for batch in train_loader:
            optimizer.zero_grad()
            F.cross_entropy(seeds_of(model, batch), batch.y[: batch.batch_size]).backward()
            optimizer.step()
        if (now := accuracy(model, val)) > best:
            best, state = now, copy.deepcopy(model.state_dict())
    model.load_state_dict(state)
    return best, accuracy(model, test)


def main() -> None:
    """Read the arguments, load the files, train once per seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dir", type=Path, help="the folder with Cora's files")
    parser.add_argument("--seeds", type=int, default=5, help="how many runs, from seeds 0, 1, …")
    parser.add_argument("--epochs", type=int, default=50)
    args = parser.parse_args()

    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder, dbgnn.connect(Path(folder) / "cora.duckdb") as db:
        load(db, args.dir)
        print(db.graph("cora"))
        tests = []
        for seed in range(args.seeds):
            val, test = run(db, seed=seed, epochs=args.epochs)
            print(f"seed {seed}  validation accuracy {val:.4f}  test accuracy {test:.4f}")
            tests.append(test)
    print(f"mean test accuracy {statistics.mean(tests):.4f} over {len(tests)} seeds, {time.perf_counter() - start:.1f} s")


if __name__ == "__main__":
    main()
