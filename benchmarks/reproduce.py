"""Reproduce the result tables of the *BioBERT Distillation* script, and an ablation of the recipe.

    python benchmarks/reproduce.py --rows bilstm-15k bilstm-56k --epochs 5 --teacher ../shared/teacher
    python benchmarks/reproduce.py --table ablation --teacher ../shared/teacher

Each row of the tables is a file in configs/bc2gm. An interrupted row is resumed from its last checkpoint; a finished
one is not run again. After each row, all finished rows are written to `table.md`, and `augmentation.png` compares the
F1 of augmented sentences and of as many unlabelled ones (rows `unlabeled-...`). Arguments after `--` are passed to
run_distill.py.
"""

import argparse
import gzip
import itertools
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import ablation
import matplotlib
import yaml
from common import ROOT, markdown, run_resumable

matplotlib.use("Agg")
from matplotlib import pyplot  # noqa: E402

from hf_distill import augment, load_tsv  # noqa: E402


@dataclass
class Row:
    """A row of the tables: the script's token F1 and milliseconds of a forward pass (on its authors' GPU)."""

    token_f1: float | None = None
    milliseconds: float | None = None
    config: str = ""  # default: the name of the row
    like_rounds: int = 0  # add as many unlabelled sentences as this many rounds of augmentation would


ROWS = {
    "labels-15k-linear": Row(0.7745),
    "labels-15k": Row(0.7742),
    "labels-262k": Row(0.7786),
    "teacher": Row(0.8663, 9.1),
    "bilstm-15k": Row(0.7668, 1.64),
    "bilstm-56k-linear": Row(0.8004, 1.57),
    "bilstm-56k": Row(0.8010, 1.64),
    "bilstm-56k-bert": Row(0.8130, 1.79),
    "bilstm-138k-hidden200": Row(0.8165, 1.6),
    "bilstm-138k": Row(0.8210, 1.64),
    "bilstm-262k": Row(0.8284, 1.64),
    "tinybert-262k": Row(0.8452, 3.9),
    "unlabeled-56k": Row(config="bilstm-15k", like_rounds=1),
    "unlabeled-138k": Row(config="bilstm-15k", like_rounds=3),
}
AUGMENTED = ("bilstm-15k", "bilstm-56k", "bilstm-138k", "bilstm-262k")
UNLABELED = ("bilstm-15k", "unlabeled-56k", "unlabeled-138k")


def settings(name: str) -> dict:
    return yaml.safe_load((ROOT / "configs" / "bc2gm" / f"{ROWS[name].config or name}.yaml").read_text())


def folder_of(output: Path, name: str, epochs: int | None) -> Path:
    own = settings(name)["num_train_epochs"]
    return output / (f"{name}-{epochs}-epochs" if epochs and epochs < own else name)


def run_row(name: str, args: argparse.Namespace, extra: list[str]) -> None:
    """Run or resume a row; its seconds are recorded without interruptions."""
    folder = folder_of(args.output, name, args.epochs)
    teacher = args.teacher or folder_of(args.output, "teacher", args.epochs)
    flags = {
        "output_dir": folder,
        "path_to_train": args.data / "bc2gm" / "train.tsv",
        "path_to_val": args.data / "bc2gm" / "devel.tsv",
    }
    if name != "teacher":
        flags["teacher_model_name_or_path"] = teacher
        if not Path(teacher).exists() and not args.teacher:
            raise SystemExit(f"{teacher} does not exist: run the row `teacher` first, or give one with --teacher.")
    elif args.teacher:
        flags |= {"student_model_name_or_path": teacher, "do_train": 0}
    if args.epochs:
        flags["num_train_epochs"] = min(args.epochs, settings(name)["num_train_epochs"])
    if ROWS[name].like_rounds:
        flags["path_to_unlabeled"] = unlabeled_like(ROWS[name].like_rounds, args)
    config = ROOT / "configs" / "bc2gm" / f"{ROWS[name].config or name}.yaml"
    command = [str(config), *(str(part) for flag, value in flags.items() for part in (f"--{flag}", value)), *extra]
    run_resumable(command, folder, "benchmark.json")


def unlabeled_like(rounds: int, args: argparse.Namespace) -> Path:
    """A file of the first unlabelled sentences, as many as `rounds` of augmentation create."""
    path = args.output / f"unlabeled-{rounds}-rounds.txt.gz"
    if not path.exists():
        number = len(augment(load_tsv(str(args.data / "bc2gm" / "train.tsv"), "IOBES"), rounds))
        with open(args.data / "biomedical_unlabeled.txt", encoding="utf-8") as file:
            lines = list(itertools.islice(file, number))
        if len(lines) < number:
            raise SystemExit(f"{number:,} sentences are needed, but the unlabelled data has only {len(lines):,}.")
        path.parent.mkdir(parents=True, exist_ok=True)
        with gzip.open(f"{path}.tmp", "wt", encoding="utf-8") as file:
            file.writelines(lines)
        os.replace(f"{path}.tmp", path)
    return path


