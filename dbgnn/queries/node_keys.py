"""Keys → positions, in SQL: which rows of an edge query lead from which node to which.

A node's position is its row in the node query. Where the keys are neighbouring integers in order, a subtraction finds
it; else a join with the Arrow table of the keys.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from dbgnn.errors import DataError, SchemaError
from dbgnn.schema import Column
from dbgnn.schema.key_values import python_values
from dbgnn.schema.keys import compared, fits, same, sql_type_of
from dbgnn.sql import quote

#: Integer types whose difference from another key fits a BIGINT.
_SIGNED = frozenset("TINYINT SMALLINT INTEGER BIGINT UTINYINT USMALLINT UINTEGER".split())


#: What the columns of the registered tables begin with: conditions of the user stand beside them without a qualifier.
_PREFIX = "dbgnn_"


@dataclass(frozen=True, slots=True)
class NodeKeys:
    """The keys of the nodes of one type, by position.

    Attributes:
        label: The node type.
        names: The key columns.
        types: Their SQL types, with collations.
        table: Arrow table ``(k0, k1, …)``, carried; for SQL see `with_positions`.
        view: The name under which it is registered for SQL.
        first: The key at position 0 where the keys are ``first``, ``first + 1``, … in order; None where they are not.
    """

    label: str
    names: tuple[str, ...]
    types: tuple[str, ...]
    table: pa.Table
    view: str
    first: int | None

    @staticmethod
    def of(label: str, columns: Sequence[Column], types: Sequence[str], table: pa.Table, *, view: str) -> NodeKeys:
        """Look at the keys: none may be NULL, and are they neighbours?

        Raises:
            DataError: A key is NULL.
        """
        names = tuple(c.name for c in columns)
        for name, column in zip(names, table.columns, strict=True):
            if column.null_count:
                at = int(np.flatnonzero(column.is_null().to_numpy())[0])
                raise DataError(
                    f"The key {name!r} of nodes {label!r} is NULL in {column.null_count:,} of {len(column):,} rows; the first "
                    f"is row {at} of the query. Leave them out: WHERE {quote(name)} IS NOT NULL."
                )
        return NodeKeys(label, names, tuple(types), table, view, _first(types, table))

    def with_positions(self) -> pa.Table:
        """Return `table` with a column of positions, under names that no user's table has, for SQL."""
        named = self.table.rename_columns([_PREFIX + name for name in self.table.column_names])
        return named.append_column(f"{_PREFIX}pos", pa.array(np.arange(len(self.table))))

    def duplicates(self) -> str:
        """Return a query of the first key that several nodes have, ``(k0, …, count)``, carried."""
        first = f"min({_PREFIX}pos)"
        shown = ", ".join(f"arg_min({_PREFIX}k{i}, {_PREFIX}pos)" for i in range(len(self.names)))
        keys = ", ".join(compared(self._key(i), kind) for i, kind in enumerate(self.types))
        return f"SELECT {shown}, count(*) FROM {self.view} GROUP BY {keys} HAVING count(*) > 1 ORDER BY {first} ASC LIMIT 1"

    def _key(self, i: int, alias: str = "") -> str:
        """Return SQL of a key column of the registered table, in its own type."""
        return f"{alias}{_PREFIX}k{i}::{sql_type_of(self.types[i])}"

    def position(self, alias: str, columns: Sequence[str], types: Sequence[str]) -> tuple[str, str]:
        """Return how the node is found that columns of ``q`` name.

        Args:
            alias: For the joined table.
            columns: Columns of ``q``, in the order of the key.
            types: Their SQL types.

        Returns:
            A SQL expression of the position, NULL where there is no such node, and a join to append, maybe empty.
        """
        if self.first is not None and types[0] in _SIGNED:
            name = f"q.{quote(columns[0])}"
            last = self.first + len(self.table) - 1
            return f"CASE WHEN {name} BETWEEN {self.first} AND {last} THEN {name}::BIGINT - {self.first} END", ""
        on = same(((self._key(i, f"{alias}."), f"q.{quote(c)}") for i, c in enumerate(columns)), self.types)
        return f"{alias}.{_PREFIX}pos", f"LEFT JOIN {self.view} AS {alias} ON {on}"

    def check_types(self, columns: Sequence[str], types: Sequence[str], what: str) -> None:
        """Raise unless columns of these types, with collations, can be compared with the key."""
        for name, kind, own, own_type in zip(self.names, self.types, columns, types, strict=True):
            if not fits(kind, own_type):
                base, _, collation = kind.partition(" COLLATE ")
                cast = f"{quote(own)}::{base}" + (f" COLLATE {collation or 'C'}" if base == "VARCHAR" else "")
                raise SchemaError(
                    f"{what}: column {own!r} is {own_type}, but the key {name!r} of nodes {self.label!r} is {kind}. Give both "
                    f"one type: {cast}."
                )

    def at(self, pos: int) -> Any:
        """Return the key of a position: a value, or a tuple of a composite key's."""
        row = self.table.slice(pos, 1)
        values = tuple(python_values(c, kind)[0] for c, kind in zip(row.columns, self.types, strict=True))
        return values[0] if len(values) == 1 else values


def _first(types: Sequence[str], table: pa.Table) -> int | None:
    if len(types) != 1 or types[0] not in _SIGNED:
        return None
    if not len(table):
        return 0
    keys = table.column(0).to_numpy().astype(np.int64)
    first = int(keys[0])
    return first if keys[-1] == first + len(keys) - 1 and (np.diff(keys) == 1).all() else None
