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
# # From order books to an impact model
#
# What does it cost to take *q* shares at once? Walking the visible book answers exactly, as long as the book holds *q*. This
# notebook goes from books to curves, fits them, and asks what such a model knows about intervals that it has not seen.
#
# Costs are per share over mid, positive for money lost, whatever the side.

# %%
from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd

import impactd
from impactd.research.compare import MODELS, choose_model
from impactd.research.plots import plot_coefficient, plot_impact_curves

pd.set_option("display.precision", 5)

DATA = Path(os.environ.get("IMPACTD_DATA_DIR", "../../shared/data"))
recorded = sorted(DATA.glob("FROG*mbp10.csv*")) if DATA.is_dir() else []
if recorded:
    books = impactd.read_books(recorded[0])
    name = recorded[0].name
    print(f"RECORDED data: {name}")
else:
    books = impactd.ImpactModel().generate_synthetic_orderbook(n_snapshots=2_000, n_levels=10, seed=1)
    name = "generated"
    print("GENERATED data (no recorded day is here): fine for the method, no evidence of accuracy")

# %% [markdown]
# ## The books
#
# The long form has a row a level. Everything that impactd reads comes in this form, and so does what you convert from your own feed
# (`impactd.convert_live_data_to_system_format` for quotes, `impactd convert` for vendors' files).

# %%
print(f"{books['time'].nunique():,} books from {books['time'].min()} to {books['time'].max()}")
books.head(6)

# %% [markdown]
# ## What sizes cost, minute by minute
#
# With an interval, a book counts for as long as it stood, not once for each update: the estimate of a minute is what the service itself
# publishes for it, to the last bit. `coverage` is the share of the time in which the books held the size. Where it is below one, the mean over
# the rest would be the mean of the deep books only, and biased low: such cells are kept out of the fits, and `lower_bound`
# prices the missing part at the last visible level.

# %%
slippage = impactd.ImpactModel().estimate_slippage(books, interval="1min")
print(f"{slippage['time'].nunique():,} minutes; snapshots left out: {slippage.attrs['rejected'] or 'none'}")
buy = slippage[slippage["side"] == "buy"]
full = buy["coverage"] >= 0.95
print(f"{100 * full.mean():.1f}% of the cells were held for at least 95% of their minute")
buy.groupby("time").tail(1)[["time", "size", "slippage", "coverage", "lower_bound", "half_spread", "mid"]].head()

# %% [markdown]
# ## Two ways of getting this wrong
#
# **Forgetting what was censored.** The first column is how many books hold the size, the second the mean over these alone: a mean of the deep books.
# The third prices all books, what is beyond the visible depth at the last visible level, and is therefore still too low. Where the second lies
# below the third, it is not even a possible value. Curves built from it bend the wrong way.
#
# **Counting ticks in place of time.** A book that stood for a minute and one that stood for a millisecond are one row each. Feeds are busiest when
# something happens, and an order that is spread evenly over the minute does not meet the books so.

# %%
walked = impactd.ImpactModel().estimate_slippage(books, [100, 300, 1_000, 3_000])
walked = walked[walked["side"] == "buy"]
stood = walked.groupby("size")["time"].transform(lambda t: (t.shift(-1) - t).dt.total_seconds()).fillna(0.0)
by_size = walked.assign(stood=stood).groupby("size")
pd.DataFrame(
    {
        "books that hold it (%)": by_size["coverage"].mean() * 100,
        "mean of these": by_size["slippage"].mean(),
        "lower bound, all books": by_size["lower_bound"].mean(),
        "the same by time": by_size.apply(lambda rows: np.average(rows["lower_bound"], weights=rows["stood"])),
    }
)

# %% [markdown]
# ## Which form of curve?
#
# Every minute and side gets a curve of its own, by constrained least squares (coefficients cannot be negative). The scores leave sizes out:
# they say whether the *form* fits. `test_r2_unseen_times` leaves whole minutes out and predicts them by the mean curve of the others: it says how
# much a model without any notion of time knows of another minute, which is little.

# %%
chosen, scores = choose_model(slippage)
print(f"least error on sizes left out: {chosen}")
scores

# %% [markdown]
# Through the origin, real curves do not go: half the spread is paid whatever the size. The original linear form
# `g = beta x` gets its R2 above 0.8 on generated books, whose curves are of that form, and not on a recorded day.

# %%
kind, intercept = MODELS[chosen]
model = impactd.ImpactModel(kind, impactd.ModelConfig(intercept=intercept))
fit = model.fit_model(slippage)
{key: fit["params"][key] for key in ("kind", "intercept", "half_spread", "beta", "alpha", "eta", "delta")}

# %%
plot_impact_curves(slippage, model, side="buy")

# %% [markdown]
# ## The day has a shape
#
# Wide and thin at the open, tight and deep toward the close. This shape, not the noise around it, is what a schedule can use.

# %%
plot_coefficient(model, term="eta" if kind == "power" else "beta")

# %% [markdown]
# ## Spread and slope are two things
#
# A curve is the half-spread and what comes on top of it, the excess. We take the excess at one size, so that all kinds of curve compare. The
# autocorrelation of the logarithms says how fast what is seen now stops telling about later. It decides how much of an expensive minute
# a forecast may carry forward; and if both moved as one, one series would do.

# %%
one = fit["params"]["intervals"].query("side == 'buy'").set_index("time")
q = 300.0
delta = fit["params"]["delta"] or 1.0
one = one.assign(excess=one["beta"] * q + one["alpha"] * q**2 + one["eta"] * q**delta)
log = np.log(one[["half_spread", "excess"]].where(lambda values: values > 0.0))
lags = [1, 5, 15, 30, 60]
print(f"correlation of both: {log['half_spread'].corr(log['excess']):+.2f} over {len(log.dropna()):,} minutes")
pd.DataFrame(
    {f"log {name}": [log[name].autocorr(lag) for lag in lags] for name in log},
    index=pd.Index([f"{lag} min" for lag in lags], name="lag"),
)

# %% [markdown]
# ## How much of a later minute is known?
#
# Three forecasts of the excess (in logs) so many minutes ahead, each made with what was known then: the mean of the day so far, the last minute as it was, and a
# blend that carries a third of the last deviation. The last minute alone is the worst: most of what sets it apart has gone when it would be used.

# %%
excess = log["excess"].dropna()
so_far = excess.expanding(min_periods=30).mean()
rows = {}
for lag in (1, 5, 15, 30):
    later = excess.shift(-lag)
    said = {"day so far": so_far, "last minute": excess, "blend": so_far + (excess - so_far) / 3.0}
    there = so_far.notna() & later.notna()
    rows[f"{lag} min"] = {name: float(np.sqrt(((f - later)[there] ** 2).mean())) for name, f in said.items()}
pd.DataFrame(rows).T.rename_axis("error ahead (log)")

# %% [markdown]
# ## What to take away
#
# - A curve needs its spread, its censored sizes kept out, and weights by time.
# - The form is the smaller question; the time of day is the larger one.
# - An expensive minute says little about the one after next: forecasts lean on the day's shape and carry little forward.
# - What a fit knows in hindsight is not what a forecast earns. The second notebook allocates with hindsight and says so.
