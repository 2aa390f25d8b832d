"""One loader, measured in this process: time per step and where it goes, memory, bytes read.

Not run by hand: `apart` in ``case.py`` starts this file with a `Case` as JSON, and reads a `Result` from what it prints. What
is compared with what, and how it is shown, is up to ``loader.py`` and ``scale.py``.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import re
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import torch
import torch_geometric.loader
from torch.nn.functional import cross_entropy
from torch_geometric.data import Data
from torch_geometric.nn import GraphSAGE

import dbgnn
from case import PARTS, Case, Result
from usage import bytes_read, cpu_seconds, peak_rss

#: Classes of the model; the class of a node is its id modulo their number.
CLASSES = 16

#: Steps to skip at least, whatever the super-batch.
WARM_UP = 3


class Trainer:
    """GraphSAGE with a layer per hop and its optimizer; the same for every side."""

    def __init__(self, case: Case) -> None:
        torch.manual_seed(case.seed)
        self.trim = case.trim
        self.model = GraphSAGE(case.dim, case.hidden, len(case.num_neighbors), CLASSES)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=0.003)

    def step(self, batch: Data) -> None:
        """Learn from one mini-batch."""
        hops = hops_of(batch, self.model.num_layers) if self.trim else {}
        out = self.model(batch.x.float(), batch.edge_index, **hops)[: batch.batch_size]
        loss = cross_entropy(out, batch.n_id[: batch.batch_size] % CLASSES)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()


def hops_of(batch: Data, num_hops: int) -> dict[str, list[int]]:
    """Return how many nodes and edges each hop brought, as PyG's models take them.

    Samplers append hop after hop, so that a hop's edges end where a destination is of the next hop. Counted here for every
    side alike, since torch-sparse does not say.
    """
    src, dst = batch.edge_index
    nodes, edges = [0, int(batch.batch_size)], [0]
    for _ in range(num_hops):
        edges.append(int((dst < nodes[-1]).sum()))
        nodes.append(max(nodes[-1], int(src[edges[-2] : edges[-1]].amax()) + 1 if edges[-1] > edges[-2] else 0))
    assert nodes[-1] == len(batch.x), "the edges of the mini-batch are not in the order of the hops"
    assert edges[-1] == len(dst), "the edges of the mini-batch are not in the order of the hops"
    return {"num_sampled_nodes_per_hop": differences(nodes), "num_sampled_edges_per_hop": differences(edges)}


def differences(ends: list[int]) -> list[int]:
    """Return the lengths of consecutive parts that end at ``ends``."""
    return [end - start for start, end in itertools.pairwise(ends)]


class InMemory:
    """PyG's `NeighborLoader` over tensors that were read from the file first."""

    super_batch, begins = 1, 0
    explained = ""

    def __init__(self, case: Case) -> None:
        self.times: list[dict[str, float]] = []
        x, edge_index = read_tensors(case)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PyG deprecates torch-sparse, which is the one that can be built from PyPI
            self.loader = TimedLoader(
                self.times,
                Data(x=x, edge_index=edge_index),
                is_sorted=True,
                num_workers=0,
                filter_per_worker=True,
                **pyg_arguments(case),
            )

    def parts(self, steps: int) -> dict[str, float]:
        """Return the seconds that the last steps spent on each part."""
        return {part: sum(step[part] for step in self.times[-steps:]) for part in ("sampling", "features")}

    def hit_rate(self, steps: int) -> None:
        """Return None: there is no cache."""


class TimedLoader(torch_geometric.loader.NeighborLoader):
    """PyG's loader that notes how long it samples and how long it fetches features."""

    def __init__(self, times: list[dict[str, float]], *args: Any, **kwargs: Any) -> None:
        self.times = times
        super().__init__(*args, **kwargs)

    def collate_fn(self, index: Any) -> Any:
        """Sample and fetch one mini-batch, timed."""
        start = time.perf_counter()
        self.times.append({})
        batch = super().collate_fn(index)
        self.times[-1]["sampling"] = time.perf_counter() - start - self.times[-1]["features"]
        return batch

    def filter_fn(self, out: Any) -> Any:
        """Fetch the features of one mini-batch, timed."""
        start = time.perf_counter()
        batch = super().filter_fn(out)
        self.times[-1]["features"] = time.perf_counter() - start
        return batch


