"""The pure core: events in, messages out.

Nothing here reads a clock, a file, a socket, the environment or a random
number, and nothing logs.  Time reaches the core only inside events, so the
same events in the same order give the same bytes.

The rooms, each above all that it uses (import-linter enforces the order)::

    engine      one partition's state machine
    desk        orders, executions and controls, and when to plan
    slices      what an active order takes of the book within the minute of its plan
    planning    from an order and a market to a published plan
    tca         cost of fills and orders, and what fills teach the model
    market      per-symbol state: models, volume, volatility, bands, guard
    allocator   the optimisation problem, its solvers, certificate and lots
    model       impact model, filters, profile, forecast
    state       the partition's saved state, identity, snapshot, commit
    orders      parent orders and their ledger
    books       book checks, walks, minute accumulators
    inputs      events and ticks, and their order within a commit
    outputs     messages that the core publishes
    base        settings, session, quantities, kernels, topics
"""
