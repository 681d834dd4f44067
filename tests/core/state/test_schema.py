"""The state as keys and values: what is written is read back, and a foreign state is refused."""

from __future__ import annotations

import dataclasses
from itertools import accumulate
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from impactd.core.base.instrument import Instrument
from impactd.core.base.quantity import QUANTA
from impactd.core.base.settings import BookSettings, CoreSettings, ModelSettings, PlanSettings, SessionRule
from impactd.core.base.topics import Side
from impactd.core.base.venue import VenueRule
from impactd.core.engine import Engine
from impactd.core.inputs.events import Bust, CancelOrder, Correct, Fill, NewOrder, Received, ReplaceOrder
from impactd.core.inputs.terms import Terms
from impactd.core.orders.codec import (
    EXECUTIONS_A_KEY,
    Held,
    assumed_chunk,
    dump_assumed,
    dump_executions,
    dump_held,
    dump_order,
    load_assumed,
    load_executions,
    load_held,
    load_order,
)
from impactd.core.orders.costs import Mark
from impactd.core.orders.order import Execution, Order, Status
from impactd.core.orders.schedule import Schedule
from impactd.core.state.schema import SCHEMA_VERSION, StateBrokenError, StateMismatchError, settings_from, settings_hash
from impactd.core.state.whole import WholeState
from tests.core.builders import T0, EngineHarness, M, fill, halt, marked, minutes, new, settings
from tests.core.days import drive, random_day, random_settings

ids = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
times = st.integers(1, 2**62)
quanta = st.integers(1, 9 * 10**18)
prices = st.floats(1e-9, 1e9)
windows = st.lists(st.tuples(times, times), max_size=3).map(tuple)
news = st.builds(
    NewOrder,
    ids,
    ids,
    st.sampled_from(Side),
    times,
    st.builds(
        Terms,
        quanta,
        times,
        times,
        st.none() | st.floats(0.001, 1.0),
        st.none() | quanta,
        windows,
        quanta,
        st.floats(0.0, 1e9),
    ),
)
changes = st.lists(
    st.tuples(st.just("blackouts"), windows)
    | st.tuples(st.sampled_from(["order_qty", "end", "lot_size"]), quanta)
    | st.tuples(st.just("participation_rate"), st.none() | st.floats(0.001, 1.0)),
    max_size=3,
).map(tuple)
held = st.one_of(
    st.builds(ReplaceOrder, ids, ids, times, changes, st.none() | ids),
    st.builds(CancelOrder, ids, ids, times),
    st.builds(Fill, ids, ids, ids, quanta, prices, times, st.sampled_from([None, "taker", "maker"])),
    st.builds(Correct, ids, ids, ids, ids, quanta, prices, times),
    st.builds(Bust, ids, ids, ids, ids, times),
)


@given(terms=news, status=st.sampled_from(Status), qty=st.lists(quanta, max_size=4), alerted=st.sets(ids, max_size=3))
def test_order_is_read_back_as_it_was(terms: NewOrder, status: Status, qty: list[int], alerted: set[str]) -> None:
    order = Order.open(terms, terms.ts_event)
    order.status, order.alerted, order.market_volume = status, alerted, 0.1 + 0.2
    order.schedule = Schedule(*(np.array(qty, np.int64) for _ in range(4)), 5, 3)
    order.executions = {"E1": Execution(0, 1, 2.5, T0)}
    order.later_ids, order.replaces, order.reduced = ["A2"], ["digest"], True
    order.filled_in, order.assumed = {T0: 5}, {T0: 3, T0 - M: 7}
    again, n_executions = load_order(dump_order(order))
    assert n_executions == 1
    again.executions = order.executions
    for chunk in {assumed_chunk(start) for start in order.assumed}:
        again.assumed |= load_assumed(dump_assumed(order, chunk))
    assert again == order


steps = st.lists(st.sampled_from([1, 60, 60, 60, 3_600]), max_size=12)


@given(steps=steps, first=st.integers(0, 50), gaps=st.sets(st.integers(0, 12)), fill=st.none() | st.integers(0, 11))
def test_schedule_is_read_back_as_it_was(steps: list[int], first: int, gaps: set[int], fill: int | None) -> None:
    at = [T0 + first, *accumulate(steps, initial=T0 + 60)]
    start, end = at[:-1], [end - 1 if k in gaps else end for k, end in enumerate(at[1:])]
    schedule = Schedule.of(start, end, [k * QUANTA for k in range(len(start))], 5, 0.25, 0.1 + 0.2)
    if fill is not None and fill < len(start):
        schedule.filled[fill] = -3
    assert Schedule.load(orjson.loads(orjson.dumps(schedule.save()))) == schedule


