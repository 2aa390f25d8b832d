"""Packs: replayed bit for bit without the graph, refused when damaged, resumed after a kill.

``DBGNN_KILLS`` says how often packing is killed at a random moment (default 4).
"""

from __future__ import annotations

import errno
import fcntl
import json
import math
import os
import pickle
import random
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Generator, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
import xxhash
from torch_geometric.data import Data, HeteroData, hetero_data

import dbgnn
from dbgnn.packs import pack

KILLS = int(os.environ.get("DBGNN_KILLS", "4"))
ROOT = Path(dbgnn.__file__).parents[1]
CITES = ("paper", "cites", "paper")


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Papers and authors; features of nodes and edges of several dtypes."""
    path = tmp_path_factory.mktemp("pack") / "g.duckdb"
    rng = np.random.default_rng(0)
    with dbgnn.connect(path) as db:
        con = db.connection
        con.execute(
            """CREATE TABLE paper AS SELECT i * 10 AS id, [i, i + 0.5, -i]::FLOAT[3] AS x, (i % 4)::UINTEGER AS y,
            i % 3 = 0 AS flag FROM range(300) t(i)"""
        )
        con.execute("CREATE TABLE author AS SELECT 'a' || i AS name, [i]::DOUBLE[1] AS x FROM range(50) t(i)")
        src, dst = rng.integers(0, 300, (2, 2000)) * 10
        con.register("rows", pa.table({"src": src, "dst": dst, "w": np.arange(2000) / 8, "k": np.arange(2000)}))
        con.execute("CREATE TABLE cites AS SELECT src, dst, w, [k, -k]::SMALLINT[2] AS kk FROM rows")
        con.execute("CREATE TABLE writes AS SELECT 'a' || (hash(i) % 50) AS a, (i % 300) * 10 AS p FROM range(500) t(i)")
        db.execute(
            """CREATE PROPERTY GRAPH papers VERTEX TABLES (paper KEY (id), author KEY (name)) EDGE TABLES (
              cites SOURCE KEY (src) REFERENCES paper (id) DESTINATION KEY (dst) REFERENCES paper (id),
              writes SOURCE KEY (a) REFERENCES author (name) DESTINATION KEY (p) REFERENCES paper (id))"""
        )
        db.execute(
            """CREATE PROPERTY GRAPH citations VERTEX TABLES (paper KEY (id)) EDGE TABLES (
              cites SOURCE KEY (src) REFERENCES paper (id) DESTINATION KEY (dst) REFERENCES paper (id))"""
        )
        db.graph("papers").build()
        db.graph("citations").build()
    return path


@pytest.fixture
def db(graph: Path) -> Iterator[dbgnn.Database]:
    with dbgnn.connect(graph, read_only=True, progress=False) as db:
        yield db


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pack, "PART_BYTES", 8_000)


def make_loader(
    db: dbgnn.Database,
    *,
    homogeneous: bool = False,
    columns: Any = None,
    kind: type[dbgnn.NeighborLoader] = dbgnn.NeighborLoader,
    num_neighbors: Any = (4, 3),
    input_nodes: Any = None,
    **options: Any,
) -> Any:
    """A loader of seven mini-batches a shuffled epoch, which takes up a few parts of 20 kB."""
    stores = db.get_torch_geometric_remote_backend(
        "citations" if homogeneous else "papers", homogeneous=homogeneous, columns=columns
    )
    seeds = range(0, 300, 3) if input_nodes is None else input_nodes
    given = seeds if homogeneous else ("paper", seeds)
    all_options: dict[str, Any] = {"batch_size": 16, "shuffle": True, "generator": torch.Generator().manual_seed(1), "seed": 5}
    return kind(stores, list(num_neighbors), input_nodes=given, **all_options | options)


def light(db: dbgnn.Database, **options: Any) -> Any:
    """A loader of four small mini-batches, a part of 8 kB each or two."""
    all_options: dict[str, Any] = {"num_neighbors": [3], "batch_size": 25, **options}
    return make_loader(db, homogeneous=True, **all_options)


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def same_value(a: Any, b: Any) -> bool:
    if type(a) is not type(b):
        return False
    if isinstance(a, torch.Tensor):
        if a.dtype != b.dtype or a.shape != b.shape:
            return False
        one, two = (torch.empty(t.shape, dtype=t.dtype).copy_(t).reshape(-1).view(torch.uint8) for t in (a, b))
        return torch.equal(one, two)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same_value, a, b))
    if isinstance(a, dict):
        return same_value(list(a.items()), list(b.items()))
    return repr(a) == repr(b)  # of numbers, strings and None; tells 0.0 from -0.0, and nan from all but itself


def stored(batch: Any) -> list[Any]:
    """Everything a batch holds, in order."""
    hidden = {"_parent", "_cached_attr"}
    found = [[type(s).__name__, {k: v for k, v in vars(s).items() if k not in hidden}] for s in batch.stores]
    return [type(batch).__name__, found]


def same(a: Any, b: Any) -> bool:
    return len(a) == len(b) and all(same_value(stored(x), stored(y)) for x, y in zip(a, b, strict=True))


# -- replay --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("homogeneous", "options"),
    [
        (False, {}),
        (True, {}),
        (False, {"disjoint": True, "drop_last": True}),
        (True, {"subgraph_type": "induced"}),
        (True, {"subgraph_type": "bidirectional"}),
        (False, {"input_id": torch.arange(1000, 1100), "replace": True}),
        (True, {"num_neighbors": [0]}),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, dict) else None,
)
def test_a_pack_replays_the_batches_bit_for_bit(
    db: dbgnn.Database, tmp_path: Path, homogeneous: bool, options: dict[str, Any]
) -> None:
    wanted = [list(loader) for loader in [make_loader(db, homogeneous=homogeneous, **options)] for _ in range(3)]
    make_loader(db, homogeneous=homogeneous, **options).pack(tmp_path / "pack", epochs=3)
    loader = dbgnn.PackedLoader(tmp_path / "pack")
    found = [list(loader) for _ in range(3)]
    assert all(map(same, found, wanted))
    assert not same(found[0], found[1])
    assert len(loader) == len(wanted[0])
    assert {type(b) for b in found[0]} == {Data if homogeneous else HeteroData}
    assert all(t.data_ptr() % 64 == 0 for b in found[0] for s in b.stores for t in s.values() if isinstance(t, torch.Tensor))


def test_a_pack_replays_in_a_fresh_process_without_the_graph(graph: Path, tmp_path: Path) -> None:
    shutil.copy(graph, tmp_path / "g.duckdb")
    with dbgnn.connect(tmp_path / "g.duckdb") as db:
        wanted = [b for loader in [make_loader(db)] for _ in range(2) for b in loader]
        make_loader(db).pack(tmp_path / "pack", epochs=2)
    (tmp_path / "g.duckdb").unlink()
    (tmp_path / "pack").rename(tmp_path / "moved")
    code = (
        "import sys, duckdb, torch; duckdb.connect = None; from dbgnn import PackedLoader as Loader; "
        "loader = Loader(sys.argv[1]); torch.save([b for _ in range(loader.num_epochs) for b in loader], sys.argv[2])"
    )
    command = [sys.executable, "-W", "error::UserWarning", "-c", code, str(tmp_path / "moved"), str(tmp_path / "out.pt")]
    subprocess.run(command, check=True, cwd=ROOT)
    assert same(torch.load(tmp_path / "out.pt", weights_only=False), wanted)


def test_epochs_follow_each_other_and_can_be_chosen(db: dbgnn.Database, tmp_path: Path) -> None:
    make_loader(db).pack(tmp_path / "pack", epochs=3)
    called = []

    def transform(batch: Any) -> int:
        called.append(batch)
        return len(called)

    loader = dbgnn.PackedLoader(tmp_path / "pack", transform=transform)
    assert (loader.num_epochs, len(loader)) == (3, 7)
    assert [list(loader) for _ in range(4)] == [list(range(i, i + 7)) for i in (1, 8, 15, 22)]
    first, second, third, again = (called[i : i + 7] for i in (0, 7, 14, 21))
    assert same(first, again)
    assert not same(first, second)
    loader.set_epoch(2)
    next(iter(loader))  # left early: an epoch all the same
    list(loader)
    assert same(called[28:29], third[:1])
    assert same(called[29:], first)
    loader.set_epoch(7)
    list(loader)
    assert same(called[-7:], second)
    with pytest.raises(dbgnn.RequestError, match="epoch must be 0 or more, not -1"):
        loader.set_epoch(-1)
    assert len(list(pickle.loads(pickle.dumps(dbgnn.PackedLoader(tmp_path / "pack"))))) == 7
    assert repr(loader).endswith("pack': 3 epochs, 21 mini-batches, 0.3 MB)")


def test_tensors_can_be_written_to_and_kept(db: dbgnn.Database, tmp_path: Path) -> None:
    make_loader(db, homogeneous=True).pack(tmp_path / "pack")
    before, wanted = content(tmp_path / "pack"), list(make_loader(db, homogeneous=True))
    loader = dbgnn.PackedLoader(tmp_path / "pack")
    for batch in loader:
        for value in batch.to_dict().values():
            if isinstance(value, torch.Tensor):
                value.zero_()
    kept, meanwhile = list(loader), list(loader)
    meanwhile[0].x += 1
    assert content(tmp_path / "pack") == before
    shutil.rmtree(tmp_path / "pack")
    del loader, meanwhile
    assert same(kept, wanted)


class Given(dbgnn.NeighborLoader):
    """Gives the batches it was handed, whatever they are."""

    given: list[Any]

    def _run(self, batches: Iterable[Any], *, transform: bool) -> Generator[Any, None, None]:
        yield from self.given[: len(list(batches))]


def given(db: dbgnn.Database, batch: Any) -> Given:
    loader: Given = make_loader(db, input_nodes=[1], kind=Given)
    loader.given = [batch]
    return loader


DTYPES = (
    "bool uint8 uint16 uint32 uint64 int8 int16 int32 int64 float16 bfloat16 float32 float64 complex32 complex64 complex128 "
    "float8_e4m3fn float8_e5m2"
).split()


@pytest.mark.filterwarnings("ignore:ComplexHalf support is experimental")
def test_every_dtype_and_shape(db: dbgnn.Database, tmp_path: Path) -> None:
    batch = Data()
    for name in DTYPES:
        values = torch.arange(48, dtype=torch.uint8).view(getattr(torch, name)) if name != "bool" else torch.arange(3) > 1
        batch[name] = values
        batch[f"{name} scalar"] = values[1]
        batch[f"{name} empty"] = values[:0].reshape(0, 3)
        batch[f"{name} strided"] = values[1::2]
        batch[f"{name} repeated"] = values[1:2].expand(5, 1)
    batch.conjugated = torch.tensor([1 + 2j, -0.0j]).conj()
    batch.negated = torch.view_as_real(batch.conjugated.conj())[:, 1]._neg_view()
    batch.matrix = torch.arange(12).reshape(3, 4).T
    batch.not_a_number = torch.tensor([0x7FC00001, -1]).int().view(torch.float32)
    batch.no_stride = torch.empty(2, 0).T
    given(db, batch).pack(tmp_path / "pack")
    (found,) = dbgnn.PackedLoader(tmp_path / "pack")
    assert same([found], [batch])
    assert same_value(found.negated, torch.tensor([-2.0, 0.0]))


def test_everything_else_that_a_batch_can_hold(db: dbgnn.Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hetero_data, "_DISPLAYED_TYPE_NAME_WARNING", False)  # PyG warns once in a process
    batch = HeteroData()
    batch.title = "ünï\ud800\n\0"
    with pytest.warns(UserWarning, match="double underscores"):  # PyG's; not when the batch is replayed
        batch["a__b"].num_sampled_nodes = [3, 0, -(2**70)]
    batch["a__b"].num_nodes = 0
    batch["tuple"].values_of = (
        (1, 1.0, True),
        [None, math.nan, -math.inf, -0.0],
        {"a": {}, 1: [], (2, "b"): torch.tensor(3.0)},
    )
    batch["a__b", "to", "tuple"]._orig_edge_index = torch.arange(6).reshape(2, 3)
    batch.get_node_store("empty")
    batch["tuple"][None] = torch.arange(3)
    given(db, batch).pack(tmp_path / "pack")
    (found,) = dbgnn.PackedLoader(tmp_path / "pack")
    assert same([found], [batch])
    assert found["tuple"]._parent() is found


class Custom(Data):
    pass


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.zeros(2), r"batch 0, 'paper', 'thing' is a numpy\.ndarray"),
        ([{"deep": {1}}], r"batch 0, 'paper', 'thing', 'deep' is a builtins\.set"),
        (np.int64(3), r"numpy\.int64"),
        (torch.nn.Parameter(torch.ones(1)), r"Parameter"),
        (torch.ones(1, requires_grad=True), "requires_grad=True"),
        (torch.eye(2).to_sparse(), "sparse_coo"),
        (torch.ones(1, device="meta"), "on meta"),
        (torch.ones(1, dtype=torch.uint8).view(torch.bits8), r"torch\.bits8"),
    ],
    ids=lambda v: type(v).__name__,
)
def test_what_a_pack_cannot_hold_is_refused(db: dbgnn.Database, tmp_path: Path, value: Any, message: str) -> None:
    batch = HeteroData()
    batch["paper"].thing = value
    with pytest.raises(dbgnn.DataError, match=f"{message}.*transform of PackedLoader"):
        given(db, batch).pack(tmp_path / "pack")
    with pytest.raises(dbgnn.DataError, match="batch 0 is a Custom; a pack holds Data and HeteroData"):
        given(db, Custom()).pack(tmp_path / "pack")


# -- damage --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def packed(graph: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pack of three parts."""
    folder = tmp_path_factory.mktemp("packed") / "pack"
    with dbgnn.connect(graph, read_only=True) as db, pytest.MonkeyPatch.context() as patch:
        patch.setattr(pack, "PART_BYTES", 20_000)
        make_loader(db, homogeneous=True, num_neighbors=[3, 2]).pack(folder)
    assert sorted(content(folder)) == ["pack.json", "part-00000.arrow", "part-00001.arrow", "part-00002.arrow"]
    return folder


