"""Parent orders: terms, life cycle, executions, active schedule, halts.

Belongs here: what an order is, and its events.  `ledger` holds all
orders of a partition, `early` the events that came before their order, `codec`
their state values.  What to trade next is decided in `impactd.core.planning`.
"""
