"""The students that the recipes make, for several seeds, by their last checkpoints.

    python benchmarks/recipes.py --data ../shared/data --teacher ../shared/teacher TEACHER-2 TEACHER-3

The recipes are those of configs/, untouched. Each student learns from the whole training file and from text without
labels, its last checkpoint counts, and F1 is that on the development file, which nothing else looks at. Of other
corpora (`--corpus jnlpba`, `--corpus wnut17`) the teacher is `--teacher`, fine-tuned first, and a BiLSTM of labels
alone is trained beside each (one made of the teacher's layers would be the teacher again). A run that was interrupted
goes on. After each, `CORPUS.md` has the table and `CORPUS.json` all figures. Arguments after `--` are passed to
run_distill.py.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

from common import markdown, run_resumable

RECIPES = ("recipe_micro", "recipe_tiny", "recipe_small", "recipe", "recipe_transformer")
# Training and development file, and what else a corpus needs.
CORPORA = {
    "bc2gm": ("train.tsv", "devel.tsv", []),
    "jnlpba": ("train.tsv", "devel.tsv", ["--do_train_teacher", "1"]),
    "wnut17": ("train.conll", "devel.conll", ["--do_train_teacher", "1"]),
}
# What a program without PyTorch needs of a student's folder.
PARTS = ("onnx/model_quantized.onnx", "config.json", "tokenizer.json", "tokenizer_config.json")
KEPT = "parameters int8_bytes int8_f1 eval_precision eval_recall".split()  # beside all that has eval_f1 in its name
UNLABELED = "biomedical_unlabeled.txt"
FIELD = ("bc2gm", "jnlpba")  # whose field the unlabelled text is of; the other learns from augmented sentences


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", choices=list(CORPORA), default="bc2gm")
    parser.add_argument("--recipes", nargs="*", default=RECIPES)
    parser.add_argument("--seeds", type=int, nargs="*", default=[42, 43, 44])
    parser.add_argument("--data", type=Path, default="../shared/data", help="folder that holds bc2gm/ and the text")
    parser.add_argument("--teacher", nargs="+", required=True, help="teachers, or encoders to make them of")
    parser.add_argument("--output", type=Path, default="outputs/recipes")
    given = sys.argv[1:]
    cut = given.index("--") if "--" in given else len(given)
    args = parser.parse_args(given[:cut])
    for seed in args.seeds:
        for recipe in args.recipes:
            run(recipe, seed, args, given[cut + 1 :])
            write_table(args.output, args.corpus)
    print((args.output / f"{args.corpus}.md").read_text())


def run(recipe: str, seed: int, args: argparse.Namespace, extra: Sequence[str]) -> None:
    """Run or resume a recipe with a seed."""
    train, devel, flags = CORPORA[args.corpus]
    files = {"path_to_train": args.data / args.corpus / train, "path_to_val": args.data / args.corpus / devel}
    if args.corpus in FIELD:
        files["path_to_unlabeled"] = args.data / UNLABELED
    folder = args.output / f"{args.corpus}-{recipe}-{seed}"
    values = {
        **files,
        "output_dir": folder,
        "seed": seed,
        "drop_leaked": 1,
        "eval_strategy": "no",
        "load_best_model_at_end": 0,
        # What the teacher says of the text is computed once for all.
        "signals_dir": args.output / "signals",
    }
    if flags and recipe != "recipe_transformer":
        values["do_train_baseline"] = 1
    config = Path(__file__).parents[1] / "configs" / f"{recipe}.yaml"
    command = [str(config), "--teacher_model_name_or_path", *args.teacher]
    command += [str(part) for name, value in values.items() for part in (f"--{name}", value)]
    run_resumable([*command, *flags, *extra], folder, "manifest.json")


def write_table(output: Path, corpus: str) -> None:
    """Write the table and the figures of a corpus's finished runs."""
    lines, runs = [], []
    for recipe in RECIPES:
        folders = sorted(path.parent for path in output.glob(f"{corpus}-{recipe}-[0-9]*/manifest.json"))
        if not folders:
            continue
        results = [json.loads((folder / "all_results.json").read_text()) for folder in folders]
        for folder, each in zip(folders, results, strict=True):
            seconds = json.loads((folder / "row.json").read_text())["seconds"]
            figures = {name: value for name, value in each.items() if name in KEPT or "eval_f1" in name}
            size = sum((folder / name).stat().st_size for name in PARTS if (folder / name).exists())
            seed = int(folder.name.rpartition("-")[2])
            runs.append({"recipe": recipe, "seed": seed, "bytes_in_all": size, "seconds": round(seconds)} | figures)
        own = runs[-len(folders) :]
        lines.append(
            [
                f"`{recipe}`",
                f"{own[0]['parameters'] / 1e6:.1f} M",
                f"{own[0]['bytes_in_all'] / 1e6:.2f} MB",
                span([each["eval_f1"] for each in own]),
                span([each["int8_f1"] for each in own]),
                span([each["teacher_eval_f1"] for each in own]),
                span([each["baseline_eval_f1"] for each in own]) if "baseline_eval_f1" in own[0] else "",
                ", ".join(f"{each['seconds'] / 60:.0f}" for each in own),
            ]
        )
    header = ["recipe", "parameters", "int8, in all", "F1", "F1 in int8", "the teacher's", "labels alone", "minutes"]
    (output / f"{corpus}.md").write_text(markdown(header, lines))
    (output / f"{corpus}.json").write_text(json.dumps(runs, indent=1))


def span(values: Sequence[float]) -> str:
    """The mean, and the range of several seeds."""
    if len(values) == 1:
        return f"{values[0]:.4f}"
    return f"{statistics.mean(values):.4f} ({min(values):.4f} to {max(values):.4f})"


if __name__ == "__main__":
    main()
