"""What each way to choose among a node's edges costs per sampled edge, against plain uniform sampling in the same run.

    python bench/modes.py --nodes 2000000 --edges 20000000 --kinds uniform rmat

Edges have a time and a weight; nodes and edges serve no features, so what is measured is sampling and what makes tensors of
it. Every mode is a loader of its own; they take turns, super-batch by super-batch, all of as many mini-batches: as many as the
planner chooses for the uniform one. The first turn warms up, and makes the lists that a mode needs (sorted by time, with
weights, without what a condition leaves out): its time, less that of a later turn, is "lists".

Seeds of the modes by time are spread over the last fifth of all times, and the condition of "where" leaves four of five edges,
so both have fewer edges to choose from. A link has two ends, as has its negative, so a mini-batch of links has a quarter as
many links as others have seeds. By time subgraphs are disjoint: "× disjoint" compares with uniform sampling of such.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import re
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import torch

import dbgnn
from graphs import write
from report import table, versions

#: The times of edges are below this.
TIMES = 1_000_000

#: What the modes are asked for by, beside fan-out, seeds, and batches.
MODES: dict[str, dict[str, Any]] = {
    "uniform": {},
    "uniform, with replacement": {"replace": True},
    "uniform, disjoint": {"disjoint": True},
    "by time": {"time_attr": "ts"},
    "by time, the last": {"time_attr": "ts", "temporal_strategy": "last"},
    "by time, in a window": {"time_attr": "ts", "time_window": TIMES // 2},
    "weighted": {"weight_attr": "w"},
    "weighted, with replacement": {"weight_attr": "w", "replace": True},
    "where": {"where": {"cites": "w < 8"}},
    "links": {"neg_sampling": "binary"},
    "LABOR": {"mode": "labor"},
    "LABOR, layers alike": {"mode": "labor alike"},
}


@dataclasses.dataclass
class Row:
    """What was measured of a mode: seconds of each turn (the first one apart), edges and nodes of all but the first."""

    name: str
    batches: Iterator[Any]
    first: float = 0.0
    seconds: list[float] = dataclasses.field(default_factory=list)
    edges: list[int] = dataclasses.field(default_factory=list)
    nodes: list[int] = dataclasses.field(default_factory=list)

    def turn(self, count: int) -> None:
        """Draw ``count`` mini-batches."""
        start = time.perf_counter()
        found = [next(self.batches) for _ in range(count)]
        self.seconds.append(time.perf_counter() - start)
        self.edges.append(sum(batch.edge_index.shape[1] for batch in found))
        self.nodes.append(sum(batch.num_nodes for batch in found))

    def per_edge(self, turn: int) -> float:
        """Return the seconds of an edge."""
        return self.seconds[turn] / self.edges[turn]


@contextlib.contextmanager
def graph_file(args: argparse.Namespace, kind: str) -> Iterator[Path]:
    """Return the path of the graph, made and indexed if absent; in a temporary folder unless one is given."""
    with contextlib.ExitStack() as stack:
        folder = args.folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dbgnn-modes-")))
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"modes-{kind}-{args.nodes}-{args.edges}-{args.seed}.duckdb"
        if not path.exists():
            write(path, nodes=args.nodes, edges=args.edges, dim=1, kind=kind, seed=args.seed)  # type: ignore[arg-type] # a choice
            with dbgnn.connect(path, progress=False) as db:
                db.execute(f"""
                    CREATE OR REPLACE TABLE cites AS SELECT src, dst, (hash(rowid) % {TIMES})::INTEGER AS ts,
                      ((hash(rowid + {args.edges}) % 1000 + 1) / 100)::FLOAT AS w FROM cites;
                    CREATE OR REPLACE PROPERTY GRAPH papers VERTEX TABLES (paper KEY (id) NO PROPERTIES) EDGE TABLES (
                      cites SOURCE KEY (src) REFERENCES paper (id) DESTINATION KEY (dst) REFERENCES paper (id) NO PROPERTIES)
                """)
                db.graph("papers").build()
        yield path


def loader_of(args: argparse.Namespace, db: dbgnn.Database, name: str, super_batch: int | str, batches: int) -> Any:
    """Return a loader of a mode, of ``batches`` mini-batches.

    Raises:
        DbgnnError, AttributeError, TypeError: This version of dbgnn has no such mode.
    """
    options = dict(MODES[name])
    stores = db.get_torch_geometric_remote_backend("papers", homogeneous=True)
    generator = torch.Generator().manual_seed(args.seed)
    given: dict[str, Any] = {"batch_size": args.batch_size, "super_batch": super_batch, "prefetch": 0, "seed": args.seed}
    if options.get("mode") == "labor alike":
        options["mode"] = dbgnn.Labor(layer_dependency=True)
    if name == "links":
        links = torch.randint(args.edges, (batches * args.batch_size // 4,), generator=generator)
        kind = cast("Callable[..., Any]", dbgnn.LinkNeighborLoader)  # type: ignore[attr-defined, unused-ignore] # where it is there
        given["batch_size"] = args.batch_size // 4
        return kind(stores, args.num_neighbors, edge_label_index=links, **given, **options)
    seeds = torch.randint(args.nodes, (batches * args.batch_size,), generator=generator)
    if "time_attr" in options:
        options["input_time"] = torch.randint(TIMES * 4 // 5, TIMES, seeds.shape, generator=generator)
    return dbgnn.NeighborLoader(stores, args.num_neighbors, seeds, **given, **options)


def measure(args: argparse.Namespace, db: dbgnn.Database) -> tuple[int, list[Row], dict[str, str]]:
    """Let all modes take turns; return the size of super-batches, what was measured, and why a mode was not."""
    size = args.super_batch
    if size == "auto":
        uniform = loader_of(args, db, "uniform", "auto", 256)
        next(iter(uniform))
        size = int(re.findall(r"super-batch +(\d+)", str(uniform.explain()))[0])
    size, rows, absent = int(size), [], {}
    for name in args.modes:
        try:
            loader = loader_of(args, db, name, size, size * (args.rounds + 1))
        except (dbgnn.DbgnnError, AttributeError, TypeError) as error:
            absent[name] = str(error).splitlines()[0]
            continue
        rows.append(Row(name, iter(loader)))
    for number in range(args.rounds + 1):
        for row in rows:
            row.turn(size)
            if number == 0:
                row.first = row.seconds[0]
                row.seconds, row.edges, row.nodes = [], [], []
    return size, rows, absent


def report(rows: list[Row], size: int) -> str:
    """Return the table of what was measured."""
    named = {row.name: row for row in rows}
    lines = []
    for row in rows:
        turns = range(len(row.seconds))

        def against(name: str, row: Row = row, turns: range = turns) -> str:
            other = named.get(name)
            return "" if other is None else f"{statistics.median(row.per_edge(t) / other.per_edge(t) for t in turns):.2f}"

        batches = size * len(turns)
        nodes = "" if "uniform" not in named else f"{sum(row.nodes) / sum(named['uniform'].nodes):.2f}"
        lines.append(
            [
                row.name,
                f"{statistics.median(row.per_edge(t) for t in turns) * 1e9:.0f}",
                against("uniform"),
                against("uniform, disjoint"),
                f"{sum(row.edges) / batches:,.0f}",
                f"{sum(row.nodes) / batches:,.0f}",
                nodes,
                f"{max(0.0, row.first - statistics.median(row.seconds)):.1f}",
            ]
        )
    columns = ["mode", "ms per M edges", "× uniform", "× disjoint", "edges", "nodes", "nodes × uniform", "lists (s)"]
    return table(columns, lines)


def main() -> None:
    """Measure each kind of graph."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=2_000_000)
    parser.add_argument("--edges", type=int, default=20_000_000)
    parser.add_argument("--kinds", choices=["uniform", "rmat"], nargs="+", default=["uniform", "rmat"])
    parser.add_argument("--modes", choices=list(MODES), nargs="+", default=list(MODES), metavar="MODE")
    parser.add_argument("--batch-size", type=int, default=1024)
    parser.add_argument("--num-neighbors", type=int, nargs="+", default=[15, 10, 5])
    parser.add_argument(
        "--super-batch", default="auto", help="mini-batches of a turn (default: as many as the planner chooses)"
    )
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--memory-limit", help="DuckDB's memory_limit (default: DuckDB's own)")
    parser.add_argument("--folder", type=Path, help="keep the files here and reuse them (default: a temporary folder)")
    args = parser.parse_args()
    print(versions())
    for kind in args.kinds:
        with (
            graph_file(args, kind) as path,
            dbgnn.connect(path, read_only=True, memory_limit=args.memory_limit, progress=False) as db,
        ):
            size, rows, absent = measure(args, db)
            print(
                f"\n{args.nodes:,} nodes, {args.edges:,} {kind} edges; {args.batch_size} seeds, num_neighbors "
                f"{args.num_neighbors}, super-batches of {size}; medians of {args.rounds} turns\n"
            )
            print(report(rows, size))
            for name, why in absent.items():
                print(f"\n{name}: left out: {why}")


if __name__ == "__main__":
    main()
