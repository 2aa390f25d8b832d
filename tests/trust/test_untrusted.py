"""`connect(path, untrusted=True)`: nothing in the file acts, everything that reads it works, and no signal ends the process."""

from __future__ import annotations

import os
import pickle
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest

import dbgnn
from dbgnn.errors import ConnectionError, DbgnnError, ReadOnlyError, ResourceError
from tests.trust import everything, irregular

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file whose index is not built."""
    path = tmp_path_factory.mktemp("made") / "made.duckdb"
    everything.make(path)
    return path


@pytest.fixture
def path(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(made, tmp_path / "g.duckdb"))


def batches(db: dbgnn.Database) -> list[object]:
    loader = dbgnn.NeighborLoader(
        db.get_torch_geometric_remote_backend("g"), [3, 2], input_nodes="paper", batch_size=20, seed=1
    )
    return [everything.plain(batch) for batch in loader]


def test_an_honest_file_gives_the_same(path: Path) -> None:
    """Without an index in the file, so that it is built in memory."""
    with dbgnn.connect(path, read_only=True, progress=False) as db:
        graph = db.graph("g")
        wanted = (batches(db), graph.check(progress=False).to_dict(), everything.plain(graph.to_heterodata(progress=False)))
    with dbgnn.connect(path, untrusted=True, progress=False) as db:
        graph = db.graph("g")
        got = (batches(db), graph.check(progress=False).to_dict(), everything.plain(graph.to_heterodata(progress=False)))
        assert got == wanted
        assert db.execute("SELECT count(*) FROM paper WHERE year > ?", [2003]).fetchall() == [(48,)]
        assert "untrusted" in repr(db)


def test_no_setting_is_an_argument_of_the_process_that_opens_first(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everybody on the machine can list those; a setting may be a key."""
    commands: list[str] = []
    run = subprocess.run

    def noted(command: list[str], **options: Any) -> subprocess.CompletedProcess[bytes]:
        commands.extend(command)
        return run(command, **options)

    monkeypatch.setattr(subprocess, "run", noted)
    with dbgnn.connect(path, untrusted=True, config={"custom_user_agent": "for-nobody-else"}) as db:
        assert db.execute("SELECT current_setting('custom_user_agent')").fetchall() == [("for-nobody-else",)]
    assert str(path) in commands
    assert not any("for-nobody-else" in part for part in commands)


def test_the_process_that_opens_first_finds_duckdb_where_this_one_did(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where only PYTHONPATH or the user's own folder of packages leads there, which an isolated one does not look at."""
    ended: list[int] = []
    run = subprocess.run

    def noted(command: list[str], **options: Any) -> subprocess.CompletedProcess[bytes]:
        done = run(command, **options)
        ended.append(done.returncode)
        return done

    monkeypatch.setattr(subprocess, "run", noted)
    monkeypatch.setattr(sys, "executable", sys._base_executable)  # type: ignore[attr-defined] # which lacks the packages
    dbgnn.connect(path, untrusted=True).close()
    assert ended == [0]


def test_a_process_that_may_start_no_other_one_opens_files_too(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(path.parent))  # a folder, which nobody may run
    with dbgnn.connect(path, untrusted=True) as db:
        assert db.graph("g").name == "g"


def test_a_thread_that_ends_leaves_its_cursor_to_the_next(path: Path) -> None:
    """Every epoch has threads of its own, and once the configuration is locked no cursor can have the larger buffer."""
    sizes: list[object] = []
    with dbgnn.connect(path, untrusted=True, progress=False) as db:

        def read() -> None:
            sizes.extend(db.cursor().execute("SELECT current_setting('streaming_buffer_size')").fetchall())

        for _ in range(8):
            thread = threading.Thread(target=read)
            thread.start()
            thread.join()
    assert sizes == [("64.0 MiB",)] * 8


def test_its_settings_are_kept_by_copies_and_children(path: Path) -> None:
    with dbgnn.connect(path, untrusted=True, progress=False, threads=1, memory_limit="1GB") as db:
        copy = pickle.loads(pickle.dumps(db))
        pid = os.fork()
        if pid == 0:
            os._exit(0 if closed(db) and db.graph("g").num_nodes("paper") == 60 else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert closed(copy)
        assert batches(copy) == batches(db)
        copy.close()


def closed(db: dbgnn.Database) -> bool:
    """Whether the way out of the file is closed, and stays so."""
    for statement in ("SET enable_external_access = true", "SET lock_configuration = false"):
        try:
            db.execute(statement)
        except duckdb.Error:
            continue
        return False
    names = ("enable_external_access", "autoload_known_extensions", "autoinstall_known_extensions", "lock_configuration")
    shown = ", ".join(f"current_setting('{name}')" for name in names)
    return db.execute(f"SELECT {shown}").fetchall() == [(False, False, False, True)]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"read_only": False}, "read_only=False"),
        ({"trusted": True}, "trusted=True"),
        ({"config": {"enable_external_access": "true"}}, "enable_external_access"),
        ({"config": {"Lock_Configuration": "false"}}, "Lock_Configuration"),
        ({"config": {"autoload_known_extensions": "true"}}, "autoload_known_extensions"),
        ({"config": {"allowed_directories": "['/']"}}, "allowed_directories"),
        ({"config": {"access_mode": "READ_WRITE"}}, "access_mode"),
        ({"config": {"allowed_configs": "['autoload_known_extensions']"}}, "allowed_configs"),
    ],
)
def test_what_contradicts_it_is_an_error(path: Path, given: dict[str, object], says: str) -> None:
    with pytest.raises(ResourceError, match=says):
        dbgnn.connect(path, untrusted=True, **given)  # type: ignore[arg-type]


