"""Fixtures for all tests, and a loud word about whatever could not be tested here."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, NoReturn

import pytest
import structlog
from hypothesis import settings

from impactd.shell.broker.broker import HOW_TO_HAVE_ONE, Broker, BrokerUnavailable, find_broker
from impactd.shell.broker.server import KafkaServer
from tests import paths
from tests.integration import chromium

#: How many times as many examples property tests draw; for runs beside the default one, with a seed of the day:
#: ``IMPACTD_EXAMPLES=20 pytest --hypothesis-seed=$(date +%Y%m%d) tests/core tests/wire``.
EXAMPLES: Final = "IMPACTD_EXAMPLES"

# How long an example takes says nothing on a busy machine.  The default run draws the same examples everywhere, so that
# only a change can make it fail; chance belongs to the runs that look for faults, with seeds of the day.
settings.register_profile("impactd", deadline=None, derandomize=EXAMPLES not in os.environ)
settings.load_profile("impactd")

#: Set where a missing broker is a failure, as in continuous integration.
REQUIRE_BROKER: Final = "IMPACTD_REQUIRE_BROKER"

_HOW_TO_HAVE_DATA: Final = "set IMPACTD_DATA_DIR, or put the recorded days in ../shared/data beside the repository"
_MISSING: Final = pytest.StashKey[dict[str, str]]()


def missing(config: pytest.Config, what: str, text: str) -> None:
    """Have the last lines of the run say what could not be tested, and how it could be."""
    config.stash[_MISSING][what] = text


def pytest_configure(config: pytest.Config) -> None:
    # Several services run on this machine at once, and other tests perhaps too.
    os.environ.setdefault("IMPACTD__HTTP__PORT", "0")
    config.stash[_MISSING] = {}
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # A shell starts what runs in its background deaf to Ctrl-C, and the programs under test would inherit that.
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test by what it asks for, so that ``-m "not broker"`` needs no discipline."""
    for item in items:
        fixtures = set(getattr(item, "fixturenames", ()))
        if fixtures & {"broker", "new_kafka", "module_kafka"}:
            item.add_marker("broker")
        if "data_dir" in fixtures:
            item.add_marker("data")
    factor = int(os.environ.get(EXAMPLES, "1"))
    for item in items if factor > 1 else ():
        test = getattr(item, "obj", None)
        stated = getattr(test, "_hypothesis_internal_use_settings", None)
        if stated is not None:
            test._hypothesis_internal_use_settings = settings(stated, max_examples=factor * stated.max_examples)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Have a worker tell the process that prints what it could not test."""
    told: dict[str, object] | None = getattr(session.config, "workeroutput", None)
    if told is not None:
        told["missing"] = session.config.stash[_MISSING]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object | None) -> None:
    """Take in what a worker could not test; one that crashed (`error`) tells nothing."""
    if error is None:
        node.config.stash[_MISSING].update(node.workeroutput.get("missing", {}))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for what, text in config.stash[_MISSING].items():
        terminalreporter.section(f"NOT TESTED: {what}", sep="!", yellow=True, bold=True)
        terminalreporter.line(text)


@pytest.fixture(scope="session")
def data_dir(request: pytest.FixtureRequest) -> Path:
    """Return the directory of recorded days; skip where there is none."""
    directory = paths.data_dir()
    if directory is None:
        request.config.stash[_MISSING]["anything on recorded days"] = _HOW_TO_HAVE_DATA
        pytest.skip(f"no recorded days: {_HOW_TO_HAVE_DATA}")
    return directory


def _without_broker(request: pytest.FixtureRequest, error: BrokerUnavailable) -> NoReturn:
    request.config.stash[_MISSING]["anything on a Kafka broker"] = f"{error}\nTo have one: {HOW_TO_HAVE_ONE}."
    if os.environ.get(REQUIRE_BROKER, "") not in {"", "0"}:
        pytest.fail(f"{REQUIRE_BROKER} is set, and: {error}", pytrace=False)
    pytest.skip(f"no Kafka broker: {HOW_TO_HAVE_ONE}")


@pytest.fixture(scope="session")
def broker(request: pytest.FixtureRequest) -> Iterator[Broker]:
    """Yield a real broker, the same for all tests: each names topics, groups and transactional ids of its own."""
    with contextlib.ExitStack() as stack:
        try:
            shared = stack.enter_context(find_broker())
        except BrokerUnavailable as error:
            _without_broker(request, error)
        yield shared


def _factory(request: pytest.FixtureRequest) -> Iterator[Callable[..., KafkaServer]]:
    with contextlib.ExitStack() as stack:

        def start(*args: object, **kwargs: object) -> KafkaServer:
            try:
                return stack.enter_context(KafkaServer(*args, **kwargs))  # type: ignore[arg-type]  # passed through
            except BrokerUnavailable as error:
                _without_broker(request, error)

        yield start


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run each command where no settings file is, and without settings in the environment."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("IMPACTD_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def new_kafka(request: pytest.FixtureRequest) -> Iterator[Callable[..., KafkaServer]]:
    """Yield a function that starts a `KafkaServer` for this test alone, to be stopped, killed and configured."""
    yield from _factory(request)


@pytest.fixture(scope="module")
def module_kafka(request: pytest.FixtureRequest) -> Iterator[Callable[..., KafkaServer]]:
    """Yield a function that starts a `KafkaServer` which the tests of a module share."""
    yield from _factory(request)


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    """Undo what a command run in this process has set up: its handlers write to a stream that ends with the test."""
    loggers = [logging.getLogger(name) for name in ("", "aiokafka", "aiokafka.conn", "impactd")]
    before = [(list(logger.handlers), logger.level, logger.propagate) for logger in loggers]
    structured = structlog.get_config() if structlog.is_configured() else None
    yield
    for logger, (handlers, level, propagate) in zip(loggers, before, strict=True):
        logger.handlers[:] = handlers
        logger.setLevel(level)
        logger.propagate = propagate
    logging.captureWarnings(capture=False)
    if structured is None:
        structlog.reset_defaults()
    else:
        structlog.configure(**structured)


@pytest.fixture
def chromium_here(request: pytest.FixtureRequest) -> None:
    """Skip, and say so loudly, where there is no browser."""
    if chromium.program() is None:
        missing(request.config, "the live page in a browser", f"To have one: {chromium.HOW_TO_HAVE_ONE}.")
        pytest.skip(f"no Chromium: {chromium.HOW_TO_HAVE_ONE}")
