"""Parent orders: terms, life cycle, executions, schedule in force, halts.

Enters here: what an order is and what has happened to it.  `ledger` holds all
orders of a partition, `early` the events that came before their order, `codec`
their state values.  What to trade next is decided in `impactd.core.planning`.
"""
