"""The seeds of a pack that is being made: drawn once, so that a pack that is continued has the batches it was begun with.

A file as the parts are, with one record batch per epoch and four rows in it, of int64 each: of every mini-batch its epoch, its
number, and where its seeds end in the last row, which holds the seeds of all.
"""

from __future__ import annotations

import itertools
import mmap
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa

from dbgnn.documents import MalformedError
from dbgnn.packs.pack_arrow import ArrowFile
from dbgnn.packs.pack_files import damaged_pack
from dbgnn.packs.pack_format import SCHEMA, column
from dbgnn.sampling.numbered import NumberedBatch


def write_order(file: BinaryIO, epochs: Iterable[Sequence[NumberedBatch]]) -> tuple[int, ...]:
    """Write the batches of all epochs; return the number of batches of each."""
    counts = []
    with pa.ipc.new_file(file, SCHEMA) as writer:
        for batches in epochs:
            stops = np.cumsum([len(b) for b in batches], dtype=np.int64)
            seeds = np.fromiter(itertools.chain.from_iterable(batches), dtype=np.int64, count=stops[-1] if len(stops) else 0)
            numbers = [np.array([b.epoch for b in batches]), np.array([b.number for b in batches]), stops, seeds]
            memory = np.concatenate([n.astype(np.int64) for n in numbers]).view(np.uint8)
            ends = np.cumsum([0, *(8 * len(n) for n in numbers)])
            writer.write_batch(column(ends, memory))
            counts.append(len(batches))
    return tuple(counts)


def read_order(file: BinaryIO, path: Path, start: int, *, counts: Sequence[int], seeds: int) -> Iterator[NumberedBatch]:
    """Yield the batches from number ``start`` on.

    Args:
        file: The file.
        path: Its path, for messages.
        start: How many batches are left out.
        counts: How many batches each epoch has, as the manifest says.
        seeds: How many seeds the loader has.

    Raises:
        DataError: The file does not hold that many batches of these seeds.
    """
    try:
        order = ArrowFile.of(memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)))
    except ValueError as error:
        raise damaged_pack(path, str(error)) from error
    if len(order) != len(counts):
        raise damaged_pack(path, f"holds {len(order):,} epochs where {len(counts):,} were drawn")
    try:
        for epoch, count in enumerate(counts):
            yield from itertools.islice(_batches(order, epoch, count, seeds), start, None)
            start = max(start - count, 0)
    except MalformedError as error:
        raise damaged_pack(path, str(error)) from error


def _batches(order: ArrowFile, epoch: int, count: int, seeds: int) -> Iterator[NumberedBatch]:
    ends = order.rows(epoch)
    if len(ends) != 5 or ((ends[1:] - ends[:-1]) % 8).any() or ((ends[1:4] - ends[:3]) != 8 * count).any():
        raise MalformedError(f"does not hold {count:,} batches for epoch {epoch}")
    epochs, numbers, stops, drawn = (np.frombuffer(order.memory[a:b], dtype=np.int64) for a, b in itertools.pairwise(ends))
    if (stops < np.insert(stops, 0, 0)[:-1]).any() or (stops[-1] if count else 0) != len(drawn):
        raise MalformedError(f"has batches in epoch {epoch} that do not follow each other")
    if len(drawn) and not -seeds <= int(drawn.min()) <= int(drawn.max()) < seeds:
        raise MalformedError(f"names seeds {int(drawn.min()):,} to {int(drawn.max()):,}, and there are {seeds:,}")
    begin = 0
    for number, stop in enumerate(stops.tolist()):
        yield NumberedBatch.of(drawn[begin:stop].tolist(), int(epochs[number]), int(numbers[number]))
        begin = stop
