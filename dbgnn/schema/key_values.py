"""Keys as Python values, exactly: what SQL hands over of a key, and what a user gives, in Arrow on either way.

A value that Python has no type for (``infinity``, 24:00, the year 12000, a time with nanoseconds) is the text that DuckDB
writes for it, and DuckDB's text is taken for a key of any type.
"""

from __future__ import annotations

import datetime as dt
import re
import uuid
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dbgnn.errors import RequestError
from dbgnn.schema.keys import kind_of

#: Types whose keys come as a NumPy array.
ARRAYS = frozenset(
    "BOOLEAN TINYINT SMALLINT INTEGER BIGINT UTINYINT USMALLINT UINTEGER UBIGINT FLOAT DOUBLE TIMESTAMP_NS".split()
)

_INTEGERS = frozenset("TINYINT SMALLINT INTEGER BIGINT HUGEINT UTINYINT USMALLINT UINTEGER UBIGINT UHUGEINT BIGNUM".split())

_ZONED = frozenset(["TIMESTAMP WITH TIME ZONE", "TIMESTAMPTZ_NS"])

#: Types that Arrow carries as they are; the others travel as text.
_CARRIED = ARRAYS | {"DECIMAL", "VARCHAR", "JSON", "BLOB", "GEOMETRY", "UUID"}

#: The Arrow type to which what is given is cast, where a cast by DuckDB would round it in silence.
_EXACT = {
    "DATE": pa.date32(),
    "TIME": pa.time64("us"),
    "TIME_NS": pa.time64("ns"),
    "TIMESTAMP": pa.timestamp("us"),
    "TIMESTAMP_S": pa.timestamp("s"),
    "TIMESTAMP_MS": pa.timestamp("ms"),
    "TIMESTAMP_NS": pa.timestamp("ns"),
    "TIMESTAMP WITH TIME ZONE": pa.timestamp("us", "UTC"),
    "TIMESTAMPTZ_NS": pa.timestamp("ns", "UTC"),
}


def carried(expression: str, key_type: str) -> str:
    """Return the SQL expression under which a key arrives in Arrow as it is."""
    kind = kind_of(key_type)
    if kind == "TIMESTAMP WITH TIME ZONE":  # whose text is in the session's zone and calendar
        return f"(timezone('UTC', {expression})::VARCHAR || CASE WHEN isfinite({expression}) THEN '+00' ELSE '' END)"
    whole = kind in _CARRIED or (kind == "[]" and re.split(r"\[[0-9]+\]", key_type)[0] in ARRAYS)
    return expression if whole else f"{expression}::VARCHAR"


def python_values(column: pa.ChunkedArray | pa.Array, key_type: str) -> list[Any]:
    """Return a column of carried keys as Python values: ``str``, ``int``, ``uuid.UUID``, ``datetime.date`` …; NULL is None."""
    kind = kind_of(key_type)
    if kind == "TIMESTAMP_NS":
        return [None if v is None else np.datetime64(v, "ns") for v in column.cast(pa.int64()).to_pylist()]
    values: list[Any] = column.to_pylist()
    read = _READ.get(kind)
    return values if read is None else [None if v is None else _read(read, v) for v in values]


def key_rows(con: duckdb.DuckDBPyConnection, query: str, types: Sequence[str], params: Any = None) -> list[tuple[Any, ...]]:
    """Run a query whose first columns are carried keys of these types, and return its few rows as Python values."""
    table = con.sql(query, params=params).to_arrow_table()
    keys = [python_values(column, kind) for column, kind in zip(table.columns, types, strict=False)]
    return list(zip(*keys, *(column.to_pylist() for column in table.columns[len(types) :]), strict=True))


def shown_value(value: object) -> str:
    """Return a key's value for a message."""
    if isinstance(value, tuple | list):
        return f"({', '.join(map(shown_value, value))})"
    if value is None:
        return "NULL"
    return repr(value) if isinstance(value, str | bytes) else str(value)


