"""The checksum by the processor's instruction is CRC-32C, at any place and length."""

from __future__ import annotations

import pytest
from aiokafka.record.util import calc_crc32c
from hypothesis import given
from hypothesis import strategies as st

from impactd.shell.kafka import crc32c as module
from impactd.shell.kafka.crc32c import crc32c


@pytest.mark.parametrize(
    ("data", "checksum"),
    [
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C),
        (b"", 0),
    ],
)
def test_vectors_of_rfc_3720(data: bytes, checksum: int) -> None:
    assert crc32c(data, 0, len(data)) == checksum


@given(st.binary(max_size=200), st.integers(0, 40), st.integers(0, 40))
def test_any_part_of_a_buffer_has_the_checksum_that_aiokafka_finds(data: bytes, before: int, behind: int) -> None:
    start = min(before, len(data))
    stop = max(start, len(data) - behind)
    assert crc32c(data, start, stop) == calc_crc32c(data[start:stop])


def test_a_processor_without_the_instruction_has_the_same_checksum(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HAS_INSTRUCTION", False)
    assert crc32c(b"x123456789x", 1, 10) == 0xE3069283
