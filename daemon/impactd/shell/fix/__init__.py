"""FIX: orders and executions in, execution reports out, by the standard's own messages.

Belongs here: what a FIX message means in our records (`tags`), the life of an order as its sender sees it (`reports`),
the state of sessions (`sessions`), and the gateway between QuickFIX and the broker (`gateway`).  All but the last know
neither QuickFIX nor Kafka.
"""
