"""Columns whose type says how their values are packed: floats of two bytes, and rows of 8-bit codes.

DuckDB has no type for them, so the column is a STRUCT of one field: its name is what the values are, and what it holds are
their bytes, ``STRUCT(float16 UBIGINT[32])`` for float16 ``[N, 128]``. That the type says it, and no table or comment beside the
column, is why it is never lost: it comes along in ``CREATE TABLE … AS``, ``EXPORT DATABASE`` and ``ATTACH``, a rename changes
nothing, and no column of plain integers is taken for something else.

The bytes lie in the widest words that they fill, since DuckDB moves arrays element by element: to join 150 k of 1 M rows takes
38 ms of CPU time of ``USMALLINT[128]`` and 27 ms of ``UBIGINT[32]``, the same bytes; 35 ms of ``TINYINT[128]`` and 18 ms of
``UBIGINT[16]``; 55 ms of ``FLOAT[128]``. The STRUCT around them costs nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

#: Floats of two bytes, by the name of the field, which is that of their dtype.
HALVES = ("float16", "bfloat16")

#: Rows of codes 0 … 255, each before the scale and the least value of its row, two float32: as FBGEMM, and so torch, keeps
#: 8-bit embeddings (`torch.ops.quantized.embedding_bag_byte_prepack`).
BY_ROW = "uint8_by_row"

#: Bytes of scale and least value.
SCALE = 8

#: Bytes of each word.
_WORDS = {"UBIGINT": 8, "UINTEGER": 4, "USMALLINT": 2, "UTINYINT": 1}

_TYPE = re.compile(rf"STRUCT\(({'|'.join([*HALVES, BY_ROW])}) ({'|'.join(_WORDS)})((?:\[[0-9]+\])*)\)")


@dataclass(frozen=True, slots=True)
class Packed:
    """What a packed column holds.

    Attributes:
        form: The name of its field: one of `HALVES`, or `BY_ROW`.
        shape: The shape of one row's values.
    """

    form: str
    shape: tuple[int, ...]

    @property
    def dtype(self) -> str:
        """The dtype of the tensor that it becomes."""
        return "float32" if self.form == BY_ROW else self.form


def unpacked(sql_type: str) -> Packed | None:
    """Return what a column of this type holds packed; None if it is no such type."""
    if _TYPE.fullmatch(sql_type) is None:
        return None
    form, width, sizes = layout(sql_type)
    if form == BY_ROW:
        count = sizes[0] * width - SCALE if len(sizes) == 1 else 0
        return Packed(form, (count,)) if count > 0 else None
    if width == 1 or (width > 2 and not sizes):
        return None
    return Packed(form, tuple(reversed((sizes[0] * width // 2, *sizes[1:]))) if sizes else ())


def layout(sql_type: str) -> tuple[str, int, tuple[int, ...]]:
    """Return the field of a packed type, the bytes of its words, and the sizes of the arrays around them, innermost first."""
    found = _TYPE.fullmatch(sql_type)
    assert found is not None
    form, word, dims = found.groups()
    return form, _WORDS[word], tuple(int(size) for size in dims[1:-1].split("][")) if dims else ()


def packed_type(form: str, shape: tuple[int, ...]) -> str:
    """Return the type of a column that holds values of this shape packed: ``STRUCT(float16 UBIGINT[32])`` for ``(128,)``."""
    if not shape:
        return f"STRUCT({form} USMALLINT)"
    size = SCALE + shape[-1] if form == BY_ROW else 2 * shape[-1]
    word = next(word for word, width in _WORDS.items() if size % width == 0)
    dims = "".join(f"[{n}]" for n in (size // _WORDS[word], *reversed(shape[:-1])))
    return f"STRUCT({form} {word}{dims})"
