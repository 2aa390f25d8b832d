"""Writes a graph, or builds its index, and prints the seconds, and the bytes by which the peak memory grew.

Not run by hand: ``scale.py`` starts it, so that what is measured is one phase alone. Imports no torch.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import dbgnn
from graphs import write
from usage import peak_rss


def main() -> None:
    """Write the tables of a graph that does not exist, or build the index of one that does."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", type=Path)
    parser.add_argument("--nodes", type=int, required=True)
    parser.add_argument("--edges", type=int, required=True)
    parser.add_argument("--dim", type=int, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--memory-limit")
    parser.add_argument("--threads", type=int)
    args = parser.parse_args()
    start, before = time.perf_counter(), peak_rss()
    if args.path.exists():
        with dbgnn.connect(args.path, memory_limit=args.memory_limit, threads=args.threads) as db:
            db.graph("papers").build()
            db.execute("CHECKPOINT")
    else:
        write(args.path, nodes=args.nodes, edges=args.edges, dim=args.dim, kind="rmat", seed=args.seed)
    print(time.perf_counter() - start, peak_rss() - before)


if __name__ == "__main__":
    main()
