"""The names that mean something to PyG, so that no column of the user's can be served under them.

A mini-batch is found back in the tables by ``n_id``, ``e_id`` and ``input_id``; a column of such a name must never stand there.
Other names are attributes of PyG's classes, where a tensor would be hidden, or would break what PyG works out from it. One list
holds for node types, edge types and graphs without type names alike, so that a column has one name everywhere.
`tests/schema/test_names.py` holds the list to what PyG's classes have.
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

#: Methods and properties of Data, of its batches, and of the storages of node and edge types, behind which a tensor is hidden.
_HIDDEN = frozenset(
    """apply apply_ can_infer_num_nodes clear clone coalesce concat connected_components contains_isolated_nodes
    contains_self_loops contiguous coo cpu csc csr cuda debug detach detach_ edge_attrs edge_stores edge_subgraph from_data_list
    from_dict generate_ids get get_all_edge_attrs get_all_tensor_attrs get_edge_index get_example get_tensor get_tensor_size
    has_isolated_nodes has_self_loops index_select is_bipartite is_coalesced is_cuda is_directed is_edge_attr is_node_attr
    is_sorted is_sorted_by_time is_undirected items keys multi_get_tensor node_attrs node_offsets node_stores num_edge_features
    num_edge_types num_faces num_features num_graphs num_node_features num_node_types pin_memory pop popitem put_edge_index
    put_tensor record_stream remove_edge_index remove_tensor requires_grad_ setdefault share_memory_ size snapshot sort
    sort_by_time stores stores_as subgraph to to_data_list to_dict to_heterogeneous to_namedtuple up_to update update_tensor
    validate values view
    _MutableMapping__marker _abc_impl _cached_attr _cat_dims _edge_attr_cls _edge_to_layout _edges_to_layout _find_parent
    _get_edge_index _get_tensor _get_tensor_size _inc_dict _key _mapping _multi_get_tensor _num_graphs _parent _pop_cache
    _put_edge_index _put_tensor _remove_edge_index _remove_tensor _select _slice_dict _store _tensor_attr_cls _to_type
    _union""".split()
)

RESERVED = _SET | _READ | _HIDDEN


def is_reserved(name: str) -> bool:
    """Whether a tensor cannot be an attribute of this name; PyG's names are told apart by case."""
    return name in RESERVED or (name.startswith("__") and name.endswith("__") and not name.endswith("___"))


def is_read(name: str) -> bool:
    """Whether PyG, or what leads back to the rows, takes a tensor of this name in memory for something else."""
    return name in _SET or name in _READ


def attribute_names(columns: Collection[str]) -> dict[str, str]:
    """Return the name under which PyG sees each column of a table, given in the table's order.

    That is its own, or where it is reserved, its own with ``_`` behind, until it is free among them all. DuckDB does not tell
    names apart by case, so neither does this.
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
