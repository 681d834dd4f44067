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
# notebook goes from books to curves, fits them, and asks what such a model can tell about intervals that it has not seen.
#
# Costs are per share over mid; positive is a loss, for buys and sells alike.

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
# The long form has one row per level. Everything that impactd reads comes in this form, including what you convert from your own feed
# (`impactd.convert_live_data_to_system_format` for quotes, `impactd convert` for vendors' files).

# %%
print(f"{books['time'].nunique():,} books from {books['time'].min()} to {books['time'].max()}")
books.head(6)

# %% [markdown]
# ## What sizes cost, minute by minute
#
# With an interval, each book counts for as long as it prevailed, not once per update: the estimate of a minute equals what the service
# publishes for it, to the last bit. `coverage` is the share of time in which the books held the size. If it is below one, the mean over
# the rest is a mean of deep books only and biased low. The fits leave such cells out, and `lower_bound`
# prices the missing part at the last visible level.

# %%
slippage = impactd.ImpactModel().estimate_slippage(books, interval="1min")
print(f"{slippage['time'].nunique():,} minutes; snapshots left out: {slippage.attrs['rejected'] or 'none'}")
buy = slippage[slippage["side"] == "buy"]
full = buy["coverage"] >= 0.95
print(f"{100 * full.mean():.1f}% of the cells were held for at least 95% of their minute")
buy.groupby("time").tail(1)[["time", "size", "slippage", "coverage", "lower_bound", "half_spread", "mid"]].head()

# %% [markdown]
# ## Two common mistakes
#
# **Ignoring censoring.** The first column is the share of books that hold the size, the second the mean over those alone: a mean of deep books.
# The third prices all books, with everything beyond the visible depth at the last visible level, and is therefore still too low. Where the second is
# below the third, it is not even a possible value. Curves built from it bend the wrong way.
#
# **Counting ticks instead of time.** A book that prevailed for a minute and one that prevailed for a millisecond are one row each. Feeds are busiest when
# something happens, and an order spread evenly over the minute does not meet books in that proportion.

# %%
walked = impactd.ImpactModel().estimate_slippage(books, [100, 300, 1_000, 3_000])
walked = walked[walked["side"] == "buy"]
stood = walked.groupby("size")["time"].transform(lambda t: (t.shift(-1) - t).dt.total_seconds()).fillna(0.0)
by_size = walked.assign(stood=stood).groupby("size")
pd.DataFrame(
    {
        "books that hold it (%)": by_size["coverage"].mean() * 100,
        "mean over these": by_size["slippage"].mean(),
        "lower bound, all books": by_size["lower_bound"].mean(),
        "the same, time-weighted": by_size.apply(lambda rows: np.average(rows["lower_bound"], weights=rows["stood"])),
    }
)

# %% [markdown]
# ## Which form of curve?
#
# Every minute and side gets its own curve, by constrained least squares (coefficients cannot be negative). The scores leave sizes out:
# they show whether the *form* fits. `test_r2_unseen_times` leaves whole minutes out and predicts them by the mean curve of the others: it shows how
# little a model without any notion of time can tell about another minute.

# %%
chosen, scores = choose_model(slippage)
print(f"least error on sizes left out: {chosen}")
scores

# %% [markdown]
# Real curves do not pass through the origin: every size pays half the spread. The original linear form
# `g = beta x` reaches an R2 above 0.8 on generated books, whose curves have that form, but not on a recorded day.

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
# Wide and thin at the open, tight and deep toward the close. A schedule can use this shape, but not the noise around it.

# %%
plot_coefficient(model, term="eta" if kind == "power" else "beta")

# %% [markdown]
# ## Spread and slope move separately
#
# A curve is the half-spread plus the excess above it. We take the excess at one size, so that all kinds of curve can be compared. The
# autocorrelation of the logarithms shows how fast the present loses its value for the future. It decides how much of an expensive minute
# a forecast may carry forward. And if both moved together, one series would be enough.

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
# ## How much of a later minute can be forecast?
#
# Three forecasts of the excess (in logs), each made with what was known at the time: the mean of the day so far, the last minute, and a
# blend that carries forward a third of the last deviation. The last minute alone is the worst: most of its deviation is gone by the time it would be used.

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
# ## Conclusions
#
# - A curve needs its spread, weights by time, and no censored sizes.
# - The form of the curve matters less than the time of day.
# - An expensive minute tells little about the one after next: forecasts rely on the day's shape and carry little forward.
# - A fit in hindsight is not a forecast. The second notebook allocates with hindsight and says so.
