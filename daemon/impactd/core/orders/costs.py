r"""Transaction cost analysis: the cost of fills against the market.

The implementation shortfall of an order ([1]_) is its cost against trading all of it
at the arrival price.  With s = +1 to buy and -1 to sell, fills of q_i at p_i, the mid
m_i and half-spread h_i at the fill, the arrival price a, the price z at the order's
end, and X ordered:

.. math::

   \underbrace{\sum_i s q_i (p_i - a) + s (X - \sum_i q_i)(z - a)}_{\text{shortfall}} =
   \underbrace{\sum_i \pm q_i h_i}_{\text{spread}}
   + \underbrace{\sum_i s q_i (p_i - m_i) \mp q_i h_i}_{\text{impact}}
   + \underbrace{\sum_i s q_i (m_i - a)}_{\text{timing}}
   + \underbrace{s (X - \sum_i q_i)(z - a)}_{\text{opportunity}}

A taker pays the half-spread, a maker earns it, an auction has none; a fill without a liquidity flag counts
as a taker's.  Timing contains every move of the mid, own impact included.

Rules:

- prices are rounded to 1e-9, quantities are whole quanta, and costs are whole products
  of the two: the parts sum exactly, and a correction reverses exactly what the
  corrected fill had added, regardless of the fills in between;
- the arrival price is the mid when the order begins to work; without a book it is
  the first mid after that, and without one before the first fill, that fill's price;
- the whole cost of a fill without a mid counts as timing;
- sums are of price times quantity; the instrument's multiplier turns them into currency when they are published.

References
----------
.. [1] Perold (1988), The Implementation Shortfall: Paper versus Reality, J. Portfolio Management 14(3).
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Final, NamedTuple, Self

from impactd.core.base.quantity import QUANTA

#: Parts of a unit of price.
PX_QUANTA: Final = 1_000_000_000

#: Parts of price times quantity: of a quantum times a part of a unit of price.
COST_QUANTA: Final = QUANTA * PX_QUANTA

#: A cost of more bits than this does not fit a float.
_MAX_BITS: Final = 1_000

_ONE: Final = Fraction(1)


class Mark(NamedTuple):
    """The market at a fill."""

    #: Event time of the fill, ns.
    at: int
    #: Of the prevailing book; None without one.
    mid: float | None
    half_spread: float | None
    #: What the model expected of it, per share over mid, corrected by `bias`; None where it knew no price.
    predicted_px: float | None
    bias: float
    #: ``taker``, ``maker``, ``auction``, or not said.
    liquidity: str | None
    #: Where it traded, if the fill states it.
    venue: str | None = None


@dataclass(slots=True)
class Costs:
    """Exact sums over fills; costs in 1 / `COST_QUANTA` of price times quantity, quantities in quanta."""

    fills: int = 0
    qty: int = 0
    notional: int = 0
    spread: int = 0
    impact: int = 0
    timing: int = 0
    #: What the model expected over mid, of the quantity that it had a price for, and what that quantity paid.
    predicted: int = 0
    predicted_qty: int = 0
    slippage: int = 0
    #: Quantity of fills without a mid, whose cost is all in `timing`.
    unmarked: int = 0

    def add(self, other: Self, times: int = 1) -> None:
        """Add another's sums, or take them back with `times` = -1."""
        for name in self.__slots__:
            setattr(self, name, getattr(self, name) + times * getattr(other, name))

    def save(self) -> list[str]:
        """Return the state as JSON-ready values; sums leave 64 bits."""
        return [str(getattr(self, name)) for name in self.__slots__]

    @classmethod
    def load(cls, saved: list[str]) -> Self:
        """Return the sums that `save` has given."""
        return cls(*(int(value) for value in saved))


def px_quanta(px: float) -> int:
    """Return a price in whole parts, the nearest."""
    return round(Fraction(px) * PX_QUANTA)


def fill_costs(sign: int, qty: int, px: float, mark: Mark, arrival_px: float) -> Costs:
    """Return what one fill adds.

    Parameters
    ----------
    sign : int
        +1 to buy, -1 to sell.
    qty : int
        Quanta; 0 for a fill that was taken back.
    px : float
        Its price.
    """
    if qty == 0:
        return Costs()
    paid, arrival = px_quanta(px), px_quanta(arrival_px)
    mid = paid if mark.mid is None else px_quanta(mark.mid)
    half = 0 if mark.half_spread is None else px_quanta(mark.half_spread)
    spread = {"maker": -1, "auction": 0}.get(mark.liquidity or "", 1) * qty * half
    slippage = sign * qty * (paid - mid)
    priced = mark.predicted_px is not None and mark.mid is not None
    return Costs(
        fills=1,
        qty=qty,
        notional=qty * paid,
        spread=spread,
        impact=slippage - spread,
        timing=sign * qty * (mid - arrival),
        predicted=qty * px_quanta(mark.predicted_px or 0.0) if priced else 0,
        predicted_qty=qty if priced else 0,
        slippage=slippage if priced else 0,
        unmarked=qty if mark.mid is None else 0,
    )


def opportunity(sign: int, unfilled_qty: int, end_px: float | None, arrival_px: float | None) -> int | None:
    """Return what not trading `unfilled_qty` (quanta) has cost; None where a price is missing."""
    if unfilled_qty == 0:
        return 0
    if end_px is None or arrival_px is None:
        return None
    return sign * unfilled_qty * (px_quanta(end_px) - px_quanta(arrival_px))


def currency(cost: int, scale: Fraction = _ONE) -> float | None:
    """Return an exact cost times a multiplier as the nearest float; None beyond all floats."""
    scaled = cost * scale.numerator
    return scaled / (COST_QUANTA * scale.denominator) if scaled.bit_length() < _MAX_BITS else None


def average_px(notional: int, qty: int) -> float | None:
    """Return the average price of `qty` quanta; None of nothing."""
    if qty == 0 or notional.bit_length() >= _MAX_BITS:
        return None
    return notional / (qty * PX_QUANTA)


def bps(cost: int, qty: int, px: float | None) -> float | None:
    """Return a cost in basis points of `qty` quanta at `px`; None of nothing."""
    notional = qty * px_quanta(px) if px is not None else 0
    if notional <= 0 or cost.bit_length() >= _MAX_BITS:
        return None
    return 10_000 * cost / notional


class Shortfall(NamedTuple):
    """A shortfall and its parts, currency; the total is the parts added in this order, to the last bit.

    None is unknown: all parts but the opportunity where quantity was executed without a reported fill, and what a
    fill without a mid cost in spread, impact and timing, of which the sum alone is known.
    """

    spread: float | None
    impact: float | None
    timing: float | None
    opportunity: float | None
    total: float | None

    @classmethod
    def of(cls, costs: Costs, unfilled: int | None = 0, scale: Fraction = _ONE, *, measured: bool = True) -> Self:
        """Return the parts of `costs` times a multiplier, with what not trading has cost.

        `measured`: fills account for all that was executed.
        """
        missed = None if unfilled is None else currency(unfilled, scale)
        if not measured:
            return cls(None, None, None, missed, None)
        if costs.unmarked:
            whole = costs.spread + costs.impact + costs.timing
            total = None if unfilled is None else currency(whole + unfilled, scale)
            return cls(None, None, None, missed, total)
        spread, impact, timing = (currency(part, scale) for part in (costs.spread, costs.impact, costs.timing))
        if spread is None or impact is None or timing is None or missed is None:
            return cls(spread, impact, timing, missed, None)
        return cls(spread, impact, timing, missed, spread + impact + timing + missed)
