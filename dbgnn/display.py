"""How objects show themselves to people: in tab completion, and in notebooks, where text becomes HTML with its columns kept."""

from __future__ import annotations

from html import escape
from typing import ClassVar

from dbgnn.errors import DbgnnError


class Listed:
    """A base for classes whose ``dir()``, and so tab completion, names what is public, with the names of PyG's bases."""

    #: Names without an underscore that the parts of dbgnn use among themselves.
    _internal: ClassVar[frozenset[str]] = frozenset()

    def __dir__(self) -> list[str]:
        return [name for name in object.__dir__(self) if not name.startswith("_") and name not in self._internal]


class Shown:
    """A base for classes that a notebook shows as ``print()`` does."""

    def _repr_html_(self) -> str | None:
        """Return the text as HTML; None where it cannot be had, as of a closed database, so that ``repr()`` is shown."""
        try:
            return as_html(str(self))
        except DbgnnError:
            return None


class Text(str):
    """Text that a notebook shows as ``print()`` does, with its lines and columns."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        return as_html(self)


def as_html(text: str) -> str:
    """Return text as HTML; lines are kept and scroll where they are long."""
    return f'<pre style="white-space: pre; overflow-x: auto">{escape(text)}</pre>'
