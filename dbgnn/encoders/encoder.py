"""What every encoder is: a declaration (frozen), fitted by SQL on some rows into a `FittedEncoder` with plain JSON state."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, replace
from typing import Any, ClassVar, Self, TypeAlias

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from dbgnn.encoders.arrays import Flags, fill_nulls, null_rows, plain, text_of
from dbgnn.encoders.nulls import NullValueError
from dbgnn.errors import DataError, SchemaError, UnknownNameError, near_misses
from dbgnn.schema.model import Label
from dbgnn.sql import quote

#: What fitting found: nothing but what JSON holds.
State: TypeAlias = dict[str, Any]

#: Turns arrays, one per column, into a tensor or another object of as many rows.
Encoding: TypeAlias = Callable[[Sequence[pa.Array]], Any]


@dataclass(frozen=True, slots=True)
class FitRows:
    """The rows that encoders are fitted on.

    Attributes:
        run: Runs a query.
        query: A checked SELECT.
        types: The SQL type of each of its columns.
        where: A checked condition in parentheses over its columns: the rows that count; None: all.
        label: The node or edge type, for messages.
    """

    run: Callable[[str], pa.Table]
    query: str
    types: Mapping[str, str]
    where: str | None = None
    label: Label = ""

    @property
    def sql(self) -> str:
        """The rows as SQL, to be written behind FROM; their name is ``q``."""
        where = "" if self.where is None else f" WHERE {self.where}"
        return f"(SELECT * FROM ({self.query}\n) AS q{where}) AS q"

    def select(self, what: str, rest: str = "") -> pa.Table:
        """Return expressions over the rows ``q``."""
        return self.run(f"SELECT {what} FROM {self.sql} {rest}")

    def sql_type(self, column: str) -> str:
        """Return the SQL type of a column; raise :class:`UnknownNameError` with the near misses."""
        if column not in self.types:
            raise UnknownNameError(
                f"There is no column {column!r} for the encoders of {self.label!r}" + near_misses(column, self.types)
            )
        return self.types[column]

    def arrow_type(self, expression: str) -> pa.DataType:
        """Return the Arrow type of an expression over the rows ``q``, without dictionaries and time zones."""
        return plain(self.select(f"{expression} AS value", "LIMIT 0").column(0)).type

    def __len__(self) -> int:
        count: int = self.select("count(*)").column(0)[0].as_py()
        return count

    def lack(self, column: str, what: str) -> None:
        """Raise :class:`DataError` as a column lacks something in these rows, unless the query has no rows at all."""
        text = f"Column {column!r} of {self.label!r} has {what} in the rows to fit on"
        if len(self):
            raise DataError(f"{text}.")
        if self.where is not None and len(replace(self, where=None)):
            raise DataError(f"{text}: no row meets {self.where}.")


class Encoder(ABC):
    """What turns columns into an attribute; see the subclasses. Not fitted: that gives a :class:`FittedEncoder`."""

    __slots__ = ()

    @property
    @abstractmethod
    def columns(self) -> Sequence[str]:
        """The columns that it reads, each once."""

    def bound(self, name: str) -> Self:  # noqa: ARG002 - those that name their columns need no default
        """Return the encoder with its column named; by default that is the attribute's name."""
        return self

    @abstractmethod
    def fit(self, rows: FitRows) -> State:
        """Learn from rows what encoding needs."""

    @abstractmethod
    def encoding(self, state: State) -> Encoding:
        """Return the function that encodes arrays, one per column of `columns`."""

    def for_column(self, state: State) -> Encoding | None:  # noqa: ARG002 - most keep what they make
        """Return the function that makes what a column keeps; None: that of `encoding` does."""
        return None

    def concat(self, parts: Sequence[Any]) -> Any:
        """Join what the function made of several chunks."""
        return torch.cat(list(parts))

    def found(self, state: State) -> str:  # noqa: ARG002 - most find nothing worth showing
        """Return what fitting found, in a few words; "" for nothing."""
        return ""

    def options(self) -> dict[str, Any]:
        """Return the fields that differ from their defaults."""
        values = {f: getattr(self, f.name) for f in fields(self)}  # type: ignore[arg-type] # every encoder is a dataclass
        return {f.name: value for f, value in values.items() if f.default is MISSING or value != f.default}

    def __repr__(self) -> str:
        options = self.options()
        column = [repr(options.pop("column"))] if "column" in options else []
        said = [f"{name}={value!r}" for name, value in options.items() if name != "function"]
        return f"{type(self).__name__}({', '.join(column + said)})"


