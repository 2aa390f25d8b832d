"""Macros and types of a database that have the name of DuckDB's own, and so would run in the place of what our SQL names.

DuckDB looks a name up in the schemas of the search path first, in its own last: functions, operators, table functions and types
that an extension brings. Whoever made the file has made its macros, and they run with the rights of whoever reads it. So they
are listed, by a statement whose every name is qualified, before anything else runs; what of them hides a name is an error.
Functions, table functions and types are looked up each by themselves: a type ``mode`` or a table macro ``sum`` hides nothing.

Where the user says that the file is his own, what our SQL names nowhere is let be. All words of the package's source count as
named: more than its SQL has, and no list that could grow old.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable

import duckdb

from dbgnn.duckdb_functions import listed
from dbgnn.errors import SchemaError
from dbgnn.sql import quote

#: Every function and type that somebody made. DuckDB has 3,300 of its own, and no other list that names macros: 9 ms.
_USER_MADE = """
    SELECT database_name, schema_name, function_name, function_type
    FROM system.main.duckdb_functions() WHERE NOT internal
    UNION ALL
    SELECT database_name, schema_name, type_name, 'type'
    FROM system.main.duckdb_types() WHERE NOT internal
"""

#: A part of a search path: a name in quotes or without, and what follows it.
_PATH_PART = re.compile(r'\s*(?:"((?:[^"]|"")*)"|([^".,]*))\s*([.,]|$)')

#: The module that names all functions of DuckDB's, to say which of them others may call.
_NAMES_ALL = "duckdb_functions.py"

#: How many macros an error names, and how many it says how to drop.
_NAMED, _DROPPED = 5, 50

#: How the names begin that DuckDB calls by itself: for casts, collations, and what its optimizer puts in.
_WITHIN = ("__", "collate_", "icu_")

#: What SQL without the function's name calls, such as ``x[1]``, ``{'a': 1}``, ``LIKE``, ``EXTRACT``, ``count(*)``, or the name
#: of an Arrow table.
_SYNTAX = frozenset(
    """arrow_scan arrow_scan_dumb pandas_scan parquet_scan python_arrow_scan python_map_function read_csv_auto seq_scan
    cast_to_type create_sort_key get_type make_type remap_struct replace_type array_extract array_slice array_value
    constant_or_null contains count_star current_catalog current_date current_role current_schema current_time
    current_timestamp current_user date_part first get_current_time get_current_timestamp like_escape ilike_escape
    list_apply list_contains list_extract list_filter list_slice list_transform list_value localtime localtimestamp map
    not_like_escape not_ilike_escape not_similar_to regexp_full_match row row_number struct_extract struct_pack
    substring timezone to_days to_hours to_microseconds to_milliseconds to_minutes to_months to_seconds to_weeks
    to_years trim union_extract unnest""".split()
)


@dataclass(frozen=True, slots=True, order=True)
class Shadow:
    """A macro or a type, as the catalog spells it, that has the name of one of DuckDB's own."""

    database: str
    schema: str
    name: str
    kind: str

    @property
    def remedy(self) -> str:
        """The statement that drops it."""
        kind = {"type": "TYPE", "table_macro": "MACRO TABLE"}.get(self.kind, "MACRO")
        return f"DROP {kind} {quote(self.database)}.{quote(self.schema)}.{quote(self.name)}"

    def shown(self, catalog: str) -> str:
        """What it is called in a message about the database of that name."""
        kind = "type" if self.kind == "type" else "macro"
        schema = self.schema if self.database == catalog else f"{self.database}.{self.schema}"
        return f"{kind} {self.name!r} in schema {schema!r}"


def shadows(con: duckdb.DuckDBPyConnection, path: Collection[tuple[str, str]], *, trusted: bool) -> list[Shadow]:
    """Return what in the schemas of ``path`` hides something of DuckDB's own; where ``trusted``, from our SQL.

    Args:
        con: The connection whose transaction is looked at, temporary macros included.
        path: Pairs of database and schema.
        trusted: Whether only names count that SQL of ours may resolve.
    """
    made = {Shadow(*row) for row in con.execute(_USER_MADE).fetchall()}  # one row for every form of a macro
    folded = {(database.lower(), schema.lower()) for database, schema in path}  # USE takes a name in any case, and keeps it
    made = {each for each in made if (each.database.lower(), each.schema.lower()) in folded}
    if not made:
        return []
    own, used = _own_names(), _used_names() if trusted else None
    return sorted(
        each for each in made if (name := each.name.lower()) in own[_looked_up_as(each.kind)] and (used is None or name in used)
    )


