"""What a caller asks for, as positions: every form of index PyG takes becomes a range or an int64 array.

Order and duplicates are kept. Ids that are negative, too large or not integers never reach the SQL.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, uint8

from dbgnn.errors import RequestError
from dbgnn.topology.distinct import sorted_distinct

Ids64: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of a request.

    Attributes:
        ids: A range, where the rows lie one after the other in ascending order; else an int64 array ``[n]``.
        scalar: The index was one integer: the result has no rows dimension, as ``x[3]`` has none.
        is_mask: The index was a mask.
    """

    ids: range | Ids64
    scalar: bool = False
    is_mask: bool = False

    def __len__(self) -> int:
        return len(self.ids)

    def array(self) -> Ids64:
        """Return the ids as an int64 array ``[n]``."""
        return np.arange(self.ids.start, self.ids.stop) if isinstance(self.ids, range) else self.ids

    def covers(self, num_rows: int) -> bool:
        """Whether these are all rows, in order."""
        return isinstance(self.ids, range) and self.ids == range(num_rows)

    def names_all(self, num_rows: int) -> bool:
        """Whether every row is among these, in any order, once or several times."""
        return self.covers(num_rows) or (len(self.ids) >= num_rows and len(sorted_distinct(self.array())) == num_rows)


def by_position(ids: Ids64, pos: Ids64 | None) -> Ids64:
    """Return the id at every position, 0 where there is none."""
    if pos is None:
        return ids
    out = np.zeros(int(pos.max()) + 1, dtype=np.int64)
    out[pos] = ids
    return out


def rows_of(index: Any, num_rows: int, group: object) -> Rows:
    """Return the rows that ``index`` names among ``num_rows``.

    Args:
        index: None or ``[:]`` (all), a slice with any step, an integer, a bool mask ``[num_rows]``, or integers
            ``[n]`` of any width as a tensor, array, list, range, or anything that NumPy takes, such as a pandas Series, by
            position. A uint8 tensor of zeros and ones is a mask, as it is to torch.
        num_rows: Number of rows of the group.
        group: The node or edge type; named in errors.

    Raises:
        RequestError: An id is negative, not below ``num_rows``, or no integer; a mask has the wrong length;
            the index has more than one dimension.
    """
    if index is None:
        return Rows(range(num_rows))
    if isinstance(index, slice):
        return _of_slice(index, num_rows, group)
    if isinstance(index, range):
        index = np.arange(index.start, index.stop, index.step)
    if isinstance(index, (bool, np.bool_)):
        raise RequestError(f"The index of {group!r} is {index!r}; a mask has one value per row, {num_rows:,} of them.")
    if isinstance(index, (int, np.integer)):
        return Rows(_checked(np.array([int(index)], dtype=object), num_rows, group), scalar=True)
    array = _as_array(index, group)
    if array.dtype == object and array.size and all(isinstance(i, (bool, np.bool_)) for i in array.flat):
        array = array.astype(np.bool_)  # what pandas and Arrow make of booleans that may be missing
    if array.ndim == 0 and array.dtype != np.bool_:
        return Rows(_checked(array.reshape(1), num_rows, group), scalar=True)
    if array.ndim != 1:
        raise RequestError(
            f"The index of {group!r} has {array.ndim} dimensions, shape {array.shape}; ids have one. Flatten it."
        )
    if array.dtype == np.bool_ or (_is_mask_to_torch(index) and array.size and _zeros_and_ones(array)):
        if len(array) != num_rows:
            kind = "" if array.dtype == np.bool_ else ", since torch takes uint8 for one (ids: .long()),"
            raise RequestError(f"The mask of {group!r}{kind} has {len(array):,} values, but there are {num_rows:,} rows.")
        return Rows(np.flatnonzero(array), is_mask=True)
    return Rows(_checked(array, num_rows, group))


