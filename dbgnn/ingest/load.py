"""The INSERT behind COPY: npy columns streamed into one statement, in file order, all rows or none."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress

import duckdb
import pyarrow as pa

from dbgnn.errors import CopyError
from dbgnn.ingest.duckdb_errors import insert_error
from dbgnn.ingest.npy import Array, NpySource, batch_rows, check_source, open_array
from dbgnn.ingest.statement import CopyStatement
from dbgnn.ingest.target import CopyTarget, TargetColumn, find_target
from dbgnn.ingest.while_writing import write_settings
from dbgnn.progress import Bar
from dbgnn.schema.render import shown
from dbgnn.sql import literal, quote, quote_all

#: Seconds of work before the progress bar appears.
PROGRESS_DELAY = 2.0


def run_copy(con: duckdb.DuckDBPyConnection, statement: CopyStatement, *, progress: bool) -> int:
    """Load npy files into a table and return the number of rows.

    With several files, or one for one column, file i fills column i. One file for a table of two or more
    columns is an edge index, ``[2, E]`` as PyG writes it or ``[E, 2]`` (a 2 x 2 array is read as ``[2, E]``), and
    fills the two columns named, or the table's first two. Everything is checked before the first row is written; rows
    keep the order of the file. An open transaction of ``con`` is taken part in and not committed.

    Tables with ARRAY columns are written uncompressed (random rows of compressed floats take three times as
    long to read). DuckDB decides on compression when it writes row groups, so a checkpoint follows. Limits: in an
    open transaction there can be none, and up to one row group of 122,880 rows may be compressed by a later one;
    so may rows that are changed afterwards, and the row group that later rows are added to; and where the configuration
    is locked, all may be.

    The files are mapped into memory and must not change until all is loaded. One that is shorter then is refused when the next
    batch is made; a batch whose end is cut off while DuckDB reads it kills the process (SIGBUS), as with any mapping.

    Args:
        con: A connection that may write.
        statement: What :func:`parse_copy` returned.
        progress: Whether to show a bar, on stderr, for work of more than two seconds.

    Raises:
        UnknownNameError: No such table or column.
        CopyError: A file is bad, does not fit the table, or breaks one of its constraints. No row was kept.
        ResourceError: The disk is full, or rows cannot keep their order because the configuration is locked. No row was
            kept.
    """
    target = find_target(con, statement.table)
    arrays = [open_array(_path(con, file), str(target)) for file in statement.files]
    columns, arrays, files = _assign(statement, target, arrays)
    _check_required(target, columns)
    sources = tuple(check_source(a, c, f, str(target)) for a, c, f in zip(arrays, columns, files, strict=True))
    counts = {len(s.array) for s in sources}
    if len(counts) > 1:
        each = ", ".join(f"{s.file!r}: {len(s.array):,}" for s in sources)
        raise CopyError(
            f"COPY {target}: the files have different numbers of rows ({each}). Every file holds one value per row."
        )
    return _insert(con, target, sources, show=progress and statement.progress)


def _path(con: duckdb.DuckDBPyConnection, file: str) -> str:
    """Return the path of a file as DuckDB's own COPY finds it: ``~`` is the setting ``home_directory``, or else HOME."""
    if file != "~" and not file.startswith("~/"):
        return file
    [(home,)] = con.execute("SELECT current_setting('home_directory')").fetchall()
    return home + file[1:] if home else os.path.expanduser(file)


def _assign(
    statement: CopyStatement, target: CopyTarget, arrays: list[Array]
) -> tuple[tuple[TargetColumn, ...], list[Array], Sequence[str]]:
    """Say which array fills which column; an edge index becomes two."""
    columns = target.columns if statement.columns is None else target.pick(statement.columns)
    files = statement.files
    if len(files) == len(columns):
        return columns, arrays, files
    if len(files) == 1 and len(columns) >= 2 and (statement.columns is None or len(columns) == 2):
        (array,), ends = arrays, columns[:2]
        if array.ndim == 2 and 2 in array.shape and not any(c.dims for c in ends):
            rows = array if array.shape[0] == 2 else array.T
            return ends, [rows[0], rows[1]], (files[0], files[0])
        raise CopyError(
            f"COPY {target}: one file for columns {_names(columns)} has to be an edge index of shape [2, E] or [E, 2] "
            f"for two columns without arrays; {files[0]!r} has shape {array.shape}. Give one file per column, "
            f"or name the column it is for: COPY {target.written} ({shown(columns[0].name)}) FROM {literal(files[0])}."
        )
    raise CopyError(
        f"COPY {target}: {len(files)} file(s) for {len(columns)} column(s) {_names(columns)}. "
        "Give one file per column, or name the columns after the table."
    )


