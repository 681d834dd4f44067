"""The state of markets: what changes with each minute, and what is lasting."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from impactd.core.base.settings import CoreSettings
from impactd.core.books.aggregator import MinuteAggregator
from impactd.core.market.bands import HORIZONS
from impactd.core.market.markets import Markets
from impactd.core.market.shadow import Shadow, Shadows

CORE = CoreSettings()


@given(begun=st.sets(st.tuples(st.sampled_from(HORIZONS), st.integers(0, 1))))
@settings(deadline=None)
def test_state_is_restored_whichever_sides_have_shadows(begun: set[tuple[int, int]]) -> None:
    """A book may have prices on one side alone, so one side of a lasting part may be empty."""
    markets, again = (Markets(CORE, MinuteAggregator(CORE.books)) for _ in range(2))
    lasting = markets.of("AAA").lasting
    for n, side in begun:
        shadows = lasting[f"shadows_{n}"][side]
        assert isinstance(shadows, Shadows)
        shadows.begin([(0, Shadow(0, 1.0, np.ones(n, np.uint8), (0.1, 0.2), 0.03))])
    markets.mark("AAA")
    saved = markets.dump()
    assert markets.changes() == saved
    again.load(saved)
    assert again.dump() == saved
    assert not again.changes()
