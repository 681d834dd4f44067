"""From an order and its market to a plan: caps, proposal, gate, and when a plan is replaced.

The way of a plan: `intervals` and `caps` state what may trade when, `propose`
(or `propose_group`) solves, `gate` limits, `replan` decides and publishes.
Belongs here: what turns order terms into bounds of the optimisation.
"""
