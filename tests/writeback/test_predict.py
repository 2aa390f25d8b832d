"""Predicting over a loader: every seed gets what the model says of it, once, whatever breaks the run off."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch_geometric.data import Data, HeteroData
from torch_geometric.loader import NodeLoader

import dbgnn
from dbgnn.writeback import moving
from tests.writeback.killed import Doubled
from tests.writeback.test_write_back import PAPERS, rows, run_killed, state, value

Open = Callable[..., dbgnn.Graph]

#: Twice the features of the papers of `PAPERS`, by key.
DOUBLED = [(10 * (i * 7 % 20), (2.0 * i, -2.0 * i)) for i in range(20)]


#: A model that matters not, because ``forward`` does everything.
AS_IS = torch.nn.Identity()


@pytest.fixture
def open_graph(tmp_path: Path) -> Iterator[Open]:
    """A function that opens a file with the graph of `PAPERS`, made if absent; closed at the end."""
    opened: list[dbgnn.Database] = []

    def make(name: str = "g.duckdb", *, read_only: bool = False) -> dbgnn.Graph:
        is_new = not (tmp_path / name).exists()
        opened.append(dbgnn.connect(tmp_path / name, read_only=read_only, threads=2, progress=False))
        for statement in PAPERS if is_new else ():
            opened[-1].execute(statement.format(""))
        return opened[-1].graph()

    yield make
    for db in opened:
        db.close()


@pytest.fixture
def graph(open_graph: Open) -> dbgnn.Graph:
    """The graph of `PAPERS`."""
    return open_graph()


@pytest.fixture
def every_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commit every mini-batch."""
    monkeypatch.setattr("dbgnn.writeback.predicted.FLUSH_SECONDS", 0.0)


def loader_of(graph: dbgnn.Graph, seeds: Any = "paper", **options: Any) -> dbgnn.NeighborLoader:
    return dbgnn.NeighborLoader(graph, [2], input_nodes=seeds, **{"batch_size": 4, **options})


def predicted(graph: dbgnn.Graph) -> list[Any]:
    return rows(graph, "SELECT id, pred FROM paper WHERE pred IS NOT NULL ORDER BY id")


def staged(graph: dbgnn.Graph) -> list[Any]:
    return rows(graph, "SELECT table_name FROM duckdb_tables() WHERE table_name LIKE 'predicted%'")


# -- loaders -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{"shuffle": True}, {"batch_size": 7, "prefetch": 0, "super_batch": 1}], ids=str)
def test_every_seed_is_predicted(graph: dbgnn.Graph, options: dict[str, Any]) -> None:
    assert graph.predict(Doubled(), loader_of(graph, **options), "paper.pred") == 20
    assert predicted(graph) == sorted(DOUBLED)
    assert staged(graph) == []
    batch = next(iter(loader_of(graph)))
    assert "pred" not in batch["paper"]


def test_a_homogeneous_graph(graph: dbgnn.Graph) -> None:
    stores = graph.db.get_torch_geometric_remote_backend(graph, homogeneous=True)
    loader = dbgnn.NeighborLoader(stores, [2], batch_size=6, shuffle=True)
    assert isinstance(next(iter(loader)), Data)
    assert graph.predict(AS_IS, loader, "paper.pred", forward=lambda _, batch: batch.x * 2) == 20
    assert predicted(graph) == sorted(DOUBLED)


def test_pygs_own_loader(graph: dbgnn.Graph) -> None:
    stores = graph.db.get_torch_geometric_remote_backend(graph)
    sampler = dbgnn.NeighborSampler(stores, [2])
    loader: Any = NodeLoader(stores, node_sampler=sampler, input_nodes="paper", batch_size=6, shuffle=True)
    assert graph.predict(Doubled(), loader, "paper.pred") == 20
    assert predicted(graph) == sorted(DOUBLED)


