"""How late the event loop is."""

from __future__ import annotations

import asyncio
import time

from impactd.shell.loop_delay import WINDOW_S, LoopDelay


def test_longest_is_that_of_the_window() -> None:
    delay = LoopDelay()
    for second, late in enumerate((0.5, 0.1, 0.3, 0.2)):
        delay.note(float(second), late)
    assert delay.longest == 0.5
    delay.note(WINDOW_S + 0.5, 0.0)
    assert delay.longest == 0.3
    delay.note(WINDOW_S + 2.5, 0.0)
    assert delay.longest == 0.2
    delay.note(3 * WINDOW_S, 0.0)
    assert delay.longest == 0.0
    assert delay.delays.count == 7


async def test_watch_sees_a_callback_that_blocks() -> None:
    delay = LoopDelay()
    watch = asyncio.create_task(delay.watch())
    await asyncio.sleep(0.05)
    time.sleep(0.2)  # noqa: ASYNC251  (the very thing that is to be seen)
    await asyncio.sleep(0.05)
    watch.cancel()
    assert delay.longest > 0.1
