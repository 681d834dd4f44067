"""The impact model of one symbol and side: measure, fit, filter, forecast.

The path of a minute: `measure` reads levels from the closed minute, `kinds` fit
the curve, `series` filter its levels over the `profile`, `forecaster` returns
the coefficients of the intervals ahead as `curves`.
Belongs here: estimation and forecast.  Nothing here knows of orders.
"""