def test_other_nodes_keep_what_they_have(graph: dbgnn.Graph) -> None:
    graph.write_back("paper", n_id=[0, 3], pred=torch.full((2, 2), 9.0))
    seeds = torch.tensor([7, 3, 11, 4, 15])
    assert graph.predict(Doubled(), loader_of(graph, seeds, drop_last=True), "paper.pred") == 4
    want = dict(DOUBLED)
    assert predicted(graph) == [(0, (9.0, 9.0)), *((k, want[k]) for k in (30, 40, 70, 110))]


def test_a_seed_that_comes_again_keeps_its_first_prediction(graph: dbgnn.Graph) -> None:
    calls = []

    def numbered(_: Any, batch: Any) -> torch.Tensor:
        calls.append(batch)
        return torch.full((len(batch["paper"].n_id),), len(calls))

    seeds = torch.tensor([5, 5, 1, 2, 5, 3, 1, 1, 2, 3])
    assert graph.predict(AS_IS, loader_of(graph, seeds, batch_size=2), "paper.pred", forward=numbered) == 4
    assert predicted(graph) == [(10, 2), (20, 2), (30, 3), (50, 1)]
    assert len(calls) == 3  # nothing new comes after that


def test_predictions_by_node_type(graph: dbgnn.Graph) -> None:
    def forward(_: Any, batch: HeteroData) -> dict[str, torch.Tensor]:
        return {"author": torch.zeros(1), "paper": batch["paper"].year}

    assert graph.predict(AS_IS, loader_of(graph), "paper.pred", forward=forward) == 20
    assert value(graph, "SELECT count(*) FROM paper WHERE pred = year") == 20


def test_a_whole_batch_without_a_batch_size(graph: dbgnn.Graph) -> None:
    batch = HeteroData({"paper": {"n_id": torch.tensor([4, 2]), "x": torch.ones(2, 2)}})
    assert graph.predict(Doubled(), [batch], "paper.pred") == 2
    assert predicted(graph) == [(20, (2.0, 2.0)), (40, (2.0, 2.0))]


def test_an_empty_loader(graph: dbgnn.Graph) -> None:
    before = state(graph)
    assert graph.predict(Doubled(), [], "paper.pred") == graph.predict(Doubled(), [], "side") == 0
    assert state(graph) == before


# -- the target --------------------------------------------------------------------------------------------


def test_a_side_table(graph: dbgnn.Graph) -> None:
    assert graph.predict(Doubled(), loader_of(graph, torch.arange(6)), "Side") == 6
    assert graph.predict(Doubled(), loader_of(graph, torch.arange(4, 8)), "side") == 4
    assert rows(graph, "FROM side ORDER BY id") == sorted(DOUBLED)[:8]


def test_labels_with_points(open_graph: Open) -> None:
    graph = open_graph()
    graph.db.execute('CREATE PROPERTY GRAPH other VERTEX TABLES (paper KEY (id) LABEL "a.b", cites KEY (s) LABEL a)')
    graph = graph.db.graph("other")
    batch = HeteroData({"a.b": {"n_id": torch.tensor([1])}, "a": {"n_id": torch.tensor([2])}})
    assert graph.predict(AS_IS, [batch], "a.b.c.d", forward=lambda *_: torch.ones(1)) == 1
    assert rows(graph, 'SELECT id FROM paper WHERE "c.d" = 1') == [(10,)]
    assert graph.predict(AS_IS, [batch], "a.c", forward=lambda *_: torch.ones(1)) == 1
    assert rows(graph, "SELECT s FROM cites WHERE c = 1") == [(20,)]
    with pytest.raises(dbgnn.RequestError, match="may be any of"):
        graph.predict(AS_IS, [batch], "side", forward=lambda *_: torch.ones(1))