def test_it_is_for_a_file() -> None:
    for database in (":memory:", duckdb.connect()):
        with pytest.raises(ResourceError, match="give its path"):
            dbgnn.connect(database, untrusted=True)


def test_what_agrees_with_it_is_none(path: Path, tmp_path: Path) -> None:
    config = {"enable_external_access": "false", "lock_configuration": "true", "default_null_order": "nulls_first"}
    with dbgnn.connect(path, untrusted=True, read_only=True, temp_directory=tmp_path / "spill", config=config) as db:
        assert closed(db)
        query = "SELECT current_setting('temp_directory'), current_setting('default_null_order')"
        assert db.execute(query).fetchall() == [(str(tmp_path / "spill"), "NULLS_FIRST")]


def test_paths_of_bytes_and_with_nul(path: Path) -> None:
    with dbgnn.connect(os.fsencode(path), untrusted=True) as db:  # type: ignore[arg-type]
        assert db.graph("g").name == "g"
    with pytest.raises(ConnectionError, match="NUL"):
        dbgnn.connect(f"{path}\0", untrusted=True)


def test_writing_says_what_to_do(path: Path) -> None:
    with dbgnn.connect(path, untrusted=True) as db:
        for statement in ("CREATE TABLE q (i INTEGER)", "DROP PROPERTY GRAPH g", "DELETE FROM paper"):
            with pytest.raises(ReadOnlyError, match="connect without untrusted=True"):
                db.execute(statement)


