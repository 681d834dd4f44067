"""Plans derived again from the journal and its inputs, and compared with what was published.

Belongs here: readers of journals and captures, and the derivation.
"""
