"""Foreign text on a terminal: no control character reaches it."""

from __future__ import annotations

import io
import logging
from pathlib import Path

import orjson
import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from impactd.cli import main
from impactd.core.base.topics import Topic
from impactd.shell.logging import setup
from impactd.shell.printable import printable, printable_values
from impactd.shell.view import Scene

ESCAPE = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202e"


@given(st.text(st.characters(), max_size=50))
def test_printable_text_is_printable_and_keeps_what_was(text: str) -> None:
    found = printable(text)
    assert found.isprintable()
    assert (found == text) is text.isprintable()


def test_values_are_printable_at_any_depth() -> None:
    found = printable_values({ESCAPE: [ESCAPE, {"a": (ESCAPE, 1.5, None)}]})
    assert orjson.dumps(found).decode().isprintable()


def test_error_of_a_command_is_printable(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "day.csv"
    path.write_text(f"time,side,price,size,level\n1743687000000000000,{ESCAPE},1,1,0\n", encoding="utf-8")
    assert main(["replay", "--data", str(path), "--out", str(tmp_path / "out")]) == 4
    said = capsys.readouterr().err
    assert "owned" in said
    assert said.replace("\n", "").isprintable()


def test_log_line_for_people_is_printable() -> None:
    out = io.StringIO()
    before = logging.getLogger().level
    try:
        setup("info", "console", stream=out)
        structlog.get_logger("impactd.test").warning("refused", symbol=ESCAPE, detail=f"a {ESCAPE}")
        logging.getLogger("impactd.test").warning("refused %s", ESCAPE)
    finally:
        logging.getLogger().setLevel(before)
    assert "owned" in out.getvalue()
    assert out.getvalue().replace("\n", "").isprintable()


def test_alert_in_the_view_is_printable() -> None:
    scene = Scene()
    scene.take(Topic.ALERTS, {"kind": "halt", "text": ESCAPE})
    assert str(scene.alerts[0]["text"]).isprintable()
