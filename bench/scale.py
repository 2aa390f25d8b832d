"""What graphs of growing size cost: writing them, the index, an epoch without and with training, memory, the file.

    python bench/scale.py --sizes 5000000 --minutes 60

R-MAT graphs with the same number of edges and of features per node; a fixed share of the nodes are training seeds, so that an
epoch grows with the graph. Every phase runs in a process of its own; its memory is the peak RSS beyond the imports. The
exponent of a cost is its slope over the number of edges, both logarithmic, by least squares: 1 is proportional. Stops before
the disk is full or the minutes are over, and says where.
"""

from __future__ import annotations

import argparse
import dataclasses
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from case import Case, Result, apart
from report import bytes_of, publish, table, versions

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Costs in the order of the table, with what they are measured in.
COSTS = {
    "tables": "s",
    "index": "s",
    "epoch": "s",
    "epoch with training": "s",
    "index, memory": "GB",
    "epoch, memory": "GB",
    "with training, memory": "GB",
    "tables in the file": "GB",
    "index in the file": "GB",
}


class StoppedError(Exception):
    """A phase could not be finished; says why."""


@dataclasses.dataclass
class Size:
    """One size of the graph, with what has been measured of it."""

    nodes: int
    edges: int
    costs: dict[str, float] = dataclasses.field(default_factory=dict)
    steps: int = 0


def phases(args: argparse.Namespace, size: Size, path: Path, left: Callable[[], float]) -> Iterator[str]:
    """Measure one size phase by phase into ``size.costs``; yield the name of each as it starts.

    Raises:
        StoppedError: A phase failed or took longer than what was left.
    """
    yield "writing the tables"
    size.costs["tables"], _ = build(args, size, path, left())
    size.costs["tables in the file"] = path.stat().st_size / 1e9
    yield "building the index"
    size.costs["index"], size.costs["index, memory"] = build(args, size, path, left())
    size.costs["index in the file"] = path.stat().st_size / 1e9 - size.costs["tables in the file"]
    case = Case(
        side="dbgnn",
        path=str(path),
        nodes=size.nodes,
        edges=size.edges,
        dim=args.dim,
        batch_size=args.batch_size,
        num_neighbors=args.num_neighbors,
        seeds=max(1, int(size.nodes * args.fraction)),
        epochs=args.epochs,
        hidden=args.hidden,
        trim=True,
        memory_limit=bytes_of(args.memory_limit) if args.memory_limit else None,
        threads=args.threads,
        seed=args.seed,
    )
    yield "an epoch"
    alone = finished(apart(case, left()))
    size.steps = alone.steps // max(1, args.epochs - 1)
    size.costs["epoch"], size.costs["epoch, memory"] = alone.seconds * size.steps, (alone.peak - alone.baseline) / 1e9
    if not args.no_training:
        yield "an epoch with training"
        trained = finished(apart(dataclasses.replace(case, train=True), left()))
        size.costs["epoch with training"] = trained.seconds * size.steps
        size.costs["with training, memory"] = (trained.peak - trained.baseline) / 1e9


def finished(result: Result | str) -> Result:
    """Return the result, or raise what stood in its way."""
    if isinstance(result, str):
        raise StoppedError(result)
    return result


def build(args: argparse.Namespace, size: Size, path: Path, timeout: float) -> tuple[float, float]:
    """Write the tables, or if they are there the index, in a fresh process; return seconds and GB of memory."""
    command = [sys.executable, str(Path(__file__).with_name("build.py")), str(path)]
    command += ["--nodes", str(size.nodes), "--edges", str(size.edges), "--dim", str(args.dim), "--seed", str(args.seed)]
    command += ["--memory-limit", args.memory_limit] if args.memory_limit else []
    command += ["--threads", str(args.threads)] if args.threads else []
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
    except subprocess.TimeoutExpired as error:
        raise StoppedError("the minutes are over") from error
    if done.returncode:
        raise StoppedError(done.stderr.strip().splitlines()[-1] if done.stderr.strip() else f"exit code {done.returncode}")
    seconds, memory = done.stdout.split()
    return float(seconds), int(memory) / 1e9


def disk(args: argparse.Namespace, size: Size) -> int:
    """Return the bytes of disk that a size may need: the file, and what sorting the edges spills while the index is built."""
    row: int = args.dim * 4 + 64
    return size.nodes * row + size.edges * 64


def measure(args: argparse.Namespace, folder: Path) -> tuple[list[Size], str]:
    """Measure size after size; return those that were begun, and why there are no more."""
    begin = time.monotonic()
    sizes: list[Size] = []
    spent = 0.0

    def left() -> float:
        seconds: float = args.minutes * 60 - (time.monotonic() - begin)
        return max(1.0, seconds)

    for nodes in sorted(args.sizes):
        size = Size(nodes, int(nodes * args.degree))
        free = shutil.disk_usage(folder).free
        if disk(args, size) > free:
            needed = f"{disk(args, size) / 1e9:.3g} GB of disk"
            return sizes, f"before {words(size)}: they may need {needed}, {free / 1e9:.3g} GB are free"
        if sizes and (expected := spent * size.edges / sizes[-1].edges) > left():
            return sizes, f"before {words(size)}: about {expected / 60:.0f} minutes, {left() / 60:.0f} are left"
        started = time.monotonic()
        sizes.append(size)
        path = folder / f"scale-{size.nodes}.duckdb"
        phase = ""
        try:
            for phase in phases(args, size, path, left):
                print(f"{words(size)}: {phase}", file=sys.stderr)
        except StoppedError as error:
            return sizes, f"at {words(size)}, {phase}: {error}"
        finally:
            for file in folder.glob(f"{path.name}*"):
                shutil.rmtree(file) if file.is_dir() else file.unlink()
        spent = time.monotonic() - started
    return sizes, ""


