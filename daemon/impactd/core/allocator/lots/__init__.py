"""From real-valued optima to whole lots: exact integer optima and searched ones.

Belongs here: integer steps after a solve; each states the gap it may leave.
"""
