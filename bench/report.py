"""How the benchmarks of the loader show what they found: a header of versions, Markdown tables, pictures."""

from __future__ import annotations

import importlib.util
import os
import platform
import re
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from usage import total_memory

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: DuckDB's units of `memory_limit`, in lower case.
UNITS = {"b": 1} | {f"{p}b": 1000**n for n, p in enumerate("kmgt", 1)} | {f"{p}ib": 1024**n for n, p in enumerate("kmgt", 1)}


def versions() -> str:
    """Return one line with the versions of everything that takes part."""
    packages = ["dbgnn", "duckdb", "torch", "torch_geometric", *filter(None, [peer()])]
    named = ", ".join(f"{package} {metadata.version(package)}" for package in packages)
    machine = f"{os.cpu_count()} cores, {total_memory() / 1e9:.0f} GB of memory"
    return f"{named}, Python {platform.python_version()}; {machine}" + ("" if peer() else "; no peer: make bench-peers")


def peer() -> str | None:
    """Return the library that PyG would sample with, if one is installed."""
    return next((name for name in ("pyg_lib", "torch_sparse") if importlib.util.find_spec(name)), None)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table; all columns but the first are right-aligned."""
    lines = ["| " + " | ".join(line) + " |" for line in (header, *rows)]
    return "\n".join([lines[0], "|---|" + "---:|" * (len(header) - 1), *lines[1:]])


def publish(text: str, folder: Path | None, name: str, draw: Callable[[Figure], None]) -> None:
    """Print the text; with a folder, write it there as ``name.md``, and what ``draw`` draws as ``name.png``."""
    print(text)
    if folder is None:
        return
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.md").write_text(text + "\n")
    if importlib.util.find_spec("matplotlib") is None:
        print("\nNo picture: matplotlib is not installed (pip install 'dbgnn[plot]').")
        return
    from matplotlib.figure import Figure  # noqa: PLC0415 - an extra

    figure = Figure(figsize=(12, 6), layout="constrained")
    draw(figure)
    figure.savefig(folder / f"{name}.png", dpi=120)


def bytes_of(text: str) -> int:
    """Return the bytes that a size such as "2GB" or "512MiB" stands for."""
    found = re.fullmatch(r"([0-9.]+) *([kmgt]?i?b)", text.strip().lower())
    if found is None or found[2] not in UNITS:
        raise SystemExit(f"{text!r} is no size; write one as 2GB or 512MiB.")
    return int(float(found[1]) * UNITS[found[2]])
