"""Ablation of the recipe for a small student: one setting changed at a time.

Run by `python benchmarks/reproduce.py --table ablation`, with fewer unlabelled sentences than the recipe uses.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import yaml
from common import ROOT, markdown, predicted, run_resumable

from hf_distill.data.readers.labelled import load_tsv
from hf_distill.evaluation.metrics import f1_difference

BASE = {"transfer_sentences": 24_000, "num_train_epochs": 3, "export": None}


@dataclass
class Change:
    """The settings that a row changes in the recipe (None: removes), and whether it uses unlabelled text."""

    settings: dict
    unlabeled: bool = True


ROWS = {
    "recipe": Change({}),
    "loss between logits: MSE": Change({"logit_loss": "mse"}),
    "temperature 2": Change({"temperature": 2}),
    "learning rate 1e-3": Change({"learning_rate": "1e-3"}),
    "learning rate 1e-2": Change({"learning_rate": "1e-2"}),
    "batches of 16": Change({"per_device_train_batch_size": 16}),
    "batches of 64": Change({"per_device_train_batch_size": 64}),
    "dropout 0.5": Change({"dropout": 0.5}),
    "no dropout of embeddings": Change({"embedding_dropout": 0}),
    "the teacher's vocabulary": Change({"vocabulary_size": 0}),
    "new embeddings": Change({"embedding_type": "train"}),
    "IOB2": Change({"tag_scheme": "IOB2"}),
    "a tenth of the loss from the labels": Change({"alpha": 0.1}),
    "one LSTM layer": Change({"n_layers": 1}),
    "48,000 sentences, half the epochs": Change({"transfer_sentences": 48_000, "num_train_epochs": 1.8}),
    "augmented sentences for the unlabelled ones": Change({}, unlabeled=False),
    "labelled sentences alone, as many steps": Change(
        {"transfer_sentences": 0, "num_train_epochs": 9}, unlabeled=False
    ),
}


def run_rows(teacher: str, data: Path, output: Path, seeds: list[int], extra: list[str]) -> None:
    """Run all rows for each seed, and write `ablation.md` after each run."""
    recipe = yaml.safe_load((ROOT / "configs" / "recipe_small.yaml").read_text()) | BASE
    for seed in seeds:
        for name, change in ROWS.items():
            folder = folder_of(output, name, seed)
            settings = (
                recipe
                | change.settings
                | {
                    "output_dir": str(folder),
                    "seed": seed,
                    "teacher_model_name_or_path": teacher,
                    "path_to_train": str(data / "bc2gm" / "train.tsv"),
                    "path_to_val": str(data / "bc2gm" / "devel.tsv"),
                }
            )
            if change.unlabeled:
                settings["path_to_unlabeled"] = str(data / "biomedical_unlabeled.txt")
            flags = [f"--{key}={value}" for key, value in settings.items() if value is not None]
            run_resumable([*flags, *extra], folder, "all_results.json")
            (output / "ablation.md").write_text(table(output, data))
    print(table(output, data))


def folder_of(output: Path, name: str, seed: int) -> Path:
    return output / "ablation" / f"{name.replace(' ', '-').replace(',', '').replace(':', '')}-{seed}"


def table(output: Path, data: Path) -> str:
    """The finished rows: F1 by seed, the mean, and each seed's difference to the recipe with its 95 % interval."""
    gold = load_tsv(str(data / "bc2gm" / "devel.tsv"), "IOBES")["tags"][:]
    seeds = sorted({int(path.name.rpartition("-")[2]) for path in (output / "ablation").glob("*-*")})
    lines = []
    for name in ROWS:
        folders = {seed: folder_of(output, name, seed) for seed in seeds}
        done = {seed: folder for seed, folder in folders.items() if (folder / "all_results.json").exists()}
        if not done:
            continue
        scores = [json.loads((folder / "all_results.json").read_text())["eval_f1"] for folder in done.values()]
        minutes = [json.loads((folder / "row.json").read_text())["seconds"] / 60 for folder in done.values()]
        differences = []
        for seed, folder in done.items():
            base = folder_of(output, "recipe", seed)
            if name != "recipe" and (base / "all_results.json").exists():
                found = f1_difference(*(predicted(each / "predictions_eval.tsv") for each in (folder, base)), gold)
                differences.append(f"{found.value:+.4f} ({found.low:+.4f} to {found.high:+.4f})")
        each = ", ".join(f"{score:.4f}" for score in scores)
        lines.append([name, each, f"{sum(scores) / len(scores):.4f}", ", ".join(differences), f"{max(minutes):.1f}"])
    return markdown(["", "F1 by seed", "mean", "to the recipe (95 %)", "minutes"], lines)
