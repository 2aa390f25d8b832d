"""What an index gives is checked before memory is addressed by it; and how damage is told: one sentence, one remedy."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dbgnn.errors import StaleIndexError
from dbgnn.topology.index import EdgeIndex, VertexIndex

_Ids: TypeAlias = npt.NDArray[np.signedinteger[Any]]

#: The types of ids in an index, and the unsigned ones of the same width.
_SIGNED = (pa.int32(), pa.int64())
_UNSIGNED = {4: np.uint32, 8: np.uint64}


def damaged(index: VertexIndex | EdgeIndex, what: str) -> StaleIndexError:
    """Return the error of an index whose tables hold what no build has written.

    Args:
        index: The part.
        what: What was found, such as ``"a list is NULL"``.
    """
    part, label = index.element, index.edge.edge_type if isinstance(index, EdgeIndex) else index.vertex.label
    return StaleIndexError(
        f"The topology index of {label!r} (table {str(part.table)!r}) is damaged: {what}. Call graph.build(force=True) to "
        "build it again."
    )


def ids_within(ids: pa.Array, end: int, what: str, index: VertexIndex | EdgeIndex) -> _Ids:
    """Return ids that the index gave as NumPy sees them, if they are integers of 0 … end - 1.

    One pass while they are in the cache: as unsigned numbers, those below 0 are the largest.
    """
    if ids.null_count or ids.type not in _SIGNED:
        raise damaged(index, f"a {what} is NULL, or is of type {ids.type}")
    values: _Ids = ids.to_numpy()
    if len(values) and int(values.view(_UNSIGNED[values.itemsize]).max()) >= end:
        wrong = int(values[(values < 0) | (values >= end)][0])
        raise damaged(index, f"it holds the {what} {wrong:,}, which is none of 0 … {end - 1:,}")
    return values
