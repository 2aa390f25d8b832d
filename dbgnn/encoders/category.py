"""`OneHot`, `Ordinal`, `MultiHot`: values out of a set, which SQL finds in the rows fitted on."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from dbgnn.encoders.arrays import Flags, is_list, is_text, plain, scalar, text_of
from dbgnn.encoders.encoder import ColumnEncoder, FitRows, State, choice, column_sql
from dbgnn.errors import DataError, SchemaError
from dbgnn.schema.remedy import cast_to
from dbgnn.sql import literal

#: Codes of values, int64; -1: none.
Codes = np.ndarray[Any, np.dtype[np.int64]]

#: What the categories of a column are in Python, by their kind.
_PYTHON: dict[str, type] = {"bool": bool, "integer": int, "float": float, "text": str, "date": dt.date}

_LARGEST = 2**63 - 1

#: Categories differ where their bytes do, as Arrow does it; a column's COLLATE or default_collation may say otherwise.
_BYTES = "COLLATE C"


@dataclass(frozen=True, slots=True)
class Categories:
    """An ordered set of values; the code of each is its place.

    Attributes:
        kind: ``"bool"``, ``"integer"``, ``"float"``, ``"text"`` or ``"date"``.
        values: As one Arrow array.
    """

    kind: str
    values: pa.Array

    @classmethod
    def of(cls, kind: str, values: Sequence[Any]) -> Categories:
        """Return the categories of a kind; dates may be ISO text, floats too (``"nan"``).

        Raises:
            SchemaError: A value is of another kind, or is there twice.
        """
        made = [_as_kind(kind, value) for value in values]
        types = {"bool": pa.bool_(), "float": pa.float64(), "text": pa.string(), "date": pa.date32()}
        large = kind == "integer" and any(v > _LARGEST for v in made)
        array = pa.array(made, types.get(kind, pa.uint64() if large else pa.int64()))
        twice = array.value_counts().filter(pc.greater(array.value_counts().field("counts"), 1))
        if len(twice):
            raise SchemaError(f"categories: {twice.field('values')[0].as_py()!r} is there twice.")
        return cls(kind, array)

    @classmethod
    def from_state(cls, state: State) -> Categories:
        """Return what `to_state` was made of."""
        return cls.of(state["kind"], state["categories"])

    def to_state(self) -> State:
        """Return JSON: numbers, truth values and text as they are, dates as ISO text, NaN and infinity as text."""
        return {"kind": self.kind, "categories": [text_of(v) for v in self.values.to_pylist()]}

    def __len__(self) -> int:
        return len(self.values)

    def codes(self, array: pa.Array, name: str) -> Codes:
        """Return the code of every value of a column without NULL, int64 ``[n]``; -1: it is none of these."""
        array = canonical(array, name)
        if (kind := arrow_kind(array.type)) != self.kind:
            raise SchemaError(f"Column {name!r} holds values of kind {kind!r}; its categories are of kind {self.kind!r}.")
        if array.type != self.values.type:  # int64 and uint64: what the other cannot hold is no category
            bound = pa.scalar(_LARGEST if pa.types.is_uint64(array.type) else 0, array.type)
            fits = (pc.less_equal if pa.types.is_uint64(array.type) else pc.greater_equal)(array, bound)
            array = pc.if_else(fits, array, pa.scalar(None, array.type)).cast(self.values.type)
        found = pc.index_in(array, value_set=self.values, skip_nulls=True)
        codes: Codes = found.fill_null(-1).to_numpy().astype(np.int64)
        return codes


@dataclass(frozen=True, slots=True, repr=False, kw_only=True)
class CategoryEncoder(ColumnEncoder):
    """An encoder of text, ENUMs, UUIDs, whole numbers, floats, truth values or dates that stand for categories.

    Attributes:
        categories: The categories in their order; None: those in the rows fitted on, in SQL's order.
        max_categories: More than these are an error: they make long vectors.
        unseen: What becomes of a value that is no category: an error, ``"zero"``: no 1 at all, or ``"other"``: one more
            category, after all others.
    """

    categories: Sequence[Any] | None = None
    max_categories: int = 1000
    unseen: str = "error"

    #: What may become of unseen values.
    fates: ClassVar[tuple[str, ...]] = ("error", "zero", "other")

    def __post_init__(self) -> None:
        ColumnEncoder.__post_init__(self)
        choice(self, "unseen", self.unseen, self.fates)
        if self.categories is not None:
            if isinstance(self.categories, str):
                raise SchemaError(f"categories are a list of values, not the text {self.categories!r}.")
            object.__setattr__(self, "categories", tuple(text_of(c) for c in self.categories))

    def expression(self, kind: str) -> str:
        """Return the SQL of one category a row, over the rows ``q`` of a column of this SQL type."""
        column = column_sql(self.name)
        return f"{column} {_BYTES}" if kind == "VARCHAR" else column

    def fit(self, rows: FitRows) -> State:
        """Find the categories by SQL."""
        sql_type = rows.sql_type(self.name)
        expression = self.expression(sql_type)
        arrow_type = rows.arrow_type(expression)
        kind = arrow_kind(canonical(pa.array([], arrow_type), self.name).type)
        values = self._distinct(rows, expression) if self.categories is None else list(self.categories)
        if self.null == "fill":
            known = [_as_kind(kind, v) for v in values]
            standing = in_python(canonical(self.standing(sql_type, arrow_type), self.name), self.name)
            values += [v for v in dict.fromkeys(standing) if v not in known]
        if not values and self.unseen == "error":
            rows.lack(self.name, "no category")
        return Categories.of(kind, values).to_state()

    def standing(self, sql_type: str, arrow_type: pa.DataType) -> pa.Array:  # noqa: ARG002 - MultiHot looks at the SQL type
        """Return the categories that stand for NULL."""
        return pa.array([scalar(self.fill, arrow_type).as_py()], arrow_type)

    def _distinct(self, rows: FitRows, expression: str) -> list[Any]:
        table = rows.run(
            f"SELECT DISTINCT value FROM (SELECT {expression} AS value FROM {rows.sql}) AS v "
            f"WHERE value IS NOT NULL ORDER BY value ASC LIMIT {int(self.max_categories) + 1}"
        )
        if len(table) > self.max_categories:
            raise DataError(
                f"Column {self.name!r} of {rows.label!r} has more than {self.max_categories:,} categories. Use Hash, Ordinal "
                "for an embedding, a query that merges rare ones, or a larger max_categories."
            )
        return in_python(canonical(plain(table.column(0)), self.name), self.name)

    def found(self, state: State) -> str:
        """Return how many categories there are."""
        return f"{len(state['categories']):,} categories"

    def known(self, codes: Codes, values: pa.Array, others: int, missing: Flags | None) -> Codes:
        """Return codes with unseen values told: -1 (no code) or ``others``; the missing have none."""
        bad = codes < 0
        if missing is not None:
            bad &= ~missing
            codes = np.where(missing, -1, codes)
        if not bad.any():
            return codes
        if self.unseen == "error":
            [first] = in_python(values.slice(int(bad.argmax()), 1), self.name)
            raise DataError(
                f"Column {self.name!r} holds {first!r}, which is none of the categories fitted, as are {int(bad.sum()):,} of "
                f"{len(codes):,} values at hand. Say what becomes of them, "
                f"{' or '.join(f'unseen={f!r}' for f in self.fates[1:])}, or fit on rows that hold them."
            )
        return np.where(bad, others, codes) if self.unseen == "other" else codes


@dataclass(frozen=True, slots=True, repr=False)
class OneHot(CategoryEncoder):
    """A category as a vector with one 1: float32 ``[N, categories]``.

    Then come, where asked for, a column for other categories (``unseen='other'``), and one for NULL (``null='mask'``).

    Attributes:
        column: The column; None: the one with the attribute's name.
    """

    column: str | None = None

    def values(self, state: State) -> Callable[[pa.Array, Flags | None], Tensor]:
        """Return the function that makes the vectors."""
        categories = Categories.from_state(state)

        def values(array: pa.Array, missing: Flags | None) -> Tensor:
            codes = self.known(categories.codes(array, self.name), array, len(categories), missing)
            rows = np.flatnonzero(codes >= 0)
            return _hot(rows, codes[rows], (len(array), len(categories) + (self.unseen == "other")))

        return values


@dataclass(frozen=True, slots=True, repr=False)
class Ordinal(CategoryEncoder):
    """A category as its number, for embeddings: int64 ``[N]``, from 0.

    The number after all categories is that of other ones (``unseen='other'``), and the next one that of NULL
    (``null='mask'``).

    Attributes:
        column: The column; None: the one with the attribute's name.
    """

    column: str | None = None
    max_categories: int = field(default=1_000_000, kw_only=True)

    fates: ClassVar[tuple[str, ...]] = ("error", "other")

    def values(self, state: State) -> Callable[[pa.Array, Flags | None], Tensor]:
        """Return the function that looks the numbers up."""
        categories = Categories.from_state(state)
        others = len(categories)

        def values(array: pa.Array, missing: Flags | None) -> Tensor:
            codes = self.known(categories.codes(array, self.name), array, others, missing)
            return torch.from_numpy(codes if missing is None else np.where(missing, others + (self.unseen == "other"), codes))

        return values

    def masked(self, out: Tensor, missing: Flags | None) -> Tensor:  # noqa: ARG002 - the number says it
        """Return the numbers: NULL has one of its own."""
        return out


@dataclass(frozen=True, slots=True, repr=False)
class MultiHot(CategoryEncoder):
    """Several categories a row, as a vector with a 1 for each: float32 ``[N, categories]``.

    Text is cut at ``sep``; nothing is trimmed, and the empty text is no category. Lists (``VARCHAR[]``, ``INTEGER[]`` …)
    are taken as they are. Further columns are those of :class:`OneHot`. A list that holds NULL counts as NULL.

    Attributes:
        column: The column; None: the one with the attribute's name.
        sep: What separates the categories in text.
    """

    column: str | None = None
    sep: str = field(default="|", kw_only=True)

    def __post_init__(self) -> None:
        CategoryEncoder.__post_init__(self)
        if not self.sep:
            raise SchemaError("MultiHot: sep is empty; name what separates the categories.")

    def expression(self, kind: str, *, once: bool = False) -> str:
        """Return the SQL of one category a row; ``once``: of each row that repeats one, only one."""
        column, elements = column_sql(self.name), "list_distinct" if once else ""
        if kind.endswith("]") and not kind.startswith("VARCHAR["):
            return f"unnest({elements}({column}))"
        texts = (
            f"CAST({column} AS VARCHAR[])"
            if kind.endswith("]")
            else f"string_split(CAST({column} AS VARCHAR), {literal(self.sep)})"
        )
        return f"unnest({elements}(list_filter({texts}, lambda piece: piece <> ''))) {_BYTES}"

    def standing(self, sql_type: str, arrow_type: pa.DataType) -> pa.Array:
        """Return the categories that stand for NULL: text is cut, elements of lists are not."""
        one = pa.array([scalar(self.fill, arrow_type).as_py()], arrow_type)
        if sql_type.endswith("]"):
            one = pa.ListArray.from_arrays(pa.array([0, 1], pa.int32()), one)
        return pieces_of(one, self.sep, self.name)[1]

    def values(self, state: State) -> Callable[[pa.Array, Flags | None], Tensor]:
        """Return the function that makes the vectors."""
        categories = Categories.from_state(state)

        def values(array: pa.Array, missing: Flags | None) -> Tensor:
            rows, pieces = pieces_of(array, self.sep, self.name)
            codes = self.known(
                categories.codes(pieces, self.name), pieces, len(categories), None if missing is None else missing[rows]
            )
            hot = codes >= 0
            return _hot(rows[hot], codes[hot], (len(array), len(categories) + (self.unseen == "other")))

        return values


def pieces_of(array: pa.Array, sep: str, name: str) -> tuple[np.ndarray[Any, np.dtype[np.int64]], pa.Array]:
    """Return the pieces of text, or the elements of lists, and the row of each."""
    lists = pc.split_pattern(array, pattern=sep) if is_text(array.type) else array
    if not is_list(lists.type):
        raise SchemaError(f"Column {name!r} arrives as {array.type}; MultiHot takes text and lists.")
    if pa.types.is_fixed_size_list(lists.type):
        lists = lists.cast(pa.list_(lists.type.value_type))
    rows, pieces = pc.list_parent_indices(lists).to_numpy().astype(np.int64), pc.list_flatten(lists)
    if is_text(pieces.type):
        some = pc.not_equal(pieces, "")
        rows, pieces = rows[some.to_numpy(zero_copy_only=False)], pieces.filter(some)
    return rows, pieces


def canonical(array: pa.Array, name: str) -> pa.Array:
    """Return values that can be compared as categories: of one Arrow type per kind (integers: int64, or uint64 as it is)."""
    kind = array.type
    if is_text(kind):
        return array.cast(pa.string())
    if pa.types.is_floating(kind):
        wide = pc.add(array.cast(pa.float64()), 0.0)  # SQL does not tell -0.0 from 0.0, nor one NaN from another
        return pc.if_else(pc.is_nan(wide), math.nan, wide)
    if pa.types.is_integer(kind):
        return array if pa.types.is_uint64(kind) else array.cast(pa.int64())
    if pa.types.is_boolean(kind) or pa.types.is_date32(kind):
        return array
    remedy = (
        f"Use Datetime. {cast_to(name, 'DATE')}"
        if pa.types.is_timestamp(kind)
        else f"Use another encoder (for lists MultiHot). {cast_to(name, 'VARCHAR')}"
    )
    raise SchemaError(
        f"Column {name!r} arrives as {kind}; categories are text, ENUMs, UUIDs, numbers up to 64 bits, truth values or dates. "
        f"{remedy}."
    )


def in_python(array: pa.Array, name: str) -> list[Any]:
    """Return values as Python has them.

    Raises:
        DataError: A date is beyond its calendar.
    """
    try:
        values: list[Any] = array.to_pylist()
    except (OverflowError, ValueError) as error:
        raise DataError(
            f"Column {name!r} holds a date beyond the years 1 to 9999, such as 'infinity'. {cast_to(name, 'VARCHAR')}."
        ) from error
    return values


def arrow_kind(kind: pa.DataType) -> str:
    """Return the kind of a `canonical` array."""
    if pa.types.is_boolean(kind):
        return "bool"
    if pa.types.is_integer(kind):
        return "integer"
    return "float" if pa.types.is_floating(kind) else "date" if pa.types.is_date32(kind) else "text"


def _as_kind(kind: str, value: Any) -> Any:
    try:
        if kind == "date" and isinstance(value, str):
            return dt.date.fromisoformat(value)
        if kind == "float" and isinstance(value, int | str) and not isinstance(value, bool):
            return float(value)
    except ValueError:
        pass
    if not isinstance(value, _PYTHON[kind]) or (kind == "integer" and isinstance(value, bool)):
        raise SchemaError(f"categories: {value!r} is no value of a column of kind {kind!r}.")
    return value


def _hot(rows: Codes, codes: Codes, shape: tuple[int, int]) -> Tensor:
    out = np.zeros(shape, dtype=np.float32)
    out[rows, codes] = 1
    return torch.from_numpy(out)
