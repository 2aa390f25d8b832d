"""SIGKILL at random moments of COPY: the file opens, and holds all rows of a COPY or none.

``DBGNN_KILLS`` says how often (default 4): ``DBGNN_KILLS=20 pytest tests/ingest/test_kill.py``.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
from pathlib import Path

import duckdb
import numpy as np
import pytest

import dbgnn

KILLS = int(os.environ.get("DBGNN_KILLS", "4"))

#: Sizes on both sides of a row group: short COPYs live in the log, long ones are written ahead of the commit.
SIZES = (20_000, 300_000)
DIM = 16


@pytest.mark.parametrize("kill", range(KILLS))
def test_a_killed_copy_leaves_the_old_state_or_the_new(folder: Path, kill: int) -> None:
    size = SIZES[kill % len(SIZES)]
    np.save("ids.npy", np.arange(size))
    np.save("x.npy", np.arange(size * DIM, dtype="f4").reshape(size, DIM))
    with duckdb.connect("kill.db") as con:
        con.execute(f"CREATE TABLE t (id BIGINT, x FLOAT[{DIM}])")
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("copy_forever.py")), "kill.db", "ids.npy", "x.npy"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(dbgnn.__file__).parents[1])},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    # One COPY takes 20 to 150 ms, so that this falls into any part of one of the first few.
    timer = threading.Timer(random.uniform(0, 0.6), process.kill)
    timer.start()
    output, errors = process.communicate(timeout=60)
    timer.join()
    assert process.returncode == -9, errors
    returned = len(output.split())
    with duckdb.connect("kill.db") as con:
        [(count, low, high, right)] = con.execute(
            """
            SELECT coalesce(sum(times), 0), min(times), max(times), coalesce(bool_and(same), true)
            FROM (
                SELECT id, count(*) AS times, bool_and(x[1] = (16 * id)::FLOAT AND x[16] = (16 * id + 15)::FLOAT) AS same
                FROM t
                GROUP BY id
            )
            """
        ).fetchall()
        con.execute("INSERT INTO t (id) VALUES (-1)").fetchall()  # and it can be written to
    assert count % size == 0
    copies = count // size
    assert (low, high) == ((copies, copies) if copies else (None, None))
    assert right
    assert copies in (returned, returned + 1)  # what COPY has answered for is kept
