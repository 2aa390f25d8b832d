"""What DuckDB says when a COPY fails, as a :class:`CopyError` that names file, line, table and remedy."""

from __future__ import annotations

import duckdb
from sqlglot import Token, TokenType

from dbgnn.errors import CopyError, DbgnnError, ResourceError
from dbgnn.ingest.statement import copy_tokens
from dbgnn.ingest.target import Target

#: How an operating system says that no more can be written (ENOSPC, EDQUOT, EFBIG).
_FULL = ("No space left", "quota", "File too large")


def insert_error(
    error: duckdb.Error, failure: Exception | None, con: duckdb.DuckDBPyConnection, target: Target, files: str
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


def _constraint_remedy(text: str, con: duckdb.DuckDBPyConnection, target: Target) -> str:
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

#: Every row of a plain CSV file, to find one that has too many or too few fields.
_PLAIN_CSV = """
    SELECT count(*)
    FROM read_csv(?, auto_detect = false, delim = ',', quote = '"', escape = '"', header = false, columns = ?)
"""


def copy_error(error: duckdb.Error, query: str, con: duckdb.DuckDBPyConnection) -> CopyError | None:
    """Translate an error of DuckDB's own ``COPY … FROM`` (CSV, Parquet, JSON); None if it is none.

    DuckDB names file and line of a bad CSV row, except where the row keeps it from guessing the format; then
    the file is read once more as plain CSV to find the line.

    Args:
        error: What DuckDB raised for ``query``.
        query: The statement.
        con: The connection; a cursor of it is used, so that an aborted transaction does no harm.
    """
    ours = duckdb.ConversionException | duckdb.InvalidInputException | duckdb.ConstraintException | duckdb.IOException
    if not isinstance(error, ours) or (tokens := copy_tokens(query)) is None or not _is_from(tokens):
        return None
    text = str(error)
    if "read-only" in text or any(word in text for word in _FULL):
        return None
    file = next((t.text for t in tokens if t.token_type == TokenType.STRING), None)
    if file is None:
        return None
    table = query[tokens[1].start : tokens[1].end + 1]
    if "sniffing" in text:
        if (found := _bad_line(con, tokens, file)) is None:
            return CopyError(f"COPY {table}: {file!r} is not CSV that fits the table: {text}")
        text = found
    lines = [line for line in text.partition("\n\n")[0].splitlines() if line]
    if "CSV Error" in text:
        said, remedy = "; ".join(lines), "Correct the row, or say ignore_errors true."
    elif isinstance(error, duckdb.ConstraintException):
        said, remedy = lines[0], "Remove the row from the file, or change what the table has."
    else:
        said, remedy = lines[0], "Check the file and its format."
    return CopyError(f"COPY {table} from {file!r}: {said.rstrip('.')}. No row was kept. {remedy}")


def _is_from(tokens: list[Token]) -> bool:
    depth = 0
    for token in tokens:
        depth += (token.token_type == TokenType.L_PAREN) - (token.token_type == TokenType.R_PAREN)
        if depth == 0 and token.token_type == TokenType.FROM:
            return True
    return False


def _bad_line(con: duckdb.DuckDBPyConnection, tokens: list[Token], file: str) -> str | None:
    """Read ``file`` as plain CSV of as many text columns as its first line has; return the error DuckDB raises."""
    if tokens[-1].token_type == TokenType.R_PAREN:  # options: the format is not plain
        return None
    cursor = con.cursor()
    try:
        if first := cursor.execute(_FIRST_LINE, [file]).fetchall():
            columns = {f"c{i}": "VARCHAR" for i in range(len(str(first[0][0]).split(",")))}
            cursor.execute(_PLAIN_CSV, [file, columns]).fetchall()
    except duckdb.Error as error:
        return str(error) if "CSV Error" in str(error) else None
    finally:
        cursor.close()
    return None


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0].rstrip(".")
