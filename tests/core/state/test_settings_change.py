"""An older state goes on, a newer one is refused, and settings change only where what is saved keeps its meaning."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import orjson
import pytest

from impactd.core.base.settings import (
    BookSettings,
    CoreSettings,
    ModelSettings,
    PlanSettings,
    SessionRule,
    WireSettings,
)
from impactd.core.base.topics import Topic
from impactd.core.engine import Engine
from impactd.core.inputs.inbox import Inbox
from impactd.core.state.identity import MIGRATIONS
from impactd.core.state.schema import SCHEMA_VERSION, StateMismatchError, settings_from, settings_hash
from impactd.core.state.settings_change import FIXED, changes, obstacles, plain
from impactd.core.state.snapshot import snapshot_items
from tests.core.builders import EngineHarness, M, encoded, marked, minutes, new
from tests.core.days import drive, finish, random_day, restart


def test_migrations_lead_from_each_schema_to_this_one() -> None:
    assert sorted(MIGRATIONS) == list(range(1, SCHEMA_VERSION))


def test_load_of_an_older_schema_migrates_it_version_by_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """With made-up versions, as no release has raised the schema yet."""
    harness = EngineHarness()
    harness.run(minutes(2))
    older = {key.replace("market/", "old/"): value for key, value in harness.state.items()}
    older = marked(older, schema=SCHEMA_VERSION - 2)
    steps = {
        SCHEMA_VERSION - 2: lambda items: {key.replace("old/", "older/"): value for key, value in items.items()},
        SCHEMA_VERSION - 1: lambda items: {key.replace("older/", "market/"): value for key, value in items.items()},
    }
    monkeypatch.setattr("impactd.core.state.identity.MIGRATIONS", steps)
    engine = Engine(harness.core)
    engine.load(older)
    assert engine.dump() == harness.state
    commit = engine.handover()
    assert commit is not None
    previous: Any = commit.journal["previous"]
    assert previous["schema"] == SCHEMA_VERSION - 2
    assert (commit.state["old/FROG"], commit.state["market/FROG"]) == (None, harness.state["market/FROG"])
    assert snapshot_items(orjson.loads(orjson.dumps(commit.snapshot))) == engine.dump()
    assert engine.handover() is None


CHANGES: Final = {
    "books.grace_ns": replace(CoreSettings(), books=BookSettings(grace_ns=5)),
    "books.n_sizes": replace(CoreSettings(), books=BookSettings(n_sizes=9)),
    "books.max_levels": replace(CoreSettings(), books=BookSettings(max_levels=3)),
    "books.min_coverage": replace(CoreSettings(), books=BookSettings(min_coverage=0.5)),
    "books.max_book_age_ns": replace(CoreSettings(), books=BookSettings(max_book_age_ns=M)),
    "model.mean_half_life_minutes": replace(CoreSettings(), model=ModelSettings(mean_half_life_minutes=9.0)),
    "model.learn_profile": replace(CoreSettings(), model=ModelSettings(learn_profile=False)),
    "plans.band_level": replace(CoreSettings(), plans=PlanSettings(band_level=0.7)),
    "plans.child_slices": replace(CoreSettings(), plans=PlanSettings(child_slices=4)),
    "plans.hold_ns": replace(CoreSettings(), plans=PlanSettings(hold_ns=0, max_held=0)),
    "plans.keep_ended_ns": replace(CoreSettings(), plans=PlanSettings(keep_ended_ns=0)),
    "plans.max_orders": replace(CoreSettings(), plans=PlanSettings(max_orders=1)),
    "plans.replan_threshold_bps": replace(CoreSettings(), plans=PlanSettings(replan_threshold_bps=2.0)),
    "max_symbols": replace(CoreSettings(), max_symbols=1),
}


@pytest.mark.parametrize("changed", CHANGES)
def test_settings_changed_in_mid_day_are_accepted_and_derived_again(changed: str) -> None:
    """The state that a handover leads to is the one that its journal record and snapshot lead to."""
    day, core = random_day(5), replace(CoreSettings(), apply="in_event_time")
    harness = EngineHarness(core)
    day.put_events(harness.inbox, harness.engine.positions)
    day.put_ticks(harness.inbox, 0, day.n_records // 2)
    harness.commit()
    other = replace(CHANGES[changed], apply="in_event_time")
    with pytest.raises(StateMismatchError, match=f"{changed} was .*--accept-settings"):
        Engine(other).load(harness.state)

    engine = Engine(other)
    engine.load(harness.state, accept_settings=True)
    commit = engine.handover()
    assert commit is not None
    record = orjson.loads(orjson.dumps(commit.journal))
    assert record["previous"]["config"] == settings_hash(core)
    assert (record["config"], settings_from(record["settings"])) == (settings_hash(other), other)
    harness.core, harness.engine = other, engine
    harness._keep(commit)
    restart(harness, day)
    day.put_ticks(harness.inbox, harness.engine.positions[Topic.TICKS], day.n_records)
    said = harness.commit()

    again = Engine(settings_from(record["settings"]))
    again.load(snapshot_items(orjson.loads(orjson.dumps(commit.snapshot))))
    inbox = Inbox(other, again.positions, again.clocks)
    day.put_events(inbox, again.positions)
    day.put_ticks(inbox, again.positions[Topic.TICKS], day.n_records)
    derived = []
    while (inputs := inbox.take()) is not None:
        derived += again.apply(inputs).outputs
    assert encoded(derived) == encoded(said)
    finish(harness)


REFUSED: Final = {
    "apply": replace(CoreSettings(), apply="in_event_time"),
    "books.interval_ns": replace(CoreSettings(), books=BookSettings(interval_ns=30_000_000_000)),
    "books.sizes": replace(CoreSettings(), books=BookSettings(sizes=(1.0, 2.0))),
    "model.kind": replace(CoreSettings(), model=ModelSettings(kind="power")),
    "model.intercept": replace(CoreSettings(), model=ModelSettings(intercept=False)),
    "model.deltas": replace(CoreSettings(), model=ModelSettings(deltas=(1.0,))),
    "model.prior_profile": replace(CoreSettings(), model=ModelSettings(prior_profile=False)),
    "model.profile": replace(CoreSettings(), model=ModelSettings(profile=((0.5,), (0.0,), (0.0,), (0.0,), (1.0,)))),
    "plans.act": replace(CoreSettings(), plans=PlanSettings(act="slices")),
    "plans.fills": replace(CoreSettings(), plans=PlanSettings(fills="scheduled")),
    "session.open_s": replace(CoreSettings(), session=SessionRule(open_s=3_600)),
    "session.close_s": replace(CoreSettings(), session=SessionRule(close_s=82_800)),
    "session.breaks": replace(CoreSettings(), session=SessionRule(breaks=((3_600, 7_200),))),
    "sessions": replace(CoreSettings(), sessions=(("BTC*", SessionRule(open_s=3_600)),)),
    "wire.inputs": replace(CoreSettings(), wire=WireSettings(inputs=(("ticks", "elsewhere"),))),
}


@pytest.mark.parametrize("changed", REFUSED)
def test_settings_that_give_the_state_another_meaning_are_refused_though_accepted(changed: str) -> None:
    harness = EngineHarness(CoreSettings())
    harness.run(minutes(2))
    harness.send(new())
    with pytest.raises(StateMismatchError, match=f"{changed} was .* and is"):
        Engine(REFUSED[changed]).load(harness.state, accept_settings=True)


def test_obstacles_every_fixed_setting_is_known_and_tested() -> None:
    assert sorted(REFUSED) == sorted(FIXED)
    for path in FIXED:
        value: Any = plain(CoreSettings())
        for name in path.split("."):
            value = value[name]


def test_obstacles_setting_of_one_release_only_is_none() -> None:
    old = plain(CoreSettings())
    del old["model"]["intercept"]
    assert changes(old | {"gone": 1}, CoreSettings()) == {}
    unlike = replace(CoreSettings(), model=ModelSettings(intercept=False))
    assert [text.partition(" was")[0] for text in obstacles(old, unlike)] == ["model.intercept"]


def test_load_of_a_state_whose_release_knew_fewer_settings_needs_no_acceptance() -> None:
    harness = EngineHarness(CoreSettings())
    harness.run(minutes(2))
    fewer = plain(CoreSettings())
    del fewer["max_symbols"]
    engine = Engine(CoreSettings())
    engine.load(marked({**harness.state, "settings": orjson.dumps(fewer)}, config="0123456789abcdef"))
    commit = engine.handover()
    assert commit is not None
    assert orjson.loads(orjson.dumps(commit.journal["previous"]))["config"] == "0123456789abcdef"


def test_release_changed_is_handed_over_with_a_snapshot() -> None:
    harness = drive(random_day(1), replace(CoreSettings(), apply="in_event_time"), batch=1_000)
    engine = Engine(harness.core, release="99.0")
    engine.load(harness.state)
    commit = engine.handover()
    assert commit is not None
    assert commit.snapshot
    assert orjson.loads(orjson.dumps(commit.journal))["previous"]["release"] == harness.commits[0].journal["release"]
