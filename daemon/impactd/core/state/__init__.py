"""The saved state of a partition: keys, schema, identity, snapshot, and what one commit publishes.

Belongs here: rules of what is saved and under which settings it may be
continued.  Each room writes the values of its own keys.
"""
