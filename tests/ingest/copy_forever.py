"""A process that COPYs one npy file after the other until it is killed; run by test_kill.py.

Arguments: database, ids.npy, x.npy. Prints the number of COPYs that have returned, one line each.
"""

from __future__ import annotations

import sys

import duckdb

from dbgnn.ingest import parse_copy, run_copy


def say(line: str) -> None:
    """Write a line that the parent can read at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main(database: str, ids: str, x: str) -> None:
    """COPY ids and x into table t, again and again, saying so after each."""
    con = duckdb.connect(database)
    statement = parse_copy(f"COPY t FROM ('{ids}', '{x}') BY COLUMN (PROGRESS false)")
    assert statement is not None
    say("ready")
    done = 0
    while True:
        run_copy(con, statement, progress=False)
        done += 1
        say(str(done))


if __name__ == "__main__":
    main(*sys.argv[1:])
