"""The public face: what `dbgnn` offers, that all of it is documented, and what importing it does not import."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import dbgnn
from dbgnn import errors

ROOT = Path(__file__).resolve().parents[1]


def imported_by(statement: str) -> set[str]:
    """Names of the modules that a fresh interpreter has imported after ``statement``."""
    code = f"{statement}\nimport sys, json; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    return set(json.loads(done.stdout))


def public_members(cls: type) -> list[tuple[str, object]]:
    """What ``cls``, or what it derives from in dbgnn, defines under a public name."""
    bases = [base for base in reversed(cls.__mro__) if base.__module__.startswith("dbgnn.")]
    members = ((n, v) for base in bases for n, v in vars(base).items() if not n.startswith("_"))
    return [(n, v.fget if isinstance(v, property) else v) for n, v in members if callable(v) or isinstance(v, property)]


def test_all_is_sorted_and_complete() -> None:
    assert list(dbgnn.__all__) == sorted(dbgnn.__all__)
    assert set(dbgnn.__all__) <= set(dir(dbgnn))
    # Whatever else can be reached without an underscore is a module of the package or of Python.
    extra = {n for n in vars(dbgnn) if not n.startswith("_")} - set(dbgnn.__all__)
    assert {n for n in extra if not inspect.ismodule(getattr(dbgnn, n))} <= {"annotations", "TYPE_CHECKING"}


@pytest.mark.parametrize("name", dbgnn.__all__)
def test_every_name_is_there_and_documented(name: str) -> None:
    value = getattr(dbgnn, name)
    if name != "__version__":
        assert (inspect.getdoc(value) or "").strip(), f"dbgnn.{name} has no docstring"
        assert value.__module__.startswith("dbgnn."), name


@pytest.mark.parametrize("name", [n for n in dbgnn.__all__ if n != "__version__"])
def test_public_methods_are_documented(name: str) -> None:
    value = getattr(dbgnn, name)
    if inspect.isclass(value):
        undocumented = [n for n, member in public_members(value) if not (inspect.getdoc(member) or "").strip()]
        assert undocumented == []


def test_every_error_is_public() -> None:
    found = {n for n, v in vars(errors).items() if inspect.isclass(v) and issubclass(v, errors.DbgnnError)}
    assert found <= set(dbgnn.__all__)
    assert all(issubclass(getattr(dbgnn, n), dbgnn.DbgnnError) for n in found)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'dbgnn' has no attribute 'NeighbourLoader'"):
        dbgnn.NeighbourLoader  # noqa: B018 - the look-up is what is tested


def test_importing_dbgnn_imports_no_torch() -> None:
    assert not imported_by("import dbgnn") & {"torch", "torch_geometric"}


PROPERTY_GRAPH = """
    CREATE PROPERTY GRAPH g
      VERTEX TABLES (n KEY (id))
      EDGE TABLES (e SOURCE KEY (s) REFERENCES n (id) DESTINATION KEY (d) REFERENCES n (id))
