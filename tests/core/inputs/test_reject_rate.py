"""The share of input that could not be used: alerted once, wherever commits are cut."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from impactd.core.base.settings import CoreSettings, InvalidSettings
from impactd.core.base.topics import Topic
from impactd.core.inputs.reject_rate import InvalidShare
from impactd.core.inputs.ticks import Refused
from tests.core.builders import T0, EngineHarness, M, S, ladder, minutes, numbers
from tests.core.rows import batch_of


def harness(**limits: Any) -> EngineHarness:
    terms = {"max_ratio": 0.2, "min_messages": 10, "window_intervals": 3} | limits
    return EngineHarness(CoreSettings(invalid=InvalidSettings(**terms)))


def refused(n: int, first: int = 0) -> list[Refused]:
    return [Refused(first + k, "json", "no JSON", b"{", b"FROG", "json", T0) for k in range(n)]


def send_refused(at: EngineHarness, n: int) -> None:
    at.put_rows([], refused(n, at.ends[Topic.TICKS]))
    at.commit()


def test_share_above_the_limit_is_alerted_once_and_every_record_is_a_dead_letter() -> None:
    one = harness()
    one.run(minutes(3))
    send_refused(one, 2)
    assert one.alerts("invalid_ratio") == []
    send_refused(one, 5)
    assert [numbers(alert)[0] for alert in one.alerts("invalid_ratio")] == [3]
    assert one.engine.invalid.over
    send_refused(one, 20)
    assert len(one.alerts("invalid_ratio")) == 1
    assert len(one.dead()) == 27


def test_share_is_seen_though_nothing_at_all_is_usable() -> None:
    one = harness()
    send_refused(one, 9)
    assert not one.engine.invalid.over
    send_refused(one, 1)
    assert one.engine.invalid.over
    # What is wrong with a feed of which nothing is usable is in the alert.
    (alert,) = one.alerts("invalid_ratio")
    assert "json: no JSON" in alert.text


def test_share_falls_as_minutes_leave_the_window_and_may_rise_again() -> None:
    one = harness()
    one.run(minutes(1))
    send_refused(one, 12)
    assert one.engine.invalid.over
    one.reload()
    assert one.engine.invalid.over
    one.run([ladder(T0 + M + k * S) for k in range(1, 200)])
    assert not one.engine.invalid.over
    send_refused(one, 60)
    assert len(one.alerts("invalid_ratio")) == 2


@pytest.mark.parametrize("limits", [{"max_ratio": None}, {"max_ratio": 1.0}])
def test_share_without_a_limit_states_nothing(limits: dict[str, float | None]) -> None:
    one = harness(**limits)
    send_refused(one, 50)
    assert one.alerts("invalid_ratio") == []


@given(data=st.data())
@hypothesis_settings(max_examples=60, deadline=None)
def test_used_rows_count_as_one_by_one(data: st.DataObject) -> None:
    steps = data.draw(st.lists(st.integers(0, 90), max_size=40))
    keys = T0 + np.cumsum(np.array(steps, np.int64)) * S
    settings = InvalidSettings(0.2, 3, 3)
    whole, single = InvalidShare(settings, M), InvalidShare(settings, M)
    for share in (whole, single):
        share.used(T0)
        share.refused(T0 + 10 * S, "json")
    at = 0
    while at < len(keys):
        n = data.draw(st.integers(1, 10))
        whole.used_rows(keys[at : at + n])
        at += n
    for key in keys.tolist():
        single.used(key)
    assert whole.save() == single.save()


@given(cuts=st.lists(st.integers(1, 15), min_size=1, max_size=10), bad=st.sets(st.integers(0, 59)))
@hypothesis_settings(max_examples=30, deadline=None)
def test_alerts_do_not_depend_on_where_commits_are_cut(cuts: list[int], bad: set[int]) -> None:
    """Sixty records seven seconds apart, of which some are refused."""

    def feed(to: EngineHarness, span: range) -> None:
        rows = [k for k in span if k not in bad]
        batch_rows = [ladder(T0 + k * 7 * S) for k in rows]
        batch = replace(batch_of(batch_rows), offset=np.array(rows, np.int64))
        to.inbox.put_ticks(batch, [r for r in refused(60) if r.offset in bad and r.offset in span], span.stop)

    whole, cut = harness(), harness()
    feed(whole, range(60))
    whole.commit()
    at = 0
    while at < 60:
        n = min(cuts[at % len(cuts)], 60 - at)
        feed(cut, range(at, at + n))
        cut.commit()
        at += n
    assert cut.alerts("invalid_ratio") == whole.alerts("invalid_ratio")
    assert cut.engine.invalid.save() == whole.engine.invalid.save()
