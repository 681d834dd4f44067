"""Profile of spread, excess and volume over the session, and how it is learned over days.

Enters here: what depends on the time of day alone.
"""
