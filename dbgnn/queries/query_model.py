"""What is to be read: one query per node and edge type, and the options that all forms have in common."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dbgnn.schema import Column, EdgeType
from dbgnn.schema.model import Label


@dataclass(frozen=True, slots=True)
class NodeQuery:
    """The nodes of one type.

    Attributes:
        label: The node type.
        text: A checked query, one row per node.
        keys: Its columns that identify a row; None: the first.
        served: The columns that become attributes; None: all.
        filtered: Some nodes are left out, so that edges to them are no fault.
        asked: The caller left them out; else the graph's own conditions alone did.
        attach: Attach keys as attributes; None: unless they equal the positions, of all nodes.
        attrs: The attribute that a column becomes, where it is of another name.
        also: Columns that become attributes as they are: tensors of numbers, or lists.
    """

    label: str
    text: str
    keys: tuple[str, ...] | None = None
    served: tuple[str, ...] | None = None
    filtered: bool = False
    asked: bool = True
    attach: bool | None = True
    attrs: Mapping[str, str] = field(default_factory=dict)
    also: tuple[Column, ...] = ()


@dataclass(frozen=True, slots=True)
class EdgeQuery:
    """The edges of one type.

    Attributes:
        edge_type: The edge type.
        text: A checked query, one row per edge.
        source_key: Its columns that hold the source's key; None: the first ones.
        destination_key: Its columns that hold the destination's key; None: those after them.
        served: The columns that become attributes; None: all but the keys.
        rowid: The column whose order the rows have, so that they may be filtered by several threads; None: there is none.
        attrs: The attribute that a column becomes, where it is of another name.
        also: Columns that become attributes as they are: tensors of numbers, or lists.
    """

    edge_type: EdgeType
    text: str
    source_key: tuple[str, ...] | None = None
    destination_key: tuple[str, ...] | None = None
    served: tuple[str, ...] | None = None
    rowid: str | None = None
    attrs: Mapping[str, str] = field(default_factory=dict)
    also: tuple[Column, ...] = ()

    @property
    def label(self) -> EdgeType:
        """The edge type."""
        return self.edge_type


@dataclass(frozen=True, slots=True)
class Options:
    """What the forms have in common; see the arguments of `query_to_heterodata`."""

    encoders: Any = None
    fit: Mapping[Label, str] = field(default_factory=dict)
    splits: Mapping[Label, Any] = field(default_factory=dict)
    time: Mapping[Label, str] = field(default_factory=dict)
    attributes: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    reverse: bool = False
    undirected: bool | str = False
    self_loops: bool = False
    dangling: str | None = None
    progress: bool = True