def search_path(con: duckdb.DuckDBPyConnection) -> set[tuple[str, str]]:
    """Return the pairs of database and schema in which a connection looks a name up before it looks among DuckDB's own."""
    query = "SELECT system.main.current_setting('search_path'), system.main.current_database(), system.main.current_schema()"
    text, database, schema = con.execute(query).fetchall()[0]
    found = {("temp", "main"), (database, schema), (database, "main")}
    for names in _parsed(text):
        # A single name may be that of a database or of a schema of the one in use.
        found |= {(names[0], names[1])} if len(names) > 1 else {(names[0], "main"), (database, names[0])}
    return found


def shadow_error(database: str, found: Sequence[Shadow], *, catalog: str, path: str | None, trusted: bool) -> SchemaError:
    """Return the error that names what was found, and how to drop it.

    Args:
        database: What it was found in, for the message.
        found: What was found.
        catalog: The name that DuckDB has for it.
        path: The file, where it is plain DuckDB that can drop it; None: ``db.execute()`` does.
        trusted: Whether the user said that the file is his own.
    """
    named = ", ".join(each.shown(catalog) for each in found[:_NAMED]) + (", …" if len(found) > _NAMED else "")
    own = "" if trusted else " If the file is your own: trusted=True lets be what no SQL of dbgnn calls."
    what = (
        f"{database} holds {named}. DuckDB would take that for its own function or type of the name, and run it in its place. "
    )
    if any(each.database not in ("temp", catalog) for each in found):  # it may be open read-only, and under another name
        return SchemaError(f"{what}Use the database without it: db.execute({f'USE {quote(catalog)}'!r}).{own}")
    drop = "; ".join(each.remedy for each in found[:_DROPPED])
    is_type = any(each.kind == "type" for each in found)
    of_type = "Give columns of the type another (ALTER TABLE … ALTER … TYPE VARCHAR). " if is_type else ""
    if path is None or any(each.database == "temp" for each in found):
        how = f"db.execute({drop!r})"
    else:
        how = f"close this database, then duckdb.connect({path!r}).execute({drop!r})"
    which = "it" if len(found) <= _DROPPED else f"the first {_DROPPED} of {len(found)}"
    return SchemaError(f"{what}{of_type}Drop {which}: {how}.{own}")


def _looked_up_as(kind: str) -> str:
    """Return as what DuckDB looks a name up, of what the catalog calls this kind."""
    if kind in {"type", "pragma"}:  # nobody makes pragmas, and nothing hides them
        return kind
    return "table" if kind in {"table", "table_macro"} else "function"


def _parsed(text: str) -> Iterable[list[str]]:
    names: list[str] = []
    at = 0
    while at < len(text) and (part := _PATH_PART.match(text, at)) is not None:
        names.append(part[1].replace('""', '"') if part[1] is not None else part[2])
        at = part.end()
        if part[3] != ".":
            yield names
            names = []


@cache
def _own_names() -> dict[str, frozenset[str]]:
    """Return DuckDB's own names, by what they are looked up as."""
    found: dict[str, set[str]] = {kind: set() for kind in ("function", "table", "type", "pragma")}
    for name, kind, _ in listed():
        if kind != "collation":
            found[_looked_up_as(kind)].add(name)
    return {kind: frozenset(names) for kind, names in found.items()}


@cache
def _used_names() -> frozenset[str]:
    """Return those of DuckDB's own names that SQL of ours may resolve, also within macros of DuckDB's."""
    own = frozenset().union(*_own_names().values())
    used = {name for name in own if not re.fullmatch(r"\w+", name) or name.startswith(_WITHIN)}  # operators
    used |= own & (_words(resources.files("dbgnn")) | _SYNTAX)
    calls: dict[str, set[str]] = {}
    for name, _, definition in listed():
        if definition is not None:
            calls.setdefault(name, set()).update(re.findall(r"\w+", definition.lower()))
    while more := set().union(*(calls.get(name, set()) for name in used)) & own - used:
        used |= more
    return frozenset(used)


def _words(folder: Traversable) -> set[str]:
    """Return all words of the package's source, in lower case; of a package without source, all of DuckDB's own names."""
    words: set[str] = set()
    for entry in folder.iterdir():
        if entry.is_dir():
            words |= _words(entry)
        elif entry.name.endswith(".py") and entry.name != _NAMES_ALL:
            words |= set(re.findall(r"\w+", entry.read_text(encoding="utf-8").lower()))
        elif entry.name.endswith(".pyc") and not folder.name.startswith("__"):
            return set().union(*_own_names().values())
    return words
