"""`Frame`: columns as a ``torch_frame.TensorFrame``, with the statistics that pytorch-frame's encoders ask for."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from dbgnn.encoders.arrays import as_floats, fill_nulls, is_list, is_text, is_time, null_rows, numbers, plain
from dbgnn.encoders.category import Categories, MultiHot, Ordinal, pieces_of
from dbgnn.encoders.dates import Datetime
from dbgnn.encoders.encoder import Encoder, Encoding, FitRows, State, as_names, choice, column_sql
from dbgnn.encoders.functions import Text
from dbgnn.encoders.nulls import NullValueError
from dbgnn.encoders.numeric import number_shape
from dbgnn.errors import DbgnnError, SchemaError
from dbgnn.topology.distinct import sorted_distinct

#: The parts of a time in the order pytorch-frame has them, and what it subtracts from each.
_PARTS = (("year", 0), ("month", 1), ("day", 1), ("dayofweek", 0), ("hour", 0), ("minute", 0), ("second", 0))

_SEMANTIC = ("numerical", "categorical", "multicategorical", "timestamp", "embedding")


@dataclass(frozen=True, slots=True, repr=False)
class Frame(Encoder):
    """Columns as a ``torch_frame.TensorFrame`` of N rows; needs ``pip install pytorch-frame``.

    NULL becomes what pytorch-frame takes for missing: NaN in numerical columns, -1 in the others (embeddings and text: an
    error). Categories are numbered by the number of rows fitted on that hold them, the most frequent first, as there; a row
    that repeats one holds it once. ``col_stats`` gives the statistics for its models.

    Attributes:
        numerical: Columns of numbers.
        categorical: Columns of categories, as :class:`Ordinal` takes them.
        multicategorical: Columns of several categories, as :class:`MultiHot` takes them.
        timestamp: Columns of dates or times.
        embedding: ``FLOAT[n]`` columns.
        text: :class:`Text` encoders that name their columns; served as embeddings.
        sep: What separates the categories in the text of multicategorical columns.
        unseen: What becomes of an unseen category: an error, or ``"missing"``: -1; in multicategorical columns none.
        max_categories: More than these are an error.
    """

    numerical: Sequence[str] = ()
    categorical: Sequence[str] = ()
    multicategorical: Sequence[str] = ()
    timestamp: Sequence[str] = ()
    embedding: Sequence[str] = ()
    text: Sequence[Text] = ()
    sep: str = "|"
    unseen: str = "error"
    max_categories: int = 1_000_000

    def __post_init__(self) -> None:
        choice(self, "unseen", self.unseen, ("error", "missing"))
        for name in _SEMANTIC:
            object.__setattr__(self, name, as_names(getattr(self, name)))
        object.__setattr__(self, "text", tuple(self.text))
        if not self.columns:
            raise SchemaError("Frame needs columns: Frame(numerical=['year'], categorical=['lang']).")
        named = [c for name in _SEMANTIC for c in getattr(self, name)] + [t.name for t in self.text]
        if len(named) > len(set(named)):
            raise SchemaError(f"Frame: column {next(c for c in named if named.count(c) > 1)!r} is named twice.")

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns, those of text last."""
        return tuple(dict.fromkeys([*(c for name in _SEMANTIC for c in getattr(self, name)), *(t.name for t in self.text)]))

    def fit(self, rows: FitRows) -> State:
        """Find categories and statistics by SQL, a scan per column."""
        _torch_frame()
        return {
            "numerical": {c: _describe_numbers(c, rows) for c in self.numerical},
            "categorical": {c: self._count(Ordinal(c, max_categories=self.max_categories), rows) for c in self.categorical},
            "multicategorical": {
                c: self._count(MultiHot(c, sep=self.sep, max_categories=self.max_categories), rows)
                for c in self.multicategorical
            },
            "timestamp": {c: _describe_times(c, rows) for c in self.timestamp},
            "embedding": {c: _width(c, rows) for c in self.embedding} | {t.name: t.fit(rows)["width"] for t in self.text},
        }

    def _count(self, encoder: Ordinal | MultiHot, rows: FitRows) -> State:
        """Return categories, the most frequent first, and how often each occurs."""
        found = encoder.fit(rows)
        kind = rows.sql_type(encoder.name)
        expression = encoder.expression(kind, once=True) if isinstance(encoder, MultiHot) else encoder.expression(kind)
        table = rows.run(
            f"SELECT value, count(*) AS n FROM (SELECT {expression} AS value FROM {rows.sql}) AS v "
            "WHERE value IS NOT NULL GROUP BY value ORDER BY n DESC, value ASC"
        )
        order = Categories.from_state(found).codes(plain(table.column(0)), encoder.name)
        return {
            "kind": found["kind"],
            "categories": [found["categories"][i] for i in order],
            "counts": table.column(1).to_pylist(),
        }

    def encoding(self, state: State) -> Encoding:
        """Return the function that makes the frame."""
        frame = _torch_frame()
        place = {column: i for i, column in enumerate(self.columns)}
        fate = "zero" if self.unseen == "missing" else "error"
        single = {c: _codes(Ordinal(c), Categories.from_state(s), fate) for c, s in state["categorical"].items()}
        several = {c: _codes(MultiHot(c), Categories.from_state(s), fate) for c, s in state["multicategorical"].items()}
        texts = {t.name: t.encoding({"width": state["embedding"][t.name]}) for t in self.text}

        def encode(arrays: Sequence[pa.Array]) -> Any:
            at = {column: plain(arrays[i]) for column, i in place.items()}
            made: dict[str, tuple[Any, Sequence[str]]] = {}
            if self.numerical:
                made["numerical"] = torch.stack([_floats(at[c], c) for c in self.numerical], dim=1), self.numerical
            if self.categorical:
                made["categorical"] = torch.stack([single[c](at[c]) for c in self.categorical], dim=1), self.categorical
            if self.multicategorical:
                made["multicategorical"] = (
                    self._nested([(at[c], several[c], c) for c in self.multicategorical]),
                    self.multicategorical,
                )
            if self.timestamp:
                made["timestamp"] = torch.stack([_parts(at[c], c) for c in self.timestamp], dim=1), self.timestamp
            if self.embedding or self.text:
                vectors = [_vectors(at[c], c) for c in self.embedding] + [texts[c]([at[c]]) for c in texts]
                made["embedding"] = _embeddings(vectors), (*self.embedding, *texts)
            stypes = {name: getattr(frame, name) for name in made}
            return frame.TensorFrame(
                {stypes[name]: values for name, (values, _) in made.items()},
                {stypes[name]: list(columns) for name, (_, columns) in made.items()},
            )

        return encode

    def _nested(self, columns: Sequence[tuple[pa.Array, Callable[[pa.Array], Tensor], str]]) -> Any:
        """Return the codes of every row and column, each once, as a ``MultiNestedTensor``; NULL is a -1."""
        count = len(columns[0][0])
        cells, codes = [], []
        for j, (array, function, name) in enumerate(columns):
            missing = null_rows(array)
            gone = np.zeros(0, dtype=np.int64) if missing is None else np.flatnonzero(missing)
            if missing is not None:
                array = fill_nulls(array, None)  # noqa: PLW2901 - what stands there is left out below
            rows, pieces = pieces_of(array, self.sep, name)
            if missing is not None:
                rows, pieces = rows[~missing[rows]], pieces.filter(pa.array(~missing[rows]))
            found = function(pieces).numpy()
            cells += [rows[found >= 0] * len(columns) + j, gone * len(columns) + j]
            codes += [found[found >= 0], np.full(len(gone), -1)]
        cell, code = np.concatenate(cells), np.concatenate(codes)
        span = int(code.max(initial=0)) + 2
        cell, code = np.divmod(sorted_distinct(cell * span + code + 1), span)
        offset = np.concatenate([[0], np.cumsum(np.bincount(cell, minlength=count * len(columns)))])
        nested = importlib.import_module("torch_frame.data").MultiNestedTensor
        return nested(count, len(columns), torch.from_numpy(code - 1), torch.from_numpy(offset))

    def concat(self, parts: Sequence[Any]) -> Any:
        """Join frames of several chunks."""
        return _torch_frame().cat(list(parts), dim=0)

    def col_stats(self, state: State) -> dict[str, dict[Any, Any]]:
        """Return the statistics of the rows fitted on, as pytorch-frame's models take them.

        Args:
            state: `FittedEncoder.state`: ``fitted.encoder.col_stats(fitted.state)``.
        """
        kinds = importlib.import_module("torch_frame.data.stats").StatType
        _torch_frame()
        out = {c: {kinds(name): value for name, value in s.items()} for c, s in state["numerical"].items()}
        for semantic, kind in (("categorical", kinds.COUNT), ("multicategorical", kinds.MULTI_COUNT)):
            out |= {c: {kind: (s["categories"], s["counts"])} for c, s in state[semantic].items()}
        for c, s in state["timestamp"].items():
            out[c] = {kinds(k): v if k == "YEAR_RANGE" else torch.tensor(v) for k, v in s.items()}
        return out | {c: {kinds.EMB_DIM: width} for c, width in state["embedding"].items()}


