"""The live service on Kafka: ownership, commits and restore.

- `client`: settings, and the consumers and producers made from them;
- `ownership`: who may speak for a partition, and what it must do first;
- `loop`: the pipeline of one owned partition;
- `commit`: one application of the core as one transaction;
- `service`: all of it as one process;
- `topics`, `publish`, `capture`, `consume`: tools for operators, demos and tests.
"""

from __future__ import annotations
