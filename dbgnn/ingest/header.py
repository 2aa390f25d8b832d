"""The first line of a CSV file, before DuckDB's COPY drops it.

Without the option HEADER, COPY takes the first line for a header when it does not read as values of the table's columns,
or when all of them are text. It loads the rest by position, whatever the header says. A first row that is
bad would be missing in silence, and a header ``dst,src`` would turn every edge round.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

import duckdb
from sqlglot import Token

from dbgnn import files
from dbgnn.errors import CopyError, UnknownNameError
from dbgnn.ingest.statement import plain_copy
from dbgnn.ingest.target import CopyTarget, TargetColumn, find_target
from dbgnn.schema.render import shown
from dbgnn.sql import literal

#: Files that COPY reads in another format than CSV unless told.
_OTHER_FORMATS = (".parquet", ".json", ".jsonl", ".ndjson", ".geojson", ".avro", ".arrow", ".arrows", ".xlsx", ".npy")

#: The longest line that DuckDB takes unless told.
_LONGEST = 2_000_000

#: How much of a line, and how many of its fields, an error shows.
_SHOWN = 200

#: Options that say how fields are parted, as `sniff_csv` calls them. All others are left to DuckDB.
_DIALECT = {
    "DELIM": "delim",
    "DELIMITER": "delim",
    "SEP": "delim",
    "QUOTE": "quote",
    "ESCAPE": "escape",
    "NULL": "nullstr",
    "NULLSTR": "nullstr",
    "COMMENT": "comment",
    "ENCODING": "encoding",
}

#: Values as the CSV reader takes them, where a cast in SQL takes more.
_STRICT = {
    **dict.fromkeys(
        ("tinyint", "smallint", "integer", "bigint", "utinyint", "usmallint", "uinteger", "ubigint", "hugeint", "uhugeint"),
        re.compile(r"\s*-?\d+\s*"),
    ),
    **dict.fromkeys(("float", "double"), re.compile(r"\s*[^\s_+][^\s_]*")),
    **dict.fromkeys(
        ("date", "timestamp", "timestamp_s", "timestamp_ms", "timestamp_ns"), re.compile(r"\s*[-\d:./]+([ T][\d:.]+)?")
    ),
    "boolean": re.compile(r"(?i:t|f|true|false|yes|no)"),
}


def check_header(con: duckdb.DuckDBPyConnection, tokens: Sequence[Token]) -> None:
    """Refuse a COPY of a CSV file whose first line DuckDB would drop though it is not the names of the columns.

    Reads the beginning of the file only, or of each file that a pattern names. What cannot be read is left to COPY and its
    errors.

    Args:
        con: The connection the COPY is to run on, whose transaction may have made the table.
        tokens: The statement.

    Raises:
        CopyError: Neither the names of the columns in their order, nor values of them, are on the first line.
    """
    if (copy := plain_copy(tokens)) is None:
        return
    table, names, file, options = copy
    if options.get("FORMAT", "").lower() == "parquet" or (not options and file.lower().endswith(".parquet")):
        _check_parquet(con, table, names, file)
        return
    if options.pop("FORMAT", "csv").lower() != "csv" or not options.keys() <= _DIALECT.keys():
        return
    path = re.sub(r"\.(gz|zst)$", "", file.lower())
    if path.endswith(_OTHER_FORMATS) or _is_pipe(file):  # a pipe is read once only
        return
    try:
        target = find_target(con, table)
        columns = target.columns if names is None else target.pick(names)
    except (duckdb.Error, UnknownNameError, CopyError):
        return
    try:
        for (part,) in con.execute("SELECT file FROM glob(?)", [file]).fetchall():
            if _is_pipe(part):  # one of those that a pattern names
                continue
            _check_length(target, part)
            first = _first_row(con, part, {_DIALECT[name]: value for name, value in options.items()})
            if not (first is None or len(first) != len(columns) or _is_header(first, columns) or _is_row(con, first, columns)):
                raise _bad_header(target, part, columns, first)
    except duckdb.Error:
        return


def _bad_header(target: CopyTarget, file: str, columns: Sequence[TargetColumn], first: Sequence[str | None]) -> CopyError:
    listed = ",".join(column.name for column in columns)
    line = ",".join("" if cell is None else cell[:_SHOWN] for cell in first[:_SHOWN])
    line = line if len(line) <= _SHOWN else line[:_SHOWN] + "…"
    return CopyError(
        f"COPY {target} from {file!r}: the first line is {line!r}, which is neither a header with the names of the columns "
        f"{listed!r} nor a row that is sure to be kept. Add (HEADER true) if it is a header to leave out (the "
        f"columns are then filled in the order of the table: name them, COPY {target.written} (…), if the file has another), "
        "or (HEADER false) if it is a row."
    )


def _check_length(target: CopyTarget, file: str) -> None:
    """Refuse a file whose first line DuckDB would search for minutes: 300 MB without a line feed took it 80 s."""
    if file.lower().endswith((".gz", ".zst")):
        return
    try:
        with files.opened(os.path.expanduser(file)) as opened:
            read = 0
            while (some := opened.read(64 << 10)) and b"\n" not in some and b"\r" not in some:
                read += len(some)
                if read > _LONGEST:
                    break
    except OSError:
        return
    if read > _LONGEST:
        raise CopyError(
            f"COPY {target} from {file!r}: the first line has more than {_LONGEST:,} bytes, the most that a line of CSV may "
            f"have. Is the file of another format? Name it: COPY {target.written} FROM {literal(file)} (FORMAT parquet)."
        )


def _is_pipe(file: str) -> bool:
    path = os.path.expanduser(file)
    return os.path.exists(path) and not os.path.isfile(path)


def _check_parquet(con: duckdb.DuckDBPyConnection, table: tuple[str, ...], names: tuple[str, ...] | None, file: str) -> None:
    """Refuse a Parquet file that has the columns' names in another order: COPY fills them by position."""
    try:
        target = find_target(con, table)
        columns = target.columns if names is None else target.pick(names)
        found = [row[0] for row in con.execute("DESCRIBE FROM read_parquet(?)", [file]).fetchall()]
    except (duckdb.Error, UnknownNameError, CopyError):
        return
    own = [c.name.lower() for c in columns]
    theirs = [name.lower() for name in found]
    if own != theirs and sorted(own) == sorted(theirs):
        raise CopyError(
            f"COPY {target} from {file!r}: the file has the columns {', '.join(found)}, in another order than the table's "
            f"{', '.join(c.name for c in columns)}, and COPY fills them by position. Name them in the file's order: "
            f"COPY {target.written} ({', '.join(map(shown, found))}) FROM {literal(file)}, or INSERT INTO {target.written} BY "
            f"NAME FROM {literal(file)}."
        )


