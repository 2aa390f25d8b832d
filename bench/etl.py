"""From SQL to a `HeteroData` in memory: `query_to_heterodata` and `graph.to_heterodata` against Arrow tables and Kùzu 0.3.2.

    python bench/etl.py --nodes 20000 --edges 200000 --dim 128
    python bench/etl.py --nodes 2000000 --edges 20000000 --dim 128 --limits default 0.25

First the times: all sides take turns in one process over one file that DuckDB has in its buffers. *Arrow* is
`to_arrow_table()` of the same columns and one `np.argsort` of the edges' destinations. Kùzu's `get_as_torch_geometric` runs
in an interpreter of its own (``make bench-peers``) on the same nodes and edges, and only up to ``--kuzu-edges`` edges, since
it takes minutes beyond.

Then the memory: every row is a process of its own that reads once with empty buffers of DuckDB and, where the system can be
asked for it, an empty page cache, and once more. Its peak is all that it ever had resident, DuckDB's buffers too, less what it
had before the first call.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import importlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

import dbgnn
from graphs import edge_chunks, feature_chunks, write
from peer import Peer
from report import bytes_of, table, versions
from usage import peak_rss

CITES = ("paper", "cites", "paper")

#: A memory_limit below which DuckDB can hardly run anything.
LEAST = 64_000_000

#: Runs in Kùzu's interpreter: loads the files, then answers every line with seconds and what came.
KUZU_SIDE = """
import importlib.metadata, json, os, sys, time, warnings
import kuzu
warnings.simplefilter("ignore")  # it warns of the properties that it leaves out; they are looked for below
folder, dim = sys.argv[1], int(sys.argv[2])
path = os.path.join(folder, "kuzu")
made = os.path.exists(path)
con = kuzu.Connection(kuzu.Database(path))
if not made:
    con.execute(f"CREATE NODE TABLE paper(id INT64, x FLOAT[{dim}], PRIMARY KEY(id))")
    con.execute("CREATE REL TABLE cites(FROM paper TO paper)")
    con.execute(f'COPY paper FROM ("{folder}/ids.npy", "{folder}/x.npy") BY COLUMN')
    con.execute(f'COPY cites FROM "{folder}/cites.parquet"')
print(json.dumps({"kuzu": importlib.metadata.version("kuzu")}), flush=True)
for line in sys.stdin:
    start = time.perf_counter()
    data = con.execute("MATCH (a:paper)-[r:cites]->(b:paper) RETURN a, r, b").get_as_torch_geometric()[0]
    answer = {"seconds": time.perf_counter() - start, "edges": data.num_edges, "x": "x" in data}
    print(json.dumps(answer), flush=True)
