"""Inputs of the core: tick batches, order events, and the inbox that fixes their order within a commit.

Belongs here: input types, the merge rule, idle moves, and feed-quality alerts.
Inputs are checked for form in `impactd.wire`; books are checked in `impactd.core.books`.
"""
