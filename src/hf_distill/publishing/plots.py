"""Figures of the model card and the report: training curves, F1 against latency or size, and confidence."""

import html
import io
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator, StrMethodFormatter

from ..evaluation.calibration import BINS, ScoredMentions

DPI = 150
COLOURS = ("#1f5a8c", "#c8702a", "#4b8b57", "#8a5a9e", "#7a7a7a")
TEXT, AXIS, GRID, PAPER = "#333333", "#999999", "#e4e4e4", "#ffffff"
# CSS variables of the report, which sets them for the light and the dark colour scheme.
VARIABLES = {colour: f"series-{number}" for number, colour in enumerate(COLOURS, 1)}
VARIABLES |= {TEXT: "ink", AXIS: "axis", GRID: "line", PAPER: "paper"}
LOSSES = {
    "logit_loss": "logits",
    "hard_loss": "labels",
    "embedding_loss": "embeddings",
    "hidden_loss": "hidden states",
    "attention_loss": "attentions",
}


class Point(NamedTuple):
    """Cost of a model (such as milliseconds), its F1, and the bounds of its interval if known."""

    cost: float
    f1: float
    low: float | None = None
    high: float | None = None


def training_curve(log_history: Sequence[Mapping], loss: bool = True, f1: bool = True) -> Figure | None:
    """Draw loss terms and development F1 by training step.

    Args:
        log_history: from `trainer_state.json`.
        loss: whether to draw the loss terms.
        f1: whether to draw the F1.

    Returns:
        The figure, or None if nothing was logged.
    """
    logs = {
        name: [(entry["step"], entry[key]) for entry in log_history if key in entry]
        for key, name in ((LOSSES if loss else {}) | ({"eval_f1": "F1"} if f1 else {})).items()
    }
    scores = logs.pop("F1", [])
    terms = {name: values for name, values in logs.items() if values}
    if not terms and not scores:
        return None
    panels = bool(terms) + bool(scores)
    figure = _new_figure(4 * panels, 2.9)
    axes = list(figure.subplots(1, panels, squeeze=False)[0])
    last = max(step for values in (*terms.values(), scores) for step, _ in values)
    for panel in axes:
        style_axes(panel)
        panel.set(xlabel="training step", xlim=(0, 1.02 * last))
        panel.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        panel.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    if terms:
        _draw_losses(axes[0], terms)
    if scores:
        _draw_scores(axes[-1], scores)
    return figure


def _new_figure(width: float, height: float) -> Figure:
    """A figure of a size in inches, with room for titles and labels. (A layout engine would draw it three times.)"""
    figure = Figure(figsize=(width, height), dpi=DPI)
    figure.subplots_adjust(0.7 / width, 0.5 / height, 1 - 0.15 / width, 1 - 0.32 / height, wspace=0.25)
    return figure


def _draw_losses(panel: Axes, terms: Mapping[str, Sequence[tuple[int, float]]]) -> None:
    panel.set_title("Training loss" if len(terms) > 1 else f"Training loss ({next(iter(terms))})", size=10)
    values = [value for points in terms.values() for _, value in points]
    for (name, points), colour in zip(terms.items(), COLOURS, strict=False):
        panel.plot(*zip(*points, strict=True), color=colour, linewidth=1.6, marker="o", markersize=2.5, label=name)
    if min(values) > 0 and max(values) > 10 * min(values):
        panel.set_yscale("log")
        plain_log(panel.yaxis)
    else:
        panel.set_ylim(bottom=0)
    if len(terms) > 1:
        # A legend, because labels at the ends of the curves would overlap.
        panel.legend(frameon=False, fontsize=8, labelcolor="linecolor", handlelength=1.2)


def _draw_scores(panel: Axes, scores: Sequence[tuple[int, float]]) -> None:
    panel.set_title("F1 on the development data", size=10)
    panel.plot(*zip(*scores, strict=True), color=COLOURS[0], linewidth=1.6, marker="o", markersize=3.5)
    step, best = max(scores, key=lambda point: point[1])
    panel.plot(step, best, "o", color=COLOURS[1], markersize=6)
    panel.margins(y=0.2)
    right = step < 0.5 * panel.get_xlim()[1]
    _annotate(panel, f"best: {best:.4f}", (step, best), (0, 10), COLOURS[1], "left" if right else "right")


def brief(number: float) -> str:
    """Format with three significant digits, or with all digits before the decimal point."""
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


def f1_against_latency(points: Mapping[str, Point]) -> Figure:
    """Draw F1 with its 95 % interval against latency in milliseconds, for models by name."""
    figure = _new_figure(6, 3.2)
    axes = _cost_axes(figure, points, "median latency of a sentence, ms")
    fastest = min(point.cost for point in points.values())
    for (name, point), colour in zip(points.items(), COLOURS, strict=False):
        _draw_point(axes, point, colour, markersize=7)
        # To the left of the fastest model there is no other model.
        offset, side = ((-9, 0), "right") if point.cost == fastest else ((9, 0), "left")
        text = f"{name}\n{point.f1:.4f}\n{brief(point.cost)} ms"
        _annotate(axes, text, (point.cost, point.f1), offset, colour, side)
    return figure


