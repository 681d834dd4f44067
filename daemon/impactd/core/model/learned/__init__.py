"""Trained correction of the forecast: features, trees, and the forecaster around the default one.

Enters here: inference only.  Training is in `impactd.research.learned`.
"""
