"""Several orders on one book: the joint problem, the optimum of their sum, its split, whole lots.

Belongs here: what concerns the sum of several orders' schedules.
"""
