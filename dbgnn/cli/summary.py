"""A `HeteroData` in a few lines, or as JSON: its types, how many rows they have, their attributes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from dbgnn.cli.info import size
from dbgnn.schema.model import shown_type
from dbgnn.terminal import one_line

if TYPE_CHECKING:
    from torch_geometric.data import HeteroData


def summarize(data: HeteroData) -> dict[str, Any]:
    """Return the summary, as what JSON can hold."""
    return {
        "nodes": {
            label: {"num_nodes": data[label].num_nodes, "attributes": _attributes(data[label].items())}
            for label in data.node_types
        },
        "edges": [
            {
                "type": list(label),
                "num_edges": data[label].num_edges,
                "num_dropped": getattr(data, "num_dropped", {}).get(label, 0),
                "num_dangling": getattr(data, "num_dangling", {}).get(label),
                "attributes": _attributes(data[label].items()),
            }
            for label in data.edge_types
        ],
        "bytes": sum(_bytes(value) for store in data.stores for value in store.values()),
    }


def summary_text(found: dict[str, Any]) -> str:
    """Return the summary as text."""
    lines = [f"HeteroData: {len(found['nodes'])} node types, {len(found['edges'])} edge types, {size(found['bytes'])}"]
    for label, nodes in found["nodes"].items():
        lines += _block(f"{shown_type(label)}: {nodes['num_nodes']:,} nodes", nodes["attributes"])
    for edges in found["edges"]:
        dropped = f" ({edges['num_dropped']:,} dropped: an end is not among the nodes{_dangling(edges)})"
        dropped = dropped if edges["num_dropped"] else ""
        lines += _block(f"{shown_type(tuple(edges['type']))}: {edges['num_edges']:,} edges{dropped}", edges["attributes"])
    return "\n".join(lines)


def _dangling(edges: dict[str, Any]) -> str:
    return f"; {edges['num_dangling']:,} of them dangle" if edges["num_dangling"] else ""


def _block(title: str, attributes: dict[str, Any]) -> list[str]:
    shown = {one_line(name): f"{one_line(a['type'])} {a['shape']}" for name, a in attributes.items()}
    width = max(map(len, shown), default=0)
    return ["", title, *(f"  {name:<{width}}  {form}" for name, form in shown.items())]


def _attributes(items: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    return {name: {"type": _type(value), "shape": _shape(value)} for name, value in items if name != "num_nodes"}


def _type(value: Any) -> str:
    return str(value.dtype).removeprefix("torch.") if hasattr(value, "dtype") else type(value).__name__


def _shape(value: Any) -> list[int]:
    if hasattr(value, "shape"):
        return list(value.shape)
    return [len(value)] if hasattr(value, "__len__") else []


def _bytes(value: Any) -> int:
    return int(value.nbytes) if hasattr(value, "nbytes") else 0
