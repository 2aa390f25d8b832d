"""Every form of index, against what ``torch`` makes of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dbgnn.errors import RequestError
from dbgnn.stores.request import rows_of

N = 7
X = torch.arange(N) * 10


def taken(index: Any) -> torch.Tensor:
    return X[torch.from_numpy(rows_of(index, N, "paper").array())]


INT_DTYPES = [torch.int8, torch.int16, torch.int32, torch.int64, torch.uint8, torch.uint16, torch.uint32, torch.uint64]


@pytest.mark.parametrize("dtype", INT_DTYPES, ids=str)
def test_integers_of_any_width(dtype: torch.dtype) -> None:
    ids = torch.tensor([6, 0, 0, 3]).to(dtype)
    assert taken(ids).tolist() == [60, 0, 0, 30]
    assert taken(ids.numpy()).tolist() == [60, 0, 0, 30]


@given(st.slices(N))
def test_slices_as_in_numpy(cut: slice) -> None:
    assert taken(cut).tolist() == X.numpy()[cut].tolist()


@pytest.mark.parametrize("index", [None, slice(None), range(N), list(range(N)), torch.ones(N, dtype=torch.bool)], ids=str)
def test_all_rows(index: object) -> None:
    assert torch.equal(taken(index), X)


@given(st.lists(st.booleans(), min_size=N, max_size=N))
def test_masks(mask: list[bool]) -> None:
    want = X[torch.tensor(mask)].tolist()
    for form in (mask, np.array(mask), torch.tensor(mask)):
        assert taken(form).tolist() == want


@pytest.mark.parametrize(
    "index", [[], np.array([], dtype=int), torch.empty(0, dtype=torch.long), slice(3, 3), range(0)], ids=str
)
def test_empty(index: object) -> None:
    assert rows_of(index, N, "paper").array().dtype == np.int64
    assert len(rows_of(index, N, "paper")) == 0


@pytest.mark.parametrize("index", [3, np.int32(3), torch.tensor(3), np.array(3)], ids=repr)
def test_one_integer_is_a_scalar(index: object) -> None:
    rows = rows_of(index, N, "paper")
    assert rows.scalar
    assert rows.array().tolist() == [3]


def test_the_range_of_steps_backwards() -> None:
    assert taken(range(5, -1, -2)).tolist() == [50, 30, 10]


@pytest.mark.parametrize(
    ("index", "message"),
    [
        (torch.tensor([1, N]), rf"Id {N} of 'paper' is out of range \(too large\): N = 7, valid are 0 to 6"),
        (torch.tensor([2, -1, -3]), r"Id -1 of 'paper' and 1 more ids are out of range \(negative\)"),
        (-1, "Id -1 of 'paper'"),
        (N, "Id 7 of 'paper'"),
        (2**70, "Id 1180591620717411303424 of 'paper'"),
        (np.array([2**64 - 1], dtype=np.uint64), "Id 18446744073709551615 of 'paper'"),
        (torch.tensor([1.0]), "of dtype float32, such as 1.0; ids are integers"),
        (torch.empty(0), "of dtype float32"),
        (1.5, "is a float: 1.5"),
        (["a"], "of dtype <U1"),
        ("paper", "is a str"),
        ([1, None], "not integers"),
        ([True, 2], "mixes booleans and numbers"),
        (True, "one value per row, 7"),
        (torch.ones(N - 1, dtype=torch.bool), "The mask of 'paper' has 6 values, but there are 7 rows"),
        (torch.zeros(2, 2, dtype=torch.long), r"2 dimensions, shape \(2, 2\)"),
        ([[1], [2, 3]], "no list of integers"),
        (slice("a", None), "not made of integers"),
        (slice(None, None, 0), "step 0"),
        (range(5, N + 1), "Id 7 of 'paper'"),
        (object(), "is a object"),
    ],
    ids=lambda given: "an object" if type(given) is object else str(given),
)
def test_what_is_no_request(index: object, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        rows_of(index, N, "paper")


def test_an_empty_group_has_no_valid_ids() -> None:
    with pytest.raises(RequestError, match="N = 0, there are no rows"):
        rows_of([0], 0, "paper")
