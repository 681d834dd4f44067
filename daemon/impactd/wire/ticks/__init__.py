"""Codecs of ticks: one package a format, and the compiled readers that they share.

Enters here: what turns the bytes of books and trades into a `TickBatch`.
"""
