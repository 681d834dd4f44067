"""Sums of costs."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from impactd.core.allocator.cost import exact_sum

_values = st.one_of(
    st.lists(st.floats(-1e300, 1e300), max_size=40),
    st.lists(st.floats(0.0, 1e9), max_size=400),
    # sums that lie half-way between two floats, or next to it
    st.lists(st.sampled_from([1.0, -1.0, 2.0**-53, -(2.0**-53), 2.0**-106, 2.0**53, 1.5, 2.0**-54]), max_size=12),
)


@given(_values)
@settings(max_examples=500, deadline=None)
def test_exact_sum_is_that_of_the_standard_library(values: list[float]) -> None:
    assert exact_sum(np.array(values, np.float64)) == math.fsum(values)


def test_sum_of_values_that_are_not_finite_is_not_finite() -> None:
    assert exact_sum(np.array([1.0, math.inf])) == math.inf
    assert math.isnan(exact_sum(np.array([math.inf, -math.inf])))
