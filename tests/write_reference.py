"""The page on health and metrics; ``python -m tests.write_reference`` writes it and the others of docs/reference."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from impactd.shell.exposition import reference
from impactd.shell.health import KINDS

PAGE: Final = Path(__file__).parent.parent / "docs" / "reference" / "metrics.md"

_HEAD: Final = """\
# Health and metrics

`impactd run` serves three pages over HTTP, by default on `127.0.0.1:9464` (`http.host`, `http.port`, `http.enabled`).
A second process on the same machine needs its own port; `http.port=0` takes any free one, and the log line
`http listening` names it.

| page | answer |
|---|---|
| `/livez` | 200 while the process is alive; 503 with the failure that it is about to exit for |
| `/readyz` | 200 while the output is current; otherwise 503 with every reason, as JSON |
| `/metrics` | metrics in Prometheus' text format |

The pages change nothing and contain no secret. They do not authenticate readers, so keep them on loopback or behind a
network policy.

## Reasons for not being ready

Each has `kind`, `detail` and, if it concerns one partition, `partition`:

    {"ready":false,"reasons":[{"kind":"restoring","detail":"reading the state","partition":2}]}

A halt by an operator is not a reason. A process without partitions, because there are more processes than partitions,
is ready: it is a standby.

| kind | meaning |
|---|---|
"""

_METRICS: Final = """
## Metrics

Counters start at 0 with the process and continue through rebalances. Contents (ticks, plans, alerts,
dead letters) are counted once their commit has succeeded, so that a repeated commit counts nothing twice. Gauges
with a `partition` exist while this process owns the partition.

"""


def page() -> str:
    """Return the page on health and metrics."""
    kinds = "".join(f"| `{kind}` | {meaning} |\n" for kind, meaning in KINDS.items())
    return _HEAD + kinds + _METRICS + reference()


if __name__ == "__main__":
    from tests.reference import write

    write()
