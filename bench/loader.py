"""The loader against PyG in memory, at shrinking memory limits: time per step without and with training, memory, bytes read.

    python bench/loader.py --kind rmat --rows pyg join join+hot25 spooled auto --limits 1 0.25
    python bench/loader.py --small --rows pyg join auto
    python bench/loader.py --nodes 20000000 --edges 200000000 --kind rmat --rows auto --memory-limit 2GB [--half]

``--small`` is a graph of Cora's size: 2,708 nodes of 1,433 features, 10,556 edges; 64 seeds, [10, 10], whole epochs.

A row is ``pyg`` (PyG's `NeighborLoader` over tensors, with pyg-lib or torch-sparse: ``make bench-peers``), or a feature plan
of `dbgnn.NeighborLoader` (join, shared, spooled, or auto: the planner's choice), with ``+hotNN`` and NN % of the features as
hot rows. Limits are DuckDB's ``memory_limit``: a share of the bytes of the features, a size, or "default" (DuckDB's own).

Every row is measured in a process of its own. PyG takes its turn before and after every row, and the ratio is to the mean
of these two, each of half as many steps. The small super-batches with which an epoch begins and the first whole one are not
measured, then whole ones are. "model" is the model alone on one mini-batch: its peak memory is what "beyond the model" counts
from.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import dbgnn
from case import PARTS, Case, Result, apart
from graphs import write
from report import bytes_of, peer, publish, table, versions
from usage import free_memory

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ROWS = ["pyg", "join", "join+hot10", "join+hot25", "join+hot100", "shared", "spooled", "auto"]

#: What ``--small`` sets.
SMALL = {
    "nodes": 2708,
    "edges": 10556,
    "dim": 1433,
    "batch_size": 64,
    "num_neighbors": [10, 10],
    "steps": 430,
    "memory_limit": "default",
}


@dataclasses.dataclass(frozen=True)
class Line:
    """A line of a table: a name, a limit in words, what was measured, and the seconds of PyG's turns beside it."""

    name: str
    limit: str
    result: Result | str
    peers: Sequence[float] = ()

    @property
    def ratio(self) -> float | None:
        """Time per step in units of PyG's."""
        if isinstance(self.result, str) or not self.peers:
            return None
        return self.result.seconds / (sum(self.peers) / len(self.peers))


@contextlib.contextmanager
def graph_file(args: argparse.Namespace) -> Iterator[Path]:
    """Return the path of the graph, made and indexed if absent; in a temporary folder unless one is given."""
    with contextlib.ExitStack() as stack:
        folder = args.folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dbgnn-loader-")))
        folder.mkdir(parents=True, exist_ok=True)
        path = (
            folder / f"loader-{args.kind}-{args.nodes}-{args.edges}-{args.dim}{'-half' if args.half else ''}-{args.seed}.duckdb"
        )
        if not path.exists():
            write(path, nodes=args.nodes, edges=args.edges, dim=args.dim, kind=args.kind, seed=args.seed, half=args.half)
            with dbgnn.connect(path) as db:
                db.graph("papers").build()
        yield path


def name_of(args: argparse.Namespace) -> str:
    """Return what files of this graph are called."""
    return f"loader-{args.kind}-{args.nodes}-{args.edges}-{args.dim}{'-half' if args.half else ''}"


def features(args: argparse.Namespace) -> int:
    """Return the bytes of all features."""
    size: int = args.nodes * args.dim * (2 if args.half else 4)
    return size


def pyg_memory(args: argparse.Namespace) -> int:
    """Return about what PyG needs: features, edges as pairs of int64, and two GB for the rest."""
    edges: int = args.edges
    return features(args) + 16 * edges + 2_000_000_000


def limits_of(args: argparse.Namespace) -> dict[str, int | None]:
    """Return the memory limits in bytes (None: DuckDB's own) by what they are called."""
    limits: dict[str, int | None] = {}
    for text in [args.memory_limit] if args.memory_limit else args.limits:
        if text == "default":
            limits["default"] = None
        elif text.replace(".", "", 1).isdigit():
            size = int(float(text) * features(args))
            limits[f"{float(text):.3g} × = {megabytes(size)} MB"] = size
        else:
            limits[text] = bytes_of(text)
    return limits


def cases_of(args: argparse.Namespace, base: Case) -> Iterator[tuple[str, str, Case | str]]:
    """Yield name, limit and case of every row but PyG's; a str instead of a case says why there is none."""
    for limit, size in limits_of(args).items():
        for row in args.rows:
            if row == "pyg":
                continue
            plan, _, hot = row.partition("+hot")
            cache = int(float(hot) / 100 * features(args)) if hot else 0
            if size is not None and cache > size:
                yield row, limit, f"left out: its hot rows take {megabytes(cache)} MB"
                continue
            yield (
                row,
                limit,
                dataclasses.replace(
                    base, side="dbgnn", plan=plan, cache_bytes="auto" if row == "auto" else cache, memory_limit=size
                ),
            )


