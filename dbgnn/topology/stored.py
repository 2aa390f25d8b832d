"""The registry of the index, ``dbgnn.index_parts``: read as what anybody may have written, and made where it is absent.

A row is believed if it is what `PartState.dump` and `StoredPart.sealed` made, to the letter. What its index tables hold is
compared in `contents.py`, whether they are up to date in `state.py`.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import duckdb

from dbgnn.schema.catalog import OWN_SCHEMA
from dbgnn.sql import quote
from dbgnn.topology.home import homes, is_in_memory, table_in
from dbgnn.topology.table_state import ENGINE, TableState

#: The table with one row per indexed vertex or edge table, written in the transaction that makes their index tables.
REGISTRY = "index_parts"

#: Its columns. What they hold is of the state of the file that `PartState` says.
_REGISTRY_COLUMNS = (
    ("graph", "VARCHAR"),
    ("part", "VARCHAR"),
    ("state", "VARCHAR"),
    ("num_rows", "BIGINT"),
    ("dense", "BOOLEAN"),
    ("dropped", "BIGINT"),
    ("map_table", "VARCHAR"),
    ("adjacency", "VARCHAR"),
)

#: What index tables are called, and the shapes that they may have.
_MAP, _ADJACENCY = re.compile(r"map_[0-9]{1,18}", re.ASCII), re.compile(r"adj_[0-9]{1,18}", re.ASCII)
_MAP_SHAPE = (("id", "BIGINT"), ("rid", "BIGINT"))
_ADJACENCY_SHAPES = [
    (("dst", node), ("nbrs", f"{node}[]"), ("eids", f"{edge}[]"))
    for node in ("INTEGER", "BIGINT")
    for edge in ("INTEGER", "BIGINT")
]

#: The columns of a table, with their types.
Shape = tuple[tuple[str, str], ...]


class _NotOurs(Exception):  # noqa: N818 - not raised beyond this file
    """Says what in a row of the registry dbgnn did not write."""


@dataclass(frozen=True, slots=True)
class PartState:
    """What is kept with a part.

    Attributes:
        own: The state of its own table.
        ends: For edges, the keys of both ends.
        dangling: What was done with edges whose end does not exist: ``"error"`` or ``"drop"``.
        map: Checksum of its map table (see `contents.py`); "" where it has none.
        adjacency: Checksum of its adjacency lists, likewise.
        seal: Checksum of the row of the registry.
    """

    own: TableState
    ends: tuple[str, ...] = ()
    dangling: str = "error"
    map: str = ""
    adjacency: str = ""
    seal: str = ""

    def dump(self) -> str:
        """Return the JSON that `read` takes."""
        return json.dumps(asdict(self))

    @staticmethod
    def read(text: str) -> PartState:
        """Inverse of `dump`.

        Raises:
            _NotOurs: The text is anything else.
        """
        try:
            data = json.loads(text)
            own = data["own"]
            own = TableState(**(own | {"columns": tuple((n, t) for n, t in own["columns"])}))
            found = PartState(**(data | {"own": own, "ends": tuple(data["ends"])}))
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise _NotOurs("its state is not what dbgnn writes there") from error
        texts = [own.table, own.keys, own.rows, own.engine, *(t for pair in own.columns for t in pair), *found.ends]
        texts += [found.map, found.adjacency, found.seal]
        is_text = all(isinstance(each, str) for each in texts)
        if not is_text or not _is_count(own.count) or found.dangling not in ("error", "drop"):
            raise _NotOurs("its state is not what dbgnn writes there")
        return found


@dataclass(frozen=True, slots=True)
class StoredPart:
    """One row of a registry, and the database that holds it and the part's tables."""

    state: PartState
    num_rows: int
    dense: bool
    dropped: int
    map_table: str | None
    adjacency: str | None
    home: str

    @property
    def tables(self) -> list[str]:
        """The names of its index tables."""
        return [name for name in (self.map_table, self.adjacency) if name is not None]

    def sealed(self, graph: str, part: str) -> StoredPart:
        """Return the part with the checksum of its row of the registry."""
        row = [self.num_rows, self.dense, self.dropped, self.map_table, self.adjacency]
        text = json.dumps([graph, part, asdict(replace(self.state, seal="")), *row])
        seal = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
        return replace(self, state=replace(self.state, seal=seal))


