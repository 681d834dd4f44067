"""What each ingredient of plans and slices is worth: the engine on recorded days with one of them off at a time.

On days that constants were fixed on::

    python -m tests.research.backtest.ablation ../shared/data

A-shares SYM0, SYM2 and SYM5, days 33 to 40, of which the last four are judged; FROG and ARL; orders of both sides as in
`tests.research.backtest.recorded`, but only the first window of each stretch and every second hour elsewhere.
Captures are of the hindsight saving of minutes, with 90% intervals by blocks: minutes over the mid of the trade, slices
(3 s latency) over the mid a minute later.  Differences between rows of less than the intervals are noise.
"""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NamedTuple
from unittest import mock

import numpy as np

from impactd.core.base.settings import CoreSettings
from impactd.core.model import forecaster
from impactd.core.model.forecaster import SideModel
from impactd.core.model.series.columns import FAST, MEAN, SLOW
from impactd.core.slices.microprice import Microprice
from impactd.core.slices.worth import Gate
from impactd.research.backtest.capture import Priced, pooled
from impactd.research.backtest.days import SymbolTape, read_tapes
from impactd.research.backtest.evaluate import ENGINE
from tests.research.backtest.recorded import Source, late, settings_of, sources, tried, work

#: A-share days that are read, from 1; the last so many are judged.
DAYS: Final = (33, 40)
JUDGED: Final = 4

_forecast = SideModel.forecast
_levels_ahead = forecaster.levels_ahead
_parts = Microprice.parts.fget  # type: ignore[attr-defined]  (a property)


def _without_book(model: SideModel, starts: Any, rate: float = 0.0, book: Any = None) -> Any:
    return _forecast(model, starts, rate, None if model.minutes else book)


def _without_nowcast(*given: Any) -> Any:
    """Call the kernel with means of all lengths, and the book, at the hour's mean."""
    named = dict(zip(inspect.signature(_levels_ahead).parameters, given, strict=True))
    for name in ("spread", "excess"):
        named[name] = named[name].copy()
        named[name][:, [FAST, SLOW]] = named[name][:, [MEAN]]
    return _levels_ahead(*(named | {"book": (0.0, 0.0)}).values())


class Part(NamedTuple):
    """An ingredient, and how it is left out: by settings of the model, or by patches."""

    name: str
    settings: Mapping[str, Any] = MappingProxyType({})
    patches: tuple[Callable[[], AbstractContextManager[Any]], ...] = ()


def _patched(target: Any, name: str, new: Any) -> tuple[Callable[[], AbstractContextManager[Any]]]:
    return (lambda: mock.patch.object(target, name, new),)


WHOLE: Final = Part("everything on")
OF_PLANS: Final = (
    Part("nowcast", patches=_patched(forecaster, "levels_ahead", _without_nowcast)),
    Part("standing book", patches=_patched(SideModel, "forecast", _without_book)),
    Part("waiting", patches=_patched(forecaster, "variance_at", lambda starts, *_: np.zeros(len(starts)))),
    Part("learned profile", {"learn_profile": False}),
    Part("generic prior", {"prior_profile": False}),
    Part("both profiles", {"learn_profile": False, "prior_profile": False}),
    Part("guard", {"guard": False}),
)
OF_SLICES: Final = (
    Part("expected move", patches=_patched(Microprice, "parts", property(lambda _: (0.0, 0.0)))),
    Part("last move", patches=_patched(Microprice, "parts", property(lambda micro: (_parts(micro)[0], 0.0)))),
    Part("gate", patches=_patched(Gate, "judge", lambda *_: None)),
)
#: Parts by how orders act. What plans rest on matters to slices as the reservation price.
PARTS: Final = {
    "minute": (WHOLE, *OF_PLANS),
    "slices": (WHOLE, *OF_SLICES, *(part for part in OF_PLANS if part.name in {"nowcast", "both profiles"})),
}


def judged(source: Source, tape: SymbolTape, settings: CoreSettings) -> list[Priced]:
    """Return the orders of the last days of a tape, worked by its engine; every second window."""
    orders = list(tried(source, tape.days[-JUDGED:], every_min=2 * source.window_min))
    return [one.priced for one in work(tape, settings, orders)]


def captured(found: Sequence[Priced], acts: str) -> str:
    """Return a capture with its interval: over the mid of the trade by the minute, over the later mid by slices."""
    policy = ENGINE if acts == "minute" else late(3)
    figures = pooled(found, ("twap", policy), 0)[policy]
    capture, ends = figures["capture"], figures["capture_ci90"]
    if acts == "slices":
        capture, ends = figures["capture_later"][0], figures["capture_later_ci90"][0]
    if capture is None:
        return "-"
    return f"{capture:.2f}" + ("" if ends is None else f" ({ends[0]:.2f} to {ends[1]:.2f})")


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description="The engine with one ingredient off at a time.")
    parser.add_argument("data", type=Path)
    parser.add_argument("--acts", nargs="*", choices=tuple(PARTS), default=list(PARTS))
    asked = parser.parse_args()
    given = sources(asked.data, *DAYS, history=0)
    given = [source for source in given if source.symbol != "AMZN"]
    base = {source.symbol: settings_of(source.session, "minute") for source in given}
    tapes = {source.symbol: read_tapes(source.files, base[source.symbol])[0] for source in given}
    markets = list(dict.fromkeys(source.market for source in given))
    print("| orders act | without | " + " | ".join(markets) + " |")  # noqa: T201  (a command)
    print("|---" * (2 + len(markets)) + "|")  # noqa: T201  (a command)
    for acts in asked.acts:
        for part in PARTS[acts]:
            found: dict[str, list[Priced]] = {market: [] for market in markets}
            with ExitStack() as stack:
                for patch in part.patches:
                    stack.enter_context(patch())
                for source in given:
                    settings = settings_of(source.session, acts)
                    settings = dataclasses.replace(settings, model=dataclasses.replace(settings.model, **part.settings))
                    found[source.market] += judged(source, tapes[source.symbol], settings)
            cells = [captured(found[market], acts) for market in markets]
            print(f"| {acts} | {part.name} | " + " | ".join(cells) + " |", flush=True)  # noqa: T201  (a command)
    counts = ", ".join(f"{market} {len(found[market])}" for market in markets)
    print(f"\nOrders: {counts}; {time.process_time():.0f} s of processor time.")  # noqa: T201  (a command)


if __name__ == "__main__":
    main()
