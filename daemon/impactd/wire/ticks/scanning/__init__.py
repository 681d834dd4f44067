"""Compiled readers of numbers, times and symbols that text codecs share."""