"""


def forms(db: dbgnn.Database) -> dict[str, Callable[[], Any]]:
    """Return what is measured, by name."""
    nodes, edges = "SELECT id, x FROM paper", "SELECT src, dst FROM cites"

    def arrow() -> object:
        tables = [db.sql(query).to_arrow_table() for query in (nodes, edges)]
        return tables, np.argsort(tables[1].column("dst").to_numpy())

    return {
        "by type": lambda: dbgnn.query_to_heterodata(db, nodes={"paper": nodes}, edges={CITES: edges}, progress=False),
        "by graph": lambda: db.graph("papers").to_heterodata(keys=True, progress=False),
        "Arrow": arrow,
    }


def tensor_bytes(data: Any) -> int:
    """Return the bytes of all tensors of a result."""
    return sum(value.nbytes for store in data.stores for value in store.values() if isinstance(value, torch.Tensor))


@contextlib.contextmanager
def files(args: argparse.Namespace) -> Iterator[tuple[Path, Path]]:
    """Return the folder and the graph in it, made if absent; in a temporary folder unless one is given."""
    with contextlib.ExitStack() as stack:
        folder = args.folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dbgnn-etl-")))
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"etl-{args.kind}-{args.nodes}-{args.edges}-{args.dim}-{args.seed}.duckdb"
        if not path.exists():
            write(path, nodes=args.nodes, edges=args.edges, dim=args.dim, kind=args.kind, seed=args.seed)
        yield folder.absolute(), path.absolute()


def kuzu_side(args: argparse.Namespace, folder: Path) -> Peer | str:
    """Return Kùzu with the same graph, or why it is left out."""
    if not args.kuzu_python.exists():
        return f"there is no {args.kuzu_python} (make bench-peers makes it)"
    if args.edges > args.kuzu_edges:
        return f"it takes minutes for more than {args.kuzu_edges:,} edges (--kuzu-edges)"
    own = folder / f"kuzu-{args.kind}-{args.nodes}-{args.edges}-{args.dim}-{args.seed}"
    if not own.exists():
        own.mkdir()
        np.save(own / "ids.npy", np.arange(args.nodes))
        np.save(own / "x.npy", np.concatenate(list(feature_chunks(args.nodes, args.dim, args.seed))))
        ends = np.concatenate(list(edge_chunks(args.kind, args.nodes, args.edges, args.seed)), axis=1)
        pq.write_table(pa.table({"src": ends[0], "dst": ends[1]}), own / "cites.parquet")
    return Peer(args.kuzu_python.absolute(), KUZU_SIDE, own, args.dim)


def times(args: argparse.Namespace, folder: Path, path: Path) -> None:
    """Print the medians of all sides, which take turns."""
    kuzu = kuzu_side(args, folder)
    with dbgnn.connect(path, read_only=True, memory_limit=args.memory_limit, threads=args.threads, progress=False) as db:
        limit, threads = db.sql("SELECT current_setting('memory_limit'), current_setting('threads')").fetchall()[0]
        print(f"memory_limit {limit}, {threads} DuckDB threads; medians (least) of {args.repeat} turns, buffers warm\n")
        calls = forms(db)
        seconds: dict[str, list[float]] = {name: [] for name in (*calls, *(["Kùzu"] if isinstance(kuzu, Peer) else []))}
        answer: dict[str, Any] = {}
        checked = False
        for turn in range(args.repeat + 1):  # the first one warms the buffers
            for name, call in calls.items():
                gc.collect()
                start = time.perf_counter()
                result = call()
                took = time.perf_counter() - start
                seconds[name] += [took] if turn else []
                if not checked and name != "Arrow":
                    assert result["paper"].x.shape == (args.nodes, args.dim), result
                    assert result[CITES].edge_index.shape == (2, args.edges), result
                del result
            checked = True
            if isinstance(kuzu, Peer):
                answer = kuzu.ask()
                seconds["Kùzu"] += [answer["seconds"]] if turn else []
    print(times_table(seconds))
    if isinstance(kuzu, Peer):
        print(
            f"\nKùzu {kuzu.first['kuzu']} gave {answer['edges']:,} of the {args.edges:,} edges (it merges parallel ones), "
            f"{'with' if answer['x'] else 'without'} the features."
        )
        kuzu.close()
    else:
        print(f"\nKùzu is left out: {kuzu}.")


def times_table(seconds: dict[str, list[float]]) -> str:
    """Return the table of times and ratios."""
    median = {name: float(np.median(values)) for name, values in seconds.items()}
    lines = []
    for name, values in seconds.items():
        peer = f"{median['Kùzu'] / median[name]:.0f}" if "Kùzu" in median and name != "Kùzu" else ""
        lines.append(
            [name, f"{median[name] * 1e3:.1f} ({min(values) * 1e3:.1f})", f"{median[name] / median['Arrow']:.2f}", peer]
        )
    return table(["", "ms", "÷ Arrow", "Kùzu ÷ this"], lines)


def memory(args: argparse.Namespace, path: Path) -> None:
    """Print the peak memory of every form, at every limit, each in a process of its own."""
    lines = []
    for text in args.limits:
        share = text.replace(".", "", 1).isdigit()
        limit = None if text == "default" else int(float(text) * args.nodes * args.dim * 4) if share else bytes_of(text)
        if limit is not None and limit < LEAST:
            print(f"memory_limit {text} is left out: DuckDB wants more than {limit / 1e6:.1f} MB.\n")
            continue
        for form in (f"by {name}" for name in args.forms):
            task = {"form": form, "path": str(path), "memory_limit": limit, "threads": args.threads}
            done = subprocess.run(
                [sys.executable, __file__, "--apart", json.dumps(task)], capture_output=True, text=True, check=False
            )
            if done.returncode:
                said = [line for line in done.stderr.splitlines() if re.match(r"[\w.]*(Error|Exception)\b", line)]
                lines.append([form, text, said[-1][:300] if said else f"ended with exit code {done.returncode}", *[""] * 4])
                continue
            found = json.loads(done.stdout.splitlines()[-1])
            size = found["size"]
            lines.append(
                [
                    form,
                    "default" if limit is None else f"{limit / 1e6:,.0f} MB",
                    f"{found['first'] * 1e3:,.0f}",
                    f"{found['second'] * 1e3:,.0f}",
                    f"{size / 1e6:,.1f}",
                    f"{found['peak'] / 1e6:,.1f} ({found['peak'] / size:.2f})",
                    f"{found['peak_second'] / 1e6:,.1f} ({found['peak_second'] / size:.2f})",
                ]
            )
    print(table(["", "memory_limit", "cold (ms)", "again (ms)", "result (MB)", "peak, cold (× result)", "peak, again"], lines))


def apart(task: dict[str, Any]) -> None:
    """Read twice in this process, and print what it took as JSON."""
    importlib.import_module("torch_geometric.data")  # imported before memory is looked at
    warm_up = dbgnn.connect()  # and so is what the first call of all imports, or DuckDB takes for itself
    warm_up.execute("CREATE TABLE n (id BIGINT)")
    dbgnn.query_to_heterodata(warm_up, nodes={"n": "FROM n"}, progress=False)
    warm_up.close()
    drop_cached(task["path"])
    path, limit, threads = task["path"], task["memory_limit"], task["threads"]
    with dbgnn.connect(path, read_only=True, memory_limit=limit, threads=threads, progress=False) as db:
        call = forms(db)[task["form"]]
        baseline = peak_rss()
        found: dict[str, float] = {}
        for seconds, peak in (("first", "peak"), ("second", "peak_second")):
            start = time.perf_counter()
            data = call()
            found[seconds], found[peak] = time.perf_counter() - start, peak_rss() - baseline
            found["size"] = tensor_bytes(data)
            del data
            gc.collect()
    print(json.dumps(found))


def drop_cached(path: str) -> None:
    """Ask the system to forget what it has read of a file, where it can be asked."""
    if hasattr(os, "posix_fadvise"):
        with open(path, "rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def main() -> None:
    """Build what is missing, then measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=2_000_000)
    parser.add_argument("--edges", type=int, default=20_000_000)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--kind", choices=["uniform", "rmat"], default="uniform")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--repeat", type=int, default=5, help="turns of every side")
    parser.add_argument("--memory-limit", help="DuckDB's memory_limit while times are taken (default: DuckDB's own)")
    parser.add_argument("--limits", nargs="*", default=["default", "0.25"], metavar="LIMIT",
                        help="memory limits to measure memory at: 'default', a size, or a share of the features")  # fmt: skip
    parser.add_argument(
        "--forms", nargs="+", choices=["type", "graph"], default=["type", "graph"], help="what memory is measured of"
    )
    parser.add_argument("--threads", type=int, help="DuckDB's threads (default: one per core)")
    parser.add_argument("--folder", type=Path, help="keep the files here and reuse them (default: a temporary folder)")
    parser.add_argument("--kuzu-python", type=Path, default=Path(".venv-kuzu/bin/python"))
    parser.add_argument("--kuzu-edges", type=int, default=1_000_000, help="with more edges Kùzu is left out")
    parser.add_argument("--apart", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.apart is not None:
        apart(json.loads(args.apart))
        return
    with files(args) as (folder, path):
        print(f"{versions()}, PyArrow {pa.__version__}, {torch.get_num_threads()} torch threads")
        size = args.nodes * (args.dim * 4 + 8) + args.edges * 16
        print(
            f"{args.nodes:,} nodes × FLOAT[{args.dim}], {args.edges:,} {args.kind} edges; the result has {size / 1e6:,.1f} MB\n"
        )
        times(args, folder, path)
        print()
        memory(args, path)


if __name__ == "__main__":
    main()
