"""Terms: what a parent order instructs, and what a replace may change.

A field's type gives its form and unit (`impactd.core.outputs.units`), the text
its meaning.  The wire codec, the state codec and the reference are generated
from here, so a new term needs a field here and the place that obeys it.  Every
term but `order_qty`, `start` and `end` needs a default.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final

from impactd.core.base.topics import Side
from impactd.core.outputs.units import (
    Auctions,
    Bps,
    Flag,
    PerCurrency,
    Price,
    Quanta,
    Seconds,
    Share,
    Time,
    Urgency,
    Venues,
    Windows,
)


@dataclass(frozen=True, slots=True)
class Terms:
    """Instructions of a parent order; its execution window is [start, end)."""

    order_qty: Annotated[Quanta, "Quantity of the parent."]
    start: Annotated[Time, "Start of the execution window."]
    end: Annotated[Time, "End of the window, exclusive; after `start`."]
    participation_rate: Annotated[
        Share | None,
        "Largest share of the continuous volume since the order began, at any time; in whole lots of the sum.",
    ] = None
    max_interval_qty: Annotated[Quanta | None, "Most that one interval may trade."] = None
    blackouts: Annotated[Windows, "`[start, end)` windows without trading."] = ()
    lot_size: Annotated[
        Quanta,
        "Planned quantities are multiples of it, except for one odd remainder; the instrument's where none is given.",
    ] = 0
    risk_aversion: Annotated[PerCurrency, "Weight of the inventory's variance."] = 0.0
    min_clip_qty: Annotated[
        Quanta | None, "Least that an interval trades if it trades at all; a smaller remainder of the order may trade."
    ] = None
    must_complete: Annotated[
        Flag,
        "Whether to lift the limit of `participation_rate`, as late as possible, if it would leave a shortfall; "
        "`max_interval_qty` and blackouts always hold.",
    ] = False
    last_trade: Annotated[
        Time | None,
        "No interval that ends after it trades; the window, which costs are measured over, still ends at `end`.",
    ] = None

    min_participation_rate: Annotated[
        Share | None,
        "Least share of the continuous volume since the order began, at any time, as far as the other limits allow.",
    ] = None
    target_participation_rate: Annotated[
        Share | None,
        "Share of volume to follow: the running sum is less than a lot behind it, and ahead of it only as far as "
        "`participation_rate` allows.",
    ] = None
    urgency: Annotated[
        Urgency,
        "How early to trade, at a higher cost and a lower risk, the same for every symbol and size; `low` is 1, "
        "`normal` 2, `high` 4, `get_done` 8. Not with `risk_aversion`.",
    ] = 0.0

    limit_px: Annotated[
        Price | None,
        "Never trade at a worse price: a buy not above it, a sell not below it. Not with `limit_offset_bps`.",
    ] = None
    limit_offset_bps: Annotated[
        Bps | None,
        "The same limit in basis points from the arrival price: 20 lets a buy pay 20 bps more than the mid when "
        "the order began; negative demands a better price.",
    ] = None

    alpha_bps: Annotated[
        Bps | None,
        "Expected total rise of the mid, in basis points; negative: a fall. Needs `alpha_half_life_s`.",
    ] = None
    alpha_half_life_s: Annotated[Seconds | None, "Time in which half of `alpha_bps` is expected to happen."] = None

    would_px: Annotated[
        Price | None,
        "At this price or a better one trade at once, up to `would_rate` of what the book shows there, even where the "
        "plan would wait; other limits hold.",
    ] = None
    would_rate: Annotated[Share | None, "Share of the visible depth at `would_px` or better. With `would_px`."] = None

    auctions: Annotated[
        Auctions | None, "In which auctions of its window the order takes part: `open`, `close`, `both` or `none`."
    ] = None
    auction_rate: Annotated[
        Share | None, "Largest share of an auction's expected volume that the order enters. With `auctions`."
    ] = None

    venues: Annotated[
        Venues,
        "Venues that it may be sent to: the split of a plan's interval is over these; null: all.",
    ] = ()

    @property
    def trades_until(self) -> int:
        """End of the last time in which it may trade: no interval that ends after `last_trade` trades; ns."""
        return self.end if self.last_trade is None else min(self.end, self.last_trade)

    def closed(self) -> tuple[tuple[int, int], ...]:
        """Return the windows [start, end) of its own window in which no interval may trade, ns."""
        return self.blackouts if self.trades_until == self.end else (*self.blackouts, (self.trades_until, self.end))

    @property
    def has_limit(self) -> bool:
        """Whether a limit price binds."""
        return self.limit_px is not None or self.limit_offset_bps is not None

    @property
    def has_price(self) -> bool:
        """Whether a limit or a would price moves its plan."""
        return self.has_limit or self.would_px is not None

    @property
    def least_rate(self) -> float | None:
        """Lower bound of the running sum, a share of volume; None without one."""
        return self.min_participation_rate if self.target_participation_rate is None else self.target_participation_rate

    @property
    def most_rate(self) -> float | None:
        """Upper bound of the running sum, a share of volume; None without one."""
        return self.target_participation_rate if self.participation_rate is None else self.participation_rate

    @property
    def paced(self) -> bool:
        """Whether it has a pace of its own, and may not wait for a cheap book."""
        return self.averse or self.least_rate is not None or self.alpha_bps is not None

    @property
    def averse(self) -> bool:
        """Whether inventory costs: a plan then trades earlier than it would cost least."""
        return self.risk_aversion > 0.0 or self.urgency > 0.0

    def contradiction(self, side: Side) -> str | None:
        """Return which instructions of an order on `side` cannot be obeyed together, or None."""
        least, target, most = self.min_participation_rate, self.target_participation_rate, self.participation_rate
        if least is not None and target is not None and least > target:
            return "min_participation_rate is above target_participation_rate; lower it, or leave one out"
        if least is not None and most is not None and least > most:
            return "min_participation_rate is above participation_rate; lower it, or raise participation_rate"
        if target is not None and most is not None and target > most:
            return "target_participation_rate is above participation_rate; lower it, or raise participation_rate"
        if self.min_clip_qty is not None and self.least_rate is not None:
            return "min_clip_qty with a least or target rate: clips may break it; leave one of them out"
        if self.urgency > 0.0 and self.risk_aversion > 0.0:
            return "urgency with risk_aversion: both weigh risk; send one"
        if self.limit_px is not None and self.limit_offset_bps is not None:
            return "limit_px with limit_offset_bps: both set the limit; send one"
        if (self.auctions is None) is not (self.auction_rate is None):
            return "auctions needs auction_rate, and that needs auctions; send both, or neither"
        if (self.would_px is None) is not (self.would_rate is None):
            return "would_px needs would_rate, and that needs would_px; send both, or neither"
        if self.would_px is not None and self.min_clip_qty is not None:
            return "min_clip_qty with would_px: what the book shows there may be less than a clip; leave one out"
        if (
            self.would_px is not None
            and self.limit_px is not None
            and side.sign * (self.would_px - self.limit_px) > 0.0
        ):
            return "would_px is beyond limit_px, where nothing trades; send a better one, or move limit_px"
        if (self.alpha_bps is None) is not (self.alpha_half_life_s is None):
            return "alpha_bps needs alpha_half_life_s, and that needs alpha_bps; send both, or neither"
        return None

    def changed(self, changes: Mapping[str, Any]) -> Terms:
        """Return the terms with some of them replaced."""
        return dataclasses.replace(self, **changes)


#: Urgency by name: the window in units of the time in which the position falls to 1/e
#: (`impactd.core.planning.urgency.risk_weight`).
URGENCIES: Final = {"low": 1.0, "normal": 2.0, "high": 4.0, "get_done": 8.0}
MAX_URGENCY: Final = 10.0

#: Longest half-life of a drift view, s: a year.
MAX_HALF_LIFE_S: Final = 366 * 86_400.0

#: In which auctions an order may take part.
AUCTIONS: Final = ("none", "open", "close", "both")

#: Names of the terms, in order.
TERMS: Final = tuple(field.name for field in dataclasses.fields(Terms))


def terms_from(fields: Mapping[str, Any]) -> Terms:
    """Return the terms in a state value, which JSON has turned into plain lists and numbers."""
    return Terms(**{name: plain_term(value) for name, value in fields.items()})


def plain_term(value: Any) -> Any:
    """Return the value of a term as JSON gives it back, with tuples for lists."""
    return tuple(plain_term(item) for item in value) if isinstance(value, list) else value
