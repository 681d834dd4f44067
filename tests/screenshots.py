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
from tests.shell.live.messages import MINUTE, T0, estimate, fill_cost, model, plan
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


def _minutes(site: Site, n: int) -> None:
    """Give the site `n` minutes of a market and of the order A1 in it."""
    board = site.follower.board
    for k in range(n):
        wave = 1.0 + 0.3 * math.sin(k / 7.0)
        sizes = [100.0, 200.0, 400.0, 800.0]
        prices = [0.01 * wave + 2e-5 * size for size in sizes]
        for side in ("buy", "sell"):
            fields = {"mid": 30.0 + 0.01 * math.sin(k / 5.0), "half_spread": 0.01 * wave, "volume_continuous": 900.0}
            shown = {"sizes": sizes, "slippage": prices, "coverage": [1.0] * 4, "lower_bound": prices}
            board.take(Topic.ESTIMATES, estimate(k, side, **fields, **shown))
            board.take(Topic.MODELS, model(k, side))
        done = min(60 * k, 6_000)
        terms = {"window": [T0, T0 + 120 * MINUTE], "participation_rate": 0.1, "min_participation_rate": 0.02}
        sums = {
            "order_qty": 8_000,
            "leaves_qty": 8_000 - done,
            "reason": "fill" if k % 3 else "minute",
            "cl_ord_ids": ["A1"],
        }
        schedule = {"qty": [70 + k % 9] * (120 - k), "cap": [90] * (120 - k), "mid": 30.0}
        board.take(Topic.PLANS, plan(k + 3, k, done, 120, **terms, **sums, **schedule))
        board.take(Topic.TCA, fill_cost(f"F{k}", T0 + k * MINUTE, 60, over_mid=0.6 * wave))


#: What a plan without a schedule has.
_NONE: Final = {"start": [], "qty": [], "cap": []} | dict.fromkeys(
    ("expected_cost", "expected_cost_bps", "twap_cost", "saving_bps", "cost_band", "cost_band_95")
)


#: State to what it adds to sixty minutes of a market, and what the service says meanwhile.
STATES: Final[dict[str, tuple[int, dict[str, Any], dict[str, Any]]]] = {
    "empty": (0, {}, {}),
    "starting": (0, {}, {"reasons": [{"kind": "restoring", "detail": "4,210 records left", "partition": 1}]}),
    "good": (60, {}, {}),
    "short": (60, {"shortfall_qty": 1_200}, {}),
    "halted": (60, {"status": "halted", "text": "drill", **_NONE}, {}),
    "stale": (60, {}, {"reasons": [{"kind": "stale_input", "detail": "no tick for 75 s", "partition": 2}]}),
    "done": (60, {"status": "done", "cum_qty": 8_000, "leaves_qty": 0, **_NONE}, {}),
}


async def states(out: Path) -> int:
    """Write a picture of each state and return the exit code."""
    if chromium.program() is None:
        sys.stderr.write(f"no Chromium: {chromium.HOW_TO_HAVE_ONE}\n")
        return 1
    well = {"ready": True, "reasons": [], "broker_answers": True}
    async with chromium.browser() as browser:
        for name, (minutes, order, service) in STATES.items():
            said = orjson.dumps(orjson.loads(health()) | well | service)
            async with served(readers=8, empty=True, said=said) as site:
                _minutes(site, minutes)
                if order:
                    site.follower.board.take(
                        Topic.PLANS,
                        plan(
                            99,
                            minutes,
                            3_540,
                            120,
                            **{
                                "order_qty": 8_000,
                                "leaves_qty": 4_460,
                                "participation_rate": 0.1,
                                "window": [T0, T0 + 120 * MINUTE],
                            }
                            | order,
                        ),
                    )
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
