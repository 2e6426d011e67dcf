"""The pictures of a model card: how a student learnt, and what it gives for its time."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator, StrMethodFormatter

DPI = 150
COLOURS = ("#1f5a8c", "#c8702a", "#4b8b57", "#8a5a9e", "#7a7a7a")
TEXT, GRID = "#333333", "#e4e4e4"
LOSSES = {
    "logit_loss": "logits",
    "hard_loss": "labels",
    "embedding_loss": "embeddings",
    "hidden_loss": "hidden states",
    "attention_loss": "attentions",
}


class Point(NamedTuple):
    """A model's median latency in milliseconds, and its F1 with the ends of its interval."""

    latency: float
    f1: float
    low: float
    high: float


def training_curve(log_history: Sequence[Mapping], path: Path) -> bool:
    """Draw the loss terms and the F1 on the development data by training step.

    Args:
        log_history: that of `trainer_state.json`.
        path: the PNG file.

    Returns:
        Whether there was anything to draw; where not, there is no file.
    """
    logs = {
        name: [(entry["step"], entry[key]) for entry in log_history if key in entry]
        for key, name in (LOSSES | {"eval_f1": "F1"}).items()
    }
    scores = logs.pop("F1")
    terms = {name: values for name, values in logs.items() if values}
    if not terms and not scores:
        return False
    panels = bool(terms) + bool(scores)
    figure = Figure(figsize=(4 * panels, 2.9), dpi=DPI, layout="constrained")
    axes = list(figure.subplots(1, panels, squeeze=False)[0])
    last = max(step for values in (*terms.values(), scores) for step, _ in values)
    for panel in axes:
        _style(panel)
        panel.set(xlabel="training step", xlim=(0, 1.02 * last))
        panel.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        panel.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    if terms:
        _draw_losses(axes[0], terms)
    if scores:
        _draw_scores(axes[-1], scores)
    figure.savefig(path)
    return True


def _draw_losses(panel: Axes, terms: Mapping[str, Sequence[tuple[int, float]]]) -> None:
    panel.set_title("Training loss" if len(terms) > 1 else f"Training loss ({next(iter(terms))})", size=10)
    values = [value for points in terms.values() for _, value in points]
    for (name, points), colour in zip(terms.items(), COLOURS, strict=False):
        panel.plot(*zip(*points, strict=True), color=colour, linewidth=1.6, marker="o", markersize=2.5, label=name)
    if min(values) > 0 and max(values) > 10 * min(values):
        panel.set_yscale("log")
        _plain_log(panel.yaxis)
    else:
        panel.set_ylim(bottom=0)
    if len(terms) > 1:
        # The curves come close to each other at their ends, so that names there would overlap.
        panel.legend(frameon=False, fontsize=8, labelcolor="linecolor", handlelength=1.2)


def _draw_scores(panel: Axes, scores: Sequence[tuple[int, float]]) -> None:
    panel.set_title("F1 on the development data", size=10)
    panel.plot(*zip(*scores, strict=True), color=COLOURS[0], linewidth=1.6, marker="o", markersize=3.5)
    step, best = max(scores, key=lambda point: point[1])
    panel.plot(step, best, "o", color=COLOURS[1], markersize=6)
    panel.margins(y=0.2)
    right = step < 0.5 * panel.get_xlim()[1]
    _name(panel, f"best: {best:.4f}", (step, best), (0, 10), COLOURS[1], "left" if right else "right")


def f1_against_latency(points: Mapping[str, Point], path: Path) -> None:
    """Draw models by name, F1 with its 95 % interval against latency, as a PNG file."""
    figure = Figure(figsize=(6, 3.2), dpi=DPI, layout="constrained")
    axes = figure.subplots()
    _style(axes)
    axes.set(xlabel="median latency of a sentence, ms", ylabel="F1, with 95 % interval")
    latencies = [point.latency for point in points.values()]
    fastest, slowest = min(latencies), max(latencies)
    if slowest > 4 * fastest:
        axes.set_xscale("log")
        margin = (slowest / fastest) ** 0.25
        axes.set_xlim(fastest / margin, slowest * margin)
        _plain_log(axes.xaxis)
    else:
        axes.set_xlim(0, 1.25 * slowest)
    for (name, point), colour in zip(points.items(), COLOURS, strict=False):
        ends = [[point.f1 - point.low], [point.high - point.f1]]
        axes.errorbar(point.latency, point.f1, ends, fmt="o", color=colour, markersize=7, linewidth=1.4, capsize=3)
        # The fastest model's name stands to its left, where no other model can be.
        offset, side = ((-9, 0), "right") if point.latency == fastest else ((9, 0), "left")
        text = f"{name}\n{point.f1:.4f}\n{point.latency:,.3g} ms"
        _name(axes, text, (point.latency, point.f1), offset, colour, side)
    axes.margins(y=0.15)
    figure.savefig(path)


def _style(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#999999")
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=TEXT, labelsize=8)
    axes.xaxis.label.set(color=TEXT, size=9)
    axes.yaxis.label.set(color=TEXT, size=9)
    axes.title.set_color(TEXT)


def _plain_log(axis: Axis) -> None:
    """Ticks of a logarithmic axis at 1, 2, 5, 10, ..., as plain numbers."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.set_minor_locator(NullLocator())


def _name(
    axes: Axes, text: str, place: tuple[float, float], offset: tuple[float, float], colour: str, side: str
) -> None:
    """Write beside a point, `offset` points away from it."""
    written = axes.annotate(text, place, offset, textcoords="offset points", color=colour, ha=side, va="center")
    written.set(fontsize=9, path_effects=[withStroke(linewidth=3, foreground="white")])
