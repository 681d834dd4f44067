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

from impactd.core.base.quantity import QUANTA
from impactd.core.outputs.units import Flag, PerCurrency, Quanta, Share, Time, Windows


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
    lot_size: Annotated[Quanta, "Planned quantities are multiples of it, except for one odd remainder."] = QUANTA
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

    def changed(self, changes: Mapping[str, Any]) -> Terms:
        """Return the terms with some of them replaced."""
        return dataclasses.replace(self, **changes)


#: Names of the terms, in order.
TERMS: Final = tuple(field.name for field in dataclasses.fields(Terms))


def terms_from(fields: Mapping[str, Any]) -> Terms:
    """Return the terms in a state value, which JSON has turned into plain lists and numbers."""
    return Terms(**{name: plain_term(value) for name, value in fields.items()})


def plain_term(value: Any) -> Any:
    """Return the value of a term as JSON gives it back, with tuples for lists."""
    return tuple(plain_term(item) for item in value) if isinstance(value, list) else value
