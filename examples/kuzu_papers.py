"""A script written for Kùzu's remote backend, moved to DuckDB: the import, the line that connects and the DDL are other ones.

Kùzu's article "Scaling PyTorch Geometric GNNs With Kùzu" and PyG's example of it train on ogbn-papers100M: a database
serves a feature store and a graph store, and `NeighborLoader` does the rest. What stood there stands here in comments. The
loader's arguments are kept: `num_workers=4` where a database open for writing has threads do the work, and
`filter_per_worker=False`. The graph is generated: papers of some areas, which mostly cite papers of their own.
"""

from __future__ import annotations

import argparse
import multiprocessing as mp
import tempfile
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from torch_geometric.nn import GraphSAGE

import dbgnn
from dbgnn import NeighborLoader  # from torch_geometric.loader import NeighborLoader

FEATURES, AREAS = 128, 16
CITES = ("paper", "cites", "paper")

# CREATE NODE TABLE paper(id INT64, x FLOAT[128], …, PRIMARY KEY (id)); CREATE REL TABLE cites(FROM paper TO paper)
DDL = f"""
CREATE TABLE paper (id BIGINT PRIMARY KEY, x FLOAT[{FEATURES}], y BIGINT);
CREATE TABLE cites (src BIGINT, dst BIGINT);
CREATE PROPERTY GRAPH papers VERTEX TABLES (paper KEY (id)) EDGE TABLES (
    cites SOURCE KEY (src) REFERENCES paper (id) DESTINATION KEY (dst) REFERENCES paper (id));
"""


def generate(db: dbgnn.Database, folder: Path, papers: int, citations: int) -> None:
    """Fill the tables from NumPy's files, as the article does: a paper's area is its id modulo `AREAS`."""
    rng = np.random.default_rng(0)
    area = np.arange(papers) % AREAS
    centre = rng.standard_normal((AREAS, FEATURES), dtype=np.float32)
    src, dst = rng.integers(0, papers, (2, citations))
    near = (rng.random(citations) < 0.8) & (src - src % AREAS + dst % AREAS < papers)
    src[near] += dst[near] % AREAS - src[near] % AREAS
    arrays = {
        "id": np.arange(papers),
        "x": 0.3 * centre[area] + rng.standard_normal((papers, FEATURES), dtype=np.float32),
        "y": area,
        "cites": np.stack([src, dst], axis=1),
    }
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    db.execute(DDL)
    files = ", ".join(f"'{folder / name}.npy'" for name in ("id", "x", "y"))
    db.execute(f"COPY paper FROM ({files}) BY COLUMN")
    db.execute(f"COPY cites FROM '{folder / 'cites'}.npy'")


def train(db: dbgnn.Database, args: argparse.Namespace) -> None:
    """Train, and print the loss of every epoch and the accuracy on papers that were not trained on."""
    order = torch.randperm(args.papers)
    parts = {"train": order[: args.papers // 10], "valid": order[-min(2048, args.papers // 10) :]}
    feature_store, graph_store = db.get_torch_geometric_remote_backend(mp.cpu_count())

    def loader(input_nodes: torch.Tensor) -> NeighborLoader:
        return NeighborLoader(
            data=(feature_store, graph_store),
            num_neighbors={CITES: [12, 12, 12]},
            batch_size=args.batch_size,
            input_nodes=("paper", input_nodes),
            num_workers=4,
            filter_per_worker=False,
        )

    model = GraphSAGE(FEATURES, args.hidden, num_layers=3, out_channels=AREAS, norm="batch_norm")
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    train_loader = loader(parts["train"])
    for epoch in range(1, args.epochs + 1):
        model.train()
        losses = []
        for batch in train_loader:
            batch_size = batch["paper"].batch_size
            optimizer.zero_grad()
            out = model(batch["paper"].x, batch[CITES].edge_index)[:batch_size]
            loss = F.cross_entropy(out, batch["paper"].y[:batch_size])
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        print(f"epoch {epoch:02d}  loss {np.mean(losses):.4f}")
    print(train_loader.explain())
    print(f"validation accuracy {accuracy(model, loader(parts['valid'])):.4f}")


@torch.no_grad()
def accuracy(model: torch.nn.Module, loader: NeighborLoader) -> float:
    """Return the share of the loader's seed nodes that the model gets right."""
    model.eval()
    right = []
    for batch in loader:
        out = model(batch["paper"].x, batch[CITES].edge_index)[: batch["paper"].batch_size]
        right.append(out.argmax(dim=1) == batch["paper"].y[: len(out)])
    return torch.cat(right).float().mean().item()


def main() -> None:
    """Read the arguments, write the database, and train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--papers", type=int, default=50_000)
    parser.add_argument("--citations", type=int, default=1_000_000)
    parser.add_argument("--batch-size", type=int, default=1024)
    parser.add_argument("--hidden", type=int, default=32, help="width of the layers; the article has 1024")
    parser.add_argument("--epochs", type=int, default=2)
    args = parser.parse_args()
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        db = dbgnn.connect(Path(folder) / "papers.duckdb")  # db = kuzu.Database("papers", buffer_pool_size)
        generate(db, Path(folder), args.papers, args.citations)
        print(f"{args.papers:,} papers, {args.citations:,} citations")
        train(db, args)
        db.close()


if __name__ == "__main__":
    main()
