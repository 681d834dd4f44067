"""Tests of the impact model."""

from __future__ import annotations
