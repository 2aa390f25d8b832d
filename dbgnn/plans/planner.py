"""The planner: from memory, table sizes and a small sample it picks super-batch size, prefetch and feature plan, and says why.

Bytes decide. DuckDB's own memory is `memory_limit`; beside it a loader may use `WORKING_BYTES` for sampled mini-batches, their
features, and hot rows. A pilot of two mini-batches, sampled as any other, tells how large mini-batches are in this graph.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dbgnn.errors import RequestError
from dbgnn.plans.limits import MemoryLimit, memory_limit
from dbgnn.plans.rows_in_memory import Served
from dbgnn.schema.model import Label
from dbgnn.stores.request import Ids64
from dbgnn.topology.distinct import sorted_distinct

if TYPE_CHECKING:
    from dbgnn.open_database import OpenDatabase
    from dbgnn.sampling.khop import Subgraph
    from dbgnn.topology import Topology

PLANS = ("join", "shared", "spooled")

#: Memory a loader may use beside DuckDB's memory_limit.
WORKING_BYTES = 640 << 20

#: Edges sampled by one statement, where there is room and where there is not; its result and what it is grouped with take
#: some 40 bytes each.
_STATEMENT_EDGES, _STATEMENT_EDGES_TIGHT = 5_000_000, 3_000_000

#: The most mini-batches of a super-batch, for join and for the plans that read whole tables.
_MOST_JOINED, _MOST_PASSED = 64, 256

#: Where features do not fit: the part for hot rows of what mini-batches on their way leave; the rest goes to the
#: super-batch, since a larger one shares each pass among more mini-batches (10 GB of features: reading 2.3 times
#: what is used with a quarter, 3.1 times with half).
_HOT = 0.25

#: Features of nodes up to so many bytes are kept as hot rows where they fit; more of them only where an epoch asks for as many
#: rows as there are, since all are read at the beginning.
_SMALL_BYTES = 64 << 20

#: Edges of a first super-batch at most where features fit, so that the first mini-batch comes soon. There is one, since small
#: ones cost statements. Where they do not fit, the first is one mini-batch, and each is so much larger than the one before,
#: since each costs a pass over the features.
_FIRST_EDGES, _GROWTH = 1_000_000, 4

#: The part of memory_limit that features and index may take to count as fitting; the rest is for running statements.
_FITS = 0.75


@dataclass(frozen=True, slots=True)
class Pilot:
    """What mini-batches of this loader are like, from two of them.

    Attributes:
        nodes: Nodes of all types, per mini-batch.
        edges: Edges of all types, per mini-batch.
        rows: By type, feature rows per mini-batch.
        distinct: By type, distinct feature rows of both mini-batches together.
    """

    nodes: float
    edges: float
    rows: Mapping[Label, float]
    distinct: Mapping[Label, int]

    @classmethod
    def of(cls, subgraphs: Sequence[Subgraph], served: Sequence[Served]) -> Pilot:
        """Measure sampled mini-batches."""
        n = max(1, len(subgraphs))
        asked = {s.label: [ids_of(subgraph, s.label) for subgraph in subgraphs] for s in served}
        return cls(
            nodes=sum(len(ids) for sub in subgraphs for ids in sub.node.values()) / n,
            edges=sum(len(ids) for sub in subgraphs for ids in sub.edge.values()) / n,
            rows={label: sum(map(len, batches)) / n for label, batches in asked.items()},
            distinct={
                label: len(sorted_distinct(np.concatenate(batches))) if batches else 0 for label, batches in asked.items()
            },
        )


@dataclass(frozen=True, slots=True)
class Asked:
    """What the user asked for; None: the planner chooses."""

    super_batch: int | None = None
    prefetch: int | None = None
    plan: str | None = None
    cache_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """What a loader does, and why.

    Attributes:
        super_batch: Mini-batches that are fetched together.
        first: The sizes of the smaller super-batches with which an epoch begins; none where the user gave a size.
        statement: Mini-batches that one SQL statement samples; at most ``super_batch``.
        prefetch: Mini-batches that lie ready; 0: no threads.
        plan: How cold rows are brought: join, shared or spooled.
        cache_bytes: Bytes of hot rows kept in RAM.
        all_hot: They are all rows of nodes, unasked, and not worth reading again and again.
        why: By line of `explain`, the reason.
        batch_bytes: Estimated bytes of the features of a mini-batch.
        sample_bytes: Estimated bytes of a sampled mini-batch while it waits.
        read_bytes: Estimated bytes of features read and written to bring those of a mini-batch.
        held_bytes: Estimated bytes held beside DuckDB.
        idle_bytes: Bytes of buffers that may wait for their next use.
        pilot: What the estimates come from.
    """

    super_batch: int
    first: tuple[int, ...]
    statement: int
    prefetch: int
    plan: str
    cache_bytes: int
    all_hot: bool
    why: Mapping[str, str]
    batch_bytes: float
    sample_bytes: float
    read_bytes: float
    held_bytes: float
    idle_bytes: int
    pilot: Pilot


def ids_of(subgraph: Subgraph, label: Label) -> Ids64:
    """Return the ids of one type in a sampled mini-batch: nodes, or edges by edge id."""
    return subgraph.node[label] if isinstance(label, str) else subgraph.edge[label]


def check_asked(asked: Asked) -> Asked:
    """Return what was asked for, with Python's own integers, if it makes sense.

    Raises:
        RequestError: A number that is too small, or an unknown plan.
    """
    numbers: dict[str, int | None] = {}
    for name, least in (("super_batch", 1), ("prefetch", 0), ("cache_bytes", 0)):
        value = getattr(asked, name)
        try:
            number = least if value is None else operator.index(value)
        except TypeError:
            number = least - 1
        if number < least or isinstance(value, bool):
            raise RequestError(f"{name} must be 'auto' or an integer of at least {least}, not {value!r}.")
        numbers[name] = None if value is None else number
    if asked.plan is not None and asked.plan not in PLANS:
        raise RequestError(f"plan must be 'auto' or one of {', '.join(map(repr, PLANS))}, not {asked.plan!r}.")
    return Asked(plan=asked.plan, **numbers)


def make_plan(
    db: OpenDatabase,
    topology: Topology,
    served: Sequence[Served],
    pilot: Pilot,
    asked: Asked,
    num_batches: int | None,
    *,
    lists_bytes: int = 0,
    processes: int = 1,
) -> Plan:
    """Choose what was not asked for.

    Args:
        db: The database, for its memory_limit.
        topology: The index, for the size of the adjacency lists.
        served: What is fetched.
        pilot: What mini-batches are like.
        asked: What the user decided.
        num_batches: Mini-batches of an epoch, if known.
        lists_bytes: Bytes of the derived lists, which are in memory beside the index.
        processes: How many do the same, each with memory of its own.
    """
    limit = memory_limit(db)
    features = sum(s.num_bytes for s in served)
    index = sum(8 * e.num_edges + 32 * e.num_dst for e in topology.edges.values()) + lists_bytes
    fits = features + index <= _FITS * limit.bytes
    batch_bytes = sum(pilot.rows[s.label] * s.row_bytes for s in served)
    handed_bytes = sum(pilot.rows[s.label] * s.handed_bytes for s in served) + 24 * pilot.edges + 8 * pilot.nodes
    sample_bytes = 12 * pilot.edges + 4 * pilot.nodes
    # What DuckDB will not use of its memory_limit, since all fits, may be used beside it.
    room = WORKING_BYTES + (limit.bytes - features - index if fits else 0)
    why: dict[str, str] = {}

    prefetch = None if asked.prefetch is None else min(asked.prefetch, num_batches or 1 << 10)
    if prefetch is None:
        prefetch = 2 if 4 * handed_bytes <= room / 2 else 1 if 4 * handed_bytes <= room else 0
        why["prefetch"] = (
            f"a mini-batch takes {binary_size(handed_bytes)}, and {binary_size(room)} may be used beside the tables"
        )
    alive = 2 if prefetch else 1  # super-batches: one is handed out while the next is made
    rest = max(room - (prefetch + 2) * handed_bytes, WORKING_BYTES / 6)

    edges = _STATEMENT_EDGES if 4 * handed_bytes <= room else _STATEMENT_EDGES_TIGHT
    statement = max(1, min(_MOST_JOINED if fits else _MOST_PASSED, int(edges / max(1, pilot.edges))))

    nodes = sum(s.num_bytes for s in served if isinstance(s.label, str))  # edges are never kept
    cache, all_hot = asked.cache_bytes, False
    if cache is None:
        pilot_bytes = sum(pilot.rows[s.label] * s.row_bytes for s in served if isinstance(s.label, str))
        # In memory they are read for every super-batch, which pays where it asks for as many rows as there are.
        once = (
            min(statement, asked.super_batch or statement, num_batches or statement) * pilot_bytes
            if db.in_memory
            else max(pilot_bytes * (num_batches or 0), _SMALL_BYTES)
        )
        all_hot = fits and (1 + _HOT) * nodes * processes <= rest and nodes <= once
        cache = nodes if all_hot else 0 if fits or db.in_memory else int(_HOT * rest)
        why["cache_bytes"] = (
            "all features of nodes fit beside the tables"
            if all_hot
            else "DuckDB's memory holds the features"
            if fits
            else "of what may be used beside DuckDB, a quarter of what mini-batches leave"
        )
    cache = min(cache, nodes)
    cold = max(0.0, 1 - cache / max(1, nodes))  # at least: hot rows are asked for more often than others
    slots = 4 * sum(s.num_rows for s in served if isinstance(s.label, str)) if cache else 0
    sizes = {
        "join": statement,
        "shared": _shared_size((1 - _HOT) * rest / alive, served, pilot, sample_bytes, cold),
        "spooled": max(1, min(_MOST_PASSED, int((1 - _HOT) * rest / max(1, alive * sample_bytes)))),
    }
    most = num_batches or 1 << 20
    sizes = {name: min(n if asked.super_batch is None else asked.super_batch, most) for name, n in sizes.items()}
    missed = batch_bytes * cold
    reads = {
        "join": 0.0 if fits else min(float(features), 256 * 1024 * sum(pilot.rows.values())) * missed / max(1, batch_bytes),
        "shared": 0.0 if fits else features / sizes["shared"],
        "spooled": (0.0 if fits else features / sizes["spooled"]) + 2 * missed,  # written and read back
    }
    chosen = asked.plan
    if chosen is None:
        chosen = "join" if fits else min(PLANS, key=lambda name: reads[name])
        why["plan"] = _why_plan(fits=fits, features=features, index=index, limit=limit, reads=reads)
    super_batch = sizes[chosen]
    statement = min(statement, super_batch)
    if asked.super_batch is None:
        why["super_batch"] = f"a sampled mini-batch takes {binary_size(sample_bytes)}, {pilot.edges:,.0f} edges"
    held = (prefetch + 2) * handed_bytes + alive * super_batch * sample_bytes + cache + slots + 40 * statement * pilot.edges
    return Plan(
        super_batch=super_batch,
        first=() if asked.super_batch is not None else _first_sizes(super_batch, pilot.edges, fits=fits),
        statement=statement,
        prefetch=prefetch,
        plan=chosen,
        cache_bytes=cache,
        all_hot=all_hot,
        why=why,
        batch_bytes=batch_bytes,
        sample_bytes=sample_bytes,
        read_bytes=reads[chosen],
        held_bytes=held,
        idle_bytes=int(1.5 * (handed_bytes if chosen != "shared" else handed_bytes + super_batch * batch_bytes)),
        pilot=pilot,
    )


def _first_sizes(super_batch: int, edges: float, *, fits: bool) -> tuple[int, ...]:
    """Return the sizes of the super-batches that an epoch begins with, each below ``super_batch``."""
    sizes: list[int] = []
    size = max(1, int(_FIRST_EDGES / max(1.0, edges))) if fits else 1
    while size < super_batch and not (fits and sizes):
        sizes.append(size)
        size *= _GROWTH
    return tuple(sizes)


def _shared_size(room: float, served: Sequence[Served], pilot: Pilot, sample_bytes: float, cold: float) -> int:
    """Return how many mini-batches' distinct cold rows fit in ``room`` bytes."""
    distinct = sum(min(pilot.distinct[s.label] / 2, s.num_rows) * s.row_bytes for s in served) * cold
    if sum(s.num_bytes for s in served) * cold <= room:
        return _MOST_JOINED
    return max(1, min(_MOST_PASSED, int(room / max(1.0, distinct + sample_bytes))))


def _why_plan(*, fits: bool, features: int, index: int, limit: MemoryLimit, reads: Mapping[str, float]) -> str:
    held = f"features ({binary_size(features)}) and index ({binary_size(index)})"
    if fits:
        return f"{held} fit in memory_limit ({limit.text})"
    costs = ", ".join(f"{name} {binary_size(reads[name])}" for name in PLANS)
    return f"{held} do not fit in memory_limit ({limit.text}); a mini-batch would read and write: {costs}"


def binary_size(num_bytes: float) -> str:
    """Return a number of bytes for people, such as ``1.5 GiB``."""
    for unit in ("B", "KiB", "MiB"):
        if num_bytes < 1024:
            return f"{num_bytes:,.0f} {unit}" if unit == "B" else f"{num_bytes:,.1f} {unit}"
        num_bytes /= 1024
    return f"{num_bytes:,.1f} GiB"
