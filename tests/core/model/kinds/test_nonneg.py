"""Non-negative least squares by enumeration against SciPy's active-set algorithm."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import nnls

from impactd.core.model.kinds.nonneg import fit_nonneg


@given(seed=st.integers(0, 2**32 - 1), p=st.integers(1, 3), n=st.integers(1, 20))
@settings(max_examples=300, deadline=None)
def test_fit_nonneg_random_problems_equal_scipy(seed: int, p: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    columns = rng.normal(size=(p, n)) * 10.0 ** rng.integers(-3, 4, size=(p, 1))
    g, weight = rng.normal(size=n), rng.uniform(0.01, 1, n)
    coef = np.empty(p)
    sse = fit_nonneg(columns, g, weight, coef)
    root = np.sqrt(weight)
    expected, norm = nnls((columns * root).T, g * root)
    assert np.all(coef >= 0)
    assert sse == pytest.approx(norm**2, rel=1e-8, abs=1e-13)
    if n > p:
        np.testing.assert_allclose(
            coef * np.abs(columns).max(1), expected * np.abs(columns).max(1), rtol=1e-6, atol=1e-9
        )


def test_fit_nonneg_equal_columns_give_a_finite_optimum() -> None:
    columns = np.stack([np.arange(1.0, 6.0)] * 3)
    coef = np.empty(3)
    assert fit_nonneg(columns, 2 * np.arange(1.0, 6.0), np.ones(5), coef) == pytest.approx(0.0, abs=1e-24)
    assert coef.sum() == pytest.approx(2.0)


def test_fit_nonneg_negative_slope_is_refitted_not_clipped() -> None:
    u = np.arange(1.0, 6.0)
    coef = np.empty(2)
    fit_nonneg(np.stack([np.ones(5), u]), 10.0 - u, np.ones(5), coef)
    assert coef.tolist() == pytest.approx([7.0, 0.0])  # the mean; clipping would leave the intercept at 10
