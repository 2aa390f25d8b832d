"""Text made printable: which characters are shown as what, and that every way out of the package goes through it."""

from __future__ import annotations

import ast
import json
import sys
import unicodedata
from pathlib import Path

import pytest

import dbgnn
from dbgnn import errors
from dbgnn.terminal import make_printable, one_line, printable, printable_json

PACKAGE = Path(dbgnn.__file__).parent

#: Characters that Unicode calls format and that are seen: signs below or around numbers, and joiners of hieroglyphs.
VISIBLE = {*range(0x600, 0x606), 0x6DD, 0x70F, 0x890, 0x891, 0x8E2, 0x110BD, 0x110CD, *range(0x13430, 0x13440)}


def test_every_character_that_is_not_seen_is_shown() -> None:
    kinds = ("Cc", "Cf", "Cs", "Zl", "Zp")
    hidden = [chr(i) for i in range(sys.maxunicode + 1) if unicodedata.category(chr(i)) in kinds and i not in VISIBLE]
    assert len(hidden) > 2000
    assert all(one_line(c) == repr(c)[1:-1] for c in hidden)
    assert all(printable(c) == one_line(c) for c in hidden if c not in "\n\t")
    assert printable("a\n\tb") == "a\n\tb"
    assert all(json.loads(printable_json(json.dumps(c, ensure_ascii=False))) == c for c in hidden)
    assert all(printable_json(json.dumps(c, ensure_ascii=False)).isascii() for c in hidden)


@pytest.mark.parametrize("text", ["", "paper", "π ≤ 3", "日本\u3000語", "❤\ufe0f", "a\\x1b", "\xa0"])
def test_what_is_seen_stays(text: str) -> None:
    assert one_line(text) == printable(text) == printable_json(text) == text


def test_it_is_done_once() -> None:
    assert one_line(one_line("\x1b[2J\n\\")) == one_line("\x1b[2J\n\\") == "\\x1b[2J\\n\\"


ERRORS = [v for v in vars(errors).values() if isinstance(v, type) and issubclass(v, errors.DbgnnError)]


def fail(kind: type[errors.DbgnnError]) -> None:
    second = KeyError("second \u202e", 3)
    second.__cause__ = ValueError("first \x9b31m")
    try:
        raise second
    except KeyError as error:
        raise kind("third \x1b[2J\nline") from error


@pytest.mark.parametrize("kind", ERRORS)
def test_errors_are_printable_and_so_is_what_led_to_them(kind: type[errors.DbgnnError]) -> None:
    with pytest.raises(kind) as caught:
        fail(kind)
    error = caught.value
    assert str(error) == "third \\x1b[2J\nline"
    assert error.__cause__ is not None
    assert error.__cause__.args == ("second \\u202e", 3)
    assert str(error.__cause__.__cause__) == "first \\x9b31m"


def test_errors_that_lead_to_each_other_end() -> None:
    one, two = ValueError("\x07"), ValueError("\x08")
    one.__context__, two.__context__ = two, one
    make_printable(one)
    assert (str(one), str(two)) == ("\\x07", "\\x08")


def calls(path: Path) -> set[str]:
    """What a module calls, and the modules that it imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            found.add(ast.unparse(node.func))
        elif isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
    return found


@pytest.mark.parametrize(
    ("call", "where"),
    [("warnings.warn", {"display.py"}), ("tqdm", {"progress.py"}), ("print", set()), ("typer.echo", {"cli/app.py"}),
     ("typer.secho", {"cli/app.py"}), ("logging", set()), ("sys.stderr.write", set()), ("sys.stdout.write", set())],
)  # fmt: skip
def test_text_leaves_by_one_door(call: str, where: set[str]) -> None:
    assert {str(p.relative_to(PACKAGE)) for p in PACKAGE.rglob("*.py") if call in calls(p)} == where
