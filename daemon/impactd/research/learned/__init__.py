"""Trains what `impactd.core.model.learned` evaluates on recorded days, and reports whether it is worth it.

Days are walked by the service's own engine, so that what is trained on is what
a live forecaster sees (`samples`).  scikit-learn grows trees
(`fit`) or fits a network (`network`), which are written as arrays.  Other days test them against the default forecast
and persistence (`assess`), and by what their schedules save (`run`).
"""

from __future__ import annotations