@dataclass(slots=True)
class Stored:
    """What is kept of a graph, in the file or in memory.

    Attributes:
        parts: By `part_name`; without parts whose index tables are gone.
        faults: Of parts that are not among them, what in the registry dbgnn did not write.
        fault: Likewise of the whole registry of the file.
        rows: The rows of the file's registry, for comparison.
    """

    parts: dict[str, StoredPart] = field(default_factory=dict)
    faults: dict[str, str] = field(default_factory=dict)
    fault: str | None = None
    rows: frozenset[tuple[Any, ...]] = frozenset()

    def fault_of(self, part: str) -> str | None:
        """Return why a part is not believed; None: it is, or is not there at all."""
        return None if part in self.parts else self.faults.get(part, self.fault)


def stored_parts(con: duckdb.DuckDBPyConnection, graph: str, *, memory_only: bool = False) -> Stored:
    """Return what is kept of a graph, in the file or in memory; a part in memory counts before one in the file.

    Args:
        con: A connection.
        graph: The name of the graph.
        memory_only: Of the file, believe nothing: it is a stranger's, who can write checksums as well.
    """
    found = Stored()
    for home in homes(con):
        if memory_only and not is_in_memory(con, home):
            continue
        known = shapes(con, home)
        fault = registry_fault(known)
        if fault is not None:
            found.fault = fault
        elif REGISTRY in known:
            rows = registry_rows(con, home, graph)
            found.rows = found.rows or rows
            _read(rows, graph, home, known, found)
    return found


def registry_rows(con: duckdb.DuckDBPyConnection, home: str, graph: str) -> frozenset[tuple[Any, ...]]:
    """Return the rows of the registry for a graph, as they are."""
    columns = ", ".join(name for name, _ in _REGISTRY_COLUMNS[1:])
    return frozenset(con.execute(f"SELECT {columns} FROM {table_in(home, REGISTRY)} WHERE graph = ?", [graph]).fetchall())


def _read(rows: frozenset[tuple[Any, ...]], graph: str, home: str, known: Mapping[str, Shape], found: Stored) -> None:
    """Add the rows of a registry to what was found."""
    times = Counter(row[0] for row in rows)
    for row in rows:
        name = row[0]
        if not isinstance(name, str):
            continue  # of no part
        try:
            part = _part(graph, row, home, known, times[name])
        except _NotOurs as fault:
            found.parts.pop(name, None)
            found.faults[name] = f"the entry {name} of {_shown(REGISTRY)}: {fault}"
            continue
        if all(table in known for table in part.tables):
            found.parts[name] = part
            found.faults.pop(name, None)


def _part(graph: str, row: tuple[Any, ...], home: str, known: Mapping[str, Shape], times: int) -> StoredPart:
    name, state, num_rows, dense, dropped, map_table, adjacency = row
    if times > 1:
        raise _NotOurs("it is there more than once")
    if not isinstance(state, str) or not isinstance(dense, bool) or not _is_count(num_rows) or not _is_count(dropped):
        raise _NotOurs("it lacks a value, or a number is negative")
    part = StoredPart(PartState.read(state), num_rows, dense, dropped, map_table, adjacency, home)
    if part.state.own.engine != ENGINE:
        return part  # out of date, whatever else it says; `state.py` says so
    if part.sealed(graph, name).state.seal != part.state.seal:
        raise _NotOurs("it was edited")
    if num_rows + dropped > part.state.own.count:
        raise _NotOurs(f"it counts {num_rows + dropped:,} rows, and the table has {part.state.own.count:,}")
    if adjacency is None and (dropped or num_rows != part.state.own.count):
        raise _NotOurs(f"it counts {num_rows:,} nodes, and the table has {part.state.own.count:,} rows")
    for table, pattern in ((map_table, _MAP), (adjacency, _ADJACENCY)):
        if table is not None and not pattern.fullmatch(table):
            raise _NotOurs(f"{table!r} is no name of an index table")
        if table in known and not has_its_columns(table, known):
            raise _NotOurs(f"{_shown(table)} has other columns than dbgnn gives it")
    if adjacency is None and not name.startswith('"'):
        raise _NotOurs("it names no adjacency lists")
    return part


