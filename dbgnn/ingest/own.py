"""DuckDB's own COPY (CSV, Parquet, JSON): passed through, with a progress bar and errors that name file and line."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import duckdb

from dbgnn.ingest.duckdb_errors import copy_error
from dbgnn.ingest.header import check_header
from dbgnn.ingest.load import PROGRESS_DELAY
from dbgnn.ingest.statement import copy_tokens
from dbgnn.progress import Bar

#: Seconds between two looks at DuckDB's progress.
_LOOK = 0.2


def run_duckdb(
    con: duckdb.DuckDBPyConnection, query: str, params: Sequence[object] | Mapping[str, object] | None, *, progress: bool
) -> duckdb.DuckDBPyConnection:
    """Run a statement as DuckDB does; a COPY shows its progress, if asked, once it takes more than two seconds.

    Raises:
        CopyError: A row of a file does not fit, or the first line of a CSV file would be dropped though it is no header.
    """
    if (tokens := copy_tokens(query)) is not None:
        check_header(con, tokens)
    try:
        with _shown(con, query, progress=progress):
            return con.execute(query) if params is None else con.execute(query, params)
    except duckdb.Error as error:
        if (translated := copy_error(error, query, con)) is not None:
            raise translated from error
        raise


@contextmanager
def _shown(con: duckdb.DuckDBPyConnection, query: str, *, progress: bool) -> Iterator[None]:
    """Watch the statement from a thread; DuckDB counts where ``enable_progress_bar`` is on, as `Database` sets it."""
    if not progress or (tokens := copy_tokens(query)) is None:
        yield
        return
    ended = threading.Event()

    def watch() -> None:
        if ended.wait(PROGRESS_DELAY):
            return
        with Bar(total=100, desc=f"COPY {tokens[1].text}", bar_format="{l_bar}{bar}| {elapsed}<{remaining}", delay=0) as bar:
            while not ended.wait(_LOOK):
                bar.update(max(con.query_progress(), bar.n) - bar.n)  # -1 where DuckDB does not know
            bar.update(100 - bar.n)

    watcher = threading.Thread(target=watch, name="dbgnn-copy-progress", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()
