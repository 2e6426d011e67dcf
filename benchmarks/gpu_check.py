"""Whether a GPU gives the answers of the CPU, for a student and a teacher.

    python benchmarks/gpu_check.py --data ../shared/data --teacher ../shared/teacher --student student --device cuda

Prints a table and, last, one line of JSON; the exit status is 1 if a figure is beyond its limit.

- `student_fp32`, `student_tf32`, `student_bf16`: largest difference of the student's logits on the GPU (cuDNN on packed
  sequences for a BiLSTM) from those of the CPU in fp32, over the largest logit; 600 sentences of BC2GM devel. tf32 is
  PyTorch's default for cuDNN;
- `student_bf16_tags`, `teacher_bf16_tags`: share of the words with the tag of the CPU in fp32, decoded word by word;
- `update_fp32`: two training steps with plain gradient descent: the norm of the difference of the weights from those
  of the CPU, over the norm of the change;
- `predict_student`, `predict_teacher`: share of sentences with the same mentions from `run_distill.py predict`
  on the GPU and on the CPU, in PyTorch.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from common import ROOT, load
from datasets import Dataset, disable_progress_bars
from safetensors.torch import load_file, save_file
from transformers import AutoModelForTokenClassification
from transformers.utils import logging

from hf_distill import (
    DistillationArguments,
    DistillationTrainer,
    SignalStore,
    Teacher,
    attach_signals,
    encode_dataset,
    load_teacher,
)
from hf_distill.files import format_table
from hf_distill.runtime.schemes import model_tags
from hf_distill.teachers.loading import load_tokenizer

SENTENCES = 600
LEAST = {"student_bf16_tags": 0.995, "teacher_bf16_tags": 0.995, "predict_student": 0.995, "predict_teacher": 0.995}
MOST = {"student_fp32": 1e-4, "student_tf32": 1e-2, "student_bf16": 5e-2, "update_fp32": 1e-3}


def compare_logits(name: str, labeller: Teacher, sentences: list[list[str]], device: str) -> dict[str, float]:
    """The figures `NAME_...` of a student or teacher."""
    expected = np.concatenate(labeller.predict(sentences))
    labeller.model.to(device)
    figures = {}
    for form, tf32, bf16 in (("fp32", False, False), ("tf32", True, False), ("bf16", True, True)):
        torch.backends.cudnn.allow_tf32 = tf32
        logits = np.concatenate(labeller.predict(sentences, bf16))
        figures[f"{name}_{form}"] = float(abs(logits - expected).max() / abs(expected).max())
    figures[f"{name}_bf16_tags"] = float((logits.argmax(-1) == expected.argmax(-1)).mean())
    return figures


def train(args: argparse.Namespace) -> None:
    """Two training steps on `args.train` (a device), for the comparison of the weights."""
    torch.backends.cudnn.allow_tf32 = False
    tokenizer = load_tokenizer(args.student)
    student = AutoModelForTokenClassification.from_pretrained(args.student, dropout=0.0, embedding_dropout=0.0)
    tags = model_tags(student.config)
    corpus = load(args.data, "devel").select(range(64))
    with tempfile.TemporaryDirectory() as folder:
        store = SignalStore(load_teacher(args.teacher, tags), corpus, folder)
        trainer = DistillationTrainer(
            student,
            DistillationArguments(
                folder,
                learning_rate=0.1,
                optim="sgd",
                lr_scheduler_type="constant",
                max_steps=2,
                bf16=False,
                use_cpu=args.train == "cpu",
                eval_strategy="no",
                report_to="none",
                disable_tqdm=True,
            ),
            processing_class=tokenizer,
            train_dataset=attach_signals([store], encode_dataset(corpus, tokenizer, 512, tags)),
        )
        trainer.train()
    state = {key: value.cpu().contiguous() for key, value in student.state_dict().items()}
    save_file(state, args.output)


def compare_training(args: argparse.Namespace, folder: Path) -> float:
    """The figure `update_fp32`."""
    weights = [load_file(args.student / "model.safetensors")]
    for device in ("cpu", args.device):
        file = folder / f"{device}.safetensors"
        paths = ["--data", args.data, "--teacher", args.teacher, "--student", args.student]
        subprocess.run([sys.executable, __file__, *paths, "--train", device, "--output", file], check=True)
        weights.append(load_file(file))
    before, cpu, other = (torch.cat([state[key].float().flatten() for key in sorted(state)]) for state in weights)
    return float((other - cpu).norm() / (cpu - before).norm())


def compare_predictions(model: Path, corpus: Dataset, device: str, folder: Path) -> float:
    """Share of sentences with the same mentions."""
    source = folder / "in.txt"
    source.write_text("".join(" ".join(words) + "\n" for words in corpus["tokens"]), encoding="utf-8")
    answers = []
    for turn in ("cpu", device):
        command = [sys.executable, str(ROOT / "run_distill.py"), "predict", model, "--input", source]
        command += ["--runtime", "pytorch", "--output", folder / f"{turn}.jsonl"]
        environment = os.environ | ({"ACCELERATE_USE_CPU": "1"} if turn == "cpu" else {})
        subprocess.run(command, check=True, env=environment)
        with open(folder / f"{turn}.jsonl", encoding="utf-8") as file:
            lines = [json.loads(line) for line in file]
        answers.append(
            [[(one["entity_group"], one["start"], one["end"]) for one in line["mentions"]] for line in lines]
        )
    return float(np.mean([one == other for one, other in zip(*answers, strict=True)]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default="../shared/data", help="folder that holds bc2gm/")
    parser.add_argument("--teacher", type=Path, default="../shared/teacher", help="a token classifier")
    parser.add_argument("--student", type=Path, required=True, help="folder of a distilled student")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--train", help=argparse.SUPPRESS)  # for the subprocesses
    parser.add_argument("--output", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    disable_progress_bars()
    logging.set_verbosity_error()
    if args.train:
        train(args)
        return
    corpus = load(args.data, "devel").take(SENTENCES)
    figures = {}
    with tempfile.TemporaryDirectory() as temporary:
        for name in ("student", "teacher"):
            folder = Path(temporary) / name
            folder.mkdir()
            path = getattr(args, name)
            labeller = load_teacher(str(path), ["O", "B-GENE", "I-GENE", "E-GENE", "S-GENE"])
            figures |= compare_logits(name, labeller, corpus["tokens"], args.device)
            figures[f"predict_{name}"] = compare_predictions(path, corpus, args.device, folder)
        figures["update_fp32"] = compare_training(args, Path(temporary))
    failed = [key for key in figures if figures[key] < LEAST.get(key, 0) or not figures[key] <= MOST.get(key, 1)]
    hardware = torch.cuda.get_device_name() if args.device == "cuda" else args.device
    limits = {key: f"at least {value:g}" for key, value in LEAST.items()}
    limits |= {key: f"at most {value:g}" for key, value in MOST.items()}
    rows = [[key, f"{value:.6f}", limits.get(key, ""), "FAILED" * (key in failed)] for key, value in figures.items()]
    print(format_table([hardware, "", "limit", ""], rows))
    print(json.dumps({"device": hardware} | figures))
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
