"""The live page and its API: published messages, folded for readers, and only while there is a reader."""

from __future__ import annotations