@dataclass(frozen=True, slots=True, repr=False, kw_only=True)
class ColumnEncoder(Encoder):
    """An encoder of one column, with a policy for NULL.

    Attributes:
        null: What becomes of NULL, and of arrays and lists that hold one. ``"error"``: an error that names the row.
            ``"fill"``: ``fill`` takes its place before encoding, each element's in an array. ``"mask"``: the row becomes
            zeros, and a last column says 1 where that is so, else 0.
        fill: What stands for NULL, a value of the column (a date as ISO text or ``datetime``).
    """

    null: str = "error"
    fill: Any = None

    #: Policies for NULL that make sense here.
    policies: ClassVar[tuple[str, ...]] = ("error", "fill", "mask")

    def __post_init__(self) -> None:
        object.__setattr__(self, "fill", check_policy(self, self.null, self.fill, self.policies))

    @property
    @abstractmethod
    def column(self) -> str | None:
        """The column; None: the one with the attribute's name."""

    @property
    def name(self) -> str:
        """The column's name, once it is known."""
        if self.column is None:
            raise SchemaError(f"{self!r} names no column, and stands where there is no attribute to take the name from.")
        return self.column

    @property
    def columns(self) -> tuple[str, ...]:
        """The column that it reads."""
        return (self.name,)

    def bound(self, name: str) -> Self:
        """Return the encoder with its column named."""
        return self if self.column is not None else replace(self, column=name)  # type: ignore[call-arg] # the subclasses' field

    @abstractmethod
    def values(self, state: State) -> Callable[[pa.Array, Flags | None], Tensor]:
        """Return the function of an array without NULL, and of the rows that were NULL (``null='mask'``: hold anything)."""

    def encoding(self, state: State) -> Encoding:
        """Return the function that encodes the column's array."""
        values = self.values(state)

        def encode(arrays: Sequence[pa.Array]) -> Tensor:
            array = plain(arrays[0])
            missing = null_rows(array)
            if missing is not None:
                if self.null == "error":
                    raise NullValueError(self.name, int(missing.argmax()))
                array = fill_nulls(array, self.fill if self.null == "fill" else None)
                missing = missing if self.null == "mask" else None
            out = values(array, missing)
            return self.masked(out, missing) if self.null == "mask" else out

        return encode

    def masked(self, out: Tensor, missing: Flags | None) -> Tensor:
        """Return the values with zeros in the missing rows, and a column that says which they are."""
        wide = out.reshape(len(out), -1) if len(out) else out.reshape(0, out.shape[1] if out.dim() > 1 else 1)
        if out.dim() > 2:
            raise SchemaError(f"Column {self.name!r} is {tuple(out.shape[1:])} a row; null='mask' takes numbers and FLOAT[n].")
        values = wide.numpy()
        gone = np.zeros((len(out), 1), dtype=bool) if missing is None else missing[:, None]
        return torch.from_numpy(
            np.concatenate([np.where(gone, values.dtype.type(0), values), gone.astype(values.dtype)], axis=1)
        )


@dataclass(frozen=True, slots=True)
class FittedEncoder:
    """An encoder with what fitting found; it encodes any rows of the same columns.

    Attributes:
        encoder: The declaration, its columns named.
        state: What was found: plain JSON.
        num_rows: The number of rows it was fitted on.
        where: The condition that chose them; None: all rows.
    """

    encoder: Encoder
    state: State = field(repr=False)
    num_rows: int
    where: str | None = None
    _encoding: Encoding = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_encoding", self.encoder.encoding(self.state))

    @classmethod
    def fit(cls, encoder: Encoder, rows: FitRows, num_rows: int) -> FittedEncoder:
        """Fit an encoder whose columns are named."""
        for column in encoder.columns:
            rows.sql_type(column)
        return cls(encoder, encoder.fit(rows), num_rows, rows.where)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that it reads, in the order in which `encode` takes them."""
        return tuple(self.encoder.columns)

    def encode(self, arrays: Sequence[pa.Array]) -> Any:
        """Return a tensor ``[n, …]`` (or a ``TensorFrame``) of arrays of n values each, one per column.

        Raises:
            NullValueError: A value is NULL, or holds NULL, and the policy for it is ``"error"``.
            DataError: A value cannot be encoded, such as an unseen category.
        """
        return self._encoding(arrays)

    def encode_for_column(self, arrays: Sequence[pa.Array]) -> Any:
        """Return what a column keeps of the rows: what `encode` does, or an Arrow array that stands for it."""
        keep = self.encoder.for_column(self.state)
        return self.encode(arrays) if keep is None else keep(arrays)

    def concat(self, parts: Sequence[Any]) -> Any:
        """Join what `encode` made of several chunks."""
        return self.encoder.concat(parts)

    def __reduce__(self) -> tuple[Any, ...]:
        return FittedEncoder, (self.encoder, self.state, self.num_rows, self.where)

    def __hash__(self) -> int:
        return hash((self.encoder, self.num_rows, self.where))


def check_policy(encoder: object, null: str, fill: Any, policies: Sequence[str] = ("error", "fill", "mask")) -> Any:
    """Return what stands for NULL as JSON holds it.

    Raises:
        SchemaError: The policy is none of those there are, has no value where it needs one, or one that no column holds.
    """
    kind = type(encoder).__name__
    if null not in policies:
        raise SchemaError(f"{kind}: null={null!r} is none of {', '.join(map(repr, policies))}.")
    if (null == "fill") != (fill is not None):
        raise SchemaError(f"{kind}: fill={fill!r} goes with null='fill', and null='fill' needs it; null is {null!r}.")
    kept = text_of(fill)
    if not isinstance(kept, bool | int | float | str | None):
        raise SchemaError(f"{kind}: fill={fill!r} is no number, truth value, text, date or time.")
    return kept


def as_names(given: Any) -> tuple[str, ...]:
    """Return names given as one text or several."""
    return (given,) if isinstance(given, str) else tuple(given)


def finite_only(name: str) -> str:
    """Return how the values that are not finite become NULL, in a query and in a table; for messages."""
    column = quote(name)
    return (
        f"Make them NULL: CASE WHEN isfinite({column}) THEN {column} END AS {column} in a query, or UPDATE … SET {column} = "
        f"NULL WHERE NOT isfinite({column})"
    )


def column_sql(name: str) -> str:
    """Return a column of the rows ``q`` as SQL."""
    return f"q.{quote(name)}"


def choice(encoder: object, name: str, value: object, choices: Sequence[str]) -> None:
    """Raise `SchemaError` unless an option is one of those there are."""
    if value not in choices:
        raise SchemaError(f"{type(encoder).__name__}: {name}={value!r} is none of {', '.join(map(repr, choices))}.")
