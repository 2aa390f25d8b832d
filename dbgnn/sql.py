"""Quoting names and checking filters: the only place where text from outside becomes SQL.

Values never come here: they are bound. Sets of ids never come here: they are joined as Arrow tables. What a filter may hold
is judged in `row_condition.py`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

import duckdb
import sqlglot
from sqlglot import TokenType
from sqlglot.errors import SqlglotError

from dbgnn.errors import SqlError, near_misses
from dbgnn.masking import hidden_in_errors
from dbgnn.parse_tree import LONGEST_FILTER, check_text, short
from dbgnn.row_condition import columns_of_condition


def quote(name: str) -> str:
    """Return ``name`` as a quoted SQL identifier; a name may hold anything but NUL."""
    if "\0" in name:
        raise SqlError(f"The name {name!r} holds a NUL character; SQL identifiers cannot.")
    return '"' + name.replace('"', '""') + '"'


def quote_all(names: Iterable[str], *, prefix: str = "") -> str:
    """Return the quoted names, separated by commas, each behind ``prefix`` (such as ``"t."``)."""
    return ", ".join(prefix + quote(name) for name in names)


def ascending(names: Iterable[str], *, prefix: str = "") -> str:
    """Return the terms of an ``ORDER BY`` over columns, whatever order the user has made DuckDB's default."""
    return ", ".join(f"{prefix}{quote(name)} ASC NULLS LAST" for name in names)


def literal(text: str) -> str:
    """Return ``text`` as a SQL string literal, for the few statements that take no bound values."""
    if "\0" in text:
        raise SqlError(f"The text {text!r} holds a NUL character; SQL literals cannot.")
    return "'" + text.replace("'", "''") + "'"


def split_statements(text: str) -> list[str]:
    """Cut a script into its statements, without the semicolons between them; comments stay with the statement they precede.

    Raises:
        SqlError: The script ends within a quoted name, a string or a comment.
    """
    try:
        tokens = sqlglot.tokenize(text, dialect="duckdb")
    except SqlglotError as error:
        raise SqlError(f"The script cannot be cut into statements: {error}") from error
    statements, start, last = [], 0, None
    for token in tokens:
        if token.token_type == TokenType.SEMICOLON:
            if last is not None:
                statements.append(text[start : token.start].strip())
            start, last = token.end + 1, None
        else:
            last = token
    return [*statements, text[start:].strip()] if last is not None else statements


def first_line(error: BaseException) -> str:
    """Return what DuckDB says, without its kind of error and the statement of ours that it points into."""
    said = re.split(r"\n+LINE \d+:|\n\n", str(error), maxsplit=1)[0]
    return re.sub(r"^(\w+ )+Error: ", "", " ".join(said.split())).rstrip(".")


def check_filter(
    con: duckdb.DuckDBPyConnection, text: str, *, where: str, table: tuple[str, str], columns: Collection[str]
) -> str:
    """Check that ``text`` is one harmless, deterministic expression over the columns of one row, and return it as SQL.

    Args:
        con: The connection that it will run on; its functions and types are those that the names in ``text`` mean.
        text: A predicate such as ``"year >= 2015 AND split = 'train'"``.
        where: What the filter is for; named in the error message.
        table: Schema and name of the table whose rows are filtered.
        columns: The names of its columns.

    Returns:
        ``text`` itself in parentheses, so that DuckDB runs what it was given.

    Raises:
        SqlError: ``text`` does not parse, is more than one expression, is too long or nested too deeply, names a column that
            does not exist, or holds a subquery, an aggregate, a parameter, or a function that is not known to depend on its
            arguments alone. A macro of the file is judged by its body.
    """
    what = f"The filter for {where}"
    with hidden_in_errors(text):
        check_text(text, what, LONGEST_FILTER, "Put what it computes into a column of the table.")
        _check_columns(columns_of_condition(con, text, what), text, where, table, columns)
    return f"({text}\n)"  # the line ends a comment


def _check_columns(
    names: Iterable[tuple[str, ...]], text: str, where: str, table: tuple[str, str], columns: Collection[str]
) -> None:
    known = {c.lower() for c in columns} | {"rowid"}
    schema, own = (part.lower() for part in table)
    for name in names:
        first, second, third = ([*map(str.lower, name), "", ""])[:3]
        # a name that is no column may be a function to DuckDB, such as current_user
        if first in known or (first == own and second in known | {""}) or ((first, second) == (schema, own) and third in known):
            continue
        quoted = f"; text takes single quotes: {literal(name[0])}" if len(name) == 1 and quote(name[0]) in text else ""
        arrow = "; a lambda is written lambda x: …" if re.search(rf"\b{re.escape(name[0])}\s*->", text) else ""
        shown = table[1] if schema == "main" else ".".join(table)
        raise SqlError(
            f"The filter for {where} names {short('.'.join(name))!r}, which is no column of table {shown!r}{quoted or arrow}"
            f"{near_misses(name[-1], columns)}, in {short(text)!r}"
        )
