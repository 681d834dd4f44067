"""Processes that stand by for each other: what moves in a deploy, and what a warm copy must still prove."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from impactd.config import Settings
from impactd.shell.kafka import ownership
from impactd.shell.kafka.assignor import Claim, StandbyAssignor, spread, standby_assignor
from impactd.shell.kafka.standby import Standby, Warm
from tests.simulate.clock import PROCESS
from tests.simulate.days import Day, Event, Outcome, run, stands_by
from tests.simulate.world import SESSION_S, STANDBY

_DEPLOY = (Event(2.0, "deploy", (0.3,)),)
_SEED = next(str(n) for n in range(100) if stands_by(str(n)))


@contextmanager
def restores() -> Iterator[list[tuple[str, int, bool]]]:
    """Note each restore of a partition that has a state: who, which, and whether it had a warm copy."""
    found: list[tuple[str, int, bool]] = []
    read = ownership.read_state

    async def noting(transport: Any, settings: Settings, partition: int, *args: Any) -> dict[str, bytes]:
        items = await read(transport, settings, partition, *args)
        process = PROCESS.get()
        assert process is not None
        if items:
            found.append((process.name, partition, args[-1] is not None))
        return items

    with mock.patch.object(ownership, "read_state", noting):
        yield found


def owners_of(found: list[tuple[str, int, bool]]) -> dict[int, list[str]]:
    """Return who has owned each partition, in order; the first is the owner when the state was made."""
    owners: dict[int, list[str]] = {}
    for process, partition, _ in found:
        before = owners.setdefault(partition, [])
        if process not in before[-1:]:
            before.append(process)
    return owners


def clean(outcome: Outcome) -> bool:
    return not outcome.faults and not outcome.failures


def test_deploy_of_two_processes_and_a_standby_moves_nothing_twice() -> None:
    with restores() as found:
        assert clean(run(Day(_SEED, 3, 18, _DEPLOY)))
    owners = owners_of(found)
    # A process that is restarted has another name.
    assert all(len(names) == len(set(names)) for names in owners.values())
    assert sum(len(names) - 1 for names in owners.values()) <= 3


@pytest.mark.parametrize("standby", [True, False])
def test_partition_that_stays_with_its_process_is_not_acquired_again(*, standby: bool) -> None:
    seed = next(str(n) for n in range(100) if stands_by(str(n)) is standby)
    with restores() as found:
        assert clean(run(Day(seed, 3, 18, _DEPLOY)))
    assert found
    for partition in {partition for _, partition, _ in found}:
        owners = [process for process, number, _ in found if number == partition]
        assert all(one != other for one, other in pairwise(owners))


@pytest.mark.parametrize("seed", [str(n) for n in range(100) if stands_by(str(n))][:8])
def test_process_that_was_frozen_takes_nothing_back(seed: str) -> None:
    # Frozen for longer than the session: its partition goes to the process that stands by, and stays there.
    with restores() as found:
        assert clean(run(Day(seed, 3, 10, (Event(4.0, "freeze", (0, 2.5 * SESSION_S)),))))
    owners = owners_of(found)
    assert not any("m0.1" in names[1:] for names in owners.values())
    assert sum(len(names) - 1 for names in owners.values()) <= 1


def test_every_restore_of_a_deploy_is_warm() -> None:
    with restores() as found:
        assert clean(run(Day(_SEED, 3, 18, _DEPLOY)))
    moved = [warm for _, _, warm in found]
    assert moved
    assert all(moved)


@pytest.mark.parametrize("how", ["lost", "changed", "behind", "ahead"])
def test_warm_copy_that_does_not_hold_is_refused_and_the_state_is_read_whole(how: str) -> None:
    take = Standby.take

    def wrong(self: Standby, partition: int) -> Warm | None:
        warm = take(self, partition)
        if warm is None or not warm.items:
            return warm
        items, key = dict(warm.items), next(key for key in sorted(warm.items) if key != "meta")
        if how == "lost":
            del items[key]
        elif how == "changed":
            items[key] += b" "
        return Warm(items, {"behind": 1, "ahead": warm.offset + 1_000}.get(how, warm.offset))

    def run_day() -> Outcome:
        return run(Day(_SEED, 2, 12, (Event(1.5, "kill", (0, 0.3)),)))

    with restores() as found, mock.patch.object(Standby, "take", wrong):
        outcome = run_day()
    assert clean(outcome)
    if how != "behind":
        assert any(not warm for _, _, warm in found)


def test_copies_beyond_the_limit_are_not_kept() -> None:
    small = STANDBY.replace(kafka={"standby_bytes": 1_000})
    with restores() as found, mock.patch("tests.simulate.days.STANDBY", small):
        assert clean(run(Day(_SEED, 2, 12, (Event(1.5, "kill", (0, 0.3)),))))
    assert found
    assert not any(warm for _, _, warm in found)


_CLAIMS = st.dictionaries(st.text("abcdef", min_size=1, max_size=3), st.sets(st.integers(0, 9)), min_size=1)


@given(st.integers(1, 10), _CLAIMS, st.integers(1, 12))
def test_each_partition_has_one_owner_and_none_moves_without_need(
    count: int, claimed: dict[str, set[int]], at_most: int
) -> None:
    claims = {name: Claim(1, partitions) for name, partitions in claimed.items()}
    found = spread(range(count), claims, at_most)
    assert sorted(partition for own in found.values() for partition in own) == list(range(count))
    assert found.keys() == claims.keys()
    for name, own in found.items():
        # More than its share only where all are full.
        assert len(own) <= at_most or all(len(other) >= at_most for other in found.values())
        # What it claimed alone it keeps, unless it has too many.
        alone = {p for p in claimed[name] if p < count and all(p not in c for n, c in claimed.items() if n != name)}
        assert alone <= set(own) or len(own) >= at_most
    # Who is asked again with what it has keeps it.
    if all(len(own) <= at_most for own in found.values()):
        assert spread(range(count), {name: Claim(2, own) for name, own in found.items()}, at_most) == found


class _Topic:
    """What an assignor asks of the cluster's metadata."""

    def partitions_for_topic(self, _topic: str) -> set[int]:
        return set(range(6))


