"""Synthetic graphs for the benchmarks: uniform and power-law (R-MAT) edges, as a DuckDB file or as npy files.

Memory is bounded by the chunk size, whatever the size of the graph. The same arguments give the same graph.
Nothing here measures anything.

R-MAT: Chakrabarti, Zhan and Faloutsos, "R-MAT: A Recursive Model for Graph Mining", SDM 2004, with the
parameters of Graph500.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

import dbgnn
from dbgnn.schema.packed import layout, packed_type

Kind = Literal["uniform", "rmat"]
Edges = npt.NDArray[np.int64]
Rows = npt.NDArray[np.float32]

#: Edges made at a time. Part of what a seed means: another chunk size is another graph.
CHUNK = 1 << 20
#: Feature values made at a time (256 MB of float32).
VALUES = 1 << 26

#: Graph500's probabilities that an edge lies in the upper left, upper right and lower left quarter.
A, B, C = 0.57, 0.19, 0.19


def uniform(num_nodes: int, num_edges: int, seed: int = 0) -> Iterator[Edges]:
    """Yield chunks ``[2, n]`` (int64; row 0 sources, row 1 destinations) of edges drawn uniformly, with replacement."""
    rng = np.random.default_rng((seed, 1))
    for n in _chunks(num_edges, CHUNK):
        yield rng.integers(0, num_nodes, (2, n), dtype=np.int64)


def rmat(num_nodes: int, num_edges: int, seed: int = 0) -> Iterator[Edges]:
    """Yield chunks ``[2, n]`` (int64; row 0 sources, row 1 destinations) of a power-law graph.

    Self loops and parallel edges are kept. An endpoint beyond ``num_nodes`` (which need not be a power of two)
    is drawn again. R-MAT piles its hubs up at the low ids; an affine permutation spreads them, as
    Graph500's shuffle does, without an array of ``num_nodes``.
    """
    rng = np.random.default_rng((seed, 2))
    levels = max(1, math.ceil(math.log2(num_nodes)))
    factor = _coprime(num_nodes)
    for n in _chunks(num_edges, CHUNK):
        parts: list[Edges] = []
        missing = n
        while missing:
            drawn = _rmat_draw(rng, levels, missing + missing // 4 + 16)
            drawn = drawn[:, (drawn < num_nodes).all(axis=0)][:, :missing]
            parts.append(drawn)
            missing -= drawn.shape[1]
        yield (np.concatenate(parts, axis=1) * factor + num_nodes // 3) % num_nodes


def _rmat_draw(rng: np.random.Generator, levels: int, n: int) -> Edges:
    """Return ``[2, n]`` endpoints below ``2**levels``: one quarter of the matrix chosen per level."""
    edges = np.zeros((2, n), dtype=np.int64)
    for _ in range(levels):
        quarter = rng.random(n, dtype=np.float32)
        lower = quarter >= A + B
        right = ((quarter >= A) & ~lower) | (quarter >= A + B + C)
        edges[0] = edges[0] * 2 + lower
        edges[1] = edges[1] * 2 + right
    return edges


def _coprime(n: int) -> int:
    """Return a factor near the golden section of ``n`` that is coprime to it; below 2**31, so that products fit int64."""
    factor = min(max(1, int(n * 0.6180339887)), 2**31 - 1)
    while math.gcd(factor, n) != 1:
        factor -= 1
    return factor


def _chunks(total: int, size: int) -> Iterator[int]:
    for start in range(0, total, size):
        yield min(size, total - start)


def edge_chunks(kind: Kind, num_nodes: int, num_edges: int, seed: int = 0) -> Iterator[Edges]:
    """Yield the chunks of :func:`uniform` or :func:`rmat`, by name."""
    return (uniform if kind == "uniform" else rmat)(num_nodes, num_edges, seed)


def feature_chunks(num_nodes: int, dim: int, seed: int = 0) -> Iterator[Rows]:
    """Yield chunks ``[n, dim]`` (float32, standard normal) that make up ``num_nodes`` rows."""
    rng = np.random.default_rng((seed, 3))
    for n in _chunks(num_nodes, max(1, VALUES // max(1, dim))):
        yield rng.standard_normal((n, dim), dtype=np.float32)


def write(
    path: str | Path, *, nodes: int, edges: int, dim: int, kind: Kind = "uniform", seed: int = 0, half: bool = False
) -> None:
    """Write a DuckDB file: tables ``paper(id BIGINT, x FLOAT[dim])`` and ``cites(src BIGINT, dst BIGINT)``, graph ``papers``.

    With ``half``, the features are float16.

    Ids are 0 … nodes - 1 in table order; features are stored uncompressed. The file must not exist.
    """
    if Path(path).exists():
        raise FileExistsError(f"{path} exists; the generator writes new files only.")
    with dbgnn.connect(path) as db:
        db.execute(f"CREATE TABLE paper (id BIGINT, x {packed_type('float16', (dim,)) if half else f'FLOAT[{dim}]'})")
        db.execute("CREATE TABLE cites (src BIGINT, dst BIGINT)")
        # DuckDB would choose ALPRD for the arrays: a tenth smaller and three times slower to gather.
        db.execute("SET force_compression = 'uncompressed'")
        _insert(db.connection, "paper", _paper_batches(nodes, dim, seed, half=half))
        db.execute("CHECKPOINT")
        db.execute("SET force_compression = 'auto'")
        _insert(db.connection, "cites", _cites_batches(kind, nodes, edges, seed))
        db.execute("CHECKPOINT")
        db.execute("""
            CREATE PROPERTY GRAPH papers
              VERTEX TABLES (paper KEY (id))
              EDGE TABLES   (cites SOURCE KEY (src) REFERENCES paper (id)
                                   DESTINATION KEY (dst) REFERENCES paper (id) NO PROPERTIES)
        """)


def _insert(connection: duckdb.DuckDBPyConnection, table: Literal["paper", "cites"], batches: Iterator[pa.RecordBatch]) -> None:
    first = next(batches, None)
    if first is None:
        return

    def all_batches() -> Iterator[pa.RecordBatch]:
        yield first
        yield from batches

    connection.register("batches", pa.RecordBatchReader.from_batches(first.schema, all_batches()))
    connection.execute(f"INSERT INTO {table} SELECT * FROM batches")
    connection.unregister("batches")


def _paper_batches(nodes: int, dim: int, seed: int, *, half: bool) -> Iterator[pa.RecordBatch]:
    start = 0
    for rows in feature_chunks(nodes, dim, seed):
        ids = np.arange(start, start + len(rows), dtype=np.int64)
        x: pa.Array = pa.FixedSizeListArray.from_arrays(pa.array(rows.reshape(-1)), dim)
        if half:
            form, width, (size,) = layout(packed_type("float16", (dim,)))
            words = pa.array(rows.astype(np.float16).reshape(-1).view(f"u{width}"))
            x = pa.StructArray.from_arrays([pa.FixedSizeListArray.from_arrays(words, size)], [form])
        yield pa.RecordBatch.from_arrays([pa.array(ids), x], names=["id", "x"])
        start += len(rows)


def _cites_batches(kind: Kind, nodes: int, edges: int, seed: int) -> Iterator[pa.RecordBatch]:
    for chunk in edge_chunks(kind, nodes, edges, seed):
        yield pa.RecordBatch.from_arrays([pa.array(chunk[0]), pa.array(chunk[1])], names=["src", "dst"])


def write_npy(folder: str | Path, *, nodes: int, edges: int, dim: int, kind: Kind = "uniform", seed: int = 0) -> None:
    """Write the graph of :func:`write` as ``ids.npy`` [N], ``x.npy`` [N, dim] and ``edge_index.npy`` [2, E] into ``folder``."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "ids.npy", np.arange(nodes, dtype=np.int64))
    x = np.lib.format.open_memmap(folder / "x.npy", mode="w+", dtype=np.float32, shape=(nodes, dim))
    start = 0
    for rows in feature_chunks(nodes, dim, seed):
        x[start : start + len(rows)] = rows
        start += len(rows)
    x.flush()
    edge_index = np.lib.format.open_memmap(folder / "edge_index.npy", mode="w+", dtype=np.int64, shape=(2, edges))
    start = 0
    for chunk in edge_chunks(kind, nodes, edges, seed):
        edge_index[:, start : start + chunk.shape[1]] = chunk
        start += chunk.shape[1]
    edge_index.flush()


def main() -> None:
    """Write a graph from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", type=Path, help="a DuckDB file to write, or with --npy a folder")
    parser.add_argument("--nodes", type=int, default=2_000_000)
    parser.add_argument("--edges", type=int, default=20_000_000)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--kind", choices=["uniform", "rmat"], default="uniform")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--npy", action="store_true", help="write npy files instead of a DuckDB file")
    args = parser.parse_args()
    (write_npy if args.npy else write)(
        args.path, nodes=args.nodes, edges=args.edges, dim=args.dim, kind=args.kind, seed=args.seed
    )


if __name__ == "__main__":
    main()
