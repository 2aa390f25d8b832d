"""Conditions on the rows of a table that are nodes or edges: judged whenever a definition or the tables may have changed.

A condition is a filter (see `dbgnn.row_condition`), and a little less: it calls no macros of the file, whose bodies somebody
may change, and does not look at ``rowid``, which DuckDB changes. So which rows it means depends on the rows alone.
"""

from __future__ import annotations

import duckdb
import sqlglot
from sqlglot import Token, TokenType

from dbgnn.duckdb_functions import builtin
from dbgnn.errors import DataError, SqlError, StaleIndexError, UnknownNameError
from dbgnn.parse_tree import serialized, short, walk
from dbgnn.schema.catalog import columns, folded
from dbgnn.schema.model import EdgeTable, PropertyGraph, TableName, VertexTable
from dbgnn.schema.render import shown, shown_table, to_sql
from dbgnn.schema.views import view_definition
from dbgnn.sql import check_filter, first_line

_OPEN = (TokenType.L_PAREN, TokenType.L_BRACKET, TokenType.L_BRACE)
_CLOSE = (TokenType.R_PAREN, TokenType.R_BRACKET, TokenType.R_BRACE)

#: What DuckDB raises where a condition fails for the value of a row.
OF_A_ROW = (duckdb.ConversionException, duckdb.InvalidInputException, duckdb.OutOfRangeException)


def check_condition(con: duckdb.DuckDBPyConnection, table: TableName, text: str) -> None:
    """Check the text of a condition on the rows of a table, without running it.

    Raises:
        SqlError: It is not one harmless expression of type BOOLEAN over the columns of one row, calls a macro, or names
            ``rowid``.
        UnknownNameError: There is no such table.
    """
    what, known = f"the rows of table {str(table)!r}", columns(con, table)
    check_filter(con, text, where=what, table=(table.schema, table.name), columns=known)
    found = serialized(con, f"SELECT 1 FROM t WHERE ({text}\n)", what)
    for part in walk(found["statements"]):
        if part.get("class") == "FUNCTION" and part["function_name"].lower() not in builtin().names:
            raise SqlError(
                f"The condition {short(text)!r} on {what} calls the macro {part['function_name']}(), which may be changed "
                "without the graph's knowing. Write out what it computes."
            )
        if part.get("class") == "COLUMN_REF" and folded(part["column_names"][-1]) == "rowid" and "rowid" not in known:
            raise SqlError(
                f"The condition {short(text)!r} on {what} names rowid, which a checkpoint gives other rows. Name a key."
            )
    try:
        [(_, kind, *_)] = con.execute(f"DESCRIBE SELECT ({text}\n) AS condition FROM {table.sql}").fetchall()
    except (duckdb.BinderException, *OF_A_ROW) as error:
        raise _unfit(table, text, first_line(error)) from error
    if kind != "BOOLEAN":
        raise _unfit(table, text, f"it is {kind}, and a condition is BOOLEAN; compare it with something")


def _unfit(table: TableName, text: str, why: str) -> SqlError:
    return SqlError(f"The condition {short(text)!r} does not fit the rows of table {str(table)!r}: {why}.")


def run_condition(con: duckdb.DuckDBPyConnection, element: VertexTable | EdgeTable) -> None:
    """Raise :class:`DataError` if the condition of an element fails for a row; it is run over all of them."""
    if element.condition is None:
        return
    try:
        con.execute(f"SELECT count(*) FROM {element.table.sql} WHERE {element.where}").fetchall()
    except OF_A_ROW as error:
        raise failed(element, error) from error


def failed(element: VertexTable | EdgeTable, error: duckdb.Error) -> DataError:
    """Return the error for a condition that fails for the value of a row."""
    return DataError(
        f"The condition {short(element.condition or '')!r} fails for a row of table {str(element.table)!r}: "
        f"{first_line(error)}. Mend the row, or write what gives NULL there, such as TRY_CAST(… AS …)."
    )


def always_null(text: str) -> frozenset[str]:
    """Return the columns, folded, that are NULL in every row for which a checked condition is true.

    Those of ``column IS NULL`` as the condition, or as a term of an AND. Such a ``deleted_at`` has nothing to serve.
    """
    names: set[str] = set()
    waiting = [sqlglot.tokenize(text, dialect="duckdb")]
    while waiting:
        tokens = waiting.pop()
        terms = _terms(tokens)
        if len(terms) > 1:
            waiting += terms
        elif len(tokens) > 2 and _closes_at(tokens) == len(tokens) - 1:
            waiting.append(tokens[1:-1])
        elif len(tokens) >= 3 and [t.token_type for t in tokens[-2:]] == [TokenType.IS, TokenType.NULL]:
            *path, name = tokens[:-2]
            if all(t.token_type == TokenType.DOT for t in path[1::2]) and len(path) % 2 == 0:
                names.add(folded(name.text))
    return frozenset(names)


def _terms(tokens: list[Token]) -> list[list[Token]]:
    """Return the terms of an AND; the whole where it is none, or has an OR or BETWEEN beside it."""
    terms: list[list[Token]] = [[]]
    depth = 0
    for token in tokens:
        kind = token.token_type
        depth += (kind in _OPEN) - (kind in _CLOSE)
        if depth == 0 and kind in (TokenType.OR, TokenType.BETWEEN, TokenType.CASE, TokenType.NOT):
            return [tokens]
        if depth == 0 and kind == TokenType.AND:
            terms.append([])
        else:
            terms[-1].append(token)
    return terms


def _closes_at(tokens: list[Token]) -> int | None:
    """Return where the bracket that the tokens begin with is closed; None: they begin with none."""
    if tokens[0].token_type != TokenType.L_PAREN:
        return None
    depth = 0
    for i, token in enumerate(tokens):
        depth += (token.token_type in _OPEN) - (token.token_type in _CLOSE)
        if depth == 0:
            return i
    return None


def check_rows(con: duckdb.DuckDBPyConnection, graph: PropertyGraph) -> None:
    """Check the conditions of a graph, and that its views are what they were; a table that is gone is left to others.

    Raises:
        SqlError: A condition is not what :func:`check_condition` takes: a column that it names is gone, say.
        StaleIndexError: A view was changed or dropped since the graph was declared.
    """
    check_views(con, graph)
    judged: set[tuple[TableName, str]] = set()
    for element in graph.elements:
        if element.condition is None or (element.table, element.condition) in judged:
            continue
        judged.add((element.table, element.condition))
        try:
            check_condition(con, element.table, element.condition)
        except UnknownNameError:
            continue


def check_views(con: duckdb.DuckDBPyConnection, graph: PropertyGraph) -> None:
    """Raise :class:`StaleIndexError` if a view was changed or dropped since the graph was declared."""
    for element in graph.elements:
        if element.view is None:
            continue
        now = view_definition(con, element.view.name)
        if now == element.view.definition:
            continue
        name = shown_table(element.view.name)
        if now is None:
            raise StaleIndexError(
                f"The view {str(element.view.name)!r}, by which graph {graph.name!r} names rows of table "
                f"{str(element.table)!r}, is gone. Make it again: {element.view.definition.rstrip(';')}; or drop the graph: "
                f"DROP PROPERTY GRAPH {shown(graph.name)}."
            )
        again = " ".join(to_sql(graph).replace("CREATE PROPERTY", "CREATE OR REPLACE PROPERTY", 1).split())
        raise StaleIndexError(
            f"The view {str(element.view.name)!r} was changed since graph {graph.name!r} was declared by it. Declare the graph "
            f"again, by {name} as it is now: {again}"
        )
