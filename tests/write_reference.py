"""The page on health and metrics; ``python -m tests.write_reference`` writes it and the others of docs/reference."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from impactd.shell.exposition import reference
from impactd.shell.health import KINDS

PAGE: Final = Path(__file__).parent.parent / "docs" / "reference" / "metrics.md"

_HEAD: Final = """\
# Health and metrics

Beside the live page at `/` (see the [runbook](../runbook.md)) `impactd run` serves three pages over HTTP, by default
on `127.0.0.1:9464` (`http.host`, `http.port`,
`http.enabled`). A second process on the same machine needs a port of its own; `http.port=0` takes any free one, and
the log line `http listens` says which.

| page | answers |
|---|---|
| `/livez` | 200 while the process is worth keeping; 503 with the failure that it is about to exit for |
| `/readyz` | 200 while what it publishes is of now; else 503 with every reason, as JSON |
| `/metrics` | Prometheus' text |

The pages change nothing and hold no secret; they ask nobody who they are, so keep them on loopback or behind a network
policy.

## Reasons for not being ready

Each has `kind`, `detail` and, where it is one partition's, `partition`:

    {"ready":false,"reasons":[{"kind":"restoring","detail":"reading the state","partition":2}]}

A halt that somebody ordered is no reason. A process without partitions, of which there may be fewer than processes, is
ready: it stands by.

| kind | meaning |
|---|---|
"""

_METRICS: Final = """
## Metrics

Counters start at 0 with the process and go on through rebalances. What is counted by contents (ticks, plans, alerts,
dead letters) is counted when its commit stands, so that nothing is counted twice when a commit is made again. Gauges
with a `partition` are there for as long as this process owns it.

"""


def page() -> str:
    """Return the page on health and metrics."""
    kinds = "".join(f"| `{kind}` | {meaning} |\n" for kind, meaning in KINDS.items())
    return _HEAD + kinds + _METRICS + reference()


if __name__ == "__main__":
    from tests.reference import write

    write()
