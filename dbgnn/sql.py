"""Quoting names and checking expressions: the only place where text from outside becomes SQL.

Values never come here: they are bound. Sets of ids never come here: they are joined as Arrow tables.
"""

from __future__ import annotations

from collections.abc import Iterable

import sqlglot
from sqlglot import TokenType, exp
from sqlglot.errors import SqlglotError

from dbgnn.errors import SqlError

#: What a filter may not contain: anything that reads beyond the row at hand, or does something.
_FORBIDDEN = (
    exp.Query,
    exp.Subquery,
    exp.Command,
    exp.DDL,
    exp.DML,
    exp.Copy,
    exp.Attach,
    exp.Detach,
    exp.Pragma,
    exp.Set,
    exp.Window,
    exp.AggFunc,
    exp.Alias,
    exp.Star,
    exp.Placeholder,
    exp.Parameter,
)

#: Scalar functions that reach out of the database, change state or read settings.
_FORBIDDEN_FUNCTIONS = frozenset(
    "getenv getvariable current_setting nextval currval setseed query query_table write_log "
    "read_text read_blob read_csv read_csv_auto read_json read_json_auto read_parquet "
    "parquet_scan glob sniff_csv which_secret sql_auto_complete "
    "random uuid uuidv4 uuidv7 gen_random_uuid setseed".split()
)


def quote(name: str) -> str:
    """Return ``name`` as a quoted SQL identifier; a name may hold anything but NUL."""
    if "\0" in name:
        raise SqlError(f"The name {name!r} holds a NUL character; SQL identifiers cannot.")
    return '"' + name.replace('"', '""') + '"'


def quote_all(names: Iterable[str], *, prefix: str = "") -> str:
    """Return the quoted names, separated by commas, each behind ``prefix`` (such as ``"t."``)."""
    return ", ".join(prefix + quote(name) for name in names)


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


def _plain(error: SqlglotError) -> str:
    """Return the first finding of sqlglot, without the terminal colours and class names of its full text."""
    found = getattr(error, "errors", None) or [{}]
    where = f" at position {found[0]['col']}" if found[0].get("col") else ""
    said = str(found[0].get("description") or "it cannot be read")
    return f"{'something is missing' if '<class' in said else said.rstrip('.')}{where}"


def check_filter(text: str, *, where: str) -> str:
    """Check that ``text`` is one scalar expression over the columns of one row, and return it as SQL.

    Args:
        text: A predicate such as ``"year >= 2015 AND split = 'train'"``.
        where: What the filter is for; named in the error message.

    Raises:
        SqlError: ``text`` does not parse, is more than one statement, or holds a subquery, an
            aggregate, or a function that reads files or settings.
    """
    try:
        parsed = sqlglot.parse(f"SELECT * FROM t WHERE ({text}\n)", dialect="duckdb")
    except SqlglotError as error:
        raise SqlError(f"The filter for {where} is not a SQL expression: {text!r}: {_plain(error)}") from error
    if len(parsed) != 1 or not isinstance(parsed[0], exp.Select):
        raise SqlError(f"The filter for {where} must be one expression, without ';': {text!r}")
    select = parsed[0]
    condition = select.args["where"].this
    rest = {k for k, v in select.args.items() if v} - {"kind", "expressions", "from", "from_", "where", "operation_modifiers"}
    if rest or not isinstance(condition, exp.Paren):
        raise SqlError(f"The filter for {where} must be one expression and nothing after it: {text!r}")
    for node in condition.walk():
        name = (node.name if isinstance(node, exp.Anonymous) else node.sql_name() if isinstance(node, exp.Func) else "").lower()
        if isinstance(node, _FORBIDDEN) or name in _FORBIDDEN_FUNCTIONS:
            raise SqlError(
                f"The filter for {where} may use the columns of its own row only; "
                f"found {node.sql(dialect='duckdb')!r} in {text!r}. Put a query into a column or a table first."
            )
        if isinstance(node, exp.Dot) or (isinstance(node, exp.Column) and node.args.get("db")):
            raise SqlError(f"The filter for {where} may name columns only, found {node.sql(dialect='duckdb')!r}")
    return condition.sql(dialect="duckdb", comments=False)
