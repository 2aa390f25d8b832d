"""What DuckDB says when a COPY fails, as a :class:`CopyError` that names file, line, table and remedy."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import duckdb
from sqlglot import TokenType

from dbgnn.errors import CopyError, DbgnnError, ResourceError
from dbgnn.ingest.statement import PlainCopy, copy_tokens, plain_copy
from dbgnn.ingest.target import CopyTarget, find_target
from dbgnn.schema.render import shown
from dbgnn.sql import literal

#: The most characters of a row that a message shows.
_MOST_SHOWN = 200

#: How an operating system says that no more can be written (ENOSPC, EDQUOT, EFBIG).
_FULL = ("No space left", "quota", "File too large")


def insert_error(
    error: duckdb.Error, failure: Exception | None, con: duckdb.DuckDBPyConnection, target: CopyTarget, files: str
) -> DbgnnError | None:
    """Translate an error of the INSERT behind a COPY of npy files; None where Database knows better.

    Args:
        error: What DuckDB raised.
        failure: What making a batch raised, if that was the cause.
        con: A connection that can still run queries.
        target: The table.
        files: The files, for the message.
    """
    text = _first_line(error)
    if any(word in str(error) for word in _FULL):
        return ResourceError(
            f"COPY {target} from {files}: the disk is full; no row was kept. Free space and run it again. DuckDB says: {text}"
        )
    if isinstance(failure, CopyError):
        return failure
    if failure is not None:
        return CopyError(f"COPY {target} from {files}: a value cannot be read ({failure}). No row was kept.")
    if isinstance(error, duckdb.ConstraintException):
        return CopyError(f"COPY {target} from {files}: {text}. No row was kept. {_constraint_remedy(text, con, target)}")
    if isinstance(error, duckdb.ConversionException | duckdb.OutOfRangeException):
        return CopyError(f"COPY {target} from {files}: {text}. No row was kept. Change the value, or the type of the column.")
    return None


def _constraint_remedy(text: str, con: duckdb.DuckDBPyConnection, target: CopyTarget) -> str:
    if "foreign key" in text.lower():
        return "Load the table it refers to first, or leave these rows out."
    if "NOT NULL" in text:
        return "NaT becomes NULL: fill it before saving."
    if "uplicate key" not in text:
        return "Correct the value, or drop the constraint."
    keys = con.execute(
        """
        SELECT constraint_text FROM duckdb_constraints()
        WHERE database_name = ? AND schema_name = ? AND table_name = ? AND constraint_type IN ('PRIMARY KEY', 'UNIQUE')
        """,
        [target.catalog, target.schema, target.name],
    ).fetchall()
    named = " and ".join(k[0] for k in keys) or "a unique index"
    return f"{target} has {named}: the key is in the files twice, or in the table already. Remove one of the rows."


#: The first line of a file, as one text: no field is ever parted by the control character.
_FIRST_LINE = """
    SELECT line
    FROM read_csv(?, auto_detect = false, delim = '\x01', quote = '', escape = '', header = false,
                  columns = {'line': 'VARCHAR'})
    LIMIT 1
"""

#: Every row of a CSV file as text, to find one that has too many or too few fields.
_AS_TEXT = """
    SELECT count(*)
    FROM read_csv(?, auto_detect = false, delim = ?, quote = ?, escape = '"', header = false, columns = ?)
