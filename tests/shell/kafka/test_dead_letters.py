"""What a dead letter says of itself, which are meant, and which are never sent again."""

from __future__ import annotations

from typing import Any

import pytest

from impactd.config import Settings
from impactd.core.base.topics import INPUT_TOPICS, Topic
from impactd.core.outputs.messages import DeadLetter, Output
from impactd.core.state.commit import Commit
from impactd.shell.kafka.consume import ConsumedRecord
from impactd.shell.kafka.dead_letters import Chosen, Letter, _again, letter_of, why_kept
from impactd.shell.kafka.encoder import Encoder
from impactd.wire.murmur2 import partition_for
from impactd.wire.records import dead_letter_record

SETTINGS = Settings()
NAMES = {topic.value: SETTINGS.topics.name(topic) for topic in Topic}
ROLES = {SETTINGS.topics.name(topic): topic for topic in INPUT_TOPICS}
COUNTS = dict.fromkeys(Topic, 2)


def letter(
    topic: Topic = Topic.TICKS,
    raw: bytes = b"{",
    key: bytes | None = b"FROG",
    max_bytes: int = 1_000,
    partition: int | None = 1,
    name: str | None = None,
) -> Letter:
    said = DeadLetter(topic, 17, "truncated", "the JSON ends early", "json", raw, key)
    made = dead_letter_record(said, partition, max_bytes)
    source = (name or SETTINGS.topics.name(topic)).encode()
    headers = tuple((n, source if n == "source_topic" else value) for n, value in made.headers)
    return letter_of(ConsumedRecord("impactd.dlq", 1, 5, 1_000, made.key, made.value, headers))


def test_letter_states_what_the_service_wrote() -> None:
    found = letter()
    assert (found.place, found.reason, found.codec, found.key) == ((1, 5), "truncated", "json", b"FROG")
    assert (found.source, found.value, found.truncated) == ("impactd.ticks/1/17", b"{", False)


def test_letter_over_the_limit_is_truncated_and_stays() -> None:
    found = letter(raw=b"x" * 1_001)
    assert (len(found.value), found.original_bytes, found.truncated) == (1_000, 1_001, True)
    assert why_kept(found, ROLES, COUNTS) == "truncated"


def test_letter_of_a_stranger_has_no_place_to_go() -> None:
    record = ConsumedRecord("impactd.dlq", 0, 0, 0, None, None, (("source_partition", b"-1"), ("reason", b"\xff")))
    found = letter_of(record)
    assert (found.source_topic, found.source_partition, found.value) == ("", None, b"")
    assert why_kept(found, ROLES, COUNTS) == "source is not an input topic"


@pytest.mark.parametrize("name", ["payments", "impactd.plans", "impactd.state"])
def test_letter_that_names_another_topic_is_not_written_there(name: str) -> None:
    assert why_kept(letter(name=name), ROLES, COUNTS) == "source is not an input topic"


@pytest.mark.parametrize("partition", [None, 2])
def test_letter_without_key_needs_the_partition_that_it_stood_in(partition: int | None) -> None:
    assert why_kept(letter(key=None, partition=partition), ROLES, COUNTS) == "source partition unknown"
    assert why_kept(letter(partition=partition), ROLES, COUNTS) is None


def test_again_goes_where_its_key_belongs_with_codec_and_origin() -> None:
    record = _again(SETTINGS, letter(), Topic.TICKS, 2)
    assert (record.topic, record.partition) == ("impactd.ticks", partition_for("FROG", 2))
    assert (record.key, record.value) == (b"FROG", b"{")
    assert dict(record.headers) == {"redriven_from": b"impactd.dlq/1/5", "codec": b"json"}


@pytest.mark.parametrize(("topic", "key"), [(Topic.TICKS, None), (Topic.CONTROL, b"*")])
def test_again_without_key_or_as_control_goes_back_where_it_stood(topic: Topic, key: bytes | None) -> None:
    assert _again(SETTINGS, letter(topic, key=key, partition=0), topic, 2).partition == 0
    assert _again(SETTINGS, letter(topic, key=key, partition=1), topic, 2).partition == 1


@pytest.mark.parametrize(
    ("chosen", "meant"),
    [
        ({}, True),
        ({"reason": "truncated"}, True),
        ({"reason": "json"}, False),
        ({"topic": "ticks"}, True),
        ({"topic": "impactd.ticks"}, True),
        ({"topic": "orders"}, False),
        ({"since_ns": 1_000_000_000}, True),
        ({"since_ns": 1_000_000_001}, False),
        ({"places": frozenset({(1, 5)})}, True),
        ({"places": frozenset({(5, 1)})}, False),
    ],
)
def test_chosen_filters(chosen: dict[str, Any], meant: bool) -> None:  # noqa: FBT001  (an expectation, not a switch)
    assert Chosen(**chosen).has(letter(), NAMES) is meant


def test_encoder_writes_letters_that_are_read_back() -> None:
    """The service's own encoder, with the name of a topic on this broker."""
    settings = Settings(topics={"names": {"ticks": "books"}})
    encoder = Encoder(settings, 0, COUNTS)
    said = DeadLetter(Topic.TICKS, 3, "json", "no JSON", "json", b"}", b"FROG")
    record = encoder.records(Commit((Output(Topic.DLQ, None, said, 0, None),), {}, {}), 1)[0]
    found = letter_of(ConsumedRecord("d", 0, 0, 0, record.key, record.value, record.headers))
    assert found.source == "books/0/3"
