"""Bytes to events and messages to bytes: one codec per file, all pure."""
