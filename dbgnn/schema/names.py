"""The names that mean something to PyG, so that no column of the user's can be served under them.

A mini-batch is found back in the tables by ``n_id``, ``e_id`` and ``input_id``; a column of such a name must never stand
there. From others PyG reads what it works out. One list holds for node types, edge types and graphs without type names alike,
so that a column has one name everywhere. Names of methods, such as ``size`` and ``keys``, are no trouble: a column of such a
name is an item, ``batch["city"]["size"]``. `tests/schema/test_names.py` holds the list to what PyG's classes have.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from dbgnn.schema.catalog import folded

#: What loaders and samplers of PyG set in a mini-batch, or drop from it, and what dbgnn sets (``seed_mask``).
_SET = frozenset(
    """n_id e_id input_id batch batch_size ptr num_sampled_nodes num_sampled_edges seed_time seed_mask edge_index edge_label
    edge_label_index edge_label_time src_index dst_pos_index dst_neg_index _orig_edge_index""".split()
)

#: What PyG reads numbers of nodes and edges, and edges in other forms, from.
_READ = frozenset("num_nodes num_edges adj adj_t face _num_nodes".split())

RESERVED = _SET | _READ


def is_reserved(name: str) -> bool:
    """Whether a column cannot be served under this name; PyG's names differ by case."""
    return name in RESERVED


def is_read(name: str) -> bool:
    """Whether PyG, or what leads back to the rows, takes a tensor of this name in memory for something else."""
    return name in _SET or name in _READ


def attribute_names(columns: Collection[str]) -> dict[str, str]:
    """Return the name under which PyG sees each column of a table, given in the table's order.

    That is its own, or where it is reserved, its own with ``_`` behind, until it is free among them all. To DuckDB names that
    differ by case alone are one, and so they are here.
    """
    taken, names = {folded(name) for name in columns}, {}
    for column in columns:
        name = column
        if is_reserved(column):
            while folded(name) in taken or is_reserved(name):
                name += "_"
            taken.add(folded(name))
        names[column] = name
    return names


def renamed_columns(said: Sequence[str]) -> str:
    """Return the warning of columns that are served under other names, such as ``"'batch' of 'paper' as 'batch_'"``."""
    shown = ", ".join(said[:12]) + (f", and {len(said) - 12:,} more (print(graph) shows all)" if len(said) > 12 else "")
    return f"PyG gives the names of some columns a meaning of its own, so they are served under others: {shown}."
