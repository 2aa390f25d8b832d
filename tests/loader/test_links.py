"""`LinkNeighborLoader`: PyG's mini-batches, negatives by their law, no edge that is the answer, whatever runs beside."""

from __future__ import annotations

import itertools
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.loader import LinkLoader
from torch_geometric.loader import LinkNeighborLoader as PyGLinkNeighborLoader
from torch_geometric.sampler import NegativeSampling

import dbgnn
from tests.loader.conftest import end_workers
from tests.loader.link_graph import FOLLOWS, MOVIES, RATED_BY, RATES, USERS, FullNeighbours, Given, write_graph


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("links") / "g.duckdb"
    with dbgnn.connect(path, progress=False) as db:
        write_graph(db)
        for name in ("films", "people"):
            db.graph(name).build()
    return path


@pytest.fixture(scope="module")
def db(path: Path) -> Iterator[dbgnn.Database]:
    with dbgnn.connect(path, read_only=True, progress=False) as db:
        yield db


@pytest.fixture(scope="module")
def films(db: dbgnn.Database) -> dbgnn.Graph:
    return db.graph("films")


@pytest.fixture(scope="module")
def in_memory(films: dbgnn.Graph) -> Any:
    return films.to_heterodata()


@pytest.fixture(scope="module")
def people(db: dbgnn.Database) -> Any:
    return db.get_torch_geometric_remote_backend("people", homogeneous=True)


def store(batch: Any, edge_type: Any) -> Any:
    return batch if isinstance(batch, Data) else batch[edge_type]


def nodes(batch: Any, label: str) -> Any:
    return batch if isinstance(batch, Data) else batch[label]


def links_of(batch: Any, edge_type: Any = RATES) -> Tensor:
    """The seed links of a mini-batch by the ids of their ends, ``[2, n]``."""
    index = store(batch, edge_type).edge_label_index
    return torch.stack([nodes(batch, edge_type[0]).n_id[index[0]], nodes(batch, edge_type[2]).n_id[index[1]]])


def triplets_of(batch: Any, edge_type: Any = RATES) -> tuple[Tensor, Tensor, Tensor]:
    source, target = nodes(batch, edge_type[0]), nodes(batch, edge_type[2])
    return source.n_id[source.src_index], target.n_id[target.dst_pos_index], target.n_id[target.dst_neg_index]


def given_negatives(batch: Any, edge_type: Any, negative: NegativeSampling, *, disjoint: bool) -> Given:
    """The negatives of a mini-batch, in the order in which PyG asks for them."""
    if negative.is_binary():
        num_pos = len(store(batch, edge_type).input_id)
        ends = dict(zip(("src", "dst"), links_of(batch, edge_type)[:, num_pos:], strict=True))
    else:
        found = triplets_of(batch, edge_type)[2]
        found = found.view(len(found), -1)
        ends = {"dst": (found.t() if disjoint else found).reshape(-1)}
    return Given(negative.mode, negative.amount, ends)


def edges_of(batch: Any, edge_type: Any, *, disjoint: bool) -> list[Any]:
    part = store(batch, edge_type)
    trees = nodes(batch, edge_type[2]).batch[part.edge_index[1]] if disjoint else torch.zeros_like(part.e_id)
    return sorted(zip(trees.tolist(), part.e_id.tolist(), strict=True))


NAMES = "input_id edge_label_index edge_label edge_label_time src_index dst_pos_index dst_neg_index seed_time".split()


def check_like_pygs(ours: Any, theirs: Any, edge_types: Any, *, disjoint: bool) -> None:
    """Compare all that is said of the seeds, and the nodes and edges there are; order within a hop is free."""
    for mine, other in zip(ours.stores, theirs.stores, strict=True):
        for name in NAMES:
            assert (name in mine) == (name in other), name
            if name in mine:
                assert mine[name].dtype == other[name].dtype, name
                assert torch.equal(mine[name], other[name]), name
        if "n_id" in mine:
            keys = [(part.batch if disjoint else torch.zeros_like(part.n_id)).tolist() for part in (mine, other)]
            pairs = [sorted(zip(k, p.n_id.tolist(), strict=True)) for k, p in zip(keys, (mine, other), strict=True)]
            assert pairs[0] == pairs[1]
            assert torch.equal(mine.x.flatten(), mine.n_id.float())
    for edge_type in edge_types:
        assert edges_of(ours, edge_type, disjoint=disjoint) == edges_of(theirs, edge_type, disjoint=disjoint)


