"""Rate limits of log lines: who passes, who is counted, and who is told."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator

import orjson
import pytest
import structlog

from impactd.shell.log_limit import _KINDS, WINDOW_S, RateLimit
from impactd.shell.logging import OURS, TELLS_SECRETS, setup


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def stream(clock: Clock) -> Iterator[io.StringIO]:
    """Yield where logs go, three a minute of a kind, with the loggers put back as they were."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    levels = {name: logging.getLogger(name).level for name in (OURS, *TELLS_SECRETS)}
    written = io.StringIO()
    setup("info", "json", written, per_minute=3)._clock = clock
    yield written
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, old in levels.items():
        logging.getLogger(name).setLevel(old)
    structlog.reset_defaults()


def limit() -> RateLimit:
    (found,) = [f for handler in logging.getLogger().handlers for f in handler.filters if isinstance(f, RateLimit)]
    return found


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [orjson.loads(line) for line in stream.getvalue().splitlines()]


def test_lines_beyond_the_limit_are_held_back_and_counted(stream: io.StringIO) -> None:
    for number in range(10):
        structlog.get_logger("impactd.x").warning("dropped", partition=1, number=number)
    assert [line["number"] for line in lines(stream)] == [0, 1, 2]
    assert limit().suppressed == 7


def test_first_line_of_the_next_minute_states_how_many_were_held_back(stream: io.StringIO, clock: Clock) -> None:
    for _ in range(10):
        structlog.get_logger("impactd.x").warning("dropped", partition=1)
    clock.now = WINDOW_S
    for _ in range(2):
        structlog.get_logger("impactd.x").warning("dropped", partition=1)
    assert [line.get("suppressed") for line in lines(stream)] == [None, None, None, 7, None]


def test_partitions_events_and_loggers_are_counted_apart(stream: io.StringIO) -> None:
    for _ in range(4):
        structlog.get_logger("impactd.a").info("one", partition=1)
        structlog.get_logger("impactd.a").info("one", partition=2)
        structlog.get_logger("impactd.a").info("two", partition=1)
        structlog.get_logger("impactd.b").info("one", partition=1)
    assert len(lines(stream)) == 12


def test_foreign_lines_are_of_one_kind_for_any_arguments(stream: io.StringIO, clock: Clock) -> None:
    for port in range(9):
        logging.getLogger("aiokafka").error("unable to connect to %s", port)
    clock.now = WINDOW_S
    logging.getLogger("aiokafka").error("unable to connect to %s", 9)
    found = lines(stream)
    assert [line["event"] for line in found] == [f"unable to connect to {port}" for port in (0, 1, 2, 9)]
    assert found[-1]["suppressed"] == 6


def test_critical_lines_always_pass(stream: io.StringIO) -> None:
    for _ in range(9):
        structlog.get_logger("impactd.a").critical("failed")
    assert len(lines(stream)) == 9


def test_report_tells_of_what_no_further_line_tells(stream: io.StringIO, clock: Clock) -> None:
    for _ in range(5):
        structlog.get_logger("impactd.a").warning("dropped", partition=4)
    limit().report()
    assert len(lines(stream)) == 3
    clock.now = WINDOW_S
    limit().report()
    limit().report()
    told = lines(stream)[3:]
    assert [(line["event"], line["of"], line["partition"], line["suppressed"]) for line in told] == [
        ("log lines suppressed", "dropped", 4, 2)
    ]


def test_kinds_without_end_do_not_fill_the_memory(stream: io.StringIO) -> None:
    for number in range(_KINDS + 500):
        structlog.get_logger("impactd.a").info(f"event {number}")
    assert len(limit()._windows) == _KINDS


def test_limit_of_zero_holds_nothing_back(clock: Clock) -> None:
    unlimited = RateLimit(0, clock)
    record = logging.LogRecord("a", logging.INFO, "", 0, "x", (), None)
    assert all(unlimited.filter(record) for _ in range(1_000))
