"""What of the core is compiled on a day after the made-up one: ``python -m tests.shell.kafka.warmed ACT OUT``.

A process of its own, because tests before it leave kernels compiled.  Prints one line a kernel.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Final

import orjson
from numba.core.registry import CPUDispatcher

from impactd.cli import main
from impactd.config import Settings
from impactd.core.base.settings import MINUTE_NS
from impactd.shell.kafka.warm import warm_up
from tests.paths import ROOT

DAY: Final = ROOT / "replay_data"
#: The first minute of that day that trades.
_OPEN_NS: Final = 1_748_871_060_000_000_000
_SYMBOL: Final = "DEMO1"
#: Terms of orders: of each kind that a solver or a limit of its own serves.
_TERMS: Final[tuple[dict[str, Any], ...]] = (
    {"participation_rate": 0.1},
    {"participation_rate": 0.05, "min_participation_rate": 0.01},
    {"participation_rate": 0.1, "max_interval_qty": 300},
    {"risk_aversion": 1e-6},
    {"urgency": "high", "max_interval_qty": 400},
    {"min_clip_qty": 200},
    {"limit_px": 1e6},
    {},
)
#: What the summary of a replay calls, and a service does not.
_OF_REPLAY: Final = frozenset({"impactd.core.books.checks", "impactd.core.books.interval_cost"})


def kernels(package: str) -> list[CPUDispatcher]:
    """Return the kernels of a package's modules that are imported."""
    modules = [module for name, module in sys.modules.items() if name.startswith(package)]
    found = {id(value): value for module in modules for value in vars(module).values()}.values()
    return [value for value in found if isinstance(value, CPUDispatcher)]


def _compiled() -> dict[str, set[str]]:
    return {
        f"{kernel.py_func.__module__}.{kernel.py_func.__qualname__}": set(map(str, kernel.signatures))
        for kernel in kernels("impactd.core.")
        if kernel.py_func.__module__ not in _OF_REPLAY
    }


def _orders() -> bytes:
    """Return an order of each kind on each side, alone and beside others."""
    lines = []
    for n in range(2 * len(_TERMS)):
        start = _OPEN_NS + 12 * n * MINUTE_NS
        order = {"type": "new", "cl_ord_id": f"W{n}", "symbol": _SYMBOL, "side": ("buy", "sell")[n % 2], "lot_size": 10}
        times = {"ts_event": start, "start": start, "end": start + 60 * MINUTE_NS}
        lines.append(orjson.dumps(order | times | {"order_qty": 5_000} | _TERMS[n // 2]))
    return b"\n".join(lines) + b"\n"


def run(act: str, out: Path) -> list[str]:
    """Return the kernels that a day compiles after the made-up one."""
    session = {"timezone": "America/New_York", "open": "09:30", "close": "16:00"}
    warm_up(Settings(session=session, plans={"act": act}).core())
    before = _compiled()
    orders = out / "orders.jsonl"
    orders.write_bytes(_orders())
    day = ["--data", str(DAY / "day.jsonl.gz"), "-c", str(DAY / "impactd.toml")]
    if main(["replay", *day, "--orders", str(orders), "--set", f"plans.act={act}", "--out", str(out / "day")]):
        raise SystemExit("the day was not replayed")
    return sorted(name for name, signatures in _compiled().items() if signatures - before.get(name, set()))


if __name__ == "__main__":
    found = run(sys.argv[1], Path(sys.argv[2]))
    sys.stdout.write("".join(f"compiled late: {name}\n" for name in found))