NEGATIVES: list[Any] = [None, ("binary", 1), ("binary", 1.5), ("binary", 3), ("triplet", 1), ("triplet", 2)]


@pytest.mark.parametrize("disjoint", [False, True], ids=["joint", "disjoint"])
@pytest.mark.parametrize("negative", NEGATIVES, ids=str)
@pytest.mark.parametrize("kind", ["two types", "one type", "homogeneous"])
def test_attributes_are_pygs(
    films: dbgnn.Graph, people: Any, in_memory: Any, kind: str, negative: Any, *, disjoint: bool
) -> None:
    """In full neighbourhoods; negatives are ours, handed to PyG."""
    edge_type = RATES if kind == "two types" else FOLLOWS
    data, source = (in_memory, films) if kind != "homogeneous" else (people_in_memory(in_memory), people)
    asked = None if negative is None else NegativeSampling(*negative)
    given = (edge_type if kind != "homogeneous" else None, in_memory[edge_type].edge_index[:, 3:20])
    options: dict[str, Any] = {"batch_size": 6}
    loader = dbgnn.LinkNeighborLoader(source, [-1, -1], given, disjoint=disjoint, neg_sampling=asked, **options)
    sampler = FullNeighbours(data, 2, disjoint=disjoint)
    types = [FOLLOWS] if kind == "homogeneous" else in_memory.edge_types
    for number, ours in enumerate(loader):
        if negative == ("binary", 1.5) and disjoint and number == 0:
            # PyG numbers the trees of 6 + 9 links modulo 6, through both ends; ours belong to their links at both.
            place = torch.arange(15) % 6
            ends = [nodes(ours, edge_type[i]).batch for i in (0, 2)]
            both = [ends[0][:15], ends[1][:15] if kind == "two types" else ends[1][15:30]]
            assert all(torch.equal(end, place) for end in both)
            return
        neg = None if asked is None else given_negatives(ours, edge_type, asked, disjoint=disjoint)
        few = list(itertools.islice(range(17), number * 6, number * 6 + 6))
        links = given[1] if kind == "homogeneous" else given
        pyg = LinkLoader(data, sampler, links, neg_sampling=neg, sampler=few, **options)
        check_like_pygs(ours, next(iter(pyg)), types, disjoint=disjoint)


def people_in_memory(data: Any) -> Data:
    return Data(x=data["user"].x, edge_index=data[FOLLOWS].edge_index)


@pytest.mark.parametrize("labels", [torch.arange(17) % 3, torch.arange(17) % 3 + 1, torch.arange(34.0).view(17, 2)], ids=str)
@pytest.mark.parametrize("negative", [None, ("binary", 2)], ids=str)
def test_labels_are_pygs(films: dbgnn.Graph, in_memory: Any, labels: Tensor, negative: Any) -> None:
    asked = None if negative is None else NegativeSampling(*negative)
    given = (RATES, in_memory[RATES].edge_index[:, :17])
    options: dict[str, Any] = {"edge_label": labels, "batch_size": 17, "input_id": torch.arange(100, 117)}
    ours = next(iter(dbgnn.LinkNeighborLoader(films, [-1], given, neg_sampling=asked, **options)))
    neg = None if asked is None else given_negatives(ours, RATES, asked, disjoint=False)
    sampler = FullNeighbours(in_memory, 1, disjoint=False)
    theirs = next(iter(LinkLoader(in_memory, sampler, given, neg_sampling=neg, **options)))
    check_like_pygs(ours, theirs, in_memory.edge_types, disjoint=False)


