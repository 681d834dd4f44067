"""Sums of costs."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from impactd.core.allocator.cost import exact_sum
from impactd.core.allocator.curve import Curve

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


_terms = st.lists(st.tuples(*[st.sampled_from([0.0, 1e-7, 0.013, 2.5])] * 4, st.floats(0.0, 1e6)), max_size=20)


@given(_terms, st.sampled_from([0.5, 1.0, 1.3]))
@settings(max_examples=200, deadline=None)
def test_cost_of_a_curve_is_its_polynomial_and_power_to_the_last_bit(terms: list[tuple[float, ...]], p: float) -> None:
    s, b, a, e, x = np.array(terms, np.float64).reshape(-1, 5).T.copy()
    expected = x * (s + x * (b + x * a))
    expected += e * [math.pow(each, 1.0 + p) for each in x.tolist()]  # NumPy's differs between processors
    assert Curve(s, b, a, e, p).cost(x).tolist() == expected.tolist()
