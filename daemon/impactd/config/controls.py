"""Settings of what stops plans from outside."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from impactd.config.base import Section


class ControlsSection(Section):
    """Ways to stop plans from outside."""

    kill_switch_file: Annotated[str, Field(min_length=1, max_length=4_000)] | None = None
    """While a file of this name exists, this process publishes no active plan; checked each second."""
