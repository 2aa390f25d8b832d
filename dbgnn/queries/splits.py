"""Splits of nodes or edges into parts, such as train, val and test, each as one SQL expression over the rows of a query.

The expression gives the number of the part, or NULL for a row that is in none; who reads the query makes masks of it.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import accumulate
from typing import TypeAlias

import duckdb
import pyarrow as pa

from dbgnn.errors import DataError, SchemaError, UnknownNameError, near_misses
from dbgnn.queries.read_only import NOT_OF_THE_QUERY, cannot_run
from dbgnn.schema.remedy import cast_to
from dbgnn.sql import check_filter, literal, quote
from dbgnn.terminal import one_line

#: Runs SQL that may hold the query, with the query's values bound.
Run: TypeAlias = Callable[[str], pa.Table]

#: More parts than this are not meant: the column is another one.
_MOST_PARTS = 32

#: SQL types in whose order rows can be split by time; of some, without what stands in parentheses behind.
_ORDERED = frozenset(
    "TINYINT SMALLINT INTEGER BIGINT HUGEINT UTINYINT USMALLINT UINTEGER UBIGINT UHUGEINT FLOAT DOUBLE DECIMAL DATE TIME "
    "TIMESTAMP TIMESTAMP_S TIMESTAMP_MS TIMESTAMP_NS".split()
) | {"TIMESTAMP WITH TIME ZONE"}

#: Hexadecimal digits of the MD5 sum that decide, and the numbers that they can be: 52 bits, which a float holds exactly.
_DIGITS = 13
_NUMBERS = 16**_DIGITS


class Split(ABC):
    """What puts every row into one part, or into none.

    Attributes:
        directed: The two directions of an edge, a row each, are edges of their own, and may be in different parts.
    """

    directed: bool = False

    @property
    def by_pair(self) -> bool:
        """Whether edges with the same ends, in any order, are in one part whatever the rows hold."""
        return False

    @abstractmethod
    def expression(
        self,
        run: Run,
        con: duckdb.DuckDBPyConnection,
        query: str,
        types: Mapping[str, str],
        key_columns: Sequence[str],
        where: str,
        *,
        pair: bool = False,
    ) -> tuple[str, tuple[str, ...]]:
        r"""Return the SQL of a part's number, and the names of the parts.

        Args:
            run: Runs SQL over the query.
            con: The connection on which the expression will run.
            query: A checked SELECT, to be embedded as ``FROM (query\n) AS q``.
            types: Its columns and their SQL types.
            key_columns: The columns that hold the key of a node, or those of both ends of an edge.
            where: What the query is for, such as ``"nodes 'paper'"``; for messages.
            pair: The first and the second half of ``key_columns`` are two nodes of one type, whose order does not count.

        Returns:
            An expression over the row ``q``: an INTEGER from 0, or NULL for a row in no part; and the part's names.
        """


class ColumnSplit(Split):
    """A column that says in which part a row is, such as ``split`` with ``'train'``, ``'val'`` and ``'test'``.

    Args:
        column: The column: text, an ENUM, integers or booleans (``true``, ``false``). NULL is in no part.
        names: The values that are parts, or a mapping of values to names, such as ``{0: 'train', 1: 'val'}``; rows with other
            values are in no part. None: every value in the column, at most 32; a query without rows then has no parts.
        directed: Of edges: see :class:`Split`.
    """

    def __init__(
        self,
        column: str,
        names: Sequence[str | int] | Mapping[str | int | bool, str] | None = None,
        *,
        directed: bool = False,
    ) -> None:
        if isinstance(names, str):
            raise SchemaError(f"ColumnSplit({column!r}): names must be a sequence of values, not the text {names!r}.")
        self.column, self.names, self.directed = column, names, directed
        if names is not None:
            _check_names(_named(names).values(), repr(self))

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
            DataError: The column has more than 32 values, or one that makes no name.
        """
        text = f"CAST({_column(self.column, types, where)} AS VARCHAR)"
        if self.names is not None:
            named = _named(self.names)
        else:
            values = f"SELECT DISTINCT {text} AS value FROM ({query}\n) AS q WHERE {text} IS NOT NULL ORDER BY value ASC"
            found = _ask(run, f"{values} LIMIT {_MOST_PARTS + 1}", query, where).column(0).to_pylist()
            if len(found) > _MOST_PARTS:
                raise DataError(
                    f"Column {self.column!r} of {where} has more than {_MOST_PARTS} values, such as {found[0]!r} and "
                    f"{found[1]!r}, which are too many parts of a split. Name those meant: ColumnSplit({self.column!r}, […])."
                )
            named = {value: value for value in found}
            _check_names(found, f"Column {self.column!r} of {where}")
        names = tuple(dict.fromkeys(named.values()))
        parts = [(f"{text} = {literal(value)}", names.index(name)) for value, name in named.items()]
        return _case(parts), names

    def __repr__(self) -> str:
        return f"ColumnSplit({self.column!r}{'' if self.names is None else f', {self.names!r}'}{_directed(self)})"