@pytest.mark.parametrize("negative", [None, ("binary", 1), ("triplet", 2)], ids=str)
@pytest.mark.parametrize("edge_type", [RATES, FOLLOWS], ids=["two types", "one type"])
def test_times_are_pygs(films: dbgnn.Graph, in_memory: Any, edge_type: Any, negative: Any) -> None:
    """No node or edge is later than its link; the links' own times are taken where none are given."""
    asked = None if negative is None else NegativeSampling(*negative)
    times = {label: in_memory[label].ts for label in ("movie", RATES, RATED_BY, FOLLOWS)}
    # Films that are later than a rating cannot be its negatives; those before all films have none.
    late = (times[edge_type] >= 3).nonzero().flatten()[:12]
    options: dict[str, Any] = {"time_attr": "ts", "neg_sampling": asked, "batch_size": 12}
    ours = next(iter(dbgnn.LinkNeighborLoader(films, [-1, -1], (edge_type, late), **options)))
    given = next(
        iter(dbgnn.LinkNeighborLoader(films, [-1, -1], (edge_type, late), edge_label_time=times[edge_type][late], **options))
    )
    assert torch.equal(store(ours, edge_type).e_id, store(given, edge_type).e_id)
    neg = None if asked is None else given_negatives(ours, edge_type, asked, disjoint=True)
    links = (edge_type, in_memory[edge_type].edge_index[:, late])
    sampler = FullNeighbours(in_memory, 2, disjoint=True, times=times)
    theirs = next(
        iter(LinkLoader(in_memory, sampler, links, edge_label_time=times[edge_type][late], neg_sampling=neg, batch_size=12))
    )
    check_like_pygs(ours, theirs, in_memory.edge_types, disjoint=True)
    if asked is not None and edge_type == RATES:
        if asked.is_binary():
            drawn, until = links_of(ours)[1, 12:], ours[RATES].edge_label_time[12:]
        else:
            drawn, until = triplets_of(ours)[2], times[RATES][late].view(-1, 1)
        assert (times["movie"][drawn] <= until).all()


def test_forms_of_links(films: dbgnn.Graph, people: Any, in_memory: Any) -> None:
    index, stars = in_memory[RATES].edge_index, in_memory[RATES].stars
    some = (stars == 3).nonzero().flatten()
    forms: list[tuple[Any, Tensor]] = [
        (RATES, index),
        ("rates", index),
        ((RATES, None), index),
        (("rates", index[:, :5]), index[:, :5]),
        ((RATES, index[:, :5].numpy()), index[:, :5]),
        ((RATES, (index[0, :5], index[1, :5])), index[:, :5]),
        ((RATES, index[:, :5].tolist()), index[:, :5]),
        ((RATES, some), index[:, some]),
        ((RATES, some.tolist()), index[:, some]),
        ((RATES, range(4)), index[:, :4]),
        ((RATES, stars == 3), index[:, some]),
        ((RATES, "stars = 3"), index[:, some]),
    ]
    for given, wanted in forms:
        loader = dbgnn.LinkNeighborLoader(films, [1], given, batch_size=500)
        (batch,) = loader
        assert torch.equal(links_of(batch), wanted), given
        of_mask = isinstance(given[1], Tensor) and given[1].dtype == torch.bool
        assert torch.equal(batch[RATES].input_id, some if of_mask else torch.arange(wanted.shape[1]))
    follows = in_memory[FOLLOWS].edge_index
    for given in (None, (None, None), (None, follows), follows, "ts >= 0", ("follows", None)):
        (data,) = dbgnn.LinkNeighborLoader(people, [1], given, batch_size=500)
        assert torch.equal(links_of(data, FOLLOWS), follows)
    (batch,) = dbgnn.LinkNeighborLoader(films, [1], (RATES, "stars > 1"), edge_label="stars", batch_size=500)
    assert torch.equal(batch[RATES].edge_label, stars[stars > 1])
    with pytest.warns(UserWarning, match="no seed links.*'stars > 9' is true"):
        assert list(dbgnn.LinkNeighborLoader(films, [1], (RATES, "stars > 9"), neg_sampling="binary")) == []


# -- edges that are the answer ---------------------------------------------------------------------------


