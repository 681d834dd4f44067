"""Databento Binary Encoding (DBN), versions 1 to 3: books, quotes and trades.

Belongs here: the layout of DBN and its compiled reader.  Records mean the same as in Databento's CSV
(`impactd.wire.ticks.databento.codec`).
"""
