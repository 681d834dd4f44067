"""A short run of the fuzzer with a fixed seed; ``make fuzz`` runs longer ones."""

from __future__ import annotations

import random
from dataclasses import fields

import pytest

from impactd.core.base.topics import Topic
from impactd.core.inputs.terms import Terms
from impactd.wire.codec import REASONS
from tests.fuzz.corpus import KINDS
from tests.fuzz.harness import ROUND, run
from tests.fuzz.values import Values


@pytest.mark.parametrize("kind", KINDS)
def test_mutated_messages_are_all_answered_and_the_good_ones_unharmed(kind: str) -> None:
    report = run(kind, ROUND, seed=20250403)
    assert report.mutants == ROUND
    assert report.fates.total() == ROUND
    # Mutants that are all refused, or all for one reason, would try little.
    assert report.fates["accepted"] > ROUND // 20
    assert sum(fate in REASONS for fate in report.fates) >= 5


@pytest.mark.parametrize("kind", KINDS)
def test_values_of_any_magnitude_are_all_answered_and_the_good_ones_unharmed(kind: str) -> None:
    report = run(kind, 200, seed=20250403, values=True)
    assert report.fates.total() == 200
    assert report.fates["accepted"] > 40


def test_values_of_orders_have_every_term() -> None:
    assert set(Values(random.Random(1), Topic.ORDERS, 3).terms()) == {field.name for field in fields(Terms)}
