"""Vendors' quotes and books, behind one interface.

A source turns records of one vendor, in the shape in which its API or files
give them, into books in the long form (`impactd.research.frames`), and fetches
them with the vendor's own client.  `SOURCES` lists ours; another package adds its
own by ``SOURCES.register(name, cls)``, or by an entry point::

    [project.entry-points."impactd.sources"]
    acme = "acme_impactd:AcmeSource"

Shapes are recorded ones with the vendors' documented field names; no vendor's
client is needed to read them, and none is imported before `Source.fetch`.
Rules for all:

- A book is in force until the instrument's next record, regardless of records of others
  in between; data of several instruments have a ``symbol`` column.
- A side that becomes empty is empty: an old book does not stay in force
  because its successor has no bids or no asks.
- Times are exact to the nanosecond where the vendor gives nanoseconds.
"""

from __future__ import annotations

from impactd.research.sources.base import SOURCES, Source, source, source_names
from impactd.research.sources.read import fetch_source, read_source
from impactd.research.sources.snapshots import Snapshots

__all__ = ["SOURCES", "Snapshots", "Source", "fetch_source", "read_source", "source", "source_names"]
