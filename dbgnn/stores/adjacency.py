"""Reading the edges of a type from the topology index as COO, CSC or CSR, through Arrow, without a loop over edges."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import torch
from torch import Tensor
from torch.utils.dlpack import from_dlpack

from dbgnn.errors import StaleIndexError

if TYPE_CHECKING:
    from dbgnn.database import Database
    from dbgnn.topology import EdgeIndex


def csc(db: Database, index: EdgeIndex) -> tuple[Tensor, Tensor, Tensor]:
    """Return ``(row, colptr, e_id)``: int64 ``[E]``, ``[num_dst + 1]``, ``[E]``; sorted by (destination, source, e_id)."""
    row = torch.empty(index.num_edges, dtype=torch.int64)
    e_id = torch.empty(index.num_edges, dtype=torch.int64)
    colptr = torch.zeros(index.num_dst + 1, dtype=torch.int64)
    # A table, not a stream: only that keeps the order of the index, which is the order of the edges.
    table = db.arrow(f"SELECT dst, nbrs, eids FROM {index.adjacency}")
    start = 0
    for batch in table.to_batches():
        dst, nbrs, eids = batch.columns
        values = _tensor(nbrs.flatten())
        row[start : start + len(values)] = values
        e_id[start : start + len(values)] = _tensor(eids.flatten())
        colptr[_tensor(dst).long() + 1] = _tensor(nbrs.value_lengths()).long()
        start += len(values)
    if start != index.num_edges:
        raise StaleIndexError(
            f"The index of {index.edge.edge_type!r} holds {start:,} edges instead of {index.num_edges:,}; call "
            "graph.build(force=True)."
        )
    torch.cumsum(colptr, 0, out=colptr)
    return row, colptr, e_id


def csr(db: Database, index: EdgeIndex) -> tuple[Tensor, Tensor, Tensor]:
    """Return ``(rowptr, col, e_id)``: int64 ``[num_src + 1]``, ``[E]``, ``[E]``; sorted by (source, destination, e_id)."""
    row, colptr, e_id = csc(db, index)
    order = torch.sort(row, stable=True).indices
    rowptr = torch.zeros(index.num_src + 1, dtype=torch.int64)
    torch.cumsum(torch.bincount(row, minlength=index.num_src), 0, out=rowptr[1:])
    return rowptr, _expanded(colptr)[order], e_id[order]


def coo(db: Database, index: EdgeIndex) -> tuple[Tensor, Tensor, None]:
    """Return ``(row, col, None)``: int64 ``[E]`` each, in the order of the edge ids."""
    row, colptr, e_id = csc(db, index)
    out_row, out_col = torch.empty_like(row), torch.empty_like(row)
    out_row[e_id] = row
    out_col[e_id] = _expanded(colptr)
    return out_row, out_col, None


def _expanded(ptr: Tensor) -> Tensor:
    return torch.repeat_interleave(torch.arange(len(ptr) - 1), ptr.diff())


def _tensor(array: pa.Array) -> Tensor:
    if not len(array):
        return torch.empty(0, dtype=torch.int64)
    return from_dlpack(array)
