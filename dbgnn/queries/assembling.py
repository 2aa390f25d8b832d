"""Queries → `HeteroData`: runs the queries of a plan, one after the other in one transaction, so that all of them
see the same state of the file, and puts together what they give.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import torch
from torch import Tensor
from torch_geometric.data import HeteroData

from dbgnn.arrow import key_values
from dbgnn.encoders import Encoders, FittedEncoder
from dbgnn.encoders.nulls import NullValueError
from dbgnn.errors import DataError, SchemaError, SqlError, UnknownNameError, near_misses
from dbgnn.queries.dangling import beside_conditions, dangling_error, num_dangling
from dbgnn.queries.kept import Kept
from dbgnn.queries.node_keys import NodeKeys
from dbgnn.queries.pairs import EdgeSplit, check_pairs, reverse_types
from dbgnn.queries.query_columns import allowed, attribute, query_name, row_bytes, tensor_column
from dbgnn.queries.query_model import EdgeQuery, NodeQuery, Options
from dbgnn.queries.read_only import Params, check_query, columns_named, described, names_bound, query_errors
from dbgnn.queries.reverse import add_reverse
from dbgnn.queries.sinks import KEYS, POS, Encoded, Ends, Keys, Masks, Sink, Values, carried_keys, numbered, read_into
from dbgnn.queries.split import Split
from dbgnn.queries.splits_by_value import ColumnSplit, PredicateSplit
from dbgnn.schema import EdgeType, transaction
from dbgnn.schema.catalog import folded
from dbgnn.schema.key_values import key_rows, shown_key, shown_value
from dbgnn.schema.keys import key_types, kind_of
from dbgnn.schema.model import Label
from dbgnn.schema.types import tensor_type
from dbgnn.sql import check_filter, quote


class Reader:
    """Runs the queries of one call, and puts together what they give.

    Args:
        con: The connection; its transaction is the caller's.
        options: What was asked for.
        params: Values by name.
    """

    def __init__(self, con: duckdb.DuckDBPyConnection, options: Options, params: Mapping[str, object] | None = None) -> None:
        if options.dangling not in (None, "error", "drop"):
            raise SchemaError(f"dangling must be 'error' or 'drop', not {options.dangling!r}.")
        self._con, self._options, self._params = con, options, params or {}
        given = options.encoders
        self._encoders = given if isinstance(given, Encoders) else Encoders(given or {})
        self._views: list[str] = []
        self._edge_splits: dict[EdgeType, EdgeSplit] = {}
        self._unused = set(self._params)

    def data(self, nodes: Sequence[NodeQuery], edges: Sequence[EdgeQuery]) -> HeteroData:
        """Run the queries and return the object."""
        self._check_names(nodes, edges)
        data, keys = HeteroData(), dict[str, NodeKeys]()
        try:
            with transaction(self._con):
                for query in nodes:
                    keys[query.label] = self._read_nodes(data, query)
                queries = {n.label: (n, keys[n.label]) for n in nodes}
                dropped = {e.edge_type: self._read_edges(data, e, queries) for e in edges}
        finally:
            # After the transaction: an aborted one forbids it. If that is the user's own, its end takes the views away.
            self._con.complete()
            for view in self._views:
                with suppress(duckdb.Error):
                    self._con.unregister(view)
        if self._unused:
            raise SqlError(f"params: no query uses {', '.join('$' + name for name in sorted(self._unused))}.")
        if counts := {t: n for t, n in dropped.items() if n is not None}:
            data[_DROPPED] = {t: n for t, (n, _) in counts.items()}
            data[_DANGLING] = {t: n for t, (_, n) in counts.items() if n is not None}
        self._add_reverse(data, keys, edges)
        return data

    def _add_reverse(self, data: HeteroData, keys: Mapping[str, NodeKeys], edges: Sequence[EdgeQuery]) -> None:
        options = self._options
        reverses = list(reverse_types(edges))
        merged = isinstance(options.undirected, str)
        check_pairs(data, self._edge_splits, reverses, lambda label, at: keys[label].at(at), merged=merged)
        masks = {t: tuple(f"{name}_mask" for name in of.parts) for t, of in self._edge_splits.items()}
        add_reverse(data, reverse=options.reverse, undirected=options.undirected, self_loops=options.self_loops, masks=masks)

    def _check_names(self, nodes: Sequence[NodeQuery], edges: Sequence[EdgeQuery]) -> None:
        labels: list[Label] = [*(n.label for n in nodes), *(e.edge_type for e in edges)]
        for name in {_DROPPED, _DANGLING} & set(labels):  # it would stand where PyG looks for the type
            raise SchemaError(f"A node type cannot be called {name!r}, which is the attribute that counts edges left out.")
        options = self._options
        for what, given in (
            ("fit", options.fit),
            ("splits", options.splits),
            ("time", options.time),
            ("encoders", self._encoders),
        ):
            for label in given:
                if label not in labels:
                    raise UnknownNameError(f"{what}: there is no node or edge type {label!r}" + near_misses(label, labels))
        for label, condition in options.fit.items():
            if label not in self._encoders:
                raise SchemaError(f"fit: {label!r} has no encoders that could be fitted.")
            if not isinstance(condition, str):
                raise SqlError(f"fit[{label!r}] must be a SQL condition, such as \"split = 'train'\", not {condition!r}.")
        for label, queries in options.attributes.items():
            if not isinstance(queries, Mapping):
                raise SchemaError(f"attributes[{label!r}] must name the attributes, {{'y': 'SELECT …'}}, not {queries!r}.")
            if label not in labels or not isinstance(label, str):
                raise UnknownNameError(
                    f"attributes: there is no node type {label!r}" + near_misses(label, labels[: len(nodes)])
                )

    # -- nodes -----------------------------------------------------------------------------------------

    def _read_nodes(self, data: HeteroData, query: NodeQuery) -> NodeKeys:
        where = f"nodes {query.label!r}"
        params = self._bound(query.text)
        types = described(self._con, query.text, params, where=where)
        keys = tuple(types)[:1] if query.keys is None else query.keys
        if not keys:
            raise SchemaError(f"keys: nodes {query.label!r} need at least one column that identifies a row.")
        for name in keys:
            if name not in types:
                raise UnknownNameError(f"keys: the query for {where} has no column {name!r}" + near_misses(name, types))
        columns = [tensor_type(name, types[name]) for name in keys]
        kinds = self._key_types(query.text, params, types, keys, where)
        sinks: list[Sink] = [Keys(columns), *self._sinks(query, query.text, params, types, keys)]
        num_nodes, found = self._read(query.text, params, sinks, types, where=where, keys=keys)
        table = found.pop(KEYS)
        index = NodeKeys.of(query.label, columns, kinds, table, view=f"dbgnn_keys_{uuid.uuid4().hex}")
        self._lend(index)
        if query.attach or (query.attach is None and (query.filtered or index.first != 0)):
            found = {
                **{attribute(query, c.name): key_values(table.column(i), c) for i, c in enumerate(columns)},
                **found,
            }
        for name, text in self._options.attributes.get(query.label, {}).items():
            if name in found:
                raise SchemaError(f"attributes: {where} have an attribute {name!r} already; leave it out of one of the two.")
            found[allowed(name, query)] = self._looked_up(index, name, text, num_nodes)
        store = data[query.label]
        for name, value in found.items():
            store[name] = value
        if not any(isinstance(found.get(name), Tensor) for name in _COUNTED_BY):
            store.num_nodes = num_nodes
        return index

    def _lend(self, index: NodeKeys) -> None:
        """Register the keys for SQL, and check that they differ."""
        self._views.append(index.view)
        self._con.complete()
        self._con.register(index.view, index.with_positions())
        if index.first is None and (twice := key_rows(self._con, index.duplicates(), index.types)):
            *key, count = twice[0]
            raise DataError(
                f"The query for nodes {index.label!r} gives {count} rows for one key, ({', '.join(index.names)}) = "
                f"{shown_value(key[0] if len(key) == 1 else key)}. A node is one row: use DISTINCT, GROUP BY, or keys= to name "
                "the columns that identify it."
            )

    def _looked_up(self, index: NodeKeys, name: str, text: str, num_nodes: int) -> Any:
        """Return an attribute that a query of its own gives by key."""
        where = f"attribute {name!r} of nodes {index.label!r}"
        text = check_query(self._con, text, where=where)
        params = self._bound(text)
        types = described(self._con, text, params, where=where)
        width = len(index.names)
        if len(types) != width + 1:
            raise SchemaError(
                f"The query for {where} must give the key ({', '.join(index.names)}) and one value, but it gives "
                f"{len(types)} columns: {', '.join(types)}."
            )
        *own, value = types
        index.check_types(own, self._key_types(text, params, types, own, where), f"The query for {where}")
        position, join = index.position("dbgnn_s", own, [types[c] for c in own])
        ends = Ends(position, position)
        sinks: list[Sink] = [ends, Values(tensor_column(value, types[value], where), name)]
        _, found = self._read(text, params, sinks, types, where=where, keys=tuple(own), joins=[join])
        pos = found["edge_index"][0].numpy()
        counts = np.bincount(pos, minlength=num_nodes)
        if (counts != 1).any():
            bad = int(np.flatnonzero(counts != 1)[0])
            raise DataError(
                f"The query for {where} must give one row for each of the {num_nodes:,} nodes, but {(counts == 0).sum():,} "
                f"have none and {(counts > 1).sum():,} several; the first is {index.at(bad)!r}. Join it into the query of "
                "the nodes with LEFT JOIN and coalesce(), or leave such nodes out."
            )
        return torch.from_numpy(found[name].numpy()[np.argsort(pos)])

    # -- edges -----------------------------------------------------------------------------------------

    def _read_edges(
        self, data: HeteroData, query: EdgeQuery, nodes: Mapping[str, tuple[NodeQuery, NodeKeys]]
    ) -> tuple[int, int | None] | None:
        """Read the edges of one type; return how many were left out, and how many of those dangle; None: that is an error."""
        where = f"edges {query.edge_type!r}"
        params = self._bound(query.text)
        types = described(self._con, query.text, params, where=where)
        (of_source, source), (of_destination, destination) = nodes[query.edge_type[0]], nodes[query.edge_type[2]]
        ends = _end_columns(query, types, source, destination, where)
        positions, joins = [], []
        for alias, index, own in zip(("dbgnn_s", "dbgnn_d"), (source, destination), ends, strict=True):
            index.check_types(own, self._key_types(query.text, params, types, own, where), f"The query for {where}")
            position, join = index.position(alias, own, [types[c] for c in own])
            positions.append(position)
            joins.append(join)
        first = Ends(positions[0], positions[1])
        keys = (*ends[0], *ends[1])
        drop = of_source.filtered or of_destination.filtered
        drop = drop if self._options.dangling is None else self._options.dangling == "drop"
        text = kept = query.text
        if drop:
            both = " AND ".join(f"({position}) IS NOT NULL" for position in positions)
            kept = f"SELECT q.* FROM ({text}\n) AS q {' '.join(joins)} WHERE {both}"
        if drop and query.rowid is not None:
            # Numbering rows takes one thread, finding those that have both ends takes them all.
            text = f"{kept} ORDER BY q.{quote(query.rowid)} ASC"
        # Encoders and splits see the edges that are left, and learn nothing of the others.
        sinks: list[Sink] = [first, *self._sinks(query, kept, params, types, keys, num_source=len(ends[0]))]
        num_edges, found = self._read(text, params, sinks, types, where=where, keys=keys, joins=joins)
        if first.dangling and not drop:
            raise dangling_error(self._con, query, params, first, keys, [types[k] for k in keys], joins)
        for name, value in found.items():
            data[query.edge_type][name] = value
        if not drop:
            return None
        total = num_edges + first.dangling
        if query.rowid is not None:
            [(total,)] = self._con.execute(f"SELECT count(*) FROM ({query.text}\n)", params).fetchall()
        refers = [(of_source, source, ends[0]), (of_destination, destination, ends[1])]
        dropped = total - num_edges
        dangling = num_dangling(self._con, query, refers, self._params, total=total, dropped=dropped)
        asked = any(each.filtered and each.asked for each in (of_source, of_destination))
        if dangling and not asked and self._options.dangling is None:
            raise beside_conditions(query, dangling)
        return dropped, dangling

    # -- both ------------------------------------------------------------------------------------------

    def _sinks(
        self,
        query: NodeQuery | EdgeQuery,
        text: str,
        params: Params,
        types: Mapping[str, str],
        keys: Sequence[str],
        *,
        num_source: int = 0,
    ) -> list[Sink]:
        """Return what becomes of the columns that are no keys: encoders, split, time, and the others as they are."""
        label, served = query.label, query.served
        where = query_name(query)
        sinks: list[Sink] = []
        used: set[str] = set(keys) if served is None else set()
        in_split: set[str] = set()
        if label in self._encoders:
            fitted = self._fitted(label, text, params, types, where)
            sinks += [Encoded(allowed(name, query), encoder) for name, encoder in fitted.items()]
            used |= {c for encoder in fitted.values() for c in encoder.columns} | fitted.keys()
        if (split := self._options.splits.get(label)) is not None:
            split, pair, own = as_split(split), False, keys
            if not isinstance(label, str):
                # The ends in the order of their types' names, so that an edge type and its reverse have one order.
                own = keys if label[0] <= label[2] else (*keys[num_source:], *keys[:num_source])
                pair = label[0] == label[2] and not split.directed
            run = self._run(params, f"split of {where}")
            expression, parts = split.expression(run, self._con, text, types, own, where, pair=pair)
            if not isinstance(label, str):
                self._edge_splits[label] = EdgeSplit(split, parts)
            sinks.append(Masks(expression, parts))
            in_split = columns_named(self._con, expression)
        if (time := self._options.time.get(label)) is not None:
            if time not in types:
                raise UnknownNameError(f"time: the query for {where} has no column {time!r}" + near_misses(time, types))
            sinks.append(Values(tensor_column(time, types[time], where), "time"))
            used.add(time)
        for name in types if served is None else served:
            if name not in used and (folded(name) not in in_split or tensor_type(name, types[name]).reason is None):
                sinks.append(Values(tensor_column(name, types[name], where), attribute(query, name)))
        named = [c for c in query.also if c.name not in (served or ()) or c.name in used]
        return [*sinks, *(Kept(c, attribute(query, c.name)) for c in named)]

    def _fitted(
        self, label: Label, text: str, params: Params, types: Mapping[str, str], where: str
    ) -> Mapping[str, FittedEncoder]:
        if not self._encoders.is_fitted(label):
            condition = self._options.fit.get(label)
            if condition is not None:
                condition = check_filter(self._con, condition, where=f"fit of {where}", table=("main", "q"), columns=types)
            self._encoders.fit(self._run(params, f"fit of {where}"), label, text, types, where=condition)
        return self._encoders.fitted(label)

    def _read(
        self,
        text: str,
        params: Params,
        sinks: Sequence[Sink],
        types: Mapping[str, str],
        *,
        where: str,
        keys: Sequence[str],
        joins: Sequence[str] = (),
    ) -> tuple[int, dict[str, Any]]:
        """Run a query; say of a NULL which key it has."""
        width = sum(row_bytes(tensor_type(name, kind)) for name, kind in types.items())
        progress = self._options.progress
        try:
            return read_into(self._con, text, params, sinks, joins=joins, row_bytes=width, where=where, progress=progress)
        except NullValueError as error:
            kinds = [types[key] for key in keys]
            sql = f"SELECT {carried_keys(keys, kinds)} FROM {numbered(text)} WHERE q.{POS} = {int(error.row)}"
            shown = shown_key(keys, key_rows(self._con, sql, kinds, params)[0])
            name = error.column
            raise DataError(
                f"Column {name!r} of {where} is NULL, or holds NULL, where {shown}. Fill it, by UPDATE or as "
                f"coalesce({quote(name)}, …) in a query, leave out such rows or the column, or use an encoder with null='fill' "
                "or null='mask'."
            ) from error

    def _run(self, params: Params, where: str) -> Callable[[str], pa.Table]:
        """Return what runs further SQL over a query, with its values bound."""

        def run(sql: str) -> pa.Table:
            used = {n: v for n, v in self._params.items() if params and n in names_bound(self._con, sql)}
            with query_errors(where, sql):
                return self._con.sql(sql, params=used or None).to_arrow_table()

        return run

    def _key_types(
        self, text: str, params: Params, types: Mapping[str, str], names: Sequence[str], where: str
    ) -> tuple[str, ...]:
        """Return the types of keys in a query, with collations."""
        for name in names:
            if kind_of(types[name]) in ("UNION", "VARIANT"):
                raise SchemaError(
                    f"The query for {where}: {name!r} is {types[name]}, which cannot be a key. Cast it to the type that its "
                    f"values have: {quote(name)}::VARCHAR."
                )
        with query_errors(where, text):
            found = key_types(self._con, f"({text}\n)", types, names, params)
        return tuple(dict(zip(dict.fromkeys(names), found, strict=True))[name] for name in names)

    def _bound(self, text: str) -> dict[str, object] | None:
        """Return those of the values that a query wants."""
        wanted = names_bound(self._con, text)
        if missing := sorted(wanted - self._params.keys()):
            name = missing[0]
            raise SqlError(
                f"params: a query wants a value for ${name}; give it by name, params={{{name!r}: …}}. It reads: {text}"
            )
        self._unused -= wanted
        return {name: self._params[name] for name in wanted} or None


#: The attributes of the whole that count edges left out by edge type, and those of them that dangle.
_DROPPED, _DANGLING = "num_dropped", "num_dangling"

#: Attributes by which PyG knows the number of nodes.
_COUNTED_BY = ("x", "pos", "batch")


def as_split(split: Any) -> Split:
    """Return a split given as one, as the name of a column, or as conditions by name."""
    if isinstance(split, str):
        return ColumnSplit(split)
    if isinstance(split, Mapping):
        return PredicateSplit(dict(split))
    if not isinstance(split, Split):
        raise SchemaError(
            f"splits: {split!r} is no split; give a column, conditions by name, or a split such as dbgnn.HashSplit."
        )
    return split


def _end_columns(
    query: EdgeQuery, types: Mapping[str, str], source: NodeKeys, destination: NodeKeys, where: str
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the columns of the edge query that hold the source's and the destination's key."""
    if query.source_key is not None and query.destination_key is not None:
        return query.source_key, query.destination_key
    first, second = len(source.names), len(destination.names)
    names = tuple(types)
    if len(names) < first + second:
        raise SchemaError(
            f"The query for {where} must begin with the key of {source.label!r} ({', '.join(source.names)}) and that of "
            f"{destination.label!r} ({', '.join(destination.names)}), but it gives only {', '.join(names)}."
        )
    return names[:first], names[first : first + second]
