"""Quoting names and checking expressions: the only place where text from outside becomes SQL.

Values never come here: they are bound. Sets of ids never come here: they are joined as Arrow tables.

A filter is read twice. sqlglot says whether it is one condition and nothing else. What is in the condition is judged by
DuckDB's own tree of it, because that is what runs: the two parsers differ in details such as what binds tighter, and
only DuckDB knows which names are its functions. What neither of them is known to be harmless for is refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator
from functools import cache
from typing import Any

import duckdb
import sqlglot
from sqlglot import TokenType, exp
from sqlglot.errors import ParseError, SqlglotError

from dbgnn.errors import SqlError, near_misses

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

#: The classes of DuckDB's expressions that see one row only. Those of functions, columns and types are looked at closer.
_ROW_CLASSES = frozenset(
    "BETWEEN CASE CAST COLLATE COLUMN_REF COMPARISON CONJUNCTION CONSTANT FUNCTION LAMBDA OPERATOR TYPE".split()
)
_ROW_OPERATORS = frozenset(
    "ARRAY_CONSTRUCTOR ARRAY_EXTRACT ARRAY_SLICE COMPARE_IN COMPARE_NOT_IN OPERATOR_COALESCE OPERATOR_IS_NOT_NULL "
    "OPERATOR_IS_NULL OPERATOR_NOT OPERATOR_NULLIF OPERATOR_TRY STRUCT_EXTRACT".split()
)
#: What the others are called in messages.
_CALLED = {"SUBQUERY": "a subquery", "STAR": "'*' or COLUMNS()", "WINDOW": "a window function", "PARAMETER": "a parameter"}

#: Scalar functions that DuckDB says are consistent, and that are about more than their arguments, or run SQL.
_FORBIDDEN_FUNCTIONS = frozenset(
    "error index_key json_deserialize_sql json_serialize_plan json_serialize_sql parse_duckdb_log_message version "
    "write_log".split()
)
#: Whether a function's value may change from one statement to the next. With times that have a zone, what DuckDB calls
#: consistent within a query depends on the setting TimeZone alone (year, +, date_trunc), where there are times without one too.
_CHANGING = """(
    has_side_effects OR stability NOT IN ('CONSISTENT', 'CONSISTENT_WITHIN_QUERY')
    OR stability = 'CONSISTENT_WITHIN_QUERY' AND NOT (
        list_has_any(parameter_types, ['TIMESTAMP WITH TIME ZONE', 'TIMESTAMPTZ_NS'])
        AND bool_or(stability = 'CONSISTENT') OVER (PARTITION BY function_name)
    )
)"""

#: DuckDB's own macros of these names compute a value from their arguments; the others are about the catalog or the session.
_ROW_MACROS = re.compile(
    "(list|array)_(?!to_string_comma).*|map_contains_(entry|value)|md5_number_(lower|upper)|split_part|if|nullif|fmod|fdiv|"
    "days_in_month|date_add|json"
)
#: Functions whose second argument is the name of the aggregate to apply to a list.
_LIST_AGGREGATES = frozenset("aggregate array_aggr array_aggregate list_aggr list_aggregate".split())


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
        SqlError: ``text`` does not parse, is more than one expression, names a column that does not exist, or holds a
            subquery, an aggregate, a parameter, or a function that is not DuckDB's own, reads anything but its
            arguments, or is not the same at every call.
    """
    if any(c == "\0" or "\ud800" <= c <= "\udfff" for c in text):
        raise SqlError(f"The filter for {where} holds a character that SQL text cannot hold: {text!r}")
    try:
        _one_condition(text, where)
        tree = _duckdb_tree(con, text, where)
        uses = list(_uses(tree, frozenset()))
    except RecursionError as error:
        raise SqlError(f"The filter for {where} is nested too deeply.") from error
    _check_columns([name for kind, name in uses if kind == "column"], text, where, table, columns)
    _check_uses(con, uses, text, where)
    return f"({text}\n)"  # the line ends a comment