@given(st.data(), st.integers(1, 6), st.lists(st.sampled_from(["add", "kill", "freeze", "return"]), max_size=20))
def test_who_comes_back_takes_nothing_from_those_who_stayed(
    data: st.DataObject, at_most: int, history: list[str]
) -> None:
    there: dict[str, type[StandbyAssignor]] = {"m": standby_assignor(at_most)}
    frozen: list[type[StandbyAssignor]] = []
    for happening in ["add", *history]:
        # A member that was gone comes back under another name, as a broker names it.
        name = data.draw(st.text("abcxyz", min_size=3, max_size=3).filter(lambda text: text not in there))
        if happening == "add":
            there[name] = standby_assignor(at_most)
        elif happening == "return" and frozen:
            there[name] = frozen.pop(data.draw(st.integers(0, len(frozen) - 1)))
        elif happening in ("kill", "freeze") and len(there) > 1:
            gone = there.pop(data.draw(st.sampled_from(sorted(there))))
            if happening == "freeze":
                frozen.append(gone)
        stayed = {member: set(there[member].claim.partitions) for member in there if member != name}
        leader = there[data.draw(st.sampled_from(sorted(there)))]
        members = {member: assignor.metadata(["ticks"]) for member, assignor in there.items()}
        for member, assignment in leader.assign(_Topic(), members).items():
            there[member].on_assignment(assignment)
        assert sorted(p for assignor in there.values() for p in assignor.claim.partitions) == list(range(6))
        for member, before in stayed.items():
            after = set(there[member].claim.partitions)
            assert before <= after or len(before) > at_most
