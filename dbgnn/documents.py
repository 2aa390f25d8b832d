"""JSON written by somebody else: read within bounds of size, depth and number of values, which JSON's parser does not have.

A few bytes of JSON become many of memory (``[],`` takes 3 bytes there and 64 here), and a deep nest ends the recursion of
whoever walks it. What a document has to say is checked by whoever asked for it.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

#: Text in quotes, once its own backslashes and quotes are gone; what is left of a document is its structure.
_TEXT = re.compile(rb'"[^"]*"')

_DECODER = json.JSONDecoder()

#: The longest text of a value that an error shows.
_SHOWN = 120


class MalformedError(ValueError):
    """What was read is not what it should be; the message says what it does wrong, to follow its name."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """The most that a document may be.

    Attributes:
        size: Bytes.
        depth: Levels of lists and objects; None: whoever reads on counts them.
        values: Values, and keys of objects.
    """

    size: int
    depth: int | None
    values: int


def check_bounds(text: bytes, bounds: Bounds) -> None:
    """Check the size of a document and the number of its values.

    Raises:
        MalformedError: There is too much of one; the message says of which.
    """
    if len(text) > bounds.size:
        raise MalformedError(f"has {len(text):,} bytes, more than {bounds.size:,}")
    # Commas of text are no values; to leave them out takes longer.
    if _structure(text) >= bounds.values and (found := _structure(_bare(text))) >= bounds.values:
        raise MalformedError(f"holds about {found:,} values, more than {bounds.values:,}")


def parse(text: bytes, bounds: Bounds, decoder: json.JSONDecoder = _DECODER) -> Any:
    """Return what a document says; ``decoder`` makes values of it.

    Raises:
        ValueError: It is no JSON in UTF-8, is too large or too deep, or holds too many values; the message says which.
    """
    check_bounds(text, bounds)
    if bounds.depth is not None and text.count(b"[") + text.count(b"{") > bounds.depth:
        _check_depth(text, bounds.depth)
    try:
        return decoder.decode(text.decode())
    except UnicodeDecodeError as error:
        raise MalformedError(f"is not UTF-8 ({error.reason} at byte {error.start:,})") from error
    except RecursionError as error:
        raise MalformedError("has lists in lists, more than can be read") from error


def _bare(text: bytes) -> bytes:
    """Return a document without its texts."""
    return _TEXT.sub(b"", text.replace(rb"\\", b"").replace(rb"\"", b""))


def _structure(text: bytes) -> int:
    """Return about how many values there are: no fewer than there can be."""
    return sum(map(text.count, (b",", b"[", b"{", b":")))


def _check_depth(text: bytes, limit: int) -> None:
    depth = 0
    for bracket in re.finditer(rb"[\[\]{}]", _bare(text)):
        depth += 1 if bracket[0] in b"[{" else -1
        if depth > limit:
            raise MalformedError(f"has more than {limit} lists or objects in each other")


def shortened(value: Any) -> str:
    """Return a value of a document for an error: on one line, cut where it is long."""
    if isinstance(value, list | dict) and len(value) > _SHOWN:
        return f"{'a list' if isinstance(value, list) else 'an object'} of {len(value):,}"
    text = repr(value)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