def shown_key(names: Iterable[str], values: Iterable[object]) -> str:
    """Return a key for a message: ``id = 7, name = 'a'``."""
    return ", ".join(f"{name} = {shown_value(value)}" for name, value in zip(names, values, strict=True))


def _read(read: Callable[[Any], Any], text: Any) -> Any:
    try:
        return read(text)
    except ValueError:  # what Python has no value for stays text
        return text


def _time(text: str) -> Any:
    return text if text.startswith("24") else dt.time.fromisoformat(text)


#: How a text becomes the Python value of a type.
_READ: dict[str, Callable[[Any], Any]] = {
    "HUGEINT": int,
    "UHUGEINT": int,
    "BIGNUM": int,
    "UUID": lambda given: given if isinstance(given, uuid.UUID) else uuid.UUID(given),
    "DATE": dt.date.fromisoformat,
    "TIME": _time,
    "TIMESTAMP": dt.datetime.fromisoformat,
    "TIMESTAMP_S": dt.datetime.fromisoformat,
    "TIMESTAMP_MS": dt.datetime.fromisoformat,
    "TIMESTAMP WITH TIME ZONE": dt.datetime.fromisoformat,
}


# -- what a user gives -------------------------------------------------------------------------------------


def given_keys(values: Any, key_type: str, label: object, column: str) -> pa.Array | pa.ChunkedArray:
    """Return keys that a user gives as an Arrow column that DuckDB casts to the key's type without loss.

    Args:
        values: A list, array or Arrow array.
        key_type: The key's type.
        label: The node type, and
        column: its column, for messages.

    Raises:
        RequestError: A value is not of the key's type, or would be rounded, or lacks a time zone.
    """
    kind, what = kind_of(key_type), f"Keys of {label!r} are {key_type} (column {column!r})"
    if not isinstance(values, pa.Array | pa.ChunkedArray):
        values = _to_arrow(values, kind, label)
    arrow = values.type
    if isinstance(arrow, pa.DictionaryType):
        values, arrow = values.cast(arrow.value_type), arrow.value_type
    if _is_text(arrow):
        return _exact_text(values, kind, key_type, what)
    if kind != "BOOLEAN" and pa.types.is_boolean(arrow):
        raise RequestError(f"{what}, not booleans. A mask names nodes by their ids: write_back takes it as n_id=.")
    wrong = (
        (kind in _INTEGERS and not pa.types.is_integer(arrow) and not pa.types.is_decimal(arrow))
        or (kind == "BOOLEAN" and not pa.types.is_boolean(arrow))
        or (kind == "DECIMAL" and pa.types.is_floating(arrow))
    )
    if wrong and not pa.types.is_null(arrow):
        raise RequestError(f"{what}, not {arrow}; convert them.")
    if pa.types.is_timestamp(arrow) and kind in _EXACT and (arrow.tz is not None) != (kind in _ZONED):
        remedy = "give times in UTC with tzinfo=datetime.timezone.utc" if arrow.tz is None else "give times without tzinfo"
        raise RequestError(f"{what}, not {arrow}; {remedy}.")
    return _exact(values, kind, key_type, what)


def _exact(values: Any, kind: str, key_type: str, what: str) -> Any:
    """Cast where DuckDB would round, so that what would be lost is an error."""
    arrow, target = values.type, _EXACT.get(kind)
    if pa.types.is_decimal(arrow) and kind == "DECIMAL":
        width, scale = map(int, key_type[len("DECIMAL(") : -1].split(","))
        target = pa.decimal128(width, scale)
    elif pa.types.is_decimal(arrow) and kind in _INTEGERS:
        return _exact_text(values.cast(pa.string()), kind, key_type, what)
    elif pa.types.is_null(arrow):
        return values.cast(pa.string())
    elif target is None or not pa.types.is_temporal(arrow):
        return values
    try:
        cast = values.cast(target)
        fit = cast.cast(arrow).equals(values)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        fit = False
    if not fit:
        raise RequestError(f"{what}, which the values given, {arrow}, do not fit without loss; convert them.")
    return cast.cast(pa.string()) if kind == "TIME_NS" else cast


