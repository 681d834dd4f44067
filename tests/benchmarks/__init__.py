"""Measurements: what `make bench` runs, and parts of it by themselves."""
