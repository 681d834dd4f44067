"""Profile of spread, excess and volume over the session, and how it is learned over days.

Belongs here: what depends on the time of day alone.
"""
