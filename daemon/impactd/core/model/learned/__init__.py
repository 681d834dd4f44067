"""Trained correction of the forecast: features, trees, a network, and the forecaster around the default one.

Belongs here: inference only.  Training is in `impactd.research.learned`.
"""
