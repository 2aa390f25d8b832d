"""The same loader over a file, over a file that is written to between the steps, and over a database in memory.

    python bench/places.py --nodes 2000000 --edges 20000000 --dim 128

All take turns, epoch by epoch, in one run. In memory commits leave no trace, and a commit to the file may be to any table: both
cost checksums (`dbgnn/stores/steady.py`). The targets: in memory 1.5 times the file, with a loss logged at each step 2 times.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import dbgnn
from report import table, versions


def fill(db: dbgnn.Database, nodes: int, edges: int, dim: int) -> dbgnn.Graph:
    """Make papers with random features, uniform citations between them, and the index."""
    value = "(hash(i, j) % 1000000 / 1000000)::FLOAT"
    db.execute(
        f"""
        CREATE TABLE paper AS SELECT i AS id, list_transform(range({dim}), lambda j: {value})::FLOAT[{dim}] AS x
          FROM range({nodes}) AS t(i);
        CREATE TABLE cites AS SELECT (hash(i) % {nodes})::BIGINT AS src, (hash(i + {edges}) % {nodes})::BIGINT AS dst
          FROM range({edges}) AS t(i);
        CREATE TABLE log (loss DOUBLE);
        CREATE PROPERTY GRAPH papers VERTEX TABLES (paper KEY (id)) EDGE TABLES (
          cites SOURCE KEY (src) REFERENCES paper (id) DESTINATION KEY (dst) REFERENCES paper (id))
        """
    )
    return db.graph().build()


def seconds(loader: dbgnn.NeighborLoader, steps: int, between: Callable[[], object]) -> float:
    """Return the time of a step, without the first few."""
    took, start = [], 0.0
    for number, _ in enumerate(loader):
        took.append(time.perf_counter() - start)
        if number == steps:
            break
        between()
        start = time.perf_counter()
    return sum(took[3:]) / len(took[3:])


def main() -> None:
    """Print what a step takes in each place, and the ratio to the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=100_000)
    parser.add_argument("--edges", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--batch-size", type=int, default=1024)
    parser.add_argument("--num-neighbors", type=int, nargs="+", default=[15, 10, 5])
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()

    with (
        tempfile.TemporaryDirectory() as folder,
        dbgnn.connect(Path(folder) / "g.duckdb", progress=False) as file,
        dbgnn.connect(progress=False) as memory,
    ):
        graphs = {db: fill(db, args.nodes, args.edges, args.dim) for db in (file, memory)}
        places: dict[str, tuple[dbgnn.Database, Callable[[], object]]] = {
            "file": (file, lambda: None),
            "file, a loss logged at each step": (file, lambda: file.execute("INSERT INTO log VALUES (0.5)")),
            "memory": (memory, lambda: None),
            "memory, a loss logged at each step": (memory, lambda: memory.execute("INSERT INTO log VALUES (0.5)")),
        }
        loaders = {
            name: dbgnn.NeighborLoader(
                graphs[db], args.num_neighbors, input_nodes="paper", batch_size=args.batch_size, shuffle=True
            )
            for name, (db, _) in places.items()
        }
        found: dict[str, list[float]] = {name: [] for name in places}
        for _ in range(args.rounds):
            for name, (_, between) in places.items():
                found[name].append(seconds(loaders[name], args.steps, between))
    print(f"{versions()}\n{args.nodes:,} papers of FLOAT[{args.dim}], {args.edges:,} citations\n")
    ratios = {name: [a / b for a, b in zip(took, found["file"], strict=True)] for name, took in found.items()}
    rows = [
        [name, f"{1e3 * statistics.median(took):.1f}", f"{statistics.median(ratios[name]):.2f}"] for name, took in found.items()
    ]
    print(table(["place", "ms/step", "× file"], rows))


if __name__ == "__main__":
    main()
