"""Settings of how the process is watched; they change no byte of what is published."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from impactd.config.base import DAY_S, HeaderSecret, Name, Section

Limit = Annotated[float, Field(gt=0, le=DAY_S)]


class HttpSection(Section):
    """Where a service serves /livez, /readyz and /metrics, and `impactd page` the live page."""

    enabled: bool = True
    """Whether HTTP is served."""
    host: Annotated[str, Field(min_length=1, max_length=255)] = "127.0.0.1"
    """Address to listen on: loopback, because only /api/ requires a token; 0.0.0.0: all interfaces."""
    port: Annotated[int, Field(ge=0, le=65_535)] = 9464
    """Port of a service; 0 takes any free one, and the log names it."""
    page_port: Annotated[int, Field(ge=0, le=65_535)] = 9470
    """Port of the live page and its API (`impactd page`); 0 takes any free one."""
    token: HeaderSecret | None = None
    """Token that /api/ of services and of the page requires; unset: none. From the environment or token_file only."""
    token_file: str | None = None
    """File that holds the token."""
    max_readers: Annotated[int, Field(ge=1, le=1_000)] = 50
    """Live pages that may be open at once."""
    max_connections: Annotated[int, Field(ge=8, le=10_000)] = 256
    """Connections that may be open at once; never more than a quarter of the file descriptors of the process."""
    backlog: Annotated[int, Field(ge=1, le=65_535)] = 128
    """Connections that may wait to be accepted; the operating system may allow fewer."""
    header_s: Annotated[float, Field(gt=0, le=300)] = 10.0
    """Longest time that the headers of a request may take."""
    idle_s: Annotated[float, Field(gt=0, le=3_600)] = 75.0
    """Longest time that an open connection may wait for its next request."""

    @model_validator(mode="after")
    def _room(self) -> Self:
        if self.max_readers > self.max_connections // 2:
            raise ValueError("max_readers may take half of max_connections at most: health checks need some too")
        return self


class HealthSection(Section):
    """When the process counts as not ready, and when it ends itself."""

    max_lag: Annotated[int, Field(ge=0)] = 100_000
    """Records of a partition that may wait to be applied, all inputs together."""
    max_commit_age_s: Annotated[float, Field(gt=0, le=DAY_S)] = 5.0
    """Longest time without a commit of a partition whose inputs hold records that could be read."""
    max_tick_age_s: Annotated[float, Field(ge=0, le=366 * DAY_S)] = 60.0
    """Longest time without a tick in an open session, in a partition that has had ticks; 0: no limit."""
    stuck_after_s: Annotated[float, Field(ge=10, le=DAY_S)] = 120.0
    """The process ends if a partition or the event loop makes no progress for this long."""


class TelemetrySection(Section):
    """Traces and metrics by OpenTelemetry; needs the extra `otel`."""

    enabled: bool = False
    """Whether traces and metrics are exported, and outputs carry on the `traceparent` header of their input."""
    endpoint: Annotated[str, Field(pattern=r"^https?://[^\s/]+")] = "http://127.0.0.1:4318"
    """OTLP over HTTP: address of the collector, without `/v1/traces` and `/v1/metrics`."""
    sample: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Share of the traces that are recorded, among those that their sender records."""
    metrics_interval_s: Annotated[float, Field(ge=1, le=3_600)] = 15.0
    """Time between exports of metrics."""


class SelftestSection(Section):
    """Limits of the daily self-test."""

    max_generate_s: Limit = 5.0
    """Longest time to generate 390 books of 20 levels."""
    max_estimate_s: Limit = 1.0
    """Longest time to estimate their slippage."""
    max_fit_s: Limit = 2.0
    """Longest time to fit it."""
    max_optimize_s: Limit = 1.0
    """Longest time for a schedule over 390 intervals by the default solver."""
    max_solve_s: Limit = 0.01
    """Longest time for the same by the exact solver."""
    min_test_r2: Annotated[float, Field(ge=0, le=1)] = 0.8
    """Smallest R2 on a generated day, at held-out sizes."""
    max_fit_error_pct: Annotated[float, Field(gt=0, le=1_000)] = 10.0
    """Largest mean error of fitted curves on a recorded day's cells."""
    max_invalid_ratio: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Largest share of the live sample that cannot be used."""
    max_tick_age_s: Annotated[float, Field(ge=0, le=366 * DAY_S)] = 0.0
    """Largest age of the live sample's newest tick; 0: no limit, for hours without trading."""
    sample_records: Annotated[int, Field(ge=1, le=10_000_000)] = 5_000
    """Records of the live sample."""


class FixSection(Section):
    """The FIX gateway, `impactd fix`."""

    sessions: str = ""
    """File of its sessions, in QuickFIX's format."""
    topic: Name | None = None
    """Topic of its state, compacted; by default topics.prefix and fix. A second gateway needs its own."""
    parent_tag: Annotated[int, Field(ge=1, le=99_999)] = 11
    """Tag of an ExecutionReport that comes in which names the parent order: 11, or what the trading system writes."""
    informational_tags: Annotated[
        tuple[Annotated[int, Field(ge=1, le=99_999)], ...], Field(strict=False, max_length=200)
    ] = ()
    """Tags of orders that change nothing here, such as 15 or 207; every other tag that is not known is refused."""
    trade_reports: bool = True
    """Whether an order's sender gets its trades (150=F); off where the system that traded reports them to it."""
