"""Solvers of the real-valued problem: one module each, and the registry of their names.

Belongs here: a class with the `Solver` protocol of `base`.  A new solver is one
module and one line in `registry`, and passes tests/checks/solver_checks.py.
"""
