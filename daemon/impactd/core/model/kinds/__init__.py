"""Impact model kinds: one module per kind, and the registry of their names.

Belongs here: a curve g(q) with its constrained fit.  A new kind is one module
and one line in `registry`, and passes tests/checks/model_checks.py.
"""
