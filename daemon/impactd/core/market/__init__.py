"""Per-symbol market state: models of both sides, volume, volatility, cost bands, guard.

Belongs here: what plans need of a symbol's closed minutes.
Shadow plans (`shadow`) calibrate the `bands` and feed the `guard`.
"""
