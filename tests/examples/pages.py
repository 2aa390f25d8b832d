"""The Python blocks of Markdown pages, and how tests run them.

A block opens with ```` ```python ````. One that cannot run opens with ```` ```python no-run ````, and an HTML comment before it
says why. Blocks of a page run in their order in one namespace.
"""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dbgnn

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
DOCS = sorted((ROOT / "docs").rglob("*.md"))

_BLOCK = re.compile(
    r"^(?P<indent>[ ]*)```python[ ]*(?P<how>[^\n]*)\n(?P<code>.*?)^(?P=indent)```[ ]*$", re.DOTALL | re.MULTILINE
)
_REASON = re.compile(r"<!--\s*\w.*-->\s*\Z", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Block:
    """One Python block: its code, the page's line it begins on, and whether it is run."""

    code: str
    page: Path
    line: int
    runs: bool


def blocks(page: Path) -> list[Block]:
    """Return the Python blocks of a page in their order; a mark that means nothing here is an error."""
    text = page.read_text(encoding="utf-8")
    found = []
    for match in _BLOCK.finditer(text):
        line = text.count("\n", 0, match.start()) + 1
        how = match["how"].strip()
        if how not in {"", "no-run"}:
            raise ValueError(f"{page.name}:{line}: a Python block is marked {how!r}; only 'no-run' is known")
        if how and not _REASON.search(text[: match.start()]):
            raise ValueError(f"{page.name}:{line}: a block that does not run needs an HTML comment before it that says why")
        found.append(Block(textwrap.dedent(match["code"]), page, line + 1, not how))
    return found


def run(page_or_blocks: Path | list[Block], scope: dict[str, Any] | None = None) -> dict[str, Any]:
    """Run blocks in one namespace and return it; databases that they leave open stay open."""
    scope = {"__name__": "page"} if scope is None else scope
    for block in blocks(page_or_blocks) if isinstance(page_or_blocks, Path) else page_or_blocks:
        if block.runs:  # the empty lines make a traceback show the line of the page
            exec(compile("\n" * (block.line - 1) + block.code, str(block.page), "exec"), scope)
    return scope


def close(scope: dict[str, Any]) -> None:
    """Close the databases that blocks left open."""
    for value in scope.values():
        if isinstance(value, dbgnn.Database):
            value.close()