"""

#: What parts fields where the statement does not say; DuckDB tries the same.
_DELIMITERS = (",", "|", ";", "\t")

#: What DuckDB says of a row with too many or too few fields.
_WIDTH = re.compile(r"CSV Error on Line: (\d+)\nOriginal Line: (.*)\nExpected Number of Columns: (\d+) Found: (\d+)")


def copy_error(error: duckdb.Error, query: str, con: duckdb.DuckDBPyConnection) -> CopyError | None:
    """Translate an error of DuckDB's own ``COPY … FROM`` (CSV, Parquet, JSON); None if it is none.

    DuckDB names file and line of a bad CSV row, except where the row keeps it from guessing the format; then
    the file is read once more as text to find the line.

    Args:
        error: What DuckDB raised for ``query``.
        query: The statement.
        con: The connection; a cursor of it is used, so that an aborted transaction does no harm.
    """
    ours = duckdb.ConversionException | duckdb.InvalidInputException | duckdb.ConstraintException | duckdb.IOException
    if not isinstance(error, ours) or (copy := _copy_from(query)) is None:
        return None
    text = str(error)
    if "read-only" in text or any(word in text for word in _FULL):
        return None
    name, _, file, options = copy
    table = ".".join(name)
    with con.cursor() as control:
        filled = _filled(control, copy)
        if "sniffing" in text:
            found = _bad_line(control, file, options, filled)
            if found is None:
                return CopyError(f"COPY {table}: {file!r} is not CSV that fits the table: {text}")
            text = found
    if width := _WIDTH.search(text):
        return CopyError(_wrong_width(name, file, filled, *width.groups()))
    lines = [line for line in text.partition("\n\n")[0].partition("\nPossible")[0].splitlines() if line]
    if "CSV Error" in text:
        said, remedy = "; ".join(lines), "Correct the row, or say (IGNORE_ERRORS true)."
    elif isinstance(error, duckdb.ConstraintException):
        said, remedy = lines[0], "Remove the row from the file, or change what the table has."
    else:
        said, remedy = lines[0], "Check the file and its format."
    return CopyError(f"COPY {table} from {file!r}: {said.rstrip('.')}. No row was kept. {remedy}")


def _copy_from(query: str) -> PlainCopy | None:
    """Return what a COPY … FROM loads, without its options where they are none that we know; None for other statements."""
    if (tokens := copy_tokens(query)) is None:
        return None
    if (copy := plain_copy(tokens)) is not None:
        return copy
    depth = 0
    for i, token in enumerate(tokens):
        depth += (token.token_type == TokenType.L_PAREN) - (token.token_type == TokenType.R_PAREN)
        if depth == 0 and token.token_type == TokenType.FROM:
            file = next((t.text for t in tokens[i:] if t.token_type == TokenType.STRING), None)
            return None if file is None else ((tokens[1].text,), None, file, {})
    return None


def _filled(con: duckdb.DuckDBPyConnection, copy: PlainCopy) -> tuple[str, ...]:
    """Return the names of the columns that a COPY fills; none where its table is not found."""
    table, names, _, _ = copy
    try:
        return names or tuple(column.name for column in find_target(con, table).columns)
    except DbgnnError:
        return ()


def _wrong_width(name: Sequence[str], file: str, filled: Sequence[str], line: str, row: str, expected: str, found: str) -> str:
    """Say which row has too many or too few columns; if the first has, the whole file is likely to be of another table."""
    columns, table = f" ({', '.join(filled)})" if filled else "", ".".join(map(shown, name))
    if line != "1":
        remedy = "Correct the row, or say (IGNORE_ERRORS true) to leave such rows out."
    elif int(found) < int(expected):
        remedy = f"Name the columns that the file has: COPY {table} (…) FROM {literal(file)}."
    else:
        remedy = f"Select the columns: INSERT INTO {table} SELECT … FROM {literal(file)}."
    cut = row if len(row) <= _MOST_SHOWN else row[:_MOST_SHOWN] + "…"
    width = f"{found} column" + "s" * (found != "1")
    where = f"COPY {'.'.join(name)} from {file!r}: line {line}"
    return f"{where} has {width}, not {expected}{columns}: {cut}. No row was kept. {remedy}"


def _bad_line(con: duckdb.DuckDBPyConnection, file: str, options: Mapping[str, str], filled: Sequence[str]) -> str | None:
    """Read ``file`` as text columns, as many as are filled; return the error that DuckDB raises."""
    try:
        if not (first := con.execute(_FIRST_LINE, [file]).fetchall()):
            return None
        width = len(filled) or len(str(first[0][0]).split(","))
        given = next((options[name] for name in ("DELIM", "DELIMITER", "SEP") if name in options), None)
        fitting = [d for d in _DELIMITERS if len(str(first[0][0]).split(d)) == width]
        most = max(_DELIMITERS, key=str(first[0][0]).count)
        delimiter = given or (fitting[0] if fitting and width > 1 else most)
        columns = {f"c{i}": "VARCHAR" for i in range(width)}
        con.execute(_AS_TEXT, [file, delimiter, options.get("QUOTE", '"'), columns]).fetchall()
    except duckdb.Error as error:
        return str(error) if "CSV Error" in str(error) else None
    return None


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0].rstrip(".")
