"""Sizes of quotes of US stocks, which counted round lots until November 2025.

The consolidated tapes gave the sizes of quotes in round lots of 100 shares until the SEC's market data infrastructure
rules took effect on 3 November 2025, and give shares since. Vendors that hand the tapes on (Polygon, Alpaca) give the
same numbers. Sizes of trades have always been shares. Names with the prefix of another market (``O:``, ``X:``) or
with a quote currency (``BTC/USD``) count units.

References
----------
.. [1] https://massive.com/docs/rest/stocks/trades-quotes/quotes
"""

from __future__ import annotations

from typing import Final

#: Midnight in New York before the first session whose sizes count shares: 2025-11-03T05:00Z.
SHARES_SINCE_NS: Final = 1_762_146_000_000_000_000
ROUND_LOT: Final = 100.0


def lot_of(symbol: str | None, ts_event: int) -> float:
    """Return the shares in one unit of a quote's size."""
    if symbol is not None and (":" in symbol or "/" in symbol):
        return 1.0
    return ROUND_LOT if ts_event < SHARES_SINCE_NS else 1.0
