"""Memory and seconds of a whole run on very many unlabelled sentences, by stage: docs/scale.md.

    python benchmarks/scale.py --data ../shared/data --sentences 250000 1000000

Each size is a run of `run_distill.py` of its own: BC2GM, a tiny random BERT as the teacher, the recipe of the small
student with 200 steps of training. The sentences are made of the unlabelled text by a seed: a seventh of the words of
each are drawn anew, and some are new words, spliced of two, so that their number grows with the text as that of real
words does. No two are the same. There are a twentieth more of them than are used, so that they are drawn, too.

Memory is that of all processes of the run, sampled five times a second: their own pages (anonymous and shared memory,
each shared page once: the sums of Pss_Anon and Pss_Shmem). Pages of memory-mapped files, which the system takes back
when it needs them, are counted apart (Pss_File). A stage's memory is its peak. Seconds are those of CPUs, over all
threads and processes, so that others on the machine do not count; those in the teacher are a stage of their own. Prints
a table, the digest of the student and, last, one line of JSON:

- `peak_mb`, `growth_mb`: peak memory with the most sentences, and how much that is above the peak with the fewest;
- `seconds`: of the run with the most sentences, without the teacher.
"""

import argparse
import hashlib
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from common import ROOT, VOCABULARY, bert, load, markdown, print_json, train_tokenizer

from hf_distill.students.vocabulary import learn_tokenizer

SEED = 0  # of the sentences
REDRAWN, SPLICED = 1 / 7, 1 / 100  # shares of the words
STEPS = 200
SURPLUS = 20  # one in so many sentences is not drawn
TINY = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 16}
START, TEACHER, ALL = "start and rest", "teacher", "all"


