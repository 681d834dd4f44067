"""Accepted ranges of prices, sizes, times and weights."""

from __future__ import annotations

from typing import Final

#: No price is as large as the smallest of the price sentinels, INT64_MAX in units of 1e-9.
LARGEST_PX: Final = 9_223_372_036.0
#: No instrument is as cheap, and no size as small: bounds that keep products and squares of both within float64.
SMALLEST_PX: Final = 1e-12
#: Below every price of an instrument whose prices may be at or below zero.
ANY_PX: Final = -LARGEST_PX
SMALLEST_SIZE: Final = 1e-9
#: A time beyond this (the year 2116) is no time: sums with it would leave int64.
LAST_NS: Final = 2**62
#: 1/currency; far above any use (Almgren and Chriss 2000 have 1e-6).  Beyond it every plan trades all at once, and
#: products with it would leave float64.
MAX_RISK_AVERSION: Final = 1e9
