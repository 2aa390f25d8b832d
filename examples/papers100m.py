"""Kùzu's example on dbgnn: GraphSAGE with residual and inception connections on ogbn-papers100M, features and edges on disk.

    python examples/papers100m.py [DIR] [--scale 1/100] [--database papers.duckdb] [--memory-limit 4GB] [--steps 500]

DIR is OGB's folder papers100M-bin (raw/data.npz, raw/node-label.npz, split/time/*.csv.gz; 57 GB of features, 1.6 G
citations). Without it a graph of the same schema is made at ``--scale``: papers of 172 areas that cite their own area
most of the time, so that neighbours tell more than a paper's own noisy features. Either way npy files go through
``COPY`` into a DuckDB file, which is kept if ``--database`` names one, and used as it is by the next run. On the way to it
``<database>.files`` beside it needs room for what is unpacked or made.

The model is that of https://github.com/mengyangniu/ogbn-papers100m-sage, which Kùzu's article "Scaling PyTorch Geometric
GNNs With Kùzu" (2023) trains as well. Printed at the end: the columns of the article's table, what the loader chose and
why, and the accuracy on a few mini-batches of the validation papers.
"""

from __future__ import annotations

import argparse
import itertools
import shutil
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F  # noqa: N812 - its name everywhere in PyTorch
from torch import Tensor, nn
from torch_geometric.nn import SAGEConv

import dbgnn

SCHEMA = Path(__file__).resolve().parents[1] / "schemas" / "ogbn_papers100m.sql"

#: The sizes of ogbn-papers100M.
PAPERS, CITATIONS, FEATURES, CLASSES = 111_059_956, 1_615_685_872, 128, 172
SPLIT = {"train": 1_207_179, "valid": 125_265, "test": 214_338}
#: What the schema's BIGINT column `y` holds for the 98.6 % of papers that are not on arXiv: NULL would be no tensor, and OGB's
#: float with NaN no class index. Only papers of the split are seeds, and all of those have a label.
UNLABELLED = -1

FAN_OUT = [12, 12, 12]
VALIDATION_BATCHES = 4

#: Rows of an npy file that are made at a time, 64 MB of features.
CHUNK = 1 << 17

Array = npt.NDArray[Any]


# -- the files ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Files:
    """The files that fill the tables: npy ``[N, …]`` per column of `paper`, the edge index, CSV per part of the split."""

    columns: tuple[Path, ...]
    edge_index: Path
    split: dict[str, Path]