def test_plain_sql_goes_on_from_there(graph: dbgnn.Graph) -> None:
    graph.predict(Doubled(), loader_of(graph), "paper.embedding")
    graph.predict(AS_IS, loader_of(graph), "paper.class", forward=lambda _, batch: batch["paper"].year % 3)
    nearest = rows(
        graph,
        """SELECT p.id FROM paper p, paper q WHERE q.id = 70 AND p.id NOT IN (0, 70)
           ORDER BY array_cosine_similarity(p.embedding, q.embedding) DESC, abs(p.year - q.year) LIMIT 1""",
    )
    assert nearest == [(140,)]
    counts = rows(graph, "SELECT class, count(*), avg(embedding[1]) FROM paper GROUP BY class ORDER BY class")
    years = torch.arange(2000, 2020)
    assert [(c, n) for c, n, _ in counts] == [(c, int((years % 3 == c).sum())) for c in range(3)]
    assert [mean for *_, mean in counts] == [
        pytest.approx(2 * (years[years % 3 == c] - 2000).double().mean()) for c in range(3)
    ]


# -- the model ---------------------------------------------------------------------------------------------


def test_the_model_evaluates_and_is_put_back(graph: dbgnn.Graph) -> None:
    model = torch.nn.Sequential(torch.nn.Dropout(), torch.nn.BatchNorm1d(2), torch.nn.Linear(2, 3))
    model[1].eval()
    model[2].weight.requires_grad_()
    seen = []

    def forward(model: Any, batch: Any) -> torch.Tensor:
        out: torch.Tensor = model(batch["paper"].x)
        seen.append((model.training, model[1].training, torch.is_grad_enabled(), out.requires_grad))
        return out

    graph.predict(model, loader_of(graph), "paper.pred", forward=forward, device="cpu")
    assert set(seen) == {(False, False, False, False)}
    assert [m.training for m in model.modules()] == [True, True, False, True]
    assert torch.is_grad_enabled()


class Own(Exception):  # noqa: N818 - not one of ours
    """What a model raises."""


def test_an_error_of_the_model_surfaces_and_the_run_goes_on_later(graph: dbgnn.Graph) -> None:
    model, error = Doubled(), Own("boom")
    model.train()

    def failing(model: Any, batch: Any) -> torch.Tensor:
        if model.calls == 2:
            raise error
        out: torch.Tensor = model(batch)
        return out

    before = state(graph)
    with pytest.raises(Own) as raised:
        graph.predict(model, loader_of(graph), "paper.pred", forward=failing)
    assert raised.value is error
    error.__traceback__ = None
    assert model.training
    assert state(graph) == before
    assert len(staged(graph)) == 1
    assert graph.predict(model, loader_of(graph), "paper.pred") == 20
    assert model.calls == 5  # two before, three after
    assert predicted(graph) == sorted(DOUBLED)
    assert staged(graph) == []


# -- going on ----------------------------------------------------------------------------------------------


def break_off(graph: dbgnn.Graph, model: Doubled, loader: Any, into: str = "paper.pred") -> None:
    """Run predict up to the third call of the model."""

    def failing(model: Any, batch: Any) -> torch.Tensor:
        if model.calls == 2:
            raise KeyboardInterrupt
        out: torch.Tensor = model(batch)
        return out

    with pytest.raises(KeyboardInterrupt):
        graph.predict(model, loader, into, forward=failing)
    model.calls = 0


def test_after_kills(open_graph: Open, tmp_path: Path) -> None:
    cases = {"3": 2, "move": 0, "settle": None}
    args = []
    for case in cases:
        open_graph(f"{case}.duckdb").build().db.close()
        args += [f"predict:{case}", str(tmp_path / f"{case}.duckdb")]
    assert run_killed(args) == [-signal.SIGKILL] * len(cases)
    for case, calls in cases.items():
        graph, model = open_graph(f"{case}.duckdb"), Doubled()
        columns = [name for name, *_ in rows(graph, "DESCRIBE paper")]
        if calls is None:  # it was committed
            assert predicted(graph) == sorted(DOUBLED)
            assert staged(graph) == []
            continue
        assert columns == ["id", "x", "year"]
        assert graph.predict(model, loader_of(graph), "paper.pred") == 20
        assert model.calls == calls
        assert predicted(graph) == sorted(DOUBLED)
        assert staged(graph) == []


