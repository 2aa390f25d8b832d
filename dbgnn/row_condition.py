"""Is a text one harmless, deterministic condition on one row? What a filter may hold, judged by DuckDB's own tree of it.

DuckDB's tree is what runs, and only DuckDB knows which names are its functions. What is not known to be harmless is refused:
the lists of functions are in `duckdb_functions.py`. A macro of the file is what its body is, and that is judged in the same
way. Whether the columns exist is not known here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from typing import Any, NoReturn

import duckdb

from dbgnn.duckdb_functions import (
    AGGREGATES_OF_LISTS,
    FOLDS,
    FORMATTING,
    LAMBDAS,
    LIST_AGGREGATES,
    MACROS_OF_THE_ROW,
    OF_A_FOLD,
    OF_THE_ROW,
    RANGES,
    SIZED,
    builtin,
)
from dbgnn.errors import SqlError
from dbgnn.parse_tree import is_chain, serialized, short, walk

#: How deep expressions may be nested; a chain of operators such as ``a + b + c`` is one level, of DuckDB's at most 1,000
#: terms. DuckDB 2.0.1 takes 0.1 s for 100 rows within one another, and more than 20 s for 900.
DEEPEST = 100

#: How many expressions a filter may be when its macros are written out and what DuckDB binds twice is counted twice: each
#: lambda doubles what is in it. 16 of `list_transform` within one another take 0.3 s, 20 take 10 s.
LARGEST = 250_000

#: How many expressions a term of AND counts as, and a comparison of what is computed on both sides: DuckDB's optimizer compares
#: each of them with each other, and cannot be interrupted. 1,000 terms ``id <> 7`` take it 0.9 s and 4,000 10 s; 200 terms
#: ``id = y + 7`` take 1.1 s, and 2,000 140 s.
_OF_A_TERM, _OF_A_COMPARISON = 200, 1_000

#: How many parts of one side of a comparison are looked at for columns.
_LOOKED_AT = 2_000

#: How large values may be made by functions whose result is as large as an argument says, all sizes multiplied.
LARGEST_VALUE = 1_000_000

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

#: DuckDB's own macros use an argument up to this many times.
_USES_OF_AN_ARGUMENT = 3

#: Macros that call macros: how many within one another.
_DEEPEST_MACROS = 16

#: A whole number as it is written.
_WHOLE = re.compile(r"-?\d{1,4}(_?\d{1,4}){0,4}")

_START = "SELECT 1 FROM t WHERE "


def columns_of_condition(con: duckdb.DuckDBPyConnection, text: str, what: str) -> list[tuple[str, ...]]:
    """Return the columns that a condition names, each as the parts of its name, if the condition is harmless.

    Args:
        con: The connection that it will run on; its macros and types are those that the names in ``text`` mean.
        text: The condition, of a size that was checked.
        what: What it is; the beginning of error messages.

    Raises:
        SqlError: It is not one expression, or not harmless.
    """
    judge = _Judge(con, text, what)
    judge.size_of(_condition(con, text, what), frozenset(), ())
    return judge.columns


def _condition(con: duckdb.DuckDBPyConnection, text: str, what: str) -> Any:
    """Return DuckDB's tree of a text that is one expression.

    It is read twice. With parentheses around it, nothing follows the expression, as in ``a LIMIT ALL``; without them, those
    within it match, which ``a) OR (b`` does not.
    """
    node: dict[str, Any] = {}
    for start, end in ((f"{_START}(", "\n)"), (_START, "\n")):
        found = serialized(con, f"{start}{text}{end}", what)
        if found["error"]:
            raise SqlError(f"{what} is not a SQL expression: {short(text)!r}: {_said(found, text, len(start))}.")
        statements = found["statements"]
        node = statements[0]["node"] if len(statements) == 1 else {}
        clauses = {name for name, value in node.items() if value and value not in ({"map": []}, "STANDARD_HANDLING")}
        if clauses != {"type", "select_list", "from_table", "where_clause"} or node["from_table"]["type"] != "BASE_TABLE":
            ends = ", without ';'" if len(statements) != 1 else " and nothing after it"
            raise SqlError(f"{what} must be one expression{ends}: {short(text)!r}")
    return node["where_clause"]


def _said(found: dict[str, Any], text: str, start: int) -> str:
    """Return what DuckDB's parser stumbled over."""
    message = " ".join(str(found["error_message"]).split())
    if "unterminated" in message:
        return "a string, a quoted name or a comment does not end"
    if "expression depth" in message:
        return "it is nested too deeply; DuckDB takes a chain of at most 1,000 terms"
    if not message.startswith("syntax error") or "position" not in found:
        return message.rstrip(".")
    rest = text.encode()[max(0, int(found["position"]) - start) :].decode(errors="replace").strip()
    if rest.startswith(";"):
        return "it must be one expression, without ';'"
    word = re.match(r"\w+|\W", rest)
    return f"it cannot be read from {word[0]!r} on" if word else "it ends too early"


@dataclass(frozen=True, slots=True)
class _Around:
    """What stands around an expression.

    Attributes:
        depth: How many expressions.
        times: How often DuckDB binds it.
        parameters: Those of lambdas and of the macro.
        chained: Whether it is an operand of an operator.
        folded: Whether it is in the lambda of a fold.
    """

    depth: int
    times: int
    parameters: frozenset[str]
    chained: bool = False
    folded: bool = False


@dataclass(slots=True)
class _Catalog:
    """What the file and the session have beside DuckDB's own: macros by name, each with its parameters, and types."""

    macros: dict[str, list[tuple[str, list[str], str]]] = field(default_factory=dict)
    types: frozenset[str] = frozenset()


class _Judge:
    """Judges the tree of one condition, and those of the macros that it calls."""

    def __init__(self, con: duckdb.DuckDBPyConnection, text: str, what: str) -> None:
        self._con, self._text, self._what = con, text, what
        self._sizes: dict[str, int] = {}
        self._largest = 1
        self.columns: list[tuple[str, ...]] = []

    @cached_property
    def _catalog(self) -> _Catalog:
        found = _Catalog()
        query = """
            SELECT function_name, function_type, parameters, macro_definition FROM system.main.duckdb_functions()
            WHERE NOT internal
        """
        for name, kind, parameters, definition in self._con.execute(query).fetchall():
            found.macros.setdefault(name.lower(), []).append(
                (kind, [str(p).lower() for p in parameters or ()], str(definition))
            )
        types = self._con.execute("SELECT type_name FROM system.main.duckdb_types()").fetchall()
        found.types = frozenset(name.lower() for (name,) in types)
        return found

    def size_of(self, tree: Any, parameters: frozenset[str], within: tuple[str, ...]) -> int:
        """Judge a tree, and return how many expressions it is, as `LARGEST` counts.

        Args:
            tree: A condition, or the body of a macro.
            parameters: Those of the macro.
            within: The names of the macros whose bodies lead here.
        """
        size = 0
        stack = [(tree, _Around(0, 1, parameters))]
        while stack:
            part, around = stack.pop()
            if isinstance(part, list):
                stack += ((p, around) for p in part)
            elif isinstance(part, dict) and part.get("class") is None:
                stack += ((p, around) for p in part.values())
            elif isinstance(part, dict):
                chain = is_chain(part)
                depth = around.depth + (not (chain and around.chained))
                if depth > DEEPEST:
                    self._stop(f"is nested too deeply: expressions may be {DEEPEST} deep", within)
                here = _Around(depth, around.times, around.parameters, chain, around.folded)
                size += around.times + _optimized(part) + self._own_size(part, here, within)
                if size > LARGEST:
                    self._stop(
                        "is too large: about 1,000 terms of AND are the most, or 200 comparisons of columns with columns, or "
                        "16 lambdas within one another, with macros written out",
                        within,
                    )
                stack += self._parts(part, here)
        return size

    def _own_size(self, part: dict[str, Any], around: _Around, within: tuple[str, ...]) -> int:
        """Judge one expression, not those within it; return what the body of a macro adds."""
        kind = part["class"]
        if kind not in _ROW_CLASSES or (kind == "OPERATOR" and part["type"] not in _ROW_OPERATORS):
            self._refuse(_CALLED.get(kind, str(part["type"]).replace("_", " ").lower()), within)
        if kind == "COLUMN_REF":
            self._column(part, around, within)
        elif kind == "TYPE" and part["type_name"].lower() not in self._catalog.types:
            # DuckDB would download an extension that may have it
            raise SqlError(f"{self._what} casts to {part['type_name']!r}, which is no type, in {short(self._text)!r}")
        elif kind == "COLLATE" and (
            others := [
                c for c in part["collation"].lower().split(".") if c not in builtin().collations | {"c", "binary", "posix"}
            ]
        ):
            raise SqlError(f"{self._what} sorts by {others[0]!r}, which is no collation, in {short(self._text)!r}")
        elif kind == "FUNCTION":
            return around.times * self._call(part, around, within)
        return 0

    def _column(self, part: dict[str, Any], around: _Around, within: tuple[str, ...]) -> None:
        name = part["column_names"]
        if len(name) > DEEPEST:
            self._stop(f"is nested too deeply: a name may have {DEEPEST} parts", within)
        if name[0].lower() in around.parameters:
            return
        if within:
            self._refuse(f"the name {'.'.join(name)!r}, which is no parameter,", within)
        self.columns.append(tuple(name))

    def _call(self, call: dict[str, Any], around: _Around, within: tuple[str, ...]) -> int:
        """Judge a call; return the size of the body where it is a macro's of the file."""
        name, arguments = call["function_name"].lower(), call["arguments"]
        if call["schema"] or call["catalog"]:
            self._refuse(f"the function {call['schema']}.{name}(), which is not named by its name alone", within)
        if call["filter"] or call["distinct"] or call["order_bys"]["orders"]:
            self._refuse(f"an aggregate's clause in {name}()", within)
        if name == "age" and len(arguments) == 1:
            self._refuse("age() of one argument, which changes every day", within)
        if around.folded and name not in OF_A_FOLD:
            self._refuse(f"{name}() in the lambda of a fold, which may use arithmetic alone", within)
        macros, own = self._catalog.macros, builtin()
        if name in macros and name not in own.names:
            return self._macro(name, len(arguments), within)
        if name in macros:
            self._refuse(f"{name}(), which is a macro of the database and not DuckDB's own function", within)
        if same := sorted(macros.keys() & own.macros.get(name, frozenset())):
            self._refuse(f"{name}(), which calls {same[0]}(), a macro of the database", within)
        if name not in own.names or (name not in OF_THE_ROW and name not in MACROS_OF_THE_ROW):
            self._refuse(f"{name}(), which is not known to be a function of its arguments alone", within)
        if name in LIST_AGGREGATES and len(arguments) > 1:
            self._aggregate(_constant(arguments[1]["expression"]) or "?", within)
        if name in SIZED or name in FORMATTING or name in RANGES:
            self._size(name, [argument["expression"] for argument in arguments], within)
        return 0

    def _aggregate(self, name: str, within: tuple[str, ...]) -> None:
        name = name.lower()
        if name not in AGGREGATES_OF_LISTS or name in self._catalog.macros:
            self._refuse(f"the aggregate {name!r} of a list, which is none of DuckDB's own", within)

    def _macro(self, name: str, given: int, within: tuple[str, ...]) -> int:
        """Judge the bodies of the macros of a name; return the size of the largest."""
        if name in within or len(within) >= _DEEPEST_MACROS:
            self._refuse(f"the macro {name}(), which calls itself, or macros that call macros, {_DEEPEST_MACROS} deep", within)
        if name not in self._sizes:
            sizes = []
            for kind, parameters, definition in self._catalog.macros[name]:
                if kind != "macro":
                    self._refuse(f"{name}(), which is a {kind.replace('_', ' ')}", within)
                if len(parameters) > given:  # what a default is, the catalog does not say
                    self._refuse(f"the macro {name}() without a value for {parameters[given]!r}; give all arguments", within)
                body = _condition(self._con, definition, f"{self._what} calls the macro {name}(), whose body")
                sizes.append(self.size_of(body, frozenset(parameters), (*within, name)))
            self._sizes[name] = max(sizes)
        return self._sizes[name]

    def _size(self, name: str, arguments: list[Any], within: tuple[str, ...]) -> None:
        """Check that how large the result of a function is stands in the text, and is little."""
        if name in RANGES:
            self._largest *= max(1, self._length(name, arguments, within))
            self._need_small(name, within)
            return
        given = [arguments[i] for i in SIZED[name] if i < len(arguments)] if name in SIZED else arguments[:1]
        for argument in given:
            text = _constant(argument)
            if text is None:
                self._refuse(f"{name}() of a size that is computed: write a number", within)
            if name in FORMATTING:
                if re.search(r"\d{5}|\*|\{[^{}]*\{", text):
                    self._refuse(f"{name}() of a width that is computed, or has more than 4 digits", within)
                sizes = [int(n) for n in re.findall(r"\d+", text)]
            elif _WHOLE.fullmatch(text):
                sizes = [abs(int(text))]
            else:
                self._refuse(f"{name}() of a size that is no whole number", within)
            for size in sizes:
                self._largest *= max(1, size)
            self._need_small(name, within)

    def _need_small(self, name: str, within: tuple[str, ...]) -> None:
        if self._largest > LARGEST_VALUE:
            self._refuse(f"{name}() of a value that may be larger than {LARGEST_VALUE:,}", within)

    def _length(self, name: str, arguments: list[Any], within: tuple[str, ...]) -> int:
        """Return how long the list is that ``range(start, stop, step)`` makes."""
        texts = [_constant(argument) for argument in arguments]
        if None in texts:
            self._refuse(f"{name}() of a size that is computed: write a number", within)
        if not all(_WHOLE.fullmatch(str(text)) for text in texts):
            self._refuse(f"{name}() of a size that is no whole number", within)
        numbers = [int(str(text)) for text in texts]
        start, stop = numbers[:2] if len(numbers) > 1 else (0, *numbers[:1], 0)[:2]
        step = numbers[2] if len(numbers) > 2 else 1
        return abs(stop - start) // max(1, abs(step)) + 1

    def _parts(self, part: dict[str, Any], around: _Around) -> Iterator[tuple[Any, _Around]]:
        """Yield what is within an expression, with what stands around that."""
        if part["class"] == "LAMBDA" and part["syntax_type"] != "SINGLE_ARROW":  # the arrow is JSON's, whose left is a value
            lhs = part["lhs"]
            names = [lhs] if lhs["class"] == "COLUMN_REF" else [a["expression"] for a in lhs["arguments"]]
            new = frozenset(n["column_names"][0].lower() for n in names)
            yield part["expr"], _Around(around.depth, around.times, around.parameters | new, folded=around.folded)
            return
        if part["class"] != "FUNCTION":
            yield from ((value, around) for value in part.values())
            return
        name = part["function_name"].lower()
        times = around.times
        if name in LAMBDAS:
            times *= 2
        elif name in self._sizes:
            times *= self._sizes[name]
        elif name in MACROS_OF_THE_ROW:
            times *= _USES_OF_AN_ARGUMENT
        for argument in part["arguments"]:
            value = argument["expression"]
            folded = around.folded or (name in FOLDS and value["class"] == "LAMBDA")
            yield value, _Around(around.depth, min(times, LARGEST + 1), around.parameters, around.chained, folded)

    def _stop(self, what: str, within: tuple[str, ...]) -> NoReturn:
        macro = f", in the macro {within[-1]}()" if within else ""
        raise SqlError(f"{self._what} {what}{macro}. Put parts of it into columns of the table.")

    def _refuse(self, what: str, within: tuple[str, ...]) -> NoReturn:
        macro = f" in the macro {within[-1]}()" if within else ""
        raise SqlError(
            f"{self._what} may use the columns of its own row only; found {what}{macro} in {short(self._text)!r}. "
            "Put what it computes into a column first."
        )


def _optimized(part: dict[str, Any]) -> int:
    """Return how many expressions more one counts as, because DuckDB's optimizer compares those like it with each other."""
    kind = part["type"]
    if kind == "CONJUNCTION_AND":
        return _OF_A_TERM * len(part["children"])
    if kind == "OPERATOR_NOT" and part["children"][0]["type"] == "CONJUNCTION_OR":  # which becomes an AND
        return _OF_A_TERM * len(part["children"][0]["children"])
    if kind in {"COMPARE_EQUAL", "COMPARE_NOTEQUAL"}:
        return _OF_A_COMPARISON * min(_columns_in(part["left"]), _columns_in(part["right"]))
    if kind == "COMPARE_IN" and len(part["children"]) == 2:  # which becomes an equality
        return _OF_A_COMPARISON * min(map(_columns_in, part["children"]))
    return 0


def _columns_in(part: Any) -> int:
    return sum(p.get("class") == "COLUMN_REF" for p in islice(walk(part), _LOOKED_AT))


def _constant(part: dict[str, Any]) -> str | None:
    """Return the text of a constant; None where an expression is computed."""
    if part["class"] != "CONSTANT":
        return None
    return str(part.get("literal", {}).get("text", ""))
