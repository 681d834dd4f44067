"""Apache Kafka itself, as a child process: formatted, started, stopped, killed and started again.

One process holds both KRaft roles (controller and broker). Its listeners are on loopback, its ports and its data
directory are its own and stay the same over a restart, so that a test can kill it in the middle of a transaction and
check what it kept.

The process must not outlive its parent, however the parent ends. So a small shell script runs between them and holds a
pipe from the parent: when the parent is gone, even by ``kill -9``, the pipe closes and the script kills the server. The
kernel's own parent-death signal is no substitute: it fires when the *thread* that started the child ends.
"""

from __future__ import annotations

import base64
import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self

from impactd.shell.broker.probe import LOOPBACK, answers, free_ports
from impactd.shell.broker.release import BrokerUnavailable, java_command, kafka_jars, run

#: The release that is started unless another is named; 4.3.1 starts as well.
KAFKA_VERSION: Final = "4.1.0"

_START_TIMEOUT_S: Final = 90.0
_STOP_TIMEOUT_S: Final = 20.0
_PROBE_PAUSE_S: Final = 0.1
_LOG_TAIL_LINES: Final = 30

#: ``$@`` is the server. Its process id goes to standard output; standard input is the leash.
_LEASH: Final = """
exec 3<&0
"$@" </dev/null 3<&- >&2 &
server=$!
echo "$server"
exec >&-
( while read -r _; do :; done; kill -KILL "$server" ) <&3 2>/dev/null &
watcher=$!
wait "$server"; status=$?
kill "$watcher" 2>/dev/null
exit "$status"
"""


def server_properties(
    *, listen: Mapping[str, tuple[str, str]], controller: str, voter: str, advertised: Mapping[str, str], log_dir: str
) -> dict[str, str]:
    """Return the properties of a one-process cluster that is good for tests and demos.

    Parameters
    ----------
    listen : mapping of listener name to (security protocol, ``host:port``)
        The first is also the listener between brokers.
    controller : str
        ``host:port`` that the controller listens on.
    voter : str
        ``host:port`` at which the broker finds the controller.
    advertised : mapping of listener name to ``host:port``
        What clients are told.
    """
    protocols = {"CONTROLLER": "PLAINTEXT", **{name: protocol for name, (protocol, _) in listen.items()}}
    return {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": f"1@{voter}",
        "controller.listener.names": "CONTROLLER",
        "listeners": ",".join([f"{name}://{at}" for name, (_, at) in listen.items()] + [f"CONTROLLER://{controller}"]),
        "advertised.listeners": ",".join(f"{name}://{at}" for name, at in advertised.items()),
        "listener.security.protocol.map": ",".join(f"{name}:{protocol}" for name, protocol in protocols.items()),
        "inter.broker.listener.name": next(iter(listen)),
        "log.dirs": log_dir,
        # A mistyped topic is an error, not a new topic.
        "auto.create.topics.enable": "false",
        # One node cannot replicate, and eight partitions of internal topics are made faster than fifty.
        "offsets.topic.replication.factor": "1",
        "offsets.topic.num.partitions": "8",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "transaction.state.log.num.partitions": "8",
        "share.coordinator.state.topic.replication.factor": "1",
        "share.coordinator.state.topic.min.isr": "1",
        # Recorded days bring old timestamps: retention by time would delete them while they are read.
        "log.retention.ms": "-1",
        "log.retention.bytes": "-1",
        # Nobody waits for further members of a group here.
        "group.initial.rebalance.delay.ms": "50",
        "group.min.session.timeout.ms": "1000",
        # After a kill the broker is let in again once its old session has ended: by default that takes nine seconds.
        "broker.session.timeout.ms": "3000",
        "broker.heartbeat.interval.ms": "500",
        # The default of 128 MB comes out of a modest heap.
        "log.cleaner.dedupe.buffer.size": "16777216",
    }


