"""`LoaderStats`: what is added up, what is kept, and the table, the frame, the plot and the text of it."""

from __future__ import annotations

import dataclasses
import math
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure

import dbgnn
from dbgnn.loader.stats import LoaderStats, StepStats, _draw

NAMES = [field.name for field in dataclasses.fields(StepStats)]
SUMMED = NAMES[2:-1]


def step(number: int, **figures: Any) -> StepStats:
    """Step ``number`` of epochs of 100, with figures that differ by name and number."""
    given: dict[str, Any] = {name: (i + 1) * number / 1e3 for i, name in enumerate(NAMES[2:9])}
    counts = {name: (i + 1) * number for i, name in enumerate(NAMES[9:])}
    return StepStats(**{"epoch": number // 100, "step": number % 100, **given, **counts, **figures})


def stats_of(*numbers: int) -> LoaderStats:
    stats = LoaderStats()
    for number in numbers:
        stats.add(step(number))
    return stats


@given(st.lists(st.integers(0, 10**6), max_size=30))
def test_the_total_is_the_sum_and_the_highest_peak(numbers: list[int]) -> None:
    stats = stats_of(*numbers)
    steps = [step(number) for number in numbers]
    for name in SUMMED:
        assert getattr(stats.total, name) == pytest.approx(sum(getattr(s, name) for s in steps)), name
    assert stats.total.peak_rss == max([s.peak_rss for s in steps], default=0)
    assert (stats.total.epoch, stats.total.step) == ((steps[-1].epoch, steps[-1].step) if steps else (0, 0))
    assert list(stats.steps) == steps
    assert stats.num_steps == len(steps)


def test_old_steps_live_on_in_the_total_only() -> None:
    stats = LoaderStats()
    for number in range(10_005):
        stats.add(step(number, nodes=1))
    assert (len(stats.steps), stats.num_steps, stats.total.nodes) == (10_000, 10_005, 10_005)
    assert stats.steps[0] == step(5, nodes=1)
    assert stats.as_table().num_rows == 10_000


def test_rates() -> None:
    stats = LoaderStats()
    assert math.isnan(stats.hit_rate)
    assert math.isnan(stats.read_amplification)
    stats.add(step(1, rows=100, hits=75, bytes_used=1000, bytes_read=3000))
    stats.add(step(2, rows=300, hits=25, bytes_used=3000, bytes_read=3000))
    assert stats.hit_rate == 0.25
    assert stats.read_amplification == 1.5


@pytest.mark.parametrize("numbers", [(), (3,), (1, 2, 5)])
def test_as_table_and_as_frame(numbers: tuple[int, ...]) -> None:
    stats = stats_of(*numbers)
    table = stats.as_table()
    assert table.column_names == NAMES
    assert [str(kind) for kind in table.schema.types] == ["int64"] * 2 + ["double"] * 7 + ["int64"] * 7
    assert [StepStats(**row) for row in table.to_pylist()] == list(stats.steps)
    frame = stats.as_frame()
    assert pa.Table.from_pandas(frame, preserve_index=False).equals(table, check_metadata=False)


def test_adding_numpy_numbers() -> None:
    stats = LoaderStats()
    stats.add(step(1, nodes=np.int64(5), sampling=np.float32(0.5)))
    assert stats.as_table().column("nodes").to_pylist() == [5]
    assert stats.total.sampling == 0.5


def test_the_text_shows_the_last_steps_their_mean_and_the_total() -> None:
    stats = LoaderStats()
    assert str(stats) == "no step was made yet"
    for number in range(40):
        stats.add(step(number, sampling=0.0125, nodes=4000, bytes_used=2_500_000, rows=8, hits=2, bytes_read=5_000_000))
    lines = str(stats).splitlines()
    names = lines[0].split()
    times = "sampling grouping relabelling features scatter waiting whole"
    assert names == f"epoch step {times} nodes edges rows hits used read peak".split()
    column = lines[0].index("sampling") + len("sampling")
    assert {len(line) for line in lines[:12]} == {len(lines[0])}
    assert max(map(len, lines)) <= 160
    assert [line.split()[1] for line in lines[2:12]] == [str(n) for n in range(30, 40)]
    assert lines[2][:column].endswith(" 12.5")
    mean, total = (dict(zip(names[1:], line.split(), strict=True)) for line in lines[13:15])
    assert (mean["step"], mean["sampling"], mean["nodes"], mean["used"]) == ("mean", "12.5", "4,000", "2.5")
    assert (total["step"], total["sampling"], total["nodes"], total["used"]) == ("total/1000", "0.5", "160", "0.1")
    assert lines[-1] == "40 steps; 25.0% of rows hit; 2.00 bytes read per used"
    assert repr(stats) == f"dbgnn.LoaderStats(40 steps, {stats.total.seconds:.3f} s)"


@pytest.mark.parametrize(("suffix", "magic"), [(".png", b"\x89PNG"), (".svg", b"<?xml"), (".PDF", b"%PDF")])
@pytest.mark.parametrize("steps", [1, 40, 2500])
def test_plot(tmp_path: Path, suffix: str, magic: bytes, steps: int) -> None:
    path = tmp_path / f"steps{suffix}"
    stats_of(*range(steps)).plot(path)
    assert path.read_bytes().startswith(magic)
    stats_of(*range(steps)).plot(str(path))  # written over


def drawn_by(axes: Any, stats: LoaderStats, first: int) -> list[Any]:
    """What `plot` draws: per part values, edges and baseline."""
    _draw(axes, list(stats.steps), first)
    return [patch.get_data() for patch in axes.patches]


def test_the_plot_stacks_the_work_and_names_every_part(tmp_path: Path) -> None:
    stats = stats_of(*range(1, 41))
    stats.plot(tmp_path / "steps.svg")
    text = (tmp_path / "steps.svg").read_text()
    parts = ["sampling", "grouping", "relabelling", "features", "scatter"]
    assert all(f"<!-- {label} -->" in text for label in [*parts, "waiting", "whole step", "step", "ms"])

    *work, waiting, whole = drawn_by(Figure().add_subplot(), stats, first=7)
    assert len(work) == len(parts)
    below = np.zeros(40)
    for part, drawn in zip(parts, work, strict=True):
        assert drawn.baseline == pytest.approx(below)
        below = below + [getattr(s, part) * 1e3 for s in stats.steps]
        assert drawn.values == pytest.approx(below)
    assert waiting.values == pytest.approx([s.waiting * 1e3 for s in stats.steps])
    assert whole.values == pytest.approx([s.seconds * 1e3 for s in stats.steps])
    assert (whole.edges[0], whole.edges[-1]) == (6.5, 46.5)


def test_a_plot_of_many_steps_shows_means() -> None:
    stats = stats_of(*range(2500))
    axes = Figure().add_subplot()
    sampling, *_ = drawn_by(axes, stats, first=0)
    times = [s.sampling * 1e3 for s in stats.steps]
    assert sampling.values == pytest.approx([np.mean(times[i : i + 3]) for i in range(0, 2500, 3)])
    assert sampling.edges[-2:] == pytest.approx([2498.5, 2499.5])  # one is left over
    assert axes.get_xlabel() == "step (means of 3)"


def test_a_plot_of_nothing_or_of_no_known_kind(tmp_path: Path) -> None:
    with pytest.raises(dbgnn.DbgnnError, match="iterate over the loader first"):
        LoaderStats().plot(tmp_path / "steps.png")
    for name in ("steps.docx", "steps"):
        with pytest.raises(dbgnn.DbgnnError, match=rf"\.png.*\.svg.*{name}"):
            stats_of(1).plot(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_without_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("pandas", "matplotlib", "matplotlib.figure"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(dbgnn.DbgnnError, match=r"as_frame\(\) needs pandas.*pip install 'dbgnn\[plot\]'"):
        stats_of(1).as_frame()
    with pytest.raises(dbgnn.DbgnnError, match=r"plot\(\) needs matplotlib.*pip install 'dbgnn\[plot\]'"):
        stats_of(1).plot(tmp_path / "steps.png")
    assert stats_of(1).as_table().num_rows == 1


def test_it_is_cheap_enough_to_be_always_on() -> None:
    stats, one = LoaderStats(), step(1)
    begun = time.thread_time()
    for _ in range(10_000):
        stats.add(one)
    assert (time.thread_time() - begun) / 10_000 < 50e-6  # 2 µs on a quiet machine
