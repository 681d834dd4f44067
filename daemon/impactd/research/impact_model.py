"""The batch API's impact model: books in, slippage, curves and predictions out.

Each interval of a history has its own curve ``g_t``, by side; `predict_impact`
and `TradeAllocator` read off these.  Walks and minutes are the service's own
(`impactd.core.books.walk`, `impactd.core.books.aggregator`), fits those of
`impactd.core.model`.

Two scores, which answer two questions:

- ``test_r2``: sizes that a fit has not seen, in the intervals that it has.  It
  shows whether the form of the curve is right, on which a hindsight
  schedule depends.
- ``test_r2_unseen_times``: intervals that a fit has not seen, a fifth at a
  time, from the one curve through all others, by side.  It shows how much of another minute a curve without time of
  day explains.  The
  rest is not a wrong form but the change of spread and depth over the day, which a single curve ignores: about 0.2 on
  generated books, where
  most of what cells differ by is their time, and below 0 where the left out
  minutes are more expensive or cheaper than the others by more than sizes differ
  among themselves.  A low value is a reason to forecast by the time of day
  (`impactd.core.model.curves`), not to choose another kind of curve.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from impactd.core.base.settings import BookSettings
from impactd.core.books.walk import walk_curves
from impactd.core.inputs.ticks import Float
from impactd.research.errors import MALFORMED, TOO_LITTLE_DATA, ModelFittingError, NothingUsableError, ValidationError
from impactd.research.fitted import (
    BASES,
    DEFAULT_TYPE,
    LEAST_ORIGIN_R2,
    DefaultType,
    FittedModel,
    fit_history,
    model_types,
)
from impactd.research.frames import COLUMNS, MAX_LEVELS, ROW_BYTES, Books, long_form, require_columns
from impactd.research.generator import GeneratorSpec, regular_snapshots
from impactd.research.minutes import closed_minutes
from impactd.research.options import ModelConfig, check_count
from impactd.research.progress import progress
from impactd.research.slippage_table import Parts, Walked, checked_sizes, default_sizes, joined

logger = logging.getLogger("impactd.research")

#: Bytes of a row of `ImpactModel.estimate_slippage`'s result.
_RESULT_ROW_BYTES: Final = 80


class ImpactModel:
    """Temporary impact by interval and side.

    Parameters
    ----------
    model_type : str
        'linear' ``g = beta x``; 'nonlinear' ``g = alpha x^2 + beta x``; and the
        service's 'quadratic' and 'power', which have a half-spread
        (`ModelConfig.intercept`).  Where none is named, `fit_model` takes the line
        through the origin if it fits the sizes left out of it, as on generated
        books, and else what does best there of a line, 'quadratic' and 'power',
        each with a half-spread; the result states which, and why.

    Raises
    ------
    ValidationError
        1001 if there is no such model.

    Examples
    --------
    >>> model = ImpactModel("linear")
    >>> books = model.generate_synthetic_orderbook(n_snapshots=50, n_levels=10)
    >>> len(books), list(books.columns)
    (1000, ['time', 'side', 'price', 'size', 'level'])
    >>> slippage = model.estimate_slippage(books)
    >>> result = model.fit_model(slippage)
    >>> result["metrics"]["test_r2"] > 0.8
    True
    >>> model.predict_impact([100.0, 200.0]).shape
    (2,)
    """

    def __init__(self, model_type: str = DEFAULT_TYPE, config: ModelConfig | None = None) -> None:
        if model_type not in model_types():
            raise ValidationError(
                MALFORMED, f"model_type: {model_type!r} is not a model", f"give one of {', '.join(model_types())}"
            )
        if config is not None and not isinstance(config, ModelConfig):
            raise ValidationError(MALFORMED, f"config: {config!r} cannot be used", "give a ModelConfig")
        self.model_type = model_type
        self.config = config or ModelConfig()
        self._fitted: FittedModel | None = None

    @property
    def fitted(self) -> FittedModel:
        """The curves of the last fit.

        Raises
        ------
        ModelFittingError
            2001 before any fit.
        """
        if self._fitted is None:
            raise ModelFittingError(TOO_LITTLE_DATA, "model: nothing has been fitted", "call fit_model first")
        return self._fitted

    # -- books --------------------------------------------------------------------------------------------------------

    def generate_synthetic_orderbook(
        self, n_snapshots: int = 100, n_levels: int = 10, *, seed: int | None = None
    ) -> pd.DataFrame:
        """Return generated books at equal times of one session, in the long form.

        Spread and depth change over the day as on real ones: wide and thin at
        the open, deep at the close.  For tests and demonstrations, never for a
        claim of accuracy.

        Parameters
        ----------
        n_snapshots, n_levels : int
            At least one; levels at most 100.
        seed : int, optional
            Instead of the configuration's; the same gives the same books.

        Returns
        -------
        DataFrame
            ``2 * n_levels`` rows a snapshot: time (UTC), side, price, size, level (0 is the best).

        Raises
        ------
        ValidationError
            1001 if it cannot be made, or not within the memory limit.
        """
        check_count("n_snapshots", n_snapshots, 1, 10_000_000)
        check_count("n_levels", n_levels, 1, 100)
        self._check_memory(
            n_snapshots * n_levels * 2 * ROW_BYTES // 2, "the table", "ask for fewer snapshots or levels"
        )
        chosen = self.config.seed if seed is None else seed
        with progress("generating books", 1, shown=self.config.progress_logging) as step:
            try:
                spec = GeneratorSpec(
                    snapshots=int(n_snapshots),
                    levels=int(n_levels),
                    seed=chosen,
                    base_price=self.config.base_price,
                    noise=self.config.volatility_factor,
                )
            except (ValueError, TypeError) as error:
                raise ValidationError(MALFORMED, str(error), "see the field's range") from error
            ts, books = regular_snapshots(spec)
            step(1)
        logger.info("generated %d books of %d levels, seed %d", n_snapshots, n_levels, chosen)
        time = pd.DatetimeIndex(pd.to_datetime(ts, utc=True), name="time")
        return long_form(time, books.bid_px, books.bid_sz, books.ask_px, books.ask_sz)

    # -- slippage -----------------------------------------------------------------------------------------------------

    def estimate_slippage(
        self,
        orderbook_data: pd.DataFrame,
        trade_sizes: Iterable[float] | None = None,
        *,
        interval: str | pd.Timedelta | None = None,
        books: BookSettings | None = None,
    ) -> pd.DataFrame:
        """Return what it costs to walk the books.

        Parameters
        ----------
        orderbook_data : DataFrame
            Long form, one symbol; one level is enough.
        trade_sizes : iterable of float, optional
            Shares.  By default they follow the visible depth: sixteen equal
            steps up to three quarters of the thinner side's mean, or with
            `interval` the service's own grid.
        interval : str or Timedelta, optional
            Such as "1min": estimates by interval, each book weighted by how
            long it stood, exactly as the service has them.  By default each
            snapshot is an interval of its own.
        books : BookSettings, optional
            Further rules of the service for `interval`, such as `max_book_age_ns`.

        Returns
        -------
        DataFrame
            A row a (time, side, size): ``slippage``, price per share over mid,
            NaN where no book held the size; ``coverage``, the share of the time
            in which books did; ``lower_bound``, with what is beyond the visible
            depth at its last price; ``half_spread`` and ``mid``.  Times without
            a usable book have no row; ``.attrs["rejected"]`` counts the
            snapshots that were left out, by reason.

        Raises
        ------
        ValidationError
            1001 malformed input or a result beyond the memory limit, 1002 missing columns.
        """
        table = require_columns(orderbook_data, COLUMNS, "orderbook_data")
        if "symbol" in table.columns and table["symbol"].nunique() > 1:
            raise ValidationError(MALFORMED, "symbol: the table holds several", "give one symbol's rows")
        sizes = None if trade_sizes is None else checked_sizes(trade_sizes)
        rejected: dict[str, int] = {}
        parts = self._parts(table, rejected)
        if interval is not None:
            result = self._by_interval(parts, sizes, interval, books)
        else:
            result = self._by_snapshot(parts, sizes)
        if rejected:
            logger.warning("left out unusable snapshots: %s", rejected)
        if result is None:
            reasons = ", ".join(f"{name} {count}" for name, count in rejected.items())
            raise NothingUsableError(
                MALFORMED,
                f"orderbook_data: no usable two-sided book ({reasons or 'a side is empty'})",
                "check the data",
            )
        result.attrs["rejected"] = dict(rejected)
        return result

    def _parts(self, table: pd.DataFrame, rejected: dict[str, int]) -> list[Books] | Parts:
        """Return the table's books, at once where they fit into half of the limit."""
        parts = Parts(table, self.config.memory_limit_bytes // 4, rejected, shown=self.config.progress_logging)
        return list(parts) if len(table) * ROW_BYTES <= self.config.memory_limit_bytes // 4 else parts

    def _by_snapshot(self, parts: list[Books] | Parts, sizes: Float | None) -> pd.DataFrame | None:
        if sizes is None:
            sizes = default_sizes(parts)
            if sizes is None:
                return None
        walked: list[Walked] = []
        n_rows = 0
        for books in parts:
            n_rows += len(books) * 2 * len(sizes)
            self._check_memory(
                n_rows * _RESULT_ROW_BYTES,
                "the result",
                'give fewer trade_sizes, or interval="1min" for estimates by minute',
            )
            curves = walk_curves(books.bid_px, books.bid_sz, books.ask_px, books.ask_sz, sizes)
            coverage = curves.full.astype(np.float64)
            walked.append(
                Walked(books.time, sizes, curves.g, coverage, curves.lower_bound, curves.half_spread, curves.mid)
            )
        tables = [part.table() for part in walked if len(part.time)]
        return pd.concat(tables, ignore_index=True) if len(tables) > 1 else next(iter(tables), None)

    def _by_interval(
        self, parts: Iterable[Books], sizes: Float | None, interval: str | pd.Timedelta, books: BookSettings | None
    ) -> pd.DataFrame | None:
        try:
            interval_ns = pd.Timedelta(interval).value
        except (ValueError, TypeError) as error:
            raise ValidationError(
                MALFORMED, f"interval: {interval!r} is not a duration", 'give one such as "1min"'
            ) from error
        settings = replace(books or BookSettings(), interval_ns=interval_ns, max_levels=MAX_LEVELS)
        if sizes is not None:
            settings = replace(settings, sizes=tuple(sizes.tolist()))
        try:
            minutes = closed_minutes(parts, settings)
        except ValueError as error:
            raise ValidationError(MALFORMED, str(error), "see impactd.core.base.settings.BookSettings") from error
        if not minutes:
            return None
        tables = [
            Walked(
                pd.DatetimeIndex(pd.to_datetime([stats.minute], utc=True)),
                stats.sizes,
                stats.slippage[None],
                stats.coverage[None],
                stats.lower_bound[None],
                np.array([stats.half_spread], np.float64),
                np.array([stats.mid], np.float64),
            )
            for stats in minutes
        ]
        return joined(tables)

    def _check_memory(self, n_bytes: int, what: str, remedy: str) -> None:
        if n_bytes > self.config.memory_limit_bytes:
            raise ValidationError(
                MALFORMED,
                f"memory_limit_mb: {self.config.memory_limit_mb:g}, and {what} needs about {n_bytes / 1e6:,.0f}",
                f"{remedy}, or raise memory_limit_mb",
            )

    # -- fit and prediction -------------------------------------------------------------------------------------------

    def fit_model(self, slippage_data: pd.DataFrame) -> dict[str, Any]:
        """Fit a curve to each interval and side.

        Parameters
        ----------
        slippage_data : DataFrame
            As `estimate_slippage` returns it: time, side ('buy' or 'sell'),
            size, slippage, and coverage if known.  Cells held for less than
            95% of the time are left out: the books that held them were deep ones.

        Returns
        -------
        dict
            ``metrics``: test_r2 (sizes left out, cross-validated by
            scikit-learn), cv_scores (the same by fold), train_r2, rmse (of sizes
            left out, price per share), test_r2_within (the median interval's own
            R2 at sizes left out), test_r2_unseen_times (None with one
            interval), model (the type that was fitted), intercept (whether it has
            a half-spread), basis (why: a key of `impactd.research.fitted.BASES`),
            rmse_by_model (of those tried where none was named), fits (False: a
            curve through the origin that does not fit sizes left out),
            n_intervals, n_cells, n_dropped (intervals with too few sizes).
            ``params``: the mean curve (half_spread, beta, alpha, eta,
            delta; None where the kind has no such term), by side under buy and
            sell, and ``intervals``, a DataFrame with every interval's.

        Raises
        ------
        ValidationError
            1001 malformed input, 1002 missing columns.
        ModelFittingError
            2001 too little data, 2002 no usable fit.
        """
        with progress("fitting curves", 1, shown=self.config.progress_logging) as step:
            fitted, metrics = fit_history(slippage_data, self.model_type, intercept=self.config.intercept)
            step(1)
        self._fitted = fitted
        logger.info("fitted %s to %d intervals, test R2 %.3f", fitted.kind, metrics["n_intervals"], metrics["test_r2"])
        self.model_type = metrics["model"] if isinstance(self.model_type, DefaultType) else self.model_type
        if metrics["basis"] == "least_error":
            logger.info("%s with a half-spread: %s", metrics["model"], BASES["least_error"])
        if not metrics["fits"] and metrics["basis"] == "named":
            logger.warning(
                "%s through the origin does not fit: within an interval R2 is %.2f at sizes left out, %g is needed; "
                "name no model_type, or set ModelConfig(intercept=True)",
                metrics["model"],
                metrics["test_r2_within"],
                LEAST_ORIGIN_R2,
            )
        return {"metrics": metrics, "params": fitted.params()}

    def predict_impact(self, trade_sizes: Any, *, side: str | None = None) -> npt.NDArray[np.float64]:
        """Return the per-share impact of the mean curve.

        Parameters
        ----------
        trade_sizes : array_like
            Shares, not negative; any shape.
        side : str, optional
            'buy' or 'sell'; by default the mean of both.

        Returns
        -------
        ndarray of float64
            Price per share over mid, in the shape of `trade_sizes`.

        Raises
        ------
        ValidationError
            1001 for sizes that are negative or no numbers.
        ModelFittingError
            2001 before a fit.
        """
        try:
            sizes = np.asarray(trade_sizes, dtype=np.float64)
        except (ValueError, TypeError) as error:
            raise ValidationError(MALFORMED, f"trade_sizes: {error}", "give numbers") from error
        if not (np.isfinite(sizes).all() and (sizes >= 0.0).all()):
            raise ValidationError(
                MALFORMED, "trade_sizes: holds negative or missing values", "give shares of 0 or more"
            )
        return self.fitted.mean_impact(sizes, side)