def words(size: Size) -> str:
    """Return a size in words."""
    return f"{size.nodes:,} nodes and {size.edges:,} edges"


def exponents(sizes: list[Size]) -> dict[str, float]:
    """Return the exponent of every cost that at least two sizes have."""
    found: dict[str, float] = {}
    for cost in COSTS:
        points = [(size.edges, size.costs[cost]) for size in sizes if size.costs.get(cost, 0) > 0]
        if len({n for n, _ in points}) > 1:
            edges, values = np.log(np.array(points)).T
            found[cost] = float(np.polyfit(edges, values, 1)[0])
    return found


def markdown(sizes: list[Size], stopped: str) -> str:
    """Return the table, with a column per cost and the exponents in its last row."""
    costs = [cost for cost in COSTS if any(cost in size.costs for size in sizes)]
    rows = []
    for size in sizes:
        cells = [f"{size.costs[cost]:.3g}" if cost in size.costs else "" for cost in costs]
        rows.append([f"{size.nodes:,}", f"{size.edges:,}", str(size.steps or ""), *cells])
    slopes = exponents(sizes)
    rows.append(["exponent", "", "", *(f"**{slopes[c]:.2f}**" if c in slopes else "" for c in costs)])
    text = table(["nodes", "edges", "steps", *(f"{cost} ({COSTS[cost]})" for cost in costs)], rows)
    return text + (f"\n\nStopped {stopped}." if stopped else "")


def draw(sizes: list[Size], figure: Figure) -> None:
    """Draw the costs over the edges, both logarithmic: seconds to the left, gigabytes to the right."""
    slopes = exponents(sizes)
    for axes, unit in zip(figure.subplots(1, 2), ("s", "GB"), strict=True):
        for cost in (cost for cost in COSTS if COSTS[cost] == unit):
            points = [(size.edges, size.costs[cost]) for size in sizes if size.costs.get(cost, 0) > 0]
            if points:
                axes.plot(*zip(*points, strict=True), "o-", label=f"{cost} ({slopes[cost]:.2f})" if cost in slopes else cost)
        axes.set(xscale="log", yscale="log", xlabel="edges", ylabel=unit)
        axes.legend(title="cost (exponent)")


def arguments() -> argparse.Namespace:
    """Return the arguments of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[50_000, 100_000, 200_000, 400_000], help="numbers of nodes")
    parser.add_argument("--degree", type=float, default=50, help="edges per node")
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--fraction", type=float, default=0.1, help="share of the nodes that are training seeds")
    parser.add_argument("--batch-size", type=int, default=1024)
    parser.add_argument("--num-neighbors", type=int, nargs="+", default=[15, 10, 5])
    parser.add_argument("--epochs", type=int, default=2, help="the first of several is not measured")
    parser.add_argument("--hidden", type=int, default=64, help="width of the GraphSAGE, which has a layer per hop")
    parser.add_argument("--no-training", action="store_true", help="measure the loader alone only")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--memory-limit", help="DuckDB's memory_limit, such as 4GB (default: DuckDB's own)")
    parser.add_argument("--threads", type=int, help="DuckDB's threads (default: one per core)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="where the files lie while they are needed (default: the temporary folder)")
    parser.add_argument("--out", type=Path, help="write the table (Markdown) and a picture (PNG) here")
    return parser.parse_args()


def main() -> None:
    """Measure one size after the other, and show what came out."""
    args = arguments()
    with tempfile.TemporaryDirectory(prefix="dbgnn-scale-", dir=args.folder) as folder:
        sizes, stopped = measure(args, Path(folder))
    head = (
        f"{versions()}.\n"
        f"R-MAT graphs of {args.degree:g} edges per node, FLOAT[{args.dim}] features; {args.fraction:.3g} of them seeds, "
        f"{args.batch_size} a mini-batch, num_neighbors {args.num_neighbors}; GraphSAGE of {len(args.num_neighbors)} layers, "
        f"{args.hidden} wide, trimmed, on the CPU; memory_limit {args.memory_limit or 'of DuckDB'}, "
        f"{args.threads or 'all'} DuckDB threads.\n"
        f"Tables: generated and written. Epoch: {'the second and later' if args.epochs > 1 else 'the first'}."
    )
    publish(f"{head}\n\n{markdown(sizes, stopped)}", args.out, "scale", lambda figure: draw(sizes, figure))


if __name__ == "__main__":
    main()
