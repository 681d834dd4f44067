"""Order books of a partition's symbols: checks, walks, minute accumulators.

The path of a row: `checks` accepts or rejects the book, `walk` prices the size
grid, `aggregator` adds it to the open minute, `minute` closes the minute.
Belongs here: what reads book levels.  Nothing here knows of models or orders.
"""