def _exact_text(values: Any, kind: str, key_type: str, what: str) -> Any:
    """Return keys given as text if DuckDB reads them without rounding, or guessing a time zone."""
    pattern = _WRITTEN.get(kind)
    if kind == "DECIMAL":
        pattern = rf"^[+-]?[0-9]*(\.[0-9]{{0,{key_type[:-1].split(',')[1]}}}0*)?$"
    if pattern is not None:
        fit = pc.fill_null(pc.match_substring_regex(values, pattern), fill_value=True)
        if not pc.all(fit, min_count=0).as_py():
            first = values.filter(pc.invert(fit))[0].as_py()
            raise RequestError(
                f"{what}, and {first!r} is not of the key's type, exactly; write keys as a cast to VARCHAR does."
            )
    return values


def _moment(digits: int, *, zone: bool = False) -> str:
    """Return the pattern of a point in time with so many digits of a second, as DuckDB and Python write it."""
    time = rf"[ T][0-9]{{1,2}}(:[0-9]{{2}}){{1,2}}(\.[0-9]{{0,{digits}}}0*)?"
    rest = f"{time}(Z|[+-][0-9:]{{2,8}})" if zone else f"({time})?"
    return rf"^(-?infinity|[0-9]+-[0-9]+-[0-9]+( \(BC\))?{rest})$"


#: How points in time are written as text that DuckDB reads without loss.
_MOMENTS = {
    "DATE": r"^(-?infinity|[0-9]+-[0-9]+-[0-9]+( \(BC\))?([ T]00:00(:00(\.0*)?)?)?)$",
    "TIME": r"^[0-9]{1,2}(:[0-9]{2}){1,2}(\.[0-9]{0,6}0*)?$",
    "TIME_NS": r"^[0-9]{1,2}(:[0-9]{2}){1,2}(\.[0-9]{0,9}0*)?$",
    "TIME WITH TIME ZONE": r"^[0-9]{1,2}(:[0-9]{2}){1,2}(\.[0-9]{0,6}0*)?[+-][0-9:]{2,8}$",
    "TIMESTAMP": _moment(6),
    "TIMESTAMP_S": _moment(0),
    "TIMESTAMP_MS": _moment(3),
    "TIMESTAMP_NS": _moment(9),
    "TIMESTAMP WITH TIME ZONE": _moment(6, zone=True),
    "TIMESTAMPTZ_NS": _moment(9, zone=True),
}

#: The same of integers too.
_WRITTEN = dict.fromkeys(_INTEGERS, r"^[+-]?[0-9]+$") | _MOMENTS


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _to_arrow(values: Any, kind: str, label: object) -> pa.Array:
    if not isinstance(values, np.ndarray):
        values = [_plain(value, kind) for value in values]
        if kind in _READ and any(isinstance(v, str) for v in values):  # some values of such types are text
            values = [v if v is None or isinstance(v, str) else str(v) for v in values]
    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError) as error:
        raise RequestError(f"The keys given for {label!r} are not of one type: {error}") from error


def _plain(value: Any, kind: str) -> Any:
    """Return a value that Arrow takes for what it is."""
    if isinstance(value, np.generic) and not isinstance(value, np.datetime64):
        value = value.item()
    # As text, which is judged: of values side by side, Arrow would drop a time of day, or lend a naive time another's zone.
    moment = kind in _MOMENTS and isinstance(value, dt.date | dt.time | np.datetime64)
    if isinstance(value, np.datetime64) and abs(int(value.astype(np.int64))) == 2**63 - 1:
        return "infinity" if value.astype(np.int64) > 0 else "-infinity"
    wide = kind in ("UBIGINT", "HUGEINT", "UHUGEINT", "BIGNUM") and isinstance(value, int) and not isinstance(value, bool)
    return str(value) if moment or wide or isinstance(value, uuid.UUID) else value