@pytest.fixture
def copy(packed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(packed, tmp_path / "pack"))


def read_all(folder: Path) -> None:
    for _ in dbgnn.PackedLoader(folder):
        pass


@pytest.mark.parametrize("name", ["pack.json", "part-00000.arrow", "part-00001.arrow", "part-00002.arrow"])
def test_any_changed_byte_is_found(copy: Path, name: str) -> None:
    path = copy / name
    whole = path.read_bytes()
    offsets: Iterable[int] = range(len(whole))
    if name != "pack.json":
        offsets = [0, len(whole) - 1, *random.Random(0).sample(range(len(whole)), 150)]
    for offset in offsets:
        changed = bytearray(whole)
        changed[offset] ^= 1 << offset % 8
        path.write_bytes(changed)
        with pytest.raises(dbgnn.DataError, match=name) as error:
            read_all(copy)
        assert "pack again" in str(error.value) or "loader.pack(path)" in str(error.value)
    path.write_bytes(whole)
    read_all(copy)


@pytest.mark.parametrize("name", ["pack.json", "part-00000.arrow", "part-00001.arrow", "part-00002.arrow"])
def test_a_truncated_missing_or_longer_file_is_found(copy: Path, name: str) -> None:
    path = copy / name
    whole = path.read_bytes()
    for size in [0, 1, 8, 64, len(whole) // 2, len(whole) - 64, len(whole) - 1]:
        path.write_bytes(whole[:size])
        with pytest.raises(dbgnn.DataError, match=name):
            dbgnn.PackedLoader(copy)  # at once, not when the file is reached
    path.write_bytes(whole + b"\0")
    with pytest.raises(dbgnn.DataError, match=name):
        dbgnn.PackedLoader(copy)
    path.unlink()
    with pytest.raises(dbgnn.DataError, match=f"{name} cannot be read"):
        dbgnn.PackedLoader(copy)


def test_a_part_is_checked_before_its_first_batch_is_handed_out(copy: Path) -> None:
    path = copy / "part-00001.arrow"
    data = bytearray(path.read_bytes())
    data[5000] ^= 1
    path.write_bytes(data)
    good = json.loads((copy / "pack.json").read_text())["parts"][0]["batches"]
    loader = iter(dbgnn.PackedLoader(copy))
    for _ in range(good):
        next(loader)
    with pytest.raises(dbgnn.DataError, match=r"part-00001\.arrow.*checksum"):
        next(loader)


def test_a_part_that_goes_while_it_is_replayed(copy: Path) -> None:
    loader = dbgnn.PackedLoader(copy)
    list(loader)
    with (copy / "part-00002.arrow").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(dbgnn.DataError, match=r"part-00002\.arrow has"):
        list(loader)
    (copy / "part-00000.arrow").unlink()
    with pytest.raises(dbgnn.DataError, match=r"part-00000\.arrow cannot be read"):
        next(iter(loader))


def manifest(content: dict[str, Any]) -> bytes:
    content.pop("xxh3_64", None)
    checksum = xxhash.xxh3_64_hexdigest(json.dumps(content, indent=1).encode())
    return json.dumps(content | {"xxh3_64": checksum}, indent=1).encode() + b"\n"


def test_a_foreign_newer_or_incomplete_pack_is_refused(copy: Path, tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(dbgnn.DataError, match=r"no pack in .*pack\.json.*loader\.pack\(path\)"):
            dbgnn.PackedLoader(folder)
    path = copy / "pack.json"
    whole = json.loads(path.read_text())
    assert manifest(whole) == path.read_bytes()
    for foreign in ({"name": "another tool's"}, [1], whole | {"format": "zip"}):
        path.write_text(json.dumps(foreign))
        with pytest.raises(dbgnn.DataError, match=r"pack\.json' is not the manifest of a dbgnn pack"):
            dbgnn.PackedLoader(copy)
    path.write_bytes(manifest(whole | {"version": 2, "parts": "in another form"}))
    with pytest.raises(dbgnn.DataError, match=r"newer dbgnn: pack\.json says version 2.*reads version 1"):
        dbgnn.PackedLoader(copy)
    path.write_bytes(manifest(whole | {"parts": whole["parts"][:-1]}))
    with pytest.raises(dbgnn.DataError, match=r"incomplete: it holds \d of 7 .*Call loader\.pack\(path\) again"):
        dbgnn.PackedLoader(copy)


# -- going on ------------------------------------------------------------------------------------------


class Interrupted(dbgnn.NeighborLoader):
    """Raises instead of giving its batch number ``end``, and counts what it gave."""

    end = 1000
    given = 0

    def _run(self, batches: Iterable[Any], *, transform: bool) -> Generator[Any, None, None]:
        for batch in super()._run(batches, transform=transform):
            if self.given == self.end:
                raise KeyboardInterrupt
            self.given += 1
            yield batch


@pytest.fixture
def unbroken(db: dbgnn.Database, tmp_path: Path) -> dict[str, bytes]:
    light(db).pack(tmp_path / "unbroken", epochs=2)
    found = content(tmp_path / "unbroken")
    assert 3 < len(found) < 9
    return found


def test_packing_goes_on_after_the_last_complete_part(db: dbgnn.Database, tmp_path: Path, unbroken: dict[str, bytes]) -> None:
    batches = [part["batches"] for part in json.loads(unbroken["pack.json"])["parts"]]
    for end in range(8):
        loader = light(db, kind=Interrupted)
        loader.end = end
        with pytest.raises(KeyboardInterrupt):
            loader.pack(tmp_path / "pack", epochs=2)
        assert not [name for name in content(tmp_path / "pack") if name.endswith(".tmp")]
        with pytest.raises(dbgnn.DataError, match="incomplete"):
            dbgnn.PackedLoader(tmp_path / "pack")
        # What it draws now is another order: the first one's counts.
        loader = light(db, kind=Interrupted, generator=torch.Generator().manual_seed(99))
        loader.pack(tmp_path / "pack", epochs=2)
        complete = max(sum(batches[:i]) for i in range(len(batches) + 1) if sum(batches[:i]) <= end)
        assert loader.given == 8 - complete
        assert content(tmp_path / "pack") == unbroken
        shutil.rmtree(tmp_path / "pack")


def test_a_complete_pack_is_left_alone(db: dbgnn.Database, tmp_path: Path, unbroken: dict[str, bytes]) -> None:
    loader = light(db, kind=Interrupted)
    loader.end = 0
    loader.pack(tmp_path / "unbroken", epochs=2)
    assert content(tmp_path / "unbroken") == unbroken


def test_packing_survives_kills(graph: Path, tmp_path: Path, unbroken: dict[str, bytes]) -> None:
    """SIGKILL before each operation on a file, and at random moments."""
    rng = random.Random()
    operations = range(0, 35, 3)  # packing eight batches takes 36
    moments = [*map(str, operations), *(f"{rng.uniform(0, 0.4):.3f}" for _ in range(KILLS))]
    command = [sys.executable, "-m", "tests.packs.pack_killed", str(graph), str(tmp_path / "killed"), *moments]
    (tmp_path / "killed").mkdir()
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stderr == ""
    codes = [tuple(map(int, line.split())) for line in done.stdout.splitlines()]
    assert {first for first, _ in codes[: len(operations)]} == {-9}
    assert {second for _, second in codes} == {0}
    for number, moment in enumerate(moments):
        assert content(tmp_path / "killed" / str(number)) == unbroken, moment


DIFFERENT: list[tuple[dict[str, Any], str]] = [
    ({"seed": 6}, "seed: 5 there, 6 now"),
    ({"num_neighbors": [4, 2]}, r"num_neighbors: .*\[4, 3\].* there, .*\[4, 2\].* now"),
    ({"batch_size": 17}, "batch_size: 16 there, 17 now"),
    ({"input_nodes": range(0, 300, 2)}, "input_nodes: .*100.* there, .*150"),
    ({"input_nodes": range(1, 300, 3)}, "input_nodes: "),
    ({"input_id": torch.arange(100)}, "input_id: None there"),
    ({"columns": {"paper": ["x"]}}, "columns of 'paper': .*'y', 'uint32'.* there, .* now"),
    ({"columns": {CITES: ["w"]}}, r"columns of \('paper', 'cites', 'paper'\)"),
    ({"replace": True}, "replace: False there, True now"),
    ({"disjoint": True}, "disjoint"),
    ({"subgraph_type": "induced"}, "subgraph_type: 'directional' there, 'induced' now"),
    ({"drop_last": True}, "drop_last"),
    ({"shuffle": False, "generator": None}, "sampler: .* there, .*SequentialSampler.* now"),
    ({"transform_sampler_output": len}, "transform_sampler_output: None there, 'len' now"),
    ({"homogeneous": True}, "graph: 'papers' there, 'citations' now"),
]


def test_another_loader_cannot_go_on(db: dbgnn.Database, tmp_path: Path) -> None:
    make_loader(db).pack(tmp_path / "complete", epochs=2)
    loader = make_loader(db, kind=Interrupted)
    loader.end = 4
    with pytest.raises(KeyboardInterrupt):
        loader.pack(tmp_path / "begun", epochs=2)
    for folder in (tmp_path / "begun", tmp_path / "complete"):
        before = content(folder)
        for options, message in DIFFERENT if folder.name == "begun" else DIFFERENT[:2]:
            with pytest.raises(dbgnn.DbgnnError, match=rf"{folder.name}' holds the pack of another loader.* in .*{message}"):
                make_loader(db, **options).pack(folder, epochs=2)
        with pytest.raises(dbgnn.DbgnnError, match=r"differ in epochs: 2 there, 3 now\. Use a loader like"):
            make_loader(db).pack(folder, epochs=3)
        loader = make_loader(db)
        loader.data[0].fill("paper", "x", 0.0)
        with pytest.raises(dbgnn.DbgnnError, match="columns of 'paper'"):
            loader.pack(folder, epochs=2)
        assert content(folder) == before


def test_another_graph_cannot_go_on(graph: Path, tmp_path: Path) -> None:
    shutil.copy(graph, tmp_path / "g.duckdb")
    with dbgnn.connect(tmp_path / "g.duckdb") as db:
        make_loader(db).pack(tmp_path / "pack")
        changes = [
            ("UPDATE cites SET dst = 20 WHERE rowid = 3", r"keys of \('paper', 'cites', 'paper'\)"),
            ("UPDATE author SET name = 'zz' WHERE name = 'a7'; UPDATE writes SET a = 'zz' WHERE a = 'a7'", "keys of 'author'"),
        ]
        for sql, message in changes:
            db.execute(sql)
            db.graph("papers").build()
            with pytest.raises(dbgnn.DbgnnError, match=f"another loader; they differ in {message}: "):
                make_loader(db).pack(tmp_path / "pack")
            assert len(list(dbgnn.PackedLoader(tmp_path / "pack"))) == 7  # which needs no graph


def test_a_damaged_pack_is_not_gone_on_with(db: dbgnn.Database, tmp_path: Path) -> None:
    def begin(folder: Path) -> Path:
        loader = make_loader(db, kind=Interrupted)
        loader.end = 5
        with pytest.raises(KeyboardInterrupt):
            loader.pack(folder)
        return folder

    def shorter(path: Path) -> None:
        path.write_bytes(path.read_bytes()[:-1])

    def changed(path: Path) -> None:
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)

    cases: list[tuple[str, Callable[[Path], None]]] = [
        ("order.arrow", changed),
        ("order.arrow", Path.unlink),
        ("part-00000.arrow", shorter),
        ("part-00000.arrow", Path.unlink),
        ("pack.json", changed),
    ]
    for number, (name, damage) in enumerate(cases):
        folder = begin(tmp_path / str(number))
        damage(folder / name)
        with pytest.raises(dbgnn.DataError, match=f"{name} .*Delete the folder and pack again"):
            make_loader(db).pack(folder)


def limit_files(size: int) -> None:
    """Let files have ``size`` bytes at most, -1: any number; stands for a disk that is full."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


class Filling(dbgnn.NeighborLoader):
    """The disk fills up while the last batch but one is made."""

    def _run(self, batches: Iterable[Any], *, transform: bool) -> Generator[Any, None, None]:
        for number, batch in enumerate(super()._run(batches, transform=transform)):
            if number == 6:
                limit_files(100)
            yield batch


def test_a_full_disk_is_said_and_gone_on_from(db: dbgnn.Database, tmp_path: Path, unbroken: dict[str, bytes]) -> None:
    sizes = {name: len(data) for name, data in unbroken.items()}
    cases: list[tuple[int, type[dbgnn.NeighborLoader]]] = [
        (100, dbgnn.NeighborLoader),
        (sizes["part-00000.arrow"] - 1, dbgnn.NeighborLoader),
        (-1, Filling),
    ]
    for limit, kind in cases:
        try:
            limit_files(limit)
            with pytest.raises(dbgnn.ResourceError, match=r"disk is full while packing into .*it continues after the") as error:
                light(db, kind=kind).pack(tmp_path / "pack", epochs=2)
        finally:
            limit_files(-1)
        assert isinstance(error.value.__cause__, OSError)
        assert error.value.__cause__.errno == errno.EFBIG
        assert not [name for name in content(tmp_path / "pack") if name.endswith(".tmp")]
    assert "part-00000.arrow" in content(tmp_path / "pack")
    light(db).pack(tmp_path / "pack", epochs=2)
    assert content(tmp_path / "pack") == unbroken


def test_folders_that_cannot_be_packed_into(db: dbgnn.Database, tmp_path: Path) -> None:
    loader = make_loader(db)
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(dbgnn.DbgnnError, match="must be a folder"):
            loader.pack(path)
    with pytest.raises(dbgnn.DbgnnError, match=r"holds 'file' and no pack\. Pack into a folder that is new or empty"):
        loader.pack(tmp_path)
    with pytest.raises(dbgnn.RequestError, match="epochs must be 1 or more, not 0"):
        loader.pack(tmp_path / "new", epochs=0)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file"]
    (tmp_path / "new").mkdir()
    other = os.open(tmp_path / "new", os.O_RDONLY)
    fcntl.flock(other, fcntl.LOCK_EX)
    with pytest.raises(dbgnn.DbgnnError, match="being packed into already"):
        loader.pack(tmp_path / "new")
    os.close(other)
    loader.pack(str(tmp_path / "new"))
    assert len(list(dbgnn.PackedLoader(str(tmp_path / "new")))) == 7


def test_batch_samplers(db: dbgnn.Database, tmp_path: Path) -> None:
    class Endless:
        def __iter__(self) -> Iterator[list[int]]:
            while True:
                yield [0]

    options: dict[str, Any] = {"shuffle": False, "generator": None, "batch_size": 1}
    with pytest.raises(dbgnn.RequestError, match="Endless has no length"):
        make_loader(db, **options, batch_sampler=Endless()).pack(tmp_path / "endless")
    batches = [[1, 2], [5], [7, 8, 9]]
    make_loader(db, **options, batch_sampler=batches).pack(tmp_path / "list")
    assert [b["paper"].input_id.tolist() for b in dbgnn.PackedLoader(tmp_path / "list")] == batches
    make_loader(db, **options, batch_sampler=[]).pack(tmp_path / "none", epochs=2)
    assert [list(dbgnn.PackedLoader(tmp_path / "none")) for _ in range(2)] == [[], []]


def test_the_progress_bar_can_be_switched(db: dbgnn.Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bars: list[dict[str, Any]] = []
    made = vars(pack)["Bar"]

    def bar(**options: Any) -> Any:
        bars.append(options)
        return made(**options)

    monkeypatch.setattr(pack, "Bar", bar)
    for number, progress in enumerate((None, True, False)):
        make_loader(db).pack(tmp_path / str(number), progress=progress)
    assert [(b["total"], b["initial"], b["disable"]) for b in bars] == [(7, 0, d) for d in (True, False, True)]
