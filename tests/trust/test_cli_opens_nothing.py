"""The command line on a stranger's file: what the system calls say that it opens, and what is left behind."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from tests.trust import everything

ROOT = Path(__file__).resolve().parents[2]

#: What opens or changes files, calls other machines, or starts programs.
CALLS = (
    "openat,open,creat,unlink,unlinkat,rename,renameat,renameat2,mkdir,mkdirat,symlink,symlinkat,link,linkat,truncate,connect,"
    "execve"
)

#: What Python, the libraries and the terminal are made of.
SYSTEM = re.compile(
    r"/(usr|lib|lib64|etc|opt|proc|sys|bin|dev/(null|tty|urandom|random|pts/.*))(/|$)|/dev/shm$|/[^\0]*\.(pyc?|so(\.[\d.]+)?|pth)$"
)

#: A file of the victim's, and where the attacker wants it written.
SPIES = """
    CREATE VIEW spying AS SELECT content FROM read_text('{there}');
    CREATE VIEW "spying too" AS SELECT * FROM read_csv('{there}');
    CREATE MACRO mine(x) AS (SELECT max(length(content)) + x FROM read_text('{there}'));
    CREATE TABLE made (id BIGINT PRIMARY KEY CHECK (id >= 0), loud BIGINT AS (id + coalesce(length(write_log('loud')), 0)));
    INSERT INTO made SELECT i FROM range(9) AS r(i);
    INSERT INTO dbgnn.graphs SELECT 'h',
        '{{"version": 1, "name": "h", "vertices": [{{"table": {{"name": "made", "schema": "main"}}, "label": "made", ' ||
        '"key": ["id"], "properties": ["loud"]}}], "edges": [], "homogeneous": false}}';
"""
SHADOWS = """
    CREATE MACRO current_database() AS (SELECT CASE
        WHEN (SELECT count(*) FROM enable_logging(storage = 'file', storage_path = '{out}')) >= 0
         AND coalesce(write_log((SELECT content FROM system.main.read_text('{there}'))), '') = ''
        THEN system.main.current_database() END);
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with a file of the victim's."""
    (tmp_path / "there.csv").write_text("a,b\nSECRET,2\n")
    return tmp_path


def hostile(place: Path, script: str) -> Path:
    path = place / "g.duckdb"
    everything.make(path)
    with duckdb.connect(str(path)) as con:
        con.execute(script.format(there=place / "there.csv", out=place / "out"))
    if (place / "out").exists():  # making the macro bound it, and so ran it
        shutil.rmtree(place / "out")
    os.utime(place / "there.csv", ns=(10**18, 10**18 + 1))  # last read before it was written: reading now sets the time
    return path


def command(*args: str | Path) -> list[str]:
    return [sys.executable, "-m", "dbgnn.cli", *map(str, args)]


def is_untouched(place: Path) -> bool:
    return (place / "there.csv").stat().st_atime_ns == 10**18 and sorted(p.name for p in place.iterdir()) == [
        "g.duckdb",
        "there.csv",
    ]


@pytest.mark.parametrize(
    ("script", "args"), [(SPIES, ("check", "-g", "h")), (SHADOWS, ("info", "--json"))], ids=["views", "macros"]
)
def test_nothing_is_read_or_written(place: Path, script: str, args: tuple[str, ...]) -> None:
    path = hostile(place, script)
    done = subprocess.run(command(args[0], path, *args[1:]), capture_output=True, cwd=ROOT, check=False)
    assert done.returncode in (0, 1), done.stderr
    assert b"SECRET" not in done.stdout + done.stderr
    assert b"Traceback" not in done.stderr
    assert is_untouched(place)
    if script is SHADOWS:
        assert b"macro 'current_database'" in done.stderr


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
@pytest.mark.parametrize("args", [("info",), ("check", "-g", "h")], ids=" ".join)
def test_what_is_opened(place: Path, args: tuple[str, ...]) -> None:
    path, log = hostile(place, SPIES), place.parent / f"{place.name}.log"
    trace = ["strace", "-f", "-qq", "-s", "4096", "-e", f"trace={CALLS}", "-o", str(log)]
    done = subprocess.run([*trace, *command(args[0], path, *args[1:])], capture_output=True, cwd=ROOT, check=False)
    assert done.returncode in (0, 1), done.stderr
    text = log.read_text()
    assert f'"{path}"' in text  # it was traced
    beyond = [line for line in text.splitlines() if not is_expected(line, path)]
    assert beyond == []
    assert is_untouched(place)


def is_expected(line: str, path: Path) -> bool:
    """Whether a system call finds nothing, or opens the file, its log, Python's own or the system's."""
    if '"/dev/shm/sem.' in line:  # the lock of a progress bar
        return True
    if (
        " = -1 " in line
        or "resumed>" in line
        or "+++ exited" in line
        or "--- SIGCHLD" in line
        or f'execve("{sys.executable}"' in line
    ):
        return True
    found = re.search(r'"((?:[^"\\]|\\.)*)"', line)
    if found is None:
        return False
    name = found[1]
    if name == "/dev/null":
        return True
    if name in (str(path), f"{path}.wal"):
        return "O_WRONLY" not in line and "O_RDWR" not in line
    if "open" not in line.partition("(")[0] or any(flag in line for flag in ("O_WRONLY", "O_RDWR", "O_CREAT")):
        return False
    python = any(Path(name).is_relative_to(folder) for folder in (sys.prefix, sys.base_prefix, ROOT / "dbgnn"))
    return python or "O_DIRECTORY" in line or SYSTEM.match(name) is not None