class PredicateSplit(Split):
    """A condition for every part: ``PredicateSplit({'train': "year < 2018", 'val': "year = 2018"})``.

    Args:
        conditions: SQL over the columns of the row, by the part's name. They may not overlap. A row for which none is true
            is in no part.
        directed: Of edges: see :class:`Split`.
    """

    def __init__(self, conditions: Mapping[str, str], *, directed: bool = False) -> None:
        self.conditions, self.directed = dict(conditions), directed
        _check_names(self.conditions, repr(self))
        if not conditions:
            raise SchemaError("PredicateSplit has no parts; name them with their conditions: {'train': 'year < 2018'}.")
        for name, condition in self.conditions.items():
            if not isinstance(condition, str):
                raise SchemaError(f"{self!r}: the condition of {name!r} must be SQL, such as 'year < 2018'.")

    def expression(
        self,
        run: Run,
        con: duckdb.DuckDBPyConnection,
        query: str,
        types: Mapping[str, str],
        key_columns: Sequence[str],  # noqa: ARG002 - the interface's
        where: str,
        *,
        pair: bool = False,  # noqa: ARG002 - the interface's
    ) -> tuple[str, tuple[str, ...]]:
        """Return the SQL of a part's number, and the names of the parts; see :class:`Split`.

        Raises:
            SqlError: A condition is not one harmless expression over the columns of the row.
            DataError: A row is in several parts.
        """
        checked = {
            name: check_filter(con, text, where=f"{name!r} in the split of {where}", table=("main", "q"), columns=types)
            for name, text in self.conditions.items()
        }
        total = " + ".join(f"coalesce({condition}::BOOLEAN, false)::INTEGER" for condition in checked.values())
        overlap = f"SELECT count(*) FROM ({query}\n) AS q WHERE {total} > 1"
        if several := _ask(run, overlap, query, where).column(0)[0].as_py():
            raise DataError(
                f"{several:,} rows of {where} are in several parts of {self!r}. Conditions may not overlap: exclude one from "
                "the other with AND NOT (…)."
            )
        return _case((condition, i) for i, condition in enumerate(checked.values())), tuple(checked)

    def __repr__(self) -> str:
        return f"PredicateSplit({self.conditions!r}{_directed(self)})"


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
        columns = [_text(_column(name, types, where), types[name]) for name in names]
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
        return _case(parts), tuple(self.fractions)

    def __repr__(self) -> str:
        columns = "" if self.columns is None else f", columns={self.columns!r}"
        return f"HashSplit({_shown(self.fractions)}, seed={self.seed!r}{columns}{_directed(self)})"


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
        time = _column(self.column, types, where)
        kind = types[self.column]
        if kind.endswith("]") or kind.partition("(")[0] not in _ORDERED:
            raise SchemaError(
                f"Column {self.column!r} of {where} has type {kind}; a split by time needs a date, timestamp, time or "
                f"number. {cast_to(self.column, 'TIMESTAMP')}."
            )
        source = f"FROM ({query}\n) AS q"
        counts = _ask(run, f"SELECT count({time}), count(*) {source}", query, where)
        rows, missing = counts.column(0)[0].as_py(), counts.column(1)[0].as_py() - counts.column(0)[0].as_py()
        if missing and self.nulls == "error":
            raise DataError(
                f"Column {self.column!r} of {where} is NULL in {missing:,} of {rows + missing:,} rows, which are in no part of "
                f"{self!r}. Fill or leave out such rows, or say nulls='none'."
            )
        last = [math.floor(bound * rows + 0.5) for bound in _bounds(self.fractions)]
        ranked = f"SELECT {time} AS t, row_number() OVER (ORDER BY {time} ASC) AS place {source} WHERE {time} IS NOT NULL"
        wanted = ", ".join(map(str, sorted({0, *last})))
        found = _ask(run, f"SELECT place, t::VARCHAR FROM ({ranked}) WHERE place IN ({wanted})", query, where)
        latest = dict(zip(*(column.to_pylist() for column in found.columns), strict=True))
        parts = [
            (f"{time} <= CAST({literal(latest[place])} AS {kind})", i)
            for i, place in enumerate(last)
            if place  # the first rows may be too few for a part
        ]
        return _case(parts), tuple(self.fractions)

    def __repr__(self) -> str:
        nulls = "" if self.nulls == "error" else f", nulls={self.nulls!r}"
        return f"TimeSplit({self.column!r}, {_shown(self.fractions)}{nulls}{_directed(self)})"


