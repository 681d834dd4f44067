"""Impact model kinds: one module a kind, and the registry of their names.

Enters here: a curve g(q) with its constrained fit.  A new kind is one module
and one line in `registry`, and passes tests/checks/model_checks.py.
"""
