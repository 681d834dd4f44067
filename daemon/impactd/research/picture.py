"""A chart's content, and its two backends: Matplotlib for paper, Plotly for the browser.

Colours are Okabe and Ito's, which colour-blind readers can distinguish; every line also has its own dash, so that it
can be read in grey.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from impactd.research.errors import MALFORMED, ValidationError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Backend = Literal["matplotlib", "plotly"]

#: Okabe and Ito (2008), without yellow, which is too pale on paper.
COLOURS: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
_DASHES: Final = ("solid", "dashed", "dotted", "dashdot")
_PLOTLY_DASH: Final = {"solid": "solid", "dashed": "dash", "dotted": "dot", "dashdot": "dashdot"}
_MARKERS: Final = ("o", "s", "^", "D", "v", "P", "X")
_PLOTLY_MARKERS: Final = ("circle", "square", "triangle-up", "diamond", "triangle-down", "cross", "x")

#: Colours of Matplotlib, by the variable of `impactd.shell.page`, theme.css, that takes their place on a page.
_THEMED: Final = {
    "#000000": "ink",
    "#ffffff": "bg",
    "#cccccc": "line",
    "#e0e0e0": "panel",
    "#0072b2": "blue",
    "#d55e00": "orange",
    "#009e73": "green",
}

#: A scale of equal steps in lightness, for heatmaps.
_SCALE: Final = "cividis"


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """One thing in a panel."""

    label: str
    #: Numbers or datetimes.
    x: Sequence[Any]
    y: Sequence[float]
    #: line, points, rings (points that others may stand in), both (a line with its points), steps (`y` from each value
    #: of `x` to the next, so that `x` has one more), or region (the span of `x`, shaded).
    kind: Literal["line", "points", "rings", "both", "steps", "region"] = "line"
    #: Which colour, dash and marker.
    number: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Heat:
    """A heatmap: `z` by row (y) and column (x), with what its colours stand for.

    Values above `top`, if there is one, have its colour, so that a few do not take all the scale.
    """

    x: Sequence[Any]
    y: Sequence[str]
    z: Any
    label: str
    top: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Panel:
    """One pair of axes."""

    x_label: str
    y_label: str
    series: tuple[Series, ...] = ()
    heat: Heat | None = None
    log_x: bool = False
    log_y: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """A title over one panel or several, one under the other."""

    title: str
    panels: tuple[Panel, ...]

    def draw(self, backend: Backend) -> Any:
        """Return the figure."""
        if backend == "matplotlib":
            return _on_paper(self)
        if backend == "plotly":
            return _in_browser(self)
        raise ValidationError(MALFORMED, f"backend: {backend!r} is none", "give 'matplotlib' or 'plotly'")


def to_svg(figure: Figure, salt: str) -> str:
    """Return a figure as SVG; its bytes depend on its content alone."""
    from matplotlib import rc_context  # noqa: PLC0415  # heavy, and only for those who draw

    held = io.StringIO()
    with rc_context({"svg.hashsalt": salt, "svg.fonttype": "none", "font.family": "sans-serif"}):
        figure.savefig(held, format="svg", metadata={"Date": None, "Creator": None})
    text = held.getvalue()
    return text[text.index("<svg") :]


def themed(svg: str) -> str:
    """Return what `to_svg` has given in the colours of the page that it is on; few programs but browsers read it."""
    # Black is the only colour of text that Matplotlib does not write.
    text = svg.replace("*{stroke-linejoin", "text{fill:#000000}*{stroke-linejoin", 1)
    return re.sub(
        r"(?<=[:{ ])(#[0-9a-f]{6})(?=[;\"}])",
        lambda found: f"var(--{_THEMED[found[1]]}, {found[1]})" if found[1] in _THEMED else found[1],
        text,
    )


def _on_paper(picture: Picture) -> Figure:
    from matplotlib.figure import Figure  # noqa: PLC0415  # heavy, and only for those who draw

    # Without pyplot: no window, no state that is shared with the caller's figures.
    figure = Figure(figsize=(8.0, 1.2 + 3.6 * len(picture.panels)), layout="constrained")
    figure.suptitle(picture.title)
    for axes, panel in zip(figure.subplots(len(picture.panels), squeeze=False)[:, 0], picture.panels, strict=True):
        axes.set_xlabel(panel.x_label)
        axes.set_ylabel(panel.y_label)
        if panel.heat is not None:
            heat = panel.heat
            shown = axes.imshow(
                np.asarray(heat.z), aspect="auto", cmap=_SCALE, interpolation="nearest", vmin=0.0, vmax=heat.top
            )
            axes.set_yticks(range(len(heat.y)), list(heat.y))
            ticks = np.unique(np.linspace(0, len(heat.x) - 1, 7).astype(int))
            axes.set_xticks(ticks, [_tick(heat.x[i]) for i in ticks])
            figure.colorbar(shown, ax=axes, label=heat.label, extend="neither" if heat.top is None else "max")
        for series in panel.series:
            _add_to_axes(axes, series)
        if panel.series:
            _scale_axes(axes, panel)
            axes.grid(visible=True, alpha=0.3)
            axes.legend(loc="best", fontsize="small")
    return figure


def _scale_axes(axes: Any, panel: Panel) -> None:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter  # noqa: PLC0415  # as above
    from matplotlib.ticker import StrMethodFormatter  # noqa: PLC0415  # as above

    if hasattr(panel.series[0].x[0], "strftime"):
        locator = AutoDateLocator()  # type: ignore[no-untyped-call]  # matplotlib.dates has no types
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]  # as above
    for axis, is_log in ((axes.xaxis, panel.log_x), (axes.yaxis, panel.log_y)):
        if is_log:
            getattr(axes, f"set_{axis.axis_name}scale")("log")
        elif max(map(abs, axis.get_view_interval())) >= 10_000 and axis.axis_name in _number_axes(panel):
            axis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))


def _number_axes(panel: Panel) -> str:
    return "y" if hasattr(panel.series[0].x[0], "strftime") else "xy"


def _add_to_axes(axes: Any, series: Series) -> None:
    colour = COLOURS[series.number % len(COLOURS)]
    dash = _DASHES[series.number % len(_DASHES)]
    marker = _MARKERS[series.number % len(_MARKERS)]
    if series.kind == "region":
        axes.axvspan(series.x[0], series.x[-1], color="0.88", zorder=0, label=series.label)
    elif series.kind in {"points", "rings"}:
        face, size = (colour, 5) if series.kind == "points" else ("none", 8)
        look = {"linestyle": "none", "marker": marker, "markersize": size, "color": colour, "markerfacecolor": face}
        axes.plot(series.x, series.y, label=series.label, **look)
    elif series.kind == "steps":
        y = [*series.y, *series.y[-1:]]
        axes.plot(series.x, y, linestyle=dash, drawstyle="steps-post", color=colour, label=series.label)
    else:
        shown = marker if series.kind == "both" else "none"
        axes.plot(series.x, series.y, linestyle=dash, marker=shown, markersize=4, color=colour, label=series.label)


def _tick(value: Any) -> str:
    return str(value.strftime("%H:%M")) if hasattr(value, "strftime") else str(value)


def _in_browser(picture: Picture) -> Any:
    import plotly.graph_objects as go  # noqa: PLC0415  # heavy, and only for those who draw
    from plotly.subplots import make_subplots  # noqa: PLC0415  # as above

    n = len(picture.panels)
    height = 150 + 350 * n
    figure = make_subplots(rows=n, cols=1, vertical_spacing=0.0 if n == 1 else 0.24)
    for row, panel in enumerate(picture.panels, start=1):
        scales = (("log" if log else None) for log in (panel.log_x, panel.log_y))
        # Powers of ten, and not the letters of the metric system, which nobody reads a price in.
        for axis, label, scale in zip(("xaxes", "yaxes"), (panel.x_label, panel.y_label), scales, strict=True):
            look = {"exponentformat": "power"} if scale else {"separatethousands": True, "exponentformat": "none"}
            dtick = 1 if scale and axis == "xaxes" else None
            getattr(figure, f"update_{axis}")(title_text=label, type=scale, dtick=dtick, row=row, col=1, **look)
        low, high = figure.layout[f"yaxis{row if row > 1 else ''}"].domain
        if panel.heat is not None:
            heat = panel.heat
            bar = {"title": {"text": heat.label, "side": "right"}, "len": high - low, "y": 0.5 * (low + high)}
            shown = {"colorscale": _SCALE, "colorbar": bar, "zmin": 0.0, "zmax": heat.top, "name": heat.label}
            figure.add_trace(go.Heatmap(x=list(heat.x), y=list(heat.y), z=heat.z, **shown), row=row, col=1)
            figure.update_yaxes(autorange="reversed", row=row, col=1)
        if panel.series:
            # Above its own panel, where it hides nothing.
            figure.update_layout(legend={"orientation": "h", "x": 0.0, "y": high, "yanchor": "bottom"})
        for series in panel.series:
            _add_trace(go, figure, series, row)
    # On the left: on the right the browser shows its tools.
    title = {"text": picture.title, "x": 0.0, "xref": "paper", "y": 1.0 - 34 / height, "yanchor": "top"}
    figure.update_layout(title=title, template="plotly_white", height=height, margin={"t": 110, "r": 40})
    return figure


def _add_trace(go: Any, figure: Any, series: Series, row: int) -> None:
    colour = COLOURS[series.number % len(COLOURS)]
    if series.kind == "region":
        span = {"fillcolor": "lightgrey", "opacity": 0.5, "line_width": 0, "layer": "below"}
        figure.add_vrect(x0=series.x[0], x1=series.x[-1], name=series.label, showlegend=True, row=row, col=1, **span)
        return
    line = {"color": colour, "dash": _PLOTLY_DASH[_DASHES[series.number % len(_DASHES)]]}
    y = list(series.y)
    if series.kind == "steps":
        line["shape"] = "hv"
        y += y[-1:]
    symbol = _PLOTLY_MARKERS[series.number % len(_PLOTLY_MARKERS)]
    marker: dict[str, object] = {"color": colour, "symbol": symbol, "size": 8}
    if series.kind == "rings":
        marker |= {"symbol": f"{symbol}-open", "size": 12}
    mode = {"points": "markers", "rings": "markers", "both": "lines+markers"}.get(series.kind, "lines")
    look: dict[str, dict[str, Any]] = {"marker": marker} if mode == "markers" else {"line": line}
    if mode == "lines+markers":
        look["marker"] = marker | {"size": 6}
    figure.add_trace(go.Scatter(x=list(series.x), y=y, name=series.label, mode=mode, **look), row=row, col=1)
