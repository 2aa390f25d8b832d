"""The README's Python runs as it stands there: the tables first, then the loader over them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from tests.examples import pages


def write_csv_files(rng: np.random.Generator) -> None:
    """Write users.csv, movies.csv and ratings.csv into the current folder."""
    users = [
        f"{1000 + 7 * i},{age},{job},{age % 2}"
        for i, (age, job) in enumerate(zip(rng.integers(18, 70, 50), "abcab" * 10, strict=True))
    ]
    movies = [f'm{i},"Movie, {i}",{genre}' for i, genre in enumerate(["drama", "drama|action", "comedy"] * 5)]
    ratings = [
        f"{1000 + 7 * u},m{m},{stars}" for u, m, stars in zip(*(rng.integers(0, n, 400) for n in (50, 15, 6)), strict=True)
    ]
    for name, header, rows in (
        ("users", "user_id,age,job,label", users),
        ("movies", "movie_id,title,genres", movies),
        ("ratings", "user_id,movie_id,stars", ratings),
    ):
        Path(f"{name}.csv").write_text("\n".join([header, *rows]) + "\n")


def test_the_readme_s_python_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    papers, citations = 300, 2000
    year = rng.integers(2010, 2022, papers, dtype=np.int32)
    edge_index = rng.integers(0, papers, (2, citations))
    arrays: dict[str, npt.NDArray[Any]] = {
        "ids": np.arange(papers),
        "x": rng.standard_normal((papers, 128), dtype=np.float32),
        "year": year,
        "y": rng.integers(0, 5, papers),
        "edge_index": edge_index,
    }
    for name, array in arrays.items():
        np.save(f"{name}.npy", array)

    tables, five_lines, files, memory = pages.blocks(pages.README)
    scope = pages.run([tables])
    shown = capsys.readouterr().out
    assert "float32  [300, 128]" in shown
    scope["db"].close()

    write_csv_files(rng)
    pages.run([files])

    pages.run([five_lines], scope)
    with scope["db"]:
        pages.run([memory], scope)
        assert scope["db"].sql("SELECT count(*), count(embedding) FROM paper").fetchall() == [
            (papers, len(scope["data"]["paper"].id))
        ]
        seeds = torch.cat([batch["paper"].n_id[: batch["paper"].batch_size] for batch in scope["loader"]])
        assert sorted(seeds.tolist()) == np.flatnonzero(year < 2018).tolist()
        batch = scope["batch"]
        source, destination = batch["paper", "cites", "paper"].edge_index
        pairs = set(zip(*edge_index.tolist(), strict=True))
        sampled = zip(batch["paper"].n_id[source].tolist(), batch["paper"].n_id[destination].tolist(), strict=True)
        assert set(sampled) <= pairs
        assert batch["paper"].x.shape == (len(batch["paper"].n_id), 128)
        assert scope["feature_store"].keys("paper", batch["paper"].n_id).tolist() == batch["paper"].n_id.tolist()
