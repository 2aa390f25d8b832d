"""Is every undirected edge in one part of its split? An edge and its reverse in two parts is a leak.

A model that is trained on an edge has seen its reverse. So this is an error, unless a split says ``directed=True``. Where the
reverse is an edge type without a split, nothing says which parts its edges are for: that is a warning.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch_geometric.data import HeteroData

from dbgnn.display import warn
from dbgnn.errors import DataError
from dbgnn.queries.query_model import EdgeQuery
from dbgnn.queries.split import Split
from dbgnn.schema import EdgeType
from dbgnn.topology.distinct import sorted_distinct

#: The key of a node by its type and position.
KeyOf = Callable[[str, int], Any]


@dataclass(frozen=True, slots=True)
class EdgeSplit:
    """The split of an edge type, and the names of its parts."""

    split: Split
    parts: tuple[str, ...]


def check_pairs(
    data: HeteroData,
    splits: Mapping[EdgeType, EdgeSplit],
    reverses: Sequence[tuple[EdgeType, EdgeType]],
    key_of: KeyOf,
    *,
    merged: bool,
) -> None:
    """Check that no undirected edge is in two parts. A row in no part does not count.

    Args:
        data: The edges as they were read, with their masks.
        splits: Those of edge types.
        reverses: Pairs of edge types of which one holds the reverses of the other.
        key_of: For messages.
        merged: Edges within one node type that have the same ends, in any order, will become one: then parallel edges count,
            too, and a split cannot say that they are edges of their own.

    Raises:
        DataError: One is; the message names it.

    Warns:
        UserWarning: An edge type has a split, and its reverse has none.
    """
    for edge_type, of in splits.items():
        if edge_type[0] == edge_type[2] and (merged or not of.split.directed) and not of.split.by_pair:
            _check(data, [edge_type], splits, key_of, merged=merged)
    for pair in reverses:
        if all(t in splits and not splits[t].split.directed for t in pair):
            _check(data, pair, splits, key_of, merged=False)
    _warn_of_one_side(splits, reverses)


def reverse_types(edges: Sequence[EdgeQuery]) -> Iterator[tuple[EdgeType, EdgeType]]:
    """Yield the pairs of edge types that are reverses: by PyG's names, ``(s, r, d)`` and ``(d, rev_r, s)``, or of one table."""
    for one in edges:
        for other in edges:
            source, relation, destination = one.edge_type
            named = other.edge_type == (destination, f"rev_{relation}", source)
            if named or (_is_turned(one, other) and one.edge_type < other.edge_type):
                yield one.edge_type, other.edge_type


def _warn_of_one_side(splits: Mapping[EdgeType, EdgeSplit], reverses: Sequence[tuple[EdgeType, EdgeType]]) -> None:
    for pair in {frozenset(pair): pair for pair in reverses}.values():
        split = [t for t in pair if t in splits and not splits[t].split.directed]
        without = [t for t in pair if t not in splits]
        if split and without:
            (one,), (other,) = split, without
            warn(
                f"splits: {one!r} has a split, and {other!r}, which holds its reverse edges, has none: a model that is given "
                f"all of {other!r} sees the edges of every part, {splits[one].parts[-1]!r} too. Give both the same "
                f"dbgnn.HashSplit, which goes by the pair of ends, or leave out {other!r} and say reverse=True; where they are "
                "edges of their own, give the split directed=True.",
                stacklevel=7,
            )


def _is_turned(one: EdgeQuery, other: EdgeQuery) -> bool:
    """Whether an edge type is the other one's rows, read the other way round."""
    ends = one.source_key, one.destination_key, one.edge_type[0], one.edge_type[2]
    turned = other.destination_key, other.source_key, other.edge_type[2], other.edge_type[0]
    return one.source_key is not None and one.source_key != one.destination_key and ends == turned and one.text == other.text


