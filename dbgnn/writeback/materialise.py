"""`graph.encode`: an encoder fitted on a node or edge table, and what it makes written once to a column that loaders serve."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np
from torch import Tensor

from dbgnn import schema
from dbgnn.encoders.collection import Encoders, holding
from dbgnn.encoders.encoder import Encoder, FittedEncoder
from dbgnn.errors import DbgnnError, ReadOnlyError, SchemaError, UnknownNameError, near_misses
from dbgnn.progress import Bar
from dbgnn.schema import EdgeTable, VertexTable, is_reserved
from dbgnn.schema.encoded import (
    ENGINE,
    ROWS_MARK,
    VALUE,
    EncodedColumn,
    SideTable,
    document_of,
    hashed_keys,
    keep_encoded,
    row_hash,
)
from dbgnn.schema.model import Label
from dbgnn.sql import check_filter, quote, quote_all
from dbgnn.stores import tables
from dbgnn.terminal import one_line
from dbgnn.topology import EdgeIndex, VertexIndex
from dbgnn.translated import translated
from dbgnn.writeback.encoded_rows import EncodedRows
from dbgnn.writeback.side_values import ROWS, covered, says_all, stage, staging, write_side
from dbgnn.writeback.writable import check_writable
from dbgnn.writeback.write import STAGED, append, column_kinds, create, finish, to_arrow
from dbgnn.writeback.write_target import Target, moves_its_row

if TYPE_CHECKING:
    from dbgnn.indexed_graph import IndexedGraph


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Materialised(FittedEncoder):
    """What `graph.encode` returns: the fitted encoder, bound to the column that it made.

    Attributes:
        graph: The graph.
        label: The node or edge type.
        name: The column.
        num_encoded: How many rows the call wrote.
        is_beside: Whether the values are in a table of their own, since keys, constraints or indexes hold the type's rows, or
            they are those of another type as well.
    """

    graph: IndexedGraph = field(kw_only=True)
    label: Label = field(kw_only=True)
    name: str = field(kw_only=True)
    num_encoded: int = field(kw_only=True)
    is_beside: bool = field(kw_only=True)

    def update(self, *, progress: bool | None = None) -> int:
        """Encode the rows that are new or changed, with what was fitted; the index is brought up to date first.

        Args:
            progress: Show a progress bar on what takes more than two seconds; None: as the database does.

        Returns:
            The number of rows that were new or changed.

        Raises:
            DataError: A value is NULL under ``null='error'``, or cannot be encoded; the message names its key.
            ReadOnlyError: The database is open read-only.
        """
        self.graph.build(progress=progress)
        return encode(self.graph, self.label, self.name, self, progress=progress).num_encoded

    def __repr__(self) -> str:
        where = (
            "in a table of its own, since keys, constraints, indexes or another type hold the rows"
            if self.is_beside
            else "in its table"
        )
        said = f"fitted on {self.num_rows:,} rows, {self.num_encoded:,} encoded into column {self.name!r} {where}"
        return one_line(f"{self.label!r} {self.name}: {self.encoder!r}, {said}")


def encode(
    graph: IndexedGraph,
    label: Any,
    attr_name: str,
    encoder: Encoder | FittedEncoder | Callable[..., Any] | None = None,
    *,
    fit: str | None = None,
    progress: bool | None = None,
) -> Materialised:
    """Fit an encoder on the table of a node or edge type, and write what it makes to a column of it, in one transaction.

    ``[N]`` becomes a column of the dtype's SQL type, ``[N, k]`` one of ``FLOAT[k]``; it is added if absent, and otherwise
    overwritten. A table with a key, constraint or index takes no new column of arrays, and one that is several types none
    at all: they are in a side table (`dbgnn.schema.encoded`). The rows stream, so memory is bounded.

    Args:
        graph: The graph.
        label: The node or edge type.
        attr_name: The column to write; also the one to read, where the encoder names none.
        encoder: An encoder, a function of Arrow arrays, or what this returned before, with which the rows that are new or
            changed since are encoded, and the others stay; None: the one that the file keeps for the column, likewise.
        fit: A condition on the rows that it is fitted on; None: all.
        progress: Show a progress bar on what takes more than two seconds; None: as the database does.

    Returns:
        The fitted encoder.

    Raises:
        SchemaError: An encoder that makes no tensors, or a column that cannot take them.
        DataError: A value is NULL under ``null='error'``, or cannot be encoded; the message names its key.
        ReadOnlyError: The database is open read-only.
    """
    db = graph.db
    found = graph.type_names.find(label, "encode")
    if db.read_only:
        raise ReadOnlyError(f"graph.encode() has to write, but {db!s} is open read-only. Connect with read_only=False.")
    if is_reserved(attr_name):
        raise SchemaError(
            f"graph.encode(): {attr_name!r} means something to PyG, so loaders would serve such a column under another name. "
            f"Write under another name, such as {attr_name + '_'!r}; an encoder names the column that it reads."
        )
    label = found
    topology = graph.topology()
    index: VertexIndex | EdgeIndex = topology.vertices[label] if isinstance(label, str) else topology.edges[label]
    element = graph.definition.vertex(label) if isinstance(label, str) else graph.definition.edge(label)
    count = index.num_nodes if isinstance(index, VertexIndex) else index.num_edges
    with translated(db):
        types = schema.columns(db.cursor(), element.table)
        fitted = _fitted(graph, element, label, attr_name, encoder, types, fit)
        try:
            document = holding(label, attr_name, fitted).to_json()
        except SchemaError:  # two functions have the same name, so whoever reads the document could not tell them apart
            document = ""
        shown = db.settings.progress if progress is None else progress
        taken = covered(fitted.encoder)
        made = EncodedColumn(label, attr_name, None, hashed_keys(element), fitted.columns, taken, ENGINE)
        reader = db.new_cursor()  # of its own: this thread's writes while this one reads
        try:
            named = label if isinstance(label, str) else "-".join(label)
            bar = Bar(total=count, desc=f"encode {named}.{attr_name}", unit=" rows", disable=not shown)
            is_beside = _is_beside(reader, graph, element, EncodedRows.by_id(index), fitted, attr_name, types)
            if not is_beside:
                again = bool(document) and document_of(reader, graph.definition, label, attr_name) == document
                with bar, closing(EncodedRows.by_id(index).parts(reader, fitted, bar)) as parts:
                    count = _write_into(graph, made, document, ((ids, values) for ids, _, values in parts), only_new=again)
            else:
                before = _side_before(reader, graph, element, types, made, document)
                with bar:
                    rows = EncodedRows.for_side(graph.definition, index)
                    count = _write_beside(reader, graph, rows, fitted, made, document, before, types, bar)
        finally:
            reader.close()
    return Materialised(
        fitted.encoder,
        fitted.state,
        fitted.num_rows,
        fitted.where,
        graph=graph,
        label=label,
        name=attr_name,
        num_encoded=count,
        is_beside=is_beside,
    )


def _is_beside(
    con: duckdb.DuckDBPyConnection,
    graph: IndexedGraph,
    element: VertexTable | EdgeTable,
    rows: EncodedRows,
    fitted: FittedEncoder,
    name: str,
    types: Mapping[str, str],
) -> bool:
    """Whether a column cannot be one of the type's own table.

    So it is where the rows would move under keys, constraints or indexes, as they do for arrays; and where the table is
    several types, each of which has values of its own, or none.
    """
    if name.lower() in map(str.lower, types):
        return False
    others = [e for e in graph.definition.elements if e.table == element.table and e != element]
    if any(isinstance(element, EdgeTable) or isinstance(other, VertexTable) for other in others):
        return True
    if tables.bound_by(con, element.table) is None:
        return False
    return moves_its_row(column_kinds(con, {VALUE: to_arrow(VALUE, rows.nothing_encoded(con, fitted))})[VALUE])


def _fitted(
    graph: IndexedGraph,
    element: VertexTable | EdgeTable,
    label: Label,
    name: str,
    encoder: Any,
    types: Mapping[str, str],
    fit: str | None,
) -> FittedEncoder:
    """Return an encoder of a table fitted: as it was, or now, on the rows that ``fit`` chooses."""
    db = graph.db
    if encoder is None or isinstance(encoder, FittedEncoder):
        if fit is not None:
            raise SchemaError(f"graph.encode({label!r}, {name!r}): fit= is for an encoder that is not fitted yet.")
        fitted = _kept(db.cursor(), graph, label, name) if encoder is None else encoder
        if gone := [column for column in fitted.columns if column not in types]:
            raise UnknownNameError(f"Table {str(element.table)!r} has no column {gone[0]!r}" + near_misses(gone[0], types))
        return fitted
    where = fit
    if fit is not None:
        where = check_filter(db.cursor(), fit, where=f"fit of {label!r}", table=("main", "q"), columns=types)
    encoders = Encoders({label: {name: encoder}})
    encoders.fit(db.arrow, label, f"SELECT {quote_all(types)} FROM {graph.definition.rows_of(element)}", types, where)
    return encoders.fitted(label)[name]


def _kept(con: duckdb.DuckDBPyConnection, graph: IndexedGraph, label: Label, name: str) -> FittedEncoder:
    """Return the encoder that the file keeps for a column."""
    document = document_of(con, graph.definition, label, name)
    if document is None:
        raise SchemaError(
            f"graph.encode({label!r}, {name!r}) has no encoder, and the file keeps none for this column. Give one, such as "
            f"graph.encode({label!r}, {name!r}, dbgnn.Normalize({name!r}))."
        )
    try:
        return Encoders.from_json(document).fitted(label)[name]
    except DbgnnError as error:  # functions are named in the document, not kept
        raise SchemaError(
            f"The file does not keep all that encoded {name!r} of {label!r}, such as functions. Give graph.encode the encoder, "
            f"or what it returned ({error})."
        ) from error


def _write_into(
    graph: IndexedGraph,
    made: EncodedColumn,
    document: str,
    parts: Iterable[tuple[np.ndarray[Any, Any], Tensor]],
    *,
    only_new: bool,
) -> int:
    """Write encoded values to a column of the type's own table, and return how many.

    Args:
        graph: The graph.
        made: What was encoded.
        document: The encoder as JSON.
        parts: Ids and values of all rows.
        only_new: Leave out the rows that have their value already.
    """
    target, kinds = Target.of(graph, made.label, into=None, serve=True, remedy=_remedy(made.label)), dict[str, str]()
    with staging(target) as con:
        for ids, values in parts:
            arrays = {made.name: to_arrow(made.name, values)}
            if not kinds:
                kinds = column_kinds(con, arrays)
                check_writable(target, con, kinds)
                create(con, f"TEMP TABLE {STAGED}", kinds)
            append(con, STAGED, kinds, ids, arrays)
        known = target.source.columns.get(made.name)
        if only_new and known is not None and known.sql_type == kinds[made.name]:
            ids_of = target.source.map_table
            rid = "s.id" if ids_of is None else f"(SELECT m.rid FROM {ids_of} AS m WHERE m.id = s.id)"
            con.execute(
                f"DELETE FROM {STAGED} AS s USING {target.source.table.sql} AS t "
                f"WHERE t.rowid = {rid} AND t.{quote(made.name)} IS NOT DISTINCT FROM s.c0"
            )
            if not con.execute(f"SELECT count(*) FROM {STAGED}").fetchall()[0][0]:
                return 0
        return finish(con, target, STAGED, kinds, also=lambda: keep_encoded(con, graph.definition, made, document))


def _side_before(
    con: duckdb.DuckDBPyConnection,
    graph: IndexedGraph,
    element: VertexTable | EdgeTable,
    types: Mapping[str, str],
    made: EncodedColumn,
    document: str,
) -> SideTable | None:
    """Return the side table that holds what the same fitted encoder made of other rows, or None.

    Of a function the document has the name, which another one may have by now: then all rows are encoded again.
    """
    if not says_all(document):
        return None
    known = schema.encoded(con, graph.definition)
    side = next((s for s in known.beside(element, types) if s.column == made.name), None)
    if side is None or side.stale is not None or document_of(con, graph.definition, made.label, made.name) != document:
        return None
    entry = next(c for c in known.columns if (c.label, c.name) == (made.label, made.name))
    return side if entry.sources == made.sources else None


def _write_beside(
    reader: duckdb.DuckDBPyConnection,
    graph: IndexedGraph,
    rows: EncodedRows,
    fitted: FittedEncoder,
    made: EncodedColumn,
    document: str,
    before: SideTable | None,
    types: Mapping[str, str],
    bar: Any,
) -> int:
    """Encode all rows, or those that the side table before does not hold as they are, and write the side table.

    Returns:
        How many were encoded.
    """
    target = Target.of(graph, made.label, into=None)
    if made.name in target.source.keys or made.name.lower() == "rowid" or not made.name:
        raise SchemaError(f"An encoded column of {made.label!r} cannot have the name {made.name!r}; give it another.")
    src = row_hash(rows.element, types, made.sources).replace(ROWS_MARK, "t")
    with staging(target) as con:
        but = None
        if before is not None:
            con.execute(f"CREATE TEMP TABLE {ROWS.partition('.')[2]} AS {rows.hashes(src)}")
            [(total, distinct)] = con.execute(f"SELECT count(*), count(DISTINCT src) FROM {ROWS}").fetchall()
            before = before if total == distinct or before.by_rowid else None
            but = None if before is None else before.table
        with closing(rows.parts(reader, fitted, bar, src=src, but=but)) as parts:
            _, count = stage(con, ((ids, hashes, to_arrow(made.name, values)) for ids, hashes, values in parts))
        write_side(target, con, made, document, before)
    return count


def _remedy(label: Label) -> str:
    """Return what to do where the constraints of the table do not let it change a column that it has."""
    return (
        f"Encode under a name that is no column of the table: graph.encode({label!r}, …) then keeps the values in a table of "
        "their own, and loaders serve them as if the column were there."
    )
