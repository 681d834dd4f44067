"""Whether published bands of plan cost hold what they say, over hourly plans of whole days.

An order of an hour is sent every few minutes on both sides, and cancelled at once, so that no
plan allows for another one.  Its plan is charged at the estimates of the minutes that followed, by
nothing but what was published.  To be run by hand too, on recorded or generated days::

    python -m tests.core.band_days FILE... [--generated N]
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from impactd.core.base.quantity import QUANTA
from impactd.core.base.settings import MINUTE_NS, SECOND_NS, CoreSettings, PlanSettings, SessionRule
from impactd.core.base.topics import Side, Topic
from impactd.core.engine import Engine
from impactd.core.inputs.events import Event, Received
from impactd.core.inputs.inbox import Inbox
from impactd.core.inputs.ticks import TickBatch
from impactd.core.market.shadow import price_on
from impactd.core.outputs.messages import Estimate, Output, Plan
from impactd.research.generator import GeneratorSpec, generate
from impactd.shell.files import merge_files
from tests.core.builders import cancel, new, raw_of, topic_for

HOUR: Final = 60
NEW_YORK: Final = CoreSettings(
    session=SessionRule(34_200, 57_600, ((0, -4 * 3600),)),
    apply="in_event_time",
    plans=PlanSettings(keep_ended_ns=60 * SECOND_NS),
)
DAY_NS: Final = 86_400 * SECOND_NS


@dataclass(frozen=True)
class Held:
    """One plan: when it began, log(realised / expected), and whether its two bands held."""

    start: int
    error: float
    band: bool
    band_95: bool


def recorded(paths: Sequence[Path]) -> Iterator[TickBatch]:
    """Yield recorded days."""
    for decoded in merge_files(paths, batch_rows=5_000):
        yield decoded.batch


def generated(spec: GeneratorSpec) -> Iterator[TickBatch]:
    """Yield generated days with offsets that go on."""
    end = 0
    for batch in generate(spec):
        yield replace(batch, offset=np.arange(end, end + len(batch)))
        end += len(batch)


def orders(symbol: str, days: Sequence[int], qty: float, every: int) -> list[Event]:
    """Return orders of an hour and their cancels, the first `every` minutes after the open; `days` are openings, ns."""
    return [
        event
        for opened in days
        for at in range(opened + every * MINUTE_NS, opened + (391 - HOUR) * MINUTE_NS, every * MINUTE_NS)
        for side in Side
        for event in (
            new(f"{at}/{side}", qty, at, HOUR * MINUTE_NS, symbol=symbol, side=side),
            cancel(at, f"{at}/{side}", symbol),
        )
    ]


def outputs(batches: Iterator[TickBatch], events: Sequence[Event], settings: CoreSettings = NEW_YORK) -> list[Output]:
    """Return what an engine publishes of days with those orders."""
    engine, inbox = Engine(settings), Inbox(settings, {}, {})
    received = [Received(event, k, event.ts_event, raw_of(event), b"key") for k, event in enumerate(events)]
    assert all(topic_for(event) is Topic.ORDERS for event in events)
    inbox.put_events(Topic.ORDERS, received, [], len(received))
    said: list[Output] = []
    for batch in batches:
        inbox.put_ticks(batch, [], int(batch.offset[-1]) + 1)
        while (inputs := inbox.take()) is not None:
            said += engine.apply(inputs).outputs
    return said


def judged(said: Sequence[Output]) -> list[Held]:
    """Return every first plan, charged at the estimates of its minutes."""
    walks: dict[tuple[Side, int], Estimate] = {}
    firsts: list[Plan] = []
    for output in said:
        if isinstance(output.message, Estimate):
            walks[output.message.side, output.message.minute] = output.message
        elif isinstance(output.message, Plan) and output.topic is Topic.PLANS and output.message.reason == "new":
            firsts.append(output.message)
    found = []
    for plan in firsts:
        cost = _charged(plan, walks)
        if cost is None or plan.cost_band is None or plan.cost_band_95 is None or plan.expected_cost is None:
            continue
        low, high = plan.cost_band
        low_95, high_95 = plan.cost_band_95
        held = Held(plan.start[0], math.log(cost / plan.expected_cost), low <= cost <= high, low_95 <= cost <= high_95)
        found.append(held)
    return found


def _charged(plan: Plan, walks: dict[tuple[Side, int], Estimate]) -> float | None:
    cost = 0.0
    for start, quanta in zip(plan.start, plan.qty, strict=True):
        walk = walks.get((plan.side, start))
        if walk is None or not walk.sizes or None in walk.lower_bound:
            return None
        g = np.array(walk.lower_bound, np.float64)
        cost += quanta / QUANTA * price_on(quanta / QUANTA, np.array(walk.sizes), g)
    return cost if cost > 0.0 else None


def coverage(found: Sequence[Held]) -> tuple[float, float]:
    """Return the shares of plans that the two bands held."""
    return float(np.mean([held.band for held in found])), float(np.mean([held.band_95 for held in found]))


def of_files(paths: Sequence[Path], qty: float, every: int = 5, settings: CoreSettings = NEW_YORK) -> list[Held]:
    """Return the hourly plans of a symbol's recorded days, named SYMBOL_YYYY-MM-DD_..."""
    days = [int(np.datetime64(path.name.split("_")[1], "ns").astype(np.int64)) for path in paths]
    symbol, offset_s = paths[0].name.split("_")[0], settings.session.offsets[0][1]
    opened = [day + (settings.session.open_s - offset_s) * SECOND_NS for day in days]
    return judged(outputs(recorded(paths), orders(symbol, opened, qty, every), settings))


def of_generated(spec: GeneratorSpec, qty: float, every: int = 5) -> list[Held]:
    """Return the hourly plans of generated days, those of the first day left out: it is what is learned from."""
    first = int(np.datetime64(spec.first_day.isoformat(), "ns").astype(np.int64))
    opened = first + (34_200 + 4 * 3600) * SECOND_NS
    days = [opened + k * DAY_NS for k in range(spec.days * 2)]
    found = judged(outputs(generated(spec), orders("DEMO1", days, qty, every)))
    return [held for held in found if held.start >= first + DAY_NS]


def main() -> None:
    """Print the coverage of the days that are asked for."""
    parser = argparse.ArgumentParser(description="Coverage of hourly plans' bands, nominal 0.80 and 0.95.")
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--qty", type=float, nargs="*", default=[], help="of an hour, one a file")
    parser.add_argument("--generated", type=int, default=0, metavar="DAYS")
    asked = parser.parse_args()
    every: list[Held] = []
    for k, path in enumerate(asked.files):
        every += _said(path.name, of_files([path], asked.qty[k] if k < len(asked.qty) else 3_000.0))
    if len(asked.files) > 1:
        _said("recorded days together", every)
    for name, profile in (("flat", 0.0), ("with a profile", 1.0)) if asked.generated else ():
        _said(f"generated, {name}", of_generated(GeneratorSpec(days=asked.generated, profile=profile), 6_000.0))


def _said(name: str, found: list[Held]) -> list[Held]:
    errors = np.array([held.error for held in found])
    print(  # noqa: T201  (a command)
        f"{name}: {len(found)} plans, held {coverage(found)[0]:.3f} and {coverage(found)[1]:.3f},"
        f" log error {errors.mean():+.2f} with standard deviation {errors.std():.2f}"
    )
    return found


if __name__ == "__main__":
    main()
