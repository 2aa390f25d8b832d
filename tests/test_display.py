"""What people see: tab completion, HTML in notebooks, and reprs."""

from __future__ import annotations

import html
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from torch_geometric.loader import NeighborLoader

import dbgnn

CITES = ("paper", "cites & <b>", "paper")


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """One object of every kind, over a graph whose names and values are HTML."""
    folder = tmp_path_factory.mktemp("display")
    with dbgnn.connect(folder / "g.duckdb") as db:
        db.execute(
            """
            CREATE TABLE "paper" AS SELECT i AS id, [i, 1]::FLOAT[2] AS "<i>x</i>", i % 7 AS y FROM range(50) t(i);
            CREATE TABLE cites AS SELECT (i * 7 + i // 5) % 50 AS src, (i * 13 + 3) % 50 AS dst FROM range(200) t(i);
            CREATE PROPERTY GRAPH "<g>" VERTEX TABLES (paper KEY (id)) EDGE TABLES (
              cites SOURCE KEY (src) REFERENCES paper (id) DESTINATION KEY (dst) REFERENCES paper (id) LABEL "cites & <b>")
            """
        )
        graph = db.graph()
        feature_store, graph_store = db.get_torch_geometric_remote_backend()
        loader = dbgnn.NeighborLoader((feature_store, graph_store), num_neighbors=[2], input_nodes="paper", batch_size=20)
        loader.pack(folder / "pack")
        for _ in loader:
            pass
        yield {
            "Database": db,
            "Graph": graph,
            "DuckDBFeatureStore": feature_store,
            "DuckDBGraphStore": graph_store,
            "NeighborLoader": loader,
            "NeighborSampler": loader.node_sampler,
            "PackedLoader": dbgnn.PackedLoader(folder / "pack"),
            "Encoders": dbgnn.Encoders({"paper": {"z": dbgnn.Normalize("y")}}),
            "LoaderStats": loader.stats(),
            "CheckReport": graph.check(),
            "plan": loader.explain(),
        }


#: What tab completion offers beside the names of PyG's and torch's bases.
OURS = {
    "Database": "close closed connection execute get_torch_geometric_remote_backend graph in_memory interrupt read_only "
    "settings sql",
    "Graph": "build check db definition edge_types encode metadata name node_types num_dropped num_edges num_nodes predict "
    "to_data to_heterodata write_back",
    "DuckDBFeatureStore": "edge_ids fill graph homogeneous ids keys node_ids",
    "DuckDBGraphStore": "graph homogeneous",
    "PackedLoader": "num_epochs path set_epoch transform",
    "Encoders": "fit fitted from_json is_fitted load save to_json",
    "LoaderStats": "as_frame as_table hit_rate num_steps plot read_amplification steps total",
}


def test_tab_completion_of_the_package() -> None:
    assert sorted(dir(dbgnn)) == sorted(dbgnn.__all__)


@pytest.mark.parametrize("kind", OURS)
def test_tab_completion_names_what_is_public(seen: dict[str, Any], kind: str) -> None:
    one = seen[kind]
    assert [name for name in dir(one) if name.startswith("_")] == []
    theirs = {name for base in type(one).__mro__ if not base.__module__.startswith("dbgnn") for name in vars(base)}
    ours = {name for base in type(one).__mro__ if base.__module__.startswith("dbgnn") for name in vars(base)}
    assert sorted(set(dir(one)) & (ours | set(vars(one))) - theirs) == OURS[kind].split()
    assert set(dir(one)) >= {name for name in theirs if not name.startswith("_")}
    assert all(hasattr(one, name) for name in OURS[kind].split())


def test_tab_completion_of_a_loader(seen: dict[str, Any]) -> None:
    one = seen["NeighborLoader"]
    bases = [base for base in type(one).__mro__ if not base.__module__.startswith("dbgnn")]
    theirs = {name for base in bases for name in (*vars(base), *inspect.signature(base.__init__).parameters)}  # type: ignore[misc]
    theirs |= set(inspect.signature(NeighborLoader.__init__).parameters) | {"input_data"}
    ours = "cache_bytes explain keys mode pack plan prefetch relative_time sample_direction seed stats super_batch"
    assert sorted(set(dir(one)) - theirs) == [*ours.split(), "time_window", "where"]
    assert {"batch_size", "num_workers", "transform"} <= set(dir(one))


