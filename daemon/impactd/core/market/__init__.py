"""Per-symbol market state: models of both sides, volume, volatility, cost bands, guard.

Enters here: what a symbol's closed minutes have taught and a plan needs to ask.
Shadow plans (`shadow`) calibrate the `bands` and feed the `guard`.
"""
