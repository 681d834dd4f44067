"""What every kind of impact model promises; a new kind in `impactd.core.model.kinds.registry` runs through these."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy.optimize import nnls

from impactd.core.base.settings import ModelSettings
from impactd.core.model.kinds.base import Coefficients, Float, ImpactModel

SIZES = np.array([20.0, 35.0, 60.0, 110.0, 190.0, 340.0, 600.0, 1050.0])
WEIGHT = np.array([1.0, 1.0, 0.99, 1.0, 0.98, 0.97, 0.96, 0.95])


def evaluate(terms: Coefficients, half_spread: float, sizes: Float) -> Float:
    """Return g from published coefficients alone."""
    g = np.full(sizes.shape, half_spread)
    if terms.beta is not None:
        g = g + terms.beta[0] * sizes
    if terms.alpha is not None:
        g = g + terms.alpha[0] * sizes**2
    if terms.eta is not None and terms.delta is not None:
        g = g + terms.eta[0] * sizes**terms.delta
    return g


def has_shape(model: ImpactModel) -> bool:
    """Return whether the curve depends on the shape parameter."""
    u = np.linspace(0.1, 4.0, 9)
    return not np.array_equal(model.excess_shape(u, 0.4), model.excess_shape(u, 0.8))


def fits_its_shape(model: ImpactModel) -> bool:
    """Return whether a fit finds the shape, instead of leaving it to candidates."""
    return has_shape(model) and len(model.candidates) == 1


def check_settings_choose_the_half_spread(model: ImpactModel) -> None:
    again = type(model).of(ModelSettings(kind=model.kind, intercept=not model.intercept))
    assert again.kind == model.kind
    assert again.intercept is not model.intercept
    assert again.n_terms - model.n_terms == again.intercept - model.intercept


def check_shape_is_anchored(model: ImpactModel) -> None:
    for shape in (*model.candidates, 0.5):
        np.testing.assert_allclose(model.excess_shape(np.array([0.0, 1.0]), shape), [0.0, 1.0], atol=1e-15)
        assert np.all(np.diff(model.excess_shape(np.linspace(0, 8, 50), shape)) >= 0)


def check_own_curve_is_recovered(model: ImpactModel) -> None:
    for shape in (model.candidates[0], 0.4) if fits_its_shape(model) else model.candidates:
        for q_ref in (1.0, 150.0, 4e4):
            s, excess = (0.02 if model.intercept else 0.0), 0.013 * q_ref / 150
            g = s + excess * model.excess_shape(SIZES / q_ref, shape)
            fit = min(model.fit(SIZES, g, WEIGHT, q_ref), key=lambda fit: fit.sse)
            assert (fit.half_spread, fit.excess) == pytest.approx((s, excess), rel=1e-9, abs=1e-15)
            assert fit.shape == pytest.approx(shape, rel=1e-7, abs=1e-9)
            assert fit.r2 == pytest.approx(1.0, abs=1e-12)


def check_coefficients_say_the_same_curve(model: ImpactModel) -> None:
    for shape in model.candidates:
        terms = model.coefficients(np.array([0.013]), shape, 150.0)
        expected = 0.02 + 0.013 * model.excess_shape(SIZES / 150.0, shape)
        np.testing.assert_allclose(evaluate(terms, 0.02, SIZES), expected, rtol=1e-12)


def check_fit_is_the_nonnegative_optimum(model: ImpactModel) -> None:
    rng = np.random.default_rng(7)
    for _ in range(60):
        g = rng.normal(0.02, 0.02, SIZES.size) + rng.normal(0, 2e-5) * SIZES
        for fit in model.fit(SIZES, g, WEIGHT, 150.0):
            u = SIZES / 150.0
            # A shape that is fitted is a share between two curves.
            shapes = (0.0, 1.0) if fits_its_shape(model) else (fit.shape,)
            columns = [model.excess_shape(u, shape) for shape in shapes]
            matrix = np.stack(([np.ones_like(u)] if model.intercept else []) + columns, axis=1)
            root = np.sqrt(WEIGHT)
            expected = nnls(matrix * root[:, None], g * root)[1] ** 2
            assert fit.half_spread >= 0
            assert fit.excess >= 0
            assert fit.sse == pytest.approx(expected, rel=1e-9, abs=1e-18)


def check_scaling_the_price_scales_the_fit(model: ImpactModel) -> None:
    g = 0.02 + 1e-5 * SIZES + 3e-9 * SIZES**2
    for one, thousand in zip(
        model.fit(SIZES, g, WEIGHT, 150.0), model.fit(SIZES, 1000 * g, WEIGHT, 150.0), strict=True
    ):
        assert thousand.excess == pytest.approx(1000 * one.excess, rel=1e-9)
        assert thousand.half_spread == pytest.approx(1000 * one.half_spread, rel=1e-9, abs=1e-12)
        assert thousand.shape == pytest.approx(one.shape, rel=1e-7)


def check_flat_curve_has_no_excess(model: ImpactModel) -> None:
    if not model.intercept:
        return
    for fit in model.fit(SIZES, np.full(SIZES.size, 0.03), WEIGHT, 150.0):
        assert fit.half_spread == pytest.approx(0.03, rel=1e-12)
        assert fit.excess == pytest.approx(0.0, abs=1e-14)
        assert fit.r2 is None


def check_as_many_cells_as_terms_fit_without_r2(model: ImpactModel) -> None:
    n = model.n_terms
    for fit in model.fit(SIZES[:n], np.linspace(0.01, 0.02, n), WEIGHT[:n], 150.0):
        assert fit.r2 is None
        assert np.isfinite([fit.half_spread, fit.excess, fit.shape]).all()


def check_linear_term_is_what_the_coefficients_have(model: ImpactModel) -> None:
    terms = model.coefficients(np.array([0.013]), model.candidates[0], 150.0)
    assert model.has_linear_term == (terms.beta is not None)
    assert (terms.eta is None) == (terms.delta is None)


ALL_CHECKS: tuple[Callable[[ImpactModel], None], ...] = (
    check_settings_choose_the_half_spread,
    check_linear_term_is_what_the_coefficients_have,
    check_shape_is_anchored,
    check_own_curve_is_recovered,
    check_coefficients_say_the_same_curve,
    check_fit_is_the_nonnegative_optimum,
    check_scaling_the_price_scales_the_fit,
    check_flat_curve_has_no_excess,
    check_as_many_cells_as_terms_fit_without_r2,
)
