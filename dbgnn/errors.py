"""The error types of dbgnn. Every message names the table, the column, the value and what to do."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterable

from dbgnn.masking import mask_error, masked
from dbgnn.terminal import make_printable, one_line, printable


class DbgnnError(Exception):
    """The base of every error dbgnn raises on purpose.

    Its text, and that of the errors that led to it, holds no control characters, whatever the names and values are that it
    quotes: a traceback is shown on a terminal. Nor does it hold the keys and passwords of a statement.
    """

    def __init__(self, *args: object) -> None:
        super().__init__(*(printable(masked(arg)) if isinstance(arg, str) else arg for arg in args))
        mask_error(sys.exception())
        make_printable(sys.exception())  # what is being handled becomes the cause, which a traceback shows too


class ConnectionError(DbgnnError):  # noqa: A001 - the field's name; reached as dbgnn.errors.ConnectionError
    """A database file cannot be opened, is locked, or is used from a process it cannot follow to."""


class SchemaError(DbgnnError):
    """A property graph, a table, a column or a type is unknown, ambiguous or does not fit."""


class CopyError(DbgnnError):
    """A file cannot be loaded as asked. Nothing of it was kept."""


class SqlError(DbgnnError):
    """A piece of SQL given by the user is not the single, harmless expression it must be."""


class DataError(DbgnnError):
    """The rows of a table break a rule (NULL or duplicate keys, dangling edges, NULL features), or a pack is damaged."""


class StaleIndexError(DbgnnError):
    """The topology index is missing, or a table has changed since it was built."""


class RequestError(DbgnnError, IndexError):
    """Ids that are out of range, negative or not integers."""


class UnknownNameError(SchemaError, KeyError):
    """A graph, node or edge type, table or attribute that does not exist, with the near misses."""

    def __str__(self) -> str:  # KeyError would show the repr of the message
        return str(self.args[0])


class ReadOnlyError(DbgnnError):
    """The database is open read-only and the call has to write."""


class ResourceError(DbgnnError):
    """Memory limit, temporary directory or disk are too small; the message names the setting."""


class FanoutError(SchemaError, ValueError):
    """Numbers of neighbors that fit no sample: lists of different length, or no integers."""


def near_misses(name: object, known: Iterable[object]) -> str:
    """Return ``"; did you mean 'x'?"`` and what is there, for the end of an error message; never what was given itself."""
    names = [one_line(k) for k in known]
    if not names:
        return "; there are none"
    given = one_line(name)
    folded = {n.casefold(): n for n in reversed(names)}
    close = [folded[c] for c in difflib.get_close_matches(given.strip().casefold(), folded, n=3, cutoff=0.6)]
    close = [c for c in close if c != given]
    hint = f"; did you mean {' or '.join(repr(c) for c in close)}?" if close else ""
    if any(c.casefold() == given.strip().casefold() for c in close):
        hint += " Case and spaces count."
    shown = ", ".join(names[:20]) + (", …" if len(names) > 20 else "")
    return f"{hint} (there are: {shown})"
