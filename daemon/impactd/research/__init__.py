"""Research over the same core as the service: generated data, and what is studied with recorded days.

What a caller can correct is a `ResearchError` with its code (`impactd.research.errors`); the docstrings of the batch
API name the codes.
"""
