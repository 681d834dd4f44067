"""Schedules: how much to trade in each interval so that it costs least."""
