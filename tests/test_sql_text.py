"""The SQL that stands in the package: what it means must not depend on what the user has SET."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "dbgnn"

#: What stands for terms that a function has made: their directions are in them.
MADE = ("ascending(", "keys", "order", "terms")


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """Every string of a file but its docstrings, with what an f-string inserts as its source in braces."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docs = {id(n.body[0].value) for n in ast.walk(tree) if isinstance(n, documented) and isinstance(n.body[0], ast.Expr)}
    inside = {id(part) for n in ast.walk(tree) if isinstance(n, ast.JoinedStr) for part in n.values}
    for node in ast.walk(tree):
        if id(node) in docs | inside:
            continue
        if isinstance(node, ast.JoinedStr):
            parts = (p.value if isinstance(p, ast.Constant) else "{" + ast.unparse(p) + "}" for p in node.values)
            yield node.lineno, "".join(map(str, parts))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value


def orders(text: str) -> Iterator[str]:
    """The terms of every ORDER BY in a text: up to a bracket that closes what is around it, a LIMIT, or the end."""
    for found in re.finditer(r"ORDER BY\s+", text):
        depth, term = 0, ""
        for char in text[found.end() :]:
            depth += (char in "({") - (char in ")}")
            if depth < 0 or (depth == 0 and term.endswith(" LIMIT")):
                break
            if depth == 0 and char == ",":
                yield term
                term = ""
            else:
                term += char
        yield term.removesuffix(" LIMIT")


SQL = [(path, line, text) for path in sorted(PACKAGE.rglob("*.py")) for line, text in texts(path)]


def test_every_order_says_its_direction() -> None:
    """``default_order`` is the user's to set, and one setting for the whole of DuckDB."""
    found = [
        f"{path.relative_to(PACKAGE)}:{line}: {term.strip()}"
        for path, line, text in SQL
        if path.parts[-2:] != ("cli", "app.py")  # what its help shows is for the user to write
        for term in orders(text)
        if not re.search(r"\b(ASC|DESC)\b", term) and not any(made in term for made in MADE)
    ]
    assert found == []


@pytest.mark.parametrize("setting", ["default_order", "default_null_order", "null_order", "default_collation"])
def test_what_the_user_has_set_stays(setting: str) -> None:
    assert [(path.name, line) for path, line, text in SQL if re.search(rf"\bSET\s+(\w+\s+)?{setting}\b", text)] == []


def test_the_check_sees_what_it_should() -> None:
    assert list(orders("SELECT a ORDER BY a ASC, b LIMIT 3")) == ["a ASC", " b"]
    assert list(orders("(SELECT a ORDER BY {f(x, y)}, g(b) ASC) AS t")) == ["{f(x, y)}", " g(b) ASC"]
