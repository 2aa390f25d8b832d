"""Splits by shares: of the rows at random by a hash of the key, or of the rows in the order of time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import accumulate

import duckdb

from dbgnn.errors import DataError, SchemaError
from dbgnn.queries.split import Run, Split, ask, check_part_names, part_number, shown_directed, split_column
from dbgnn.schema.remedy import cast_to
from dbgnn.sql import literal
from dbgnn.terminal import one_line

#: SQL types in whose order rows can be split by time; of some, without what stands in parentheses behind.
_ORDERED = frozenset(
    "TINYINT SMALLINT INTEGER BIGINT HUGEINT UTINYINT USMALLINT UINTEGER UBIGINT UHUGEINT FLOAT DOUBLE DECIMAL DATE TIME "
    "TIMESTAMP TIMESTAMP_S TIMESTAMP_MS TIMESTAMP_NS".split()
) | {"TIMESTAMP WITH TIME ZONE"}

#: Hexadecimal digits of the MD5 sum that decide, and the numbers that they can be: 52 bits, which a float holds exactly.
_DIGITS = 13
_NUMBERS = 16**_DIGITS


class HashSplit(Split):
    """A random split that is the same whenever and wherever it is made: by the MD5 sum of the seed and the key.

    A row stays in its part when others come or go. Its columns are taken as text, so that keys ``1`` of any integer type
    are the same. The key of an edge is the pair of its ends, in any order: so parallel edges are in one part, and so are an
    edge and its reverse, whether they are rows of one table or of two edge types.

    Args:
        seed: Another seed gives another split.
        columns: The columns to hash; rows with the same values are in the same part. None: the key. (Those of a user, say, keep
            all of that user's ratings together.)
        directed: Of edges: the order of their ends counts; see :class:`Split`.
        fractions: The share of each part by its name: ``HashSplit(train=0.6, val=0.2, test=0.2)``. What is left over of 1 is
            in no part.
    """

    def __init__(
        self, *, seed: int = 0, columns: str | Sequence[str] | None = None, directed: bool = False, **fractions: float
    ) -> None:
        self.seed, self.fractions, self.directed = seed, fractions, directed
        self.columns = (columns,) if isinstance(columns, str) else None if columns is None else tuple(columns)
        if isinstance(seed, bool) or not isinstance(seed, int):
            raise SchemaError(f"{self!r}: the seed must be an integer.")
        if self.columns == ():
            raise SchemaError(f"{self!r}: name at least one column, or leave out columns for the key.")
        _check_fractions(fractions, repr(self))

    @property
    def by_pair(self) -> bool:
        """Whether it goes by the key, without regard to the order of an edge's ends."""
        return self.columns is None and not self.directed

    def expression(
        self,
        run: Run,  # noqa: ARG002 - the interface's
        con: duckdb.DuckDBPyConnection,  # noqa: ARG002 - the interface's
        query: str,  # noqa: ARG002 - the interface's
        types: Mapping[str, str],
        key_columns: Sequence[str],
        where: str,
        *,
        pair: bool = False,
    ) -> tuple[str, tuple[str, ...]]:
        """Return the SQL of a part's number, and the names of the parts; see :class:`Split`.

        Raises:
            UnknownNameError: The query has no such column.
        """
        names = key_columns if self.columns is None else self.columns
        columns = [_text(split_column(name, types, where), types[name]) for name in names]
        rows = ", ".join(columns)
        if pair and self.columns is None:
            one, other = (f"system.main.concat_ws('|', {', '.join(half)})" for half in _halves(columns))
            # As bytes: by a collation, other texts may be equal.
            in_order = f"system.main.encode({one}) <= system.main.encode({other})"
            rows = f"CASE WHEN {in_order} THEN {one} ELSE {other} END, CASE WHEN {in_order} THEN {other} ELSE {one} END"
        # Not hash(), which is another function in every version of DuckDB; and not md5_number(), whose halves take three times
        # as long (5 M rows: 1.6 s against 0.5 s). Hexadecimal digits are in the order of the numbers that they write.
        digits = f"system.main.md5(system.main.concat_ws('|', {literal(str(self.seed))}, {rows}))"
        parts = []
        for i, bound in enumerate(_bounds(self.fractions)):
            below = round(bound * _NUMBERS)
            parts.append((f"{digits} < '{below:0{_DIGITS}x}'" if below < _NUMBERS else "true", i))
        return part_number(parts), tuple(self.fractions)

    def __repr__(self) -> str:
        columns = "" if self.columns is None else f", columns={self.columns!r}"
        return f"HashSplit({_shown(self.fractions)}, seed={self.seed!r}{columns}{shown_directed(self)})"


class TimeSplit(Split):
    """The earliest rows for the first part, later ones for the next: ``TimeSplit('timestamp', train=0.8, val=0.1, test=0.1)``.

    Rows of the same time are in the same part, the earlier one, which may make it larger.

    Args:
        column: A date, timestamp, time or number.
        nulls: What to do with rows whose time is NULL: ``"error"``, or ``"none"`` to have them in no part.
        directed: Of edges: see :class:`Split`.
        fractions: The share of each part of the rows that have a time, by its name. What is left over of 1, the latest, is
            in no part.
    """

    def __init__(self, column: str, *, nulls: str = "error", directed: bool = False, **fractions: float) -> None:
        self.column, self.nulls, self.fractions, self.directed = column, nulls, fractions, directed
        if nulls not in ("error", "none"):
            raise SchemaError(f"{self!r}: nulls must be 'error' or 'none'.")
        _check_fractions(fractions, repr(self))

    def expression(
        self,
        run: Run,
        con: duckdb.DuckDBPyConnection,  # noqa: ARG002 - the interface's
        query: str,
        types: Mapping[str, str],
        key_columns: Sequence[str],  # noqa: ARG002 - the interface's
        where: str,
        *,
        pair: bool = False,  # noqa: ARG002 - the interface's
    ) -> tuple[str, tuple[str, ...]]:
        """Return the SQL of a part's number, and the names of the parts; see :class:`Split`.

        Raises:
            UnknownNameError: The query has no such column.
            SchemaError: The column has no order in time.
            DataError: The column holds NULL.
        """
        time = split_column(self.column, types, where)
        kind = types[self.column]
        if kind.endswith("]") or kind.partition("(")[0] not in _ORDERED:
            raise SchemaError(
                f"Column {self.column!r} of {where} has type {kind}; a split by time needs a date, timestamp, time or "
                f"number. {cast_to(self.column, 'TIMESTAMP')}."
            )
        source = f"FROM ({query}\n) AS q"
        counts = ask(run, f"SELECT count({time}), count(*) {source}", query, where)
        rows, missing = counts.column(0)[0].as_py(), counts.column(1)[0].as_py() - counts.column(0)[0].as_py()
        if missing and self.nulls == "error":
            raise DataError(
                f"Column {self.column!r} of {where} is NULL in {missing:,} of {rows + missing:,} rows, which are in no part of "
                f"{self!r}. Fill or leave out such rows, or say nulls='none'."
            )
        last = [math.floor(bound * rows + 0.5) for bound in _bounds(self.fractions)]
        ranked = f"SELECT {time} AS t, row_number() OVER (ORDER BY {time} ASC) AS place {source} WHERE {time} IS NOT NULL"
        wanted = ", ".join(map(str, sorted({0, *last})))
        found = ask(run, f"SELECT place, t::VARCHAR FROM ({ranked}) WHERE place IN ({wanted})", query, where)
        latest = dict(zip(*(column.to_pylist() for column in found.columns), strict=True))
        parts = [
            (f"{time} <= CAST({literal(latest[place])} AS {kind})", i)
            for i, place in enumerate(last)
            if place  # the first rows may be too few for a part
        ]
        return part_number(parts), tuple(self.fractions)

    def __repr__(self) -> str:
        nulls = "" if self.nulls == "error" else f", nulls={self.nulls!r}"
        return f"TimeSplit({self.column!r}, {_shown(self.fractions)}{nulls}{shown_directed(self)})"


def _check_fractions(fractions: Mapping[str, object], what: str) -> None:
    if not fractions:
        raise SchemaError(f"{what} has no parts; name them with their shares, such as train=0.8, val=0.1, test=0.1.")
    check_part_names(fractions, what)
    total = 0.0
    for name, share in fractions.items():
        if isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 <= share <= 1:
            raise SchemaError(f"{what}: the share of {name!r} must be a number from 0 to 1, not {share!r}.")
        total += share
    if total > 1 + 1e-9:
        raise SchemaError(f"{what}: the shares add up to {total:g}, more than 1.")


def _bounds(fractions: Mapping[str, float]) -> list[float]:
    """Return where each part ends; 1 where rounding errors alone keep the sum from it."""
    return [1.0 if bound > 1 - 1e-9 else bound for bound in accumulate(fractions.values())]


def _halves(columns: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
    """Return the columns of the one end of an edge, and those of the other."""
    return columns[: len(columns) // 2], columns[len(columns) // 2 :]


def _shown(fractions: Mapping[str, float]) -> str:
    return ", ".join(f"{one_line(name)}={share!r}" for name, share in fractions.items())


def _text(column: str, sql_type: str) -> str:
    """Return the text of a column, the same in every session: that of a TIMESTAMPTZ depends on the time zone."""
    return f"epoch_us({column})::VARCHAR" if sql_type == "TIMESTAMP WITH TIME ZONE" else f"{column}::VARCHAR"