@pytest.mark.parametrize("subgraph_type", ["directional", "induced"])
@pytest.mark.parametrize("form", ["ids", "pairs"])
@pytest.mark.parametrize("edge_type", [RATES, FOLLOWS], ids=["two types", "one type"])
def test_seed_edges_are_left_out(films: dbgnn.Graph, in_memory: Any, edge_type: Any, form: str, subgraph_type: str) -> None:
    index = in_memory[edge_type].edge_index
    chosen = torch.arange(index.shape[1])
    given = (edge_type, chosen if form == "ids" else index)
    for exclude, k in ((True, -1), ("reverse", -1), ("reverse", 2)):
        asked: dict[str, Any] = {"subgraph_type": subgraph_type, "batch_size": 20, "neg_sampling": "binary"}
        asked["exclude_seed_edges"] = exclude
        plain = dbgnn.LinkNeighborLoader(films, [k, k], given, **asked | {"exclude_seed_edges": False})
        for batch, whole in zip(dbgnn.LinkNeighborLoader(films, [k, k], given, **asked), plain, strict=True):
            seeds = batch[edge_type].input_id
            pairs = set(map(tuple, index[:, seeds].t().tolist()))
            back = {(b, a) for a, b in pairs}
            banned: dict[Any, set[int]] = {t: set() for t in in_memory.edge_types}
            # Links with ids are these edges alone; pairs are all edges between both.
            banned[edge_type] = set(seeds.tolist()) if form == "ids" else edges_among(in_memory, edge_type, pairs)
            if exclude == "reverse" and edge_type == RATES:
                banned[RATED_BY] = set(seeds.tolist()) if form == "ids" else edges_among(in_memory, RATED_BY, back)
            elif exclude == "reverse":
                banned[FOLLOWS] |= edges_among(in_memory, FOLLOWS, back)
            assert torch.equal(links_of(batch, edge_type), links_of(whole, edge_type))
            for t, edges in banned.items():
                assert not edges & set(batch[t].e_id.tolist())
            if k < 0 and subgraph_type == "directional":  # nothing else is missing where links lead to
                seen = set(batch[edge_type].edge_label_index[1].tolist())
                mine, all_ = ({e for e, at in ends_of(part[edge_type]) if at in seen} for part in (batch, whole))
                assert mine == all_ - banned[edge_type]


@pytest.mark.parametrize(
    "options",
    [
        {"replace": True},
        {"mode": "labor"},
        {"weight_attr": "w"},
        {"sample_direction": "backward"},
        {"where": {"rates": "stars > 1"}},
        {"time_attr": "ts", "temporal_strategy": "last", "time_window": 30},
    ],
    ids=str,
)
def test_seed_edges_are_left_out_in_every_mode(films: dbgnn.Graph, options: dict[str, Any]) -> None:
    """Of some and of all neighbours; what else is there stays."""
    for k in (2, -1):
        asked: dict[str, Any] = {"batch_size": 40, **options}
        loader = dbgnn.LinkNeighborLoader(films, [k, k], "rates", exclude_seed_edges="reverse", **asked)
        plain = dbgnn.LinkNeighborLoader(films, [k, k], "rates", **asked)
        assert "excluded" in loader.explain(sql=True)
        assert "excluded" not in plain.explain(sql=True)
        shared = 0
        for batch, whole in zip(loader, plain, strict=True):
            seeds = set(batch[RATES].input_id.tolist())
            for edge_type in (RATES, RATED_BY):
                mine, all_ = (set(part[edge_type].e_id.tolist()) for part in (batch, whole))
                assert mine
                assert not mine & seeds
                shared += len(all_ & seeds)
                if k < 0:
                    assert mine <= all_
        assert shared


def ends_of(edges: Any) -> list[tuple[int, int]]:
    return list(zip(edges.e_id.tolist(), edges.edge_index[1].tolist(), strict=True))


def edges_among(data: Any, edge_type: Any, pairs: set[Any]) -> set[int]:
    return {e for e, pair in enumerate(map(tuple, data[edge_type].edge_index.t().tolist())) if pair in pairs}