def _one_condition(text: str, where: str) -> None:
    """Check by sqlglot that ``text`` is one condition, and nothing of what is forbidden."""
    try:
        parsed = sqlglot.parse(f"SELECT * FROM t WHERE ({text}\n)", dialect="duckdb")
    except SqlglotError as error:
        raise SqlError(f"The filter for {where} is not a SQL expression: {text!r}: {_plain(error)}.") from error
    if len(parsed) != 1 or not isinstance(parsed[0], exp.Select):
        raise SqlError(f"The filter for {where} must be one expression, without ';': {text!r}")
    select = parsed[0]
    condition = select.args["where"].this
    rest = {k for k, v in select.args.items() if v} - {"kind", "expressions", "from", "from_", "where", "operation_modifiers"}
    if rest or not isinstance(condition, exp.Paren):
        raise SqlError(f"The filter for {where} must be one expression and nothing after it: {text!r}")
    for node in condition.walk():
        if isinstance(node, _FORBIDDEN):
            raise _beyond_the_row(repr(node.sql(dialect="duckdb")), text, where)


def _plain(error: SqlglotError) -> str:
    """Return what sqlglot stumbled over; its own text has terminal colours and class names."""
    if not isinstance(error, ParseError) or not error.errors:
        return "a string, a quoted name or a comment does not end"
    found = error.errors[0]
    if str(found["end_context"]).lstrip().startswith(";"):
        return "it must be one expression, without ';'"
    if not found["end_context"] and found["highlight"] == ")":
        return "it ends too early"
    return f"it cannot be read from {found['highlight']!r} on"


def _beyond_the_row(what: str, text: str, where: str) -> SqlError:
    return SqlError(
        f"The filter for {where} may use the columns of its own row only; found {what} in {text!r}. "
        "Put what it computes into a column first."
    )


def _duckdb_tree(con: duckdb.DuckDBPyConnection, text: str, where: str) -> dict[str, Any]:
    """Return DuckDB's tree of the condition ``text``."""
    try:
        # the whole name: the file may hold a macro of the same
        query = "SELECT system.main.json_serialize_sql(?)"
        found = json.loads(con.execute(query, [f"SELECT 1 FROM t WHERE ({text}\n)"]).fetchall()[0][0])
    except (duckdb.CatalogException, duckdb.BinderException) as error:
        raise SqlError(f"The filter for {where} cannot be checked: this DuckDB has no json extension. LOAD json.") from error
    if found["error"]:
        said = " ".join(str(found["error_message"]).split())
        raise SqlError(f"The filter for {where} is not a SQL expression: {text!r}: {said}.")
    statements = found["statements"]
    node = statements[0]["node"] if len(statements) == 1 else {}
    clauses = {name for name, value in node.items() if value and value not in ({"map": []}, "STANDARD_HANDLING")}
    if clauses != {"type", "select_list", "from_table", "where_clause"} or node["from_table"]["type"] != "BASE_TABLE":
        raise SqlError(f"The filter for {where} must be one expression and nothing after it: {text!r}")
    tree: dict[str, Any] = node["where_clause"]
    return tree


def _uses(tree: Any, parameters: frozenset[str]) -> Iterator[tuple[str, Any]]:
    """Yield what a tree of DuckDB's uses of the world, as pairs of a kind and a name.

    Kinds: ``"column"`` (the parts of the name), ``"function"``, ``"type"``, ``"aggregate"``, and ``"refused"`` (what it is).
    ``parameters`` are those of the lambdas around it.
    """
    if isinstance(tree, list):
        for part in tree:
            yield from _uses(part, parameters)
    if not isinstance(tree, dict):
        return
    kind = tree.get("class")
    if kind is not None and (kind not in _ROW_CLASSES or (kind == "OPERATOR" and tree["type"] not in _ROW_OPERATORS)):
        yield "refused", _CALLED.get(kind, str(tree["type"]).replace("_", " ").lower())
        return
    if kind == "COLUMN_REF" and tree["column_names"][0].lower() not in parameters:
        yield "column", tuple(tree["column_names"])
    elif kind == "FUNCTION":
        yield from _uses_of_call(tree)
    elif kind == "TYPE":
        yield "type", tree["type_name"].lower()
    elif kind == "LAMBDA" and tree["syntax_type"] != "SINGLE_ARROW":  # the arrow is JSON's, whose left side is a value
        lhs = tree["lhs"]
        names = [lhs] if lhs["class"] == "COLUMN_REF" else [a["expression"] for a in lhs["arguments"]]
        yield from _uses(tree["expr"], parameters | {n["column_names"][0].lower() for n in names})
        return
    for part in tree.values():
        yield from _uses(part, parameters)


