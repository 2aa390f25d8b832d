"""Is a text one query that only reads, and which columns has it? What the user writes as SELECT passes here first.

A query may read whatever its author can: views, attached databases, Parquet and CSV files by path. It may not write,
nor change settings. DuckDB's own tree of it is judged, because that is what runs: to DuckDB, `WITH gone AS (DELETE …
RETURNING *) FROM gone` is a SELECT.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

import duckdb

from dbgnn.errors import SqlError
from dbgnn.schema.catalog import folded
from dbgnn.sql import first_line, split_statements

#: Values bound to a query: by position (``?``, ``$1``) or by name (``$name``).
Params: TypeAlias = Sequence[object] | Mapping[str, object] | None

#: The nodes of DuckDB's tree that read; the others, such as INSERT_QUERY_NODE, do not.
_READING = frozenset("SELECT_NODE SET_OPERATION_NODE RECURSIVE_CTE_NODE CTE_NODE".split())

#: Functions that do something, run SQL that nobody has looked at, or take addresses of memory.
_ACTING = re.compile(
    "(force_)?checkpoint|(copy|import)_database|(enable|disable)_.*|.*external_resource.*|truncate_duckdb_logs|"
    "query|query_table|json_execute_serialized_sql|nextval|setval|setseed|write_log|sleep_ms|add_parquet_key|"
    "(pandas|arrow|python_arrow|seq)_scan.*|python_map_function|verify_parallelism|"
    # extensions that send SQL elsewhere
    "(sqlite|postgres|mysql|mssql|odbc)_(attach|query|exec.*|configure.*|clear.*)"
)


#: What may go wrong while a query runs without being its fault.
NOT_OF_THE_QUERY = (
    duckdb.OutOfMemoryException,
    duckdb.ConnectionException,
    duckdb.TransactionException,
    duckdb.InterruptException,
)


#: Names that columns of ours have beside the user's own.
POSITION, ROWID = "dbgnn: position", "dbgnn: rowid"


@contextmanager
def query_errors(where: str, text: str) -> Iterator[None]:
    """Turn what DuckDB raises, and what Arrow makes of it in the middle of a stream, into an error that names the query."""
    try:
        yield
    except NOT_OF_THE_QUERY:
        raise
    except duckdb.Error as error:
        raise cannot_run(where, text, error) from error
    except OSError as error:
        if "Out of Memory" in str(error):
            raise duckdb.OutOfMemoryException(str(error)) from error
        if "INTERRUPT" in str(error).upper():
            raise duckdb.InterruptException(str(error)) from error
        raise cannot_run(where, text, error) from error


def check_query(con: duckdb.DuckDBPyConnection, text: str, *, where: str) -> str:
    """Check that ``text`` is one query that reads and does nothing else, and return it without a semicolon at its end.

    Args:
        con: The connection that it will run on.
        text: A query: ``SELECT …``, ``FROM …``, ``WITH … SELECT …``, ``VALUES …``.
        where: What the query is for; named in the error message.

    Returns:
        SQL to be embedded as ``FROM (text)``, with the parenthesis on a line of its own: the text may end in a comment.

    Raises:
        SqlError: ``text`` does not parse, is several statements or another one than a query, or calls a function that acts.
    """
    text = _one_statement(text, where)
    for node in walk(tree_of(con, text, where)):
        kind = str(node.get("type", ""))
        if kind.endswith("_NODE") and kind not in _READING:
            what = kind.removesuffix("_QUERY_NODE").removesuffix("_NODE").replace("_", " ")
            raise SqlError(f"The query for {where} may only read, but it holds {what}: {text!r}. Run that with db.execute().")
        name = str(node.get("function_name", "")).lower()
        if node.get("class") == "FUNCTION" and _ACTING.fullmatch(name):
            raise SqlError(f"The query for {where} may only read, but it calls {name}(): {text!r}")
    return text


def names_bound(con: duckdb.DuckDBPyConnection, text: str) -> set[str]:
    """Return the names, or numbers, of the values that a checked query wants bound."""
    return {str(node["identifier"]) for node in walk(tree_of(con, text, "")) if node.get("class") == "PARAMETER"}


def columns_named(con: duckdb.DuckDBPyConnection, expression: str) -> set[str]:
    """Return the names, folded, that may be columns in a SQL expression that was checked."""
    tree = walk(tree_of(con, f"SELECT {expression}", ""))
    return {folded(part) for node in tree if node.get("class") == "COLUMN_REF" for part in node["column_names"]}


def described(con: duckdb.DuckDBPyConnection, text: str, params: Params, *, where: str) -> dict[str, str]:
    """Return the columns of a checked query and their SQL types, in its order; the query is bound, not run.

    Of two columns with one name, as in ``SELECT p.id, q.id``, DuckDB calls the second ``name_1``.

    Raises:
        SqlError: It names what does not exist, or that name is another column's already.
    """
    with query_errors(where, text):
        own = con.execute(f"DESCRIBE {text}\n", params).fetchall()
        found = con.execute(f"DESCRIBE SELECT * FROM ({text}\n)", params).fetchall()
    names = [folded(row[0]) for row in own]
    for (name, *_), (now, *_) in zip(own, found, strict=True):
        if name != now and names.count(folded(name)) == 1:
            raise SqlError(f"The query for {where} has two columns of one name, and {name!r} as well; rename one with AS.")
    if taken := [row[0] for row in found if row[0].lower().startswith(POSITION)]:
        raise SqlError(f"The query for {where} has a column {taken[0]!r}, a name that is dbgnn's own; rename it with AS.")
    return {row[0]: row[1] for row in found}


def cannot_run(where: str, text: str, error: Exception) -> SqlError:
    """Return the error for a query that DuckDB refuses, or that fails while it runs."""
    return SqlError(f"The query for {where} cannot be run: {first_line(error)}. It reads: {text}")


def _one_statement(text: str, where: str) -> str:
    if not isinstance(text, str):
        raise SqlError(f"The query for {where} must be SQL text, not {text!r}.")
    if any(c == "\0" or "\ud800" <= c <= "\udfff" for c in text):
        raise SqlError(f"The query for {where} holds a character that SQL text cannot hold: {text!r}")
    try:
        statements = split_statements(text)
    except SqlError as error:
        said = "a string, a quoted name or a comment does not end"
        raise SqlError(f"The query for {where} cannot be read: {said}. It reads: {text!r}") from error
    if len(statements) != 1:
        raise SqlError(f"The query for {where} must be one SELECT, not {len(statements)} statements: {text!r}")
    return statements[0]


def tree_of(con: duckdb.DuckDBPyConnection, text: str, where: str) -> Any:
    """Return DuckDB's tree of a query."""
    try:
        # the whole name: the file may hold a macro of the same
        found = json.loads(con.execute("SELECT system.main.json_serialize_sql(?)", [text]).fetchall()[0][0])
    except (duckdb.CatalogException, duckdb.BinderException) as error:
        raise SqlError(f"The query for {where} cannot be checked: this DuckDB has no json extension. LOAD json.") from error
    if not found["error"]:
        return found["statements"]
    said = " ".join(str(found["error_message"]).split())
    if found["error_type"] == "not implemented":
        said = "it must be one SELECT; put anything else, PIVOT too, into a view or a table first"
    raise SqlError(f"The query for {where} cannot be read: {said}. It reads: {text!r}")


def walk(tree: Any) -> Iterator[dict[str, Any]]:
    """Yield every object of a tree, itself first; without recursion, since queries may be deep."""
    stack = [tree]
    while stack:
        part = stack.pop()
        if isinstance(part, dict):
            yield part
            stack.extend(part.values())
        elif isinstance(part, list):
            stack.extend(part)
