"""`Kept`: a column of a query that becomes an attribute without being a feature, such as a key."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from dbgnn.arrow import is_number, key_values
from dbgnn.encoders.nulls import NullValueError
from dbgnn.schema import Column
from dbgnn.schema.key_values import carried
from dbgnn.sql import quote


class Kept:
    """A column that comes along as it is: a tensor of numbers, or a list of Python values.

    Args:
        column: The column.
        name: The name of the attribute.
    """

    def __init__(self, column: Column, name: str) -> None:
        self.expressions = (carried(f"q.{quote(column.name)}", column.sql_type),)
        self._column, self._name = column, name
        self._parts: list[pa.Array] = []

    def append(self, arrays: Sequence[pa.Array]) -> None:
        """Keep the chunk's values; NULL among numbers is an error."""
        array = arrays[0]
        if array.null_count and is_number(self._column):
            raise NullValueError(self._column.name, int(np.flatnonzero(array.is_null().to_numpy(zero_copy_only=False))[0]))
        self._parts.append(pa.concat_arrays([array, array.slice(0, 0)]))  # copied, as keys are

    def finish(self) -> dict[str, Any]:
        """Return the values under their name."""
        return {self._name: key_values(pa.chunked_array(self._parts), self._column)}
