"""Vendors' quotes and books, behind one interface.

A source turns records of one vendor, in the shape in which its API or files
give them, into books in the long form (`impactd.research.frames`), and fetches
them with the vendor's own client.  Ours are Polygon, LSEG (Refinitiv) and
Bloomberg; others are found by the entry point group `GROUP`, whose names a
user then gives like ours::

    [project.entry-points."impactd.sources"]
    acme = "acme_impactd:AcmeSource"

Shapes are recorded ones with the vendors' documented field names; no vendor's
client is needed to read them, and none is imported before `Source.fetch`.
Rules for all:

- What an instrument's records say stands until its next record, whatever comes
  for others in between; several instruments are told apart by a ``symbol`` column.
- A side that has become empty is an empty side: an old book never goes on
  standing because its successor has no bids or no asks.
- Times are exact to the nanosecond where the vendor gives nanoseconds.
"""

from __future__ import annotations

from impactd.research.sources.base import GROUP, Source, source, source_names
from impactd.research.sources.read import fetch_source, read_source
from impactd.research.sources.snapshots import Snapshots

__all__ = ["GROUP", "Snapshots", "Source", "fetch_source", "read_source", "source", "source_names"]