def test_the_reverse_is_found_or_named(films: dbgnn.Graph) -> None:
    with dbgnn.connect(progress=False) as db:
        db.execute("CREATE TABLE a (id BIGINT); CREATE TABLE b (id BIGINT); CREATE TABLE likes AS SELECT 0 s, 0 d LIMIT 1")
        db.execute("INSERT INTO a VALUES (0); INSERT INTO b VALUES (0); CREATE TABLE back AS SELECT 0 s, 0 d")
        shape = """CREATE OR REPLACE PROPERTY GRAPH g VERTEX TABLES (a KEY (id), b KEY (id)) EDGE TABLES (
          likes SOURCE KEY (s) REFERENCES a (id) DESTINATION KEY (d) REFERENCES b (id),
          back SOURCE KEY (s) REFERENCES b (id) DESTINATION KEY (d) REFERENCES a (id) LABEL {})"""
        likes = ("a", "likes", "b")
        for label, asked in (("rev_likes", "reverse"), ("liked", ("b", "liked", "a"))):
            db.execute("DROP PROPERTY GRAPH IF EXISTS g") if label == "liked" else None
            db.execute(shape.format(label).replace("CREATE OR REPLACE", "CREATE"))
            (batch,) = dbgnn.LinkNeighborLoader(db.graph("g"), [-1], likes, exclude_seed_edges=asked)
            assert batch.num_edges == 0
        with pytest.raises(dbgnn.SchemaError, match=r"Name it: exclude_seed_edges=\('b', 'liked', 'a'\)"):
            dbgnn.LinkNeighborLoader(db.graph("g"), [-1], likes, exclude_seed_edges="reverse")
    with pytest.raises(dbgnn.SchemaError, match="leads from 'user' to 'user'"):
        dbgnn.LinkNeighborLoader(films, [-1], RATES, exclude_seed_edges=FOLLOWS)


def test_the_reverse_of_links_of_one_type_is_looked_for_under_both_names() -> None:
    """What PyG's `ToUndirected(merge=False)` makes of a graph, and `from_pyg` brings over."""
    with dbgnn.connect(progress=False) as db:
        db.execute("CREATE TABLE a AS SELECT range AS id FROM range(3); CREATE TABLE cites (s BIGINT, d BIGINT)")
        db.execute("INSERT INTO cites VALUES (0, 1), (1, 0), (1, 2); CREATE TABLE back AS SELECT d AS s, s AS d FROM cites")
        db.execute("""CREATE PROPERTY GRAPH g VERTEX TABLES (a KEY (id)) EDGE TABLES (
          cites SOURCE KEY (s) REFERENCES a (id) DESTINATION KEY (d) REFERENCES a (id),
          back SOURCE KEY (s) REFERENCES a (id) DESTINATION KEY (d) REFERENCES a (id) LABEL rev_cites)""")
        found = dbgnn.LinkNeighborLoader(db.graph("g"), [-1, -1], ("cites", [0]), exclude_seed_edges="reverse")
        (batch,) = found
        assert batch["cites"].e_id.tolist() == [2]  # neither the link itself nor 1 -> 0
        assert sorted(batch["rev_cites"].e_id.tolist()) == [1, 2]  # nor 1 -> 0 as the reverse is called


# -- negatives -------------------------------------------------------------------------------------------


def drawn(source: Any, negative: Any, **options: Any) -> Tensor:
    """The destinations of the negative links of an epoch."""
    loader = dbgnn.LinkNeighborLoader(source, [0], RATES, neg_sampling=negative, batch_size=40, **options)
    if negative.is_triplet():
        return torch.cat([triplets_of(batch)[2].flatten() for batch in loader])
    return torch.cat([links_of(batch)[:, len(batch[RATES].input_id) :] for batch in loader], dim=1)


@pytest.mark.parametrize("weights", [None, torch.arange(MOVIES), torch.arange(MOVIES) ** 0.75, torch.eye(MOVIES)[4]], ids=str)
def test_negatives_follow_their_law(films: dbgnn.Graph, weights: Any) -> None:
    """Chi-square over 160 × 100 draws; those of weight 0 never come."""
    counts = torch.bincount(drawn(films, NegativeSampling("triplet", 100, dst_weight=weights)), minlength=MOVIES).double()
    law = torch.ones(MOVIES) if weights is None else weights
    wanted = (law / law.sum()).double() * counts.sum()
    assert (counts[wanted == 0] == 0).all()
    some = wanted > 0
    chi = float(((counts - wanted)[some] ** 2 / wanted[some]).sum())
    assert chi < int(some.sum()) - 1 + 5 * np.sqrt(2 * int(some.sum()))