def make_sentences(path: Path, number: int) -> Iterator[str]:
    """Yield so many different sentences, made of those of a file."""
    lines = [line.split() for line in path.read_text(encoding="utf-8").splitlines()]
    words, draw, seen = [word for line in lines for word in line], random.Random(SEED), set[int]()
    while len(seen) < number:
        sentence = list(draw.choice(lines))
        for place, word in enumerate(sentence):
            chance = draw.random()
            if chance < SPLICED:
                other = draw.choice(words)
                sentence[place] = word[: (len(word) + 1) // 2] + other[len(other) // 2 :]
            elif chance < SPLICED + REDRAWN:
                sentence[place] = draw.choice(words)
        text = " ".join(sentence)
        if (key := hash(text)) not in seen:
            seen.add(key)
            yield text


def prepare(data: Path, folder: Path, number: int) -> list[str]:
    """Write text and teacher, and return the arguments of the run."""
    with open(folder / "text.txt", "w", encoding="utf-8") as file:
        lines = make_sentences(data / "biomedical_unlabeled.txt", number + number // SURPLUS)
        file.writelines(f"{line}\n" for line in lines)
    corpus = load(data, "train")
    learn_tokenizer(train_tokenizer(corpus), corpus["tokens"], VOCABULARY, folder / "teacher")  # the same every time
    bert(**TINY).save_pretrained(folder / "teacher")
    return (
        f"{ROOT}/configs/recipe_small.yaml --teacher_model_name_or_path {folder}/teacher --min_teacher_f1 0 "
        f"--path_to_train {data}/bc2gm/train.tsv --path_to_val {data}/bc2gm/devel.tsv "
        f"--path_to_unlabeled {folder}/text.txt --transfer_sentences {number} --max_steps {STEPS} --eval_strategy no "
        f"--save_strategy no --load_best_model_at_end 0 --bf16 0 --use_cpu 1 --disable_tqdm 1 "
        f"--signals_dir {folder}/signals --output_dir {folder}/student"
    ).split()


def run_by_stage(arguments: list[str]) -> None:
    """A run that says on stdout, in lines of `STAGE: `, which stage begins, and how long each took, at the end."""
    from hf_distill.cli import main
    from hf_distill.teachers.signals import SignalStore
    from hf_distill.teachers.teacher import Teacher
    from hf_distill.training.trainer import DistillationTrainer
    from hf_distill.workflow import run, stages

    seconds: defaultdict[str, float] = defaultdict(float)
    stack, last = [START], 0.0

    def switch(change: Callable[[], object]) -> None:
        nonlocal last
        now = sum(os.times()[:4])
        seconds[stack[-1]] += now - last
        last = now
        change()
        if TEACHER not in stack:
            print(f"STAGE: {stack[-1]}", flush=True)

    def stage(owner: Any, function: str, name: str) -> None:
        call = getattr(owner, function)

        def timed(*args, **kwargs):
            switch(lambda: stack.append(name))
            try:
                return call(*args, **kwargs)
            finally:
                switch(stack.pop)

        setattr(owner, function, timed)

    stage(run, "load_corpora", "reading, leaks, drawing")
    stage(stages, "describe_job", "description of the job")
    stage(stages, "learn_tokenizer", "vocabulary")
    stage(run, "make_stores", "keys of sentences")
    stage(SignalStore, "compute", "labelling")
    stage(Teacher, "predict", TEACHER)
    stage(run, "build", "building the student")
    stage(stages, "encode_dataset", "encoding")
    stage(stages, "attach_signals", "attaching signals")
    stage(DistillationTrainer, "train", f"training, {STEPS} steps")
    stage(run, "finish", "export, card, report")
    status = main(arguments)
    switch(lambda: None)
    print(f"SECONDS: {json.dumps(seconds)}", flush=True)
    sys.exit(status)


def memory(process: int) -> tuple[float, float]:
    """MB of own pages, and of pages of memory-mapped files, of a process and all that it has started."""
    own = mapped = 0
    with suppress(OSError):  # it has ended
        text = Path(f"/proc/{process}/smaps_rollup").read_text()
        pages = {name: int(size) for name, size in re.findall(r"^(Pss_\w+): +(\d+) kB", text, re.MULTILINE)}
        own, mapped = pages["Pss_Anon"] + pages["Pss_Shmem"], pages["Pss_File"]
    total = [own * 1024 / 1e6, mapped * 1024 / 1e6]
    for children in Path(f"/proc/{process}/task").glob("*/children"):
        with suppress(OSError):
            for child in children.read_text().split():
                total = [one + more for one, more in zip(total, memory(int(child)), strict=True)]
    return total[0], total[1]


def measure(data: Path, number: int, keep: Path | None) -> tuple[dict[str, list[float]], str]:
    """Run with so many sentences.

    Returns:
        For each stage its seconds, and the peaks of own and of mapped memory in MB; and the digest of the student.
    """
    with tempfile.TemporaryDirectory(dir=keep) as name:
        folder = Path(name)
        arguments = prepare(data, folder, number)
        figures: defaultdict[str, list[float]] = defaultdict(lambda: [0.0, 0.0, 0.0])
        environment = os.environ | {"HF_HOME": f"{folder}/cache"}
        log = open(folder / "log.txt", "w+b")  # noqa: SIM115  # read below
        command = [sys.executable, __file__, "--run", *arguments]
        with log, subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment) as process:
            read, stage, rest = 0, START, b""
            while process.poll() is None:
                now = memory(process.pid)
                with open(folder / "log.txt", "rb") as written:
                    written.seek(read)
                    new = written.read()
                read += len(new)
                *lines, rest = (rest + new).split(b"\n")
                for line in lines:
                    if line.startswith(b"STAGE: "):
                        stage = line[len(b"STAGE: ") :].decode()
                for place, value in enumerate(now, 1):
                    figures[stage][place] = max(figures[stage][place], value)
                time.sleep(0.2)
        text = (folder / "log.txt").read_text()
        if process.returncode:
            raise SystemExit(f"the run ended with status {process.returncode}:\n{text[-3000:]}")
        [seconds] = re.findall(r"^SECONDS: (.*)$", text, re.MULTILINE)
        for stage, value in json.loads(seconds).items():
            figures[stage][0] = value
        weights = (folder / "student/model.safetensors").read_bytes() + (folder / "student/tokenizer.json").read_bytes()
        print(re.sub("^(STAGE|SECONDS): .*\n", "", text, flags=re.MULTILINE))
        return dict(figures), hashlib.sha256(weights).hexdigest()


def main() -> None:
    if sys.argv[1:2] == ["--run"]:
        run_by_stage(sys.argv[2:])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default="../shared/data", help="folder of the corpora")
    parser.add_argument("--sentences", type=int, nargs="+", default=[250_000, 1_000_000])
    parser.add_argument("--folder", type=Path, help="where the runs' files are put meanwhile; default: that of TMPDIR")
    args = parser.parse_args()
    header, rows = ["peak memory in MB"], defaultdict[str, list[str]](list)
    peaks = []
    for number in sorted(args.sentences):
        figures, digest = measure(args.data.resolve(), number, args.folder)
        teacher = figures.pop(TEACHER)
        seconds = sum(line[0] for line in figures.values())
        whole = [seconds, *(max(line[place] for line in figures.values()) for place in (1, 2))]
        for stage, line in (figures | {ALL: whole}).items():
            rows[stage] += [f"{value:,.0f}" for value in line]
        peaks.append(whole[1])
        header += [f"{number:,}: seconds", "own", "mapped"]
        print(f"{number:,} sentences: {teacher[0]:,.0f} more seconds in the teacher; student {digest}")
        print(markdown(header, [[stage, *line] for stage, line in rows.items()]), flush=True)
    print_json({"peak_mb": peaks[-1], "growth_mb": peaks[-1] - peaks[0], "seconds": seconds})


if __name__ == "__main__":
    main()