marks = st.builds(
    Mark,
    times,
    st.none() | prices,
    st.none() | prices,
    st.none() | prices,
    prices,
    st.sampled_from([None, "taker", "maker"]),
)


entries = st.builds(
    Execution,
    st.just(0),
    quanta,
    prices,
    times,
    st.none() | ids,
    st.none() | ids,
    times,
    st.booleans(),
    st.integers(0, 2**32 - 1),
    st.none() | marks,
)


@given(executions=st.dictionaries(ids, entries, max_size=20))
def test_executions_are_read_back_in_their_order(executions: dict[str, Execution]) -> None:
    order = Order.open(new(), T0)
    executions = {exec_id: entry._replace(n=n) for n, (exec_id, entry) in enumerate(executions.items())}
    order.executions = executions
    again = load_executions(dump_executions(order, 0))
    assert list(again.items()) == list(executions.items())


def test_executions_are_cut_into_keys() -> None:
    order = Order.open(new(), T0)
    order.executions = {f"E{k}": Execution(k, k, 1.0, T0) for k in range(EXECUTIONS_A_KEY + 2)}
    sizes = [len(load_executions(dump_executions(order, chunk))) for chunk in range(3)]
    assert sizes == [EXECUTIONS_A_KEY, 2, 0]


@given(event=held, since=times, raw=st.binary(max_size=50), key=st.none() | st.binary(max_size=9))
def test_held_event_is_read_back_as_it_was(event: Any, since: int, raw: bytes, key: bytes | None) -> None:
    item = Held(since, Received(event, 7, since, raw, key), ("A", "E1"))
    assert load_held(dump_held(item)) == item


# --- settings ---------------------------------------------------------------------