def finished(output: Path) -> list[tuple[str, Path, dict, dict]]:
    """(row, folder, results, benchmark) of each finished run, in the order of the tables."""
    folders = [
        (name, folder) for name in ROWS for folder in [output / name, *sorted(output.glob(f"{name}-[0-9]*-epochs"))]
    ]
    return [
        (name, folder, *(json.loads((folder / file).read_text()) for file in ("all_results.json", "benchmark.json")))
        for name, folder in folders
        if (folder / "benchmark.json").exists()
    ]


def epochs_of(folder: Path) -> int:
    return int(json.loads((folder / "job.json").read_text())["num_train_epochs"])


def table(output: Path) -> str:
    """The finished rows as a Markdown table."""
    header = [
        "row",
        "mentions",
        "epochs",
        "token F1",
        "reference",
        "F1",
        "MiB on disk",
        "p50 ms",
        "202 padded ms",
        "reference ms",
        "minutes",
    ]
    lines = []
    for name, folder, results, benchmark in finished(output):
        trained = json.loads((folder / "job.json").read_text())["do_train"]
        student, row, record = benchmark["student"], ROWS[name], folder / "row.json"
        lines.append(
            [
                name,
                f"{results['train_mentions']:,}",
                str(epochs_of(folder)) if trained else "given",
                f"{results['eval_token_f1']:.4f}",
                f"{row.token_f1:.4f}" if row.token_f1 else "",
                f"{results['eval_f1']:.4f}",
                f"{student['bytes_on_disk'] / 2**20:.1f}",
                f"{student['batch_1']['p50_ms']:.2f}",
                f"{student['padded_202']['mean_ms']:.2f}",
                f"{row.milliseconds or ''}",
                f"{json.loads(record.read_text())['seconds'] / 60:.1f}" if record.exists() else "",
            ]
        )
    return markdown(header, lines)


def plot(output: Path) -> None:
    """Plot F1 against the number of words labelled by the teacher, for augmented and for unlabelled sentences."""
    figure, axes = pyplot.subplots(figsize=(6, 4), layout="constrained")
    done = finished(output)
    for label, rows, marker in (("augmented", AUGMENTED, "o"), ("unlabelled text", UNLABELED, "s")):
        points = sorted(
            (results["train_words"] / 1e6, results["eval_f1"], epochs_of(folder))
            for name, folder, results, _ in done
            if name in rows
        )
        axes.scatter([words for words, _, _ in points], [f1 for _, f1, _ in points], marker=marker, label=label)
        for words, f1, epochs in points:
            below = (0, -14) if marker == "o" else (0, 7)
            axes.annotate(f"{epochs} ep.", (words, f1), below, textcoords="offset points", ha="center", fontsize=8)
    for results in [results for name, _, results, _ in done if name == "teacher"][:1]:
        axes.axhline(results["eval_f1"], linestyle="--", color="grey", label="teacher")
    axes.set(xlabel="million words labelled by the teacher", ylabel="F1 on BC2GM devel")
    axes.margins(0.1)
    axes.legend()
    figure.savefig(output / "augmentation.png", dpi=150)
    pyplot.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", default="reference", choices=["reference", "ablation"])
    parser.add_argument("--seeds", type=int, nargs="*", default=[42, 43], help="seeds of the ablation")
    parser.add_argument("--rows", nargs="*", help="names of rows; default: all twelve, or all of the ablation")
    parser.add_argument("--epochs", type=int, help="maximum number of epochs")
    parser.add_argument("--data", type=Path, default="../shared/data", help="folder that holds bc2gm/")
    parser.add_argument("--teacher", help="a fine-tuned teacher, instead of that of the row `teacher`")
    parser.add_argument("--output", type=Path, default="outputs/bc2gm")
    given = sys.argv[1:]
    cut = given.index("--") if "--" in given else len(given)
    args = parser.parse_args(given[:cut])
    extra = given[cut + 1 :]
    if args.table == "ablation" and not args.teacher:
        parser.error("the ablation needs a --teacher")
    rows = ablation.ROWS if args.table == "ablation" else ROWS
    chosen = args.rows or (list(rows) if args.table == "ablation" else list(rows)[:12])
    if unknown := [name for name in chosen if name not in rows]:
        parser.error(f"--rows: {unknown[0]!r} is none of {', '.join(map(repr, rows))}")
    if args.table == "ablation":
        ablation.run_rows(chosen, args.teacher, args.data, args.output, args.seeds, extra)
        return
    for name in chosen:
        run_row(name, args, extra)
        (args.output / "table.md").write_text(table(args.output))
        plot(args.output)
    print(table(args.output))


if __name__ == "__main__":
    main()
