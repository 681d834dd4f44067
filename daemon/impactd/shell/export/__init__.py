"""What was published as tables for other programs: columns, and the sinks that take each record once.

Belongs here: tables of published records, sinks for them, and what brings the one to the other.
"""
