r"""Text that holds names and values of other people's files, made safe to show: on a terminal, in a traceback, in a notebook.

A terminal obeys control characters: they set its title, clear it, write to the clipboard, or go back and write over a line.
Others show nothing and change what is read: text that runs from right to left, spaces without width. All of them are shown as
``repr()`` shows them (``\x1b``, ``\u202e``), so that a name looks the same wherever it stands. Every edge at which text
leaves dbgnn goes through here: errors (`errors.py`), reprs, tables and HTML (`display.py`), progress bars, warnings, and the
command line. Knows nothing of where text comes from.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

#: Control characters (C0, DEL, C1); soft hyphen; marks, embeddings, overrides and isolates of direction; what has no width;
#: separators of lines and paragraphs; halves of surrogate pairs, which no stream can encode; invisible tags, controls of
#: shorthand and music. Variation selectors stay: they choose among glyphs that are seen.
_HIDDEN = (
    "\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff\ufff9-\ufffb"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e007f"
)
_ANY = re.compile(f"[{_HIDDEN}]")
_BUT_LAYOUT = re.compile(rf"(?![\t\n])[{_HIDDEN}]")


def printable(text: str) -> str:
    r"""Return text that keeps its lines and tabs and shows every other character that is not seen as ``\x1b`` or ``\u202e``."""
    return text if text.isprintable() else _BUT_LAYOUT.sub(_escaped, text)


def one_line(value: object) -> str:
    r"""Return a name or a value as :func:`printable` does, on one line: ``\n`` and ``\t`` are shown as well."""
    text = str(value)
    return text if text.isprintable() else _ANY.sub(_escaped, text)


def printable_json(text: str) -> str:
    r"""Return JSON that means the same and prints nothing that is not seen; its layout has no such characters in strings."""
    return text if text.isprintable() else _BUT_LAYOUT.sub(_json_escaped, text)


def make_printable(error: BaseException | None) -> None:
    """Make the texts of an error and of its causes printable, of DuckDB's as well, which quote names and values as they are."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if any(isinstance(part, str) and part != printable(part) for part in error.args):
            error.args = tuple(printable(part) if isinstance(part, str) else part for part in error.args)
        error = error.__cause__ or error.__context__


@contextmanager
def printable_errors() -> Iterator[None]:
    """Make what is raised within printable: errors of DuckDB's that a user sees as they are."""
    try:
        yield
    except Exception as error:
        make_printable(error)
        raise


def _escaped(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode("ascii")


def _json_escaped(found: re.Match[str]) -> str:
    units = found[0].encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[i : i + 4]}" for i in range(0, len(units), 4))
