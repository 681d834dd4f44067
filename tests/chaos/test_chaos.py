"""A short run of the chaos for every day, and the judge against runs that went wrong in every way it knows."""

from __future__ import annotations

import asyncio
import logging
import secrets
from pathlib import Path
from typing import Any

import pytest

from impactd.core.base.topics import INPUT_TOPICS, Topic
from impactd.shell.audit.coverage import coverage
from impactd.shell.broker.broker import Broker
from impactd.shell.broker.release import BrokerUnavailable
from tests.chaos import rounds
from tests.chaos.cluster import Cluster
from tests.chaos.judge import Published, begins, compare, compare_last, compare_state, order

#: What is always done, and how many rounds more are drawn.
_FIXED = ["kill at sent", "freeze at begun"]
_DRAWN = 1


@pytest.mark.slow
@pytest.mark.timeout(600)  # a bound on being stuck: each round waits for the slowest of machines
# A start of aiokafka's that is given up while it asks a dying broker for metadata drops its connection unclosed.
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
async def test_service_of_three_processes_in_chaos_publishes_everything_once(
    broker: Broker, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seed = secrets.token_hex(4)
    with capsys.disabled():
        print(f"\nchaos: make chaos SEED={seed}")  # noqa: T201  (a run that fails can be drawn again)
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    told: list[str] = []
    try:
        report = await rounds.run(seed, [*_FIXED, *rounds.drawn(seed, _DRAWN)], tmp_path, told.append)
    except BrokerUnavailable as error:
        pytest.skip(f"no broker that can be killed: {error}")
    finally:
        logging.getLogger("aiokafka").setLevel(logging.NOTSET)
    assert report.ok, "\n".join([*told, *report.lines()])
    assert report.rounds == len(_FIXED) + _DRAWN


async def test_two_restarts_of_a_round_take_their_turns() -> None:
    """Seed 291126 drew two for the same moment: the second began to start what the first had not ended yet."""

    class Server:
        runs = True
        starts = 0

        def stop(self) -> None:
            assert self.runs
            self.runs = False

        kill = stop

        def start(self) -> None:
            assert not self.runs, "the server runs already"
            self.runs = True
            self.starts += 1

    place = Cluster(server := Server(), None, None, None)  # type: ignore[arg-type]  # only the server is used
    await asyncio.gather(*(place.restart(kill=n % 2 == 0) for n in range(6)))
    assert server.starts == 6


def _record(n: int, seq: int, value: bytes = b"v", owner: int = 0) -> Published:
    return Published(b"k%d" % n, value, (("commit", b"%d:%d" % (owner, seq)),))


_GOOD = [_record(n, 1 + n // 2) for n in range(6)]
_PLANS = (Topic.PLANS, 0)


def test_compare_of_the_same_records_finds_nothing() -> None:
    assert list(compare(_PLANS, _GOOD, list(_GOOD))) == []


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (_GOOD[:3] + _GOOD[4:], "1 lost"),
        ([*_GOOD, _GOOD[2]], "twice"),
        ([*_GOOD[:2], _record(2, 2, b"w"), *_GOOD[3:]], "not expected"),
        ([_GOOD[1], _GOOD[0], *_GOOD[2:]], "out of order"),
        ([], "6 lost"),
    ],
    ids=["lost", "twice", "one-byte", "swapped", "nothing"],
)
def test_compare_of_a_run_gone_wrong_states_how(found: list[Published], said: str) -> None:
    assert said in "\n".join(compare(_PLANS, found, _GOOD))


def test_compare_of_another_header_is_a_difference() -> None:
    other = [*_GOOD[:5], _GOOD[5]._replace(headers=(("commit", b"0:9"),))]
    assert list(compare(_PLANS, other, _GOOD))


def test_order_of_a_commit_behind_a_later_one_is_a_fault() -> None:
    assert not list(order({_PLANS: _GOOD}))
    assert list(order({_PLANS: [_GOOD[4], _GOOD[0]]}))
    # Two owners may write the latest plans of one partition in any order.
    assert not list(order({_PLANS: [_record(0, 5, owner=1), _record(1, 2, owner=2)]}))


def _entry(seq: int, start: int, to: int) -> dict[str, Any]:
    return {"type": "commit", "commit_seq": seq, "from": {"ticks": start}, "to": {"ticks": to}}


_GENESIS = {
    "type": "genesis",
    "commit_seq": 0,
    "positions": {topic.value: 0 for topic in INPUT_TOPICS},
}
_ENDS = dict.fromkeys(INPUT_TOPICS, 0) | {Topic.TICKS: 9}


def test_coverage_of_each_offset_once_finds_nothing() -> None:
    entries = [_GENESIS, _entry(1, 0, 4), _entry(2, 4, 9)]
    assert not list(coverage(0, entries, _ENDS))
    assert not list(begins(0, entries))


@pytest.mark.parametrize(
    "entries",
    [
        [_GENESIS, _entry(1, 0, 4), _entry(2, 3, 9)],
        [_GENESIS, _entry(1, 0, 4), _entry(2, 5, 9)],
        [_GENESIS, _entry(1, 0, 4)],
    ],
    ids=["again", "gap", "not-to-the-end"],
)
def test_coverage_of_offsets_taken_twice_or_never_is_a_fault(entries: list[dict[str, Any]]) -> None:
    assert list(coverage(0, entries, _ENDS))


@pytest.mark.parametrize(
    "entries",
    [
        [],
        [_entry(1, 0, 4)],
        [_GENESIS, _entry(1, 0, 4), _entry(1, 4, 9)],
        [_GENESIS, _entry(2, 0, 9)],
        [_GENESIS, _GENESIS],
    ],
    ids=["none", "no-genesis", "twice", "gap", "two-geneses"],
)
def test_numbering_with_a_gap_or_a_repeat_is_a_fault(entries: list[dict[str, Any]]) -> None:
    assert [*begins(0, entries), *coverage(0, entries)]


def test_last_values_that_differ_are_faults() -> None:
    latest = {(Topic.PLANS_LATEST, 0): _GOOD}
    assert not list(compare_last(Topic.PLANS_LATEST, latest, latest, 1))
    assert list(compare_last(Topic.PLANS_LATEST, {(Topic.PLANS_LATEST, 0): _GOOD[:5]}, latest, 1))
    state = {(Topic.STATE, 0): [_record(0, 1, b"old"), _record(0, 2, b"new"), _record(1, 2)]}
    assert not list(compare_state(state, {0: {b"k0": b"new", b"k1": b"v"}}))
    assert list(compare_state(state, {0: {b"k0": b"old", b"k1": b"v"}}))
    assert list(compare_state(state, {0: {b"k0": b"new"}}))
