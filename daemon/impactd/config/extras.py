"""Which settings need which extra, checked before the service starts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from impactd.config.sections import Settings
from impactd.core.allocator.solvers.registry import SOLVERS
from impactd.core.base.extras import MissingExtraError, extra_module

#: Module of the solvers that the extra `solvers` brings.
_CONVEX: Final = "impactd.core.allocator.solvers.cvxpy"


class _Need(NamedTuple):
    """An extra, the settings that need it, and what to set where it is not wanted."""

    extra: str
    modules: tuple[str, ...]
    wanted: Callable[[Settings], bool]
    setting: str
    otherwise: str


_NEEDS: Final = (
    _Need(
        "registry",
        ("fastavro", "google.protobuf"),
        lambda settings: settings.registry.url is not None,
        "registry.url",
        "unset registry.url if all values are JSON",
    ),
    _Need(
        "otel",
        ("opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http"),
        lambda settings: settings.telemetry.enabled,
        "telemetry.enabled",
        "set telemetry.enabled=false",
    ),
    # One that is missing among others is a fallback less; here there would be no plan at all.
    _Need(
        "solvers",
        ("cvxpy",),
        lambda settings: {*SOLVERS.from_module(_CONVEX)}.issuperset(settings.plans.solvers),
        "plans.solvers",
        "name exact among plans.solvers",
    ),
)


def missing_extras(settings: Settings, *extras: str) -> list[str]:
    """Return what is not installed that settings need: the setting, the package and the remedy, one line each.

    Parameters
    ----------
    *extras : str
        Those that are looked at; all where none is named.
    """
    found = []
    for need in _NEEDS:
        if (extras and need.extra not in extras) or not need.wanted(settings):
            continue
        for module in need.modules:
            try:
                extra_module(module, need.extra)
            except MissingExtraError as error:
                found.append(f"{need.setting}: {error}, or {need.otherwise}")
                break
    return found
