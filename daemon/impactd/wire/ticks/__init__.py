"""Tick codecs: one package per format, and the compiled readers that they share.

Belongs here: what turns the bytes of books and trades into a `TickBatch`.
"""
