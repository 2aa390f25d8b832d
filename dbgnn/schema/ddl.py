"""The text of ``CREATE PROPERTY GRAPH`` and ``DROP PROPERTY GRAPH`` (SQL/PGQ, ISO/IEC 9075-16:2023), parsed.

Neither DuckDB nor sqlglot knows these statements, so sqlglot's tokenizer cuts the text and a
recursive descent over the tokens reads it. What the names stand for is not known here; see `resolve.py`.

    CREATE [OR REPLACE] PROPERTY GRAPH [IF NOT EXISTS] name
      {VERTEX | NODE} TABLES (table [[AS] alias] [KEY (column, …)] [LABEL label] [properties] [WHERE condition], …)
      [{EDGE | RELATIONSHIP} TABLES (table [[AS] alias] [KEY (column, …)]
         SOURCE end DESTINATION end [LABEL label] [properties] [WHERE condition], …)]
    DROP PROPERTY GRAPH [IF EXISTS] name [CASCADE | RESTRICT]

    end:         KEY (column, …) REFERENCES vertex [(column, …)]  |  vertex
    properties:  NO PROPERTIES  |  PROPERTIES (column, …)
                 |  PROPERTIES [ARE] ALL COLUMNS [EXCEPT (column, …)]

WHERE is ours, not the standard's: only the rows for which the condition is true are nodes, or edges. The clauses stand in any
order. A condition ends where the next clause begins, which is a word of the grammar behind an operand: in
``WHERE source = 'web' LABEL l`` the column stands where an operand is expected, and LABEL where none can be.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

import sqlglot
from sqlglot import Token, TokenType
from sqlglot.errors import SqlglotError

from dbgnn.errors import SqlError
from dbgnn.schema.graph_statement import (
    CreateGraph,
    DropGraph,
    EdgeSpec,
    EndSpec,
    Properties,
    Statement,
    TableRef,
    VertexSpec,
)

#: Lines of the statement shown on each side of a mistake.
_CONTEXT = 5

_CLAUSES = ("KEY", "LABEL", "PROPERTIES", "NO", "SOURCE", "DESTINATION", "AS", "WHERE")

#: Words of SQL that an operand follows: after one of them, a word of the grammar is the name of a column.
_BEFORE_OPERANDS = frozenset(
    (
        "ALL AND ANY BETWEEN BY CASE COLLATE DISTINCT ELSE ESCAPE FROM GLOB ILIKE IN IS LIKE NOT OR SIMILAR SOME THEN TO WHEN "
        "WHERE ZONE"
    ).split()
)

#: Marks behind which it does not: they end an operand.
_AFTER_OPERANDS = (")", "]", "}")


def parse_statement(query: str) -> Statement | None:
    """Parse a ``CREATE`` or ``DROP PROPERTY GRAPH`` statement; return None for any other SQL.

    Raises:
        SqlError: The statement is one of these and has a mistake. The message shows the place and what was expected.
    """
    # Tokenizing an INSERT of a megabyte costs more than looking for a word it does not have.
    if "property" not in query.lower():
        return None
    try:
        tokens = sqlglot.tokenize(query, dialect="duckdb")
    except SqlglotError as error:
        if not _is_ours([word.upper() for word in query.split(None, 5)[:5]]):
            return None  # DuckDB says what is wrong with its own statements
        raise SqlError(f"This statement ends within a quoted name, a string or a comment: {error}\n{query}") from error
    if not _is_ours([token.text.upper() for token in tokens[:5]]):
        return None
    return _Parser(query, tokens).statement()


def _is_ours(words: Sequence[str]) -> bool:
    rest = words[3:] if words[:3] == ["CREATE", "OR", "REPLACE"] else words[1:]
    return words[:1] in (["CREATE"], ["DROP"]) and rest[:2] == ["PROPERTY", "GRAPH"]


class _Parser:
    """Recursive descent; one method per rule of the grammar above."""

    def __init__(self, query: str, tokens: Sequence[Token]) -> None:
        self.query = query
        self.tokens = tokens
        self.position = 0

    # -- tokens --------------------------------------------------------------------------------------

    @property
    def token(self) -> Token | None:
        return self.tokens[self.position] if self.position < len(self.tokens) else None

    def at(self, *words: str, ahead: int = 0) -> bool:
        """Whether the token is one of these words or marks; a quoted name never is."""
        place = self.position + ahead
        if place >= len(self.tokens) or self.tokens[place].token_type in (TokenType.IDENTIFIER, TokenType.STRING):
            return False
        return self.tokens[place].text.upper() in words

    def take(self, *words: str) -> bool:
        """Step over the words if they all come next."""
        if all(self.at(word, ahead=i) for i, word in enumerate(words)):
            self.position += len(words)
            return True
        return False

    def expect(self, *words: str) -> None:
        for word in words:
            if not self.take(word):
                self.fail(word if word.isalpha() else f"'{word}'")

    def fail(self, *expected: str) -> NoReturn:
        what = expected[0] if len(expected) == 1 else f"{', '.join(expected[:-1])} or {expected[-1]}"
        found = "the statement ends" if self.token is None else f"found {self._text(self.token)!r}"
        self.stop(f"Expected {what}, but {found}", self.token)

    def stop(self, message: str, token: Token | None) -> NoReturn:
        raise SqlError(f"{message}:\n{_marked(self.query, len(self.query.rstrip()) if token is None else token.start)}")

    def _text(self, token: Token) -> str:
        return self.query[token.start : token.end + 1]

    # -- names ---------------------------------------------------------------------------------------

    def name(self, what: str) -> str:
        """A quoted name, or any word: SQL/PGQ reserves none that DuckDB does not."""
        token = self.token
        if token is None or not self._is_name(token):
            self.fail(what)
        if not token.text:
            self.stop(f"Expected {what}, but found an empty name", token)
        self.position += 1
        return token.text

    def _is_name(self, token: Token) -> bool:
        if token.token_type in (TokenType.IDENTIFIER, TokenType.VAR):
            return True
        # Any other word is a keyword to sqlglot; a mark, number or string has another first character, or a quote in it.
        text = self._text(token)
        return text[0].isalpha() and text.replace("_", "a").isalnum()

    def table(self, what: str = "a table") -> TableRef:
        parts = [self.name(what)]
        while self.take("."):
            parts.append(self.name("the rest of the table's name"))
        if len(parts) > 3:
            self.stop("A table's name has at most three parts (database.schema.table)", self.tokens[self.position - 1])
        return TableRef(*reversed(parts))

    def key(self) -> tuple[str, ...]:
        """The columns after ``KEY``."""
        if not self.at("("):
            self.fail("the columns of KEY in parentheses, as in KEY (id)")
        return self.names("a column")

    def names(self, what: str) -> tuple[str, ...]:
        """``(name, …)``, each once."""
        self.expect("(")
        found = [self.name(what)]
        known = {found[0].lower()}
        while self.take(","):
            token = self.token
            name = self.name(what)
            if name.lower() in known:
                self.stop(f"{name!r} is there twice", token)
            known.add(name.lower())
            found.append(name)
        if not self.take(")"):
            if self.at("AS"):
                self.stop("A property has the name of its column; rename the column instead", self.token)
            self.fail("','", "')'")
        return tuple(found)

    # -- statements ----------------------------------------------------------------------------------

    def statement(self) -> Statement:
        parsed = self.drop() if self.take("DROP") else self.create()
        end = self.take(";")
        while self.take(";"):
            pass
        if self.token is not None:
            if end:
                self.stop("Expected one statement, but another follows", self.token)
            self.fail("the end of the statement")
        return parsed

    def drop(self) -> DropGraph:
        self.expect("PROPERTY", "GRAPH")
        if_exists = self.take("IF")
        if if_exists:
            self.expect("EXISTS")
        name = self.name("the graph's name")
        # The standard's drop behaviour; nothing in the database depends on a graph, so both mean the same.
        if not self.take("CASCADE"):
            self.take("RESTRICT")
        return DropGraph(name, if_exists)

    def create(self) -> CreateGraph:
        self.expect("CREATE")
        or_replace = self.take("OR", "REPLACE")
        self.expect("PROPERTY", "GRAPH")
        start = self.token
        if_not_exists = self.take("IF", "NOT")
        if if_not_exists:
            self.expect("EXISTS")
        if or_replace and if_not_exists:
            self.stop("OR REPLACE and IF NOT EXISTS exclude each other", start)
        name = self.name("the graph's name")
        if not (self.take("VERTEX") or self.take("NODE")):
            self.fail("VERTEX TABLES")
        self.expect("TABLES", "(")
        vertices = [self.vertex()]
        while self.take(","):
            vertices.append(self.vertex())
        self.close("KEY", "LABEL", "PROPERTIES", "WHERE")
        edges = []
        if self.take("EDGE") or self.take("RELATIONSHIP"):
            self.expect("TABLES", "(")
            edges.append(self.edge())
            while self.take(","):
                edges.append(self.edge())
            self.close("LABEL", "PROPERTIES", "WHERE")
        return CreateGraph(name, tuple(vertices), tuple(edges), or_replace, if_not_exists)

    def close(self, *clauses: str) -> None:
        if not self.take(")"):
            self.fail(*clauses, "','", "')'")

    def alias(self) -> str | None:
        """``[AS] alias``; without AS, a word that starts a clause is that clause."""
        if self.take("AS"):
            return self.name("an alias")
        token = self.token
        if token is None or self.at(*_CLAUSES) or self.at(",", ")", "(", ";", "."):
            return None
        return self.name("a clause or an alias")

    def vertex(self) -> VertexSpec:
        clauses = _Clauses(self.table(), self.alias())
        while self.clause(clauses):
            pass
        c = clauses
        return VertexSpec(c.table, c.alias, c.key, c.label, c.properties, c.condition)

    def edge(self) -> EdgeSpec:
        clauses = _Clauses(self.table(), self.alias())
        ends: dict[str, EndSpec] = {}
        while True:
            token = self.token
            word = "SOURCE" if self.take("SOURCE") else "DESTINATION" if self.take("DESTINATION") else None
            if word in ends:
                self.stop(f"{word} is there twice", token)
            if word is not None:
                ends[word] = self.end()
            elif not self.clause(clauses):
                break
        for word in ("SOURCE", "DESTINATION"):
            if word not in ends:
                self.fail(word)
        return EdgeSpec(
            clauses.table,
            ends["SOURCE"],
            ends["DESTINATION"],
            clauses.alias,
            clauses.key,
            clauses.label,
            clauses.properties,
            clauses.condition,
        )

    def end(self) -> EndSpec:
        """``KEY (…) REFERENCES vertex [(…)]`` or ``vertex``; a vertex table may itself be called key."""
        if not self.at("KEY") or self._ends_name(ahead=1):
            return EndSpec(self.table("KEY or a vertex table"))
        self.expect("KEY")
        columns = self.key()
        self.expect("REFERENCES")
        vertex = self.table("a vertex table")
        return EndSpec(vertex, columns, self.names("a column") if self.at("(") else None)

    def _ends_name(self, *, ahead: int) -> bool:
        """Whether what comes there stands after a name: a mark, the end or a clause, but no column without parentheses."""
        if self.at("REFERENCES", ahead=ahead + 1):
            return False
        return self.position + ahead >= len(self.tokens) or self.at(".", ",", ")", ";", *_CLAUSES, ahead=ahead)

    def clause(self, clauses: _Clauses) -> bool:
        """One of the clauses that stand after any table, in any order; False if there is none."""
        token = self.token
        if self.take("KEY"):
            self.once("KEY", clauses.key, token)
            clauses.key = self.key()
        elif self.take("LABEL"):
            self.once("LABEL", clauses.label, token)
            clauses.label = self.name("a label")
        elif self.take("AS"):
            self.once("AS", clauses.alias, token)
            clauses.alias = self.name("an alias")
        elif self.at("NO", "PROPERTIES"):
            self.once("PROPERTIES", clauses.properties, token)
            clauses.properties = self.properties()
        elif self.take("WHERE"):
            self.once("WHERE", clauses.condition, token)
            clauses.condition = self.condition()
        else:
            return False
        return True

    def once(self, word: str, value: object, token: Token | None) -> None:
        if value is not None:
            self.stop(f"{word} is there twice", token)

    def condition(self) -> str:
        """Return the text of the condition behind WHERE, as it stands; what it may hold is judged by DuckDB's tree of it."""
        first, depth = self.position, 0
        while (token := self.token) is not None:
            is_mark = token.token_type not in (TokenType.IDENTIFIER, TokenType.STRING)
            mark = self._text(token) if is_mark else ""
            if depth == 0 and (mark in (")", ",", ";") or (self.at(*_CLAUSES) and self._is_behind_operand(first))):
                break
            depth += (mark in ("(", "[", "{")) - (mark in _AFTER_OPERANDS)
            self.position += 1
        if self.position == first:
            self.fail("a condition, as in WHERE deleted_at IS NULL")
        return self.query[self.tokens[first].start : self.tokens[self.position - 1].end + 1]

    def _is_behind_operand(self, first: int) -> bool:
        """Whether what comes before the token, in a condition that begins at a token, ends an operand."""
        if self.position == first:
            return False
        before = self.tokens[self.position - 1]
        if before.token_type in (TokenType.IDENTIFIER, TokenType.STRING):
            return True
        text = self._text(before)
        is_word = text[-1:].isalnum() or text[-1:] in "_'"
        return text in _AFTER_OPERANDS or (is_word and text.upper() not in _BEFORE_OPERANDS)

    def properties(self) -> Properties:
        if self.take("NO"):
            self.expect("PROPERTIES")
            return Properties(())
        self.expect("PROPERTIES")
        if self.at("("):
            return Properties(self.names("a column"))
        are = self.take("ARE")
        if not self.take("ALL"):
            self.fail("ALL COLUMNS") if are else self.fail("'('", "ALL COLUMNS")
        self.expect("COLUMNS")
        return Properties(None, self.names("a column") if self.take("EXCEPT") else ())


@dataclass(slots=True)
class _Clauses:
    table: TableRef
    alias: str | None = None
    key: tuple[str, ...] | None = None
    label: str | None = None
    properties: Properties | None = None
    condition: str | None = None


def _marked(query: str, offset: int) -> str:
    """Return the lines around ``offset`` with a caret under it."""
    before = query[:offset]
    row = before.count("\n")
    line_start = before.rfind("\n") + 1
    pad = "".join(c if c == "\t" else " " for c in query[line_start:offset])
    lines = query.split("\n")
    shown = [*lines[max(0, row - _CONTEXT) : row + 1], f"{pad}^", *lines[row + 1 : row + 1 + _CONTEXT]]
    return "\n".join("  " + line.rstrip("\r") for line in shown).rstrip()
