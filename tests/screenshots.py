"""Pictures of the live page, in both widths and both themes: during a demo, or of each state with ``--states``.

``make screenshots`` and ``make screenshots ARGS="--states build/screenshots"``.
"""

from __future__ import annotations

import asyncio
import math
import re
import signal
import sys
from pathlib import Path
from typing import Any, Final

import orjson

from impactd.core.base.topics import Topic
from tests.integration import chromium
from tests.paths import ROOT
from tests.shell.live.messages import ALERT, MINUTE, T0, estimate, fill_cost, model, order_cost, plan
from tests.shell.live.site import Site, health, served

OUT: Final = ROOT / "build" / "screenshots"

#: The generated day is at its height then: an amended order, a blackout, half of all executed.
_PAST_NOON: Final = "/1[2-5]:\\d\\d/.test(document.querySelector('#clock').innerText)"


async def main(out: Path) -> int:
    """Write the pictures and return the exit code."""
    if chromium.program() is None:
        sys.stderr.write(f"no Chromium: {chromium.HOW_TO_HAVE_ONE}\n")
        return 1
    demo = await asyncio.create_subprocess_exec(
        *(
            sys.executable,
            "-m",
            "impactd",
            "demo",
            "--plain",
            "--stay",
            "--set",
            "http.port=0",
            "--set",
            "http.page_port=0",
        ),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    assert demo.stderr is not None
    try:
        while not (found := re.search(r"live page: (\S+)", (line := await demo.stderr.readline()).decode())):
            if not line:
                sys.stderr.write("the demo has ended by itself\n")
                return 1
        async with chromium.browser() as browser:
            for size in chromium.SIZES:
                for theme in chromium.THEMES:
                    async with chromium.opened(browser, found[1], size, theme) as watched:
                        await chromium.holds(watched.page, _PAST_NOON)
                        await watched.page.wait_for_selector("#c-depth canvas")
                        path = out / f"{size[0]}-{theme}.png"
                        await watched.page.screenshot(path=path, full_page=True)
                        sys.stdout.write(f"{path}\n")
    finally:
        demo.send_signal(signal.SIGINT)
        await demo.communicate()
    return 0


def _minutes(site: Site, n: int, order_qty: int) -> None:
    """Give the site `n` minutes of a market and of the order A1 in it."""
    board = site.follower.board
    for k in range(n):
        wave = 1.0 + 0.3 * math.sin(k / 7.0)
        half, mid = 0.01 * wave, 30.0 + 0.01 * math.sin(k / 5.0) + 0.0004 * k
        sizes = [200.0, 400.0, 800.0, 1_600.0]
        prices = [half + 2e-5 * size for size in sizes]
        for side in ("buy", "sell"):
            fields = {"mid": mid, "half_spread": half, "volume_continuous": 900.0 + 250.0 * math.sin(k / 3.0)}
            shown = {"sizes": sizes, "slippage": prices, "coverage": [1.0] * 4, "lower_bound": prices}
            board.take(Topic.ESTIMATES, estimate(k, side, **fields, **shown))
            known = {"prior": n < _WARM, "half_spread": half, "beta": 2e-5, "fitted_range": [200.0, 1_600.0]}
            board.take(Topic.MODELS, model(k, side, **known))
        done = _PACE * k
        more = {"reason": "fill" if k % 3 else "minute", "cl_ord_ids": ["A1"], "mid": mid}
        board.take(Topic.PLANS, _plan(k + 3, k, done, order_qty, order_qty - done, **more))
        fill = fill_cost(f"F{k}", T0 + k * MINUTE, _PACE, over_mid=_PACE * half, mid=mid, px=mid + half)
        board.take(Topic.TCA, fill)


def _plan(version: int, k: int, done: int, order_qty: int, rest: int, /, **fields: Any) -> bytes:
    """Return a plan of A1 that trades `rest` evenly from the `k`-th minute on, at 6.0 bps of 30.0."""
    left, cost = 120 - k, rest * 30.0 * 6.0e-4
    terms = {
        "order_qty": order_qty,
        "leaves_qty": order_qty - done,
        "participation_rate": 0.1,
        "min_participation_rate": 0.02,
        "window": [T0, T0 + 120 * MINUTE],
        "qty": [rest // left + (i < rest % left) for i in range(left)],
        "cap": [90] * left,
        "currency": "USD",
        "expected_cost": cost,
        "twap_cost": 1.13 * cost,
        "cost_band": [0.9 * cost, 1.2 * cost],
        "cost_band_95": [0.75 * cost, 1.4 * cost],
    }
    return plan(version, k, done, 120, **terms | fields)


#: Shares that the order trades in a minute, and minutes until the model rests on the symbol's own.
_PACE: Final = 60
_WARM: Final = 10

#: What a plan without a schedule has.
_NONE: Final = {"start": [], "qty": [], "cap": []} | dict.fromkeys(
    ("expected_cost", "expected_cost_bps", "twap_cost", "saving_bps", "cost_band", "cost_band_95")
)

#: What an engine publishes of an order that trades less than its least share of volume.
_BEHIND: Final = {
    "kind": "off_band",
    "cl_ord_id": "A1",
    "text": "behind: 3540 traded, 4210 due at the minimum rate 0.08",
    "as_of": T0 + 59 * MINUTE,
}

#: What that order has cost in the end.
_PAID: Final = {
    "order_qty": 3_540,
    "cum_qty": 3_540,
    "fills": 60,
    "avg_px": 30.022,
    "end_px": 30.024,
    "spread_cost": 35.4,
    "impact_cost": 0.0,
    "timing_cost": 42.5,
    "shortfall": 77.9,
    "shortfall_bps": 7.3,
}

#: State to its minutes of a market, and what it adds to the last plan, to the alerts and to the service's health.
STATES: Final[dict[str, tuple[int, dict[str, Any], dict[str, Any], dict[str, Any]]]] = {
    "empty": (0, {}, {}, {}),
    "starting": (0, {}, {}, {"reasons": [{"kind": "restoring", "detail": "4,210 records left", "partition": 1}]}),
    "warming": (4, {"model": {"kind": "linear", "unit": "price_per_share", "as_of": T0, "prior": True}}, {}, {}),
    "good": (60, {}, {}, {}),
    "behind": (60, {"min_participation_rate": 0.08}, _BEHIND, {}),
    "short": (60, {"shortfall_qty": 1_200}, {}, {}),
    "halted": (60, {"status": "halted", "text": "drill", "reason": "control", **_NONE}, {}, {}),
    "stale": (60, {}, {}, {"reasons": [{"kind": "stale_input", "detail": "no tick for 75 s", "partition": 2}]}),
    "done": (
        60,
        {"status": "done", "order_qty": 3_540, "cum_qty": 3_540, "leaves_qty": 0, "reason": "done", **_NONE},
        {},
        {},
    ),
}


def _state(site: Site, minutes: int, order: dict[str, Any], alert: dict[str, Any]) -> None:
    """Give the site a state."""
    board = site.follower.board
    order_qty = order.get("order_qty", 8_000)
    _minutes(site, minutes, order_qty)
    if not minutes:
        return
    done = _PACE * (minutes - 1)
    rest = order_qty - done - order.get("shortfall_qty", 0)
    board.take(Topic.PLANS, _plan(99, minutes, done, order_qty, rest, **order))
    if order.get("status") == "done":
        board.take(Topic.TCA, order_cost(**_PAID))
    if alert:
        board.take(Topic.ALERTS, orjson.dumps(orjson.loads(ALERT) | alert))


async def states(out: Path) -> int:
    """Write a picture of each state and return the exit code."""
    if chromium.program() is None:
        sys.stderr.write(f"no Chromium: {chromium.HOW_TO_HAVE_ONE}\n")
        return 1
    well = {"ready": True, "reasons": [], "broker_answers": True}
    async with chromium.browser() as browser:
        for name, (minutes, order, alert, service) in STATES.items():
            said = orjson.dumps(orjson.loads(health()) | well | service)
            async with served(readers=8, empty=True, said=said) as site:
                _state(site, minutes, order, alert)
                for size in chromium.SIZES:
                    for theme in chromium.THEMES:
                        async with chromium.opened(browser, site.base, size, theme) as watched:
                            await chromium.holds(watched.page, "document.querySelector('#link').innerText === 'live'")
                            if minutes:
                                await watched.page.wait_for_selector("#c-volume canvas")
                            path = out / f"{name}-{size[0]}-{theme}.png"
                            await watched.page.screenshot(path=path)
                            sys.stdout.write(f"{path}\n")
    return 0


if __name__ == "__main__":
    given = sys.argv[1:]
    of_states = "--states" in given
    directory = next((Path(name) for name in given if not name.startswith("--")), OUT)
    directory.mkdir(parents=True, exist_ok=True)
    sys.exit(asyncio.run((states if of_states else main)(directory)))
