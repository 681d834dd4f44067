# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Splitting an order over the day
#
# Given a curve $g_t$ for each interval, which split of $S$ shares costs least? We minimise the total cost
# $\sum_t x_t\, g_t(x_t)$ subject to $\sum_t x_t = S$, $0 \le x_t \le \mathrm{cap}_t$. (Not $\sum_t g_t(x_t)$: that is a price per share, and adding
# prices of different quantities means nothing.)
#
# All savings here are in **hindsight**: each schedule knows the day that it is priced on.

# %%
from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd

import impactd
from impactd.core.allocator.cost import schedule_cost
from impactd.research.compare import compare_strategies, sensitivity
from impactd.research.plots import plot_allocation, plot_convergence, plot_cost_frontier

pd.set_option("display.precision", 5)

DATA = Path(os.environ.get("IMPACTD_DATA_DIR", "../../shared/data"))
recorded = sorted(DATA.glob("FROG*mbp10.csv*")) if DATA.is_dir() else []
if recorded:
    books, total = impactd.read_books(recorded[0]), 20_000
    slippage = impactd.ImpactModel().estimate_slippage(books, interval="1min")
    print(f"RECORDED data: {recorded[0].name}")
else:
    made = impactd.ImpactModel()
    books, total = made.generate_synthetic_orderbook(n_snapshots=390, n_levels=10, seed=1), 100_000
    slippage = made.estimate_slippage(books)
    print("GENERATED data (no recorded day is here): fine for the method, no evidence of accuracy")

# %% [markdown]
# ## The linear case has a closed form
#
# With $g_t = \beta_t x$ the marginal costs $2\beta_t x_t$ are equal at the optimum, so $x_t \propto 1/\beta_t$. Against equal parts the schedule
# saves $1 - \mathrm{HM}(\beta)/\mathrm{AM}(\beta)$, whatever $S$: the ratio of the harmonic to the arithmetic mean.

# %%
linear = impactd.ImpactModel("linear")
linear.fit_model(slippage)
allocator = impactd.TradeAllocator(linear, total, n_intervals=50)
result = allocator.optimize(impactd.SolverType.ANALYTICAL)
beta = allocator.problem.curve.b
closed = 1.0 - 1.0 / (np.mean(1.0 / beta) * np.mean(beta))
print(f"saving {result['improvement_pct']:.4f}%, closed form {100 * closed:.4f}%, basis: {result['improvement_basis']}")
assert np.isclose(result["improvement_pct"], 100 * closed, rtol=1e-9)

# %%
plot_allocation(allocator, result)

# %% [markdown]
# ## The trap
#
# Minimising $\sum_t g_t(x_t)$ looks similar and is a different problem. For $g_t = \beta_t x$ it is linear in $x$, so it puts everything into the interval with the
# smallest $\beta$. The last column shows what that costs.

# %%
trap = np.zeros_like(beta)
trap[np.argmin(beta)] = total
pd.DataFrame(
    {
        name: {
            "sum of g (price per share)": float(beta @ x),
            "sum of x g (currency)": schedule_cost(allocator.problem, x),
        }
        for name, x in {
            "equal parts": allocator.equal_allocation(),
            "least sum of g": trap,
            "least cost": result["optimal_allocation"],
        }.items()
    }
).T

# %% [markdown]
# ## Independent solvers agree
#
# The exact solver searches for the multiplier; the solvers of CVXPY and SciPy work without it. Each answer carries a certificate: the residual of
# the optimality conditions, which bounds the money left on the table. A solver that fails or is not installed keeps its row.

# %%
compare_strategies(slippage, total).drop(columns=["seconds"])

# %%
plot_convergence(allocator)

# %% [markdown]
# ## Other curves
#
# A curve with a quadratic term penalises large clips, so its optimum is flatter. Under the nonlinear cost the nonlinear schedule never costs more
# than the linear one. `extrapolated_pct` is the share of the order in intervals that trade more than the largest fitted size.

# %%
sensitivity(slippage, [total / 4, total / 2, total, 2 * total])

# %% [markdown]
# The same two plans, priced on the nonlinear curve:

# %%
bent = impactd.ImpactModel("nonlinear")
bent.fit_model(slippage)
rows = {}
for part in (total / 4, total, 4 * total):
    priced = impactd.TradeAllocator(bent, part, 50)
    straight = impactd.TradeAllocator(linear, part, 50).optimize(impactd.SolverType.EXACT)["optimal_allocation"]
    least = priced.optimize(impactd.SolverType.EXACT)
    cost = schedule_cost(priced.problem, straight)
    rows[f"{part:,.0f}"] = {"linear plan": cost, "nonlinear plan": least["optimal_cost"]}
    assert least["optimal_cost"] <= cost * (1 + 1e-12)
pd.DataFrame(rows).T.rename_axis("shares")

# %% [markdown]
# ## Caps
#
# A desk caps what it trades in an interval. Caps are never broken; if they cannot hold the order, there is an error that says so.

# %%
capped = impactd.TradeAllocator(linear, total, 50, max_interval_qty=1.5 * total / 50)
with_caps = capped.optimize(impactd.SolverType.EXACT)
print(f"saving with caps at 1.5 times equal parts: {with_caps['improvement_pct']:.2f}%")
try:
    impactd.TradeAllocator(linear, total, 50, max_interval_qty=0.5 * total / 50)
except impactd.OptimizationError as error:
    print(error.code, error)

# %%
plot_allocation(capped, with_caps)

# %% [markdown]
# ## Risk
#
# Waiting is cheap but risky. With a price on squared inventory (Almgren and Chriss, 2000) the schedule trades earlier; the frontier shows what
# that costs.

# %%
plot_cost_frontier(linear, total)

# %% [markdown]
# ## How much of the saving is noise?
#
# A fitted $\beta_t$ is the truth times noise, and a schedule that picks the cheap intervals picks the lucky ones. A test without any forecast: fit the even and
# the odd minutes separately, allocate by one half, and pay by the other. The minutes of each pair are neighbours, so both halves share
# the day's shape, and the saving lost between them is noise.

# %%
minutes = np.sort(slippage["time"].unique())
halves = []
for part in (0, 1):
    model = impactd.ImpactModel("linear")
    model.fit_model(slippage[slippage["time"].isin(minutes[part::2])])
    halves.append(impactd.TradeAllocator(model, total, n_intervals=100))
rows = {}
for name, plan, pay in (("even", 0, 1), ("odd", 1, 0)):
    x = halves[plan].optimize(impactd.SolverType.EXACT)
    equal = schedule_cost(halves[pay].problem, halves[pay].equal_allocation())
    rows[f"planned on {name} minutes"] = {
        "saving in hindsight (%)": x["improvement_pct"],
        "saving on the others (%)": 100 * (1 - schedule_cost(halves[pay].problem, x["optimal_allocation"]) / equal),
    }
pd.DataFrame(rows).T

# %% [markdown]
# ## What a forecast earns
#
# Less still. A schedule made in the morning does not know the afternoon's books. The service plans on a forecast and replans as minutes
# close. What that earns is measured by walking forward over recorded days (`impactd backtest`), never by the figures above.
