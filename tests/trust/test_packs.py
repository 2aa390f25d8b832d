"""Packs of somebody else's making: a `DataError` that names file and mini-batch, or batches that cannot mislead a model.

The checksums are recomputed after every change, as whoever means harm does. ``DBGNN_MUTATIONS`` says how many are tried.
"""

from __future__ import annotations

import json
import random
import re
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
import xxhash
from torch_geometric.data import Data, HeteroData
from torch_geometric.nn import SAGEConv

import dbgnn
from dbgnn.packs import pack, pack_format
from dbgnn.packs.pack_check import Claims
from dbgnn.packs.pack_files import Manifest, StoredFile, part_path
from tests.trust import irregular
from tests.trust.mutations import CASES, bounded_memory, change_bytes, change_json, nested

CITES = ("paper", "cites", "paper")


@pytest.fixture(scope="module")
def packs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A pack with types and one without, of two parts each."""
    path = tmp_path_factory.mktemp("packs")
    with dbgnn.connect(path / "g.duckdb", progress=False) as db, pytest.MonkeyPatch.context() as patch:
        patch.setattr(pack, "PART_BYTES", 3_000)
        db.execute("CREATE TABLE paper AS SELECT i AS id, [i, -i]::FLOAT[2] AS x, i % 2 = 0 AS flag FROM range(60) AS t(i)")
        db.execute("CREATE TABLE cites AS SELECT i % 60 AS src, i * 7 % 60 AS dst, i / 2 AS w FROM range(200) AS t(i)")
        db.execute(
            """CREATE PROPERTY GRAPH g VERTEX TABLES (paper KEY (id)) EDGE TABLES (
              cites SOURCE KEY (src) REFERENCES paper (id) DESTINATION KEY (dst) REFERENCES paper (id))"""
        )
        for homogeneous in (False, True):
            stores = db.get_torch_geometric_remote_backend(homogeneous=homogeneous)
            seeds: Any = torch.arange(20) if homogeneous else ("paper", torch.arange(20))
            loader = dbgnn.NeighborLoader(stores, [2, 2], input_nodes=seeds, batch_size=5, disjoint=homogeneous)
            loader.pack(path / str(homogeneous))
    return [path / "False", path / "True"]


@pytest.fixture
def copy(packs: list[Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(packs[1], tmp_path / "pack"))


def seal(folder: Path, content: dict[str, Any] | None = None) -> None:
    """Give the manifest the sizes and checksums of the files as they are now."""
    path = folder / "pack.json"
    if content is None:
        content = json.loads(path.read_bytes())
        for number, part in enumerate(content["parts"]):
            data = part_path(folder, number).read_bytes()
            part |= {"bytes": len(data), "xxh3_64": xxhash.xxh3_64_hexdigest(data)}
    content = {name: value for name, value in content.items() if name != "xxh3_64"}
    checksum = xxhash.xxh3_64_hexdigest(json.dumps(content, indent=1).encode())
    path.write_bytes(json.dumps(content | {"xxh3_64": checksum}, indent=1).encode() + b"\n")


def forge(folder: Path, batches: Sequence[Any], **said: Any) -> Path:
    """Make a pack of any batches, without a look at what they hold."""
    folder.mkdir()
    with pytest.MonkeyPatch.context() as patch, part_path(folder, 0).open("w+b") as file:
        patch.setattr(pack_format, "check_batch", lambda batch, claims: None)
        patch.setattr(pack_format, "check_bool", lambda values: None)
        writer = pack_format.PartWriter()
        count = writer.write(file, iter(batches), first=0, until=2**40, claims=Claims(), progress=lambda: None)
        part = StoredFile.of(file, count)
    Manifest(said, (count,), StoredFile(count, 1, "0" * 16), (part,)).write(folder)
    return folder


def replay(folder: Path) -> list[Any]:
    """Read every byte of every tensor, and do what models do with them."""
    loader = dbgnn.PackedLoader(folder)
    found = [batch for _ in range(min(loader.num_epochs, 3)) for batch in loader]
    for batch in found:
        for store in batch.stores:
            for value in store.values():
                if isinstance(value, torch.Tensor) and value.numel():
                    value.reshape(-1).contiguous().view(torch.uint8).sum()
        paper, cites = (batch, batch) if isinstance(batch, Data) else (batch["paper"], batch[CITES])
        if all(isinstance(v, torch.Tensor) for v in (paper.get("x"), cites.get("edge_index"))) and paper.x.dim() == 2:
            gathered = paper.x[cites.edge_index]  # raises where an end is beyond the rows
            assert gathered.shape[:2] == cites.edge_index.shape
    return found


# -- what is said, one by one --------------------------------------------------------------------------


def honest() -> Data:
    batch = Data(
        x=torch.ones(4, 2), edge_index=torch.tensor([[0, 3], [1, 2]]), n_id=torch.arange(4), e_id=torch.arange(2), num_nodes=4
    )
    batch.update(
        {"flag": torch.tensor([True, False, True, False]), "w": torch.ones(2), "batch": torch.zeros(4, dtype=torch.int64)}
    )
    return batch


#: What the manifest says of `honest`.
SAID = {
    "keys of 'paper'": [9],
    "columns of 'paper'": [["x", "float32", 2], ["flag", "bool"]],
    f"keys of {CITES!r}": [7],
    f"columns of {CITES!r}": [["w", "float32"]],
}

LIES: list[tuple[str, Any, str]] = [
    ("edge_index", torch.tensor([[0, 4], [1, 2]]), "edges whose source is 0 to 4, and there are 4"),
    ("edge_index", torch.tensor([[0, 3], [1, -1]]), "edges whose destination is -1 to 1"),
    ("edge_index", torch.tensor([[0, 2**62], [1, 2]]), "edges whose source"),
    ("edge_index", torch.tensor([[0], [1], [2]]), r"edge_index of shape \[3, 1\]"),
    ("edge_index", torch.tensor([0, 1]), "edge_index that is no tensor"),
    ("edge_index", torch.zeros(2, 2), "edge_index that is no tensor"),
    ("edge_index", [[0, 3], [1, 2]], "edge_index that is no tensor"),
    ("x", torch.ones(3, 2), "different numbers of nodes"),
    ("flag", torch.tensor([True]), "different numbers of nodes"),
    ("n_id", torch.arange(3), "different numbers of nodes"),
    ("n_id", torch.tensor([0, 1, 2, 9]), "'n_id' that is 0 to 9, and there are 9"),
    ("n_id", torch.tensor([0, 1, 2, -9]), "'n_id' that is -9 to 2"),
    ("n_id", torch.ones(4), "'n_id' of torch.float32"),
    ("e_id", torch.arange(1), r"\[1\] values of 'e_id' for 2 edges"),
    ("e_id", torch.tensor([0, 7]), "'e_id' that is 0 to 7, and there are 7"),
    ("w", torch.ones(3), r"\[3\] values of 'w' for 2 edges"),
    ("num_nodes", 3, "different numbers of nodes"),
    ("num_nodes", -1, "-1 for num_nodes"),
    ("num_nodes", "4", "'4' for num_nodes"),
    ("batch", torch.tensor([0, 0, 0, 2**40]), "'batch' that is 0 to"),
    ("batch", torch.zeros(3, dtype=torch.int64), "3 values of batch for 4 nodes"),
    ("edge_label_index", torch.tensor([[0, 4], [1, 2]]), "seed links whose source is 0 to 4, and there are 4"),
    ("edge_label_index", torch.tensor([[0, 3], [1, -1]]), "seed links whose destination is -1 to 1"),
    ("edge_label_index", torch.tensor([0, 1]), r"edge_label_index of shape \[2\]"),
    ("src_index", torch.tensor([0, 4]), "'src_index' that is 0 to 4"),
    ("dst_neg_index", torch.tensor([[0, 1], [2, 2**40]]), "'dst_neg_index' that is 0 to"),
    ("dst_pos_index", torch.ones(2), "'dst_pos_index' that is of torch.float32"),
]


def test_the_batch_that_the_lies_are_about_is_read(tmp_path: Path) -> None:
    assert len(replay(forge(tmp_path / "pack", [honest()] * 2, **SAID))) == 2


@pytest.mark.parametrize(("name", "value", "message"), LIES)
@pytest.mark.parametrize("typed", [False, True])
def test_a_batch_that_would_mislead_a_model_is_refused(
    tmp_path: Path, name: str, value: Any, message: str, typed: bool
) -> None:
    batch = honest()
    batch[name] = value
    given: Any = batch
    if typed:
        given = HeteroData()
        for key, item in batch.to_dict().items():
            given[CITES if key in ("edge_index", "e_id", "w", "edge_label_index") else "paper"][key] = item
    folder = forge(tmp_path / "pack", [honest(), given], **SAID)
    with pytest.raises(dbgnn.DataError, match=rf"pack' is damaged: part-00000\.arrow holds a mini-batch 1 .*{message}"):
        next(iter(dbgnn.PackedLoader(folder)))  # before the first one, which is honest


def test_what_cannot_be_read_again_is_not_packed(copy: Path, tmp_path: Path) -> None:
    for name, value, message in LIES:
        batch = honest()
        batch[name] = value
        with (tmp_path / "part").open("w+b") as file, pytest.raises(dbgnn.DataError, match=message):
            pack_format.PartWriter().write(file, iter([batch]), first=0, until=1, claims=Claims.of(SAID), progress=lambda: None)
    for value, message in ((nested(1, 40), "more than 32 lists"), (list(range(300_000)), "values, more than 262,144")):
        batch = honest()
        batch.thing = value
        with (tmp_path / "part").open("w+b") as file, pytest.raises(dbgnn.DataError, match=message):
            pack_format.PartWriter().write(file, iter([batch]), first=0, until=1, claims=Claims(), progress=lambda: None)


def test_a_truth_value_is_0_or_1(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def change(description: Any) -> Any:
        [said] = [item for name, item in description[1][0][1]["dict"] if name == "flag"]
        said["dtype"] = "bool"
        return description

    batch = honest()
    batch.flag = torch.tensor([0, 1, 2, 0], dtype=torch.uint8)
    with pytest.raises(dbgnn.DataError, match=r"part-00000\.arrow holds a mini-batch 0 .* truth value 2, which is neither"):
        replay(described(monkeypatch, tmp_path, change, batch))


def test_edges_between_nodes_that_nobody_counts_are_refused(tmp_path: Path) -> None:
    bare = Data(edge_index=torch.tensor([[0, 3], [1, 2]]), feature=torch.ones(2, 2))
    typed = HeteroData()
    typed[CITES].edge_index = bare.edge_index
    typed["paper"].feature = bare.feature
    for number, batch in enumerate((bare, typed)):
        with pytest.raises(dbgnn.DataError, match=r"mini-batch 0 .*has edges between nodes whose number is not said"):
            replay(forge(tmp_path / str(number), [batch]))


DESCRIPTIONS: list[tuple[Callable[[Any], Any], str]] = [
    (lambda d: {}, "holds {}, which is no value"),
    (lambda d: 7, "has 7 tensors and names 0"),
    (lambda d: ["Custom", d[1]], "is described as"),
    (lambda d: ["Data", d[1][0]], "is Data of"),
    (lambda d: ["Data", []], "has 7 tensors and names 0"),
    (lambda d: ["Data", d[1] * 2], "names the tensor 1 where"),
    (lambda d: ["Data", [[None, d[1][0][1], {"dict": [["_parent", 1]]}]]], "'_parent' where private attributes are"),
    (lambda d: ["Data", [[None, d[1][0][1], {"dict": [["__class__", 1]]}]]], "'__class__' where private attributes are"),
    (lambda d: ["Data", [[None, d[1][0][1], {"dict": [["keys", 1]]}]]], "'keys' where private attributes are"),
    (lambda d: ["HeteroData", [["paper", d[1][0][1], {"dict": []}]]], "has the store 'paper' after 0 others"),
    (lambda d: ["HeteroData", [[None, {"dict": []}, {"dict": []}], [7, d[1][0][1], {"dict": []}]]], "has the store 7"),
    (lambda d: ["Data", [[None, {"dict": []}, {"dict": []}]]], "has 7 tensors and names 0"),
    (lambda d: b"[" * 100_000 + b"]" * 100_000, "more than 128 lists"),
    (lambda d: ["Data", nested(1, 200)], "more than 128 lists"),
]

TENSORS: list[tuple[dict[str, Any], str]] = [
    ({"dtype": "object"}, "dtype 'object'"),
    ({"dtype": "Tensor"}, "dtype 'Tensor'"),
    ({"dtype": ["int64"]}, "dtype"),
    ({"shape": [2**62]}, "in 64 bytes"),
    ({"shape": [2**40, 2**40]}, "in 64 bytes"),
    ({"shape": [0, 2**62, 2**62]}, "in 64 bytes"),
    ({"shape": [-4, -2]}, "of the shape"),
    ({"shape": [4.0, 2]}, "of the shape"),
    ({"shape": [True, 8]}, "of the shape"),
    ({"shape": [1] * 100}, "of the shape"),
    ({"shape": [40, 2]}, "in 64 bytes"),
    ({"tensor": 2}, "names the tensor 2 where 1 of 7 should be"),
    ({"tensor": 0}, "names the tensor 0"),
    ({"tensor": -1}, "names the tensor -1"),
    ({"tensor": True}, "names the tensor True"),
    ({"more": 1}, "no value of a batch"),
]


def described(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, change: Callable[[Any], Any], batch: Data | None = None) -> Path:
    """Make a pack of one batch, described otherwise than it is."""
    before = pack_format._describe

    def describe(batch: Any, name: str) -> tuple[bytes, list[Any]]:
        text, tensors = before(batch, name)
        changed = change(json.loads(text))
        return changed if isinstance(changed, bytes) else json.dumps(changed).encode(), tensors

    with monkeypatch.context() as patch:
        patch.setattr(pack_format, "_describe", describe)
        return forge(tmp_path / "pack", [honest() if batch is None else batch])


@pytest.mark.parametrize(("change", "message"), DESCRIPTIONS)
def test_a_description_that_is_none_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, change: Callable[[Any], Any], message: str
) -> None:
    with pytest.raises(dbgnn.DataError, match=rf"part-00000\.arrow holds a mini-batch 0 .*{message}"):
        replay(described(monkeypatch, tmp_path, change))


@pytest.mark.parametrize(("said", "message"), TENSORS)
def test_a_tensor_that_is_not_there_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, said: dict[str, Any], message: str
) -> None:
    def change(description: Any) -> Any:
        description[1][0][1]["dict"][0][1] |= said
        return description

    with pytest.raises(dbgnn.DataError, match=rf"part-00000\.arrow holds a mini-batch 0 .*{message}"):
        replay(described(monkeypatch, tmp_path, change))


# -- files ---------------------------------------------------------------------------------------------


BYTES = pa.large_binary()

ARROW: list[tuple[pa.Table, str | None, str]] = [
    (pa.table({"bytes": pa.array([b"[" + b" " * 2**20], BYTES)}), "zstd", "compressed"),
    (pa.table({"bytes": pa.array([b"[" + b" " * 2**20], BYTES)}), "lz4", "compressed"),
    (pa.table({"bytes": pa.array([b"x"], pa.binary())}), None, "not of bytes"),
    (pa.table({"bytes": pa.array(["x"], pa.large_string())}), None, "not of bytes"),
    (pa.table({"bytes": pa.array([b"x"], BYTES).dictionary_encode()}), None, "dictionaries"),
    (pa.table({"bytes": pa.array([[b"x"]], pa.large_list(BYTES))}), None, "not of bytes"),
    (pa.table({"bytes": pa.array([b"x"], BYTES), "more": pa.array([1])}), None, "another schema"),
    (pa.table({"bytes": pa.array([b"x"], BYTES)}).replace_schema_metadata({"a": "b"}), None, "another schema"),
    (pa.table({"bytes": pa.array([None], BYTES)}), None, "not of bytes"),
    (pa.table({"bytes": pa.array([], BYTES)}), None, "has 0 rows"),
    (pa.table({"bytes": pa.array([b"[1, 2"], BYTES)}), None, "mini-batch 0 that is none"),
]


@pytest.mark.parametrize(("table", "compression", "message"), ARROW, ids=lambda value: str(value)[:40])
def test_another_arrow_file_is_no_part(copy: Path, table: pa.Table, compression: str | None, message: str) -> None:
    if "not of bytes" not in message and table.schema.metadata is None and len(table.schema) == 1 and "dict" not in message:
        table = table.cast(pack_format.SCHEMA)
    count = json.loads((copy / "pack.json").read_bytes())["parts"][0]["batches"]
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with pa.ipc.new_file(str(copy / "part-00000.arrow"), table.schema, options=options) as writer:
        for _ in range(count):
            writer.write_batch(pa.RecordBatch.from_arrays([c.combine_chunks() for c in table.columns], schema=table.schema))
    seal(copy)
    with pytest.raises(dbgnn.DataError, match=rf"part-00000\.arrow .*{message}"):
        next(iter(dbgnn.PackedLoader(copy)))


def test_the_number_of_batches_is_that_of_the_manifest(copy: Path) -> None:
    content = json.loads((copy / "pack.json").read_bytes())
    content["parts"][0]["batches"] -= 1
    for item in (content["order"]["batches"], content["epochs"][0]):
        assert item == 4
    content["order"]["batches"] = content["epochs"][0] = 3
    seal(copy, content)
    with pytest.raises(dbgnn.DataError, match=r"part-00000\.arrow holds \d mini-batches where \d"):
        replay(copy)


MANIFESTS: list[tuple[str, Any]] = [
    ("epochs", []),
    ("epochs", [-4, 8]),
    ("epochs", [4.0]),
    ("epochs", [True] * 4),
    ("epochs", 4),
    ("epochs", [2**63]),
    ("epochs", [3]),
    ("parts", None),
    ("parts", ["../../part-00000.arrow"]),
    ("parts", [{"batches": 4, "bytes": 1, "xxh3_64": "0" * 16, "path": "/etc/passwd"}]),
    ("parts", [{"batches": 0, "bytes": 1, "xxh3_64": "0" * 16}]),
    ("parts", [{"batches": -1, "bytes": 1, "xxh3_64": "0" * 16}]),
    ("parts", [{"batches": 2**70, "bytes": 1, "xxh3_64": "0" * 16}]),
    ("parts", [{"batches": 1, "bytes": True, "xxh3_64": "0" * 16}]),
    ("parts", [{"batches": 1, "bytes": 1, "xxh3_64": None}]),
    ("order", None),
    ("order", {"batches": 3, "bytes": 1, "xxh3_64": "0" * 16}),
    ("loader", []),
    ("loader", {"columns of 'paper'": 3}),
    ("loader", {"columns of 'paper'": [[]]}),
    ("loader", {"keys of 'paper'": [-1]}),
    ("loader", {"keys of 'paper'": [2.5]}),
    ("more", 1),
    ("version", True),
    ("version", None),
    ("version", "1"),
]


@pytest.mark.parametrize(("name", "value"), MANIFESTS)
def test_a_manifest_that_is_none_is_refused_at_once(copy: Path, name: str, value: Any) -> None:
    seal(copy, json.loads((copy / "pack.json").read_bytes()) | {name: value})
    with pytest.raises(dbgnn.DataError, match=r"pack\.json"):
        dbgnn.PackedLoader(copy)


@pytest.mark.parametrize("missing", ["epochs", "loader", "order", "parts", "version"])
def test_a_manifest_that_lacks_something_is_refused(copy: Path, missing: str) -> None:
    content = json.loads((copy / "pack.json").read_bytes())
    del content[missing]
    seal(copy, content)
    with pytest.raises(dbgnn.DataError, match=r"pack\.json"):
        dbgnn.PackedLoader(copy)


@pytest.mark.parametrize(
    "text",
    [b"[" * 100_000, b'{"a":' * 50_000, b"\xff\xfe", b"[" + b"0," * 300_000 + b"0]", b"1" * 100_000, b" " * (9 << 20), b"{}"],
    ids=lambda text: f"{text[:8]!r} {len(text)}",
)
def test_text_that_would_take_memory_or_depth_is_refused(copy: Path, text: bytes) -> None:
    (copy / "pack.json").write_bytes(text)
    with pytest.raises(dbgnn.DataError, match=r"pack\.json"):
        dbgnn.PackedLoader(copy)


@pytest.mark.parametrize("name", ["pack.json", "part-00000.arrow"])
@pytest.mark.parametrize("what", ["link", *irregular.KINDS])
def test_only_regular_files_of_the_folder_are_read(copy: Path, tmp_path: Path, name: str, what: str) -> None:
    path = copy / name
    path.rename(tmp_path / "moved")
    if what == "link":
        path.symlink_to(tmp_path / "moved")
    else:
        irregular.make(path, what)
    says = "is a symbolic link, .*Copy the folder" if path.is_symlink() else r"cannot be read \(it is .*not a regular file"
    with pytest.raises(dbgnn.DataError, match=f"{name}'? {says}"):
        dbgnn.PackedLoader(copy)
    if what == "link":
        shutil.copytree(copy, tmp_path / "copied", symlinks=False)
        assert list(dbgnn.PackedLoader(tmp_path / "copied"))


def test_a_part_that_is_replaced_between_two_epochs_is_looked_at_again(copy: Path) -> None:
    loader = dbgnn.PackedLoader(copy)
    list(loader)
    path = copy / "part-00000.arrow"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.unlink()
    path.write_bytes(data)
    with pytest.raises(dbgnn.DataError, match=r"part-00000\.arrow .*checksum"):
        list(loader)


# -- what nobody thought of ----------------------------------------------------------------------------


def change_pack(rng: random.Random, folder: Path, original: dict[str, bytes]) -> None:
    """Change a pack somewhere, and give it checksums that are right."""
    for name, data in original.items():
        (folder / name).write_bytes(data)
    parts = sorted(name for name in original if name.startswith("part"))
    match rng.randrange(10):
        case 0:
            (folder / "pack.json").write_bytes(change_bytes(rng, original["pack.json"]))
            return
        case 1 | 2:
            changed = change_json(rng, json.loads(original["pack.json"]))
            seal(folder, changed if isinstance(changed, dict) else {"format": changed})
            return
        case 3 | 4 | 5:
            name = rng.choice(parts)
            (folder / name).write_bytes(change_description(rng, original[name]))
        case 6 | 7:
            name = rng.choice(parts)
            (folder / name).write_bytes(change_tensor(rng, original[name]))
        case _:
            name = rng.choice(parts)
            (folder / name).write_bytes(change_bytes(rng, original[name]))
    seal(folder)


def change_description(rng: random.Random, data: bytes) -> bytes:
    """Change what describes a mini-batch, so that it fits where it stands."""
    start = rng.choice([found.start() for found in re.finditer(rb'\["(Hetero)?Data"', data)])
    text, end = json.JSONDecoder().raw_decode(data[start:].decode("latin-1"))
    while data[start + end : start + end + 1] == b" ":
        end += 1
    changed = b" " * (end + 1)
    while len(changed) > end:
        with suppress(RecursionError):
            changed = json.dumps(change_json(rng, text)).encode()
    return data[:start] + changed.ljust(end) + data[start + end :]


def change_tensor(rng: random.Random, data: bytes) -> bytes:
    """Overwrite a number of a tensor: they begin at multiples of 64 bytes."""
    at = 64 * rng.randrange(len(data) // 64) + 8 * rng.randrange(8)
    number = rng.choice((-1, 5, 59, 60, 10**6, 2**31, 2**40, 2**62, -(2**63), rng.randrange(2**63)))
    return data[:at] + number.to_bytes(8, "little", signed=True) + data[at + 8 :]


def test_whatever_is_changed_is_an_error_of_ours_or_harmless(packs: list[Path], tmp_path: Path) -> None:
    originals = [{path.name: path.read_bytes() for path in folder.iterdir()} for folder in packs]
    outcomes = {"refused": 0, "read": 0}
    with bounded_memory():
        for case in range(CASES):
            rng = random.Random(case)
            original = rng.choice(originals)
            folder = tmp_path / "pack"
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            change_pack(rng, folder, original)
            begun = time.monotonic()
            try:
                replay(folder)
                outcomes["read"] += 1
            except dbgnn.DataError:
                outcomes["refused"] += 1
            except Exception as error:  # which one it was
                raise AssertionError(f"change {case}") from error
            assert time.monotonic() - begun < 5, case
    assert min(outcomes.values()) > CASES // 50  # neither all nor nothing gets through


def test_an_order_that_was_changed_is_an_error_or_an_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a pack that was begun is continued by: seeds of the loader, and no others."""
    folder = tmp_path / "pack"
    outcomes = {"refused": 0, "packed": 0}
    with dbgnn.connect(progress=False) as db:
        db.execute("CREATE TABLE paper AS SELECT i AS id, [i, -i]::FLOAT[2] AS x FROM range(20) AS t(i)")
        db.execute("CREATE PROPERTY GRAPH g VERTEX TABLES (paper KEY (id))")
        stores = db.get_torch_geometric_remote_backend()
        loader = dbgnn.NeighborLoader(stores, {}, input_nodes=("paper", torch.arange(20)), batch_size=5)

        def stop(*_: Any, **__: Any) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(pack, "_write_parts", stop)
            with pytest.raises(KeyboardInterrupt):
                loader.pack(folder)
        original = {path.name: path.read_bytes() for path in folder.iterdir()}
        assert sorted(original) == ["order.arrow", "pack.json"]
        for case in range(max(15, CASES // 20)):
            rng = random.Random(case)
            shutil.rmtree(folder)
            folder.mkdir()
            data = rng.choice((change_bytes, change_tensor, change_tensor))(rng, original["order.arrow"])
            (folder / "order.arrow").write_bytes(data)
            said = json.loads(original["pack.json"])
            seal(folder, said | {"order": {"batches": 4, "bytes": len(data), "xxh3_64": xxhash.xxh3_64_hexdigest(data)}})
            try:
                loader.pack(folder)
                assert len(list(dbgnn.PackedLoader(folder))) == 4
                outcomes["packed"] += 1
            except dbgnn.DataError as error:
                outcomes["refused"] += 1
                assert re.search(r"order\.arrow|pack\.json", str(error)), case  # noqa: PT017 - which of the two is not known
    assert min(outcomes.values()) > 0


def test_a_model_trains_on_a_replayed_pack(packs: list[Path]) -> None:
    """What the changes above are changes of."""
    model = SAGEConv(2, 3)
    for batch in replay(packs[1]):
        assert model(batch.x, batch.edge_index).shape == (batch.num_nodes, 3)
        assert np.isfinite(batch.x.numpy()).all()
