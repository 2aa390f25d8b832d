"""Every function that DuckDB has was read by somebody: it stands in one list of `duckdb_functions.py`, and in no other."""

from __future__ import annotations

import duckdb

from dbgnn.duckdb_functions import (
    ACTING,
    AGGREGATES_OF_LISTS,
    FOLDS,
    LAMBDAS,
    LIST_AGGREGATES,
    MACROS_OF_THE_ROW,
    OF_A_FOLD,
    OF_THE_ROW,
    READING,
    acts,
    builtin,
    is_known,
)

LISTS = {"of the row": OF_THE_ROW, "macros": MACROS_OF_THE_ROW, "reading": READING, "acting": ACTING}


def test_no_function_is_new() -> None:
    """A new one is read first: does it act, read anything, or take the name of a type or a setting as a value?"""
    assert sorted(name for name in builtin().names if not is_known(name)) == []


def test_every_function_is_in_one_list_and_exists() -> None:
    for called, names in LISTS.items():
        assert names - builtin().names == set(), called
        assert {other: names & LISTS[other] for other in LISTS if other != called and names & LISTS[other]} == {}


def test_lists_within_lists() -> None:
    assert OF_THE_ROW >= FOLDS | LAMBDAS | LIST_AGGREGATES
    assert OF_THE_ROW | MACROS_OF_THE_ROW >= OF_A_FOLD
    with duckdb.connect() as con:
        query = "SELECT function_name FROM duckdb_functions() WHERE function_type = 'aggregate'"
        assert {name for (name,) in con.execute(query).fetchall()} >= AGGREGATES_OF_LISTS


def test_all_that_take_a_lambda_are_known_to() -> None:
    """What is in a lambda is bound twice, so that lambdas within lambdas are limited."""
    with duckdb.connect() as con:
        query = "SELECT DISTINCT function_name FROM duckdb_functions() WHERE list_contains(parameter_types, 'LAMBDA')"
        assert {name for (name,) in con.execute(query).fetchall()} & OF_THE_ROW == LAMBDAS


def test_what_changes_from_call_to_call_is_not_of_the_row() -> None:
    """DuckDB's own word for it. Of some functions, forms for times with a zone depend on the setting TimeZone."""
    with duckdb.connect() as con:
        query = """
            SELECT DISTINCT function_name FROM duckdb_functions()
            WHERE has_side_effects OR stability NOT IN ('CONSISTENT', 'CONSISTENT_WITHIN_QUERY')
        """
        assert {name for (name,) in con.execute(query).fetchall()} & (OF_THE_ROW | MACROS_OF_THE_ROW) == set()


def test_a_function_that_is_new_acts() -> None:
    assert acts("write_log")
    assert not acts("read_csv")
    assert not acts("a_macro_of_the_user")
