"""The service's condition as the live page shows it: the same readings as /readyz and /metrics."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict

import orjson

from impactd.core.base.topics import INPUT_TOPICS
from impactd.shell.health import Reason
from impactd.shell.metrics import Reading


def condition(reading: Reading, reasons: list[Reason], zone: str) -> bytes:
    """Return the event ``health``, encoded."""
    status = reading.status
    transaction = status.durations["transaction"]
    return orjson.dumps(
        {
            "ready": reading.ready,
            "reasons": [asdict(reason) for reason in reasons],
            "draining": status.draining,
            "broker_answers": status.broker_answers,
            "started": reading.started,
            "zone": zone,
            "commit_p50_s": _finite(transaction.quantile(0.5)),
            "commit_p99_s": _finite(transaction.quantile(0.99)),
            "loop_delay_s": reading.longest_loop_delay_s,
            "restores": status.durations["restore"].count,
            "dead_letters": sum(totals.dead.total() for totals in status.totals.values()),
            "halts": _all_halts(reading),
            "partitions": [
                {
                    "partition": number,
                    "phase": found.phase.value,
                    "lag": sum(found.lag(topic) for topic in INPUT_TOPICS),
                    "tick_age_s": found.tick_age(reading.now),
                    "minutes_behind": (reading.wall_ns - found.clock) / 60e9 if found.clock else None,
                    "clock": found.clock or None,
                    "commits": found.commits,
                    "orders": found.orders,
                    "halted": found.halted,
                    "halts": _halts(found.halts),
                    "restore_s": found.restore_seconds,
                }
                for number, found in sorted(status.partitions.items())
            ],
        }
    )


def _all_halts(reading: Reading) -> list[dict[str, str]]:
    found = {item for partition in reading.status.partitions.values() for item in partition.halts.items()}
    return [{"scope": scope, "reason": reason} for scope, reason in sorted(found)]


def _halts(halts: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"scope": scope, "reason": reason} for scope, reason in sorted(halts.items())]


def _finite(value: float | None) -> float | None:
    return None if value is None or math.isinf(value) else value