def _ask(run: Run, sql: str, query: str, where: str) -> pa.Table:
    try:
        return run(sql)
    except NOT_OF_THE_QUERY:
        raise
    except duckdb.Error as error:
        raise cannot_run(f"the split of {where}", query, error) from error


def _column(name: str, types: Mapping[str, str], where: str) -> str:
    if name not in types:
        raise UnknownNameError(f"splits: the query for {where} has no column {name!r}" + near_misses(name, types))
    return f"q.{quote(name)}"


def _case(parts: Iterable[tuple[str, int]]) -> str:
    """Return the number of the first part whose condition is true, as SQL."""
    whens = " ".join(f"WHEN {condition} THEN {number}" for condition, number in parts)
    return f"CASE {whens} END" if whens else "CAST(NULL AS INTEGER)"


def _named(names: Sequence[str | int] | Mapping[str | int | bool, str]) -> dict[str, str]:
    """Return the names of parts by the text of the value that stands for each."""
    pairs = names.items() if isinstance(names, Mapping) else ((value, str(value)) for value in names)
    return {str(value).lower() if isinstance(value, bool) else str(value): name for value, name in pairs}


def _check_names(names: Iterable[object], what: str) -> None:
    """Raise unless every name makes the name of a mask; PyG keeps what begins with ``_`` from its data."""
    for name in names:
        if not isinstance(name, str) or not name or name.startswith("_"):
            raise SchemaError(
                f"{what} has a part {name!r}. The name of a part is a text that does not begin with '_'; its mask is called "
                "train_mask if it is 'train'."
            )


def _check_fractions(fractions: Mapping[str, object], what: str) -> None:
    if not fractions:
        raise SchemaError(f"{what} has no parts; name them with their shares, such as train=0.8, val=0.1, test=0.1.")
    _check_names(fractions, what)
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


def _directed(split: Split) -> str:
    return ", directed=True" if split.directed else ""


def _halves(columns: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
    """Return the columns of the one end of an edge, and those of the other."""
    return columns[: len(columns) // 2], columns[len(columns) // 2 :]


def _shown(fractions: Mapping[str, float]) -> str:
    return ", ".join(f"{one_line(name)}={share!r}" for name, share in fractions.items())


def _text(column: str, sql_type: str) -> str:
    """Return the text of a column, the same in every session: that of a TIMESTAMPTZ depends on the time zone."""
    return f"epoch_us({column})::VARCHAR" if sql_type == "TIMESTAMP WITH TIME ZONE" else f"{column}::VARCHAR"
