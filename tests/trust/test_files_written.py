"""Every file that dbgnn writes: whole or not at all, never through a link, and under names that cannot be foreseen."""

from __future__ import annotations

import ast
import os
import re
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import dbgnn
from dbgnn import files
from dbgnn.cli.app import app
from dbgnn.loader.stats import LoaderStats, StepStats

ROOT = Path(dbgnn.__file__).parent

Write = Callable[[Path], Any]


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("written") / "g.duckdb"
    with dbgnn.connect(path) as db:
        db.execute("CREATE TABLE paper AS SELECT i AS id, [i, -i]::FLOAT[2] AS x FROM range(60) AS t(i)")
        db.execute("CREATE TABLE cites AS SELECT i % 60 AS src, i * 7 % 60 AS dst FROM range(200) AS t(i)")
        db.execute(
            """CREATE PROPERTY GRAPH g VERTEX TABLES (paper KEY (id)) EDGE TABLES (
              cites SOURCE KEY (src) REFERENCES paper (id) DESTINATION KEY (dst) REFERENCES paper (id))"""
        )
        db.graph("g").build()
    return path


@pytest.fixture(scope="module")
def loader(graph: Path) -> Iterator[dbgnn.NeighborLoader]:
    with dbgnn.connect(graph, read_only=True, progress=False) as db:
        stores = db.get_torch_geometric_remote_backend()
        yield dbgnn.NeighborLoader(stores, [2], input_nodes=("paper", torch.arange(20)), batch_size=10)


def save_encoders(path: Path) -> None:
    dbgnn.Encoders({"paper": {"x": dbgnn.Identity()}}).save(path)


def plot(path: Path) -> None:
    stats = LoaderStats()
    stats.add(StepStats(**dict.fromkeys(StepStats.__dataclass_fields__, 1)))
    stats.plot(path)


def query(graph: Path) -> Write:
    def run(path: Path) -> None:
        result = CliRunner().invoke(app, ["query", str(graph), "--graph", "g", "-q", "-o", str(path)])
        if result.exit_code:
            raise dbgnn.DbgnnError(result.output)

    return run


@pytest.fixture(params=["encoders.json", "plot.svg", "out.pt", "pack.json", "order.arrow", "part-00000.arrow"])
def written(request: pytest.FixtureRequest, graph: Path, loader: dbgnn.NeighborLoader, tmp_path: Path) -> tuple[Path, Write]:
    """A path, and what writes a file there."""
    folder = tmp_path / "folder"
    folder.mkdir()
    writers: dict[str, Write] = {"encoders.json": save_encoders, "plot.svg": plot, "out.pt": query(graph)}
    name: str = request.param
    return folder / name, writers.get(name, lambda path: loader.pack(path.parent, progress=False))


@pytest.mark.parametrize("what", ["link", "link to nothing", "folder", "fifo"])
def test_what_is_no_regular_file_is_never_written_to(written: tuple[Path, Write], tmp_path: Path, what: str) -> None:
    path, write = written
    victim = tmp_path / "victim"
    if what == "link":
        victim.write_text("precious")
    match what:
        case "folder":
            path.mkdir()
        case "fifo":
            os.mkfifo(path)
        case _:
            path.symlink_to(victim)
    kind = path.lstat().st_mode
    with pytest.raises(dbgnn.DbgnnError):
        write(path)
    assert victim.exists() == (what == "link")
    assert not victim.exists() or victim.read_text() == "precious"
    assert path.lstat().st_mode == kind
    assert not [p.name for p in path.parent.iterdir() if files.unfinished(p.name)]


def test_links_under_the_names_of_temporary_files_are_not_followed(written: tuple[Path, Write], tmp_path: Path) -> None:
    path, write = written
    victim = tmp_path / "victim"
    victim.write_text("precious")
    for name in (f"{path.name}.tmp", f".{path.name}.tmp", f"{path.name}~", f"{path.name}.{'0' * 16}.tmp"):
        (path.parent / name).symlink_to(victim)
    before = sorted(p.name for p in path.parent.iterdir())
    with suppress(dbgnn.DbgnnError):  # a pack does not begin in a folder that holds other files
        write(path)
    assert victim.read_text() == "precious"
    assert not victim.is_symlink()
    assert sorted(p.name for p in path.parent.iterdir() if p.is_symlink()) == before


def test_a_folder_may_be_a_link(written: tuple[Path, Write], tmp_path: Path) -> None:
    path, write = written
    (tmp_path / "link").symlink_to(path.parent)
    write(tmp_path / "link" / path.name)
    assert path.name == "order.arrow" or path.is_file()
    assert (tmp_path / "link").is_symlink()


