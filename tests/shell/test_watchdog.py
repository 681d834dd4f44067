"""What ends a process that cannot end itself."""

from __future__ import annotations

import asyncio
import subprocess
import sys

from impactd.shell.stacks import task_stacks, thread_stacks
from impactd.shell.watchdog import EXIT_STUCK, Watchdog


def test_look_while_the_loop_beats_leaves_the_process_alone() -> None:
    left: list[int] = []
    watchdog = Watchdog(10.0, left.append)
    for _ in range(100):
        watchdog.beat()
        assert not watchdog.look(9.0)
    assert left == []


def test_look_at_a_silent_loop_leaves_when_the_time_is_up() -> None:
    left: list[int] = []
    watchdog = Watchdog(10.0, left.append)
    assert not watchdog.look(9.0)
    assert watchdog.look(1.0)
    assert left == [EXIT_STUCK]


def test_look_after_leave_within_leaves_with_its_code_though_the_loop_beats() -> None:
    left: list[int] = []
    watchdog = Watchdog(10.0, left.append)
    watchdog.leave_within(5.0, 1)
    watchdog.leave_within(100.0, 7)
    for _ in range(2):
        watchdog.beat()
        assert not watchdog.look(2.0)
    watchdog.beat()
    assert watchdog.look(2.0)
    assert left == [7]


_BLOCKED = """
import asyncio, threading
from impactd.shell.watchdog import Watchdog

async def main():
    watchdog = Watchdog(1.0)
    watchdog.start()
    {how}

asyncio.run(main())
"""


def _run(how: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", _BLOCKED.format(how=how)], capture_output=True, text=True, timeout=600, check=False
    )


def test_watchdog_of_a_blocked_event_loop_ends_the_process_and_states_where_it_stood() -> None:
    ended = _run("threading.Event().wait()")
    assert ended.returncode == EXIT_STUCK
    assert "event loop stuck" in ended.stdout + ended.stderr
    assert "main" in ended.stdout + ended.stderr


def test_watchdog_of_a_thread_that_never_returns_ends_the_process_with_the_code_given() -> None:
    ended = _run(
        "watchdog.leave_within(1.0, 0); threading.Thread(target=threading.Event().wait).start()",
    )
    assert ended.returncode == 0
    assert "forced exit" in ended.stdout + ended.stderr


async def test_task_stacks_follow_what_is_awaited() -> None:
    forever = asyncio.Event()

    async def inner() -> None:
        await forever.wait()

    async def outer() -> None:
        await inner()

    task = asyncio.create_task(outer(), name="patient")
    await asyncio.sleep(0)
    stack = task_stacks()["patient"]
    task.cancel()
    assert [line.rsplit(" ", 1)[-1] for line in stack[:3]] == ["outer", "inner", "wait"]
    assert all("/work" not in line for line in stack)


async def test_thread_stacks_name_the_thread_and_where_it_stands() -> None:
    def stand() -> dict[str, list[str]]:
        return thread_stacks()

    found = await asyncio.to_thread(stand)
    assert any("run_forever" in line or "select" in line for line in found["MainThread"])
