"""Sampling neighborhoods: `dbgnn.NeighborSampler`, one mini-batch at a time, against PyG's sampler in memory.

    python bench/sample.py --nodes 2000000 --edges 20000000 --batch-size 1024 --num-neighbors 15 10 5

Both take turns in one run, with the same seeds, and give the same kind of output. PyG's sampler needs torch-sparse or
pyg-lib (``make bench-peers``); without them it is left out. Its time to bring the topology into memory is shown beside
the time to build the index.
"""

from __future__ import annotations

import argparse
import contextlib
import platform
import resource
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import torch
import torch_geometric
import torch_geometric.typing
from torch_geometric.data import Data
from torch_geometric.sampler import NeighborSampler as PyGNeighborSampler
from torch_geometric.sampler import NodeSamplerInput

import dbgnn
from graphs import write


def peer() -> str | None:
    """Return the name of the library that PyG samples with, if there is one."""
    if torch_geometric.typing.WITH_PYG_LIB:
        return "pyg-lib"
    return "torch-sparse" if torch_geometric.typing.WITH_TORCH_SPARSE else None


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    """Return the seconds a call took, and its result."""
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result


@contextlib.contextmanager
def graph_file(args: argparse.Namespace) -> Iterator[Path]:
    """Return the path of the graph, made if absent; in a temporary folder unless one is given."""
    with contextlib.ExitStack() as stack:
        folder = args.folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dbgnn-sample-")))
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"sample-{args.kind}-{args.nodes}-{args.edges}-{args.seed}.duckdb"
        if not path.exists():
            write(path, nodes=args.nodes, edges=args.edges, dim=1, kind=args.kind, seed=args.seed)
        yield path


def main() -> None:
    """Build what is missing, then measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=2_000_000)
    parser.add_argument("--edges", type=int, default=20_000_000)
    parser.add_argument("--kind", choices=["uniform", "rmat"], default="uniform")
    parser.add_argument("--batch-size", type=int, default=1024)
    parser.add_argument("--num-neighbors", type=int, nargs="+", default=[15, 10, 5])
    parser.add_argument("--replace", action="store_true")
    parser.add_argument("--batches", type=int, default=15, help="turns of every side")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--memory-limit", help="DuckDB's memory_limit (default: DuckDB's own)")
    parser.add_argument("--threads", type=int, help="DuckDB's threads (default: one per core)")
    parser.add_argument("--folder", type=Path, help="keep the file here and reuse it (default: a temporary folder)")
    args = parser.parse_args()
    with graph_file(args) as path, dbgnn.connect(path, memory_limit=args.memory_limit, threads=args.threads) as db:
        measure(args, db)


def measure(args: argparse.Namespace, db: dbgnn.Database) -> None:
    """Let both sides sample in turn, and print medians and their ratio."""
    graph = db.graph("papers")
    build, _ = timed(lambda: graph.build(force=True))
    rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    verify, _ = timed(lambda: db.graph("papers").topology())
    stores = db.get_torch_geometric_remote_backend(graph)
    sides: dict[str, Any] = {"dbgnn": dbgnn.NeighborSampler(stores, args.num_neighbors, replace=args.replace, seed=args.seed)}
    library = peer()
    limit, threads = db.sql("SELECT current_setting('memory_limit'), current_setting('threads')").fetchall()[0]
    print(
        f"dbgnn {dbgnn.__version__}, DuckDB {duckdb.__version__}, torch {torch.__version__} "
        f"({torch.get_num_threads()} threads), PyG {torch_geometric.__version__} with "
        f"{library or 'no sampler of its own: make bench-peers'}, Python {platform.python_version()}"
    )
    replaced = ", with replacement" if args.replace else ""
    print(
        f"{args.nodes:,} nodes, {args.edges:,} {args.kind} edges; {args.batch_size} seeds, num_neighbors {args.num_neighbors}"
        f"{replaced}; memory_limit {limit}, {threads} DuckDB threads; medians of {args.batches} turns"
    )
    print(f"index: built in {build:.1f} s (peak RSS {rss:.2f} GiB), verified in {verify * 1e3:.0f} ms")
    if library is not None:
        rows = db.arrow("SELECT src, dst FROM cites")
        edge_index = torch.stack([torch.from_numpy(rows.column(c).to_numpy().copy()) for c in ("src", "dst")])
        data = Data(edge_index=edge_index, num_nodes=args.nodes)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PyG deprecates torch-sparse, which is the one that can be built from PyPI
            load, sides[library] = timed(lambda: PyGNeighborSampler(data, args.num_neighbors, replace=args.replace))
        print(f"{library}: topology sorted into memory in {load:.1f} s")
    rng = np.random.default_rng(args.seed + 1)
    times: dict[str, list[float]] = {name: [] for name in sides}
    sizes: dict[str, list[tuple[int, int]]] = {name: [] for name in sides}
    for turn in range(args.batches + 2):
        seeds = torch.from_numpy(rng.choice(args.nodes, args.batch_size, replace=False))
        for name, sampler in sides.items():
            inputs = NodeSamplerInput(torch.arange(len(seeds)), seeds, input_type="paper" if name == "dbgnn" else None)
            seconds, out = timed(lambda sampler=sampler, inputs=inputs: sampler.sample_from_nodes(inputs))  # type: ignore[misc]
            node, row = (out.node["paper"], out.row["paper", "cites", "paper"]) if name == "dbgnn" else (out.node, out.row)
            if turn >= 2:  # the first two warm the caches of both sides
                times[name].append(seconds)
                sizes[name].append((len(node), len(row)))
    for name, seconds_of in times.items():
        nodes, edges = np.mean(sizes[name], axis=0)
        print(f"{name:>13}: {np.median(seconds_of) * 1e3:7.1f} ms per mini-batch of {nodes:,.0f} nodes and {edges:,.0f} edges")
    if library is not None:
        print(f"        ratio: {np.median(times['dbgnn']) / np.median(times[library]):.2f} (dbgnn / {library})")


if __name__ == "__main__":
    main()
