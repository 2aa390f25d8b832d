"""Adjacency lists from a stream of sorted edges: ``list()`` does not spill to disk, and takes twice as long."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa


def cut_into_lists(batches: Iterator[pa.RecordBatch]) -> Iterator[tuple[pa.Table, int]]:
    """Cut a stream whose first column is the sorted destination into one row per destination.

    Args:
        batches: Columns ``(dst, …)``; in no column a NULL.

    Yields:
        A table of the same column names, ``dst`` once per row and every other column a list, and how many edges it holds. A
        list never spans two tables.
    """
    pending: list[list[np.ndarray]] = []  # pieces that end with the destination still being read
    names: list[str] = []
    for batch in batches:
        if not len(batch):
            continue
        names = batch.schema.names
        pending.append([column.to_numpy() for column in batch.columns])
        if pending[0][0][-1] == pending[-1][0][-1]:
            continue  # a hub larger than a chunk: join its pieces once, at its end
        columns = [np.concatenate(pieces) for pieces in zip(*pending, strict=True)]
        complete = int(np.searchsorted(columns[0], columns[0][-1]))
        pending = [[c[complete:].copy() for c in columns]]
        yield _lists(names, [c[:complete] for c in columns]), complete
    if pending:
        columns = [np.concatenate(pieces) for pieces in zip(*pending, strict=True)]
        yield _lists(names, columns), len(columns[0])


def _lists(names: list[str], columns: list[np.ndarray]) -> pa.Table:
    dst = columns[0]
    starts = np.concatenate([[0], np.flatnonzero(dst[1:] != dst[:-1]) + 1])
    offsets = pa.array(np.append(starts, len(dst)), pa.int64())
    lists = [pa.LargeListArray.from_arrays(offsets, pa.array(column)) for column in columns[1:]]
    return pa.table([pa.array(dst[starts]), *lists], names=names)
