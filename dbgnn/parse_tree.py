"""DuckDB's own tree of a SQL text, within limits: how long a text may be, and how deep its brackets.

What a tree means is judged in `row_condition.py` and `queries/read_only.py`. Nothing here recurses, so that no text ends in a
RecursionError.

The limits come before any parser reads the text, because parsers are quadratic in places: of DuckDB 2.0.1, 900 brackets that
are never closed take 0.2 s, and 65,000 more than 20 s.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from json.decoder import scanstring  # type: ignore[attr-defined]  # typeshed lacks it
from typing import Any

import duckdb

from dbgnn.duckdb_functions import MACROS_OF_THE_ROW
from dbgnn.errors import SqlError

#: How many characters a filter and a query may have: an IN list of 6,000 UUIDs; a query of 10,000 rows of VALUES.
LONGEST_FILTER, LONGEST_QUERY = 256 * 1024, 1024 * 1024

#: How many brackets may be open at one place. DuckDB takes at most 1,000 levels of expressions.
DEEPEST_BRACKETS = 500

#: How much of a text an error shows.
_SHOWN = 400

_BRACKETS = {"(": 1, "[": 1, "{": 1, ")": -1, "]": -1, "}": -1}

_ATOM = re.compile(r"[^\s,\]}]+")
_SPACE = re.compile(r"[\s,:]*")


def check_text(text: object, what: str, longest: int, remedy: str = "Put values into a table, and join it.") -> None:
    """Check that ``text`` is something that SQL can be, short and flat enough to be read by any parser.

    Args:
        text: What the user gave.
        what: What it is; the beginning of the error message, such as ``"The filter for 'paper'"``.
        longest: How many characters it may have.
        remedy: What to do where it has more.

    Raises:
        SqlError: It is no text, holds NUL or half of a surrogate pair, is too long, or has too many open brackets.
    """
    if not isinstance(text, str):
        raise SqlError(f"{what} must be SQL text, not {text!r}.")
    if len(text) > longest:
        raise SqlError(f"{what} has {len(text):,} characters, and at most {longest:,} are allowed. {remedy}")
    if any(c == "\0" or "\ud800" <= c <= "\udfff" for c in text):
        raise SqlError(f"{what} holds a character that SQL text cannot hold: {short(text)!r}")
    if text.count("(") + text.count("[") + text.count("{") > DEEPEST_BRACKETS and _depth(text) > DEEPEST_BRACKETS:
        raise SqlError(f"{what} is nested too deeply: at most {DEEPEST_BRACKETS} brackets may be open at one place.")


def short(text: str) -> str:
    """Return the beginning of a text, for messages."""
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"


def _depth(text: str) -> int:
    """Return how many brackets are open at most, outside of strings, quoted names and comments as DuckDB cuts them."""
    depth = deepest = 0
    raw = text.encode()  # DuckDB counts in bytes
    for start, kind in duckdb.tokenize(text):
        if kind == duckdb.token_type.operator:
            depth += _BRACKETS.get(chr(raw[start]), 0)
            deepest = max(deepest, depth)
    return deepest


def serialized(con: duckdb.DuckDBPyConnection, text: str, what: str) -> dict[str, Any]:
    """Return what DuckDB's ``json_serialize_sql`` says of a text: ``error`` and ``error_message``, or ``statements``.

    Raises:
        SqlError: This DuckDB has no json extension.
    """
    try:
        # the whole name: the file may hold a macro of the same
        found = con.execute("SELECT system.main.json_serialize_sql(?)", [text]).fetchall()[0][0]
    except (duckdb.CatalogException, duckdb.BinderException) as error:
        raise SqlError(f"{what} cannot be checked: this DuckDB has no json extension. LOAD json.") from error
    said: dict[str, Any] = read_json(found)
    return said


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


def query_of_view(text: str) -> str:
    """Return the query in a ``CREATE VIEW name (…) AS query;``."""
    raw, depth = text.encode(), 0
    for start, kind in duckdb.tokenize(text):
        if kind == duckdb.token_type.operator:
            depth += (raw[start : start + 1] == b"(") - (raw[start : start + 1] == b")")
        elif kind == duckdb.token_type.keyword and depth == 0 and raw[start : start + 2].upper() == b"AS":
            return raw[start + 2 :].decode().strip().removesuffix(";")
    return text


def is_chain(part: dict[str, Any]) -> bool:
    """Whether a part of a tree is an operator of two operands, of which ``a + b + c`` chains many."""
    return part.get("class") == "FUNCTION" and bool(part["is_operator"]) and len(part["arguments"]) == 2


def depths(tree: Any) -> tuple[int, int]:
    """Return how deep the expressions of a tree are nested, a chain of operators counting once, and how deep what multiplies.

    That is lambdas and DuckDB's own macros: it binds what is in one more than once.
    """
    deepest = multiplied = 0
    stack = [(tree, 0, 0, False)]
    while stack:
        part, depth, within, chained = stack.pop()
        if isinstance(part, dict):
            if part.get("class") is not None:
                chain = is_chain(part)
                depth, chained = depth + (not (chain and chained)), chain
                within += part["class"] == "LAMBDA" or str(part.get("function_name")).lower() in MACROS_OF_THE_ROW
                parts = len(part.get("column_names", ()))  # DuckDB looks for each part in each other one
                deepest, multiplied = max(deepest, depth, parts), max(multiplied, within)
            stack += ((value, depth, within, chained) for value in part.values())
        elif isinstance(part, list):
            stack += ((value, depth, within, chained) for value in part)
    return deepest, multiplied


def read_json(text: str) -> Any:
    """Return the value of a JSON text that DuckDB wrote, however deep; Python's own reader recurses.

    A sum of 900 terms is 1,800 levels of JSON. The slow way, 4 MB/s, is taken for such texts alone.
    """
    try:
        return json.loads(text)
    except RecursionError:
        return _read_deep(text)


def _read_deep(text: str) -> Any:
    root: list[Any] = []
    stack: list[Any] = [root]
    keys: list[str | None] = [None]
    end = 0
    while (end := _SPACE.match(text, end).end()) < len(text):  # type: ignore[union-attr]  # it matches the empty text
        mark = text[end]
        if mark in "]}":
            stack.pop()
            keys.pop()
            end += 1
            continue
        value: Any
        if mark in "[{":
            value, end = [] if mark == "[" else {}, end + 1
        elif mark == '"':
            value, end = scanstring(text, end + 1)
        else:
            found = _ATOM.match(text, end)
            value, end = json.loads(found[0]), found.end()  # type: ignore[index,union-attr]  # neither space nor a mark
        if isinstance(stack[-1], list):
            stack[-1].append(value)
        elif keys[-1] is None:
            keys[-1] = value
            continue
        else:
            stack[-1][keys[-1]] = value
            keys[-1] = None
        if mark in "[{":
            stack.append(value)
            keys.append(None)
    return root[0]
