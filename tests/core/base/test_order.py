"""The order that kernels sort by is NumPy's stable one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from impactd.core.base.order import stable_order

_VALUES = st.sampled_from([-np.inf, -1.5, 0.0, 1.0, 2.0, np.inf])


@given(values=st.lists(_VALUES, max_size=70))
@pytest.mark.parametrize("dtype", [np.float64, np.int64])
def test_stable_order_is_that_of_numpy(values: list[float], dtype: type) -> None:
    array = np.clip(np.array(values), -9.0, 9.0).astype(dtype)
    assert stable_order(array).tolist() == np.argsort(array, kind="stable").tolist()
