"""Answers instead of a teacher: students of the micro recipe on BC2GM, by what teaches them.

    python benchmarks/annotations.py --data DATA --teacher TEACHER --encoder ENCODER --seeds 42 43

The teacher answers 24,000 unlabelled sentences as a black box would: with mentions, with and without scores. Nine
tenths of the training data are learnt from, a tenth is the run's development data, and nothing is chosen on it: the
last checkpoint counts. Devel is the test data. An interrupted row is resumed; a finished one is not run again.
"""

import argparse
import json
import random
from pathlib import Path

import yaml
from common import LAST_CHECKPOINT, ROOT, TAGS, compare, load, run_resumable, split_corpus

from hf_distill import SignalStore, load_teacher, load_tsv, load_unlabeled
from hf_distill.files import write_columns
from hf_distill.runtime.mentions import find_mentions
from hf_distill.teachers.signals import read_signals

ALONE = {"distillation": 0, "transfer_sentences": 0}
# Flags of each row; FILES stand for the files of `prepare`.
ROWS: dict[str, dict] = {
    "labels alone": {"path_to_train": "train", "num_train_epochs": 9} | ALONE,
    "distributions of the teacher": {"path_to_train": "train", "teacher": True},
    "mentions with scores": {"path_to_train": "train", "path_to_annotations": "scored"},
    "mentions as labels": {"path_to_train": "train", "path_to_annotations": "plain", "annotation_confidence": 1},
    "mentions, one confidence": {"path_to_train": "train", "path_to_annotations": "plain"},
    "1,000 sentences, labels alone": {"path_to_train": "thousand", "num_train_epochs": 40} | ALONE,
    "1,000 sentences and mentions with scores": {"path_to_train": "thousand", "path_to_annotations": "scored"},
    "no labels, mentions with scores": {"path_to_annotations": "scored"},
}


def prepare(args: argparse.Namespace) -> dict[str, Path]:
    """Write the splits, the text and the answers, unless they are there; return their files."""
    files = split_corpus(args.data, args.output) | {"thousand": args.output / "thousand.tsv"}
    files |= {name: args.output / f"{name}.jsonl" for name in ("scored", "plain")}
    if all(path.exists() for path in files.values()):
        return files
    train = load_tsv(str(files["train"]), "IOBES")
    thousand = train.select(sorted(random.Random(0).sample(range(len(train)), 1000)))
    write_columns(files["thousand"], thousand["tokens"], thousand["tags"])

    teacher = load_teacher(args.teacher, TAGS)
    scored, plain = [], []
    for corpus in (load_unlabeled([str(files["text"])]), load(args.data, "devel")):
        words = [{"text": " ".join(own), "words": own, "rule": None} for own in corpus["tokens"]]
        signals = read_signals([SignalStore(teacher, corpus, args.output / "signals")])
        for located, _, mentions in find_mentions(words, signals, TAGS):
            scored.append({"text": located["text"], "mentions": mentions})
            plain.append({"text": located["text"], "mentions": [each | {"score": None} for each in mentions]})
    for name, texts in (("scored", scored), ("plain", plain)):
        files[name].write_text("".join(json.dumps(each) + "\n" for each in texts), encoding="utf-8")
    return files


def run_row(name: str, seed: int, files: dict[str, Path], args: argparse.Namespace) -> Path:
    """Run or resume a row; return its folder."""
    folder = args.output / f"{name.replace(' ', '-').replace(',', '')}-{seed}"
    flags = yaml.safe_load((ROOT / "configs" / "recipe_micro.yaml").read_text()) | LAST_CHECKPOINT | ROWS[name]
    if flags.pop("teacher", False):
        flags |= {"teacher_model_name_or_path": args.teacher, "path_to_unlabeled": "text"}
    else:
        flags |= {"embeddings_from": args.encoder}
    flags |= {"path_to_val": "val", "path_to_test": "test", "seed": seed}
    flags |= {"output_dir": folder, "signals_dir": args.output / "signals"}
    run_resumable([f"--{key}={files.get(value, value)}" for key, value in flags.items()], folder, "all_results.json")
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder that holds bc2gm/ and the unlabelled text")
    parser.add_argument("--teacher", required=True, help="a token classifier of genes")
    parser.add_argument("--encoder", required=True, help="whose word embeddings students without a teacher start from")
    parser.add_argument("--seeds", type=int, nargs="+", default=[42, 43])
    parser.add_argument("--output", type=Path, default="outputs/annotations")
    args = parser.parse_args()
    files = prepare(args)
    rows: dict[str, dict[int, Path]] = {}
    for name in ROWS:
        rows[name] = {seed: run_row(name, seed, files, args) for seed in args.seeds}
        table, runs = compare(rows)
        (args.output / "annotations.md").write_text(table)
        (args.output / "annotations.json").write_text(json.dumps(runs, indent=1))
    print(table)


if __name__ == "__main__":
    main()