def has_its_columns(name: str, known: Mapping[str, Shape]) -> bool:
    """Whether an index table is there, with the columns that its name says."""
    return known.get(name) in ([_MAP_SHAPE] if _MAP.fullmatch(name) else _ADJACENCY_SHAPES)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def registry_fault(known: Mapping[str, Shape]) -> str | None:
    """Return what is wrong with the registry itself; None: nothing, or there is none."""
    found = known.get(REGISTRY)
    if found is None or found == _REGISTRY_COLUMNS:
        return None
    return f"{OWN_SCHEMA}.{REGISTRY} is no table of dbgnn's: its columns are {', '.join(f'{n} {t}' for n, t in found)}"


def create_registry(con: duckdb.DuckDBPyConnection, home: str) -> None:
    """Create the registry where it is absent, or is none of dbgnn's."""
    con.execute(f"CREATE SCHEMA IF NOT EXISTS {quote(home)}.{quote(OWN_SCHEMA)}")
    kinds, registry = relations(con, home), table_in(home, REGISTRY)
    triggers = "SELECT 1 FROM duckdb_triggers() WHERE database_name = ? AND schema_name = ? AND table_name = ?"
    is_view = kinds.get(REGISTRY) == "VIEW"
    if is_view or registry_fault(shapes(con, home)) or con.execute(triggers, [home, OWN_SCHEMA, REGISTRY]).fetchall():
        con.execute(f"DROP {kinds[REGISTRY]} {registry}")
    columns = ", ".join(f"{name} {kind}" for name, kind in _REGISTRY_COLUMNS)
    con.execute(f"CREATE TABLE IF NOT EXISTS {registry} ({columns}, PRIMARY KEY (graph, part))")


def shapes(con: duckdb.DuckDBPyConnection, home: str) -> dict[str, Shape]:
    """Return the columns, with their types, of dbgnn's tables in a database; of views none, of a generated column no type."""
    parameters = [home, OWN_SCHEMA]
    names = con.execute(
        "SELECT table_name FROM duckdb_tables() WHERE database_name = ? AND schema_name = ?", parameters
    ).fetchall()
    columns = con.execute(
        """
        SELECT table_name, column_index, column_name, CASE WHEN is_generated THEN 'generated' ELSE data_type END
        FROM duckdb_columns() WHERE database_name = ? AND schema_name = ?""",
        parameters,
    ).fetchall()
    found: dict[str, Shape] = {name: () for (name,) in names}
    for table, _, name, kind in sorted(columns):
        if table in found:
            found[table] = (*found[table], (name, kind))
    return found


def relations(con: duckdb.DuckDBPyConnection, home: str) -> dict[str, str]:
    """Return what there is in dbgnn's schema of a database by name, ``"TABLE"`` or ``"VIEW"``."""
    query = """
        SELECT table_name, 'TABLE' FROM duckdb_tables() WHERE database_name = $home AND schema_name = $own
        UNION ALL
        SELECT view_name, 'VIEW' FROM duckdb_views() WHERE database_name = $home AND schema_name = $own"""
    return dict(con.execute(query, {"home": home, "own": OWN_SCHEMA}).fetchall())


def is_index_table(name: str) -> bool:
    """Whether a name is one of an index table."""
    return bool(_MAP.fullmatch(name) or _ADJACENCY.fullmatch(name))


def _shown(name: str) -> str:
    return f"{OWN_SCHEMA}.{name}"
