"""PyTorch Lightning makes loaders again, to give them samplers of its own: every argument, and what was set since, is kept."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch_geometric.data.lightning import LightningLinkData, LightningNodeData

import dbgnn
from tests.examples import pages
from tests.loader.conftest import CITES, N, Stores

pl = pytest.importorskip("pytorch_lightning", reason="pip install 'dbgnn[lightning]'")

pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning:pytorch_lightning"),  # few workers, few steps, no logger
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of what Lightning imports
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]

QUIET: dict[str, Any] = {
    "accelerator": "cpu",
    "devices": 1,
    "max_epochs": 1,
    "enable_progress_bar": False,
    "logger": False,
    "enable_checkpointing": False,
    "enable_model_summary": False,
}


def mark(batch: Any) -> Any:
    batch.marked = 7
    return batch


class Predicting(pl.LightningModule):  # type: ignore[name-defined]
    """Predicts the batch itself: predicting alone makes a loader again on one device."""

    def __init__(self, make: Callable[[], Any] | None = None) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(2, 4)
        self.make = make

    def predict_dataloader(self) -> Any:
        assert self.make is not None
        return self.make()

    def predict_step(self, batch: Any, _: int) -> Any:
        return batch

    def training_step(self, batch: Any, _: int) -> Any:
        seeds = batch["paper"].batch_size
        return torch.nn.functional.cross_entropy(self.layer(batch["paper"].x[:seeds]), batch["paper"].y[:seeds])

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), 1e-6)


def contents(batches: Any) -> list[str]:
    return [f"{[t.tolist() for t in _decisive(b)]} {sorted(b['paper'])} {b.get('marked')}" for b in batches]


def _decisive(batch: Any) -> list[torch.Tensor]:
    return [batch["paper"].n_id, batch["paper"].input_id, batch[CITES].e_id]


#: What a loader may be made with, and what is set on it afterwards.
GIVEN: list[dict[str, Any]] = [
    {"seed": 9},
    {"transform": mark},
    {"replace": True},
    {"subgraph_type": "induced"},
    {"input_nodes": ("paper", "split = 'train'")},
    {"input_nodes": ("paper", [7, 3, 9]), "input_id": torch.tensor([70, 30, 90])},
    {"plan": "shared", "super_batch": 2, "prefetch": 1, "cache_bytes": 1000},
    {"transform_sampler_output": lambda out: out, "filter_per_worker": False},
    {"drop_last": False, "batch_size": 33},
]
LATER: list[dict[str, Any]] = [{"num_neighbors": [-1, 1]}, {"transform": mark, "seed": 3}]


def make(stores: Stores, given: dict[str, Any], later: dict[str, Any]) -> dbgnn.NeighborLoader:
    options: dict[str, Any] = {"num_neighbors": [3, 2], "input_nodes": "paper", "batch_size": 100} | given
    loader = dbgnn.NeighborLoader(stores, **options)
    for name, value in later.items():
        setattr(loader, name, value)
    return loader


@pytest.fixture(params=["in a hook", "handed over"])
def predict(request: pytest.FixtureRequest) -> Callable[[Callable[[], Any]], Any]:
    def run(made: Callable[[], Any]) -> Any:
        trainer = pl.Trainer(**QUIET)
        if request.param == "in a hook":
            return trainer.predict(Predicting(made))
        return trainer.predict(Predicting(), made())

    return run


@pytest.mark.parametrize(("given", "later"), [(given, {}) for given in GIVEN] + [({}, later) for later in LATER], ids="+".join)
def test_a_loader_made_again_is_the_same(
    hetero: Stores, predict: Callable[[Any], Any], given: dict[str, Any], later: dict[str, Any]
) -> None:
    assert contents(predict(lambda: make(hetero, given, later))) == contents(make(hetero, given, later))


def test_the_sampler_set_in_a_hook_is_kept(hetero: Stores, predict: Callable[[Any], Any]) -> None:
    def made() -> dbgnn.NeighborLoader:
        loader = make(hetero, {}, {})
        loader.node_sampler.num_neighbors = [-1, 1]
        return loader

    assert contents(predict(made)) == contents(made())


def test_training_takes_every_seed_once(hetero: Stores) -> None:
    seen: list[int] = []

    class Training(Predicting):
        def on_train_batch_start(self, batch: Any, _: int) -> None:
            seen.extend(batch["paper"].n_id[: batch["paper"].batch_size].tolist())

    loader = make(hetero, {"shuffle": True, "transform": mark}, {})
    pl.Trainer(**QUIET).fit(Training(), loader)
    assert sorted(seen) == list(range(N))


def test_pygs_data_modules_set_the_samplers_attributes(hetero: Stores) -> None:
    given: dict[str, Any] = {
        "batch_size": 100,
        "pin_memory": False,
        "eval_loader_kwargs": {"num_neighbors": [-1], "replace": False},
    }
    nodes = ("paper", torch.arange(N))
    sampler = dbgnn.NeighborSampler(hetero, [2], replace=True)
    module = LightningNodeData(hetero, input_train_nodes=nodes, input_val_nodes=nodes, node_sampler=sampler, **given)
    full = sum(batch[CITES].num_edges for batch in module.val_dataloader())
    assert full == hetero[0].graph.num_edges(CITES)
    assert sum(batch[CITES].num_edges for batch in module.train_dataloader()) < full
    assert sampler.replace
    links = LightningLinkData(
        hetero, input_train_edges=(CITES, None), input_val_edges=(CITES, None), link_sampler=sampler, **given
    )
    for batch in links.val_dataloader():
        assert torch.equal(batch[CITES].w, batch[CITES].e_id.double() / 8)
    with pytest.raises(dbgnn.SchemaError, match="integer"):
        LightningNodeData(
            hetero, input_train_nodes=nodes, node_sampler=sampler, batch_size=9, eval_loader_kwargs={"num_neighbors": [0.5]}
        )


def test_the_page_s_python_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for block in pages.blocks(pages.ROOT / "docs" / "lightning.md"):
        exec(compile(block.code, "lightning.md", "exec"), {"__name__": "__main__"})


def test_two_processes_share_the_seeds(path: Path, tmp_path: Path) -> None:
    """DDP, in an interpreter of its own where the loader's class is first imported in the hook; which was torch's undoing."""
    script = """
        import json, sys, warnings
        warnings.filterwarnings("ignore")
        import pytorch_lightning as pl
        import torch
        import dbgnn

        def mark(batch):
            batch.marked = 7
            return batch

        class Net(pl.LightningModule):
            def __init__(self):
                super().__init__()
                self.layer, self.seen = torch.nn.Linear(2, 4), []

            def train_dataloader(self):
                stores = dbgnn.connect(sys.argv[1], read_only=True).get_torch_geometric_remote_backend("papers")
                return dbgnn.NeighborLoader(
                    stores, [3], "paper", batch_size=32, shuffle=True, transform=mark, seed=7, num_workers=int(sys.argv[3]))

            def training_step(self, batch, _):
                seeds = batch["paper"].batch_size
                self.seen += batch["paper"].n_id[:seeds].tolist()
                assert batch.marked == 7
                return self.layer(batch["paper"].x[:seeds]).sum()

            def on_train_epoch_end(self):
                loader = self.trainer.train_dataloader
                assert (loader.seed, loader.batch_size) == (7, 32)
                with open(f"{sys.argv[2]}/{self.global_rank}", "w") as file:
                    json.dump(self.seen, file)

            def configure_optimizers(self):
                return torch.optim.SGD(self.parameters(), 1e-6)

        pl.Trainer(accelerator="cpu", devices=2, strategy="ddp_fork", max_epochs=1, enable_progress_bar=False, logger=False,
                   enable_checkpointing=False, enable_model_summary=False).fit(Net())
    """
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    running = {}
    for workers in ("0", "1"):  # side by side: starting them takes longest
        (tmp_path / workers).mkdir()
        command = [sys.executable, "-c", textwrap.dedent(script), str(path), str(tmp_path / workers), workers]
        running[workers] = subprocess.Popen(
            command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
    try:
        for workers, program in running.items():
            said = program.communicate(timeout=300)[1]
            assert program.returncode == 0, said[-2000:]
            ranks = [json.loads((tmp_path / workers / str(rank)).read_text()) for rank in (0, 1)]
            assert [len(seen) for seen in ranks] == [N // 2, N // 2]
            assert sorted(ranks[0] + ranks[1]) == list(range(N))
    finally:
        for program in running.values():
            with program:
                program.kill()
