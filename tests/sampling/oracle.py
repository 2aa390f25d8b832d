"""The sampler again, in plain NumPy and Python, from in-memory edges: slow, and easy to believe."""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[np.int64]
EdgeType = tuple[str, str, str]

MASK = (1 << 32) - 1


def mix(x: int) -> int:
    for _ in range(2):
        x = ((x ^ (x >> 16)) * 73244475) & MASK
    return x


def mix_well(x: int) -> int:
    """The same with all bits good."""
    x = mix(mix(x))
    return x ^ (x >> 16)


def below(word: int, bound: int) -> int:
    """One of 0 … bound - 1 for 32 random bits; all equally likely, since words that would favour some are drawn again."""
    attempt, again = 0, word
    while (again * bound) & MASK < (1 << 32) % bound:
        attempt += 1
        again = mix(word ^ attempt)
    return (again * bound) >> 32


def picks(degree: int, k: int, key: int, *, replace: bool) -> list[int]:
    """Positions chosen among ``degree`` neighbours, from 0."""
    if k < 0 or (degree <= k and not replace):
        return list(range(degree))
    if degree == 0:
        return []
    if not replace and k >= 256:
        return sorted(range(degree), key=lambda j: (mix(key ^ j), j))[:k]
    chosen: list[int] = []
    seen: set[int] = set()
    for i in range(k):
        last = degree - 1 if replace else degree - k + i
        position = below(mix(key ^ i), last + 1)
        chosen.append(last if position in seen else position)
        if not replace:
            seen.add(chosen[-1])
    return chosen


#: ``(edge type, hop, tree, node)`` to the ``(source, edge id)`` that may be taken.
Lists = Callable[[EdgeType, int, int, int], list[tuple[int, int]]]
#: ``(how many, k, key)`` to positions among them.
Choose = Callable[..., list[int]]


def latest(degree: int, k: int, key: int, *, replace: bool) -> list[int]:
    """The last k positions."""
    return list(range(degree))[-k if k >= 0 else 0 :] if k else []


def whole(weights: Sequence[float]) -> list[int]:
    """A list's weights as integers: times the power of two with which their total lies between 2**45 and 2**46; 1 at least."""
    coarse = 61 - math.frexp(max(weights))[1] - len(weights).bit_length()
    total = sum(round(math.ldexp(weight, coarse)) for weight in weights)
    shift = coarse + 46 - math.frexp(total)[1]
    return [max(round(math.ldexp(weight, shift)), 1) for weight in weights]


def heavy(weights: Sequence[int], k: int, key: int, *, replace: bool) -> list[int]:
    """Positions chosen by integer weights, from 0: of 3k draws the first k different ones, then of those that are left."""

    def draw(i: int, among: Sequence[int], running: Sequence[int]) -> int:
        bound, attempt = running[-1], 0
        words = mix_well(key ^ (2 * i)), mix_well(key ^ (2 * i + 1))
        while True:
            high, low = words if attempt == 0 else (mix_well(word ^ attempt) for word in words)
            number = ((high & (2**30 - 1)) << 32) | low
            if number < 2**62 - 2**62 % bound:
                break
            attempt += 1
        return among[bisect.bisect_right(running, number % bound)]

    degree = len(weights)
    if k < 0 or (degree <= k and not replace):
        return list(range(degree))
    chosen: list[int] = []
    every, running = range(degree), list(itertools.accumulate(weights))
    for i in range((k if replace else 3 * k) if degree else 0):
        position = draw(i, every, running)
        if replace or (len(chosen) < k and position not in chosen):
            chosen.append(position)
    for i in range(3 * k, 4 * k - len(chosen) if degree and not replace else 0):
        left = [p for p in every if p not in chosen]
        chosen.append(draw(i, left, list(itertools.accumulate(weights[p] for p in left))))
    return chosen