class FromDatabase:
    """`dbgnn.NeighborLoader` over the file."""

    def __init__(self, case: Case) -> None:
        db = dbgnn.connect(case.path, read_only=True, memory_limit=case.memory_limit, threads=case.threads, progress=False)
        self.loader = dbgnn.NeighborLoader(
            db.get_torch_geometric_remote_backend("papers", homogeneous=True),
            seed=case.seed,
            super_batch=case.super_batch,
            prefetch=case.prefetch,
            plan=case.plan,
            cache_bytes=case.cache_bytes,
            **pyg_arguments(case),
        )
        size, first = re.findall(r"super-batch +(\d+) mini-batches(?:, the first ([\d, ]+))?;", self.explained)[0]
        self.super_batch, self.begins = int(size), sum(map(int, first.split(", "))) if first else 0

    @property
    def explained(self) -> str:
        """What the planner chose, estimated, and met."""
        return str(self.loader.explain())

    def _last(self, steps: int) -> list[Any]:
        return list(self.loader.stats().steps)[-steps:]

    def parts(self, steps: int) -> dict[str, float]:
        """Return the seconds that the last steps spent on each part, in whatever thread."""
        last = self._last(steps)
        return {part: sum(getattr(step, part) for step in last) for part in PARTS}

    def hit_rate(self, steps: int) -> float | None:
        """Return the share of feature rows that came from the hot ones."""
        last = self._last(steps)
        share: float = sum(step.hits for step in last) / max(1, sum(step.rows for step in last))
        return share


class OneBatch:
    """One mini-batch of the graph again and again, made by another process: what the model costs without a loader."""

    super_batch, begins = 1, 0
    explained = ""

    def __init__(self, case: Case) -> None:
        with tempfile.TemporaryDirectory(prefix="dbgnn-bench-") as folder:
            file = str(Path(folder, "batch.pt"))
            subprocess.run([sys.executable, __file__, json.dumps(dataclasses.asdict(case)), file], check=True)
            self.loader = [Data(**torch.load(file))]

    @staticmethod
    def save(case: Case, file: str) -> None:
        """Write one mini-batch, as the database loader makes it."""
        batch = next(iter(FromDatabase(dataclasses.replace(case, super_batch=1, prefetch=0)).loader))
        torch.save({name: batch[name] for name in ("x", "edge_index", "n_id", "batch_size")}, file)

    def parts(self, steps: int) -> dict[str, float]:  # noqa: ARG002 - the other sides need it
        """Return no parts."""
        return {}

    def hit_rate(self, steps: int) -> None:
        """Return None: there is no cache."""


SIDES: dict[str, type[InMemory | FromDatabase | OneBatch]] = {"pyg": InMemory, "dbgnn": FromDatabase, "model": OneBatch}


def pyg_arguments(case: Case) -> dict[str, Any]:
    """Return the arguments that both loaders share: the same seeds in the same order."""
    seeds = None
    if case.seeds is not None:
        seeds = torch.randperm(case.nodes, generator=torch.Generator().manual_seed(case.seed + 1))[: case.seeds]
    return {
        "num_neighbors": list(case.num_neighbors),
        "input_nodes": seeds,
        "batch_size": case.batch_size,
        "shuffle": True,
        "generator": torch.Generator().manual_seed(case.seed),
    }


