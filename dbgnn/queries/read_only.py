"""Is a text one query that only reads, and which columns has it? What the user writes as SELECT passes here first.

A query may read whatever its author can: views, attached databases, Parquet and CSV files by path. It may not write,
nor change settings. DuckDB's own tree of it is judged, because that is what runs: to DuckDB, `WITH gone AS (DELETE …
RETURNING *) FROM gone` is a SELECT. So are the macros and views of the file that it names. Which functions act is known to
`dbgnn/duckdb_functions.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any, NoReturn, TypeAlias

import duckdb

from dbgnn.duckdb_functions import acts
from dbgnn.errors import SqlError
from dbgnn.masking import hidden_in_errors
from dbgnn.parse_tree import LONGEST_QUERY, check_text, depths, query_of_view, serialized, short, walk
from dbgnn.schema.catalog import folded
from dbgnn.sql import first_line, split_statements

#: Values bound to a query: by position (``?``, ``$1``) or by name (``$name``).
Params: TypeAlias = Sequence[object] | Mapping[str, object] | None

#: The nodes of DuckDB's tree that read; the others, such as INSERT_QUERY_NODE, do not.
_READING = frozenset("SELECT_NODE SET_OPERATION_NODE RECURSIVE_CTE_NODE CTE_NODE".split())

#: How deep the expressions of a query may be nested, and its lambdas: DuckDB's binder cannot be interrupted, and takes minutes
#: for 900 rows within one another, or for 25 lambdas or
#: macros of its own, in each of which it binds the arguments twice.
DEEPEST, DEEPEST_LAMBDAS = 250, 12

#: What may go wrong while a query runs without being its fault.
NOT_OF_THE_QUERY = (
    duckdb.OutOfMemoryException,
    duckdb.ConnectionException,
    duckdb.TransactionException,
    duckdb.InterruptException,
)


#: A name, in double quotes or without.
_WORD = re.compile(rb'"((?:[^"]|"")*)"|\w+')

#: Names that columns of ours have beside the user's own.
POSITION, ROWID = "dbgnn: position", "dbgnn: rowid"


@contextmanager
def query_errors(where: str, text: str) -> Iterator[None]:
    """Turn what DuckDB raises, and what Arrow makes of it in the middle of a stream, into an error that names the query."""
    try:
        with hidden_in_errors(text):
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
    with hidden_in_errors(text):
        text = _one_statement(text, where)
        _Reading(con, where, text).check()
    return text


class _Reading:
    """Checks that a query reads and does nothing else, and so do the macros and views of the file that it names."""

    def __init__(self, con: duckdb.DuckDBPyConnection, where: str, text: str) -> None:
        self._con, self._where, self._text = con, where, text
        self._seen: set[tuple[str, str]] = set()

    def check(self) -> None:
        """Check the query, and what it leads to."""
        tree = tree_of(self._con, self._text, self._where)
        deepest, multiplied = depths(tree)
        if deepest > DEEPEST or multiplied > DEEPEST_LAMBDAS:
            raise SqlError(
                f"The query for {self._where} is nested too deeply: expressions may be {DEEPEST} deep, lambdas and "
                f"macros {DEEPEST_LAMBDAS}. Put parts of it into a view or a table: {short(self._text)!r}."
            )
        nodes = list(walk(tree))
        waiting = self._checked(nodes, "")
        while waiting:
            found = waiting.pop()
            if found not in self._seen:
                self._seen.add(found)
                for called, text in self._texts(*found):
                    waiting += self._checked(self._nodes(text), called)

    def _checked(self, nodes: Sequence[dict[str, Any]], called: str) -> list[tuple[str, str]]:
        """Check the nodes of one tree; return the kinds and names of what may be macros or views."""
        names = []
        for node in nodes:
            kind = str(node.get("type", ""))
            if kind.endswith("_NODE") and kind not in _READING:
                what = kind.removesuffix("_QUERY_NODE").removesuffix("_NODE").replace("_", " ")
                self._refuse(f"{called or 'it'} holds {what}", " Run that with db.execute().")
            if node.get("class") == "FUNCTION":
                name = str(node["function_name"]).lower()
                if acts(name):
                    self._refuse(f"{called or 'it'} calls {name}()", "")
                names.append(("macro", name))
            elif kind == "BASE_TABLE":
                names.append(("view", folded(node["qualified_name"]["path"][-1])))
        return names

    def _refuse(self, what: str, remedy: str) -> NoReturn:
        raise SqlError(f"The query for {self._where} may only read, but {what}: {short(self._text)!r}.{remedy}")

    def _texts(self, kind: str, name: str) -> Iterator[tuple[str, str]]:
        """Yield what macros or views of a name are called, and the queries that they are."""
        if kind == "macro":
            for is_table, text in self._macros.get(name, ()):
                yield f"its macro {name}()", text if is_table else f"SELECT {text}"
        else:
            for text in self._views.get(name, ()):
                yield f"its view {name!r}", text

    @cached_property
    def _macros(self) -> dict[str, list[tuple[bool, str]]]:
        query = """
            SELECT function_name, function_type, macro_definition FROM system.main.duckdb_functions()
            WHERE NOT internal AND macro_definition IS NOT NULL
        """
        found: dict[str, list[tuple[bool, str]]] = {}
        for name, kind, text in self._con.execute(query).fetchall():
            found.setdefault(name.lower(), []).append((kind == "table_macro", text))
        return found

    @cached_property
    def _views(self) -> dict[str, list[str]]:
        # A table of Python that was registered is a temporary view, which no file can hold.
        query = """
            SELECT view_name, sql FROM system.main.duckdb_views()
            WHERE NOT internal AND sql IS NOT NULL AND NOT (temporary AND contains(sql, '_scan('))
        """
        found: dict[str, list[str]] = {}
        for name, text in self._con.execute(query).fetchall():
            found.setdefault(folded(name), []).append(query_of_view(text))
        return found

    def _nodes(self, text: str) -> list[dict[str, Any]]:
        """Return the nodes of DuckDB's tree of a macro or view; of a PIVOT, which has none, the calls that its words may be."""
        found = serialized(self._con, text, f"The query for {self._where}")
        if not found["error"]:
            return list(walk(found["statements"]))
        raw, strings = text.encode(), (duckdb.token_type.string_const, duckdb.token_type.comment)
        names = [_WORD.match(raw, start) for start, kind in duckdb.tokenize(text) if kind not in strings]
        return [{"class": "FUNCTION", "function_name": (n[1] or n[0]).decode(errors="replace")} for n in names if n]


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
    return SqlError(f"The query for {where} cannot be run: {first_line(error)}. It reads: {short(text)}")


def _one_statement(text: str, where: str) -> str:
    check_text(text, f"The query for {where}", LONGEST_QUERY)
    try:
        statements = split_statements(text)
    except SqlError as error:
        said = "a string, a quoted name or a comment does not end"
        raise SqlError(f"The query for {where} cannot be read: {said}. It reads: {short(text)!r}") from error
    if len(statements) != 1:
        raise SqlError(f"The query for {where} must be one SELECT, not {len(statements)} statements: {short(text)!r}")
    return statements[0]


def tree_of(con: duckdb.DuckDBPyConnection, text: str, where: str) -> Any:
    """Return DuckDB's tree of a query."""
    found = serialized(con, text, f"The query for {where}")
    if not found["error"]:
        return found["statements"]
    said = " ".join(str(found["error_message"]).split())
    if found["error_type"] == "not implemented":
        said = "it must be one SELECT; put anything else, PIVOT too, into a view or a table first"
    raise SqlError(f"The query for {where} cannot be read: {said}. It reads: {short(text)!r}")