class KafkaServer:
    """A real Apache Kafka on this machine, as a child process.

    Parameters
    ----------
    properties : mapping, optional
        Server properties beyond `server_properties`, or instead of them.
    listeners : mapping of str to str, optional
        Further listeners, name to security protocol, such as ``{"SECURE": "SASL_SSL"}``; see `address`. The plain-text
        one is always there: readiness is asked on it.
    format_arguments : sequence of str, optional
        Further arguments of the format tool, such as
        ``("--add-scram", "SCRAM-SHA-256=[name=desk,password=...]")``.
    heap : str, optional
        Largest heap of the server, in Java's notation.

    Examples
    --------
    >>> with KafkaServer() as server:  # doctest: +SKIP
    ...     server.kill()
    ...     server.start()
    """

    def __init__(
        self,
        version: str = KAFKA_VERSION,
        *,
        properties: Mapping[str, str] | None = None,
        listeners: Mapping[str, str] | None = None,
        format_arguments: Sequence[str] = (),
        heap: str = "768m",
    ) -> None:
        self.version = version
        names = {"PLAINTEXT": "PLAINTEXT", **(listeners or {})}
        ports = free_ports(len(names) + 1)
        controller = f"{LOOPBACK}:{ports[-1]}"
        self._addresses = {name: f"{LOOPBACK}:{port}" for name, port in zip(names, ports[:-1], strict=True)}
        self._java = java_command()
        self._jars = kafka_jars(version)
        self._heap = heap
        self._format_arguments = tuple(format_arguments)
        self._directory = Path(tempfile.mkdtemp(prefix="impactd-kafka-"))
        self._log = self._directory / "server.log"
        self._leash: subprocess.Popen[str] | None = None
        self._pid: int | None = None
        self._properties = server_properties(
            listen={name: (protocol, self._addresses[name]) for name, protocol in names.items()},
            controller=controller,
            voter=controller,
            advertised=self._addresses,
            log_dir=str(self._directory / "data"),
        ) | dict(properties or {})

    @property
    def bootstrap(self) -> str:
        """``host:port`` of the plain-text listener."""
        return self._addresses["PLAINTEXT"]

    @property
    def pid(self) -> int:
        """Process id of the server itself, for signals.

        Raises
        ------
        RuntimeError
            If the server does not run.
        """
        if self._pid is None:
            raise RuntimeError("the server does not run: call start() first")
        return self._pid

    def address(self, listener: str) -> str:
        """Return ``host:port`` of a listener by its name."""
        return self._addresses[listener]

    def log_tail(self, lines: int = _LOG_TAIL_LINES) -> str:
        """Return the last lines that the server wrote."""
        if not self._log.exists():
            return "(the server wrote nothing)"
        return "\n".join(self._log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])

    def start(self) -> None:
        """Start the server, formatting its data directory if it is new, and return when it answers.

        Raises
        ------
        BrokerUnavailable
            If it ends or does not answer in time; the text holds the end of its log.
        """
        if self._leash is not None:
            raise RuntimeError("the server runs already")
        config = self._directory / "server.properties"
        if not config.exists():
            config.write_text("".join(f"{key}={value}\n" for key, value in self._properties.items()), encoding="utf-8")
            self._format(config)
        with self._log.open("ab") as log:
            self._leash = self._spawn(config, log)
        try:
            self._await_ready(self._leash)
        except BaseException:
            self.kill()
            raise

    def stop(self) -> None:
        """Shut the server down in order; kill it if it takes too long. The data stay until `close`."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Kill the server with ``SIGKILL``, as a power cut would. The data stay until `close`."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Shut the server down in order and start it again, on the same ports and data."""
        self.stop()
        self.start()

    def close(self) -> None:
        """Stop the server and remove its data."""
        self.stop()
        shutil.rmtree(self._directory, ignore_errors=True)

    def __enter__(self) -> Self:
        """Start the server; remove everything again if it does not come up."""
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop the server and remove its data."""
        self.close()

    def _command(self, main: str, *options: str) -> list[str]:
        log_level = "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"
        return [self._java, *options, log_level, "-cp", f"{self._jars}/*", main]

    def _format(self, config: Path) -> None:
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        cluster = "A" + cluster[1:]  # a leading dash would read as an option
        command = [*self._command("kafka.tools.StorageTool"), "format", "-t", cluster, "-c", str(config)]
        done = run([*command, *self._format_arguments], timeout_s=_START_TIMEOUT_S)
        if done.returncode != 0:
            config.unlink()
            raise BrokerUnavailable(f"Kafka {self.version} could not format its data directory:\n{done.stdout}")

    def _spawn(self, config: Path, log: IO[bytes]) -> subprocess.Popen[str]:
        options = (
            f"-Xmx{self._heap}",
            "-XX:+UseG1GC",
            "-Djava.awt.headless=true",
            f"-Dkafka.logs.dir={self._directory}",
        )
        server = [*self._command("kafka.Kafka", *options), str(config)]
        leash = subprocess.Popen(  # noqa: S603  (our own script and arguments)
            ["/bin/sh", "-c", _LEASH, "impactd-kafka", *server],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            start_new_session=True,  # an interrupt at the terminal is the parent's to act on: it drains first
        )
        assert leash.stdout is not None  # noqa: S101  (by stdout=PIPE)
        self._pid = int(leash.stdout.readline())
        return leash

    def _await_ready(self, leash: subprocess.Popen[str]) -> None:
        deadline = time.monotonic() + _START_TIMEOUT_S
        while not answers(self.bootstrap):
            with contextlib.suppress(subprocess.TimeoutExpired):
                status = leash.wait(timeout=_PROBE_PAUSE_S)
                raise BrokerUnavailable(f"Kafka {self.version} ended with status {status}; its log:\n{self.log_tail()}")
            if time.monotonic() > deadline:
                raise BrokerUnavailable(
                    f"Kafka {self.version} did not answer within {_START_TIMEOUT_S:.0f} s; its log:\n{self.log_tail()}"
                )

    def _end(self, signum: signal.Signals) -> None:
        leash, self._leash = self._leash, None
        if leash is None:
            return
        pid, self._pid = self._pid, None
        if pid is not None and leash.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signum)
                os.kill(pid, signal.SIGCONT)  # a stopped process hears nothing but SIGKILL
        with contextlib.suppress(subprocess.TimeoutExpired):
            leash.wait(timeout=_STOP_TIMEOUT_S)
        for pipe in (leash.stdin, leash.stdout):
            if pipe is not None:
                pipe.close()  # closing the leash kills a process that did not end by itself
        leash.wait()