def save(path: Path, shape: tuple[int, ...], dtype: str, chunks: Iterable[Array]) -> Path:
    """Write an npy file of ``shape`` chunk by chunk, so that memory does not grow with it."""
    with path.open("wb") as file:
        header = {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        for chunk in chunks:
            np.ascontiguousarray(chunk, dtype=dtype).tofile(file)
    return path


def spans(total: int) -> Iterator[tuple[int, int]]:
    """Yield start and stop of every chunk of ``total`` rows."""
    for start in range(0, total, CHUNK):
        yield start, min(total, start + CHUNK)


def ids_file(folder: Path, papers: int) -> Path:
    """Write the keys 0 … N - 1."""
    return save(folder / "ids.npy", (papers,), "int64", (np.arange(a, b) for a, b in spans(papers)))


def ogb_files(ogb: Path, work: Path) -> Files:
    """Unpack OGB's archives into ``work``, member by member, and bring years and labels into the columns' form."""

    def array(archive: str, name: str) -> Path:
        if (unpacked := ogb / "raw" / f"{name}.npy").exists():  # by `unzip`, as the schema's comments have it
            return unpacked
        target, part = work / f"{name}.npy", work / f"{name}.part"
        with zipfile.ZipFile(ogb / "raw" / archive) as members:
            member = members.getinfo(f"{name}.npy")
            if not target.exists() or target.stat().st_size != member.file_size:  # else a run that was killed later left it
                with members.open(member) as packed, part.open("wb") as file:
                    shutil.copyfileobj(packed, file, 1 << 24)
                part.replace(target)
        return target

    def flat(archive: str, name: str, target: str) -> Path:
        """``[N, 1]`` of any number, NaN for unlabelled, as ``[N]`` of int64."""
        values: Array = np.load(array(archive, name), mmap_mode="r").reshape(-1)
        chunks = (np.nan_to_num(values[a:b], nan=UNLABELLED) for a, b in spans(len(values)))
        return save(work / target, values.shape, "int64", chunks)

    year, y = flat("data.npz", "node_year", "year.npy"), flat("node-label.npz", "node_label", "y.npy")
    ids = ids_file(work, len(np.load(y, mmap_mode="r")))
    packed = {part: ogb / "split" / "time" / f"{part}.csv.gz" for part in SPLIT}
    split = {part: path if path.exists() else path.with_suffix("") for part, path in packed.items()}
    return Files((ids, array("data.npz", "node_feat"), year, y), array("data.npz", "edge_index"), split)


def generated_files(scale: Fraction, work: Path) -> Files:
    """Write a graph of the same schema and shares into ``work``; four bytes of memory per paper, and a chunk."""
    rng = np.random.default_rng(0)
    papers, citations = max(CLASSES, round(PAPERS * scale)), round(CITATIONS * scale)
    sizes = [max(2, round(n * scale)) for n in SPLIT.values()]
    labelled = rng.choice(papers, sum(sizes), replace=False)
    y = np.full(papers, UNLABELLED, dtype=np.int16)
    y[labelled] = labelled % CLASSES  # the area of every paper, known of the labelled ones only
    split = {}
    for part, ids in zip(SPLIT, np.split(labelled, np.cumsum(sizes)[:-1]), strict=True):
        split[part] = work / f"{part}.csv"
        np.savetxt(split[part], np.sort(ids), fmt="%d")
    year = rng.integers(1990, 2020, papers, dtype=np.int16)

    centre = 0.2 * rng.standard_normal((CLASSES, FEATURES), dtype=np.float32)
    rows = (rng.standard_normal((b - a, FEATURES), np.float32) + centre[np.arange(a, b) % CLASSES] for a, b in spans(papers))
    x = save(work / "node_feat.npy", (papers, FEATURES), "float32", rows)
    cited = (draw_citations(rng, papers, b - a) for a, b in spans(citations))
    edge_index = save(work / "edge_index.npy", (citations, 2), "int64", cited)
    np.save(work / "year.npy", year)
    np.save(work / "y.npy", y)
    return Files((ids_file(work, papers), x, work / "year.npy", work / "y.npy"), edge_index, split)


def draw_citations(rng: np.random.Generator, papers: int, n: int) -> Array:
    """Return ``n`` citations ``[n, 2]``: three of four within an area, both ends with power-law degrees."""
    rank = (papers * rng.random((n, 2)) ** 2).astype(np.int64)
    ends = rank * (2**31 - 1) % papers  # a prime spreads the hubs over all ids
    near = rng.random(n) < 0.75
    ends[near, 0] += ends[near, 1] % CLASSES - ends[near, 0] % CLASSES
    ends[ends >= papers] -= CLASSES
    return ends


# -- the database ------------------------------------------------------------------------------------------


def prepare(database: Path, ogb: Path | None, scale: Fraction, memory_limit: str | None) -> None:
    """Write the database, with the index of its graph, under its name only when it is complete."""
    work = database.with_name(database.name + ".files")
    work.mkdir(parents=True, exist_ok=True)
    draft = work / "graph.duckdb"
    for left_over in work.glob("graph.duckdb*"):  # by a run that was killed
        shutil.rmtree(left_over) if left_over.is_dir() else left_over.unlink()
    with timed("npy files"):
        files = generated_files(scale, work) if ogb is None else ogb_files(ogb, work)
    with dbgnn.connect(draft, memory_limit=memory_limit) as db:
        with timed("COPY"):
            load(db, files)
        with timed("topology index"):
            db.graph("papers100m").build()
        db.execute("CHECKPOINT")
    draft.replace(database)
    shutil.rmtree(work)


def load(db: dbgnn.Database, files: Files) -> None:
    """Run the schema's DDL and fill its tables."""

    def sql(path: Path) -> str:
        return "'" + str(path).replace("'", "''") + "'"

    db.execute(SCHEMA.read_text(encoding="utf-8"))
    db.execute(f"COPY paper FROM ({', '.join(map(sql, files.columns))}) BY COLUMN")
    db.execute(f"COPY cites FROM {sql(files.edge_index)}")
    for part, path in files.split.items():
        db.execute(f"INSERT INTO split SELECT column0, '{part}' FROM read_csv({sql(path)}, header = false)")


@contextmanager
def timed(what: str) -> Iterator[None]:
    """Print how long the block took."""
    start = time.perf_counter()
    yield
    print(f"{what}: {time.perf_counter() - start:.1f} s")


# -- the model ---------------------------------------------------------------------------------------------


class GraphSAGE(nn.Module):
    """GraphSAGE whose layers' inputs are added to their outputs (residual), and whose outputs all reach the end (inception).

    Args:
        features: Features of a node.
        hidden: Width of every layer; 1008 gives the article's 5.6 M parameters, the original's 1024 gives 5.76 M.
        classes: Classes.
        layers: As many as the sample has hops.
        dropout: Before the first and after every layer.
    """

    def __init__(self, features: int, hidden: int, classes: int, *, layers: int = 3, dropout: float = 0.2) -> None:
        super().__init__()
        widths = [features] + [hidden] * layers
        self.convs = nn.ModuleList(SAGEConv(width, hidden, bias=False) for width in widths[:-1])
        self.norms = nn.ModuleList(nn.BatchNorm1d(hidden) for _ in widths[:-1])
        self.residuals = nn.ModuleList(nn.Identity() if width == hidden else nn.Linear(width, hidden) for width in widths[:-1])
        self.mlp = nn.Sequential(
            nn.Linear(sum(widths), 2 * classes), nn.BatchNorm1d(2 * classes), nn.LeakyReLU(), nn.Linear(2 * classes, classes)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, edge_index: Tensor, nodes: list[int], edges: list[int]) -> Tensor:
        """Return the logits [seeds, classes] of the seed nodes.

        Nodes and edges of a sample are ordered by hop, so each layer computes only what the layers after it read.

        Args:
            x: Features [sum(nodes), features].
            edge_index: [2, sum(edges)], from source to destination.
            nodes: New nodes per hop; the seeds first.
            edges: Edges per hop.
        """
        x = self.dropout(x)
        outputs = [x[: nodes[0]]]
        for layer, (conv, norm, residual) in enumerate(zip(self.convs, self.norms, self.residuals, strict=True)):
            hops = len(self.convs) - layer
            target = x[: sum(nodes[:hops])]
            out = self.dropout(norm(conv((x, target), edge_index[:, : sum(edges[:hops])])).relu())
            outputs.append(out[: nodes[0]])
            x = out + residual(target)
        logits: Tensor = self.mlp(torch.cat(outputs, dim=1))
        return logits


def seeds_of(model: GraphSAGE, batch: Any) -> tuple[Tensor, Tensor]:
    """Return logits [seeds, classes] and labels [seeds] of the batch's seed nodes, which come first."""
    logits = model(batch.x, batch.edge_index, batch.num_sampled_nodes, batch.num_sampled_edges)
    return logits, batch.y[: batch.batch_size]


# -- training ----------------------------------------------------------------------------------------------


@dataclass
class Spent:
    """Seconds of all steps together, and the loss of each."""

    total: float = 0.0
    training: float = 0.0
    copying: float = 0.0
    losses: list[float] = field(default_factory=list)


def train(model: GraphSAGE, loader: dbgnn.NeighborLoader, device: torch.device, steps: int) -> Spent:
    """Train on ``steps`` mini-batches, epoch after epoch."""
    finish: Callable[[], None] = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    optimizer = torch.optim.Adam(model.parameters(), lr=0.003, weight_decay=5e-4)
    model.train()
    spent = Spent()
    start = time.perf_counter()
    for step, batch in enumerate(itertools.islice(itertools.chain.from_iterable(itertools.repeat(loader)), steps), start=1):
        copying = time.perf_counter()
        batch = batch.to(device, non_blocking=True)  # noqa: PLW2901 - the batch on the host is not needed any more
        finish()
        training = time.perf_counter()
        optimizer.zero_grad()
        loss = F.cross_entropy(*seeds_of(model, batch))
        loss.backward()
        optimizer.step()
        finish()
        spent.copying += training - copying
        spent.training += time.perf_counter() - training
        spent.losses.append(loss.item())
        if step % max(1, steps // 10) == 0:
            print(f"step {step:5d}  loss {spent.losses[-1]:.4f}  {batch.num_nodes:,} nodes, {batch.num_edges:,} edges")
    spent.total = time.perf_counter() - start
    return spent


@torch.no_grad()
def accuracy(model: GraphSAGE, loader: dbgnn.NeighborLoader, device: torch.device) -> float:
    """Return the share of the loader's seed nodes that the model gets right."""
    model.eval()
    right = []
    for batch in loader:
        logits, y = seeds_of(model, batch.to(device, non_blocking=True))
        right.append(logits.argmax(dim=1) == y)
    return torch.cat(right).float().mean().item()


def table(spent: Spent, total: Any) -> str:
    """Return the columns of Kùzu's table, seconds per step, from our clock and from the loader's statistics."""
    steps = len(spent.losses)
    columns = {
        "time per step (s)": spent.total / steps,
        "training (s)": spent.training / steps,
        "CPU-to-GPU copy (s)": spent.copying / steps,
        "in SQL (s)": (total.sampling + total.features) / steps,
        "of it sampling (s)": total.sampling / steps,
        "of it features (s)": total.features / steps,
        "waiting for batches (s)": total.waiting / steps,
        "memory (GiB)": total.peak_rss / 2**30,
    }
    cells = {name: f"{value:.3f}".rjust(len(name)) for name, value in columns.items()}
    rules = ["-" * (len(name) - 1) + ":" for name in columns]
    return "\n".join(f"| {' | '.join(line)} |" for line in (cells, rules, cells.values()))


def forget_peak() -> None:
    """Have the process's peak of memory start anew where Linux lets us, so that writing the database does not count."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def run(args: argparse.Namespace, database: Path) -> None:
    """Train on the database, then print what it cost."""
    torch.manual_seed(args.seed)
    device = torch.device(args.device)
    forget_peak()
    with dbgnn.connect(database, read_only=True, memory_limit=args.memory_limit) as db:
        stores = db.get_torch_geometric_remote_backend("papers100m", homogeneous=True, columns={"paper": ["x", "y"]})

        def loader(seeds: Array, *, shuffle: bool) -> dbgnn.NeighborLoader:
            given = {name: getattr(args, name) for name in ("plan", "super_batch", "prefetch", "cache_bytes")}
            return dbgnn.NeighborLoader(
                stores,
                num_neighbors=FAN_OUT,
                input_nodes=("paper", seeds),
                batch_size=args.batch_size,
                shuffle=shuffle,
                pin_memory=device.type == "cuda",
                seed=args.seed,
                **{name: value for name, value in given.items() if value is not None},
            )

        def part(name: str) -> Array:
            ids: Array = db.sql("SELECT id FROM split WHERE part = ? ORDER BY id", [name]).fetchnumpy()["id"]
            return ids

        train_loader = loader(part("train"), shuffle=True)
        model = GraphSAGE(FEATURES, args.hidden, CLASSES, layers=len(FAN_OUT)).to(device)
        print(f"{sum(p.numel() for p in model.parameters()):,} parameters on {device}, {len(train_loader):,} steps an epoch")
        spent = train(model, train_loader, device, args.steps or args.epochs * len(train_loader))

        print(f"\n{table(spent, train_loader.stats().total)}")
        print("Means over all steps. SQL runs while the model trains, so the columns need not add up.\n")
        print(train_loader.explain())
        few = np.random.default_rng(args.seed).permutation(part("valid"))[: VALIDATION_BATCHES * args.batch_size]
        print(f"\nvalidation accuracy {accuracy(model, loader(few, shuffle=False), device):.4f} on {len(few):,} papers")


def arguments() -> argparse.ArgumentParser:
    """Return the parser of the command line."""

    def number_or_word(text: str) -> int | str:
        return int(text) if text.isdecimal() else text

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dir", type=Path, nargs="?", help="OGB's folder papers100M-bin; default: a generated graph")
    parser.add_argument("--scale", type=Fraction, help="size of the generated graph, as a share of the real one (1/100)")
    parser.add_argument("--database", type=Path, help="DuckDB file to keep, and to use if it is there; default: temporary")
    parser.add_argument("--memory-limit", help="DuckDB's buffer memory, such as 4GB; default: DuckDB's own")
    parser.add_argument("--steps", type=int, help="mini-batches to train on, whatever --epochs says")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--batch-size", type=int, default=1152)
    parser.add_argument("--hidden", type=int, default=1008, help="width of the layers")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--seed", type=int, default=0)
    loading = parser.add_argument_group("arguments of dbgnn.NeighborLoader, whose own choice is the default")
    loading.add_argument("--plan", help="auto, join, shared or spooled")
    loading.add_argument("--super-batch", type=number_or_word, help="mini-batches sampled together")
    loading.add_argument("--prefetch", type=number_or_word, help="mini-batches that lie ready")
    loading.add_argument("--cache-bytes", type=number_or_word, help="memory for hot rows")
    return parser


def check(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """End with what to change if the arguments do not go together."""
    if args.dir is not None:
        if args.scale is not None:
            parser.error(f"--scale is for the generated graph; {args.dir} has its own size")
        if not (args.dir / "raw").is_dir() or not (args.dir / "split" / "time").is_dir():
            parser.error(f"{args.dir} has no folders raw and split/time; name OGB's folder papers100M-bin")
    elif args.scale is not None and not 0 < args.scale <= 1:
        parser.error(f"--scale {args.scale} is not above 0 and at most 1")


def main() -> None:
    """Read the arguments, write the database unless it is there, and run."""
    parser = arguments()
    args = parser.parse_args()
    check(parser, args)
    with tempfile.TemporaryDirectory() as folder:
        database: Path = args.database or Path(folder) / "papers100m.duckdb"
        there = database.exists()
        if not there:
            prepare(database, args.dir, args.scale or Fraction(1, 100), args.memory_limit)
        with dbgnn.connect(database, read_only=True) as db:
            [(papers,)] = db.sql("SELECT count(*) FROM paper").fetchall()
            [(citations,)] = db.sql("SELECT count(*) FROM cites").fetchall()
        if there and args.scale is not None and papers != max(CLASSES, round(PAPERS * args.scale)):
            parser.error(f"{database} holds {papers:,} papers, which is not --scale {args.scale}; name another file")
        print(f"{database}{' is there already' if there else ''}: {papers:,} papers, {citations:,} citations")
        run(args, database)


if __name__ == "__main__":
    main()