def _uses_of_call(call: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    name = call["function_name"].lower()
    if call["schema"] or call["catalog"]:
        yield "refused", f"the function {call['schema']}.{name}(), which is not named by its name alone"
    if call["filter"] or call["distinct"] or call["order_bys"]["orders"]:
        yield "refused", f"an aggregate's clause in {name}()"
    if name == "age" and len(call["arguments"]) == 1:
        yield "refused", "age() of one argument, which changes every day"
    if name in _LIST_AGGREGATES and len(call["arguments"]) > 1:
        yield "aggregate", call["arguments"][1]["expression"].get("literal", {}).get("text", "?").lower()
    yield "function", name


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
            f"The filter for {where} names {'.'.join(name)!r}, which is no column of table {shown!r}{quoted or arrow}"
            f"{near_misses(name[-1], columns)}, in {text!r}"
        )


def _check_uses(con: duckdb.DuckDBPyConnection, uses: Iterable[tuple[str, Any]], text: str, where: str) -> None:
    """Check that functions and types are harmless ones of DuckDB's own, and not replaced by something in the file."""
    scalars, macros, aggregates = _builtin()
    known = scalars | macros.keys()
    of_file = "SELECT DISTINCT function_name FROM system.main.duckdb_functions() WHERE NOT internal"
    replaced = {name.lower() for (name,) in con.execute(of_file).fetchall()}
    types = {name.lower() for (name,) in con.execute("SELECT type_name FROM system.main.duckdb_types()").fetchall()}
    for kind, name in uses:
        if kind == "refused":
            raise _beyond_the_row(name, text, where)
        if kind == "type" and name not in types:  # DuckDB would download an extension that may have it
            raise SqlError(f"The filter for {where} casts to {name!r}, which is no type, in {text!r}")
        if kind == "aggregate" and (name not in aggregates or name in replaced):
            raise _beyond_the_row(f"the aggregate {name!r} of a list, which is none of DuckDB's own", text, where)
        if kind != "function":
            continue
        if name in replaced:
            raise _beyond_the_row(f"{name}(), which is a macro of the database and not DuckDB's own function", text, where)
        if same := sorted(replaced & macros.get(name, frozenset())):
            raise _beyond_the_row(f"{name}(), which calls {same[0]}(), a macro of the database", text, where)
        if name not in known:
            raise _beyond_the_row(f"{name}(), which is not known to be a function of its arguments alone", text, where)


@cache
def _builtin() -> tuple[frozenset[str], dict[str, frozenset[str]], frozenset[str]]:
    """Return the names of the scalar functions that a filter may call, the macros, and the names of all aggregates.

    Macros come with the names in their definitions: a macro of the database is called there too if it has such a name.
    Taken from a connection of its own: functions of Python count as internal where they were registered.
    """
    query = f"""
        SELECT function_name, function_type, {_CHANGING} AS changing, macro_definition FROM duckdb_functions()
    """
    with duckdb.connect(":memory:", config={"threads": "1"}) as con:
        rows = con.execute(query).fetchall()
    refused = {name for name, _, changing, _ in rows if changing} | _FORBIDDEN_FUNCTIONS
    scalars = {n for n, kind, *_ in rows if kind == "scalar" and n not in refused and not n.startswith("__")}
    macros: dict[str, set[str]] = {}
    for name, kind, _, definition in rows:
        if kind == "macro" and name not in refused and _ROW_MACROS.fullmatch(name):
            macros.setdefault(name, set()).update(re.findall(r"\w+|[-+*/<>=~!@%^&|]+", definition))
    for _ in range(3):  # macros that call macros
        for names in macros.values():
            names.update(*(macros[n] for n in names & macros.keys()))
    aggregates = {n for n, kind, *_ in rows if kind == "aggregate"} - {"reservoir_quantile"}  # takes a random sample
    return frozenset(scalars), {name: frozenset(names) for name, names in macros.items()}, frozenset(aggregates)