def test_a_shuffled_run_goes_on(graph: dbgnn.Graph) -> None:
    model = Doubled()
    break_off(graph, model, loader_of(graph, shuffle=True))
    assert graph.predict(model, loader_of(graph, shuffle=True), "paper.pred") == 20
    assert predicted(graph) == sorted(DOUBLED)


def test_other_seeds_than_before(graph: dbgnn.Graph) -> None:
    model = Doubled()
    break_off(graph, model, loader_of(graph))  # 0 to 7 are known
    assert graph.predict(model, loader_of(graph, torch.arange(4, 12)), "paper.pred") == 8
    assert model.calls == 1
    assert predicted(graph) == sorted(DOUBLED)[4:12]
    assert staged(graph) == []


def test_other_weights_begin_anew(graph: dbgnn.Graph) -> None:
    model = Doubled()
    break_off(graph, model, loader_of(graph))
    with torch.no_grad():
        model.weight.fill_(3.0)
    with pytest.warns(UserWarning, match="'paper.pred' .* the model's kind or weights changed"):
        assert graph.predict(model, loader_of(graph), "paper.pred") == 20
    assert model.calls == 5
    assert predicted(graph) == sorted((k, (1.5 * a, 1.5 * b)) for k, (a, b) in DOUBLED)


def test_another_model_without_weights_begins_anew(graph: dbgnn.Graph) -> None:
    class Ones(torch.nn.Module):
        def forward(self, batch: HeteroData) -> torch.Tensor:
            if 8 in batch["paper"].n_id[:4]:
                raise KeyboardInterrupt
            return torch.ones(len(batch["paper"].n_id))

    class Zeros(torch.nn.Module):
        def forward(self, batch: HeteroData) -> torch.Tensor:
            return torch.zeros(len(batch["paper"].n_id))

    with pytest.raises(KeyboardInterrupt):
        graph.predict(Ones(), loader_of(graph), "paper.pred")
    with pytest.warns(UserWarning, match="the model's kind or weights changed"):
        assert graph.predict(Zeros(), loader_of(graph), "paper.pred") == 20
    assert value(graph, "SELECT count(*) FROM paper WHERE pred = 0") == 20


def test_weights_of_any_layout(graph: dbgnn.Graph) -> None:
    model = Doubled()
    model.register_buffer("adjacency", torch.eye(2).to_sparse())
    model.register_buffer("phase", torch.tensor([1j]).conj())
    break_off(graph, model, loader_of(graph))
    assert graph.predict(model, loader_of(graph), "paper.pred") == 20
    assert predicted(graph) == sorted(DOUBLED)


@pytest.mark.parametrize("change", ["INSERT INTO paper VALUES (-5, [0, 0], 0)", "DELETE FROM cites WHERE s = 10"])
def test_another_graph_begins_anew(graph: dbgnn.Graph, change: str) -> None:
    model = Doubled()
    break_off(graph, model, loader_of(graph))
    graph.db.execute(change)
    graph.build()
    count = graph.num_nodes("paper")
    with pytest.warns(UserWarning, match="nodes or edges changed"):
        assert graph.predict(model, loader_of(graph), "paper.pred") == count
    assert value(graph, "SELECT count(*) FROM paper WHERE pred = [2 * x[1], 2 * x[2]]") == count
    assert staged(graph) == []


def test_on_request_begins_anew(graph: dbgnn.Graph) -> None:
    model = Doubled()
    break_off(graph, model, loader_of(graph))
    assert graph.predict(model, loader_of(graph), "paper.pred", resume=False) == 20
    assert model.calls == 5
    assert staged(graph) == []


def test_runs_for_other_targets_are_left_alone(graph: dbgnn.Graph) -> None:
    model = Doubled()
    break_off(graph, model, loader_of(graph))
    break_off(graph, model, loader_of(graph), "side")
    assert graph.predict(model, loader_of(graph), "paper.other") == 20
    assert model.calls == 5
    assert len(staged(graph)) == 2
    assert graph.predict(model, loader_of(graph), "side") == graph.predict(model, loader_of(graph), "paper.pred") == 20
    assert model.calls == 5 + 3 + 3
    assert staged(graph) == []


