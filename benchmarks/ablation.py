"""Ablation of the recipe for a micro student: one setting changed at a time.

Run by `python benchmarks/reproduce.py --table ablation`, with fewer unlabelled sentences than the recipe uses. Nothing
is chosen on the data that F1 is measured on (`split_corpus`).
"""

import json
from collections.abc import Sequence
from pathlib import Path

import yaml
from common import LAST_CHECKPOINT, ROOT, compare, run_resumable, split_corpus

# What a row changes in the recipe; None removes.
ROWS: dict[str, dict] = {
    "recipe": {},
    "words as the tokenizer shows them": {"word_feature_rows": 0},
    "nothing from the labels": {"alpha": 0},
    "smoothed labels": {"label_smoothing_factor": 0.1},
    "no loss between tag sequences": {"sequence_loss_weight": 0},
    "none of the three, 12,000 subwords": {
        "word_feature_rows": 0,
        "alpha": 0,
        "sequence_loss_weight": 0,
        "vocabulary_size": 12000,
    },
    "loss between logits: MSE": {"logit_loss": "mse", "sequence_loss_weight": 0},
    "temperature 2": {"temperature": 2},
    "learning rate 1e-3": {"learning_rate": "1e-3"},
    "learning rate 1e-2": {"learning_rate": "1e-2"},
    "batches of 16": {"per_device_train_batch_size": 16},
    "batches of 64": {"per_device_train_batch_size": 64},
    "dropout 0.5": {"dropout": 0.5},
    "no dropout of embeddings": {"embedding_dropout": 0},
    "the teacher's vocabulary": {"vocabulary_size": 0},
    "new embeddings": {"embedding_type": "train"},
    "IOB2": {"tag_scheme": "IOB2"},
    "a tenth of the loss from the labels": {"alpha": 0.1},
    "half of the loss between tag sequences": {"sequence_loss_weight": 0.5},
    "two companions": {"companions": 2},
    "one LSTM layer": {"n_layers": 1},
    "three stacks": {"n_stacks": 3, "num_train_epochs": 9, "per_device_train_batch_size": 96},
    "augmented sentences for the unlabelled ones": {"path_to_unlabeled": None},
    "labelled sentences alone, as many steps": {
        "path_to_unlabeled": None,
        "transfer_sentences": 0,
        "num_train_epochs": 9,
    },
}


def run_rows(
    rows: Sequence[str], teacher: str, data: Path, output: Path, seeds: Sequence[int], extra: Sequence[str]
) -> None:
    """Run rows for each seed; after each run write `ablation.md`, and the figures of all runs to `ablation.json`."""
    files = split_corpus(data, output / "ablation")
    for seed in seeds:
        for name in rows:
            flags = settings(name, files) | {
                "teacher_model_name_or_path": teacher,
                "output_dir": folder_of(output, name, seed),
                "seed": seed,
            }
            given = [f"--{key}={value}" for key, value in flags.items() if value is not None]
            run_resumable([*given, *extra], folder_of(output, name, seed), "all_results.json")
            write_table(output)
    print((output / "ablation.md").read_text())


def settings(name: str, files: dict[str, Path]) -> dict:
    """The settings of a row, on the files of `split_corpus`."""
    recipe = yaml.safe_load((ROOT / "configs" / "recipe_micro.yaml").read_text()) | LAST_CHECKPOINT
    recipe |= {f"path_to_{part}": files[part] for part in ("train", "val", "test")}
    return recipe | {"path_to_unlabeled": files["text"]} | ROWS[name]


def folder_of(output: Path, name: str, seed: int) -> Path:
    return output / "ablation" / f"{name.replace(' ', '-').replace(',', '').replace(':', '')}-{seed}"


def write_table(output: Path) -> None:
    """Write `ablation.md` and `ablation.json` of the finished runs."""
    found: dict[str, dict[int, Path]] = {}
    seeds = sorted({int(path.name.rpartition("-")[2]) for path in (output / "ablation").glob("*-*") if path.is_dir()})
    for name in ROWS:
        folders = {seed: folder_of(output, name, seed) for seed in seeds}
        done = {seed: folder for seed, folder in folders.items() if (folder / "all_results.json").exists()}
        if done:
            found[name] = done
    table, runs = compare(found)
    (output / "ablation.md").write_text(table)
    (output / "ablation.json").write_text(json.dumps(runs, indent=1))
