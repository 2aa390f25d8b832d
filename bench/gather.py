"""Fetching features of random nodes: ``feature_store.get_tensor`` against ``x[ids]`` in memory and against Kùzu 0.3.2.

    python bench/gather.py --nodes 2000000 --dim 128 --rows 100000 300000
    python bench/gather.py --dtypes
    python bench/gather.py --beside

With ``--dtypes``, the same rows kept as float32, as float16, and as 8-bit codes, which come back as float32.
With ``--beside``, a column of a table with a primary key, and the same values as `graph.encode` keeps them beside it.

All sides take turns in one run, so that other load on the machine meets each of them, and every result goes into a
fresh tensor. Kùzu runs in an interpreter of its own (``make bench-peers``), and its turns are timed there.
"""

from __future__ import annotations

import argparse
import contextlib
import platform
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import torch
import torch_geometric

import dbgnn
from graphs import feature_chunks, write
from peer import Peer

#: Runs in Kùzu's interpreter: loads the npy files, then answers every line (a file of ids) with seconds.
KUZU_SIDE = """
import importlib.metadata, json, os, sys, time
import kuzu, numpy as np, torch
from torch_geometric.data import TensorAttr
folder, dim = sys.argv[1], int(sys.argv[2])
path = os.path.join(folder, "kuzu")
made = os.path.exists(path)
db = kuzu.Database(path)
con = kuzu.Connection(db)
if not made:
    con.execute(f"CREATE NODE TABLE paper(id INT64, x FLOAT[{dim}], PRIMARY KEY(id))")
    con.execute(f'COPY paper FROM ("{folder}/ids.npy", "{folder}/x.npy") BY COLUMN')
fs, _ = db.get_torch_geometric_remote_backend()
print(json.dumps({"kuzu": importlib.metadata.version("kuzu")}), flush=True)
for line in sys.stdin:
    ids = torch.from_numpy(np.load(line.strip()))
    start = time.perf_counter()
    got = fs.get_tensor(TensorAttr("paper", "x", ids))
    answer = {"seconds": time.perf_counter() - start, "shape": list(got.shape)}
    del got
    print(json.dumps(answer), flush=True)
"""


def kuzu_seconds(kuzu: Peer, ids_file: Path, shape: list[int]) -> float:
    """Return how long Kùzu's get_tensor took for the ids in a file."""
    answer = kuzu.ask(str(ids_file))
    assert answer["shape"] == shape, answer
    return float(answer["seconds"])


def timed(call: Callable[[], torch.Tensor]) -> tuple[float, torch.Tensor]:
    """Return the seconds a call took, and its result."""
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result


@contextlib.contextmanager
def work_folder(given: Path | None) -> Iterator[Path]:
    """Return the folder given, kept for the next run, or a temporary one."""
    if given is not None:
        given.mkdir(parents=True, exist_ok=True)
        yield given
        return
    with tempfile.TemporaryDirectory(prefix="dbgnn-gather-") as folder:
        yield Path(folder)


