"""Slices: what an active order takes of the book that prevails, within the minute of its plan.

Belongs here: `watch.Slicer`.  Prices come from what a side has offered lately (`supply`), net of the move that the
microprice tells (`microprice`).
"""
