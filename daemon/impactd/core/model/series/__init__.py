"""One liquidity level as a log series: mean, nowcast, and what it expects of the intervals ahead.

Enters here: `series.LevelSeries` and its arithmetic.  Nothing here knows of books or kinds of model.
"""
