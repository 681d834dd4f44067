"""A process that is told to leave over TLS does so within its drain, whatever its peers say."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from impactd.shell.broker.server import KafkaServer
from tests.integration.certificates import make_certificates
from tests.integration.kafka_lab import lab

pytestmark = pytest.mark.broker

_DRAIN_S: Final = 5.0
#: What a busy machine may take to end the interpreter; the close of TLS waits for 30 s where nothing bounds it.
_END_S: Final = 20.0
_DEADLINE_S: Final = 300.0


@pytest.mark.parametrize(
    "times", [pytest.param(1), pytest.param(10, marks=[pytest.mark.slow, pytest.mark.timeout(3_000)])]
)
async def test_leave_over_tls_takes_no_longer_than_the_drain(
    times: int, module_kafka: Callable[..., KafkaServer], tmp_path: Path
) -> None:
    certificates = make_certificates(tmp_path)
    properties = {"ssl.keystore.type": "PEM", "ssl.keystore.location": str(certificates.broker)}
    server = module_kafka(properties=properties, listeners={"SECURE": "SSL"})
    settings = await lab(server.bootstrap)
    values = {
        "kafka.bootstrap": server.address("SECURE"),
        "kafka.environment": settings.kafka.environment,
        "kafka.group": settings.kafka.group,
        "kafka.security.protocol": "SSL",
        "kafka.security.ca_file": certificates.ca,
        "kafka.drain_timeout_ms": int(_DRAIN_S * 1_000),
        "topics.prefix": settings.topics.prefix,
        "http.port": 0,
        "log.format": "json",
    }
    flags = [part for name, value in values.items() for part in ("--set", f"{name}={value}")]
    took = []
    for _ in range(times):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "impactd", "run", *flags, stderr=asyncio.subprocess.PIPE
        )
        assert process.stderr is not None
        said = b""
        try:
            async with asyncio.timeout(_DEADLINE_S):
                while said.count(b'"partition owned"') < 2 and (line := await process.stderr.readline()):
                    said += line
                process.send_signal(signal.SIGTERM)
                told = time.monotonic()
                said += await process.stderr.read()
                code = await process.wait()
                took.append(time.monotonic() - told)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        assert code == 0, said[-2_000:]
    print("seconds:", *(f"{seconds:.2f}" for seconds in took))  # noqa: T201  (what a measurement is for)
    assert max(took) < _DRAIN_S + _END_S
