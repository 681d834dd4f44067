"""Several orders on one book: the joint problem, the optimum of their sum, its split, whole lots.

Belongs here: problems in the sum of several orders' schedules.
"""
