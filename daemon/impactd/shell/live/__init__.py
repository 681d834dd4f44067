"""The live page and the API behind it: what was published, folded for people to look at, and only while they do."""

from __future__ import annotations
