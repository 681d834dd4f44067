"""Several orders on one book: the joint problem, its solvers, the split, whole lots.

Enters here: what concerns the sum of several orders' schedules.
"""
