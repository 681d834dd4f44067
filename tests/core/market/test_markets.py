"""The state of markets: what changes with each minute, and what is lasting."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from impactd.core.base.settings import CoreSettings
from impactd.core.base.topics import SIDES
from impactd.core.books.aggregator import MinuteAggregator
from impactd.core.market.bands import HORIZONS
from impactd.core.market.markets import Markets
from impactd.core.market.shadow import Shadow, Shadows
from tests.core.rows import batch_of, book

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


def test_books_of_one_instant_have_walks_of_their_own() -> None:
    books = MinuteAggregator(CORE.books)
    market = Markets(CORE, books).of("FROG")
    at = 1_743_674_400_000_000_000
    for size in (100.0, 300.0):
        batch = batch_of([book(at, size=size)])
        assert books.run(batch, 0, 1) == 1
        for side in SIDES:
            found, again = market.prevailing(side, at), market.prevailing(side, at)
            assert found is not None
            assert found is again
            assert found.depth == size
            assert (found.g == 1.0).tolist() == [shares <= size for shares in found.sizes.tolist()]
