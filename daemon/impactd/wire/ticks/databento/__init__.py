"""Databento's MBP-10 schema as CSV."""
