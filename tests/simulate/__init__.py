"""Bad days in virtual time: several processes of the service, a cluster and a network in one thread, from one seed.

- `clock`: an event loop whose clock jumps to the next event; processes that are killed and frozen in it; their threads.
- `cluster`: a model of what the service relies on in Kafka: logs, transactions, groups.
- `clients`: the transport protocol on that model, over a network that delays, reorders and loses.
- `world`: the real service on it, as several processes.
- `days`: what happens to them, drawn by seed; `verdict`: what must hold afterwards.
- `variants`: the service with one promise broken, which must be found.
- `histories`: scripts that the model and a real broker must answer alike.

``make simulate SEEDS=1000``, or ``python -m tests.simulate --help``.
"""
