"""``python -m tests.chaos.entry run``: ``impactd run`` with fault points, and a promise broken for a variant."""

from __future__ import annotations

import json
import os
import signal
import sys

from impactd.cli import main
from impactd.shell.stacks import task_stacks, thread_stacks
from tests.chaos.hooks import VARIANT, Hooks
from tests.chaos.variants import VARIANTS
from tests.leash import hold


def _say_where(*_: object) -> None:
    """Write to the log where every task and thread is: asked for when a run is stuck."""
    found = {"event": "stacks", "tasks": task_stacks(), "threads": thread_stacks()}
    sys.stderr.write(json.dumps(found) + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    hold()
    signal.signal(signal.SIGUSR2, _say_where)
    Hooks(os.environ).install()
    variant = os.environ.get(VARIANT)
    if variant:
        VARIANTS[variant].install()
    sys.exit(main())
