"""The reserved names are those of PyG's classes; every column has one name, and no two columns the same."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch_geometric.data import Batch, Data, HeteroData

from dbgnn.schema.names import RESERVED, attribute_names, is_reserved

VALUES = torch.arange(7.0, 10.0)
EDGES = torch.zeros((2, 3), dtype=torch.long)


def node_store() -> Any:
    data = HeteroData()
    data["paper"].x = torch.zeros(3, 1)
    return data["paper"]._parent(), data["paper"], data


def edge_store() -> Any:
    _, _, data = node_store()
    data["paper", "to", "paper"].edge_index = EDGES
    return data, data["paper", "to", "paper"], data


def homogeneous() -> Any:
    data = Data(x=torch.zeros(3, 1), edge_index=EDGES)
    return data, data, data


def batch() -> Any:
    data = Batch.from_data_list([homogeneous()[0]])
    return data, data, data


FORMS: list[Callable[[], Any]] = [node_store, edge_store, homogeneous, batch]


def names_of_pygs_classes() -> set[str]:
    found: set[str] = set()
    for form in FORMS:
        _, store, _ = form()
        for owner in (store, getattr(store, "_store", store)):
            found |= set(dir(owner)) | set(vars(owner))
    return found


def holds(form: Callable[[], Any], name: str) -> bool:
    """Whether a tensor set under a name stays there as an item, also in copies, and the numbers of nodes and edges stay."""
    _, store, kept = form()
    try:
        nodes, edges = getattr(store, "num_nodes", None), getattr(store, "num_edges", None)
        store[name] = VALUES
        same = getattr(store, "num_nodes", None) == nodes and getattr(store, "num_edges", None) == edges
        kept.to("cpu").clone().to_dict()
        return same and name in store and torch.equal(store[name], VALUES)
    except Exception:  # noqa: BLE001 - whatever PyG makes of it
        return False


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
def test_every_name_that_pyg_cannot_hold_a_tensor_under_is_reserved(form: Callable[[], Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        lost = {name for name in names_of_pygs_classes() if not holds(form, name)}
    assert lost, "the probe finds nothing"
    assert {name for name in lost if not is_reserved(name)} == set()


@pytest.mark.parametrize("name", "x y pos time edge_attr edge_weight edge_type train_mask N_ID Batch _id idx n_id_".split())
def test_users_own_names_are_not(name: str) -> None:
    assert not is_reserved(name)
    assert all(holds(form, name) for form in FORMS)


def test_all_reserved_columns_of_one_table_get_names_of_their_own() -> None:
    names = attribute_names(sorted(RESERVED))
    assert len(set(names.values())) == len(RESERVED)
    assert not set(names.values()) & RESERVED
    assert all(attr.startswith(name) and set(attr[len(name) :]) == {"_"} for name, attr in names.items())


@pytest.mark.parametrize(
    ("columns", "attrs"),
    [
        (["x", "n_id"], ["x", "n_id_"]),
        (["n_id", "n_id_"], ["n_id__", "n_id_"]),
        (["n_id", "N_ID_"], ["n_id__", "N_ID_"]),
        (["ptr", "PTR_", "ptr__"], ["ptr___", "PTR_", "ptr__"]),
        (["size", "keys", "__len__"], ["size", "keys", "__len__"]),
    ],
)
def test_the_name_is_the_columns_with_underscores_until_it_is_free(columns: list[str], attrs: list[str]) -> None:
    assert list(attribute_names(columns).values()) == attrs
