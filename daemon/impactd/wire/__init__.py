"""Bytes to events and messages to bytes: one codec a file, all pure."""
