"""COPY of an npy feature matrix against DuckDB's own INSERT of the same rows from an Arrow table in memory.

    python bench/ingest.py --nodes 2000000 --dim 128

Every way gets a fresh file in every round, and they take turns within a round, so that what else the machine
does meets all of them. Each is timed until the rows are committed and checkpointed. COPY reads the npy file from
the page cache if it fits there (it was just written); INSERT has its rows in memory already. COPY stores
uncompressed; INSERT is measured with the same setting (the one to compare with) and as DuckDB does by default.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

import dbgnn
from dbgnn.ingest import parse_copy, run_copy

#: The most that COPY may take, as a multiple of the uncompressed INSERT.
TARGET = 1.5

#: Rows written to the npy files at a time.
CHUNK = 100_000

Load = Callable[[duckdb.DuckDBPyConnection], object]


def write_npy(folder: Path, nodes: int, dim: int) -> None:
    """Write ``ids.npy`` [nodes] int64 and ``x.npy`` [nodes, dim] float32 of normal values."""
    np.save(folder / "ids.npy", np.arange(nodes))
    rng = np.random.default_rng(0)
    x = np.lib.format.open_memmap(folder / "x.npy", mode="w+", dtype=np.float32, shape=(nodes, dim))
    for start in range(0, nodes, CHUNK):
        x[start : start + CHUNK] = rng.standard_normal((min(CHUNK, nodes - start), dim), dtype=np.float32)
    x.flush()


def read_arrow(folder: Path, dim: int) -> pa.Table:
    """Read both files into memory as an Arrow table (id, x)."""
    values = pa.array(np.load(folder / "x.npy").reshape(-1))
    return pa.table({"id": np.load(folder / "ids.npy"), "x": pa.FixedSizeListArray.from_arrays(values, dim)})


def copy_npy(folder: Path) -> Load:
    """Return what runs our COPY of the two files."""
    statement = parse_copy(f"COPY paper FROM ('{folder}/ids.npy', '{folder}/x.npy') BY COLUMN")
    assert statement is not None
    return lambda con: run_copy(con, statement, progress=False)


def insert_arrow(table: pa.Table, compression: str) -> Load:
    """Return what runs DuckDB's own INSERT of the table."""

    def run(con: duckdb.DuckDBPyConnection) -> None:
        con.execute(f"SET force_compression = '{compression}'")
        con.register("arrow_rows", table)
        con.execute("INSERT INTO paper SELECT id, x FROM arrow_rows").fetchall()
        con.unregister("arrow_rows")
        con.execute("CHECKPOINT")

    return run


def measure(file: Path, dim: int, load: Load) -> tuple[float, int]:
    """Run ``load`` on a fresh file; return seconds, and how many rows arrived in order."""
    file.unlink(missing_ok=True)
    with duckdb.connect(str(file)) as con:
        con.execute(f"CREATE TABLE paper (id BIGINT, x FLOAT[{dim}])")
        start = time.perf_counter()
        load(con)
        seconds = time.perf_counter() - start
        [(in_order,)] = con.execute("SELECT count(*) FROM paper WHERE id = rowid").fetchall()
    file.unlink()
    return seconds, int(in_order)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--nodes", type=int, default=2_000_000)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where the files go while it runs (default: the temporary folder)")
    args = parser.parse_args()

    with duckdb.connect() as con:
        [(limit, threads)] = con.execute("SELECT current_setting('memory_limit'), current_setting('threads')").fetchall()
    print(f"dbgnn {dbgnn.__version__}, duckdb {duckdb.__version__}, pyarrow {pa.__version__}, numpy {np.__version__}")
    print(f"{args.nodes:,} rows of (BIGINT, FLOAT[{args.dim}]), memory_limit {limit}, {threads} threads, {args.rounds} rounds")

    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        folder = Path(name)
        write_npy(folder, args.nodes, args.dim)
        table = read_arrow(folder, args.dim)
        ours, peer = "COPY npy", "INSERT from Arrow, uncompressed"
        ways = {
            ours: copy_npy(folder),
            peer: insert_arrow(table, "uncompressed"),
            "INSERT from Arrow, default": insert_arrow(table, "auto"),
        }
        seconds: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(args.rounds):
            for way, load in ways.items():
                taken, in_order = measure(folder / "bench.db", args.dim, load)
                assert in_order == args.nodes, f"{way}: {in_order:,} of {args.nodes:,} rows in order"
                seconds[way].append(taken)

    megabytes = args.nodes * (args.dim * 4 + 8) / 1e6
    medians = {way: statistics.median(taken) for way, taken in seconds.items()}
    for way, median in medians.items():
        each = " ".join(f"{t:.2f}" for t in seconds[way])
        print(f"{way:32} median {median:6.2f} s, {megabytes / median:6.0f} MB/s, x {median / medians[peer]:.2f}  ({each})")
    ratio = medians[ours] / medians[peer]
    print(f"COPY / INSERT = {ratio:.2f} (target: at most {TARGET}): {'met' if ratio <= TARGET else 'MISSED'}")


if __name__ == "__main__":
    main()
