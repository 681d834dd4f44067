"""Soak: the service at a fixed rate for a chosen time; whether it grows, and how long orders and minutes wait.

``make soak RATE=20000 MINUTES=10``, or ``python -m tests.soak --help``.
"""