def test_tab_completion_of_a_sampler(seen: dict[str, Any]) -> None:
    names = set(dir(seen["NeighborSampler"]))
    assert {"num_neighbors", "replace", "seed", "sample_from_nodes", "node_types"} <= names
    assert not {name for name in names if name.startswith("_")} | ({"fanout", "output", "sample_batches"} & names)


def test_a_class_of_the_user_s_keeps_its_names(seen: dict[str, Any]) -> None:
    class Mine(dbgnn.NeighborLoader):
        mine = 1

    loader = Mine(seen["Graph"], num_neighbors=[2], input_nodes="paper")
    loader.also = 2
    assert {"mine", "also", "explain", "batch_size"} <= set(dir(loader))


@pytest.mark.parametrize("kind", ["Graph", "CheckReport", "LoaderStats", "plan"])
def test_html_is_the_text_escaped(seen: dict[str, Any], kind: str) -> None:
    shown = seen[kind]._repr_html_()
    found = re.fullmatch(r'<pre style="[a-z:; -]*">(.*)</pre>', shown, re.DOTALL)
    assert found is not None
    assert not re.search(r"[<>]|&(?!lt;|gt;|amp;|quot;|#x27;)", found[1])
    assert html.unescape(found[1]) == str(seen[kind])
    assert "paper" in shown or kind == "LoaderStats"


@pytest.mark.parametrize("kind", ["Graph", "CheckReport", "plan"])
def test_names_of_the_user_s_are_no_html(seen: dict[str, Any], kind: str) -> None:
    assert "<g>" in str(seen[kind])
    assert "&lt;g&gt;" in seen[kind]._repr_html_()


def test_explain_is_text(seen: dict[str, Any]) -> None:
    plan = seen["plan"]
    assert isinstance(plan, str)
    assert str(plan).splitlines()[0] == repr(seen["NeighborLoader"])
    by_one = dbgnn.NeighborLoader(seen["Graph"], [2], "paper", collate_fn=None, super_batch=1)
    assert by_one.explain()._repr_html_().startswith("<pre")


def test_html_of_a_graph_whose_database_is_closed_is_left_to_its_repr(tmp_path: Path) -> None:
    with dbgnn.connect(tmp_path / "a.duckdb") as db:
        db.execute("CREATE TABLE paper (id BIGINT); CREATE PROPERTY GRAPH g VERTEX TABLES (paper KEY (id))")
        graph = db.graph()
        assert graph._repr_html_() is not None
    assert graph._repr_html_() is None
    assert repr(graph) == "dbgnn.Graph('g': paper)"


def test_reprs(seen: dict[str, Any]) -> None:
    assert re.fullmatch(r"dbgnn\.Database\('.*g\.duckdb', read-write\)", repr(seen["Database"]))
    assert repr(seen["Graph"]) == "dbgnn.Graph('<g>': paper, paper-cites & <b>-paper)"
    assert repr(seen["NeighborLoader"]).startswith(
        "dbgnn.NeighborLoader(50 seeds of 'paper', batch_size=20, dbgnn.NeighborSampler"
    )
    assert re.fullmatch(r"dbgnn\.PackedLoader\('.*pack': 1 epoch, 3 mini-batches, 0\.0 MB\)", repr(seen["PackedLoader"]))
    assert re.fullmatch(r"dbgnn\.LoaderStats\(\d+ steps, [\d.]+ s\)", repr(seen["LoaderStats"]))
    assert repr(seen["CheckReport"]).startswith("dbgnn.CheckReport('<g>': no errors, ")
    assert repr(seen["Encoders"]).startswith("dbgnn.Encoders(")
    assert "Index: built and up to date" in str(seen["Graph"])