def _names(columns: Sequence[TargetColumn]) -> str:
    return "(" + ", ".join(c.name for c in columns) + ")"


def _check_required(target: CopyTarget, columns: tuple[TargetColumn, ...]) -> None:
    if missing := [c for c in target.columns if c.required and c not in columns]:
        raise CopyError(
            f"COPY {target}: column {missing[0].name!r} is NOT NULL, has no default and no file. "
            f"Give it one, or a default: ALTER TABLE {target.written} ALTER {shown(missing[0].name)} SET DEFAULT …"
        )


class _Rows:
    """The batches of a COPY, made while DuckDB asks for them, in a thread of its choosing."""

    def __init__(self, sources: tuple[NpySource, ...], bar: Bar) -> None:
        self._sources = sources
        self._bar = bar
        self.failure: Exception | None = None
        self._schema = pa.schema([(f"c{i}", s.arrow(0, 0).type) for i, s in enumerate(sources)])

    def reader(self) -> pa.RecordBatchReader:
        return pa.RecordBatchReader.from_batches(self._schema, self._batches())

    def _batches(self) -> Iterator[pa.RecordBatch]:
        count, step = len(self._sources[0].array), batch_rows(self._sources)
        for start in range(0, count, step):
            stop = min(start + step, count)
            try:
                arrays = [s.arrow(start, stop) for s in self._sources]
            except Exception as error:  # kept: DuckDB passes on the text of it only
                self.failure = error
                raise
            yield pa.RecordBatch.from_arrays(arrays, schema=self._schema)
            self._bar.update(stop - start)


def _insert(con: duckdb.DuckDBPyConnection, target: CopyTarget, sources: tuple[NpySource, ...], *, show: bool) -> int:
    in_transaction = _in_transaction(con)
    arrays = any(s.column.dims for s in sources)
    total = len(sources[0].array)
    with (
        con.cursor() as control,  # can run queries even when the transaction of `con` is aborted
        Bar(total=total, desc=f"COPY {target}", unit=" rows", unit_scale=True, delay=PROGRESS_DELAY, disable=not show) as bar,
        write_settings(con, uncompressed=arrays),
    ):
        rows = _Rows(sources, bar)
        name = f"dbgnn_copy_{id(rows):x}"
        con.register(name, rows.reader())
        try:
            # One statement is one transaction, or a part of the one that is open.
            con.execute(f"INSERT INTO {target.sql} ({quote_all(s.column.name for s in sources)}) SELECT * FROM {quote(name)}")
            [(count,)] = con.fetchall()
        except duckdb.Error as error:
            files = ", ".join(dict.fromkeys(repr(s.file) for s in sources))
            translated = insert_error(error, rows.failure, control, target, files)
            if translated is None:
                raise
            if in_transaction:
                translated.args = (f"{translated} The open transaction is aborted: ROLLBACK it first.",)
            raise translated from error
        finally:
            # Where the INSERT has aborted an open transaction, its ROLLBACK forgets the name.
            with suppress(duckdb.TransactionException):
                con.unregister(name)
        if arrays and not in_transaction:
            _checkpoint(control, target.catalog)
    return int(count)


def _in_transaction(con: duckdb.DuckDBPyConnection) -> bool:
    """Whether a transaction is open: then two statements share its number. BEGIN as a test would abort it."""
    return len({con.execute("SELECT txid_current()").fetchall()[0] for _ in range(2)}) == 1


def _checkpoint(control: duckdb.DuckDBPyConnection, catalog: str) -> None:
    """Have rows that only the log holds written now, while the compression asked for is in force."""
    if control.execute("SELECT path FROM duckdb_databases() WHERE database_name = ?", [catalog]).fetchall() in ([], [(None,)]):
        return  # in memory, where nothing is compressed
    try:
        control.execute(f"CHECKPOINT {quote(catalog)}")
    except duckdb.Error:
        # The rows are committed. What hinders this checkpoint (a transaction elsewhere) only costs reading
        # speed; a full disk meets the next statement that writes.
        return
