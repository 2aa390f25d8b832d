"""Paths of names as users write them: ``table``, ``schema.table``, ``"a.b".column``."""

from __future__ import annotations

import re

#: A name as SQL writes it; what needs no quotes here is more than in SQL: everything but points and double quotes.
_NAME = r'"(?:[^"]|"")+"|[^".]+'


def names_of_path(text: str) -> tuple[str, ...] | None:
    """Return the names of which a path consists, without their quotes; None: it is no path."""
    if not re.fullmatch(rf"(?:{_NAME})(?:\.(?:{_NAME}))*", text):
        return None
    parts: list[str] = re.findall(_NAME, text)
    return tuple(part[1:-1].replace('""', '"') if part.startswith('"') else part for part in parts)
