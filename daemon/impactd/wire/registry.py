"""Codecs of ticks by name: the one place that lists them.

A new codec is one module and one line here.  Another package adds its own by
``CODECS.register(name, cls)``, or by an entry point::

    [project.entry-points."impactd.codecs"]
    acme = "acme_impactd:AcmeCodec"
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from impactd.core.base.registry import Registry

if TYPE_CHECKING:
    from impactd.wire.content import Head
    from impactd.wire.tick_codec import TickCodec

CODECS: Final[Registry[type[TickCodec]]] = Registry(
    "codec",
    "impactd.codecs",
    {
        "capture-json": "impactd.wire.ticks.captures.codec:CaptureCodec",
        "databento-json": "impactd.wire.ticks.databento.json:DatabentoJsonCodec",
        "json": "impactd.wire.ticks.json.codec:JsonTickCodec",
        "databento-mbo-csv": "impactd.wire.ticks.dbn.mbo_csv:DatabentoMboCodec",
        "databento-mbo-json": "impactd.wire.ticks.dbn.mbo_json:DatabentoMboJsonCodec",
        "databento-mbp10-csv": "impactd.wire.ticks.databento.codec:DatabentoCodec",
        "dbn": "impactd.wire.ticks.dbn.codec:DbnCodec",
        "impactd.books/1": "impactd.wire.ticks.compact.codec:CompactCodec",
        "lobster": "impactd.wire.ticks.lobster.codec:LobsterCodec",
        "polygon-quotes-csv": "impactd.wire.ticks.tables.sip:PolygonCodec",
        "alpaca-quotes-csv": "impactd.wire.ticks.tables.sip:AlpacaCodec",
        "tardis-incremental-csv": "impactd.wire.ticks.tables.incremental:IncrementalCodec",
        "tardis-csv": "impactd.wire.ticks.tables.tardis:TardisCodec",
        "wide-csv": "impactd.wire.ticks.tables.codec:TableCodec",
        "long-csv": "impactd.wire.ticks.long_csv.codec:LongCsvCodec",
    },
)

#: The codec of records whose header and settings name none.
DEFAULT_CODEC: Final = "json"


def detect(head: Head) -> type[TickCodec] | None:
    """Return the codec of a file that begins so; None if no codec recognises it."""
    codecs = sorted((CODECS.get(name) for name in CODECS.names()), key=lambda codec: codec.fallback)
    return next((codec for codec in codecs if codec.detects(head)), None)
