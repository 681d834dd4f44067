"""Every registered kind, with and without intercept, keeps the shared promises."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from impactd.core.base.settings import ModelSettings
from impactd.core.model.kinds.base import ImpactModel
from impactd.core.model.kinds.power import Power
from impactd.core.model.kinds.registry import MODEL_KINDS, impact_model
from tests.checks.model_checks import ALL_CHECKS


@pytest.mark.parametrize("intercept", [True, False], ids=["intercept", "origin"])
@pytest.mark.parametrize("kind", MODEL_KINDS.names())
@pytest.mark.parametrize("check", ALL_CHECKS, ids=lambda check: check.__name__)
def test_model_registered_kind_keeps_promise(check: Callable[[ImpactModel], None], kind: str, intercept: bool) -> None:  # noqa: FBT001  (a parameter of the test)
    check(impact_model(ModelSettings(kind=kind, intercept=intercept)))


def test_model_unknown_kind_names_field_and_choices() -> None:
    with pytest.raises(ValueError, match=r"model\.kind: .*'cubic'.* linear, quadratic, power"):
        impact_model(ModelSettings(kind="cubic"))


@pytest.mark.parametrize("deltas", [(), (0.0,), (1.6,), (0.5, 0.5)])
def test_power_bad_exponents_are_refused(deltas: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match=r"model\.deltas"):
        Power(deltas=deltas)