def measure(args: argparse.Namespace, base: Case) -> list[Line]:
    """Measure every row, with PyG before and after each."""
    lines: list[Line] = []
    turns: list[Line] = []

    def turn() -> list[float]:
        if "pyg" not in args.rows or (turns and isinstance(turns[-1].result, str)):
            return []
        if peer() is None:
            line = Line("pyg", "", "left out: neither pyg-lib nor torch-sparse is installed (make bench-peers)")
        elif pyg_memory(args) > free_memory():
            why = f"left out: needs about {pyg_memory(args) / 1e9:.0f} GB, {free_memory() / 1e9:.0f} GB are free"
            line = Line("pyg", "", why)
        else:
            case = dataclasses.replace(base, side="pyg", steps=(base.steps + 1) // 2)
            line = Line("pyg", "", timed(args, "pyg", case))
        turns.append(line)
        return [] if isinstance(line.result, str) else [line.result.seconds]

    before = turn()
    for name, limit, case in cases_of(args, base):
        if isinstance(case, str):
            lines.append(Line(name, limit, case))
            continue
        result = timed(args, f"{name} at {limit}", case)
        after = turn() if isinstance(result, Result) else before
        lines.append(Line(name, limit, result, [*before, *after]))
        before = after
    return [*summary(turns), *lines]


def timed(args: argparse.Namespace, what: str, case: Case) -> Result | str:
    """Measure in a process, and say on stderr how it went, since a whole table takes long."""
    result = apart(case, args.row_minutes * 60)
    said = result if isinstance(result, str) else f"{result.seconds * 1e3:.0f} ms per step"
    print(f"{what}{' with training' if case.train else ''}: {said}", file=sys.stderr)
    return result


def summary(turns: list[Line]) -> list[Line]:
    """Return PyG's turns as one line: the one of median time, which all of them are measured against."""
    measured = [turn for turn in turns if isinstance(turn.result, Result)]
    if not measured:
        return turns[:1]
    seconds = [turn.result.seconds for turn in measured if isinstance(turn.result, Result)]
    middle = sorted(range(len(seconds)), key=seconds.__getitem__)[len(seconds) // 2]
    spread = f"{min(seconds) * 1e3:.0f} … {max(seconds) * 1e3:.0f} ms in {len(seconds)} turns"
    return [Line("pyg", spread, measured[middle].result)]


def megabytes(size: float) -> str:
    """Return a size in words; below 10 MB with a decimal."""
    return f"{size / 1e6:,.1f}" if size < 1e7 else f"{size / 1e6:,.0f}"


def markdown(lines: Sequence[Line], baseline: int | None) -> str:
    """Return the table of one way to use the batches; ``baseline`` is the peak memory of the model alone, if it trained."""
    header = [
        "row", "memory_limit", "ms/step", "× PyG", *PARTS, "waiting", "model", "CPU", "MB read", "of it disk", "read ÷ used",
        "hits", "peak RSS MB", "beyond the model", "first batch after", "steps (skipped)", "super-batch",
    ]  # fmt: skip
    rows = [row_of(line, baseline) for line in lines]
    return table(header, [row + [""] * (len(header) - len(row)) for row in rows])


def row_of(line: Line, baseline: int | None) -> list[str]:
    """Return the cells of a line."""
    result = line.result
    if isinstance(result, str):
        return [line.name, line.limit, result.replace("|", "\\|")]

    def ms(seconds: float | None) -> str:
        return "" if seconds is None else f"{seconds * 1e3:,.1f}" if seconds < 0.1 else f"{seconds * 1e3:,.0f}"

    return [
        line.name,
        line.limit,
        ms(result.seconds),
        "" if line.ratio is None else f"**{line.ratio:.2f}**",
        *(ms(result.parts.get(part)) for part in PARTS),
        ms(result.waiting),
        ms(result.seconds - result.waiting),
        ms(result.cpu),
        megabytes(result.bytes_read),
        megabytes(result.bytes_disk),
        f"{result.bytes_read / result.bytes_used:.2f}",
        "" if result.hit_rate is None else f"{result.hit_rate:.0%}",
        megabytes(result.peak),
        megabytes(result.peak - (result.baseline if baseline is None else baseline)),
        f"{result.setup:.1f} s",
        f"{result.steps} ({result.skipped})",
        str(result.super_batch),
    ]


def draw(tables: dict[str, list[Line]], figure: Figure) -> None:
    """Draw a panel per table: time per step as a diamond over the stacked times of its parts, in whatever thread."""
    panels = figure.subplots(1, len(tables), squeeze=False)[0]
    for axes, (title, lines) in zip(panels, tables.items(), strict=True):
        shown = [(line, line.result) for line in lines if isinstance(line.result, Result)]
        names = [line.name if line.name in {"pyg", "model"} else f"{line.name} {line.limit}" for line, _ in shown]
        left = [0.0] * len(shown)
        for part in (*PARTS, "model"):
            seconds = [r.seconds - r.waiting if part == "model" else r.parts.get(part, 0) for _, r in shown]
            axes.barh(names, [1e3 * s for s in seconds], left=left, label=part)
            left = [a + 1e3 * b for a, b in zip(left, seconds, strict=True)]
        axes.plot([1e3 * r.seconds for _, r in shown], names, "D", color="black", label="a step (its parts overlap)")
        axes.invert_yaxis()
        axes.set(title=title, xlabel="ms per step")
    figure.set_size_inches(14, 2 + 0.3 * max(map(len, tables.values())))
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=7)


def arguments() -> argparse.Namespace:
    """Return the arguments of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="as of Cora: sets nodes, edges, dim, seeds, fan-out and limit")
    parser.add_argument("--nodes", type=int, default=2_000_000)
    parser.add_argument("--edges", type=int, default=20_000_000)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--half", action="store_true", help="features of float16, which the model makes floats of")
    parser.add_argument("--kind", choices=["uniform", "rmat"], default="uniform")
    parser.add_argument("--batch-size", type=int, default=1024)
    parser.add_argument("--num-neighbors", type=int, nargs="+", default=[15, 10, 5])
    parser.add_argument("--steps", type=int, default=24, help="steps of a row, rounded up to whole super-batches")
    parser.add_argument("--hidden", type=int, default=64, help="width of the GraphSAGE, which has a layer per hop")
    parser.add_argument(
        "--trim", action=argparse.BooleanOptionalAction, default=True, help="each layer drops the outermost hop"
    )
    parser.add_argument("--no-training", action="store_true", help="measure the loader alone only")
    parser.add_argument("--only-training", action="store_true", help="measure with training only")
    parser.add_argument("--rows", nargs="+", default=ROWS, help=f"of {' '.join(ROWS)}, or another plan+hotNN")
    parser.add_argument("--limits", nargs="+", default=["1", "0.5", "0.25", "0.125"], help="memory limits (see above)")
    parser.add_argument("--memory-limit", help="one memory limit instead of --limits")
    parser.add_argument("--super-batch", default="auto", help="mini-batches of a super-batch")
    parser.add_argument("--prefetch", default="auto", help="mini-batches prepared ahead")
    parser.add_argument("--threads", type=int, help="DuckDB's threads (default: one per core)")
    parser.add_argument("--row-minutes", type=float, default=30, help="a row that takes longer is stopped")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="keep the file here and reuse it (default: a temporary folder)")
    parser.add_argument("--out", type=Path, help="write the tables (Markdown) and a picture (PNG) here")
    if parser.parse_known_args()[0].small:
        parser.set_defaults(**SMALL)
    return parser.parse_args()


def main() -> None:
    """Build what is missing, then measure."""
    args = arguments()
    with graph_file(args) as path:
        base = Case(
            side="model",
            path=str(path),
            nodes=args.nodes,
            edges=args.edges,
            dim=args.dim,
            half=args.half,
            batch_size=args.batch_size,
            num_neighbors=args.num_neighbors,
            steps=args.steps,
            hidden=args.hidden,
            trim=args.trim,
            super_batch=args.super_batch if args.super_batch == "auto" else int(args.super_batch),
            prefetch=args.prefetch if args.prefetch == "auto" else int(args.prefetch),
            threads=args.threads,
            seed=args.seed,
        )
        tables: dict[str, list[Line]] = {}
        text = [head(args)]
        if not args.only_training:
            lines = tables["loader alone"] = measure(args, base)
            text += ["### Loader alone", markdown(lines, None)]
        if not args.no_training:
            base = dataclasses.replace(base, train=True)
            model = Line("model", "", timed(args, "model alone", base))
            lines = tables["with training"] = [model, *measure(args, base)]
            baseline = None if isinstance(model.result, str) else model.result.peak
            text += ["### With training", markdown(lines, baseline)]
        text += [explanations(lines) for lines in tables.values()]
    name = name_of(args)
    publish("\n\n".join(filter(None, text)), args.out, name, lambda figure: draw(tables, figure))


def head(args: argparse.Namespace) -> str:
    """Return what was measured, in words."""
    return (
        f"{versions()}.\n"
        f"{args.nodes:,} nodes × {'float16' if args.half else 'FLOAT'}[{args.dim}] "
        f"({features(args) / 1e9:.2f} GB), {args.edges:,} {args.kind} edges; "
        f"{args.batch_size} seeds, num_neighbors {args.num_neighbors}; super_batch {args.super_batch}, "
        f"prefetch {args.prefetch}, {args.threads or 'all'} DuckDB threads; GraphSAGE with {len(args.num_neighbors)} layers, "
        f"{args.hidden} wide, on the CPU, {'trimmed' if args.trim else 'not trimmed'}.\n"
        "Times are ms a step (parts: in whatever thread), sizes 10^6 bytes."
    )


def explanations(lines: Sequence[Line]) -> str:
    """Return what the planner said of the rows where it chose."""
    said = [
        f"{line.name} at {line.limit}:\n\n```\n{line.result.explained.strip()}\n```"
        for line in lines
        if isinstance(line.result, Result) and line.name == "auto"
    ]
    return "\n\n".join(said)


if __name__ == "__main__":
    main()
