"""What `connect()` is given: memory limits, paths with ``~``, locked configurations, notebooks without ipywidgets."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pytest

import dbgnn
from dbgnn.plans.limits import memory_limit, read_bytes
from dbgnn.sql import literal

CITES = ("paper", "cites", "paper")


def fill(db: dbgnn.Database) -> None:
    """Make 50 papers whose x[0] is their id, and 200 citations."""
    db.execute(
        """
        CREATE TABLE paper AS SELECT i AS id, [i, i + 0.5]::FLOAT[2] AS x, i % 7 AS y FROM range(50) t(i);
        CREATE TABLE cites AS SELECT (i * 7 + i // 5) % 50 AS src, (i * 13 + 3) % 50 AS dst FROM range(200) t(i);
        CREATE PROPERTY GRAPH g VERTEX TABLES (paper KEY (id) PROPERTIES (x, y)) EDGE TABLES (
          cites SOURCE KEY (src) REFERENCES paper (id) DESTINATION KEY (dst) REFERENCES paper (id))
        """
    )


def loader(db: dbgnn.Database, **options: Any) -> dbgnn.NeighborLoader:
    return dbgnn.NeighborLoader(db.graph(), num_neighbors=[3, 2], input_nodes="paper", batch_size=20, **options)


def assert_trains(db: dbgnn.Database) -> None:
    batches = list(loader(db))
    assert len(batches) == 3
    for batch in batches:
        assert batch["paper"].x[:, 0].tolist() == batch["paper"].n_id.tolist()


# -- memory ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limit", "shown"),
    [
        ("1GB", "953.6 MiB"),
        ("0.5GB", "476.8 MiB"),
        ("1.5 GiB", "1.5 GiB"),
        ("50%", None),
        (10**9, "953.6 MiB"),
        (np.int64(10**9), "953.6 MiB"),
        ("-1", "16383.9 PiB"),
        (-1, "16383.9 PiB"),
        ("none", "16383.9 PiB"),
        ("3000TiB", "2.9 PiB"),
    ],
)
def test_every_memory_limit_that_duckdb_takes(tmp_path: Path, limit: str | int, shown: str | None) -> None:
    with dbgnn.connect(tmp_path / "g.duckdb", memory_limit=limit) as db:
        fill(db)
        [(current,)] = db.sql("SELECT current_setting('memory_limit')").fetchall()
        assert shown in {None, current}
        assert_trains(db)
        assert "fit in memory_limit" in loader(db).explain()


def test_no_limit_means_the_memory_of_the_machine() -> None:
    with dbgnn.connect() as db:
        db.execute("SET memory_limit = '100%'")
        machine = memory_limit(db)
        db.execute("SET memory_limit = '-1'")
        assert memory_limit(db).bytes == machine.bytes > 0
        assert memory_limit(db).text.startswith("none; the machine has ")
        db.execute("SET memory_limit = '900TiB'")  # no promise that the machine could keep
        assert memory_limit(db).bytes == machine.bytes
        assert memory_limit(db).text.startswith("900.0 TiB; the machine has ")
        db.execute("SET memory_limit = '1MiB'")
        assert memory_limit(db).bytes == 1 << 20


@pytest.mark.parametrize("number", [0, 1, 999, 1 << 10, 5 << 20, 7 << 30, 3 << 40, 2 << 50])
def test_bytes_as_duckdb_shows_them(number: int) -> None:
    [(shown,)] = duckdb.connect().execute("SELECT format_bytes(?)", [number]).fetchall()
    assert read_bytes(shown) == number


@pytest.mark.parametrize(
    "given",
    [{"memory_limit": value} for value in (1e9, True, "", "2000000000", "much")]
    + [{"threads": value} for value in (0, -1, 2.5, True, "two")],
    ids=str,
)
def test_values_that_make_no_sense_name_those_that_do(tmp_path: Path, given: dict[str, object]) -> None:
    (name,) = given
    with pytest.raises(dbgnn.ResourceError, match=rf"{name}=.*(such as '4GB'|int of at least 1)") as caught:
        dbgnn.connect(tmp_path / "g.duckdb", **given)  # type: ignore[arg-type]
    # Nothing keeps the file open, though the error is still there.
    dbgnn.connect(tmp_path / "g.duckdb", config={"default_null_order": "nulls_first"}).close()
    del caught


def test_too_little_memory_to_open_a_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(dbgnn.ResourceError, match="Raise memory_limit"):
        dbgnn.connect(tmp_path / "g.duckdb", memory_limit=1000)


# -- paths -------------------------------------------------------------------------------------------------


def test_a_tilde_is_the_home_folder_in_every_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    (home / "spill").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(tmp_path)
    np.save(home / "ids.npy", np.arange(50, 60))
    np.savetxt(home / "ids.csv", np.arange(60, 70), fmt="%d")
    with dbgnn.connect("~/g.duckdb", temp_directory="~/spill") as db:
        assert db.settings.path == str(home / "g.duckdb")
        assert db.settings.temp_directory == str(home / "spill")
        fill(db)
        db.execute("COPY paper (id) FROM '~/ids.npy'")
        db.execute("COPY paper (id) FROM '~/ids.csv' (HEADER false)")
        assert db.sql("SELECT count(*) FROM paper").fetchall() == [(70,)]
        db.execute("DELETE FROM paper WHERE id >= 50")
        loader(db, plan="spooled").pack("~/pack")
        assert len(list(dbgnn.PackedLoader("~/pack"))) == 3
        encoders = dbgnn.Encoders({"paper": {"z": dbgnn.Normalize("y")}})
        db.graph().to_heterodata(encoders=encoders)
        encoders.save("~/encoders.json")
        dbgnn.Encoders.load("~/encoders.json")
    dbgnn.connect(Path("~/g.duckdb"), read_only=True).close()
    assert not (tmp_path / "~").exists()
    assert {p.name for p in home.iterdir()} >= {"g.duckdb", "spill", "pack", "encoders.json"}


def test_a_tilde_is_duckdb_s_home_directory_where_it_has_one(tmp_path: Path) -> None:
    np.save(tmp_path / "ids.npy", np.arange(3))
    with dbgnn.connect(config={"home_directory": str(tmp_path)}) as db:
        db.execute("CREATE TABLE t (id BIGINT)")
        assert db.execute("COPY t FROM '~/ids.npy'").fetchone() == (3,)


# -- locked configurations ---------------------------------------------------------------------------------


def locked_before(path: Path) -> dbgnn.Database:
    con = duckdb.connect(str(path))
    con.execute("SET lock_configuration = true")
    return dbgnn.connect(con)


def locked_after(path: Path) -> dbgnn.Database:
    db = dbgnn.connect(path)
    db.execute("SET lock_configuration = true")
    return db


def locked_by_config(path: Path) -> dbgnn.Database:
    return dbgnn.connect(path, memory_limit="1GB", threads=1, config={"lock_configuration": "true"})


@pytest.mark.parametrize("opened", [locked_before, locked_after, locked_by_config])
def test_a_locked_configuration_keeps_nothing_from_working(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, opened: Callable[[Path], dbgnn.Database]
) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("ids.npy", np.arange(50, 53))
    db = opened(tmp_path / "g.duckdb")
    fill(db)
    assert_trains(db)
    db.execute("CREATE TABLE t (id BIGINT)")
    db.execute("COPY t FROM 'ids.npy'")
    assert db.sql("FROM t").fetchall() == [(50,), (51,), (52,)]
    assert db.graph().write_back("paper", n_id=np.arange(50), pred=np.arange(50.0)) == 50
    assert db.sql("SELECT count(*) FROM paper WHERE pred = id").fetchall() == [(50,)]
    assert db.graph().to_heterodata()["paper"].x[:, 0].tolist() == list(range(50))
    db.graph().check()
    people = pd.DataFrame({"id": [3, 1], "age": [30, 10]})
    data = dbgnn.query_to_heterodata(db, nodes={"user": "FROM people"}, edges={})
    assert data["user"].age.tolist() == [30, 10]
    assert len(people) == 2
    db.connection.close()


def test_under_a_lock_no_variable_of_dbgnn_s_own_is_taken_for_a_table() -> None:
    with dbgnn.connect(config={"lock_configuration": "true"}) as db:
        for name in ("rows", "table", "data", "texts", "found"):
            with pytest.raises(dbgnn.SqlError, match=f"names '{name}', and there is no table, view or variable of that name"):
                dbgnn.query_to_heterodata(db, nodes={"user": f'SELECT 1 AS id FROM "{name}"'}, edges={})


def test_what_was_asked_for_and_is_locked_is_an_error_with_the_remedy() -> None:
    con = duckdb.connect()
    con.execute("SET lock_configuration = true")
    given: list[tuple[str, Any]] = [("memory_limit", "1GB"), ("threads", 1), ("temp_directory", "/nowhere")]
    for name, value in given:
        said = rf"{name}=.* is locked\. Leave {name} out, or run SET {name} = .* before SET lock_configuration = true"
        with pytest.raises(dbgnn.ResourceError, match=said):
            dbgnn.connect(con, **{name: value})
    with pytest.raises(dbgnn.ResourceError, match="threads='1' cannot be set, since the configuration is locked"):
        dbgnn.connect(con).get_torch_geometric_remote_backend(num_threads=1)


# -- encrypted files, and those that may not be written ----------------------------------------------------


@pytest.fixture
def encrypted(tmp_path: Path) -> Path:
    """A file with a key, which DuckDB writes without its httpfs extension only if it is told to."""
    path = tmp_path / "it's.duckdb"
    with duckdb.connect() as con:
        con.execute("SET GLOBAL force_mbedtls_unsafe = 'true'")
        con.execute(f"ATTACH {literal(str(path))} AS g (ENCRYPTION_KEY 'secret'); USE g")
        with dbgnn.connect(con) as db:
            fill(db)
            assert_trains(db)
            assert db.graph().write_back("paper", n_id=np.arange(50), pred=np.arange(50.0)) == 50
            assert db.sql("SELECT count(*) FROM paper WHERE pred = id").fetchall() == [(50,)]
    assert b"paper" not in path.read_bytes()
    return path


@pytest.mark.parametrize("read_only", [False, True])
def test_the_error_for_an_encrypted_file_says_how_to_connect(encrypted: Path, read_only: bool) -> None:
    with pytest.raises(dbgnn.ConnectionError, match=r"is encrypted\. Attach it with its key") as caught:
        dbgnn.connect(encrypted, read_only=read_only)
    code = str(caught.value).split("connect to that: ")[1].split(". Worker")[0]
    assert code.endswith("; dbgnn.connect(con)")
    # Without the extension, DuckDB reads only.
    code = code.replace("'…'", "'secret', READ_ONLY").replace("dbgnn.connect(con)", "db = dbgnn.connect(con)")
    scope: dict[str, Any] = {"duckdb": duckdb, "dbgnn": dbgnn}
    exec(code, scope)
    with scope["con"], scope["db"] as db:
        assert_trains(db)
        with pytest.raises(dbgnn.ConnectionError, match=r"Worker processes have no key: use num_workers=0"):
            list(loader(db, num_workers=1))
        assert_trains(db)


@pytest.mark.parametrize("said", ["Permission denied", "Read-only file system"])
def test_a_file_that_may_only_be_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, said: str) -> None:
    """As DuckDB says it; root, whom tests may run as, may write anywhere."""
    dbgnn.connect(tmp_path / "g.duckdb").close()

    def refuse(*args: Any, **options: Any) -> None:
        raise duckdb.IOException(f'IO Error: Cannot open file "g.duckdb": {said}')

    monkeypatch.setattr(duckdb, "connect", refuse)
    with pytest.raises(dbgnn.ConnectionError, match="connect with read_only=True"):
        dbgnn.connect(tmp_path / "g.duckdb")


def test_a_temporary_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    said = r"temporary folder, which cannot be made\. Connect with temp_directory"
    with (
        dbgnn.connect(tmp_path / "g.duckdb", memory_limit="20MB", temp_directory=tmp_path / "file" / "spill") as db,
        pytest.raises(dbgnn.ResourceError, match=said),
    ):
        db.execute("CREATE TEMP TABLE t AS SELECT i, hash(i) AS h FROM range(3000000) t(i)")


# -- notebooks ---------------------------------------------------------------------------------------------

NOTEBOOK = """
import sys, types, warnings

class Shell:  # what DuckDB and tqdm take for Jupyter
    config = {"IPKernelApp": {}}

sys.modules["IPython"] = ipython = types.ModuleType("IPython")
ipython.get_ipython = Shell
sys.modules["ipywidgets"] = None  # import raises ModuleNotFoundError

import duckdb
try:
    duckdb.connect().execute("SET enable_progress_bar = true")
except duckdb.InvalidInputException as error:
    assert "ipywidgets" in str(error)
else:
    raise SystemExit("DuckDB does not take this for a notebook; the test tests nothing")
import numpy as np, torch, torch_geometric  # which warn of their own when they are imported
warnings.simplefilter("error")
import dbgnn

np.save("ids.npy", np.arange(50)), np.savetxt("cites.csv", np.arange(100).reshape(50, 2) % 50, "%d", ",")
with dbgnn.connect("g.duckdb") as db:
    db.execute("CREATE TABLE paper (id BIGINT, x FLOAT DEFAULT 1); CREATE TABLE cites (src BIGINT, dst BIGINT)")
    db.execute("COPY paper (id) FROM 'ids.npy'")
    db.execute("COPY cites FROM 'cites.csv' (HEADER false)")
    db.execute('''CREATE PROPERTY GRAPH g VERTEX TABLES (paper KEY (id)) EDGE TABLES (
      cites SOURCE KEY (src) REFERENCES paper (id) DESTINATION KEY (dst) REFERENCES paper (id))''')
    loader = dbgnn.NeighborLoader(db.graph(), num_neighbors=[2], input_nodes="paper", batch_size=20)
    print(len(list(loader)), db.graph().write_back("paper", pred=torch.ones(50)), db.graph().check() is not None)
"""


def test_a_notebook_without_ipywidgets(tmp_path: Path) -> None:
    # DuckDB looks for __main__.__file__, which a notebook has not got; so the code comes by -c.
    code = textwrap.dedent(NOTEBOOK)
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("3 50 True\n", "")


# -- a connection of the user's ----------------------------------------------------------------------------


def test_settings_are_set_on_a_connection_of_the_user_s_as_well() -> None:
    with duckdb.connect() as con:
        db = dbgnn.connect(con, threads=1, config={"preserve_insertion_order": "false", "lock_configuration": "true"})
        names = ("threads", "preserve_insertion_order", "lock_configuration")
        assert db.sql("SELECT " + ", ".join(f"current_setting('{n}')" for n in names)).fetchall() == [(1, False, True)]
    with duckdb.connect() as con, pytest.raises(dbgnn.ResourceError, match=r"no_such_setting='\*+' is not a value"):
        dbgnn.connect(con, config={"no_such_setting": "1"})


def test_read_only_is_not_left_unsaid(tmp_path: Path) -> None:
    with (
        duckdb.connect(str(tmp_path / "g.duckdb")) as con,
        pytest.raises(dbgnn.ConnectionError, match=r"is open for writing, which read_only=True cannot change"),
    ):
        dbgnn.connect(con, read_only=True)
    with duckdb.connect(str(tmp_path / "g.duckdb"), read_only=True) as con:
        assert dbgnn.connect(con).read_only
        assert dbgnn.connect(con, read_only=True).read_only
