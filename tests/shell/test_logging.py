"""Log lines: one form for all loggers, levels, and no local variables in tracebacks."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from datetime import UTC, datetime

import orjson
import pytest
import structlog

from impactd.shell.logging import OURS, TELLS_SECRETS, setup


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """Put the loggers back as they were."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    levels = {name: logging.getLogger(name).level for name in (OURS, *TELLS_SECRETS)}
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, old in levels.items():
        logging.getLogger(name).setLevel(old)
    structlog.reset_defaults()


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [orjson.loads(line) for line in stream.getvalue().splitlines()]


def test_json_line_has_time_level_logger_event_first() -> None:
    stream = io.StringIO()
    setup("info", "json", stream)
    structlog.get_logger("impactd.test").bind(partition=3).info("committed", rows=7)
    (line,) = lines(stream)
    assert list(line) == ["timestamp", "level", "logger", "event", "partition", "rows"]
    assert (line["level"], line["logger"], line["event"]) == ("info", "impactd.test", "committed")
    at = datetime.fromisoformat(str(line["timestamp"]))
    assert at.tzinfo == UTC


def test_stdlib_loggers_take_the_same_way() -> None:
    stream = io.StringIO()
    setup("info", "json", stream)
    logging.getLogger("aiokafka").warning("lost %s", "broker-1")
    logging.getLogger("aiokafka").info("chatter")
    (line,) = lines(stream)
    assert (line["logger"], line["level"], line["event"]) == ("aiokafka", "warning", "lost broker-1")


def test_level_debug_is_not_that_of_the_libraries() -> None:
    stream = io.StringIO()
    setup("debug", "json", stream)
    for name in ("aiokafka", "asyncio", "numba.core.ssa", "matplotlib.font_manager", "a library of next year"):
        logging.getLogger(name).debug("detail")
        logging.getLogger(f"{name}.core").info("detail")
    structlog.get_logger("impactd.x").debug("detail")
    assert [line["logger"] for line in lines(stream)] == ["impactd.x"]


def test_level_debug_of_the_libraries_too_lets_everything_through() -> None:
    stream = io.StringIO()
    setup("debug", "json", stream, libraries="debug")
    logging.getLogger("aiokafka").debug("detail")
    structlog.get_logger("impactd.x").debug("detail")
    assert [line["logger"] for line in lines(stream)] == ["aiokafka", "impactd.x"]


def test_level_error_holds_warnings_back() -> None:
    stream = io.StringIO()
    setup("error", "json", stream)
    structlog.get_logger("impactd.x").warning("detail")
    logging.getLogger("aiokafka").warning("detail")
    assert stream.getvalue() == ""


def test_auto_without_a_terminal_is_json() -> None:
    stream = io.StringIO()
    setup(stream=stream)
    structlog.get_logger("impactd.x").info("hello")
    assert lines(stream)[0]["event"] == "hello"


def test_console_is_for_people() -> None:
    stream = io.StringIO()
    setup("info", "console", stream)
    structlog.get_logger("impactd.x").info("hello", partition=1)
    assert "hello" in stream.getvalue()
    assert "partition=1" in stream.getvalue()


@pytest.mark.parametrize("form", ["json", "console"])
def test_traceback_holds_no_local_variables(form: str) -> None:
    stream = io.StringIO()
    setup("info", form, stream)  # type: ignore[arg-type]  # both are literals
    try:
        _fail("hush" + "-hush")
    except ValueError:
        structlog.get_logger("impactd.x").exception("failed")
    assert "ValueError" in stream.getvalue()
    assert "hush-hush" not in stream.getvalue()


def _fail(password: str) -> None:
    raise ValueError(len(password))


def test_setup_twice_writes_once() -> None:
    first, second = io.StringIO(), io.StringIO()
    setup("info", "json", first)
    setup("info", "json", second)
    structlog.get_logger("impactd.x").info("hello")
    assert (first.getvalue(), len(lines(second))) == ("", 1)
