"""The values of the served columns: NULL, NaN, infinities, constants, balance of classes, lengths of lists.

One scan says all that is counted per column; the balance of classes and the lengths of lists are a GROUP BY each, which
spill where they are large. Rows are named by their rowids until they are shown.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb

from dbgnn.check.report import LABELS, Finding
from dbgnn.schema.key_values import carried, key_rows
from dbgnn.schema.model import EdgeTable, VertexTable
from dbgnn.schema.types import Column, tensor_type
from dbgnn.sql import quote

#: How many example rows a finding names, and how many classes a balance.
EXAMPLES, CLASSES = 3, 20

#: Labels are classes if they have at most so many values, other columns of integers if they have as many as are shown.
_MOST_CLASSES = 1000

_FLOATS = frozenset(["float32", "float64"])


@dataclass(frozen=True, slots=True)
class Checked:
    """A vertex or edge table under check.

    Attributes:
        element: The table of the graph.
        rows: SQL of its rows, for FROM: those that are nodes or edges.
        keys: The columns that name a row in examples.
        key_types: Their types, with collations.
        columns: All of its columns, with their tensors.
    """

    element: VertexTable | EdgeTable
    rows: str
    keys: tuple[str, ...]
    key_types: tuple[str, ...]
    columns: tuple[Column, ...]

    @property
    def label(self) -> Any:
        """The node type or the edge type."""
        return self.element.label if isinstance(self.element, VertexTable) else self.element.edge_type

    @property
    def noun(self) -> str:
        """What a row is."""
        return "node" if isinstance(self.element, VertexTable) else "edge"

    def finding(self, severity: Any, what: str, column: str | None, count: int, total: int, text: str, **more: Any) -> Finding:
        """Return a finding of this part."""
        return Finding(severity, what, self.label, str(self.element.table), column, count, total, text, **more)


def column_scan(part: Checked, served: Sequence[Column]) -> str:
    """Return the query of one row: the number of rows, then for every flag of every served column the count and the first
    rowids, then for every scalar the smallest and the largest value and about how many there are.
    """
    flags, wanted = [], ["count(*)"]
    for i, column in enumerate(served):
        for kind, condition in _flags(column).items():
            flags.append(f"{condition} AS {kind}_{i}")
            wanted.append(f"count(*) FILTER (WHERE {kind}_{i})")
            wanted.append(f"min(rid, {EXAMPLES}) FILTER (WHERE {kind}_{i})")
    for i, column in enumerate(served):
        if not column.shape:
            flags.append(f"{quote(column.name)}{'.' + quote(column.packed) if column.packed else ''} AS v_{i}")
            wanted.append(f"CASE WHEN min(v_{i}) = max(v_{i}) AND count(v_{i}) > 1 THEN count(v_{i}) END")
            wanted.append(f"approx_count_distinct(v_{i})")
    return f"SELECT {', '.join(wanted)} FROM (SELECT {', '.join(['rowid AS rid', *flags])} FROM {part.rows})"


def _flags(column: Column) -> dict[str, str]:
    """Return the conditions that may hold of a value, by kind."""
    name, depth = quote(column.name), len(column.shape)
    if column.packed:  # of bits SQL knows no more
        return {"null": f"({name} IS NULL OR {name}.{quote(column.packed)} IS NULL)"}
    levels = [f"{'flatten(' * level}{name}{')' * level}" for level in range(max(depth, 1))]
    inner = [f"list_position({level}, NULL) IS NOT NULL" for level in levels if depth]
    found = {"null": " OR ".join([f"{name} IS NULL", *inner])}
    if column.dtype in _FLOATS:
        # Of 2 M x FLOAT[128], list_contains takes 0.1 s a value; list_transform with isfinite takes 0.7 s.
        values = [f"'{value}'::{'FLOAT' if column.dtype == 'float32' else 'DOUBLE'}" for value in ("nan", "inf", "-inf")]
        nan, *inf = [f"list_contains({levels[-1]}, {v})" if depth else f"{name} = {v}" for v in values]
        found |= {"nan": nan, "inf": " OR ".join(inf)}
    return {kind: f"({condition})" for kind, condition in found.items()}


def check_columns(con: duckdb.DuckDBPyConnection, part: Checked, served: Sequence[Column]) -> Iterator[Finding]:
    """Yield what is found in the served columns of a table, by one scan and one more for every column of classes."""
    values = iter(con.execute(column_scan(part, served)).fetchall()[0])
    total = int(next(values))
    for column in served:
        for kind in _flags(column):
            count, rids = next(values), next(values)
            if count:
                yield _bad_values(part, column, kind, count, total, examples(con, part, rids))
    for column in served:
        if column.shape:
            continue
        constant, distinct = next(values), next(values)
        if constant:
            same = (
                "every row holds the same value"
                if constant == total
                else f"all {constant:,} values that are not NULL are the same"
            )
            text = f"{same}, which teaches a model nothing"
            yield part.finding("info", "constant", column.name, constant, total, text)
        elif _may_be_classes(column, distinct):
            yield from _classes(con, part, column, total)


def _bad_values(part: Checked, column: Column, kind: str, count: int, total: int, first: tuple[Any, ...]) -> Finding:
    word = {"null": "NULL", "nan": "NaN", "inf": "an infinity"}[kind]
    verb = ("holds" if count == 1 else "hold") if column.shape else ("is" if count == 1 else "are")
    text = f"{count:,} of {total:,} values {verb} {word}"
    if kind == "null":
        remedy = (
            f"Loading such a row is an error: fill the column by UPDATE, name a number for it "
            f"(feature_store.fill({part.label!r}, {column.name!r}, 0)), or leave it out of PROPERTIES."
        )
        return part.finding("error", "NULL", column.name, count, total, text, examples=first, remedy=remedy)
    remedy = "One such value is enough to make a loss NaN: UPDATE it, or delete the rows."
    what = "NaN" if kind == "nan" else "Inf"
    return part.finding("warning", what, column.name, count, total, text, examples=first, remedy=remedy)


def _may_be_classes(column: Column, distinct: int) -> bool:
    kind = column.dtype == "bool" or column.sql_type.startswith("ENUM") or (not column.unit and "int" in column.dtype)
    return kind and 0 < distinct <= (_MOST_CLASSES if column.name.lower() in LABELS else CLASSES)


def _classes(con: duckdb.DuckDBPyConnection, part: Checked, column: Column, total: int) -> Iterator[Finding]:
    name = quote(column.name)
    counts = con.execute(
        f"SELECT {name}::VARCHAR, count(*), count(*) OVER (), sum(count(*)) OVER () FROM {part.rows} "
        f"WHERE {name} IS NOT NULL GROUP BY ALL ORDER BY 2 DESC, 1 ASC NULLS LAST LIMIT {CLASSES}"
    ).fetchall()
    if counts:
        classes, rows = counts[0][2:]
        text = f"{classes:,} values; the commonest is {counts[0][0]}, in {counts[0][1] / rows:.1%} of {int(rows):,} rows"
        detail = {value: n for value, n, *_ in counts}
        yield part.finding("info", "classes", column.name, int(rows), total, text, detail=detail)


def check_lists(con: duckdb.DuckDBPyConnection, part: Checked, columns: Sequence[Column]) -> Iterator[Finding]:
    """Yield what keeps lists of numbers from being tensors: their lengths, each by one scan."""
    for column in columns:
        base, name = column.sql_type.removesuffix("[]"), quote(column.name)
        if base == column.sql_type or "[" in base or tensor_type("", f"{base}[1]").reason is not None:
            continue
        lengths = con.execute(
            f"SELECT len({name}), count(*), min(rowid, {EXAMPLES}), sum(count(*)) OVER () FROM {part.rows} "
            f"WHERE {name} IS NOT NULL GROUP BY ALL ORDER BY 2 DESC, 1 ASC NULLS LAST LIMIT {CLASSES}"
        ).fetchall()
        if lengths:
            yield _list_lengths(con, part, column, base, lengths)


def _list_lengths(
    con: duckdb.DuckDBPyConnection, part: Checked, column: Column, base: str, lengths: Sequence[tuple[Any, ...]]
) -> Finding:
    (length, count, _, total), table = lengths[0], part.element.table.sql
    count, total = int(count), int(total)
    detail = {str(n): int(rows) for n, rows, *_ in lengths}
    cast = f"ALTER TABLE {table} ALTER {quote(column.name)} TYPE {base}[{length}]"
    if len(lengths) == 1:
        text = f"all {total:,} lists have {length} elements, but lists are not served"
        remedy = f"Give the column a fixed size: {cast}." if length else "They are empty; drop the column."
        return part.finding("warning", "lists", column.name, total, total, text, remedy=remedy, detail=detail)
    rids = sorted(rid for _, _, first, _ in lengths[1:] for rid in first)[:EXAMPLES]
    shown = ", ".join(f"{n} ({rows:,} rows)" for n, rows, *_ in lengths[:EXAMPLES])
    text = f"{total - count:,} of {total:,} lists do not have {length} elements, as most do; lengths: {shown}"
    fitted = f"{cast} USING list_resize({quote(column.name)}, {length}, 0)::{base}[{length}]"
    remedy = f"Lists are not served. To cut the longer and fill the shorter with 0: {fitted}."
    return part.finding(
        "warning", "ragged", column.name, total - count, total, text,
        examples=examples(con, part, rids), remedy=remedy, detail=detail,
    )  # fmt: skip


def examples(con: duckdb.DuckDBPyConnection, part: Checked, rids: Sequence[int] | None) -> tuple[Any, ...]:
    """Return the keys of the rows with these rowids; at most a few."""
    if not rids:
        return ()
    listed = ", ".join(str(int(rid)) for rid in rids)
    keys = ", ".join(carried(quote(name), kind) for name, kind in zip(part.keys, part.key_types, strict=True))
    query = f"SELECT {keys} FROM {part.element.table.sql} WHERE rowid IN ({listed}) ORDER BY rowid ASC"
    rows = key_rows(con, query, part.key_types)
    return tuple(row[0] if len(row) == 1 else row for row in rows)
