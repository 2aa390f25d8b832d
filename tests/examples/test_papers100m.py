"""`examples/papers100m.py` on files laid out as OGB's are, and on the graph that it makes itself."""

from __future__ import annotations

import gzip
import importlib.util
import math
import re
import sys
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any

import duckdb
import numpy as np
import pytest
import torch

from tests.examples.test_examples import ROOT, run_example

Arrays = dict[str, Any]

COLUMNS = ("time per step (s)", "training (s)", "CPU-to-GPU copy (s)", "in SQL (s)", "waiting for batches (s)", "memory (GiB)")


@pytest.fixture(scope="module")
def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("papers100m", ROOT / "examples" / "papers100m.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["papers100m"] = module  # where dataclasses look their annotations up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def ogb() -> Arrays:
    """The arrays in OGB's archives, with their dtypes and shapes; of 600 papers 90 have a label."""
    rng = np.random.default_rng(0)
    papers, citations = 600, 9_000
    label = np.full((papers, 1), np.nan, dtype=np.float32)
    label[:90, 0] = rng.integers(0, 172, 90)
    return {
        "edge_index": rng.integers(0, papers, (2, citations)),
        "num_nodes_list": np.array([papers]),
        "num_edges_list": np.array([citations]),
        "node_feat": rng.standard_normal((papers, 128), dtype=np.float32),
        "node_year": rng.integers(1990, 2020, (papers, 1)),
        "node_label": label,
    }


@pytest.fixture
def folder(ogb: Arrays, tmp_path: Path) -> Path:
    """The folder papers100M-bin."""
    folder = tmp_path / "papers100M-bin"
    (folder / "raw").mkdir(parents=True)
    (folder / "split" / "time").mkdir(parents=True)
    np.savez_compressed(folder / "raw" / "data.npz", **{k: v for k, v in ogb.items() if k != "node_label"})
    np.savez_compressed(folder / "raw" / "node-label.npz", node_label=ogb["node_label"])
    for part, ids in {"train": range(60), "valid": range(60, 70), "test": range(70, 90)}.items():
        with gzip.open(folder / "split" / "time" / f"{part}.csv.gz", "wt") as file:
            file.writelines(f"{i}\n" for i in ids)
    return folder


def printed_table(printed: str) -> dict[str, float]:
    """The columns of the table, by name."""
    names, _, values = ([c.strip() for c in line.split("|")[1:-1]] for line in printed.splitlines() if line.startswith("|"))
    return dict(zip(names, map(float, values), strict=True))


def losses(printed: str) -> list[float]:
    return [float(loss) for loss in re.findall(r"^step .* loss (\S+)", printed, re.MULTILINE)]


def test_a_generated_graph_trains_and_prints_every_column_of_the_table() -> None:
    printed = run_example("papers100m.py", "--scale", "1/20000", "--steps", "3")
    assert "5,553 papers, 80,784 citations" in printed
    assert "5,603,044 parameters" in printed
    found = losses(printed)
    assert len(found) == 3
    assert found[2] < found[0] < 2 * math.log(172)
    table = printed_table(printed)
    assert set(COLUMNS) <= set(table)
    assert 0 < table["training (s)"] <= table["time per step (s)"]
    assert table["in SQL (s)"] > 0
    assert 0.05 < table["memory (GiB)"] < 16
    assert re.search(r"validation accuracy [01]\.\d{4} on 6 papers", printed)


def test_the_files_of_ogb_become_the_tables_and_are_used_again(folder: Path, ogb: Arrays, tmp_path: Path) -> None:
    database = tmp_path / "kept" / "papers.duckdb"
    work = tmp_path / "kept" / "papers.duckdb.files"
    work.mkdir(parents=True)
    (work / "node_feat.part").write_bytes(b"a run that was killed while unpacking")
    np.save(work / "edge_index.npy", ogb["edge_index"][:, :8])  # of another graph
    (work / "graph.duckdb").write_bytes(b"and one while loading")
    small = ("--database", database, "--hidden", "32", "--batch-size", "25")

    printed = run_example("papers100m.py", folder, "--steps", "2", *small)
    assert "600 papers, 9,000 citations" in printed
    assert "3 steps an epoch" in printed
    assert all(map(math.isfinite, losses(printed)))
    assert len(losses(printed)) == 2
    assert [path.name for path in database.parent.iterdir()] == ["papers.duckdb"]
    with duckdb.connect(database, read_only=True) as con:
        paper = con.sql("SELECT id, x, year, y FROM paper ORDER BY rowid").fetchnumpy()
        np.testing.assert_array_equal(paper["id"], np.arange(600))
        np.testing.assert_array_equal(np.stack(list(paper["x"])), ogb["node_feat"])
        np.testing.assert_array_equal(paper["year"], ogb["node_year"][:, 0])
        np.testing.assert_array_equal(paper["y"][:90], ogb["node_label"][:90, 0])
        assert set(paper["y"][90:]) == {-1}
        cites = con.sql("SELECT src, dst FROM cites ORDER BY rowid").fetchnumpy()
        np.testing.assert_array_equal([cites["src"], cites["dst"]], ogb["edge_index"])
        parts = con.sql("SELECT part, min(id), max(id), count(*) FROM split GROUP BY part ORDER BY min(id)").fetchall()
        assert parts == [("train", 0, 59, 60), ("valid", 60, 69, 10), ("test", 70, 89, 20)]

    written = database.stat().st_mtime_ns
    loading = ("--plan", "join", "--super-batch", "2", "--prefetch", "0", "--cache-bytes", "10240")
    printed = run_example("papers100m.py", *small, *loading)
    assert "is there already: 600 papers, 9,000 citations" in printed
    assert "3 steps an epoch" in printed
    assert database.stat().st_mtime_ns == written


def test_a_file_of_another_scale_is_refused(folder: Path, example: ModuleType, tmp_path: Path) -> None:
    database = tmp_path / "papers.duckdb"
    example.prepare(database, folder, Fraction(1), None)
    with pytest.raises(AssertionError, match=r"holds 600 papers, which is not --scale 1/1000; name another file"):
        run_example("papers100m.py", "--scale", "1/1000", "--database", database)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--scale", "2"], "--scale 2 is not above 0 and at most 1"),
        (["{folder}", "--scale", "1/10"], "--scale is for the generated graph"),
        (["{folder}/raw"], "has no folders raw and split/time; name OGB's folder papers100M-bin"),
    ],
)
def test_arguments_that_do_not_go_together_are_refused(
    given: list[str], said: str, folder: Path, example: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    parser = example.arguments()
    with pytest.raises(SystemExit):
        example.check(parser, parser.parse_args([text.format(folder=folder) for text in given]))
    assert said in capsys.readouterr().err


def test_npy_files_that_are_unpacked_already_are_used_where_they_lie(folder: Path, ogb: Arrays, example: ModuleType) -> None:
    raw, work = folder / "raw", folder / "work"
    work.mkdir()
    for name in ("node_feat", "edge_index"):
        np.save(raw / f"{name}.npy", ogb[name])
    packed = folder / "split" / "time" / "test.csv.gz"
    (packed.parent / "test.csv").write_bytes(gzip.decompress(packed.read_bytes()))
    packed.unlink()
    files = example.ogb_files(folder, work)
    assert (files.columns[1], files.edge_index) == (raw / "node_feat.npy", raw / "edge_index.npy")
    assert [path.name for path in files.split.values()] == ["train.csv.gz", "valid.csv.gz", "test.csv"]
    assert {path.name for path in work.iterdir()} == {"ids.npy", "year.npy", "y.npy", "node_year.npy", "node_label.npy"}


def test_a_generated_graph_has_the_shares_of_the_real_one(
    example: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(example, "CHUNK", 1000)  # several chunks, the last one shorter
    files = example.generated_files(Fraction(1, 20_000), tmp_path)
    ids, x, year, y = (np.load(path) for path in files.columns)
    np.testing.assert_array_equal(ids, np.arange(5553))
    assert (x.shape, x.dtype) == ((5553, 128), np.float32)
    assert len(year) == 5553
    split = {part: np.loadtxt(path, dtype=np.int64) for part, path in files.split.items()}
    assert {part: len(ids) for part, ids in split.items()} == {"train": 60, "valid": 6, "test": 11}
    np.testing.assert_array_equal(np.sort(np.concatenate(list(split.values()))), np.flatnonzero(y >= 0))
    assert set(y[y < 0]) == {-1}

    edges = np.load(files.edge_index)
    assert edges.shape == (80_784, 2)
    assert 0 <= edges.min() <= edges.max() < 5553
    near = edges[:, 0] % 172 == edges[:, 1] % 172
    assert near.mean() == pytest.approx(0.75 + 0.25 / 172, abs=0.01)
    for end in edges.T:  # hubs, and not the lowest ids
        degrees = np.bincount(end, minlength=5553)
        assert degrees.max() > 20 * degrees.mean()
        assert degrees[:50].sum() < 0.05 * len(edges)


def test_the_model_computes_for_the_seeds_what_it_would_on_the_whole_sample(example: ModuleType) -> None:
    rng = np.random.default_rng(0)
    nodes, edges = [3, 5, 8, 13], [6, 12, 24]
    ends = np.cumsum(nodes)
    hops = [
        np.stack([rng.integers(0, ends[hop + 1], n), rng.integers(0 if hop == 0 else ends[hop - 1], ends[hop], n)])
        for hop, n in enumerate(edges)
    ]
    edge_index = torch.from_numpy(np.concatenate(hops, axis=1))
    x = torch.from_numpy(rng.standard_normal((ends[-1], 7)))
    torch.manual_seed(0)
    model = example.GraphSAGE(7, 11, 4).double()
    for norm in model.norms:
        torch.nn.init.normal_(norm.running_mean)
    model.eval()
    outputs, h = [x], x
    for conv, norm, residual in zip(model.convs, model.norms, model.residuals, strict=True):
        out = norm(conv(h, edge_index)).relu()
        outputs.append(out)
        h = out + residual(h)
    expected = model.mlp(torch.cat(outputs, dim=1))[:3]
    torch.testing.assert_close(model(x, edge_index, nodes, edges), expected)
