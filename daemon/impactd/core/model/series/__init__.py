"""Filtered log series of spread and excess: update, regime test, readout, outlook.

Enters here: time-series filters over closed minutes, in log levels.
"""
