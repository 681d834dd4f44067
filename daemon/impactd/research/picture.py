"""What a picture shows, and the two ways of drawing it: Matplotlib for paper, Plotly for the browser.

Colours are Okabe and Ito's, which colour-blind readers tell apart; every line
has a dash of its own besides, so that a grey print can be read as well.
"""

from __future__ import annotations

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

#: A scale of equal steps in lightness, for heatmaps.
_SCALE: Final = "cividis"


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """One thing in a panel.

    Attributes
    ----------
    label : str
        In the legend.
    x, y : sequence of float, or of datetimes (x)
    kind : str
        line, points, steps, or region (the span of `x` from its first to its last value, shaded).
    number : int
        Which colour, dash and marker.
    """

    label: str
    x: Sequence[Any]
    y: Sequence[float]
    kind: Literal["line", "points", "steps", "region"] = "line"
    number: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Heat:
    """A heatmap: `z` by row (y) and column (x), with what its colours stand for."""

    x: Sequence[Any]
    y: Sequence[str]
    z: Any
    label: str


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
        """Return the figure.

        Raises
        ------
        ValidationError
            1001 if there is no such backend.
        """
        if backend == "matplotlib":
            return _on_paper(self)
        if backend == "plotly":
            return _in_browser(self)
        raise ValidationError(MALFORMED, f"backend: {backend!r} is none", "give 'matplotlib' or 'plotly'")


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
            shown = axes.imshow(np.asarray(heat.z), aspect="auto", cmap=_SCALE, interpolation="nearest")
            axes.set_yticks(range(len(heat.y)), list(heat.y))
            ticks = np.unique(np.linspace(0, len(heat.x) - 1, 7).astype(int))
            axes.set_xticks(ticks, [_tick(heat.x[i]) for i in ticks])
            figure.colorbar(shown, ax=axes, label=heat.label)
        for series in panel.series:
            _add_to_axes(axes, series)
        if panel.log_x:
            axes.set_xscale("log")
        if panel.log_y:
            axes.set_yscale("log")
        if panel.series:
            axes.grid(visible=True, alpha=0.3)
            axes.legend(loc="best", fontsize="small")
    return figure


def _add_to_axes(axes: Any, series: Series) -> None:
    colour = COLOURS[series.number % len(COLOURS)]
    dash = _DASHES[series.number % len(_DASHES)]
    if series.kind == "region":
        axes.axvspan(series.x[0], series.x[-1], color="0.85", zorder=0, label=series.label)
    elif series.kind == "points":
        marker = _MARKERS[series.number % len(_MARKERS)]
        axes.plot(series.x, series.y, linestyle="none", marker=marker, markersize=4, color=colour, label=series.label)
    else:
        style = "steps-mid" if series.kind == "steps" else "default"
        axes.plot(series.x, series.y, linestyle=dash, drawstyle=style, color=colour, label=series.label)


def _tick(value: Any) -> str:
    return str(value.strftime("%H:%M")) if hasattr(value, "strftime") else str(value)


def _in_browser(picture: Picture) -> Any:
    import plotly.graph_objects as go  # noqa: PLC0415  # heavy, and only for those who draw
    from plotly.subplots import make_subplots  # noqa: PLC0415  # as above

    n = len(picture.panels)
    figure = make_subplots(rows=n, cols=1, vertical_spacing=0.14)
    for row, panel in enumerate(picture.panels, start=1):
        figure.update_xaxes(title_text=panel.x_label, type="log" if panel.log_x else None, row=row, col=1)
        figure.update_yaxes(title_text=panel.y_label, type="log" if panel.log_y else None, row=row, col=1)
        if panel.heat is not None:
            heat = panel.heat
            bar = {"title": {"text": heat.label}, "len": 0.9 / n, "y": 1.0 - (row - 0.5) / n}
            figure.add_trace(
                go.Heatmap(x=list(heat.x), y=list(heat.y), z=heat.z, colorscale=_SCALE, colorbar=bar), row=row, col=1
            )
        for series in panel.series:
            _add_trace(go, figure, series, row)
    figure.update_layout(title=picture.title, template="plotly_white", height=140 + 340 * n, legend={"y": 0.0})
    return figure


def _add_trace(go: Any, figure: Any, series: Series, row: int) -> None:
    colour = COLOURS[series.number % len(COLOURS)]
    if series.kind == "region":
        span = {"fillcolor": "lightgrey", "opacity": 0.5, "line_width": 0, "layer": "below"}
        figure.add_vrect(x0=series.x[0], x1=series.x[-1], name=series.label, showlegend=True, row=row, col=1, **span)
        return
    line = {"color": colour, "dash": _PLOTLY_DASH[_DASHES[series.number % len(_DASHES)]]}
    if series.kind == "steps":
        line["shape"] = "hvh"
    marker = {"color": colour, "symbol": _PLOTLY_MARKERS[series.number % len(_PLOTLY_MARKERS)], "size": 6}
    mode = "markers" if series.kind == "points" else "lines"
    trace = go.Scatter(x=list(series.x), y=list(series.y), name=series.label, mode=mode)
    trace.update(marker=marker) if mode == "markers" else trace.update(line=line)
    figure.add_trace(trace, row=row, col=1)
