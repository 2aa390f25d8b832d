"""Every Python block of the pages under docs/ runs, page by page, each in an empty folder."""

from __future__ import annotations

import traceback
from pathlib import Path

import pytest

from tests.examples import pages


@pytest.mark.parametrize("page", pages.DOCS, ids=lambda page: page.name)
def test_the_page_s_python_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    pages.close(pages.run(page))


def written(tmp_path: Path, text: str) -> Path:
    page = tmp_path / "page.md"
    page.write_text(text)
    return page


def test_blocks_share_a_namespace_and_a_traceback_shows_the_page_s_line(tmp_path: Path) -> None:
    page = written(
        tmp_path,
        "Text.\n\n```python\na = 1\n```\n\n```\nno python\n```\n\n- In a list:\n\n  ```python\n  b = a\n  1 / 0\n  ```\n",
    )
    scope: dict[str, object] = {}
    with pytest.raises(ZeroDivisionError) as caught:
        pages.run(page, scope)
    assert scope["b"] == 1
    last = traceback.extract_tb(caught.value.__traceback__)[-1]
    assert (last.filename, last.lineno) == (str(page), 15)


def test_a_block_is_left_out_only_with_a_reason(tmp_path: Path) -> None:
    page = written(tmp_path, "<!-- It downloads 50 GB. -->\n```python no-run\n1 / 0\n```\n")
    assert "__name__" in pages.run(page)
    with pytest.raises(ValueError, match=r"page\.md:1: a block that does not run needs an HTML comment"):
        pages.blocks(written(tmp_path, "```python no-run\n1 / 0\n```\n"))
    with pytest.raises(ValueError, match=r"page\.md:3: a Python block is marked 'norun'"):
        pages.blocks(written(tmp_path, "<!-- Why. -->\n\n```python norun\n1 / 0\n```\n"))
