"""Rows of SQL as people and programs read them: lines with tabs, and JSON."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from dbgnn.terminal import one_line

#: As PostgreSQL's COPY writes them, so that a row is a line, and a column stands between two tabs.
_ESCAPES = str.maketrans({"\\": r"\\", "\t": r"\t", "\n": r"\n", "\r": r"\r"})


def line(values: Sequence[object]) -> str:
    r"""Return a row between tabs: NULL is ``\N``; tabs, line breaks and backslashes are ``\t``, ``\n``, ``\r``, ``\\``.

    Other characters that are not seen are ``\x1b`` or ``\u202e``, so that every value can be read back.
    """
    return "\t".join(r"\N" if value is None else one_line(str(value).translate(_ESCAPES)) for value in values)


def names_apart(names: Sequence[str]) -> list[str]:
    """Return names of columns, repeated ones as DuckDB makes them different: ``id``, ``id_1``."""
    found: dict[str, None] = {}
    for name in names:
        made, i = name, 0
        while made in found:
            i += 1
            made = f"{name}_{i}"
        found[made] = None
    return list(found)


def json_value(value: Any) -> Any:
    """Return a value as JSON holds it: NaN, infinity, dates, decimals and other types as text, bytes as hexadecimal text."""
    if isinstance(value, dict):
        return {str(key): json_value(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [json_value(v) for v in value]
    if isinstance(value, bytes):
        return value.hex()
    finite = isinstance(value, float) and math.isfinite(value)
    return value if value is None or finite or isinstance(value, bool | int | str) else str(value)
