"""Messages of venues and vendors as they were captured, one JSON object per line.

A further venue is one function in `impactd.wire.ticks.captures.venues`, and its place in the tuple there.
"""
