"""The schedule of least cost: problem, cost, solvers, certificate, whole lots.

The path of a solve: `problem` states it, `solvers` find the real-valued optimum,
`certificate` proves it, `lots` round it exactly; `joint` does so for several
orders on one book.  Belongs here: optimisation over intervals, in shares and
currency.  Nothing here depends on parent orders, events or messages.
"""
