"""The session file is checked before QuickFIX sees it, and without QuickFIX."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest
from click.testing import CliRunner

from impactd.cli import cli
from impactd.shell.fix.sessions import SessionsError, check_sessions

GOOD = """\
# The order management system.
[DEFAULT]
SocketAcceptPort=9880
HeartBtInt=30
StartDay=sunday
EndDay=friday
StartTime=22:00:00
EndTime=21:00:00

[SESSION]
BeginString=FIX.4.4
SenderCompID=IMPACTD
TargetCompID=OMS

[session]
beginstring=FIXT.1.1
DefaultApplVerID=FIX.5.0SP2
SenderCompID=IMPACTD
TargetCompID=EMS
"""


def test_sessions_are_named_as_quickfix_does() -> None:
    assert check_sessions(GOOD) == ["FIX.4.4:IMPACTD->OMS", "FIXT.1.1:IMPACTD->EMS"]


@pytest.mark.parametrize(
    ("before", "after", "line", "what"),
    [
        ("SocketAcceptPort=9880", "", 10, "SocketAcceptPort"),
        ("SocketAcceptPort=9880", "SocketAcceptPort=port", 3, "SocketAcceptPort"),
        ("HeartBtInt=30", "HeartBtInt=0", 4, "HeartBtInt"),
        ("HeartBtInt=30", "HeartBtInt 30", 4, "HeartBtInt"),
        ("EndTime=21:00:00", "EndTime=9pm", 8, "EndTime"),
        ("EndTime=21:00:00", "", 10, "EndTime"),
        ("StartDay=sunday", "StartDay=7", 5, "StartDay"),
        ("BeginString=FIX.4.4", "BeginString=FIX.4.2", 10, "FIX.4.2"),
        ("BeginString=FIX.4.4\n", "", 10, "BeginString"),
        ("TargetCompID=OMS", "TargetCompID=", 10, "TargetCompID"),
        ("DefaultApplVerID=FIX.5.0SP2", "DefaultApplVerID=FIX.5.0", 17, "DefaultApplVerID"),
        ("HeartBtInt=30", "ResetOnLogon=Y", 4, "ResetOnLogon"),
        ("[session]\nbeginstring=FIXT.1.1", "[SESSION]\nBeginString=FIX.4.4\nTargetCompID=OMS", 15, "twice"),
    ],
)
def test_mistakes_are_refused_by_line_and_name(before: str, after: str, line: int, what: str) -> None:
    assert before in GOOD
    text = GOOD.replace(before, after)
    if what == "twice":
        text = text.replace("TargetCompID=EMS\n", "")
    with pytest.raises(SessionsError) as found:
        check_sessions(text)
    assert str(found.value).startswith(f"line {line}:")
    assert what in str(found.value)


def test_check_config_checks_the_session_file(tmp_path: Path) -> None:
    path = tmp_path / "sessions.cfg"
    path.write_text(GOOD)
    good = CliRunner().invoke(cli, ["check-config", "--sessions", str(path)])
    assert good.exit_code == 0
    assert "FIX.4.4:IMPACTD->OMS" in good.output
    path.write_text(GOOD.replace("HeartBtInt=30", "HeartBtInt=never"))
    bad = CliRunner().invoke(cli, ["check-config", "--sessions", str(path)])
    assert bad.exit_code == 2
    assert "line 4" in bad.output
    path.write_bytes(GOOD.encode("utf-16"))
    other = CliRunner().invoke(cli, ["check-config", "--sessions", str(path)])
    assert other.exit_code == 2
    assert "UTF-8" in other.output


@pytest.mark.parametrize("content", [None, GOOD.encode("utf-16")])
def test_session_file_that_cannot_be_read_is_wrong_input(
    content: bytes | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "quickfix", ModuleType("quickfix"))
    path = tmp_path / "sessions.cfg"
    if content is not None:
        path.write_bytes(content)
    ran = CliRunner().invoke(cli, ["fix", "--set", f"fix.sessions={path}"])
    assert ran.exit_code == 2
    assert f"fix.sessions: {path}: " in ran.output
