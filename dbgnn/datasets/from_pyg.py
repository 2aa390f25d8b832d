"""`from_pyg`: a `Data` or `HeteroData`, in memory or memory-mapped, into tables and a property graph.

All is looked at first, then written in slices, in one transaction. What a table cannot keep exactly is an error.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import pyarrow as pa
import torch
from torch import Tensor
from torch_geometric.data import Data, HeteroData

from dbgnn import schema
from dbgnn.arrow import as_tensor, from_tensor
from dbgnn.database import Database
from dbgnn.datasets.new_graph import check_name, check_target, free_column, free_graph_name
from dbgnn.datasets.pyg_groups import AS_ARROW, GivenArray, Group, check_types, groups
from dbgnn.display import warn
from dbgnn.errors import DataError, SchemaError
from dbgnn.graph import Graph
from dbgnn.progress import Bar
from dbgnn.schema import EdgeTable, PropertyGraph, VertexTable
from dbgnn.schema.catalog import check_tables
from dbgnn.schema.model import Label
from dbgnn.schema.reserved import unasked
from dbgnn.sql import quote
from dbgnn.stores import tables
from dbgnn.stores.source import key_columns
from dbgnn.translated import translated
from dbgnn.writeback.write import column_kinds

if TYPE_CHECKING:
    import duckdb

#: How much of a table is handed to DuckDB at a time. Larger slices are written out early and again, which leaves gaps in the
#: file: 340 MB of data made one of 334 MB with 16 MiB, of 525 MB with 64 MiB, and took longer.
SLICE_BYTES = 16 << 20


def from_pyg(
    data: Data | HeteroData,
    db: Database,
    *,
    name: str | None = None,
    tables: Mapping[Label, str] | None = None,
    progress: bool | None = None,
) -> Graph:
    """Write a PyG graph into tables of its own, and declare them a property graph.

    ``graph.to_heterodata()``, or ``graph.to_data()`` of a `Data`, gives the same graph back: attributes, dtypes, shapes and
    order. Every node type becomes a table with a key ``id`` of 0 … N - 1, every edge type one with the keys ``src`` and ``dst``
    of its ends (with ``_`` behind where an attribute has that name), and every attribute a column: ``[N]`` of its scalar type,
    float32 ``[N, k]`` as ``FLOAT[k]``. NumPy arrays come back as tensors. A list with a value per row, such as text
    keys, is a column for SQL and for encoders, not served as a tensor; a pytorch-frame ``TensorFrame`` becomes columns of the
    names that it has (and ``y``), which come back as tensors. Rows are written in slices, so that
    memory-mapped tensors may be larger than memory.

    An attribute whose name means something to PyG's loaders, such as ``n_id`` or ``batch``, is written too. It comes back with
    ``_`` behind, where ``columns=`` of stores or of ``to_heterodata`` names it so; a warning shows the ``columns=`` to give.

    Args:
        data: The graph. ``num_dropped`` and ``num_dangling``, which ``query_to_heterodata`` sets, are left out, and so are
            attributes that are None.
        db: Where to.
        name: The name of the property graph; None: ``"graph"``.
        tables: Names of the tables, by node and edge type (of a `Data`: ``"node"`` and ``("node", "to", "node")``). Others are
            named after their type, with a number behind where the file has a table of that name.
        progress: Show a progress bar on what takes more than two seconds; None: as the database does.

    Returns:
        The graph. Its index is built at first use, or by ``graph.build()``.

    Raises:
        SchemaError: Something that a table does not keep: an attribute that has no row per node or edge, or is no list and no
            dense tensor of booleans, integers, float32 or float64. Names that are one to DuckDB. A graph or table of
            that name is there already.
        DataError: An edge names a node that does not exist.
        ReadOnlyError: The database is open read-only.
    """
    check_target(db, "from_pyg")
    found = list(groups(data))
    check_types([group.label for group in found], tables or {})
    shown = db.settings.progress if progress is None else progress
    con = db.cursor()
    with translated(db):
        empty = PropertyGraph(free_graph_name(con, name), homogeneous=isinstance(data, Data))
        graph = Graph(db, _write(con, empty, found, tables or {}, progress=shown))
        if said := unasked(con, graph.definition):
            warn(f"from_pyg has kept all attributes. {said}", stacklevel=2)
        return graph


def _write(
    con: duckdb.DuckDBPyConnection, empty: PropertyGraph, found: list[Group], wanted: Mapping[Label, str], *, progress: bool
) -> PropertyGraph:
    """Make the tables, fill them, and save and return the definition."""
    counts = {group.label: group.count for group in found}
    bar = Bar(total=sum(counts.values()), desc="from_pyg", unit=" rows", unit_scale=True, disable=not progress)
    definition = empty
    with bar, tables.writing_uncompressed(con), tables.lending_transaction(con):
        for group in found:
            element = _element(con, group, wanted.get(group.label))
            definition = definition.with_vertex(element) if isinstance(element, VertexTable) else definition.with_edge(element)
            typed = [(key, "BIGINT") for key in key_columns(element)]
            arrow = {name: array for name, (array, kind) in group.columns.items() if kind == AS_ARROW}
            typed += [(name, kind) for name, (_, kind) in group.columns.items()]
            typed = [(name, column_kinds(con, {name: arrow[name]})[name] if name in arrow else kind) for name, kind in typed]
            con.execute(f"CREATE TABLE {element.table.sql} ({', '.join(f'{quote(name)} {kind}' for name, kind in typed)})")
            for rows in _slices(group):
                values = [*map(from_tensor, _keys(group, rows, counts)), *(_cut(v, rows) for v, _ in group.columns.values())]
                tables.lend(con, pa.table(values, names=[str(i) for i in range(len(values))]))
                con.execute(f"INSERT INTO {element.table.sql} FROM {tables.VALUES}")
                bar.update(len(values[0]))
        schema.save(con, definition)
    return definition


def _element(con: duckdb.DuckDBPyConnection, group: Group, wanted: str | None) -> VertexTable | EdgeTable:
    """Return the vertex or edge table to be made of a type; its name is free."""
    if wanted is not None:
        check_name(wanted, f"The table for {group.label!r}")
    base = wanted or (group.label if isinstance(group.label, str) else "__".join(group.label))
    table = tables.free_name(con, base)
    if wanted is not None and table.name != wanted:
        raise SchemaError(f"tables gives {group.label!r} the table {wanted!r}, but there is one of that name. Give another.")
    check_tables(con, [table])
    names = tuple(group.columns)
    served = tuple(name for name, (value, _) in group.columns.items() if not isinstance(value, pa.Array))
    if isinstance(group.label, str):
        return VertexTable(table, group.label, (free_column("id", names),), served)
    source, label, destination = group.label
    src, dst = free_column("src", names), free_column("dst", names)
    return EdgeTable(table, label, source, (src,), destination, (dst,), served)


def _slices(group: Group) -> Iterator[slice]:
    """Yield the rows of a type in slices of about `SLICE_BYTES`."""
    values = [value for value, _ in group.columns.values()]
    heads = [as_tensor(value[:0]) for value in values if not isinstance(value, pa.Array)]
    width = 16 + sum(head.element_size() * math.prod(head.shape[1:]) for head in heads)
    width += sum(value.nbytes // max(len(value), 1) for value in values if isinstance(value, pa.Array))
    step = max(1, SLICE_BYTES // width)
    for start in range(0, group.count, step):
        yield slice(start, min(start + step, group.count))


def _cut(value: GivenArray | pa.Array, rows: slice) -> pa.Array:
    return (
        value.slice(rows.start, rows.stop - rows.start) if isinstance(value, pa.Array) else from_tensor(as_tensor(value[rows]))
    )


def _keys(group: Group, rows: slice, counts: Mapping[Label, int]) -> list[Tensor]:
    """Return the keys of these rows: those of nodes, or those of both ends of edges, which must exist."""
    if isinstance(group.label, str):
        return [torch.arange(rows.start, rows.stop)]
    assert group.edge_index is not None
    source, _, destination = group.label
    found = []
    for row, end in enumerate((source, destination)):
        ids = as_tensor(group.edge_index[row, rows]).to(torch.int64)
        for worst in (int(ids.min()), int(ids.max())):
            if not 0 <= worst < counts[end]:
                raise _no_such_node(group, worst, end, counts)
        found.append(ids)
    return found


def _no_such_node(group: Group, worst: int, end: str, counts: Mapping[Label, int]) -> DataError:
    """Return the error for an edge to a node that does not exist, with what takes such edges out."""
    assert not isinstance(group.label, str)
    index = f"{group.at}.edge_index"
    inside = " & ".join(f"({index}[{i}] >= 0) & ({index}[{i}] < {counts[e]})" for i, e in enumerate(group.label[::2]))
    kept = inside if group.at == "data" else f"{{{group.label!r}: {inside}}}"
    return DataError(
        f"{index} names node {worst:,} of {end!r}, of which there are {counts[end]:,}. Give data the nodes that it lacks, or "
        f"take such edges out: data = data.edge_subgraph({kept})."
    )
