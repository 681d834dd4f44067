"""Shared by all rooms: settings, session, exact quantities, kernels, topics.

Belongs here: types and rules that do not depend on books, orders or models.
Nothing in this room imports another room.
"""
