"""The settings of a write: one at a time, put back, and not in the way of a forked child or a locked configuration."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import duckdb
import numpy as np
import pytest

import dbgnn
from dbgnn.errors import ResourceError
from dbgnn.ingest.while_writing import write_settings
from dbgnn.stores import tables

Copy = Callable[[str], int]
Con = duckdb.DuckDBPyConnection


def current(con: Con) -> tuple[object, ...]:
    query = "SELECT current_setting('force_compression'), current_setting('preserve_insertion_order')"
    return con.execute(query).fetchall()[0]


def test_a_write_of_the_stores_and_a_copy_at_once_restore_the_settings(con: Con) -> None:
    con.execute("SET preserve_insertion_order = false")
    entered = threading.Event()
    leave = threading.Event()

    def put(cursor: Con) -> None:
        with tables.writing_uncompressed(cursor):
            entered.set()
            leave.wait(10)

    thread = threading.Thread(target=put, args=(con.cursor(),))
    with write_settings(con, uncompressed=True):
        thread.start()
        assert not entered.wait(0.2)
        assert current(con) == ("uncompressed", True)
    assert entered.wait(10)
    assert current(con) == ("uncompressed", True)
    leave.set()
    thread.join()
    assert current(con) == ("auto", False)


FORK = """
import os, signal, threading
import duckdb
from dbgnn.ingest.while_writing import write_settings

entered, leave = threading.Event(), threading.Event()

def hold():
    with duckdb.connect() as con, write_settings(con, uncompressed=True):
        entered.set()
        leave.wait()

thread = threading.Thread(target=hold)
thread.start()
entered.wait()
if (child := os.fork()) == 0:
    signal.alarm(10)
    with duckdb.connect(":memory:child") as con, write_settings(con, uncompressed=True):
        os._exit(7)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
leave.set()
thread.join()
"""


def test_a_forked_child_does_not_wait_for_a_thread_of_its_parent() -> None:
    root = str(Path(dbgnn.__file__).parents[1])
    result = subprocess.run(
        [sys.executable, "-c", FORK], capture_output=True, text=True, check=False, env={"PYTHONPATH": root}, timeout=60
    )
    assert result.stdout == "7\n", result.stderr


def test_a_locked_configuration(con: Con, copy: Copy) -> None:
    con.execute("CREATE TABLE t (x FLOAT[2])")
    np.save("x.npy", np.arange(6, dtype="f4").reshape(3, 2))
    con.execute("SET lock_configuration = true")
    assert copy("COPY t FROM 'x.npy'") == 3
    assert current(con) == ("auto", True)


def test_a_locked_configuration_that_does_not_keep_order(con: Con, copy: Copy) -> None:
    con.execute("CREATE TABLE t (x FLOAT[2])")
    np.save("x.npy", np.zeros((3, 2), "f4"))
    con.execute("SET preserve_insertion_order = false; SET lock_configuration = true")
    with pytest.raises(ResourceError, match=r"preserve_insertion_order is false .* before SET lock_configuration"):
        copy("COPY t FROM 'x.npy'")
    assert con.execute("SELECT count(*) FROM t").fetchall() == [(0,)]
