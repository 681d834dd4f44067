"""One liquidity level as a log series: mean, nowcast, and outlook.

Belongs here: `series.LevelSeries` and its arithmetic.  Nothing here knows of books or kinds of model.
"""
