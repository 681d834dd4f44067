"""What every room needs: settings, session, exact quantities, kernels, topics.

Enters here: a type or a rule that knows nothing of books, orders or models.
Nothing in this room imports another room.
"""
