"""Where in a query something stands: errors that show the query with a marker under the place.

DuckDB's tree says where each part of a query begins, in bytes of its UTF-8; keywords are found by sqlglot's tokens.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, TypeAlias

import sqlglot
from sqlglot import TokenType

from dbgnn.errors import DbgnnError, SqlError

#: A part of DuckDB's tree of a query.
Tree: TypeAlias = dict[str, Any]

#: How much of a long line, and how many lines around it, an error shows.
_SHOWN_CHARACTERS, _SHOWN_LINES = 120, 4


@dataclass(frozen=True, slots=True)
class Query:
    """A text, and DuckDB's tree of the SELECT that it is."""

    text: str
    node: Tree

    def span(self, part: Tree) -> tuple[int, int] | None:
        """Return where a part of the tree stands in the UTF-8 of the text, if DuckDB says so."""
        start, length = part.get("query_location", -1), part.get("query_location_length", 0)
        return (start, start + length) if length and 0 <= start < 2**63 else None

    def at(self, part: Tree) -> tuple[int, int] | None:
        """Return where a part of the tree stands in the text, in characters."""
        if (span := self.span(part)) is None:
            return None
        raw = self.text.encode()
        return len(raw[: span[0]].decode(errors="ignore")), len(raw[: span[1]].decode(errors="ignore"))

    def keyword(self, *types: TokenType) -> tuple[int, int] | None:
        """Return where the first such keyword stands outside of parentheses."""
        depth = 0
        for token in sqlglot.tokenize(self.text, dialect="duckdb"):
            depth += (token.token_type == TokenType.L_PAREN) - (token.token_type == TokenType.R_PAREN)
            if depth == 0 and token.token_type in types:
                return token.start, token.end + 1
        return None

    def error(self, message: str, at: tuple[int, int] | None, kind: type[DbgnnError] = SqlError) -> DbgnnError:
        """Return the error with the query, and a marker under the place."""
        return kind(f"{message}\n{_marked(self.text, *(at or (0, 0)))}")


def _marked(text: str, start: int, stop: int) -> str:
    """Return the lines around a place in a text, with ``^^^`` under it (nothing where it is empty)."""
    first = text.rfind("\n", 0, start) + 1
    end = text.find("\n", start) % (len(text) + 1)
    cut = max(first, start - _SHOWN_CHARACTERS // 2)
    line = text[cut : min(end, cut + _SHOWN_CHARACTERS)]
    marker = re.sub(r"[^\t]", " ", text[cut:start]) + "^" * (min(stop, cut + len(line)) - start)
    before, after = text[:first].splitlines()[-_SHOWN_LINES:], text[end:].splitlines()[1 : _SHOWN_LINES + 1]
    lines = [*before, line, *([marker] if stop > start else []), *after]
    return "\n".join("    " + line[:_SHOWN_CHARACTERS] for line in lines)
