"""Chaos: a service of several processes is killed, frozen, cut off and moved, and must have published everything once.

- `proxy`, `cluster`: a real broker behind a TCP proxy that drops and stalls connections.
- `feed`: ticks, orders, executions and controls, generated and paced.
- `entry`, `hooks`, `variants`: ``impactd run`` with fault points, and the same broken on purpose.
- `members`: its processes, and a supervisor.
- `rounds`: what is done to them, drawn by seed.
- `journal`: progress as the journal shows it; `judge`: what must hold afterwards.

``make chaos ROUNDS=100 SEED=7``, or ``python -m tests.chaos --help``.
"""
