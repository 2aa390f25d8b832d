"""Tables of Python that a query names, such as a DataFrame or an Arrow table in a variable of the caller's.

DuckDB looks for them in the frames above a statement. Ours come first there, so that a local of ours would be found
in place of the user's variable; and on a plain connection it looks no further. So they are looked up here.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

import duckdb

from dbgnn.configuration import is_locked, prefer
from dbgnn.errors import SchemaError, SqlError
from dbgnn.parse_tree import walk
from dbgnn.queries.read_only import tree_of
from dbgnn.schema.catalog import folded
from dbgnn.sql import quote

_PACKAGE = __name__.partition(".")[0]
_REPLACEMENTS = "python_enable_replacements"


@contextmanager
def python_tables(con: duckdb.DuckDBPyConnection, texts: Iterable[str]) -> Iterator[None]:
    """Register, for as long as the block runs, what checked queries name and only the caller's variables are.

    Raises:
        SqlError: A variable of that name is nothing that DuckDB can read.
        SchemaError: It is a DataFrame whose index says something, which DuckDB leaves out.
    """
    found: list[str] = []
    before = con.execute(f"SELECT current_setting('{_REPLACEMENTS}')").fetchall()[0][0]
    prefer(con, **{_REPLACEMENTS: "false"})
    hidden = bool(before) and is_locked(con)  # DuckDB goes on to take variables, ours first, for what the catalog lacks
    try:
        for name in sorted(_unknown(con, texts, in_catalog=hidden)):
            value = _variable(name)
            if value is None and hidden:
                raise SqlError(f"A query names {name!r}, and there is no table, view or variable of that name.")
            if value is not None:
                _check_index(name, value)
                con.complete()
                try:
                    con.register(name, value)
                except (duckdb.Error, TypeError, ValueError) as error:
                    kind = type(value).__name__
                    raise SqlError(
                        f"A query names {name!r}; the variable of that name is a {kind}, which is no table."
                    ) from error
                found.append(name)
        yield
    finally:
        with suppress(duckdb.Error):  # such as those of a transaction that failed
            con.complete()
        for name in found:
            with suppress(duckdb.Error):
                con.unregister(name)
        with suppress(duckdb.Error):
            con.execute(f"SET {_REPLACEMENTS} = {bool(before)}")


def _check_index(name: str, value: Any) -> None:
    """Raise if a pandas DataFrame has an index that is more than the numbers of its rows: DuckDB reads columns alone.

    Its first column would be taken for the key where the index is. An unnamed index of integers is what is left of those
    numbers after a selection of rows.
    """
    pandas = sys.modules.get("pandas")
    if pandas is None or not isinstance(value, pandas.DataFrame):
        return
    index = value.index
    levels = [level for level in index.names if level is not None]
    says_nothing = index.nlevels == 1 and (not len(index) or pandas.api.types.is_integer_dtype(index.dtype))
    if not levels and says_nothing:
        return
    called = f"the index {', '.join(map(repr, levels))}" if levels else f"an index of {index.dtype}, such as {index[0]!r}"
    remedy = f"{name} = {name}.reset_index() makes it the first column, and "
    if set(levels) & set(value.columns):  # pandas refuses a second column of the name
        remedy = "A column has its name as well; "
    raise SchemaError(
        f"A query names {name!r}, a DataFrame with {called}, which DuckDB does not read: {remedy}"
        f"{name} = {name}.reset_index(drop=True) leaves it out."
    )


def _unknown(con: duckdb.DuckDBPyConnection, texts: Iterable[str], *, in_catalog: bool) -> set[str]:
    """Return the names, without a schema, that queries read from and that mean nothing to DuckDB, or are not in its catalog."""
    names: set[str] = set()
    for text in texts:
        nodes = list(walk(tree_of(con, text, "")))
        within = {folded(entry["key"]) for n in nodes if "cte_map" in n for entry in n["cte_map"]["map"]}
        paths = [n["qualified_name"]["path"] for n in nodes if n.get("type") == "BASE_TABLE"]
        names |= {path[0] for path in paths if len(path) == 1 and folded(path[0]) not in within}
    known = _is_in_catalog if in_catalog else _is_known
    return {name for name in names if not known(con, name)}


def _is_known(con: duckdb.DuckDBPyConnection, name: str) -> bool:
    try:
        con.execute(f"DESCRIBE FROM {quote(name)}").fetchall()
    except duckdb.CatalogException:
        return False
    except duckdb.Error:  # such as a file that cannot be read: there is something of this name
        return True
    return True


def _is_in_catalog(con: duckdb.DuckDBPyConnection, name: str) -> bool:
    """Whether a name is a table's or view's, or a file's: what DuckDB would find without looking into variables."""
    if "." in name or "/" in name:
        return True
    tables = "SELECT table_name AS name FROM duckdb_tables() UNION ALL SELECT view_name FROM duckdb_views()"
    return folded(name) in {folded(known) for (known,) in con.execute(tables).fetchall()}


def _variable(name: str) -> Any:
    """Return the variable of this name in the nearest frame outside of this package, or None."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_globals.get("__name__", "").partition(".")[0] != _PACKAGE:
            for scope in (frame.f_locals, frame.f_globals):
                if name in scope and not callable(scope[name]):
                    return scope[name]
        frame = frame.f_back
    return None
