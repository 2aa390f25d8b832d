"""Reading the edges of a type from the topology index as COO, CSC or CSR, through Arrow, without a loop over edges."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import torch
from torch import Tensor
from torch.utils.dlpack import from_dlpack

from dbgnn.topology import damaged, ids_within

if TYPE_CHECKING:
    from dbgnn.open_database import OpenDatabase
    from dbgnn.topology import EdgeIndex


def csc(db: OpenDatabase, index: EdgeIndex) -> tuple[Tensor, Tensor, Tensor]:
    """Return ``(row, colptr, e_id)``: int64 ``[E]``, ``[num_dst + 1]``, ``[E]``; sorted by (destination, source, e_id)."""
    row = torch.empty(index.num_edges, dtype=torch.int64)
    e_id = torch.empty(index.num_edges, dtype=torch.int64)
    colptr = torch.zeros(index.num_dst + 1, dtype=torch.int64)
    # A table, not a stream: only that keeps the order of the index, which is the order of the edges.
    table = db.arrow(f"SELECT dst, nbrs, eids FROM {index.adjacency}")
    start, last = 0, -1
    for batch in table.to_batches():
        dst, nbrs, eids = batch.columns
        if nbrs.null_count or eids.null_count or not nbrs.value_lengths().equals(eids.value_lengths()):
            raise damaged(index, f"a list in {index.adjacency} is NULL, or has more or fewer edge ids than neighbours")
        nodes = _within(dst, index.num_dst, "node", index)
        if len(nodes) and (int(nodes[0]) <= last or bool((nodes[1:] <= nodes[:-1]).any())):
            raise damaged(index, f"the nodes of {index.adjacency} are not in order, or one is there twice")
        values = _within(nbrs.flatten(), index.num_src, "neighbour", index)
        end, last = start + len(values), int(nodes[-1]) if len(nodes) else last
        if end > index.num_edges:
            break
        row[start:end] = values
        e_id[start:end] = _within(eids.flatten(), index.num_edges, "edge id", index)
        colptr[nodes.long() + 1] = _tensor(nbrs.value_lengths()).long()
        start = end
    if start != index.num_edges:
        raise damaged(index, f"{index.adjacency} holds more or fewer than {index.num_edges:,} edges")
    if start and int(torch.bincount(e_id, minlength=start).max()) > 1:
        raise damaged(index, f"an edge is in {index.adjacency} twice")
    torch.cumsum(colptr, 0, out=colptr)
    return row, colptr, e_id


def csr(db: OpenDatabase, index: EdgeIndex) -> tuple[Tensor, Tensor, Tensor]:
    """Return ``(rowptr, col, e_id)``: int64 ``[num_src + 1]``, ``[E]``, ``[E]``; sorted by (source, destination, e_id)."""
    row, colptr, e_id = csc(db, index)
    order = torch.sort(row, stable=True).indices
    rowptr = torch.zeros(index.num_src + 1, dtype=torch.int64)
    torch.cumsum(torch.bincount(row, minlength=index.num_src), 0, out=rowptr[1:])
    return rowptr, _expanded(colptr)[order], e_id[order]


def coo(db: OpenDatabase, index: EdgeIndex) -> tuple[Tensor, Tensor, None]:
    """Return ``(row, col, None)``: int64 ``[E]`` each, in the order of the edge ids."""
    row, colptr, e_id = csc(db, index)
    out_row, out_col = torch.empty_like(row), torch.empty_like(row)
    out_row[e_id] = row
    out_col[e_id] = _expanded(colptr)
    return out_row, out_col, None


def _expanded(ptr: Tensor) -> Tensor:
    return torch.repeat_interleave(torch.arange(len(ptr) - 1), ptr.diff())


def _within(ids: pa.Array, end: int, what: str, index: EdgeIndex) -> Tensor:
    """Return ids as a tensor, if they are integers of 0 … end - 1."""
    ids_within(ids, end, what, index)
    return _tensor(ids)


def _tensor(array: pa.Array) -> Tensor:
    if not len(array):
        return torch.empty(0, dtype=torch.int64)
    return from_dlpack(array)