def _first_row(con: duckdb.DuckDBPyConnection, file: str, dialect: dict[str, str]) -> tuple[str | None, ...] | None:
    """Return the fields of the first line as text, in the dialect that DuckDB finds; None for an empty file."""
    given = "".join(f", {name} = ?" for name in dialect)
    with con.cursor() as cursor:
        query = f"SELECT Delimiter, Quote, Escape, Comment, SkipRows FROM sniff_csv(?{given})"
        [(delim, quote, escape, comment, skip)] = cursor.execute(query, [file, *dialect.values()]).fetchall()
        found = {"delim": delim, "quote": quote, "escape": escape, "comment": comment}
        settings = {name: "" if value == "(empty)" else value for name, value in found.items()}
        settings |= {name: value for name, value in dialect.items() if name not in settings}
        given = "".join(f", {name} = ?" for name in settings)
        rows = cursor.execute(
            f"FROM read_csv(?, header = false, all_varchar = true, null_padding = true, skip = ?{given}) LIMIT 1",
            [file, skip, *settings.values()],
        ).fetchall()
    return rows[0] if rows else None


def _is_header(first: Sequence[str | None], columns: Sequence[TargetColumn]) -> bool:
    return all(cell is not None and cell.strip().lower() == c.name.lower() for cell, c in zip(first, columns, strict=True))


def _is_row(con: duckdb.DuckDBPyConnection, first: Sequence[str | None], columns: Sequence[TargetColumn]) -> bool:
    """Whether COPY keeps the line: it reads as values, and the columns are not all text (if so, an empty field decides)."""
    if all(c.leaf == "varchar" and not c.dims for c in columns):
        return first[0] is None
    for cell, c in zip(first, columns, strict=True):
        if cell is not None and not c.dims and c.leaf in _STRICT and _STRICT[c.leaf].fullmatch(cell) is None:
            return False
    casts = ", ".join(f"TRY_CAST(? AS {c.sql_type})" for c in columns)
    [values] = con.execute(f"SELECT {casts}", list(first)).fetchall()
    return all((cell is None) == (value is None) for cell, value in zip(first, values, strict=True))
