"""Messages that the core publishes, one frozen dataclass a record, and the outbox that collects them.

Enters here: a published message with its fields, units and meanings.
Bytes are made in `impactd.wire.records`, topics are in `impactd.core.base.topics`.
"""
