"""Slices: what an active order takes from the prevailing book, within the minute of its plan.

Belongs here: `watch.Slicer`.  Prices come from what a side has offered recently (`supply`), net of the move that the
microprice predicts (`microprice`).
"""
