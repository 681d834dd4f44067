"""What the study leaves out is still there to be left out."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from tests.research.backtest.ablation import PARTS, Part


@pytest.mark.parametrize("part", [part for parts in PARTS.values() for part in parts], ids=lambda part: part.name)
def test_every_part_can_be_left_out(part: Part) -> None:
    with ExitStack() as stack:
        for patch in part.patches:
            stack.enter_context(patch())
