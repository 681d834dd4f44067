"""``python -m tests.chaos.entry run``: ``impactd run`` with fault points, and a promise broken for a variant."""

from __future__ import annotations

import os
import sys

from impactd.cli import main
from tests.chaos.hooks import VARIANT, Hooks
from tests.chaos.variants import VARIANTS
from tests.leash import hold

if __name__ == "__main__":
    hold()
    Hooks(os.environ).install()
    variant = os.environ.get(VARIANT)
    if variant:
        VARIANTS[variant].install()
    sys.exit(main())
