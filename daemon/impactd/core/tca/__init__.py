"""Transaction cost analysis: cost of fills and orders, and the bias that fills show.

Belongs here: comparison of realised with expected cost.
"""
