"""The two forms of the random numbers agree bit for bit, and look random."""

from __future__ import annotations

import duckdb
import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from dbgnn.sampling.random import MASK, fold, mix, round_sql
from tests.sampling import oracle


@given(st.lists(st.integers(0, MASK), min_size=1, max_size=50))
def test_sql_numpy_and_plain_python_agree(values: list[int]) -> None:
    with duckdb.connect() as con:
        once = f"SELECT {round_sql('x')} AS x FROM (SELECT unnest(?::BIGINT[]) AS x)"
        rows = con.execute(f"SELECT {round_sql('x')} FROM ({once})", [values]).fetchall()
    assert [r[0] for r in rows] == mix(np.array(values, dtype=np.uint32)).tolist() == [oracle.mix(v) for v in values]


def test_counters_give_uniform_bits() -> None:
    bits = mix(np.uint32(fold(0)) ^ np.arange(1 << 18, dtype=np.uint32))
    for shift in range(0, 32, 8):
        assert chisquare(np.bincount((bits >> np.uint32(shift)) & 255, minlength=256)).pvalue > 1e-4


def test_every_counter_matters() -> None:
    keys = {fold(*c) for c in [(0,), (1,), (0, 0), (0, 1), (1, 0), (2**32, 0), (0, 2**32)]}
    assert len(keys) == 7
