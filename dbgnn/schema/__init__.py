"""Property graphs: which tables are the nodes and edges, declared in SQL/PGQ or read off the foreign keys.

Works on DuckDB connections; knows neither `Database` nor torch.
"""

from __future__ import annotations

from dbgnn.schema.catalog import ForeignKey, columns, find_table, foreign_keys, primary_keys, tables
from dbgnn.schema.ddl import parse_statement
from dbgnn.schema.describe import describe
from dbgnn.schema.encoded import encoded
from dbgnn.schema.graph_statement import CreateGraph, DropGraph, Statement
from dbgnn.schema.infer import INFERRED, INFERRED_BOTH, infer
from dbgnn.schema.model import EdgeTable, EdgeType, PropertyGraph, TableName, VertexTable
from dbgnn.schema.names import is_reserved
from dbgnn.schema.naming import TypeNames
from dbgnn.schema.registry import current, graph_names, has_graph, in_transaction, is_inferred, load, save, transaction
from dbgnn.schema.remedy import encoder_for, why
from dbgnn.schema.render import to_sql
from dbgnn.schema.resolve import resolve, run
from dbgnn.schema.types import Column, element_columns, served_columns, tensor_columns
from dbgnn.schema.written import mark_written, unmark_written, written

__all__ = [
    "INFERRED",
    "INFERRED_BOTH",
    "Column",
    "CreateGraph",
    "DropGraph",
    "EdgeTable",
    "EdgeType",
    "ForeignKey",
    "PropertyGraph",
    "Statement",
    "TableName",
    "TypeNames",
    "VertexTable",
    "columns",
    "current",
    "describe",
    "element_columns",
    "encoded",
    "encoder_for",
    "find_table",
    "foreign_keys",
    "graph_names",
    "has_graph",
    "in_transaction",
    "infer",
    "is_inferred",
    "is_reserved",
    "load",
    "mark_written",
    "parse_statement",
    "primary_keys",
    "resolve",
    "run",
    "save",
    "served_columns",
    "tables",
    "tensor_columns",
    "to_sql",
    "transaction",
    "unmark_written",
    "why",
    "written",
]
