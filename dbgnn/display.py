"""How objects show themselves to people: in tab completion, in notebooks, where text becomes HTML with its columns kept; and
warnings and progress bars. What is shown is printable, whatever the names in it hold (`terminal.py`).
"""

from __future__ import annotations

import warnings
from html import escape
from typing import ClassVar, Self

from dbgnn.errors import DbgnnError
from dbgnn.terminal import printable


class Listed:
    """A base for classes whose ``dir()``, and so tab completion, names what is public, with the names of PyG's bases."""

    #: Names without an underscore that the parts of dbgnn use among themselves.
    _internal: ClassVar[frozenset[str]] = frozenset()

    def __dir__(self) -> list[str]:
        return [name for name in object.__dir__(self) if not name.startswith("_") and name not in self._internal]


class Shown:
    """A base for classes that a notebook shows as ``print()`` does."""

    def _repr_html_(self) -> str | None:
        """Return the text as HTML; None where there is no text, as of a closed database, so that ``repr()`` is shown."""
        try:
            return as_html(str(self))
        except DbgnnError:
            return None


class PrintedText(str):
    """Printable text that a notebook shows as ``print()`` does, with its lines and columns."""

    __slots__ = ()

    def __new__(cls, text: str) -> Self:  # noqa: D102 - as of str
        return super().__new__(cls, printable(text))

    def _repr_html_(self) -> str:
        return as_html(self)


def as_html(text: str) -> str:
    """Return text as HTML; lines are kept and scroll where they are long."""
    return f'<pre style="white-space: pre; overflow-x: auto">{escape(printable(text))}</pre>'


def warn(text: str, *, stacklevel: int) -> None:
    """Warn as `warnings.warn` does, in printable text; ``stacklevel`` is 1 for the line that calls this."""
    warnings.warn(printable(text), UserWarning, stacklevel=stacklevel + 1)
