"""Messages that the core publishes, one frozen dataclass per record, and the outbox that collects them.

Belongs here: a published message with its fields, units and meanings.
Bytes are made in `impactd.wire.records`, topics are in `impactd.core.base.topics`.
"""
