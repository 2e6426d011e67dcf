"""F1 against latency of a teacher, its distilled students, and a student trained on labels only.

    python benchmarks/gain.py --data ../shared/data --models teacher=../shared/teacher small=small tiny=tiny

Each model runs in PyTorch (fp32) and in ONNX Runtime (int8), on one thread. Measures F1 (strict, constrained decoding,
with its 95 % interval) on BC2GM devel, and the milliseconds of a forward pass of one tokenised sentence: the mean over
100 evenly spaced sentences, with alternating models. Prints a table, and writes docs/gain.json and docs/gain.png;
without --models, only the figure is drawn again.
"""

import argparse
import json
import tempfile
from pathlib import Path

import torch
from common import ROOT, forward_passes, in_turns, load
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from transformers import AutoModelForTokenClassification

from hf_distill.evaluation.metrics import count
from hf_distill.files import format_table, write_json
from hf_distill.publishing.onnx_export import write_onnx
from hf_distill.publishing.plots import COLOURS, plain_log, style_axes
from hf_distill.runtime.onnx_model import OnnxModel
from hf_distill.runtime.pipeline import predict_words
from hf_distill.runtime.schemes import model_tags
from hf_distill.runtime.tags import convert_tags, detect_scheme
from hf_distill.runtime.windows import window_length
from hf_distill.teachers.loading import load_tokenizer

FIGURES = ROOT / "docs" / "gain.json"
SAMPLE = 100


def measure(folders: dict[str, str], data: Path, rounds: int) -> dict[str, dict]:
    """By model: `parameters`, `int8_mb`, and `ms`, `f1`, `low` and `high` for `pytorch` and `int8`."""
    torch.set_num_threads(1)
    devel = load(data, "devel")
    sentences = devel["tokens"][:]
    sample = sentences[:: max(1, len(sentences) // SAMPLE)][:SAMPLE]
    figures: dict[str, dict] = {}
    calls = {}
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        for name, path in folders.items():
            tokenizer = load_tokenizer(path)
            model = AutoModelForTokenClassification.from_pretrained(path, dtype=torch.float32).eval()
            [_, quantized] = write_onnx(model, Path(folder) / name, "dynamic")
            tags, length = model_tags(model.config), window_length(tokenizer, model.config)
            gold = [convert_tags(each, detect_scheme(tags)) for each in devel["tags"]]
            size = quantized.stat().st_size / 1e6
            figures[name] = {"parameters": model.num_parameters(), "int8_mb": size}
            for kind, own in (("pytorch", model), ("int8", OnnxModel(quantized, model.config, threads=1))):
                logits = predict_words(own, tokenizer, sentences, length)
                counts = count(logits, gold, tags)
                ends = counts.intervals()
                figures[name][kind] = {"f1": counts.scores()["f1"], "low": ends["f1_low"], "high": ends["f1_high"]}
                calls[name, kind] = forward_passes(own, tokenizer, sample, 1)
        for (name, kind), seconds in in_turns(calls, rounds, 0).items():
            figures[name][kind]["ms"] = 1000 * seconds / len(sample)
    return figures


def draw(figures: dict[str, dict], path: Path) -> None:
    """Plot F1 against latency: PyTorch (hollow) and int8 (filled, with an area by the size of the file)."""
    figure = Figure(figsize=(6, 3.8), dpi=200, layout="constrained")
    axes = figure.subplots()
    for number, (name, each) in enumerate(figures.items()):
        colour = [*COLOURS, "#a83250"][number % (len(COLOURS) + 1)]
        slow, quick = each["pytorch"], each["int8"]
        axes.plot([slow["ms"], quick["ms"]], [slow["f1"], quick["f1"]], color=colour, linewidth=1, alpha=0.5)
        axes.scatter(slow["ms"], slow["f1"], 30, facecolor="white", edgecolor=colour, zorder=3)
        axes.scatter(quick["ms"], quick["f1"], 20 + 12 * each["int8_mb"], color=colour, alpha=0.85, zorder=2)
        # Names are above the points, but below if a slightly faster point of slightly higher F1 is close.
        below = any(
            1 < quick["ms"] / other[kind]["ms"] < 2.5 and 0 <= other[kind]["f1"] - quick["f1"] < 0.0075
            for other in figures.values()
            for kind in ("pytorch", "int8")
        )
        place = (quick["ms"], quick["f1"])
        label = axes.annotate(name, place, (0, -12 if below else 11), textcoords="offset points", color=colour)
        label.set(
            ha="left" if below else "center",
            va="top" if below else "bottom",
            path_effects=[withStroke(linewidth=3, foreground="white")],
        )
    axes.set_title(
        "full: ONNX Runtime, int8, the area by the file's size; hollow: PyTorch, fp32", size=9, color="#555555"
    )
    axes.set(xscale="log", xlabel="milliseconds for a sentence, one CPU thread", ylabel="F1 on BC2GM devel")
    axes.margins(0.1, 0.12)
    plain_log(axes.xaxis)
    style_axes(axes)
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default="../shared/data", help="folder that holds bc2gm/")
    parser.add_argument("--models", nargs="*", default=[], metavar="NAME=FOLDER")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    if args.models:
        folders = dict(each.split("=", 1) for each in args.models)
        write_json(FIGURES, measure(folders, args.data, args.rounds))
    figures = json.loads(FIGURES.read_text(encoding="utf-8"))
    rows = [
        [f"{name}, {kind}", f"{each[kind]['ms']:.2f}", f"{each[kind]['f1']:.4f}", f"{each['int8_mb']:.1f}"]
        for name, each in figures.items()
        for kind in ("pytorch", "int8")
    ]
    print(format_table(["", "ms", "F1", "int8 MB"], rows))
    draw(figures, FIGURES.with_suffix(".png"))


if __name__ == "__main__":
    main()
