"""Well-formed records with values of any magnitude: what every parser takes, and arithmetic may not survive.

Each record has the structure of a good one (sorted levels, a window that starts before it ends) and numbers drawn by
the logarithm from far below to far beyond what a market has. Everything is drawn from one generator: a seed is a run.
"""

from __future__ import annotations

import random
import struct
from typing import Any

import orjson

from impactd.core.base.topics import Topic
from impactd.core.inputs.events import STATUSES
from impactd.wire.codec import FieldError
from tests.checks.codec_samples import samples_of
from tests.fuzz import corpus

Record = dict[str, Any]


class Values:
    """Makes records of a kind at a step."""

    def __init__(self, rng: random.Random, kind: str, step: int) -> None:
        self._rng = rng
        self._kind = kind
        self._step = step
        self._now = corpus.reached(step) - 600_000_000
        self._n = 0

    def mutant(self) -> bytes:
        """Return one record."""
        self._n += 1
        while True:
            try:
                match self._kind:
                    case Topic.ORDERS:
                        return orjson.dumps(self._order())
                    case Topic.EXECUTIONS:
                        return orjson.dumps(self._execution())
                    case Topic.CONTROL:
                        return orjson.dumps(self._control())
                    case Topic.INSTRUMENTS:
                        return orjson.dumps(self._definition())
                    case Topic.STATUS:
                        return orjson.dumps(self._status())
                    case _:
                        return self._tick()
            except (FieldError, OverflowError, TypeError, ValueError, struct.error):
                # A value that the encoding itself has no room for.
                continue

    def _magnitude(self, low: float, high: float) -> float:
        """Return a number between two powers of ten, now and then beyond them, and often a short one."""
        rng = self._rng
        if rng.random() < 0.05:
            low, high = -320.0, 308.0
        power = rng.uniform(low, high)
        whole = int(power // 1)
        value = float(f"{rng.choice((1.0, 9.999999999, rng.uniform(1.0, 10.0))):.12g}e{whole}")
        return round(value, 2) if 0.1 < value < 1e6 and rng.random() < 0.5 else value

    def _symbol(self) -> str:
        return self._rng.choice(corpus.OTHER_SYMBOLS)

    def _time(self) -> int:
        return self._now + self._rng.randrange(600_000_000)

    def _tick(self) -> bytes:
        rng = self._rng
        samples = samples_of(self._kind)
        px = self._magnitude(-13, 11)
        if samples.trade is not None and rng.random() < 0.3:
            return samples.trade(self._symbol(), self._time(), px, self._magnitude(-11, 12))
        step = px * 10 ** rng.uniform(-12, -0.4)
        bids = [(px - step * k, self._magnitude(-11, 19)) for k in range(rng.randrange(8))]
        asks = [(px + step * (k + 1), self._magnitude(-11, 19)) for k in range(rng.randrange(8))]
        if samples.whole_sizes:
            bids, asks = ([(p, float(min(round(s), 2**32 - 2))) for p, s in side] for side in (bids, asks))
        return samples.book(self._symbol(), self._time(), bids, asks)

    def _qty(self) -> object:
        value = min(self._magnitude(-9, 9.9), 9e9)
        return f"{value:.9f}" if self._rng.random() < 0.5 else round(value, 9)

    def _rate(self) -> float | None:
        return self._rng.choice((None, None, min(10.0, self._magnitude(-12, 1))))

    def terms(self) -> Record:
        """Return every term of an order; each may be at any magnitude."""
        rng = self._rng
        start = self._now + int(rng.choice((0, -1, 1)) * self._magnitude(9, 17))
        end = start + int(self._magnitude(9, 15))
        inside = sorted(rng.randrange(start, end + 1) for _ in range(2 * rng.choice((0, 0, 1, 2))))
        px = self._magnitude(-13, 11)
        return {
            "order_qty": self._qty(),
            "start": start,
            "end": end,
            "participation_rate": self._rate(),
            "min_participation_rate": self._rate(),
            "target_participation_rate": self._rate(),
            "max_interval_qty": rng.choice((None, self._qty())),
            "lot_size": rng.choice((1, self._qty())),
            "risk_aversion": rng.choice((0, self._magnitude(-30, 30))),
            "min_clip_qty": rng.choice((None, None, self._qty())),
            "must_complete": rng.random() < 0.3,
            "blackouts": [list(pair) for pair in zip(inside[::2], inside[1::2], strict=True)],
            "last_trade": rng.choice((None, None, rng.randrange(start, end + 1))),
            "urgency": rng.choice((None, None, min(10.0, self._magnitude(-12, 1)))),
            "alpha_bps": rng.choice((None, rng.choice((-1, 1)) * self._magnitude(-12, 5))),
            "alpha_half_life_s": rng.choice((None, max(1.0, min(3e7, self._magnitude(0, 8))))),
            "auctions": rng.choice((None, "none", "open", "close", "both")),
            "auction_rate": self._rate(),
            "would_px": rng.choice((None, px)),
            "would_rate": self._rate(),
            "limit_px": rng.choice((None, None, px)),
            "venues": rng.choice(([], [], ["V"], ["V", "W"])),
            "limit_offset_bps": rng.choice((None, None, rng.choice((-1, 1)) * self._magnitude(-12, 5))),
        }

    def _order(self) -> Record:
        rng = self._rng
        about: Record = {"symbol": self._symbol(), "ts_event": self._time()}
        drawn = self.terms()
        # Some terms exclude each other, and most orders have few.
        some = {"order_qty", "start", "end", *rng.sample(sorted(drawn), rng.randrange(6))}
        for both in ({"alpha_bps", "alpha_half_life_s"}, {"would_px", "would_rate"}, {"auctions", "auction_rate"}):
            some |= both if both & some else set()
        terms = {name: drawn[name] for name in drawn if name in some}
        kind = rng.random()
        if kind > 0.4:
            head: Record = {"type": "new", "cl_ord_id": f"V{rng.randrange(400)}", "side": rng.choice(("buy", "sell"))}
            return head | about | terms
        named = rng.choice(("M1", "M2", f"V{rng.randrange(400)}"))
        head = {"type": "replace", "cl_ord_id": named}
        if rng.random() < 0.3:
            head |= {"cl_ord_id": f"V{self._step}-{self._n}", "orig_cl_ord_id": named}
        if kind < 0.05:
            return head | about | {"type": "cancel"}
        changed = rng.sample(sorted(terms), rng.randrange(1, len(terms) + 1))
        return head | about | {name: terms[name] for name in changed}

    def _control(self) -> Record:
        rng = self._rng
        scope = rng.choice((self._symbol(), "M1", "M2", f"V{rng.randrange(400)}", "nobody"))
        at = rng.choice((self._time(), self._time(), int(self._magnitude(9, 18.9))))
        return {
            "type": rng.choice(("halt", "resume")),
            "scope": scope,
            "reason": "r" * rng.randrange(60),
            "ts_event": at,
        }

    def _definition(self) -> Record:
        rng = self._rng
        stated: Record = {name: self._magnitude(-12, 12) for name in ("tick_size", "multiplier", "min_qty", "max_qty")}
        stated |= {
            "lot_size": self._qty(),
            "currency": rng.choice(("USD", "USDT", "usd", "")),
            "calendar": rng.choice(("", "XNYS", "24/7")),
            "asset_class": "future",
            "negative_px": rng.random() < 0.5,
        }
        some = rng.sample(sorted(stated), rng.randrange(len(stated) + 1))
        about = {"type": "definition", "symbol": self._symbol(), "ts_event": self._time()}
        return about | {name: stated[name] for name in some}

    def _status(self) -> Record:
        rng = self._rng
        if rng.random() < 0.3:
            about = {"type": "imbalance", "symbol": self._symbol(), "ts_event": self._time()}
            return about | {"auction": rng.choice(("open", "close", "halt")), "paired_qty": self._magnitude(-12, 12)}
        said: Record = {"type": "status", "symbol": self._symbol(), "ts_event": self._time()}
        if rng.random() < 0.8:
            said["status"] = rng.choice((*STATUSES, "open", None))
        if rng.random() < 0.4:
            said["short_restricted"] = rng.choice((True, False, None))
        return said | {"reason": "r" * rng.randrange(60)}

    def _execution(self) -> Record:
        rng = self._rng
        about: Record = {
            "cl_ord_id": rng.choice(("M1", "M2")),
            "symbol": self._symbol(),
            "ts_event": self._time(),
            "last_qty": self._qty(),
            "last_px": self._magnitude(-13, 11),
        }
        name = f"VE{self._step}-{self._n}"
        if self._n > 1 and rng.random() < 0.3:
            kind = rng.choice(("correct", "bust"))
            earlier = f"VE{self._step}-{rng.randrange(1, self._n)}"
            about |= {"exec_id": name, "exec_ref_id": earlier, "type": kind}
            return about if kind == "correct" else {k: v for k, v in about.items() if not k.startswith("last_")}
        return about | {"type": "fill", "exec_id": name, "last_liquidity_ind": rng.choice((None, "taker", "maker"))}