def test_the_mode_is_private_until_it_is_that_of_the_umask_or_of_what_is_replaced(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        for wanted in (0o640, 0o604):
            with files.replaced(tmp_path / "a") as file:
                assert stat.S_IMODE(os.fstat(file.fileno()).st_mode) == 0o600
                file.write(b"text")
            assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == wanted or wanted == 0o604
            (tmp_path / "a").chmod(0o604)
        assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o604
        assert os.umask(0o027) == 0o027
    finally:
        os.umask(before)
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_an_error_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("old")

    def interrupted() -> None:
        with files.replaced(path) as file:
            file.write(b"new")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_name_that_is_taken_is_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even if somebody guessed it."""
    monkeypatch.setattr(secrets, "token_hex", lambda size: "0" * 2 * size)
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / f"a.{'0' * 16}.tmp").symlink_to(victim)
    with pytest.raises(FileExistsError), files.replaced(tmp_path / "a"):
        pass
    assert victim.read_text() == "precious"


def test_an_error_names_the_file_that_was_asked_for(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as error:
        save_encoders(tmp_path / "nowhere" / "encoders.json")
    assert error.value.filename == str(tmp_path / "nowhere" / "encoders.json")


def test_names_differ_and_may_be_as_long_as_the_file_system_takes(tmp_path: Path) -> None:
    seen = set()
    for _ in range(3):
        with files.replaced(tmp_path / ("ä" * 127)) as file:
            seen |= {p.name for p in tmp_path.iterdir()} - {"ä" * 127}
            file.write(b"x")
    assert len(seen) == 3
    assert [p.name for p in tmp_path.iterdir()] == ["ä" * 127]


def test_what_a_killed_pack_left_is_removed_and_nothing_else(loader: dbgnn.NeighborLoader, tmp_path: Path) -> None:
    folder, victim = tmp_path / "pack", tmp_path / "victim"
    victim.write_text("precious")
    loader.pack(folder, progress=False)
    ours = [f"{name}.{'0123456789abcdef'}.tmp" for name in ("pack.json", "order.arrow", "part-00001.arrow")]
    others = ["mine.0123456789abcdef.tmp", "pack.json.tmp", "pack.json.0123.tmp", "pack.json.0123456789ABCDEF.tmp"]
    for name in (*ours, *others):
        (folder / name).write_text("left")
    (folder / "pack.json.00000000000000aa.tmp").symlink_to(victim)
    os.link(victim, folder / "pack.json.00000000000000bb.tmp")
    (folder / "pack.json.00000000000000cc.tmp").mkdir()
    before = {p.name for p in folder.iterdir()}
    loader.pack(folder, progress=False)
    assert before - {p.name for p in folder.iterdir()} == set(ours)
    assert victim.read_text() == "precious"


def test_packed_features_go_to_a_file_without_a_name(tmp_path: Path) -> None:
    with files.unnamed(str(tmp_path)) as file:
        assert stat.S_IMODE(os.fstat(file.fileno()).st_mode) == 0o600
        assert list(tmp_path.iterdir()) == []


def test_a_file_that_may_not_be_written_to_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a"
    path.write_text("old")
    path.chmod(0o444)
    # Root may write to everything, and tests may run as root.
    monkeypatch.setattr(os, "access", lambda of, mode: bool(Path(of).stat().st_mode & 0o200))
    with pytest.raises(PermissionError), files.replaced(path):
        pass
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


#: What opens files by path, makes up temporary names, or runs what it reads. DuckDB's COPY TO is the user's statement.
OPENERS = re.compile(
    r"(np|torch)\.(save|load)\w*|eval|exec|pickle\.loads?|.*\.(fromfile|memmap|memory_map|open_memmap|(read|write)_(text|bytes))|"
    r"(.*\.)?(OSFile|mk[sd]?temp|mktemp|\w*Temporary\w*|to_(csv|parquet)|touch|symlink\w*)"
)

#: What is none of that, and says so here.
ALLOWED = {
    "torch.save(data, file)",  # a file that is open
    "os.open(folder, os.O_RDONLY | os.O_DIRECTORY)",  # a lock
    "os.open('/proc/self/io', os.O_RDONLY)",
    "entry.read_text(encoding='utf-8')",  # a file of the package
}


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT)))
def test_only_one_module_opens_files(path: Path) -> None:
    if path == Path(files.__file__):
        return
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute) and re.fullmatch("O_(WRONLY|RDWR|CREAT|TRUNC|APPEND)", node.attr):
            found.append(node.attr)
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        modes = [a.value for a in (*node.args, *(k.value for k in node.keywords)) if isinstance(a, ast.Constant)]
        opens = name in {"open", "io.open", "os.open"} or (
            name.endswith(".open") and any(isinstance(m, str) and re.fullmatch("[rwaxbt+]+", m) for m in modes)
        )
        if opens or OPENERS.fullmatch(name):
            found.append(ast.unparse(node))
    assert set(found) <= ALLOWED


def test_a_number_of_bytes_is_read_and_no_more(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(np.arange(100, dtype=np.uint8).tobytes())
    assert len(files.read(path, 100)) == 100
    with pytest.raises(OSError, match="more than 99 bytes"):
        files.read(path, 99)


@pytest.mark.parametrize("what", ["fifo", "folder", "device", "socket", "link"])
def test_only_regular_files_are_opened_and_nothing_waits(tmp_path: Path, what: str) -> None:
    import socket

    path = tmp_path / "a"
    with socket.socket(socket.AF_UNIX) as sock:
        match what:
            case "fifo":
                os.mkfifo(path)
            case "folder":
                path.mkdir()
            case "device":
                path = Path("/dev/zero")
            case "socket":
                sock.bind(str(path))
            case _:
                (tmp_path / "b").write_text("text")
                path.symlink_to(tmp_path / "b")
                assert files.read(path, 10) == b"text"  # a link of the user's own is followed unless that is forbidden
        with pytest.raises(files.NotRegularError, match="not a regular file"):
            files.opened(path, follow=False)
