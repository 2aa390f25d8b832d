"""`COPY … FROM` for NumPy files, which DuckDB does not read. Everything DuckDB reads itself passes through.

One way through the files: `statement` (SQL text → what was asked), `target` (the table's columns), `npy`
(files → checked arrays → Arrow), `load` (the INSERT, under `while_writing`). Beside it `own` (DuckDB's own COPY), `header`
(the first line of its CSV files) and `duckdb_errors` (what it says, as ours).
Knows DuckDB connections; knows neither `Database` nor torch.
"""

from __future__ import annotations

from dbgnn.ingest.load import run_copy
from dbgnn.ingest.own import run_duckdb
from dbgnn.ingest.statement import CopyStatement, parse_copy

__all__ = ["CopyStatement", "parse_copy", "run_copy", "run_duckdb"]
