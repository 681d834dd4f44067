"""The pure core: events in, messages out.

Nothing in this package reads a clock, a file, a socket, the environment or a
random number, and nothing in it logs.  Time reaches it only inside events, so
that the same events in the same order give the same bytes out.
"""
