"""Books that are built from changes: of levels, and of single orders.

A book prevails only while every change of it is known. Where one is missing it ends, and the next snapshot begins it
again; nothing is guessed in between.
"""
