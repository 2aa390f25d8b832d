"""`Split`: what puts the rows of a query into parts, such as train, val and test, as one SQL expression.

The expression gives the number of the part, or NULL for a row that is in none; who reads the query makes masks of it. What the
kinds of splits share stands here; those by what a row holds in `splits_by_value`, those by shares in `splits_by_share`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeAlias

import duckdb
import pyarrow as pa

from dbgnn.errors import SchemaError, UnknownNameError, near_misses
from dbgnn.queries.read_only import NOT_OF_THE_QUERY, cannot_run
from dbgnn.sql import quote

#: Runs SQL that may hold the query, with the query's values bound.
Run: TypeAlias = Callable[[str], pa.Table]


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


def ask(run: Run, sql: str, query: str, where: str) -> pa.Table:
    """Run SQL over a split's query; an error of the query's own says of which."""
    try:
        return run(sql)
    except NOT_OF_THE_QUERY:
        raise
    except duckdb.Error as error:
        raise cannot_run(f"the split of {where}", query, error) from error


def split_column(name: str, types: Mapping[str, str], where: str) -> str:
    """Return a column of the query as SQL; an :class:`UnknownNameError` where there is none."""
    if name not in types:
        raise UnknownNameError(f"splits: the query for {where} has no column {name!r}" + near_misses(name, types))
    return f"q.{quote(name)}"


def part_number(parts: Iterable[tuple[str, int]]) -> str:
    """Return the number of the first part whose condition is true, as SQL."""
    whens = " ".join(f"WHEN {condition} THEN {number}" for condition, number in parts)
    return f"CASE {whens} END" if whens else "CAST(NULL AS INTEGER)"


def check_part_names(names: Iterable[object], what: str) -> None:
    """Raise unless every name makes the name of a mask; PyG keeps what begins with ``_`` from its data."""
    for name in names:
        if not isinstance(name, str) or not name or name.startswith("_"):
            raise SchemaError(
                f"{what} has a part {name!r}. The name of a part is a text that does not begin with '_'; its mask is called "
                "train_mask if it is 'train'."
            )


def shown_directed(split: Split) -> str:
    """Return what a split's ``repr`` says of ``directed``."""
    return ", directed=True" if split.directed else ""