@dataclass
class Sample:
    node: dict[str, list[tuple[int, int]]] = field(default_factory=dict)  # (tree, id)
    row: dict[EdgeType, list[int]] = field(default_factory=dict)
    col: dict[EdgeType, list[int]] = field(default_factory=dict)
    edge: dict[EdgeType, list[int]] = field(default_factory=dict)
    num_nodes: dict[str, list[int]] = field(default_factory=dict)
    num_edges: dict[EdgeType, list[int]] = field(default_factory=dict)


def neighbours(src: Ids, dst: Ids, node: int) -> list[tuple[int, int]]:
    """In-neighbours ``(source, edge id)`` of a node, in canonical order."""
    edges = np.flatnonzero(dst == node)
    return sorted((int(src[e]), int(e)) for e in edges)


def sample(  # noqa: C901, PLR0912 - the whole sampler in one piece, to be read from top to bottom
    labels: Sequence[str],
    edges: Mapping[EdgeType, tuple[Ids, Ids]],
    seeds: Mapping[str, Ids],
    fanout: Mapping[EdgeType, Sequence[int]],
    key: int,
    *,
    replace: bool = False,
    disjoint: bool = False,
    lists: Lists | None = None,
    choose: Choose = picks,
    weights: Mapping[EdgeType, Sequence[int]] | None = None,
) -> Sample:
    """Sample; ``lists`` gives what a hop may take of a node's edges, in order, and ``choose`` the positions it takes.

    ``weights``: by edge id, of the types that have them.
    """
    out = Sample()
    trees = 0
    for label in labels:
        out.node[label] = []
    for label, ids in seeds.items():
        out.node[label] = [(trees + i if disjoint else 0, int(node)) for i, node in enumerate(ids)]
        trees += len(ids)
    frontier = {label: (0, len(nodes)) for label, nodes in out.node.items()}
    for label in labels:
        out.num_nodes[label] = [len(out.node[label])]
    for edge_type in edges:
        out.row[edge_type], out.col[edge_type], out.edge[edge_type], out.num_edges[edge_type] = [], [], [], []
    position: dict[str, dict[tuple[int, int], int]] = {label: {} for label in labels}
    for label in labels:
        for i, node in enumerate(out.node[label]):
            position[label].setdefault(node, i)
    for hop in range(max(len(k) for k in fanout.values())):
        found: dict[EdgeType, list[tuple[int, tuple[int, int], int]]] = {}
        for number, (edge_type, ks) in enumerate(fanout.items()):
            src, dst = edges[edge_type]
            found[edge_type] = []
            hop_key = mix(mix(key ^ hop) ^ number)
            begin, end = frontier[edge_type[2]]
            for li in range(begin, end):
                tree, seen = out.node[edge_type[2]][li]
                near = neighbours(src, dst, seen) if lists is None else lists(edge_type, hop, tree, seen)
                node_key = mix(mix(hop_key ^ seen) ^ tree)
                if ks[hop] and weights is not None and edge_type in weights:
                    chosen = heavy([weights[edge_type][e] for _, e in near], ks[hop], node_key, replace=replace)
                else:
                    chosen = choose(len(near), ks[hop], node_key, replace=replace) if ks[hop] else []
                for p in chosen:
                    found[edge_type].append((li, (tree, near[p][0]), near[p][1]))
        for label in labels:
            new = sorted({s for t, rows in found.items() if t[0] == label for _, s, _ in rows if s not in position[label]})
            start = len(out.node[label])
            for i, node in enumerate(new):
                position[label][node] = start + i
            out.node[label] += new
            frontier[label] = (start, start + len(new))
            out.num_nodes[label].append(len(new))
        for edge_type, rows in found.items():
            out.num_edges[edge_type].append(len(rows))
            for li, s, e in rows:
                out.row[edge_type].append(position[edge_type[0]][s])
                out.col[edge_type].append(li)
                out.edge[edge_type].append(e)
    return out