@pytest.mark.parametrize("kind", irregular.KINDS)
def test_what_is_no_regular_file(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "g.duckdb"
    irregular.make(path, kind)
    for untrusted in (False, True):
        with pytest.raises(ConnectionError, match="no regular file"):
            dbgnn.connect(path, read_only=True, untrusted=untrusted)


LOGS = [(suffix, make) for suffix in (".wal", ".wal.checkpoint", ".wal.recovery") for make in ("fifo", "folder", "link")]


@pytest.mark.parametrize(("suffix", "make"), [*LOGS, (".tmp", "link")])
def test_what_lies_beside_a_file_and_is_no_file(path: Path, suffix: str, make: str) -> None:
    """DuckDB waits for a FIFO, and a log that is a link is written over when the file is closed."""
    beside, victim = Path(f"{path}{suffix}"), path.with_name("victim")
    victim.write_text("precious")
    if make == "fifo":
        os.mkfifo(beside)
    elif make == "folder":
        beside.mkdir()
    else:
        beside.symlink_to(victim)
    # Of a file of one's own, the folder of work that is larger than memory may well be a link.
    for given in ({"untrusted": True}, *([{"read_only": True}, {}] if suffix != ".tmp" else [])):
        with pytest.raises(ConnectionError, match="Delete it"):
            dbgnn.connect(path, **given)  # type: ignore[arg-type]
    assert victim.read_text() == "precious"


#: What reads, writes or calls, as the body of a view; `{there}` is a file of the victim's, `{out}` what is to be written.
ACTING = [
    "SELECT content FROM read_text('{there}')",
    "SELECT * FROM read_csv('{there}')",
    "SELECT * FROM read_blob('{there}')",
    "SELECT file FROM glob('{there}*')",
    "SELECT * FROM sniff_csv('{there}')",
    "SELECT * FROM enable_logging(storage = 'file', storage_path = '{out}')",
    "SELECT * FROM enable_profiling(save_location = '{out}')",
    "SELECT * FROM json_execute_serialized_sql(json_serialize_sql('SELECT * FROM read_text(''{there}'')'))",
    "SELECT * FROM query('SELECT * FROM read_text(''{there}'')')",
]


def test_views_fail_and_do_not_act(path: Path, tmp_path: Path) -> None:
    there, out = tmp_path / "there.csv", tmp_path / "out"
    there.write_text("a,b\n1,2\n")
    with duckdb.connect(str(path)) as con:
        for i, text in enumerate(ACTING):
            con.execute(f"CREATE VIEW v{i} AS {text.format(there=there, out=out)}")  # which binds it, and so acts
        con.execute("CALL disable_logging()")
    if out.is_dir():
        shutil.rmtree(out)
    out.unlink(missing_ok=True)
    os.utime(there, ns=(10**18, 10**18 + 1))  # last read before it was written: any reading now sets its access time
    with dbgnn.connect(path, untrusted=True, progress=False) as db:
        assert len(batches(db)) == 3
        assert db.graph("g").check(progress=False).ok
        for i in range(len(ACTING)):
            with pytest.raises((duckdb.Error, DbgnnError)):
                db.execute(f"FROM v{i}").fetchall()
            with pytest.raises((duckdb.Error, DbgnnError)):
                dbgnn.query_to_heterodata(db, nodes={"a": f"SELECT row_number() OVER () AS id, * FROM v{i}"}, edges={})
    assert there.stat().st_atime_ns == 10**18
    assert not out.exists()


def test_a_log_that_cannot_be_written_ends_no_process(path: Path, tmp_path: Path) -> None:
    """DuckDB writes the rest of a log when it frees it, and an error there is SIGABRT; a locked configuration begins none."""
    out = tmp_path / "nowhere" / "log"
    begin = f"SELECT * FROM enable_logging(storage = 'file', storage_path = '{out}')"
    with duckdb.connect(str(path)) as con:
        con.execute(f"CREATE MACRO logged() AS TABLE {begin}; CREATE MACRO counted() AS (SELECT count(*) FROM logged())")
    code = """
        import sys, dbgnn
        db = dbgnn.connect(sys.argv[1], progress=False, **eval(sys.argv[2]))
        for text in ("FROM logged()", "SELECT counted()", "FROM paper", "SELECT write_log('a')"):
            try:
                print(len(db.execute(text).fetchall()))
            except Exception as error:
                print(type(error).__name__)
        db.close()
    """
    ended = {}
    for given in ({"untrusted": True}, {"read_only": True, "config": {"enable_external_access": "false"}}):
        command = [sys.executable, "-c", textwrap.dedent(code), str(path), repr(given)]
        ended[next(iter(given))] = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended["untrusted"].stdout.split() == ["InvalidInputException", "InvalidInputException", "60", "1"]
    assert ended["untrusted"].returncode == 0, ended["untrusted"].stderr
    assert ended["read_only"].returncode == -signal.SIGABRT  # what is worked around; if DuckDB mends it, this line goes
    assert not out.exists()


#: Definitions that lead to themselves, or are nested deep; each with a statement of ours or the user's that meets them.
ENDLESS = {
    "macros": ("CREATE MACRO a(x) AS x", "CREATE MACRO b(x) AS a(x)", "CREATE OR REPLACE MACRO a(x) AS b(x)"),
    "subqueries": (
        "CREATE MACRO a(x) AS (SELECT x)",
        "CREATE MACRO b(x) AS (SELECT a(x))",
        "CREATE OR REPLACE MACRO a(x) AS (SELECT b(x))",
    ),
    "tables": (
        "CREATE MACRO t(x) AS TABLE SELECT x",
        "CREATE MACRO u(x) AS TABLE FROM t(x)",
        "CREATE OR REPLACE MACRO t(x) AS TABLE FROM u(x)",
    ),
    "views": ("CREATE VIEW v AS SELECT 1 AS i", "CREATE VIEW w AS FROM v", "CREATE OR REPLACE VIEW v AS FROM w"),
}
MEETS = {"macros": "SELECT a(1)", "subqueries": "SELECT a(1)", "tables": "FROM t(1)", "views": "FROM v"}


@pytest.mark.parametrize("name", ENDLESS)
def test_definitions_without_end(path: Path, name: str) -> None:
    with duckdb.connect(str(path)) as con:
        for statement in ENDLESS[name]:
            con.execute(statement)
    with dbgnn.connect(path, untrusted=True, progress=False) as db:
        assert db.graph("g").check(progress=False).ok
        with pytest.raises((duckdb.Error, DbgnnError)):
            db.execute(MEETS[name])
        with pytest.raises((duckdb.Error, DbgnnError)):
            dbgnn.query_to_heterodata(db, nodes={"a": f"SELECT 1 AS id FROM ({MEETS[name]})"}, edges={})
        assert db.graph("g").num_nodes("paper") == 60


def test_a_file_that_ends_whoever_opens_it(path: Path) -> None:
    """DuckDB's own depth is no limit on what it reads: 12,000 terms were written by a thread with a larger stack."""
    made: list[bool] = []

    def make() -> None:
        with duckdb.connect(str(path)) as con:
            con.execute("SET max_expression_depth = 1000000")
            con.execute(f"CREATE TABLE deep (i INTEGER CHECK ({' + '.join(['i'] * 12_000)} > 0))")
            made.append(True)

    size = threading.stack_size(1 << 30)
    try:
        thread = threading.Thread(target=make)
        thread.start()
        thread.join()
    finally:
        threading.stack_size(size)
    assert made == [True]
    with pytest.raises(ConnectionError, match="made to do harm: it ended the process that opened it first, by SIG"):
        dbgnn.connect(path, untrusted=True)


def test_damaged_files_end_no_process(path: Path, tmp_path: Path) -> None:
    """In a child each, since DuckDB reads the format. Most get right checksums again, so that the damage is read."""
    with dbgnn.connect(path, progress=False) as db:
        db.graph("g").build(progress=False)
    whole = np.fromfile(path, np.uint8)
    used = np.flatnonzero(whole)
    rng = np.random.default_rng(0)
    for i in range(DAMAGED):
        copy = whole.copy()
        at = rng.choice(used, 1 + 8 * i)
        copy[at] ^= (1 << rng.integers(0, 8, len(at))).astype(np.uint8)
        (tmp_path / f"{i}.duckdb").write_bytes(with_checksums(copy).tobytes() if i % 3 else copy.tobytes())
    done = subprocess.run(
        [sys.executable, "-c", READING, str(tmp_path), str(DAMAGED)], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    said = done.stdout.split()
    assert len(said) == DAMAGED
    assert set(said) <= {"right", "DbgnnError", "duckdb.Error"}
    assert said.count("right") < DAMAGED


DAMAGED = 10

#: Reads every file in a forked child, and says what came of it.
READING = """
import os, sys
import duckdb
import dbgnn

def read(path):
    try:
        with dbgnn.connect(path, untrusted=True, progress=False, threads=1) as db:
            graph = db.graph("g")
            str(graph)
            for label in graph.node_types:
                graph.num_nodes(label)
    except dbgnn.DbgnnError:
        return 1
    except duckdb.Error:
        return 2
    except BaseException:
        return 3
    return 0

for i in range(int(sys.argv[2])):
    pid = os.fork()
    if pid == 0:
        os._exit(read(f"{sys.argv[1]}/{i}.duckdb"))
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    print(["right", "DbgnnError", "duckdb.Error", "other"][code] if code >= 0 else f"signal{-code}")
"""


def with_checksums(data: np.ndarray[tuple[int], np.dtype[np.uint8]]) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    """Set the checksums of DuckDB's format: of three headers of 4 KiB, and of blocks of 256 KiB, each in its first 8 bytes."""
    for start, size in [(0, 4096), (4096, 4096), (8192, 4096), *((at, 1 << 18) for at in range(12288, len(data), 1 << 18))]:
        words = data[start + 8 : start + size].view(np.uint64)
        found = np.bitwise_xor.reduce(words * np.uint64(0xBF58476D1CE4E5B9)) ^ np.uint64(5381)
        data[start : start + 8] = np.frombuffer(found.tobytes(), np.uint8)
    return data
