"""``python -m impactd`` is ``impactd``."""

from __future__ import annotations

import sys

from impactd.cli import main

if __name__ == "__main__":
    sys.exit(main())