def changed(value: Any) -> Any:
    """Return another value of the same kind."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, str):
        return value + "x"
    if isinstance(value, tuple):
        return (*value, 9) if not value or not isinstance(value[0], tuple) else (*value, (9, 9))
    return 2 * value if value else 1


def variants() -> list[tuple[str, CoreSettings]]:
    """Return the default settings with each field changed in turn."""
    core = CoreSettings()
    found = []
    for field in dataclasses.fields(core):
        section = getattr(core, field.name)
        if field.name == "sessions":
            found.append(
                (field.name, dataclasses.replace(core, sessions=(("BTC*", SessionRule(breaks=((60, 120),))),)))
            )
            continue
        if field.name == "instruments":
            found.append((field.name, dataclasses.replace(core, instruments=(("ES*", Instrument(multiplier=50.0)),))))
            continue
        if field.name == "venues":
            found.append((field.name, dataclasses.replace(core, venues=(VenueRule("XNAS", publishers=("2",)),))))
            continue
        if not dataclasses.is_dataclass(section):
            found.append((field.name, dataclasses.replace(core, **{field.name: changed(section)})))
            continue
        for inner in dataclasses.fields(section):
            other = dataclasses.replace(section, **{inner.name: changed(getattr(section, inner.name))})  # type: ignore[type-var]  # narrowed to an instance
            found.append((f"{field.name}.{inner.name}", dataclasses.replace(core, **{field.name: other})))
    return found


@pytest.mark.parametrize(("name", "other"), variants(), ids=[name for name, _ in variants()])
def test_settings_hash_changes_with_any_field(name: str, other: CoreSettings) -> None:
    assert settings_hash(other) != settings_hash(CoreSettings())
    assert settings_from(orjson.loads(orjson.dumps(dataclasses.asdict(other)))) == other


def test_settings_from_a_genesis_record_are_those_of_the_run() -> None:
    core = CoreSettings(
        BookSettings(sizes=(1.0, 2.5)),
        ModelSettings(kind="power"),
        PlanSettings(solvers=("exact",)),
        SessionRule(34_200, 57_600, ((0, -18_000), (5, -14_400))),
        "in_event_time",
    )
    journal = orjson.loads(orjson.dumps(Engine(core).genesis({}).journal))
    assert settings_from(journal["settings"]) == core
    assert journal["config"] == settings_hash(core)


@pytest.mark.parametrize("section", ["books", "model", "plans", "session"])
def test_settings_from_a_record_without_a_section_names_it(section: str) -> None:
    whole = dataclasses.asdict(CoreSettings())
    without = {name: value for name, value in whole.items() if name != section}
    for fields in (without, {**whole, section: None}):
        with pytest.raises(TypeError, match=f"settings.{section}"):
            settings_from(fields)


# --- whole states -----------------------------------------------------------------


def written(**kwargs: Any) -> dict[str, bytes]:
    return dict(EngineHarness(settings(), **kwargs).state)


def test_load_of_another_schema_names_the_release_that_wrote_it() -> None:
    state = written(release="9.9")
    state["meta"] = orjson.dumps(orjson.loads(state["meta"]) | {"schema": SCHEMA_VERSION + 1})
    with pytest.raises(StateMismatchError, match=r"run the release that wrote it \(9\.9\)"):
        Engine(settings()).load(state)


def test_load_under_other_settings_names_both_hashes() -> None:
    other = settings(child_slices=2)
    with pytest.raises(StateMismatchError, match=f"{settings_hash(settings())}, these are {settings_hash(other)}"):
        Engine(other).load(written())


@pytest.mark.parametrize(("partition", "partitions"), [(1, 2), (0, 4)])
def test_load_of_another_partition_or_number_of_them_is_refused(partition: int, partitions: int) -> None:
    with pytest.raises(StateMismatchError, match="partition 0 of 2, this is"):
        Engine(settings(), partition=partition, partitions=partitions).load(written(partitions=2))


def busy() -> EngineHarness:
    """Return an engine with keys of several kinds."""
    harness = EngineHarness()
    harness.send(new("A"), new("B", side=Side.SELL))
    harness.run(minutes(2))
    return harness


@pytest.mark.parametrize("accept_settings", [False, True])
@pytest.mark.parametrize("harm", ["lost", "altered", "added", "swapped", "older"])
def test_load_of_a_state_that_is_not_whole_is_refused(harm: str, *, accept_settings: bool) -> None:
    harness = busy()
    for key in [key for key in harness.state if key != "meta"]:
        state = dict(harness.state)
        if harm == "lost":
            del state[key]
        elif harm == "altered":
            state[key] = bytes([state[key][0] ^ 1]) + state[key][1:]
        elif harm == "added":
            state[f"{key}x"] = state[key]
        elif harm == "swapped":
            other = next(name for name in state if name not in {"meta", key} and state[name] != state[key])
            state[key], state[other] = state[other], state[key]
        else:
            before = next((c.state[key] for c in harness.commits if key in c.state), None)
            if before is None or before == state[key]:
                continue
            state[key] = before
        with pytest.raises(StateBrokenError) as caught:
            Engine(harness.core).load(state, accept_settings=accept_settings)
        assert ("--accept-settings" in str(caught.value)) == accept_settings


def test_mark_of_a_state_is_that_of_its_keys_for_any_order() -> None:
    items = {key: value for key, value in busy().state.items() if key != "meta"}
    marks = []
    for keys in (sorted(items), sorted(items, reverse=True)):
        whole = WholeState()
        whole.update(dict.fromkeys(keys, b"before"))
        for key in keys:
            whole.update({key: items[key]})
        whole.update({"gone": b"1"})
        whole.update({"gone": None, "never": None})
        marks.append(whole.mark())
    assert marks == [orjson.loads(busy().state["meta"])["whole"]] * 2


def test_load_without_meta_is_refused() -> None:
    harness = EngineHarness()
    harness.send(new())
    del harness.state["meta"]
    with pytest.raises(StateBrokenError, match="no meta"):
        Engine(settings()).load(harness.state)


@given(seed=st.integers(0, 2**32 - 1))
@hypothesis_settings(max_examples=8, deadline=None)
def test_loaded_engine_saves_the_same_bytes(seed: int) -> None:
    core = random_settings(seed, "in_event_time")
    harness = drive(random_day(seed), core, batch=50)
    before = harness.engine
    harness.reload()
    assert harness.engine.dump() == before.dump() == harness.state
    assert (harness.engine.positions, harness.engine.clocks) == (before.positions, before.clocks)
    assert harness.engine.commit_seq == before.commit_seq


def test_state_of_a_day_has_the_keys_of_what_is_there() -> None:
    harness = EngineHarness()
    harness.run(minutes(2))
    harness.send(new(), fill(T0, "E1", 10), fill(T0, "E2", 10, "B"), halt(T0, "ARL"))
    assert sorted(harness.state) == [
        "books/FROG",
        "clock",
        "execs/A/0",
        "feed",
        "gate",
        "halts",
        "held/0",
        "lasting/FROG/days",
        "lasting/FROG/trials",
        "market/FROG",
        "meta",
        "order/A",
        "settings",
        "tca/FROG",
    ]
    assert orjson.loads(harness.state["halts"])["scopes"] == {"ARL": "test"}


def test_state_of_a_build_with_another_layout_is_refused_with_a_remedy() -> None:
    harness = EngineHarness()
    harness.run(minutes(2))
    market = orjson.loads(harness.state["market/FROG"])
    market["sides"]["buy"]["made"][0] -= 1
    older = {**harness.state, "market/FROG": orjson.dumps(market)}
    with pytest.raises(StateMismatchError, match="run the release and settings that wrote it"):
        Engine(harness.core).load(marked(older))