def _torch_frame() -> Any:
    try:
        return importlib.import_module("torch_frame")
    except ImportError as error:
        raise DbgnnError("Frame makes TensorFrames, and pytorch-frame is not installed: pip install pytorch-frame") from error


def _codes(encoder: Ordinal | MultiHot, categories: Categories, unseen: str) -> Callable[[pa.Array], Tensor]:
    """Return the function from values to int64 codes; -1 for NULL, and for unseen values unless those are an error."""
    known = MultiHot(encoder.name, unseen=unseen)

    def codes(array: pa.Array) -> Tensor:
        missing = null_rows(array)
        if missing is not None:
            array = fill_nulls(array, None)
        return torch.from_numpy(known.known(categories.codes(array, encoder.name), array, -1, missing))

    return codes


def _floats(array: pa.Array, name: str) -> Tensor:
    missing = null_rows(array)
    if missing is not None:
        array = fill_nulls(array, None)
    if pa.types.is_decimal(array.type):
        array = array.cast(pa.float64())
    values = as_floats(numbers(array, name), "float32", name)
    if values.ndim != 1:
        raise SchemaError(f"Frame: column {name!r} holds arrays, which are no numerical column; name it in embedding=….")
    return torch.from_numpy(values if missing is None else np.where(missing, np.float32(np.nan), values))