"""


def test_the_sql_parts_import_no_torch(tmp_path: Path) -> None:
    statement = "; ".join(
        [
            "import dbgnn, dbgnn.schema, dbgnn.ingest, dbgnn.topology, dbgnn.sql",
            f"db = dbgnn.connect({str(tmp_path / 'g.duckdb')!r})",
            "db.execute('CREATE TABLE n (id BIGINT)')",
            "db.execute('CREATE TABLE e (s BIGINT, d BIGINT)')",
            f"db.execute({PROPERTY_GRAPH!r})",
            "db.graph('g').build()",
        ]
    )
    assert not imported_by(statement) & {"torch", "torch_geometric"}


#: The order in which the parts build on each other; nothing imports what stands to the right of it. The faces that users have
#: come late: `graph` and `database` hand on to what is below, which knows an `IndexedGraph` and an `OpenDatabase`.
ORDER = """terminal masking errors display progress files documents clock identity result session
  duckdb_functions parse_tree row_condition sql configuration translated opening shadows
  cursors schema ingest open_database topology indexed_graph check arrow stores sampling plans packs loader
  encoders queries tasks writeback graph database datasets cli""".split()

#: Types that are named upwards, for type checkers alone: both ends are one thing in two files.
NAMED_UPWARDS = {
    ("graph", "database"),  # the `Database` of a `Graph`, which its `graph()` gives
}


class Imports(ast.NodeVisitor):
    """The modules of dbgnn that a file imports: at once, within functions, and for type checkers only."""

    def __init__(self, path: Path) -> None:
        self.at_once: set[str] = set()
        self.within: set[str] = set()
        self.for_types: set[str] = set()
        self._found = self.at_once
        self.visit(ast.parse(path.read_text(encoding="utf-8")))

    def _visit_into(self, found: set[str], node: ast.AST) -> None:
        before, self._found = self._found, found
        self.generic_visit(node)
        self._found = before

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self._visit_into(self.within, node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self._visit_into(self.within, node)

    def visit_If(self, node: ast.If) -> None:
        is_for_types = isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        self._visit_into(self.for_types if is_for_types else self._found, node)

    def visit_Import(self, node: ast.Import) -> None:
        self._found.update(a.name for a in node.names if a.name.startswith("dbgnn."))

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        if node.module == "dbgnn":
            self._found.update(f"dbgnn.{a.name}" for a in node.names)
        elif (node.module or "").startswith("dbgnn."):
            self._found.add(node.module or "")


def files_of(part: str) -> list[Path]:
    folder = ROOT / "dbgnn" / part
    files = sorted(folder.rglob("*.py")) if folder.is_dir() else [folder.with_suffix(".py")]
    assert files
    return files


def upwards(part: str, modules: set[str]) -> set[str]:
    """Those of some modules that stand to the right of a part."""
    allowed = set(ORDER[: ORDER.index(part) + 1])
    return {module for module in modules if module.split(".")[1] not in allowed}


@pytest.mark.parametrize("part", ORDER)
def test_imports_run_one_way(part: str) -> None:
    for file in files_of(part):
        found = Imports(file)
        assert upwards(part, found.at_once | found.within) == set(), file
        named = {(part, module.split(".")[1]) for module in upwards(part, found.for_types)}
        assert named <= NAMED_UPWARDS, file


def test_torch_is_the_only_reason_to_import_within_a_function() -> None:
    """Whatever is imported late needs torch, and the part that imports it does not."""
    late = [(part, module) for part in ORDER for f in files_of(part) for module in Imports(f).within]
    assert late
    asked = {f"dbgnn.{part}" for part, _ in late} | {module for _, module in late}
    needs = {module: "torch" in imported_by(f"import {module}") for module in asked}
    assert [(part, module) for part, module in late if needs[f"dbgnn.{part}"] or not needs[module]] == []


def test_the_order_names_every_part() -> None:
    parts = {p.stem for p in (ROOT / "dbgnn").iterdir() if p.suffix == ".py" or (p.is_dir() and any(p.glob("*.py")))}
    assert parts - {"__init__", "__pycache__"} == set(ORDER)


def package_files() -> list[Path]:
    """Every file of the package that has a name of its own."""
    return [p for p in sorted((ROOT / "dbgnn").rglob("*.py")) if p.name not in {"__init__.py", "__main__.py"}]


def named_in(path: Path) -> list[str]:
    """Classes that a file defines at its top, and public names of types."""
    found: list[str] = []
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef):
            found.append(node.name)
        elif (
            isinstance(node, ast.AnnAssign)
            and isinstance(node.target, ast.Name)
            and "TypeAlias" in ast.unparse(node.annotation)
        ):
            found.append(node.target.id)
        elif isinstance(node, ast.Assign):  # EdgeType = tuple[str, str, str]; constants are in capitals
            found.extend(t.id for t in node.targets if isinstance(t, ast.Name) and re.fullmatch(r"[A-Z]\w*[a-z]\w*", t.id))
    return found


#: A file of more lines holds two things.
MOST_LINES = 400


def test_no_file_is_longer_than_400_lines() -> None:
    lines = {str(p.relative_to(ROOT)): len(p.read_text(encoding="utf-8").splitlines()) for p in (ROOT / "dbgnn").rglob("*.py")}
    assert len(lines) > 100
    assert {name: count for name, count in lines.items() if count > MOST_LINES} == {}


def test_a_name_leads_to_one_file() -> None:
    paths: dict[str, list[str]] = {}
    for path in package_files():
        paths.setdefault(path.name, []).append(str(path.relative_to(ROOT)))
    assert [found for found in paths.values() if len(found) > 1] == []


def test_a_name_leads_to_one_class() -> None:
    paths: dict[str, list[str]] = {}
    for path in package_files():
        for name in named_in(path):
            paths.setdefault(name, []).append(str(path.relative_to(ROOT)))
    assert len(paths) > 100
    assert {name: found for name, found in paths.items() if len(found) > 1} == {}


def test_the_version_is_the_changelog_s() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(rf"^## {re.escape(dbgnn.__version__)}\b", changelog, re.MULTILINE)


def test_the_constraints_pin_every_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = {_normal(line.split("==")[0]) for line in lines if "==" in line}
    assert {_normal(re.split(r"[><=!~\[; ]", w)[0]) for w in wanted} <= pins
    assert all("==" in line for line in lines if line and not line.startswith("#"))


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


DOCS = [f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md", "SECURITY.md", "bench/README.md", *DOCS])
def test_links_and_paths_in_the_documents_exist(document: str) -> None:
    path = ROOT / document
    text = path.read_text(encoding="utf-8")
    links = [t for t in re.findall(r"\]\(([^)#]+)[^)]*\)", text) if "://" not in t]
    paths = re.findall(r"`((?:dbgnn|tests|bench|examples|schemas|docs)/[\w./-]*)`", text)
    assert [t for t in links if not (path.parent / t).exists()] == []
    assert [p for p in paths if not (ROOT / p).exists()] == []


@pytest.mark.parametrize("document", ["README.md", "docs/how-to.md", "docs/from-kuzu.md", "docs/connect.md"])
def test_every_name_the_documents_call_exists(document: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    called = set(re.findall(r"\bdbgnn\.([A-Za-z_]\w*)", text))
    assert called
    modules = {n for n in called if importlib.util.find_spec(f"dbgnn.{n}") is not None}
    assert called - modules <= set(dbgnn.__all__)