def test_both_ends_are_drawn_by_themselves(films: dbgnn.Graph) -> None:
    src, dst = drawn(films, NegativeSampling("binary", 50))
    table = torch.bincount(src * MOVIES + dst, minlength=USERS * MOVIES).double()
    wanted = len(src) / (USERS * MOVIES)
    chi, freedom = float(((table - wanted) ** 2 / wanted).sum()), USERS * MOVIES - 1
    assert abs(chi - freedom) < 5 * np.sqrt(2 * freedom)


@pytest.mark.parametrize("mode", ["binary", "triplet"])
def test_true_edges_are_avoided(films: dbgnn.Graph, in_memory: Any, mode: str) -> None:
    true = set(map(tuple, in_memory[RATES].edge_index.t().tolist()))
    negative = NegativeSampling(mode, 20)
    loader = dbgnn.LinkNeighborLoader(films, [1], RATES, neg_sampling=negative, avoid_true_edges=True, batch_size=32)
    plain = dbgnn.LinkNeighborLoader(films, [1], RATES, neg_sampling=negative, batch_size=32)
    false = [0, 0]
    for number, batches in enumerate((loader, plain)):
        for batch in batches:
            if mode == "binary":
                pairs = links_of(batch)[:, len(batch[RATES].input_id) :].t()
            else:
                src, _, dst = triplets_of(batch)
                pairs = torch.stack([src.view(-1, 1).expand_as(dst), dst], dim=2).view(-1, 2)
            false[number] += sum(tuple(pair) in true for pair in pairs.tolist())
    assert false[0] == 0 < false[1]


def test_where_nearly_all_pairs_are_edges(tmp_path: Path) -> None:
    """A source with one destination left finds it; one with none is an error that says how dense the graph is."""
    with dbgnn.connect(tmp_path / "d.duckdb", progress=False) as db:
        db.execute(
            """CREATE TABLE n AS SELECT i AS id FROM range(40) t(i);
            CREATE TABLE e AS SELECT a.id AS s, b.id AS d FROM n AS a, n AS b WHERE NOT (a.id < 39 AND b.id = a.id)"""
        )
        db.execute(
            """CREATE PROPERTY GRAPH g VERTEX TABLES (n KEY (id)) EDGE TABLES (
              e SOURCE KEY (s) REFERENCES n (id) DESTINATION KEY (d) REFERENCES n (id))"""
        )
        options: dict[str, Any] = {"neg_sampling": "triplet", "avoid_true_edges": True, "batch_size": 64}
        for batch in dbgnn.LinkNeighborLoader(db.graph(), [1], "s % 8 = 1", **options):
            src, _, negative = triplets_of(batch, ("n", "e", "n"))
            assert torch.equal(src, negative)
        with pytest.raises(dbgnn.RequestError, match=r"source 39, 585 draws each were edges.*1,561 edges for 1,600 pairs .*97"):
            next(iter(dbgnn.LinkNeighborLoader(db.graph(), [1], "s = 39", **options)))


# -- the same whatever runs beside -----------------------------------------------------------------------


def contents(loader: Any) -> list[Any]:
    """What a loader gives, tensor by tensor."""
    found = [
        [
            (i, name, value.tolist())
            for i, part in enumerate(batch.stores)
            for name, value in part.items()
            if isinstance(value, Tensor)
        ]
        for batch in loader
    ]
    end_workers(loader)
    return found


def make(films: dbgnn.Graph, **options: Any) -> dbgnn.LinkNeighborLoader:
    defaults: dict[str, Any] = {
        "neg_sampling": NegativeSampling("binary", 1.5, dst_weight=torch.arange(MOVIES)),
        "avoid_true_edges": True,
        "exclude_seed_edges": "reverse",
        "edge_label": "stars",
        "batch_size": 40,
        "seed": 3,
    }
    return dbgnn.LinkNeighborLoader(films, [3, 2], RATES, **defaults | options)