def refuse_numbers_as_mask(index: Any, num_rows: int, what: str) -> None:
    """Raise if numbers look like a mask: zeros and ones, one per row, some several times.

    Args:
        index: What a user gave for rows.
        num_rows: Number of rows of the group.
        what: What it is, for the message.

    Raises:
        RequestError: They do. As ids they would be the first two rows, over and over.
    """
    if index is None or isinstance(index, (slice, range, int, str, bytes)):
        return
    array = index.detach().cpu().numpy() if isinstance(index, Tensor) else np.asarray(index)
    if array.shape[:1] != (num_rows,) or array.size != num_rows or array.dtype.kind not in "iuf":
        return
    array = array.reshape(-1)
    if _zeros_and_ones(array) and len(sorted_distinct(array)) < num_rows:
        raise RequestError(
            f"{what} is {num_rows:,} zeros and ones of {array.dtype}, one for each row, as a mask is, but ids are integers and "
            "a mask is boolean: as ids these are rows 0 and 1, over and over. Convert the mask: .bool() of a tensor, "
            ".astype(bool) of an array."
        )


def _is_mask_to_torch(index: Any) -> bool:
    return isinstance(index, Tensor) and index.dtype == uint8


def _zeros_and_ones(array: NDArray[Any]) -> bool:
    return bool(((array == 0) | (array == 1)).all())


def _of_slice(index: slice, num_rows: int, group: object) -> Rows:
    try:
        start, stop, step = index.indices(num_rows)
    except (TypeError, ValueError) as error:
        raise RequestError(f"The slice of {group!r} is not made of integers, or has step 0: {index!r}") from error
    span = range(start, stop, step)
    if step == 1:
        return Rows(range(start, start + len(span)))
    return Rows(np.arange(start, stop, step))


def _as_array(index: object, group: object) -> NDArray[Any]:
    if isinstance(index, Tensor):
        return index.detach().cpu().numpy()
    if isinstance(index, np.ndarray):
        return index
    if hasattr(index, "__array__") and not isinstance(index, np.generic):  # pandas, Arrow, …
        return np.asarray(index)
    if isinstance(index, (list, tuple)):
        # NumPy would take the empty list for floats, and [True, 2] for integers
        if any(isinstance(i, (bool, np.bool_)) for i in index) and not all(isinstance(i, (bool, np.bool_)) for i in index):
            raise RequestError(f"The index of {group!r} mixes booleans and numbers: {index!r}")
        try:
            return np.array(index) if len(index) else np.empty(0, np.int64)
        except (ValueError, OverflowError) as error:
            raise RequestError(f"The index of {group!r} is no list of integers: {error}") from error
    try:
        return np.array(operator.index(index))  # type: ignore[arg-type]
    except TypeError:
        raise RequestError(
            f"The index of {group!r} is a {type(index).__name__}: {index!r}; give None, a slice, an integer, "
            "a bool mask, or integers as tensor, array, list or range."
        ) from None


def _checked(array: NDArray[Any], num_rows: int, group: object) -> Ids64:
    if array.dtype.kind not in "iuO":
        shown = f", such as {array[0]}" if len(array) else ""
        raise RequestError(
            f"The ids of {group!r} are of dtype {array.dtype}{shown}; ids are integers. Convert them, for example with .long()."
        )
    if len(array) == 0:
        return np.empty(0, np.int64)
    if array.dtype.kind == "O" and not all(isinstance(i, int) for i in array):
        raise RequestError(f"The ids of {group!r} are not integers: {array[:3].tolist()!r}")
    # two reductions are cheaper than a mask, and a mask is needed only to say which id it is
    if array.min() < 0 or array.max() >= num_rows:
        bad = (array < 0) | (array >= num_rows)
        value, count = array[bad][0], int(bad.sum())
        more = f" and {count - 1:,} more ids are" if count > 1 else " is"
        why = "negative" if value < 0 else "too large"
        valid = f"valid are 0 to {num_rows - 1:,}" if num_rows else "there are no rows"
        raise RequestError(f"Id {value} of {group!r}{more} out of range ({why}): N = {num_rows:,}, {valid}.")
    return np.ascontiguousarray(array, dtype=np.int64)
