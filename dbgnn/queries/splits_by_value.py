"""Splits by what a row holds: a column that names its part, or a condition for every part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import duckdb

from dbgnn.errors import DataError, SchemaError
from dbgnn.queries.split import Run, Split, ask, check_part_names, part_number, shown_directed, split_column
from dbgnn.sql import check_filter, literal

#: More parts than this are not meant: the column is another one.
_MOST_PARTS = 32


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
            check_part_names(_named(names).values(), repr(self))

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
        text = f"CAST({split_column(self.column, types, where)} AS VARCHAR)"
        if self.names is not None:
            named = _named(self.names)
        else:
            values = f"SELECT DISTINCT {text} AS value FROM ({query}\n) AS q WHERE {text} IS NOT NULL ORDER BY value ASC"
            found = ask(run, f"{values} LIMIT {_MOST_PARTS + 1}", query, where).column(0).to_pylist()
            if len(found) > _MOST_PARTS:
                raise DataError(
                    f"Column {self.column!r} of {where} has more than {_MOST_PARTS} values, such as {found[0]!r} and "
                    f"{found[1]!r}, which are too many parts of a split. Name those meant: ColumnSplit({self.column!r}, […])."
                )
            named = {value: value for value in found}
            check_part_names(found, f"Column {self.column!r} of {where}")
        names = tuple(dict.fromkeys(named.values()))
        parts = [(f"{text} = {literal(value)}", names.index(name)) for value, name in named.items()]
        return part_number(parts), names

    def __repr__(self) -> str:
        return f"ColumnSplit({self.column!r}{'' if self.names is None else f', {self.names!r}'}{shown_directed(self)})"


class PredicateSplit(Split):
    """A condition for every part: ``PredicateSplit({'train': "year < 2018", 'val': "year = 2018"})``.

    Args:
        conditions: SQL over the columns of the row, by the part's name. They may not overlap. A row for which none is true
            is in no part.
        directed: Of edges: see :class:`Split`.
    """

    def __init__(self, conditions: Mapping[str, str], *, directed: bool = False) -> None:
        self.conditions, self.directed = dict(conditions), directed
        check_part_names(self.conditions, repr(self))
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
        if several := ask(run, overlap, query, where).column(0)[0].as_py():
            raise DataError(
                f"{several:,} rows of {where} are in several parts of {self!r}. Conditions may not overlap: exclude one from "
                "the other with AND NOT (…)."
            )
        return part_number((condition, i) for i, condition in enumerate(checked.values())), tuple(checked)

    def __repr__(self) -> str:
        return f"PredicateSplit({self.conditions!r}{shown_directed(self)})"


def _named(names: Sequence[str | int] | Mapping[str | int | bool, str]) -> dict[str, str]:
    """Return the names of parts by the text of the value that stands for each."""
    pairs = names.items() if isinstance(names, Mapping) else ((value, str(value)) for value in names)
    return {str(value).lower() if isinstance(value, bool) else str(value): name for value, name in pairs}
