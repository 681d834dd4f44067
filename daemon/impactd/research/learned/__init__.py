"""Trains the trees of `impactd.core.model.learned.trees` on recorded days, and reports whether they are worth it.

Days are walked by the service's own engine, so that what is trained on is what
a live forecaster sees (`samples`).  scikit-learn grows the trees and they are
written as arrays (`fit`).  Other days test them against the default forecast
and persistence (`assess`), and by what their schedules save (`run`).
"""

from __future__ import annotations
