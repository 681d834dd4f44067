"""Codecs by name: each keeps the contract, and nothing but the registry names them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from impactd.wire.registry import CODECS
from tests.checks.codec_checks import CHECKS
from tests.checks.codec_samples import CodecSamples, samples_of


@pytest.mark.parametrize("name", CODECS.names())
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
def test_codec_keeps_the_contract(check: Callable[[str, CodecSamples], None], name: str) -> None:
    check(name, samples_of(name))
