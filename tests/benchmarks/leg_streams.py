"""Kafka Streams doing the service's per-minute slippage of 16 sizes a side, in a process of its own.

`KafkaStreamsLeg.java` is the documented way: Jackson reads a book into a class, a tumbling window of a minute keeps its
walk and its sums, and is emitted when it closes; exactly-once (``exactly_once_v2``), one thread, RocksDB, all other
settings but the size of a fetch and the compression as they come.  Time runs from a fifth of the messages, when Java
has compiled what is hot, to the last one.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Final

from impactd.shell.broker.release import java_command, maven_jars
from impactd.shell.broker.server import KAFKA_VERSION
from tests.benchmarks.books import SIZES
from tests.benchmarks.legs import LEG_TIMEOUT_S, Measured, run_command

_HERE: Final = Path(__file__).parent

#: The part of the messages that does not count.
_SKIPPED: Final = 5


def streams_command() -> list[str]:
    """Return the command that runs the leg, without what it is asked.

    Raises
    ------
    BrokerUnavailable
        If Java is missing, or Maven cannot fetch Kafka Streams; the text states what to do.
    """
    jars = maven_jars("kafka-streams", KAFKA_VERSION, (_HERE / "kafka-streams-pom.xml").read_text("utf-8"))
    options = ["-Xmx1g", "-Dorg.slf4j.simpleLogger.defaultLogLevel=error", "-cp", f"{jars}/*"]
    return [java_command(), *options, str(_HERE / "KafkaStreamsLeg.java")]


def run_streams(command: list[str], bootstrap: str, topic: str, out: str, messages: int) -> Measured:
    """Process the first `messages` of `topic` and return how long those after the first fifth took.

    Raises
    ------
    RuntimeError
        If it fails; the text ends with what it wrote.
    """
    with tempfile.TemporaryDirectory() as state:
        asked = [bootstrap, topic, out, str(messages), str(messages // _SKIPPED), state, ",".join(map(str, SIZES))]
        return run_command("Kafka Streams", [*command, *asked], LEG_TIMEOUT_S + 120.0)
