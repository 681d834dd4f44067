"""Accepted ranges of prices and sizes."""

from __future__ import annotations

from typing import Final

#: No price is as large as the smallest of the price sentinels, INT64_MAX in units of 1e-9.
LARGEST_PX: Final = 9_223_372_036.0
#: No instrument is as cheap, and no size as small: bounds that keep products and squares of both within float64.
SMALLEST_PX: Final = 1e-12
#: Below every price of an instrument whose prices may be at or below zero.
ANY_PX: Final = -LARGEST_PX
SMALLEST_SIZE: Final = 1e-9
