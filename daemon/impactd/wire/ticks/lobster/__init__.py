"""LOBSTER's message and orderbook files."""