@pytest.mark.usefixtures("every_batch")
def test_committing_often_changes_nothing(graph: dbgnn.Graph) -> None:
    assert graph.predict(Doubled(), loader_of(graph, shuffle=True), "paper.pred") == 20
    assert predicted(graph) == sorted(DOUBLED)


def test_rows_that_move_on_the_way(open_graph: Open) -> None:
    graph = open_graph()
    graph.db.execute("CREATE INDEX of_year ON paper (year)")  # an UPDATE of arrays moves rows now

    def forward(model: Any, batch: Any) -> torch.Tensor:
        graph.write_back("paper", n_id=batch["paper"].n_id[:2], other=torch.ones(2, 2))
        out: torch.Tensor = model(batch)
        return out

    assert graph.predict(Doubled(), loader_of(graph), "paper.pred", forward=forward) == 20
    assert predicted(graph) == sorted(DOUBLED)
    assert value(graph, "SELECT count(other) FROM paper") == 10


def test_a_graph_that_changes_on_the_way(graph: dbgnn.Graph) -> None:
    loader = list(loader_of(graph))

    def forward(_: Any, batch: Any) -> torch.Tensor:
        graph.db.execute("DELETE FROM paper WHERE id = 190")
        graph.db.execute("DELETE FROM cites WHERE s = 190 OR d = 190")
        graph.build()
        out: torch.Tensor = batch["paper"].x
        return out

    with pytest.raises(dbgnn.StaleIndexError, match="changed while values for them were computed"):
        graph.predict(AS_IS, loader, "paper.pred", forward=forward)


# -- what is refused ---------------------------------------------------------------------------------------

N_ID = torch.tensor([1, 2])
BATCH = HeteroData({"paper": {"n_id": N_ID, "batch_size": 2}})
REFUSED: dict[str, tuple[Any, str, Any, type[Exception], str]] = {
    "edges": (BATCH, "cites.pred", torch.ones(2), dbgnn.UnknownNameError, "'cites' is no node type, but an edge type of this"),
    "label": (BATCH, "papr.pred", torch.ones(2), dbgnn.UnknownNameError, "did you mean 'paper'"),
    "no column": (BATCH, "paper.", torch.ones(2), dbgnn.UnknownNameError, "a node type .*, a point, and a column"),
    "no name": (BATCH, "", torch.ones(2), dbgnn.SchemaError, "'type.column', or the name of a side table, not ''"),
    "key": (BATCH, "paper.id", torch.ones(2), dbgnn.SchemaError, "'id' is a key"),
    "type": (BATCH, "paper.year", torch.ones(2), dbgnn.SchemaError, "INTEGER, the values are FLOAT"),
    "8 bits": (BATCH, "paper.p", torch.ones(2).to(torch.float8_e5m2), dbgnn.SchemaError, "float8"),
    "few": (BATCH, "paper.p", torch.ones(1), dbgnn.RequestError, "1 rows for 2 seeds"),
    "scalar": (BATCH, "paper.p", torch.tensor(1.0), dbgnn.SchemaError, "returned one number"),
    "tuple": (BATCH, "paper.p", (torch.ones(2), None), dbgnn.SchemaError, "returned tuple.*forward=lambda"),
    "dict": (BATCH, "paper.p", {"author": torch.ones(2)}, dbgnn.RequestError, "nothing for 'paper'.*author"),
    "n_id": (HeteroData({"paper": {"batch_size": 2}}), "paper.p", torch.ones(2), dbgnn.RequestError, "has no n_id"),
    "range": (HeteroData({"paper": {"n_id": 20 + N_ID}}), "paper.p", torch.ones(2), dbgnn.RequestError, "Id 21 of 'paper'"),
    "seeds": (
        HeteroData({"author": {"n_id": N_ID, "batch_size": 1}, "paper": {"n_id": N_ID}}),
        "paper.p", torch.ones(2), dbgnn.RequestError, "seeds of the loader are of type 'author'",
    ),
    "no type": (HeteroData(), "side", torch.ones(2), dbgnn.RequestError, "does not say of which node type"),
}  # fmt: skip


