"""Kafka's partitioner against the Java client's own figures and another implementation."""

from __future__ import annotations

import random

import pytest
from aiokafka.partitioner import murmur2 as aiokafka_murmur2

from impactd.wire.murmur2 import murmur2, partition_for


@pytest.mark.parametrize(
    ("key", "signed"),
    [
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_murmur2_known_keys_have_the_java_clients_hash(key: bytes, signed: int) -> None:
    assert murmur2(key) == signed % 2**32


def test_murmur2_random_keys_agree_with_another_implementation() -> None:
    rng = random.Random(1)
    for _ in range(2_000):
        key = rng.randbytes(rng.randrange(40))
        assert murmur2(key) == aiokafka_murmur2(key) % 2**32


def test_partition_is_within_the_topic_and_stable() -> None:
    partitions = [partition_for(f"S{i}", 4) for i in range(100)]
    assert set(partitions) == {0, 1, 2, 3}
    assert partition_for("FROG", 1) == 0