def _vectors(array: pa.Array, name: str) -> Tensor:
    missing = null_rows(array)
    if missing is not None:
        raise NullValueError(name, int(missing.argmax()))
    values = as_floats(numbers(array, name), "float32", name)
    if values.ndim != 2:
        raise SchemaError(f"Frame: column {name!r} arrives as {array.type}; embedding takes FLOAT[n].")
    return torch.from_numpy(values)


def _embeddings(vectors: Sequence[Tensor]) -> Any:
    """Return vectors of several columns as a ``MultiEmbeddingTensor``."""
    offset = torch.tensor([0, *np.cumsum([v.shape[1] for v in vectors])])
    nested = importlib.import_module("torch_frame.data").MultiEmbeddingTensor
    return nested(len(vectors[0]), len(vectors), torch.cat(list(vectors), dim=1), offset)


def _parts(array: pa.Array, name: str) -> Tensor:
    """Return times as pytorch-frame has them, int64 ``[n, 7]``; NULL as -1."""
    if not is_time(array.type):
        raise SchemaError(f"Frame: column {name!r} arrives as {array.type}; timestamp takes dates and times.")
    missing = null_rows(array)
    if missing is not None:
        array = fill_nulls(array, None)
    made = Datetime(name, parts=tuple(p for p, _ in _PARTS), cyclic=False, scale=False).encoding({})([array])
    made = made.long() - torch.tensor([first for _, first in _PARTS])
    return made if missing is None else torch.where(torch.from_numpy(missing)[:, None], -1, made)


def _width(name: str, rows: FitRows) -> int:
    kind = rows.arrow_type(column_sql(name))
    if not pa.types.is_fixed_size_list(kind) or is_list(kind.value_type) or is_text(kind.value_type):
        raise SchemaError(f"Frame: column {name!r} arrives as {kind}; embedding takes FLOAT[n].")
    return int(kind.list_size)


def _describe_numbers(name: str, rows: FitRows) -> State:
    """Return mean, standard deviation and quartiles of the finite values; NaN if there is none."""
    if number_shape(name, rows.sql_type(name)):
        raise SchemaError(f"Frame: column {name!r} holds arrays, which are no numerical column; name it in embedding=….")
    finite = f"(SELECT CAST({column_sql(name)} AS DOUBLE) AS v FROM {rows.sql}) AS v WHERE isfinite(v)"
    found = rows.run(f"SELECT avg(v), stddev_pop(v), quantile_cont(v, [0.0, 0.25, 0.5, 0.75, 1.0]) FROM {finite}")
    mean, std, quantiles = (column[0].as_py() for column in found.columns)
    if mean is None:
        rows.lack(name, "no finite number")
        mean, std, quantiles = 0.0, 1.0, [0.0] * 5
    return {"MEAN": mean, "STD": std, "QUANTILES": quantiles}


def _describe_times(name: str, rows: FitRows) -> State:
    """Return the range of years, and the first, the last and the middle time in pytorch-frame's parts."""
    column = column_sql(name)
    found = rows.select(f"min({column}), max({column}), quantile_disc({column}, 0.5)")
    ends = pa.concat_arrays([plain(c) for c in found.columns])
    if ends.null_count:
        rows.lack(name, "no value but NULL")
    oldest, newest, median = _parts(fill_nulls(ends, None), name).tolist()
    return {"YEAR_RANGE": [oldest[0], newest[0]], "OLDEST_TIME": oldest, "NEWEST_TIME": newest, "MEDIAN_TIME": median}