def read_tensors(case: Case) -> tuple[torch.Tensor, torch.Tensor]:
    """Return features [nodes, dim] and edges [2, edges], by destination, so that PyG need not sort them in memory."""
    edge_index = torch.empty(2, case.edges, dtype=torch.int64)
    x = torch.empty(case.nodes, case.dim, dtype=torch.float16 if case.half else torch.float32)
    ends, rows = edge_index.numpy(), x.numpy()
    start = 0
    with duckdb.connect(case.path, read_only=True, config={"memory_limit": "1GB"}) as con:
        for batch in con.sql("SELECT src, dst FROM cites ORDER BY dst").to_arrow_reader(1 << 18):
            ends[0, start : start + len(batch)] = batch.column("src").to_numpy()
            ends[1, start : start + len(batch)] = batch.column("dst").to_numpy()
            start += len(batch)
        con.execute("SET memory_limit = '256MB'; SET preserve_insertion_order = false")
        for batch in con.sql(f"SELECT id, {'x.float16 AS x' if case.half else 'x'} FROM paper").to_arrow_reader(1 << 15):
            rows[batch.column("id").to_numpy()] = batch.column("x").flatten().to_numpy().view(rows.dtype).reshape(-1, case.dim)
    assert start == case.edges, f"{case.path} has {start:,} edges, not {case.edges:,}"
    return x, edge_index


def window(case: Case, length: int, burst: int, begins: int = 0) -> tuple[int, int]:
    """Return how many steps to skip and how many to measure, of epochs of ``length`` steps that come in bursts.

    The first ``begins`` come in smaller ones.

    A super-batch loader does most of its work before the first step of a super-batch. So whole super-batches are
    measured, from the first step of one to the first step of another, and inside one epoch if it is long enough: then
    what was prepared before the start is as much as what is prepared, for nothing, at the end. Else whole epochs.
    """
    if case.epochs is not None:
        return (length, (case.epochs - 1) * length) if case.epochs > 1 else (0, length)
    for unit, before in ((min(burst, length), begins), (length, 0)):
        skip, steps = before + math.ceil(WARM_UP / unit) * unit, math.ceil(case.steps / unit) * unit
        if skip + steps + unit <= length:
            break
    return skip, steps


def run(case: Case) -> Result:
    """Measure in this process."""
    trainer = Trainer(case)
    baseline = peak_rss()
    begin = time.perf_counter()
    side = SIDES[case.side](case)
    batches: Iterator[Data] = itertools.chain.from_iterable(itertools.repeat(side.loader))  # epoch after epoch
    skip, steps = window(case, len(side.loader), side.super_batch, side.begins)
    setup = waiting = 0.0
    nodes = edges = 0
    start = cpu = 0.0
    read = (0, 0)
    for number in range(skip + steps):
        if number == skip:
            start, cpu, read, waiting, nodes, edges = time.perf_counter(), cpu_seconds(), bytes_read(), 0.0, 0, 0
        asked = time.perf_counter()
        batch = next(batches)
        waiting += time.perf_counter() - asked
        if number == 0:
            setup = time.perf_counter() - begin
        nodes += batch.x.shape[0]
        edges += batch.edge_index.shape[1]
        if case.train:
            trainer.step(batch)
    seconds, cpu = time.perf_counter() - start, cpu_seconds() - cpu
    calls, disk = (after - before for after, before in zip(bytes_read(), read, strict=True))
    return Result(
        setup=setup,
        skipped=skip,
        steps=steps,
        seconds=seconds / steps,
        waiting=waiting / steps,
        cpu=cpu / steps,
        parts={part: total / steps for part, total in side.parts(steps).items()},
        nodes=nodes / steps,
        edges=edges / steps,
        bytes_read=calls / steps,
        bytes_disk=disk / steps,
        bytes_used=nodes * case.dim * (2 if case.half else 4) / steps,
        hit_rate=side.hit_rate(steps),
        baseline=baseline,
        peak=peak_rss(),
        super_batch=side.super_batch,
        explained=side.explained,
    )


def main() -> None:
    """Measure the case in the first argument; with a second one, write a mini-batch there instead."""
    case = Case(**json.loads(sys.argv[1]))
    if len(sys.argv) > 2:
        OneBatch.save(case, sys.argv[2])
    else:
        print(json.dumps(dataclasses.asdict(run(case))))


if __name__ == "__main__":
    main()
