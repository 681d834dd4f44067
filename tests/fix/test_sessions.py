"""The session file as QuickFIX reads it."""

from __future__ import annotations

from pathlib import Path

import pytest

from impactd.shell.fix.sessions import SessionsError, sessions_file

quickfix = pytest.importorskip("quickfix", reason="QuickFIX is not installed: make env-fix")

DEFAULT = """\
[DEFAULT]
SocketAcceptPort=5001
HeartBtInt=20
"""
NIGHTLY = """\
[SESSION]
BeginString=FIX.4.4
SenderCompID=IMPACTD
TargetCompID=NIGHTLY
StartTime=22:00:00
EndTime=21:30:00
HeartBtInt=10
"""
ALWAYS = """\
[SESSION]
BeginString=FIX.4.4
SenderCompID=IMPACTD
TargetCompID=ALWAYS
"""


def read(text: str, folder: Path, target: str) -> tuple[str, ...]:
    path = folder / "sessions.cfg"
    path.write_text(sessions_file(text, folder), "utf-8")
    # Its own reference: what it returns is a part of it.
    settings = quickfix.SessionSettings(str(path))
    session = settings.get(quickfix.SessionID("FIX.4.4", "IMPACTD", target))
    names = ("StartTime", "EndTime", "HeartBtInt", "SocketAcceptPort", "ConnectionType")
    return tuple(session.getString(name) for name in names)


@pytest.mark.parametrize("parts", [(DEFAULT, NIGHTLY, ALWAYS), (ALWAYS, NIGHTLY, DEFAULT), (NIGHTLY, DEFAULT, ALWAYS)])
def test_what_one_session_states_leaves_the_others_their_defaults(parts: tuple[str, ...], tmp_path: Path) -> None:
    text = "".join(parts)
    assert read(text, tmp_path, "NIGHTLY") == ("22:00:00", "21:30:00", "10", "5001", "acceptor")
    assert read(text, tmp_path, "ALWAYS") == ("00:00:00", "00:00:00", "20", "5001", "acceptor")


def test_file_without_defaults_has_them_all(tmp_path: Path) -> None:
    text = ALWAYS + "SocketAcceptPort=5001\n"
    assert read(text, tmp_path, "ALWAYS") == ("00:00:00", "00:00:00", "30", "5001", "acceptor")


@pytest.mark.parametrize("line", ["ResetOnLogon=Y", "filestorepath = /tmp", "ConnectionType=initiator"])
def test_what_the_gateway_sets_is_refused(line: str, tmp_path: Path) -> None:
    with pytest.raises(SessionsError, match="line 5"):
        sessions_file(ALWAYS + line, tmp_path)