def main() -> None:
    """Build what is missing, then measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=2_000_000)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 300_000])
    parser.add_argument("--repeat", type=int, default=11, help="turns of every side")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--memory-limit", help="DuckDB's memory_limit (default: DuckDB's own)")
    parser.add_argument("--threads", type=int, help="DuckDB's threads (default: one per core); torch keeps its own default")
    parser.add_argument("--folder", type=Path, help="keep the files here and reuse them (default: a temporary folder)")
    parser.add_argument("--dtypes", action="store_true", help="compare float32 with float16 and 8-bit codes instead")
    parser.add_argument("--beside", action="store_true", help="compare a column with an encoded one beside its table instead")
    parser.add_argument("--kuzu-python", type=Path, default=Path(".venv-kuzu/bin/python"))
    args = parser.parse_args()
    with work_folder(args.folder) as folder:
        measure(args, folder)


def measure(args: argparse.Namespace, folder: Path) -> None:
    """Print the medians and ratios of every number of rows."""
    path = folder / f"gather-{args.nodes}-{args.dim}-{args.seed}.duckdb"
    if not path.exists():
        write(path, nodes=args.nodes, edges=1, dim=args.dim, seed=args.seed)
    x = torch.empty(args.nodes, args.dim)
    start = 0
    for chunk in feature_chunks(args.nodes, args.dim, args.seed):
        x[start : start + len(chunk)] = torch.from_numpy(chunk)
        start += len(chunk)
    kuzu = None
    if not (args.dtypes or args.beside) and args.kuzu_python.exists():
        if not (folder / "kuzu").exists():
            np.save(folder / "ids.npy", np.arange(args.nodes))
            np.save(folder / "x.npy", x.numpy())
        kuzu = Peer(args.kuzu_python.absolute(), KUZU_SIDE, folder.absolute(), args.dim)
    elif not (args.dtypes or args.beside):
        print(f"Kùzu is left out: there is no {args.kuzu_python} (make bench-peers makes it).")
    with dbgnn.connect(path, read_only=False, memory_limit=args.memory_limit, threads=args.threads) as db:
        store, _ = db.get_torch_geometric_remote_backend("papers")
        limit, threads = db.sql("SELECT current_setting('memory_limit'), current_setting('threads')").fetchall()[0]
        release = "-" if kuzu is None else kuzu.first["kuzu"]
        print(
            f"dbgnn {dbgnn.__version__}, DuckDB {duckdb.__version__}, PyArrow {pa.__version__}, torch {torch.__version__} "
            f"({torch.get_num_threads()} threads), PyG {torch_geometric.__version__}, Kùzu {release}, "
            f"Python {platform.python_version()}"
        )
        print(
            f"{args.nodes:,} nodes x FLOAT[{args.dim}]; memory_limit {limit}, {threads} DuckDB threads; medians of "
            f"{args.repeat} turns, ms"
        )
        rng = np.random.default_rng(args.seed + 1)
        if args.dtypes:
            add_dtypes(db, store, x)
        if args.beside:
            store = add_beside(db, args.dim)
        for count in args.rows:
            if args.dtypes or args.beside:
                turns_of_sides(SIDES if args.dtypes else BESIDE, args, rng, count, x, store)
            else:
                turns(args, folder, rng, count, x, store, kuzu)
    if kuzu is not None:
        kuzu.close()


#: What ``--dtypes`` fetches: a name, node type and attribute.
SIDES = [("float32", "paper", "x"), ("float16", "half", "x"), ("8-bit codes", "paper", "codes")]

#: What ``--beside`` fetches.
BESIDE = [("column", "keyed", "x"), ("beside", "keyed", "beside")]


def add_dtypes(db: dbgnn.Database, store: Any, x: torch.Tensor) -> None:
    """Keep the features as float16, in a table of their own, and as codes, in a column beside; what is there is kept."""
    graph = db.graph("papers")
    if "half" not in {vertex.label for vertex in graph.definition.vertices}:
        store["half", "x", None] = x.half()
    if store.get_tensor_size(group_name="paper", attr_name="codes", index=None) is None:
        db.graph("papers").encode("paper", "codes", dbgnn.Quantize("x"))


def add_beside(db: dbgnn.Database, dim: int) -> Any:
    """Keep the features in a table with a primary key, and beside it, unless they are there; return the feature store."""
    if "keyed" not in {name for (name,) in db.sql("SELECT table_name FROM duckdb_tables()").fetchall()}:
        db.execute("SET force_compression = 'uncompressed'")
        db.execute(f"CREATE TABLE keyed (id BIGINT PRIMARY KEY, x FLOAT[{dim}])")
        db.execute("INSERT INTO keyed SELECT id, x FROM paper ORDER BY id ASC")
        db.execute("CHECKPOINT")
        db.execute("SET force_compression = 'auto'")
        db.execute("CREATE PROPERTY GRAPH keyed VERTEX TABLES (keyed KEY (id))")
        db.graph("keyed").encode("keyed", "beside", dbgnn.Identity("x"))
    return db.get_torch_geometric_remote_backend("keyed")[0]


def turns_of_sides(
    sides: list[tuple[str, str, str]],
    args: argparse.Namespace,
    rng: np.random.Generator,
    count: int,
    x: torch.Tensor,
    store: Any,
) -> None:
    """Let all sides fetch the same rows in turn, new ones every turn, and print one line of time and of CPU time."""
    wall: dict[str, list[float]] = {name: [] for name, *_ in sides}
    cpu: dict[str, list[float]] = {name: [] for name, *_ in sides}
    for turn in range(args.repeat + 3):
        ids = torch.from_numpy(rng.choice(args.nodes, count, replace=False))
        for name, group, attr in sides[turn % len(sides) :] + sides[: turn % len(sides)]:
            before = time.process_time()
            seconds, result = timed(partial(store.get_tensor, group, attr, ids))
            if turn >= 3:
                wall[name].append(seconds)
                cpu[name].append(time.process_time() - before)
            some = slice(None, None, max(1, count // 1000))
            want = x[ids[some]]
            bound = {"float16": 4e-3, "8-bit codes": float((want.amax(1) - want.amin(1)).max()) / 500}.get(name, 0.0)
            assert (result[some].float() - want).abs().max() <= bound
            del result
    for what, seconds_of in (("time", wall), ("CPU time", cpu)):
        ms = {name: float(np.median(seconds)) * 1e3 for name, seconds in seconds_of.items()}
        cells = [f"{name} {value:7.1f} ({value / ms[sides[0][0]]:.2f} ×)" for name, value in ms.items()]
        print(f"{count:>9,} rows, {what:>8}: {'   '.join(cells)}", flush=True)


def turns(
    args: argparse.Namespace, folder: Path, rng: np.random.Generator, count: int, x: torch.Tensor, store: Any, kuzu: Peer | None
) -> None:
    """Let all sides fetch the same rows in turn, new ones every turn, and print one line."""
    names = ["dbgnn", "x[ids]", *(["Kùzu"] if kuzu is not None else [])]
    times: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(args.repeat + 3):
        ids = torch.from_numpy(rng.choice(args.nodes, count, replace=False))  # as the nodes of a mini-batch are
        np.save(folder / "request.npy", ids.numpy())
        checks = []
        for name in names[turn % len(names) :] + names[: turn % len(names)]:  # another side begins every turn
            if name == "Kùzu":
                assert kuzu is not None
                seconds = kuzu_seconds(kuzu, folder / "request.npy", [count, args.dim])
            else:
                fetch = (lambda ids=ids: store.get_tensor("paper", "x", ids)) if name == "dbgnn" else (lambda ids=ids: x[ids])
                seconds, result = timed(fetch)
                checks.append(result[:: max(1, count // 1000)].clone())
                del result
            if turn >= 3:  # the first turns warm the caches of every side
                times[name].append(seconds)
        assert torch.equal(*checks)
    ms = {name: float(np.median(seconds)) * 1e3 for name, seconds in times.items()}
    line = f"{count:>9,} rows: dbgnn {ms['dbgnn']:7.1f}   x[ids] {ms['x[ids]']:7.1f}   ratio {ms['dbgnn'] / ms['x[ids]']:.2f}"
    if kuzu is not None:
        line += f"   Kùzu {ms['Kùzu']:7.1f}   ratio {ms['dbgnn'] / ms['Kùzu']:.2f}"
    print(line, flush=True)


if __name__ == "__main__":
    main()
