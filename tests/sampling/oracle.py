"""The sampler again, in plain NumPy and Python, from in-memory edges: slow, and easy to believe."""

from __future__ import annotations

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


def sample(  # noqa: PLR0912 - the whole sampler in one piece, to be read from top to bottom
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
) -> Sample:
    """Sample; ``lists`` gives what a hop may take of a node's edges, in order, and ``choose`` the positions it takes."""
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
                for p in choose(len(near), ks[hop], node_key, replace=replace) if ks[hop] else []:
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