@pytest.fixture(scope="module")
def lasting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dbgnn.Graph]:
    """The graph of `PAPERS` for tests that change nothing."""
    with dbgnn.connect(tmp_path_factory.mktemp("lasting") / "g.duckdb", threads=2, progress=False) as db:
        for statement in PAPERS:
            db.execute(statement.format(""))
        yield db.graph().build()


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_predicted_leaves_nothing(lasting: dbgnn.Graph, case: str) -> None:
    before = state(lasting)
    batch, into, out, error, message = REFUSED[case]
    with pytest.raises(error, match=message):
        lasting.predict(AS_IS, [batch], into, forward=lambda *_: out)
    assert state(lasting) == before
    assert staged(lasting) == []


def test_rows_of_another_shape(graph: dbgnn.Graph) -> None:
    outs = iter([torch.ones(2, 2), torch.ones(2, 3)])
    other = HeteroData({"paper": {"n_id": N_ID + 2, "batch_size": 2}})
    with pytest.raises(dbgnn.SchemaError, match=r"were FLOAT\[2\] a row, and now FLOAT\[3\]"):
        graph.predict(AS_IS, [BATCH, other], "paper.p", forward=lambda *_: next(outs))


def test_a_read_only_database(open_graph: Open) -> None:
    open_graph().build().db.close()
    graph = open_graph(read_only=True)
    for into in ("paper.pred", "side"):
        with pytest.raises(dbgnn.ReadOnlyError, match="read_only=False"):
            graph.predict(Doubled(), loader_of(graph), into)


def test_a_failed_move_keeps_what_was_computed(graph: dbgnn.Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    model, before = Doubled(), state(graph)

    def failing(*_: object) -> None:
        raise dbgnn.ResourceError("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(moving, "move_staged", failing)
        with pytest.raises(dbgnn.ResourceError, match="disk is full"):
            graph.predict(model, loader_of(graph), "paper.pred")
    assert state(graph) == before
    assert graph.predict(model, loader_of(graph), "paper.pred") == 20
    assert model.calls == 5


def test_a_loader_of_another_graph(graph: dbgnn.Graph) -> None:
    graph.db.execute("CREATE TABLE old AS SELECT year AS id, x FROM paper")
    graph.db.execute("CREATE PROPERTY GRAPH other VERTEX TABLES (old KEY (id) LABEL paper)")
    with pytest.raises(dbgnn.RequestError, match=r"reads graph 'other' .* not 'papers'"):
        graph.predict(Doubled(), loader_of(graph.db.graph("other")), "paper.pred")


def test_a_model_of_other_arguments_is_told_of_forward(graph: dbgnn.Graph) -> None:
    class Convolution(torch.nn.Module):
        def forward(self, x: torch.Tensor, edge_index: torch.Tensor) -> torch.Tensor:
            raise AssertionError

    with pytest.raises(TypeError, match="edge_index") as caught:
        graph.predict(Convolution(), loader_of(graph), into="paper.pred")
    assert "forward=lambda model, batch" in caught.value.__notes__[0]


@pytest.mark.usefixtures("every_batch")
def test_a_loader_of_no_seeds_leaves_what_another_run_computed(graph: dbgnn.Graph) -> None:
    model = Doubled()
    break_off(graph, model, loader_of(graph))
    kept = staged(graph)
    assert len(kept) == 1
    empty: list[Any] = []
    assert graph.predict(model, empty, "paper.pred") == 0
    assert staged(graph) == kept
    assert graph.predict(model, loader_of(graph), "paper.pred") == 20
    assert model.calls == 3  # of five batches, two were known
    assert predicted(graph) == sorted(DOUBLED)
