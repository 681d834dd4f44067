"""The kill-switch file: there, gone, and whatever keeps one from knowing."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from impactd.core.inputs.inbox import LocalControl
from impactd.shell.kill_switch import KillSwitch


async def test_kill_switch_follows_its_file_and_states_each_turn_once(tmp_path: Path) -> None:
    path, turns = tmp_path / "stop", []
    switch = KillSwitch(path)
    with switch.heard_by(lambda: turns.append(switch.reason)):
        for there in (False, True, True, False):
            path.touch() if there else path.unlink(missing_ok=True)
            await switch.look()
    assert turns == [f"kill switch: {path} exists", None]


async def test_kill_switch_without_a_file_is_never_on() -> None:
    switch = KillSwitch()
    await switch.look()
    assert switch.reason is None
    assert switch.turned("kill switch: of another process") == (
        LocalControl("resume", "kill switch: this process has none"),
    )


async def test_kill_switch_tells_a_partition_what_its_state_does_not_know(tmp_path: Path) -> None:
    path = tmp_path / "stop"
    switch = KillSwitch(path)
    await switch.look()
    assert switch.turned(None) == ()
    assert switch.turned("older") == (LocalControl("resume", f"kill switch: {path} is gone"),)
    path.symlink_to(tmp_path / "nowhere")
    await switch.look()
    assert switch.turned(None) == (LocalControl("halt", f"kill switch: {path} exists"),)
    assert switch.turned(switch.reason) == ()


@pytest.mark.parametrize("name", ["missing/stop", "file/stop", "x" * 300, "\0"])
async def test_kill_switch_that_cannot_be_looked_at_is_on(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    switch = KillSwitch(tmp_path / name)
    await switch.look()
    assert switch.reason is not None


async def test_kill_switch_whose_look_hangs_is_on_and_asks_no_second_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    returns, looks = threading.Event(), []
    switch = KillSwitch(tmp_path / "stop")
    monkeypatch.setattr("impactd.shell.kill_switch._LOOK_S", 0.01)

    def hang(path: Path) -> str | None:
        looks.append(path)
        returns.wait(30)
        return None

    monkeypatch.setattr(switch, "_found", hang)
    try:
        await switch.look()
        await switch.look()
        assert "does not return" in (switch.reason or "")
        assert len(looks) == 1
    finally:
        returns.set()
    assert switch._asking is not None
    await asyncio.wait([switch._asking])
    await switch.look()
    assert switch.reason is None


def test_kill_switch_with_a_name_that_is_no_text_has_one_that_is() -> None:
    switch = KillSwitch(Path("/run/\udcff"))
    switch.reason = None
    assert switch.turned("x")[0].reason == "kill switch: /run/\\xff is gone"