@pytest.mark.parametrize("options", [{}, {"disjoint": True}, {"neg_sampling": "triplet", "edge_label": None}], ids=str)
def test_the_same_mini_batches(path: Path, options: dict[str, Any]) -> None:
    wanted = None
    for threads in (1, 2):
        with dbgnn.connect(path, read_only=True, progress=False, threads=threads) as db:
            films = db.graph("films")
            wanted = wanted or contents(make(films, super_batch=1, prefetch=0, **options))
            for super_batch, prefetch in ((1, 2), (7, 0), ("auto", "auto")):
                assert contents(make(films, super_batch=super_batch, prefetch=prefetch, **options)) == wanted
            if threads == 2:
                for plan in ("shared", "spooled") if options else ():
                    assert contents(make(films, plan=plan, cache_bytes=100, **options)) == wanted
                workers = {"num_workers": 2, "multiprocessing_context": "fork", "timeout": 60}
                assert contents(make(films, **workers, **options)) == wanted
                assert contents(pickle.loads(pickle.dumps(make(films, **options)))) == wanted
    assert len(wanted or []) == 4


def test_epochs_and_seeds_differ(films: dbgnn.Graph) -> None:
    loader = make(films)
    first, second = contents(loader), contents(loader)
    assert first != second
    assert contents(make(films, seed=4)) != first
    assert contents(make(films)) == first


def test_packs(films: dbgnn.Graph, tmp_path: Path) -> None:
    make(films).pack(tmp_path / "pack", epochs=2)
    loader, packed = make(films), dbgnn.PackedLoader(tmp_path / "pack")
    assert [contents(packed) for _ in range(2)] == [contents(loader) for _ in range(2)]
    others: list[tuple[dict[str, Any], str]] = [
        ({"neg_sampling": "binary"}, "neg_sampling"),
        ({"neg_sampling": NegativeSampling("binary", 1.5, dst_weight=torch.arange(MOVIES) + 1)}, "neg_sampling"),
        ({"avoid_true_edges": False}, "avoid_true_edges"),
        ({"exclude_seed_edges": True}, "exclude_seed_edges"),
        ({"edge_label": None}, "edge_label"),
        ({"input_id": torch.arange(160) + 1}, "input_id"),
        ({"seed": 4}, "seed"),
    ]
    for options, name in others:
        with pytest.raises(dbgnn.DbgnnError, match=f"they differ in {name}:"):
            make(films, **options).pack(tmp_path / "pack", epochs=2)
    with pytest.raises(dbgnn.DbgnnError, match="they differ in edge_label_index:"):
        dbgnn.LinkNeighborLoader(
            films, [3, 2], (RATES, in_order(films)), **{k: getattr(loader, k) for k in KEPT}, batch_size=40, seed=3
        ).pack(tmp_path / "pack", epochs=2)


KEPT = ["neg_sampling", "avoid_true_edges", "exclude_seed_edges", "edge_label"]


def in_order(films: dbgnn.Graph) -> list[int]:
    return [1, 0, *range(2, films.num_edges(RATES))]


# -- PyG's own loaders, and errors -----------------------------------------------------------------------