def f1_against_cost(points: Mapping[int, Point], cost: str) -> Figure:
    """Draw F1 with its 95 % interval against `cost` (the axis label), for models by number."""
    figure = _new_figure(4, 2.9)
    axes = _cost_axes(figure, points, cost)
    for number, point in points.items():
        _draw_point(axes, point, COLOURS[(number - 1) % len(COLOURS)], markersize=10)
        place = (point.cost, point.f1)
        axes.annotate(str(number), place, color=PAPER, size=7, weight="bold", ha="center", va="center_baseline")
    return figure


def reliability_diagram(models: Mapping[str, ScoredMentions]) -> Figure:
    """Draw the precision of mentions against their score, in bins of equally many, for models by name."""
    figure = _new_figure(4, 2.9)
    axes = figure.subplots()
    style_axes(axes)
    axes.plot([0, 1], [0, 1], color=AXIS, linewidth=1, linestyle="--")
    for (name, mentions), colour in zip(models.items(), COLOURS, strict=False):
        order = np.argsort(mentions.scores, kind="stable")
        bins = [part for part in np.array_split(order, BINS) if len(part)]
        means = [(mentions.scores[part].mean(), mentions.right[part].mean()) for part in bins]
        axes.plot(*zip(*means, strict=True), color=colour, linewidth=1.6, marker="o", markersize=3.5, label=name)
    axes.set(xlabel="mean score", ylabel="precision", xlim=(0, 1.02), ylim=(0, 1.05))
    axes.legend(frameon=False, fontsize=8, labelcolor="linecolor", handlelength=1.2, loc="upper left")
    return figure


def threshold_curve(mentions: ScoredMentions, entity: str) -> Figure:
    """Draw precision and recall of mentions of a type by threshold on their score."""
    figure = _new_figure(4, 2.9)
    axes = figure.subplots()
    style_axes(axes)
    order = np.argsort(-mentions.scores, kind="stable")
    scores, right, found = mentions.scores[order], np.cumsum(mentions.right[order]), np.arange(1, len(order) + 1)
    gold = max(1, sum(mentions.gold.values()))
    last = np.append(scores[1:] != scores[:-1], True)  # of mentions with the same score all are kept or none
    for name, values, colour in (("precision", right / found, COLOURS[0]), ("recall", right / gold, COLOURS[1])):
        axes.plot(scores[last], values[last], color=colour, linewidth=1.6, label=name)
    axes.set(xlabel="threshold", xlim=(0, 1), ylim=(0, 1.05))
    axes.set_title(entity, size=10, parse_math=False)  # a type may be called $x$
    axes.legend(frameon=False, fontsize=8, labelcolor="linecolor", handlelength=1.2, loc="lower left")
    return figure


def svg(figure: Figure, title: str) -> str:
    """A figure as an SVG element for HTML: reproducible, and coloured by the page's CSS variables."""
    file = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": title}):
        figure.savefig(file, format="svg", transparent=True)
    drawn = file.getvalue()
    # These ids would be duplicated on a page with two figures, and nothing refers to them.
    drawn = re.sub(r'<metadata>.*?</metadata>| id="[\w.]+_\d+"| xmlns(:xlink)?="[^"]*"', "", drawn, flags=re.DOTALL)
    for colour, variable in VARIABLES.items():
        drawn = drawn.replace(colour, f"var(--{variable}, {colour})")
    return f'<svg role="img" aria-label="{html.escape(title)}"{drawn[drawn.index("<svg") + 4 :]}'


def _cost_axes(figure: Figure, points: Mapping[str, Point] | Mapping[int, Point], cost: str) -> Axes:
    axes = figure.subplots()
    style_axes(axes)
    axes.set(xlabel=cost, ylabel="F1, with 95 % interval")
    axes.margins(y=0.15)
    costs = [point.cost for point in points.values()]
    least, most = min(costs), max(costs)
    if most > 4 * least:
        axes.set_xscale("log")
        margin = (most / least) ** 0.25
        axes.set_xlim(least / margin, most * margin)
        plain_log(axes.xaxis)
    else:
        axes.set_xlim(0, 1.25 * most)
    return axes


def _draw_point(axes: Axes, point: Point, colour: str, markersize: float) -> None:
    # The percentile interval of a few sentences may not include the value itself.
    ends = None
    if point.low is not None and point.high is not None:
        ends = [[max(0, point.f1 - point.low)], [max(0, point.high - point.f1)]]
    axes.errorbar(point.cost, point.f1, ends, fmt="o", color=colour, markersize=markersize, linewidth=1.4, capsize=3)


def style_axes(axes: Axes) -> None:
    """Grid behind the data, no frame on top and right, grey text."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(AXIS)
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=TEXT, labelsize=8)
    axes.xaxis.label.set(color=TEXT, size=9)
    axes.yaxis.label.set(color=TEXT, size=9)
    axes.title.set_color(TEXT)


def plain_log(axis: Axis) -> None:
    """Ticks of a logarithmic axis at 1, 2, 5, 10, ..., as plain numbers."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.set_minor_locator(NullLocator())


def _annotate(
    axes: Axes, text: str, place: tuple[float, float], offset: tuple[float, float], colour: str, side: str
) -> None:
    """Write `text` next to a data point, `offset` typographic points away."""
    written = axes.annotate(text, place, offset, textcoords="offset points", color=colour, ha=side, va="center")
    written.set(fontsize=9, path_effects=[withStroke(linewidth=3, foreground=PAPER)])
