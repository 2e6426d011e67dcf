"""Time to tag 1,000,000 sentences with `run_distill.py predict`, for a teacher and a student.

    python benchmarks/prediction.py --data ../shared/data --teacher ../shared/teacher --student student

Measured on a part of the unlabelled text. Prints a table and, last, one line of JSON:

- `student_per_second`, `teacher_per_second`: sentences per second from file to file, on all cores or the GPU, without
  start-up (from the difference between a longer and a shorter text);
- `student_hours`, `teacher_hours`: for 1,000,000 sentences at this speed;
- `bare_per_second`: sentences per second of the student's int8 file in ONNX Runtime, on all threads, or with `--device
  cuda` of its model in PyTorch, on prepared batches of 32 of the same sentences, sorted by length;
- `predict_vs_bare`: `student_per_second` over `bare_per_second`.
"""

import argparse
import os
import random
import tempfile
import time
from pathlib import Path

from common import finish, forward_passes, in_turns, print_json
from transformers import AutoConfig, AutoModelForTokenClassification, PreTrainedModel

from hf_distill.arguments import PredictionArguments
from hf_distill.files import format_table
from hf_distill.prediction import predict as prediction
from hf_distill.runtime.onnx_model import QUANTIZED_NAME, OnnxModel
from hf_distill.teachers.loading import load_tokenizer

BATCH, MILLION = 32, 1_000_000


def speed(model: str, sentences: list[str], times: int) -> float:
    """Sentences per second, from file to file: the time for `1 + times` copies of the text minus that for one."""
    # One chunk per process, so that the shorter run starts all processes, too.
    prediction.CHUNK_TEXTS = min(prediction.CHUNK_TEXTS, -(-len(sentences) // len(os.sched_getaffinity(0))))
    seconds = []
    with tempfile.TemporaryDirectory() as folder:
        source, output = Path(folder) / "in.txt", Path(folder) / "out.jsonl"
        for repeated in (1, 1 + times):
            source.write_text("".join(f"{sentence}\n" for sentence in sentences) * repeated, encoding="utf-8")
            start = time.perf_counter()
            prediction.predict(PredictionArguments(model, [str(source)], str(output)))
            seconds.append(time.perf_counter() - start)
    return times * len(sentences) / (seconds[1] - seconds[0])


def bare_speed(student: str, sentences: list[str], rounds: int, device: str) -> float:
    """Sentences per second of the student's forward passes only."""
    config, tokenizer = AutoConfig.from_pretrained(student), load_tokenizer(student)
    if device == "cpu":
        model = OnnxModel(Path(student) / "onnx" / QUANTIZED_NAME, config)
    else:
        model = AutoModelForTokenClassification.from_pretrained(student).to(device).eval()

    run = forward_passes(model, tokenizer, [sentence.split() for sentence in sentences], BATCH)
    wait = finish(run, model) if isinstance(model, PreTrainedModel) else run
    return len(sentences) / in_turns({"bare": wait}, rounds, 0)["bare"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default="../shared/data", help="folder with biomedical_unlabeled.txt")
    parser.add_argument("--teacher", default="../shared/teacher", help="a token classifier")
    parser.add_argument("--student", required=True, help="folder of a distilled student with its ONNX files")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--student_sentences", type=int, default=4096)
    parser.add_argument("--teacher_sentences", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    if args.device == "cpu":
        os.environ["ACCELERATE_USE_CPU"] = "1"
    path = args.data / "biomedical_unlabeled.txt"
    lines = path.read_text(encoding="utf-8").splitlines()
    random.Random(0).shuffle(lines)
    student = speed(args.student, lines[: args.student_sentences], 8)
    bare = bare_speed(args.student, lines[: args.student_sentences], args.rounds, args.device)
    teacher = speed(args.teacher, lines[: args.teacher_sentences], 1)
    figures = {"student_per_second": student, "bare_per_second": bare, "teacher_per_second": teacher}
    hours = {name: f"{MILLION / value / 3600:,.2f}" for name, value in figures.items()}
    names = ("student, predict", "student, ready-made batches", "teacher, predict")
    rows = [[name, f"{figures[key]:,.0f}", hours[key]] for name, key in zip(names, figures, strict=True)]
    print(format_table(["", "sentences per second", f"hours for {MILLION:,}"], rows))
    figures |= {f"{name}_hours": MILLION / speed / 3600 for name, speed in (("student", student), ("teacher", teacher))}
    print_json(figures | {"predict_vs_bare": student / bare})


if __name__ == "__main__":
    main()