def _check(
    data: HeteroData, edge_types: Sequence[EdgeType], splits: Mapping[EdgeType, EdgeSplit], key_of: KeyOf, *, merged: bool
) -> None:
    names = list(dict.fromkeys(name for t in edge_types for name in splits[t].parts))
    parts = np.concatenate([_parts(data, t, splits[t].parts, names) for t in edge_types])
    ends = torch.cat([data[t].edge_index if t == edge_types[0] else data[t].edge_index.flip(0) for t in edge_types], 1).numpy()
    # Of two types, the type is the direction; of one, which end is the smaller.
    is_second = np.repeat(np.arange(len(edge_types)), [data[t].edge_index.size(1) for t in edge_types])
    low, high = ends
    if edge_types[0][0] == edge_types[0][2]:
        is_second = is_second ^ (ends[0] > ends[1]) if not merged else is_second
        low, high = np.minimum(*ends), np.maximum(*ends)
    rows = np.flatnonzero(parts >= 0)
    if not len(rows):
        return
    code = low[rows] * (int(high.max()) + 1) + high[rows]
    order = np.lexsort((parts[rows], code))
    rows, code = rows[order], code[order]
    starts = _starts(code)
    if merged:
        found = np.flatnonzero(_spread(parts[rows], starts))
    else:  # every part in which a pair is one way must hold it the other way as well, if that way is there
        within = _starts(code, parts[rows])
        both_ways = np.repeat(_spread(is_second[rows], starts), np.diff(starts, append=len(rows)))[within]
        alone = within[both_ways & ~_spread(is_second[rows], within)]
        found = sorted_distinct(np.searchsorted(starts, alone, side="right") - 1)
    if not len(found):
        return
    group = rows[starts[found[0]] : np.append(starts[1:], len(rows))[found[0]]]
    one = group[0] if merged else rows[alone[0]]
    other = next(row for row in group if parts[row] != parts[one] and (merged or is_second[row] != is_second[one]))
    sizes = np.cumsum([data[t].edge_index.size(1) for t in edge_types])
    shown = [_shown(data, edge_types, sizes, int(row), names[parts[row]], key_of) for row in (one, other)]
    raise _error(edge_types, splits, len(found), shown, merged=merged)


def _starts(*keys: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return where rows begin that have the same keys, by which they are sorted."""
    new = np.zeros(len(keys[0]), dtype=bool)
    new[0] = True
    for key in keys:
        new[1:] |= key[1:] != key[:-1]
    return np.flatnonzero(new)


def _spread(values: np.ndarray[Any, Any], starts: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return which groups, one behind the other, hold different values."""
    found: np.ndarray[Any, Any] = np.minimum.reduceat(values, starts) != np.maximum.reduceat(values, starts)
    return found


def _parts(data: HeteroData, edge_type: EdgeType, own: Sequence[str], names: Sequence[str]) -> np.ndarray[Any, Any]:
    """Return the number of every edge's part, -1 for none."""
    found = np.full(data[edge_type].edge_index.size(1), -1, dtype=np.int64)
    for name in own:
        found[data[edge_type][f"{name}_mask"].numpy()] = names.index(name)
    return found


def _shown(
    data: HeteroData, edge_types: Sequence[EdgeType], sizes: np.ndarray[Any, Any], row: int, part: str, key_of: KeyOf
) -> str:
    at = int(np.searchsorted(sizes, row, side="right"))
    edge_type = edge_types[at]
    source, destination = data[edge_type].edge_index[:, row - (int(sizes[at - 1]) if at else 0)].tolist()
    of = "" if len(edge_types) == 1 else f" of {edge_type!r}"
    return f"{key_of(edge_type[0], source)!r} → {key_of(edge_type[2], destination)!r}{of} in {part!r}"


def _error(
    edge_types: Sequence[EdgeType], splits: Mapping[EdgeType, EdgeSplit], count: int, shown: Sequence[str], *, merged: bool
) -> DataError:
    split = splits[edge_types[0]].split
    what = " and ".join(map(repr, edge_types))
    where = f"of {split!r}, such as {shown[0]} and {shown[1]}"
    if merged:
        return DataError(
            f"splits: {count:,} edges of {what}, each merged of several by undirected=, are in several parts {where}. Use "
            "dbgnn.HashSplit, which goes by the pair of ends, or undirected=True, which merges nothing; or give one row a pair."
        )
    return DataError(
        f"splits: {count:,} edges of {what} have their reverse in another part {where}. A model has seen both when it is "
        "trained on one. Use dbgnn.HashSplit, which goes by the pair of ends, or keep one direction in the query and say "
        "undirected=True or reverse=True; where they are edges of their own, give the split directed=True."
    )
