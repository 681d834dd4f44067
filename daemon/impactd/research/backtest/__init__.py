"""The backtest: schedules priced on recorded books, walking forward.

- `impactd.core.books.interval_cost`: which book prevailed when, and what a walk of any size cost in each interval;
- `impactd.research.backtest.days`: recorded files as one tape per symbol;
- `impactd.research.backtest.windows`: the orders that are tried;
- `impactd.research.backtest.live`: the service's own engine, forked at each order's start;
- `impactd.research.backtest.policies`: what the engine is measured against, and the hindsight optimum;
- `impactd.research.backtest.capture`: shares of the hindsight saving, with intervals;
- `impactd.research.backtest.run`: all of it, on all cores.
"""
