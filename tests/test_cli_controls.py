"""The commands of controls and dead letters where they are misused: one line, and nothing is written."""

from __future__ import annotations

import pytest

from impactd.cli import main
from impactd.cli.common import InputError
from impactd.cli.times import parse_when

pytestmark = pytest.mark.usefixtures("elsewhere")

NOW_NS = 1_743_687_000_000_000_000
NO_BROKER = ("--set", "kafka.bootstrap=127.0.0.1:1", "--set", "kafka.request_timeout_ms=500")


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["halt"], "--reason"),
        (["halt", "--reason", ""], "--reason"),
        (["halt", "--reason", "x" * 501], "send 1 to 500"),
        (["halt", "--reason", "a\nb"], "printable"),
        (["halt", "--symbol", "A", "--order", "B", "--reason", "x"], "one scope"),
        (["halt", "--all", "--order", "B", "--reason", "x"], "one scope"),
        (["halt", "--symbol", "*", "--reason", "x"], "--all"),
        (["halt", "--order", "*", "--reason", "x"], "--all"),
        (["halt", "--symbol", "", "--reason", "x"], "--symbol"),
        (["halt", "--symbol", "S" * 33, "--reason", "x"], "send 1 to 32"),
        (["halt", "--reason", "x", "--at", "yesterday"], "is not a time"),
        (["resume", "--at", "2999-01-01T00:00:00Z"], "is in the future"),
        (["dlq", "show", "17"], "PARTITION:OFFSET"),
        (["dlq", "list", "--since", "1 hour"], "is not a time"),
        (["dlq", "list", "--limit", "0"], "--limit"),
        (["dlq", "redrive"], "--all"),
        (["dlq", "redrive", "0:1", "--all", "--yes"], "--all"),
        (["dlq", "redrive", "0:x", "--yes"], "PARTITION:OFFSET"),
        (["dlq", "redrive", "0:1"], "--yes"),
    ],
)
def test_misuse_is_one_line_and_2(args: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(args)
    out, err = capsys.readouterr()
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert words in err


@pytest.mark.parametrize("args", [["halt", "--reason", "x"], ["resume"], ["dlq", "list"], ["dlq", "show", "0:1"]])
def test_no_broker_is_one_line_and_1(args: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    code = main([*args, *NO_BROKER])
    out, err = capsys.readouterr()
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert "no broker answers at 127.0.0.1:1" in err


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90s", NOW_NS - 90 * 10**9),
        ("15m", NOW_NS - 900 * 10**9),
        ("2h", NOW_NS - 7_200 * 10**9),
        ("1d", NOW_NS - 86_400 * 10**9),
        ("1743687000000000001", NOW_NS + 1),
        ("2025-04-03T13:30:00Z", NOW_NS),
        ("2025-04-03T09:30:00.000001-04:00", NOW_NS + 1_000),
    ],
)
def test_parse_when(text: str, expected: int) -> None:
    assert parse_when(text, "--since", NOW_NS) == expected


@pytest.mark.parametrize("text", ["", "0", "m", "-5m", "5w", "2025-04-03T13:30:00", "9" * 30])
def test_parse_when_refuses(text: str) -> None:
    with pytest.raises(InputError, match="--since"):
        parse_when(text, "--since", NOW_NS)
