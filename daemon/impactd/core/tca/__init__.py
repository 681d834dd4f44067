"""Transaction cost analysis: cost of fills and orders, and the bias that fills show.

Enters here: comparison of what was paid with what was expected.
"""
