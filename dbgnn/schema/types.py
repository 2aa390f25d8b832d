"""Which DuckDB types become tensors, of which dtype and shape, and why the others do not."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import duckdb

from dbgnn.errors import UnknownNameError, near_misses
from dbgnn.schema.catalog import DECLARE_AGAIN, KeyColumns, columns, folded, key_columns
from dbgnn.schema.encoded import EncodedColumns, SideTable, encoded
from dbgnn.schema.model import EdgeTable, PropertyGraph, TableName, VertexTable
from dbgnn.schema.names import attribute_names
from dbgnn.schema.packed import unpacked
from dbgnn.schema.row_conditions import always_null
from dbgnn.schema.written import Written, written

if TYPE_CHECKING:
    from dbgnn.schema.named_beside import NamedBeside

_NUMBERS = {
    "BOOLEAN": "bool",
    "TINYINT": "int8",
    "SMALLINT": "int16",
    "INTEGER": "int32",
    "BIGINT": "int64",
    "UTINYINT": "uint8",
    "USMALLINT": "uint16",
    "UINTEGER": "uint32",
    "UBIGINT": "uint64",
    "FLOAT": "float32",
    "DOUBLE": "float64",
}

_INTEGERS = frozenset("TINYINT SMALLINT INTEGER BIGINT HUGEINT UTINYINT USMALLINT UINTEGER UBIGINT".split())

#: Points in time, as int64 counted from 1970-01-01 (00:00 UTC), each in its type's own unit.
_TIMES = {
    "DATE": "days",
    "TIMESTAMP": "microseconds",
    "TIMESTAMP_S": "seconds",
    "TIMESTAMP_MS": "milliseconds",
    "TIMESTAMP_NS": "nanoseconds",
    "TIMESTAMP WITH TIME ZONE": "microseconds",
}

_REASONS = {
    "HUGEINT": "128-bit integers have no tensor type; cast to BIGINT or DOUBLE",
    "UHUGEINT": "128-bit integers have no tensor type; cast to UBIGINT or DOUBLE",
    "BIGNUM": "integers of any size have no tensor type; cast to BIGINT or DOUBLE",
    "DECIMAL": "decimals have no tensor type; cast to DOUBLE, or to BIGINT after scaling",
    "VARCHAR": "text; cast it to an ENUM, or encode it",
    "JSON": "JSON; extract numbers from it into columns of their own",
    "BLOB": "bytes; decode them into numbers or FLOAT[n]",
    "BIT": "a bit string; cast it to BOOLEAN or an integer",
    "UUID": "an identifier; encode it",
    "INTERVAL": "an interval; cast it with epoch(…) to DOUBLE",
    "TIME": "a time of day; cast it with epoch(…) to DOUBLE",
    "TIME_NS": "a time of day; cast it with epoch(…) to DOUBLE",
    "TIME WITH TIME ZONE": "a time of day; cast it with epoch(…) to DOUBLE",
    "STRUCT": "a struct; make its numbers columns of their own",
    "UNION": "a union; make its numbers columns of their own",
    "MAP": "a map; make its numbers columns of their own",
}


#: What arrays of times, and of what has names, can become.
_ARRAYS = ("make DOUBLE[n] of them with list_transform(…, lambda v: epoch(v))", "encode them (MultiHot)")

#: Numbers without a tensor type, and what to cast them to.
_TO_DOUBLE = {"HUGEINT": "DOUBLE", "UHUGEINT": "DOUBLE", "BIGNUM": "DOUBLE", "DECIMAL": "DOUBLE"}

#: The reason of a column that could be served, but is not asked for.
NOT_NAMED = "not among the PROPERTIES"

#: The reason of a column that `graph.write_back` or `graph.predict` made.
WRITTEN_BACK = "written back by dbgnn; PROPERTIES or columns= can name it"


#: What the reason of a key ends in: a key says which row it is, not what the row is like.
_CAN_BE_NAMED = "; PROPERTIES or columns= can name it"


@dataclass(frozen=True, slots=True)
class Column:
    """A column, and the tensor it becomes.

    Attributes:
        name: Its name.
        sql_type: Its DuckDB type, as the catalog writes it.
        dtype: The tensor's dtype by its NumPy name (torch's is the same), such as ``"float32"``; "" if there is none.
        shape: The shape of one row's value; ``()`` for a scalar, ``(3, 2)`` for ``FLOAT[2][3]``.
        reason: Why it cannot become a tensor; None: it can.
        unit: What an integer that stands for a time or an ENUM counts; "" otherwise.
        attr: The name under which PyG sees it: another than the column's where that means something to PyG (`names`).
        beside: The side table that holds it (`graph.encode`), or the other table in which it was named (`named_beside`); None:
            it is a column of the type's own table.
        packed: The field of its STRUCT that holds the values' bytes (`packed`); "" of any other column.
    """

    name: str
    sql_type: str
    dtype: str
    shape: tuple[int, ...]
    reason: str | None = None
    unit: str = ""
    attr: str = ""
    beside: SideTable | NamedBeside | None = None
    packed: str = ""

    def __post_init__(self) -> None:
        if not self.attr:
            object.__setattr__(self, "attr", self.name)

    @property
    def is_renamed(self) -> bool:
        """Whether PyG sees it under another name."""
        return self.attr != self.name


def tensor_type(name: str, sql_type: str) -> Column:
    """Return the tensor that a column of this type becomes, or the reason why it does not."""
    if (found := unpacked(sql_type)) is not None:
        return Column(name, sql_type, found.dtype, found.shape, packed=found.form)
    kind, sizes = element_type(sql_type)
    none = Column(name, sql_type, "", ())
    if "" in sizes:
        return replace(none, reason=_reason_of_lists(kind, sizes))
    shape = tuple(int(size) for size in reversed(sizes))  # FLOAT[2][3] is an array of 3 FLOAT[2]
    if kind in _NUMBERS:
        return Column(name, sql_type, _NUMBERS[kind], shape)
    if kind in _TIMES or kind == "ENUM":
        if shape:
            return replace(none, reason=f"arrays of {kind} are not served; {_ARRAYS[kind == 'ENUM']}")
        unit = "code, from 0" if kind == "ENUM" else f"{_TIMES[kind]} since 1970-01-01"
        return Column(name, sql_type, "int64", (), unit=unit)
    if shape and kind in _TO_DOUBLE:
        what, dims = _REASONS[kind].partition(";")[0], "".join(f"[{size}]" for size in sizes)
        return replace(none, reason=f"{what}; cast to {_TO_DOUBLE[kind]}{dims}")
    if shape and kind in {"VARCHAR", "UUID"}:
        return replace(none, reason=f"arrays of {kind} are not served; {_ARRAYS[True]}")
    return replace(none, reason=_REASONS.get(kind, f"{kind} has no tensor type"))


def element_type(sql_type: str) -> tuple[str, tuple[str, ...]]:
    """Return the type inside of all arrays and lists, without its parameters, and their sizes as written; "" for a list."""
    base, sizes = sql_type, []
    while base.endswith("]"):
        base, _, size = base[:-1].rpartition("[")
        sizes.append(size)
    return base.partition("(")[0].strip().upper(), tuple(reversed(sizes))


def _reason_of_lists(kind: str, sizes: tuple[str, ...]) -> str:
    """Say what lists can become: arrays, where they hold numbers; many-hot vectors, where they hold what has names."""
    if kind in _NUMBERS or kind in _TO_DOUBLE:
        dims = "".join(f"[{size or 'n'}]" for size in sizes)
        return f"lists may differ in length; cast to {_TO_DOUBLE.get(kind, kind)}{dims} if all have n elements"
    if len(sizes) == 1 and kind in {"VARCHAR", "ENUM", "UUID"}:
        return f"lists may differ in length; {_ARRAYS[True]}"
    return "lists may differ in length; make their numbers columns of their own"


def tensor_columns(con: duckdb.DuckDBPyConnection, table: TableName, exclude: Collection[str] = ()) -> list[Column]:
    """Return every column of the table but those in ``exclude``: its tensor, or the reason why there is none."""
    return [column for column in named_columns(columns(con, table)) if column.name not in exclude]


def named_columns(types: Mapping[str, str]) -> list[Column]:
    """Return the columns of a table, given by name and SQL type, under the names that PyG sees."""
    names = attribute_names(types)
    return [replace(tensor_type(name, sql_type), attr=names[name]) for name, sql_type in types.items()]


def element_columns(con: duckdb.DuckDBPyConnection, graph: PropertyGraph, element: VertexTable | EdgeTable) -> list[Column]:
    """Return every column of a vertex or edge table, and those that `graph.encode` keeps beside it, with their tensors."""
    return _with_beside(columns(con, element.table), element, encoded(con, graph))


def _with_beside(types: Mapping[str, str], element: VertexTable | EdgeTable, made: EncodedColumns) -> list[Column]:
    beside = {side.column: side for side in made.beside(element, types)}
    found = named_columns({**types, **{name: side.sql_type for name, side in beside.items()}})
    return [replace(c, beside=beside.get(c.name)) if c.name in beside else c for c in found]


def served_columns(con: duckdb.DuckDBPyConnection, graph: PropertyGraph, element: VertexTable | EdgeTable) -> list[Column]:
    """Return every column of a vertex or edge table; those without a reason are served, in this order.

    What ``PROPERTIES`` does not name is left out. Without ``PROPERTIES`` that is what says which row it is and not what it is
    like, which are keys of the graph and primary and foreign keys of the table; what was written back; and every column of an
    edge type whose table is a vertex table of the graph as well, since the nodes have them: their label would be on all edges.
    """
    return served(graph, element, columns(con, element.table), written(con), key_columns(con), encoded(con, graph))


def served(
    graph: PropertyGraph,
    element: VertexTable | EdgeTable,
    types: Mapping[str, str],
    back: Written,
    keys: KeyColumns,
    made: EncodedColumns,
) -> list[Column]:
    """Return :func:`served_columns` of an element whose table has columns of these SQL types.

    Args:
        graph: The graph.
        element: Its vertex or edge table.
        types: The SQL types of the table's columns.
        back: What was written back.
        keys: The columns of primary and foreign keys.
        made: What was encoded.
    """
    found = _with_beside(types, element, made)
    covered = {} if element.properties is not None else made.covered(element, types)
    listed = element.properties or ()
    roles = _key_roles(graph, element, {folded(name): name for name in types}, keys.get(element.table, {}))
    nodes = nodes_of(graph, element)
    default = None if nodes is None else f"a column of node type {nodes!r}{_CAN_BE_NAMED}"
    other = default if element.properties is None else NOT_NAMED
    by_name = {c.name: c for c in found}
    if gone := [name for name in listed if name not in by_name]:
        raise UnknownNameError(
            f"Table {str(element.table)!r} has no column {gone[0]!r} any more, which the graph names in PROPERTIES"
            f"{near_misses(gone[0], by_name)}. {DECLARE_AGAIN}"
        )

    nulls = frozenset[str]() if element.condition is None else always_null(element.condition)

    def reason(column: Column) -> str | None:
        if column.beside is not None:
            return column.reason
        no_feature = WRITTEN_BACK if back.column(element.table, column.name) else other
        if column.name in covered:
            no_feature = no_feature or f"encoded as {covered[column.name]!r}{_CAN_BE_NAMED}"
        null = "NULL in every row, by the condition" if folded(column.name) in nulls else None
        return roles.get(column.name) or column.reason or no_feature or null

    rest = (replace(c, reason=reason(c)) for c in found if c.name not in listed)
    return [*(by_name[name] for name in listed), *rest]


def comparable(one: str, other: str) -> bool:
    """Whether keys of these SQL types may be joined: the same type, or integers, but UHUGEINT by itself.

    DuckDB compares UHUGEINT with HUGEINT as DOUBLE, so that many values are equal; and with BIGINT as HUGEINT, which fails
    for the greater half.
    """
    return one == other or (one in _INTEGERS and other in _INTEGERS)


def nodes_of(graph: PropertyGraph, element: VertexTable | EdgeTable) -> str | None:
    """Return the label of the vertex table that has the rows of an edge type; None: none has, or it is no edge type."""
    if isinstance(element, VertexTable):
        return None
    return next((v.label for v in graph.vertices if v.table == element.table), None)


def _key_roles(
    graph: PropertyGraph, element: VertexTable | EdgeTable, spelled: Mapping[str, str], constraints: Mapping[str, str]
) -> dict[str, str]:
    """Return the columns that are keys, of the graph or by the table's constraints, and what each of them is."""
    declared = {spelled[name]: f"{what}{_CAN_BE_NAMED}" for name, what in constraints.items() if name in spelled}
    ends = [c for e in graph.edges if e.table == element.table for c in (*e.source_key, *e.destination_key)]
    foreign = dict.fromkeys(ends, f"a foreign key{_CAN_BE_NAMED}")
    if isinstance(element, VertexTable):
        return declared | foreign | dict.fromkeys(element.key, f"the key{_CAN_BE_NAMED}")
    roles = declared | foreign | dict.fromkeys(element.source_key, "the source's key")
    for name in element.destination_key:
        is_both = name in element.source_key
        roles[name] = "the source's and the destination's key" if is_both else "the destination's key"
    return roles
