"""The header of an npy file: a literal of Python's in a file of anybody's, read within bounds and never evaluated.

Format: NEP 1, versions 1 to 3. NumPy's own reader takes as many bytes as a file declares (up to 4 GB) before it says that they
are too many, and its types are parsed from any text.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np

MAGIC = b"\x93NUMPY"

#: The longest header; NumPy's own reader has the same limit. One of a plain array has 118 bytes.
_LONGEST = 10_000

#: How deep brackets lie in each other; those of an array 2.
_DEPTH = 16

#: Text in quotes, and what may stand around it: brackets, whole numbers (with the L of Python 2), False, True and None.
_TEXT = re.compile(r"'[^'\\\n]*'|\"[^\"\\\n]*\"")
_LITERAL = re.compile(r"(?:[ \t\r\n{}()\[\],:-]|[0-9]{1,40}L?|False|True|None|'')*+")

#: The types of arrays, as ``dtype.str`` has them or as their names.
_TYPE = re.compile(r"[<>=|]?[A-Za-z?][A-Za-z]{0,15}[0-9]{0,10}(?:\[[0-9]{0,9}[a-zA-Z]{1,7}\])?")


@dataclass(frozen=True, slots=True)
class Header:
    """What the header of an npy file says.

    Attributes:
        shape: Sizes, none negative.
        dtype: The type; no records.
        fortran: Whether the first index varies fastest.
        size: Bytes before the first value.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran: bool
    size: int


class RecordsError(ValueError):
    """The array is one of records; the message says which."""


def read_header(file: BinaryIO) -> Header:
    """Read the header of an npy file.

    Raises:
        EOFError: The file ends before its header does.
        RecordsError: The array holds records.
        ValueError: It is no npy file, or the header is not one that NumPy writes.
    """
    magic = _read(file, 8)
    if magic[:6] != MAGIC:
        raise ValueError(f"the magic string is not correct; expected {MAGIC!r}, got {magic[:6]!r}")
    version = magic[6], magic[7]
    if version not in ((1, 0), (2, 0), (3, 0)):
        raise ValueError(f"format version {version} is unknown")
    length = int.from_bytes(_read(file, 2 if version == (1, 0) else 4), "little")
    if length > _LONGEST:
        raise ValueError(f"{length:,} bytes, where {_LONGEST:,} are the most that are read")
    said = _literal(_read(file, length).decode("utf-8" if version == (3, 0) else "latin-1"))
    if not isinstance(said, dict) or said.keys() != {"descr", "fortran_order", "shape"}:
        raise ValueError("it does not say descr, fortran_order and shape")
    shape, fortran = said["shape"], said["fortran_order"]
    if not isinstance(shape, tuple) or not all(type(n) is int and n >= 0 for n in shape):
        raise ValueError(f"the shape {shape!r:.80} is not of sizes")
    if fortran not in (False, True):
        raise ValueError(f"fortran_order is {fortran!r:.80}")
    return Header(shape, _dtype(said["descr"]), bool(fortran), file.tell())


def _read(file: BinaryIO, size: int) -> bytes:
    data = file.read(size)
    if len(data) < size:
        raise EOFError(f"EOF after {len(data):,} of {size:,} bytes of the header")
    return data


def _literal(text: str) -> Any:
    """Return the value of a literal; one that could take long, or a deep stack, is refused before it is parsed."""
    bare = _TEXT.sub("''", text)
    if _LITERAL.fullmatch(bare) is None:
        raise ValueError("it is no literal of a dict")
    depth = 0
    for bracket in re.findall(r"[{}()\[\]]", bare):
        depth += 1 if bracket in "{([" else -1
        if depth > _DEPTH:
            raise ValueError(f"it has more than {_DEPTH} brackets in each other")
    text = re.sub(r"(?<=[0-9])L\b", "", text) if "L" in bare else text
    try:
        return ast.literal_eval(text.strip(" \t\r\n"))
    except Exception as error:  # a literal that is none raises nearly anything
        raise ValueError(f"it is no literal of a dict: {error}") from error


def _dtype(descr: Any) -> np.dtype[Any]:
    if isinstance(descr, list):
        raise RecordsError(f"{descr!r:.200}")
    if not isinstance(descr, str) or _TYPE.fullmatch(descr) is None:
        raise ValueError(f"the dtype {descr!r:.80} is none")
    try:
        dtype = np.dtype(descr)
    except Exception as error:
        raise ValueError(f"the dtype {descr!r} is none: {error}") from error
    if dtype.hasobject:
        raise ValueError("Python objects")
    if dtype.kind == "V":
        raise RecordsError(f"{dtype}")
    return dtype
