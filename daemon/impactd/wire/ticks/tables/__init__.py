"""Tables of books and trades: one row per book or a print, in any vendor's names and order of columns.

A dialect is one file here with a class derived from `impactd.wire.ticks.tables.codec.TableCodec`, and one line in
`impactd.wire.registry`.
"""
