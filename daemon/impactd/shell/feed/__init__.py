"""Bridges from vendors' live feeds to the ticks topic.

Belongs here: connections to vendors, and where their messages go. Messages are sent as they came; the service
decodes them.
"""
