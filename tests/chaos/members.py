"""The processes of the service, and the supervisor that starts them again."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, Final

from impactd.config import Settings
from tests.chaos import hooks
from tests.chaos.cluster import SESSION_TIMEOUT_S
from tests.chaos.feed import VENUE
from tests.paths import ROOT


def _hours(symbols: list[str]) -> str:
    """Return hours in which the markets of these symbols close two, four, six minutes from now, as a setting."""
    now = datetime.now(UTC)
    closes = [(now + timedelta(minutes=2 * k + 2)).strftime("%H:%M") for k in range(len(symbols))]
    days = "days=[" + ",".join(f'"{day}"' for day in ("mon", "tue", "wed", "thu", "fri", "sat", "sun")) + "]"
    opens = (now - timedelta(hours=2)).strftime("%H:%M")
    tables = [
        f'{{symbols=["{name}"],open="{opens}",close="{at}",{days}}}' for name, at in zip(symbols, closes, strict=True)
    ]
    return "[" + ",".join(tables) + "]"


#: Further settings of every process: short minutes, and orders that are soon forgotten.
CORE: Final = {
    "books.interval_s": "1",
    "books.grace_s": "0.2",
    "plans.hold_s": "3",
    "plans.keep_ended_s": "10",
    "plans.max_held": "50",
    "plans.auction_close_cutoff_s": "20",
    "plans.auction_report_s": "5",
    "plans.auction_close_share": "0.5",
    "session.by_symbol": _hours(["S2", "S4", "S7"]),
    "venues": f'[{{name="{VENUE}"}}]',
    "log.format": "json",
    "http.port": "0",
}


def flags(settings: Settings) -> list[str]:
    """Return the options of ``impactd run`` that give it these settings."""
    values = CORE | {
        "kafka.bootstrap": settings.kafka.bootstrap,
        "kafka.environment": settings.kafka.environment,
        "kafka.group": settings.kafka.group,
        "kafka.session_timeout_ms": settings.kafka.session_timeout_ms,
        "kafka.heartbeat_interval_ms": settings.kafka.heartbeat_interval_ms,
        "kafka.transaction_timeout_ms": settings.kafka.transaction_timeout_ms,
        "kafka.revoke_timeout_ms": settings.kafka.revoke_timeout_ms,
        "topics.prefix": settings.topics.prefix,
    }
    return [part for name, value in values.items() for part in ("--set", f"{name}={value}")]


@dataclass(slots=True)
class Member:
    """One place for a process; its processes follow each other."""

    name: str
    directory: Path
    seed: str
    command: tuple[str, ...]
    variant: str
    process: asyncio.subprocess.Process | None = None
    starts: int = 0
    frozen: bool = False
    #: Told to leave, or killed from here: its end is no surprise.
    expected: bool = False
    #: What it said when it left by itself.
    surprises: list[str] = field(default_factory=list)
    _log: IO[bytes] | None = None
    _starting: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def fault_file(self) -> Path:
        """File by which it is told to hit itself."""
        return self.directory / f"{self.name}.fault"

    @property
    def running(self) -> bool:
        """Whether its process has not ended."""
        return self.process is not None and self.process.returncode is None

    async def start(self) -> None:
        """Start a process, unless one runs: two faults of a round may both find that it has ended."""
        async with self._starting:
            if self.running:
                return
            self.starts += 1
            self.expected = self.frozen = False
            self.fault_file.unlink(missing_ok=True)
            if self._log is None:
                self._log = (self.directory / f"{self.name}.log").open("ab")
            environment = os.environ | {
                hooks.FAULT_FILE: str(self.fault_file),
                hooks.SEED: f"{self.seed}/{self.name}/{self.starts}",
                hooks.SLOW_RESTORE_S: str(SESSION_TIMEOUT_S * 1.3),
                hooks.VARIANT: self.variant,
            }
            self.process = await asyncio.create_subprocess_exec(
                *self.command,
                cwd=ROOT,
                env=environment,
                stdin=asyncio.subprocess.PIPE,
                stdout=self._log,
                stderr=self._log,
            )

    def ask(self, point: str, what: str) -> None:
        """Ask the process for a signal to itself, or a failure, when it reaches a fault point."""
        unfinished = self.fault_file.with_suffix(".unfinished")
        unfinished.write_text(json.dumps({"point": point, "signal": what}), "utf-8")
        unfinished.replace(self.fault_file)

    async def reached(self, within_s: float) -> bool:
        """Wait until it has taken up what it was asked; withdraw it otherwise."""
        deadline = time.monotonic() + within_s
        # Another process takes the file away, so there is no event to wait for.
        while self.fault_file.exists() and self.running and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        if not self.fault_file.exists():
            return True
        self.fault_file.unlink(missing_ok=True)
        return False

    def send(self, number: signal.Signals) -> None:
        """Send a signal, if the process is there to take it."""
        if self.running:
            assert self.process is not None
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(number)

    async def kill(self) -> None:
        """Kill the process, wherever it is."""
        self.expected = True
        self.send(signal.SIGKILL)
        await self.wait()

    async def leave(self, within_s: float) -> int | None:
        """Let it drain; return its exit code, None if it had to be killed."""
        self.expected = True
        self.send(signal.SIGCONT)
        self.send(signal.SIGTERM)
        try:
            async with asyncio.timeout(within_s):
                return await self.wait()
        except TimeoutError:
            await self.kill()
            return None

    async def wait(self) -> int:
        """Wait for its end."""
        assert self.process is not None
        return await self.process.wait()

    def look(self) -> bool:
        """Note an end that nobody asked for; return whether it needs a start."""
        if self.running:
            return False
        if not self.expected and self.process is not None:
            self.surprises.append(f"{self.name}.{self.starts} left with code {self.process.returncode}: {self._last()}")
        return True

    def _last(self) -> str:
        lines = (self.directory / f"{self.name}.log").read_bytes().splitlines()
        said = [line.decode("utf-8", "replace") for line in lines[-60:] if b"critical" in line or b"Error" in line]
        # The end of a traceback says where; the log has it whole.
        return f"{said[-1][:300]} ... {said[-1][300:][-600:]}" if said else "(it said nothing)"

    def close(self) -> None:
        """Close its log."""
        if self._log is not None:
            self._log.close()


class Members:
    """All processes of a run.

    Parameters
    ----------
    settings : Settings
        As the processes reach the broker.
    directory : Path
        Of logs and fault files.
    seed : str
    variant : str
        Name of a broken variant; empty for the product.
    """

    def __init__(self, settings: Settings, directory: Path, seed: str, variant: str) -> None:
        self._command = (sys.executable, "-m", "tests.chaos.entry", "run", *flags(settings))
        self._directory, self._seed, self._variant = directory, seed, variant
        self.all: list[Member] = []

    def new(self) -> Member:
        """Return a further member, not started."""
        member = Member(f"m{len(self.all)}", self._directory, self._seed, self._command, self._variant)
        self.all.append(member)
        return member

    @property
    def present(self) -> list[Member]:
        """Members that are meant to run."""
        return [member for member in self.all if member.running and not member.expected]

    async def supervise(self) -> None:
        """Start again whatever has ended without being sent away."""
        for member in self.all:
            if member.process is not None and not member.expected and member.look():
                await member.start()

    async def say_where(self) -> None:
        """Have every process write to its log where its tasks and threads are."""
        for member in self.present:
            member.send(signal.SIGUSR2)
        await asyncio.sleep(2.0)

    async def close(self) -> None:
        """End everything that still runs."""
        for member in self.all:
            if member.running:
                await member.kill()
            member.close()