def test_pygs_loader_takes_the_sampler(db: dbgnn.Database, in_memory: Any) -> None:
    """By counters too: torch's generator is not touched, and times narrow what is sampled."""
    stores = db.get_torch_geometric_remote_backend("films")
    index, times = in_memory[RATES].edge_index, in_memory[RATES].ts
    runs = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        sampler = dbgnn.NeighborSampler(stores, [-1], time_attr="ts", seed=5)
        some = (times >= 3).nonzero().flatten()
        loader = PyGLinkNeighborLoader(
            stores,
            [-1],
            edge_label_index=(RATES, index[:, some]),
            edge_label_time=times[some],
            time_attr="ts",
            neg_sampling="binary",
            neighbor_sampler=sampler,
            batch_size=16,
        )
        state = torch.random.get_rng_state()
        runs.append(
            [[links_of(batch).tolist(), batch[RATES].e_id.tolist()] for batch in map(loader, torch.arange(32).split(16))]
        )
        assert torch.equal(torch.random.get_rng_state(), state)
        for batch in loader:
            until = batch["movie"].batch[batch[RATES].edge_index[1]]
            assert (times[batch[RATES].e_id] <= times[some][batch[RATES].input_id][until]).all()
    assert runs[0] == runs[1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"edge_label_index": None}, "must say which edge type"),
        ({"edge_label_index": "rate"}, "rates"),
        ({"edge_label_index": (RATES, torch.zeros(2, 3))}, "integer node ids"),
        ({"edge_label_index": (RATES, torch.zeros(5, 2).long())}, r"\[5, 2\]; turn it: \.t\(\)"),
        ({"edge_label_index": (RATES, torch.tensor([[0, USERS], [0, 0]]))}, f"source {USERS}, which is no id of 'user'"),
        ({"edge_label_index": (RATES, torch.tensor([[0, 0], [0, -1]]))}, "destination -1, which is no id of 'movie'"),
        ({"edge_label_index": (RATES, [9999])}, "9999"),
        ({"edge_label_index": (RATES, ([1, 2], [1]))}, "2 sources and 1 destinations"),
        ({"edge_label_index": (RATES, torch.ones(7, dtype=torch.bool))}, "mask.* 7 values"),
        ({"edge_label_index": (RATES, "star = 3")}, "stars"),
        ({"edge_label": torch.ones(3)}, "edge_label has 3 entries for 160 seed links"),
        ({"input_id": torch.ones(3)}, "input_id has 3 entries for 160 seed links"),
        ({"edge_label": torch.ones(160), "neg_sampling": "triplet"}, "no meaning for triplets"),
        ({"edge_label": "stars", "edge_label_index": (RATES, torch.zeros(2, 3).long())}, "pairs of nodes"),
        ({"edge_label_time": torch.ones(160).long()}, "needs time_attr"),
        ({"time_attr": "ts", "edge_label_index": (RATES, torch.zeros(2, 3).long())}, "give edge_label_time"),
        ({"neg_sampling": "ternary"}, "neg_sampling='ternary' is none of PyG's"),
        ({"neg_sampling": NegativeSampling("binary"), "neg_sampling_ratio": 1.0}, "mean the same"),
        ({"neg_sampling_ratio": -1.0}, "neg_sampling_ratio=-1.0 is none of PyG's"),
        ({"avoid_true_edges": True}, "avoid_true_edges is about negative links, and there are none"),
        ({"edge_label": 5}, "edge_label has no dimension for 160 seed links"),
        ({"edge_label": ["a"] * 160}, "edge_label must be a tensor"),
        ({"exclude_seed_edges": 3}, "must be True, False, 'reverse' or an edge type"),
    ],
)
def test_errors(films: dbgnn.Graph, options: dict[str, Any], message: str) -> None:
    with pytest.raises(dbgnn.DbgnnError, match=message):
        dbgnn.LinkNeighborLoader(films, [1], **{"edge_label_index": RATES} | options)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (torch.ones(3), "one entry for each of 30 nodes"),
        (-torch.ones(MOVIES), "that of node 0 is -1"),
        (torch.full((MOVIES,), torch.nan), "that of node 0 is nan"),
        (torch.zeros(MOVIES), "0 for every node"),
    ],
)
def test_weights_that_are_none(films: dbgnn.Graph, weights: Tensor, message: str) -> None:
    loader = dbgnn.LinkNeighborLoader(films, [1], RATES, neg_sampling=NegativeSampling("triplet", dst_weight=weights))
    with pytest.raises(dbgnn.RequestError, match=message):
        next(iter(loader))


def test_links_before_all_nodes_have_no_negative(films: dbgnn.Graph) -> None:
    loader = dbgnn.LinkNeighborLoader(films, [1], (RATES, [0]), edge_label_time=[-5], time_attr="ts", neg_sampling="triplet")
    with pytest.raises(dbgnn.RequestError, match="no node of type 'movie' that is not later than -5"):
        next(iter(loader))


def test_changed_edges_are_stale(tmp_path: Path) -> None:
    with dbgnn.connect(tmp_path / "s.duckdb", progress=False) as db:
        write_graph(db)
        films = db.graph("films")
        pairs = torch.tensor([[0, 1], [2, 3]])
        by_id, by_pair = (dbgnn.LinkNeighborLoader(films, [1], (RATES, given)) for given in ([0, 1], pairs))
        db.execute("DELETE FROM rates WHERE u = 0")
        films.build()
        list(by_pair)
        with pytest.raises(dbgnn.StaleIndexError, match="Edges of type user-rates-movie were added, removed"):
            list(by_id)
