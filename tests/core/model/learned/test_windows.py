"""What the network sees of the last hour."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import orjson
import pytest

from impactd.core.base.settings import MINUTE_NS
from impactd.core.model.curves import Float
from impactd.core.model.forecaster import reference_of
from impactd.core.model.learned.windows import FEATURES, WINDOWS, WindowState
from tests.core.model.minutes import NEW_YORK, SIZES, Books, linear, minute


@dataclasses.dataclass
class TwoSides(Books):
    """What a closed minute shows; the sides may differ."""

    walks: Float = dataclasses.field(default_factory=lambda: np.zeros((2, len(SIZES))))

    @property
    def lower_bound(self) -> Float:
        """As given."""
        return self.walks


def make(row: int = 0) -> WindowState:
    return WindowState(row, NEW_YORK, MINUTE_NS)


def add(state: WindowState, i: int, books: Books) -> None:
    """Add the i-th minute of the session with the levels that a model measures."""
    assert books.half_spread is not None
    ref, _ = reference_of(books.sizes)
    state.update(minute(i), (math.log(books.half_spread), math.log(float(books.curve[ref]))), books)


def seen(state: WindowState, i: int) -> dict[str, float]:
    """Return the features of the i-th minute of the session."""
    return dict(zip(FEATURES, state.of(np.array([minute(i)]))[0].tolist(), strict=True))


def some_books(seed: int) -> TwoSides:
    """Return random books, some at a negative mid or without a depth."""
    rng = np.random.default_rng(seed)
    half = 0.02 * math.exp(0.3 * rng.standard_normal())
    walks = half + np.exp(0.3 * rng.standard_normal((2, 1))) * 1e-5 * SIZES
    depth = 1000.0 * np.exp(0.5 * rng.standard_normal(2)) if rng.random() < 0.9 else np.full(2, np.nan)
    mid = (-1.0 if rng.random() < 0.05 else 1.0) * 31.0 * math.exp(0.001 * rng.standard_normal())
    return TwoSides(walks[0], half_spread=half, walks=walks, mid=mid, depth=depth)


def test_before_any_minute_nothing_is_known() -> None:
    assert all(math.isnan(value) for value in seen(make(), 3).values())


def test_equal_minutes_deviate_from_nothing() -> None:
    state = make()
    for i in range(80):
        add(state, i, linear())
    found = seen(state, 82)
    for name, value in found.items():
        if not name.startswith(("move", "ahead")):
            assert value == pytest.approx(0.0, abs=6e-4), name
    assert found["ahead"] == 3
    assert math.isnan(found["move_60"])  # the mid has never moved: nothing is its usual move


@pytest.mark.parametrize("row", [0, 1])
def test_features_are_means_over_windows_of_the_last_hour(row: int) -> None:
    """The oracle keeps all minutes, and adds them up."""
    state, minutes = make(row), [i for i in range(150) if i % 11 != 5 and not 40 <= i < 55]
    books = {i: some_books(i) for i in minutes}
    values: dict[int, list[float]] = {}
    moves: list[float] = []
    age: list[int] = []
    for i in minutes:
        one = books[i]
        add(state, i, one)
        ref, _ = reference_of(one.sizes)
        assert one.half_spread is not None
        own, other = (one.walks[side, ref] - 0.9 * one.half_spread for side in (row, 1 - row))
        deep = one.walks[row, -1] - 0.9 * one.half_spread
        before = books.get(i - 1)
        moved = math.nan
        assert one.mid is not None
        if before is not None and before.mid is not None and min(before.mid, one.mid) > 0.0:
            moved = abs(math.log(one.mid / before.mid))
        usual = np.average(moves, weights=[2.0 ** (-(i - at) / 60.0) for at in age]) if moves else math.nan
        values[i] = [
            math.log(one.half_spread),
            math.log(float(one.curve[ref])),
            math.log(other / own),
            math.log(deep / own),
            math.log(one.depth[row]),
            moved / usual,
        ]
        if not math.isnan(moved):
            moves.append(moved)
            age.append(i)
    last = minutes[-1]
    found = seen(state, last + 1)
    slow = [
        np.average(
            [values[i][k] for i in minutes if not math.isnan(values[i][k])],
            weights=[2.0 ** (-(last - i) / 60.0) for i in minutes if not math.isnan(values[i][k])],
        )
        for k in range(5)
    ] + [1.0]
    for window in WINDOWS:
        within = [values[i] for i in range(last - window + 1, last + 1) if i in values]
        for k, name in enumerate(("spread", "excess", "other", "deep", "depth", "move")):
            known = [of[k] for of in within if not math.isnan(of[k])]
            got = found[f"{name}_{window}"]
            if known:
                assert got == pytest.approx(np.mean(known) - slow[k], abs=1e-3), (name, window)
            else:
                assert math.isnan(got)


def test_overnight_the_hour_is_forgotten_and_what_is_usual_is_not() -> None:
    state, day = make(), 24 * 60
    for i in range(300, 390):
        add(state, i, linear(s=0.04))
    add(state, day, linear(s=0.02))
    found = seen(state, day + 1)
    assert found["spread_1"] == found["spread_60"] < -0.5
    assert math.isnan(found["move_1"])


def test_saved_state_continues_to_the_last_bit() -> None:
    one = make()
    for i in range(100):
        add(one, i, some_books(i))
    two = make()
    two.load(orjson.loads(orjson.dumps(one.save())))
    assert two.save() == one.save()
    for i in range(100, 130):
        for state in (one, two):
            add(state, i, some_books(i))
        assert np.array_equal(one.of(np.array([minute(i)])), two.of(np.array([minute(i)])), equal_nan=True)
    assert two.save() == one.save()
    assert len(orjson.dumps(one.save())) < 1_500


@pytest.mark.parametrize("saved", [None, [1, 0, None, [], [], []]], ids=["none", "of-trees"])
def test_load_of_nothing_usable_begins_again(saved: list[object] | None) -> None:
    state = make()
    state.load(saved)
    assert state.minute is None
    assert state.levels == (pytest.approx(math.nan, nan_ok=True),) * 2
