"""A child of the tests that does not outlive them: it ends when its standard input does.

Whoever starts it keeps the other end of a pipe, which closes with the starter's end, however that comes.
"""

from __future__ import annotations

import os
import sys
import threading


def hold() -> None:
    """End this process, at once, when standard input ends."""

    def wait() -> None:
        while os.read(descriptor, 1024):
            pass
        os._exit(1)

    descriptor = sys.stdin.fileno()
    threading.Thread(target=wait, name="leash", daemon=True).start()


if __name__ == "__main__":
    hold()
    from impactd.cli import main

    sys.exit(main())
