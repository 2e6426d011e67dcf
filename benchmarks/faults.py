"""Kill runs at random moments, start them again until they end, and compare the ends: docs/reliability.md.

    python benchmarks/faults.py --kills 100 --processes 1 2 --output docs/reliability.md

Each run labels a corpus with a tiny teacher, learns a vocabulary, distils a BiLSTM, exports it and writes its card and
report. It is killed (SIGKILL, the whole process group) after a random time, by a seed; the next start goes on in the
same folder, and may be killed, too.
"""

import argparse
import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from common import ROOT, markdown
from compatibility import FAMILIES, write_corpora
from tqdm import tqdm

from hf_distill.files import write_text

RUN = (
    f"{ROOT}/configs/recipe_small.yaml --teacher_model_name_or_path model --path_to_train train.tsv "
    "--path_to_val devel.tsv --vocabulary_size 400 --embedding_size 12 --hidden_size 8 --transfer_sentences 200 "
    "--num_train_epochs 6 --save_total_limit 1 --min_teacher_f1 0 --signals_dir signals --bf16 0 --use_cpu 1 "
    "--output_dir out"
)
# What a folder holds once a phase has been reached, the last one first.
PHASES = {
    "report, end": "out/README.md",
    "card": "out/run.yaml",
    "export": "out/all_results.json",
    "training, checkpoints": "out/checkpoint-*",
    "training, first epoch": "out/tokenizer",
    "labelling": "signals/*/*",
    "start, tokenising": "",
}


def start(processes: int) -> subprocess.Popen:
    """Start a run in the current folder, with all its processes in a group of their own."""
    launch = [sys.executable, f"{ROOT}/run_distill.py"]
    if processes > 1:
        launch = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", str(processes)]
        launch += ["--main_process_port", "0", f"{ROOT}/run_distill.py"]
    log = open("log.txt", "ab")  # noqa: SIM115  # the process goes on writing
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen([*launch, *RUN.split()], stdout=log, stderr=log, env=environment, start_new_session=True)


def digest() -> str:
    """The digest of the student and its ONNX files in the current folder."""
    names = ("model.safetensors", "tokenizer.json", "onnx/model.onnx", "onnx/model_quantized.onnx")
    return hashlib.sha256(b"".join(Path("out", name).read_bytes() for name in names)).hexdigest()


def phase() -> str:
    """The phase that the files in the current folder show."""
    return next(name for name, pattern in PHASES.items() if not pattern or any(Path().glob(pattern)))


def leftovers() -> list[str]:
    """Files that a finished run should have cleared away."""
    found = [path for pattern in (".hf_distill-tmp-*", "*.damaged") for path in Path().rglob(pattern)]
    return sorted(path.as_posix() for path in found)


def clear() -> None:
    """Remove what a run wrote."""
    for name in ("out", "signals"):
        shutil.rmtree(name, ignore_errors=True)


def attack(processes: int, kills: int, seed: int) -> tuple[Counter, int, int, list[str]]:
    """Kill runs in the current folder.

    Returns:
        The number of kills by phase, of finished runs, of those that came to another end, and what they left.
    """
    draw = random.Random(seed)
    begin = time.perf_counter()
    assert start(processes).wait() == 0, Path("log.txt").read_text()[-3000:]
    seconds, expected = time.perf_counter() - begin, digest()
    clear()
    killed: Counter[str] = Counter()
    finished = different = 0
    left: list[str] = []
    with tqdm(total=kills, desc=f"{processes} process(es)") as progress:
        while killed.total() < kills or phase() != "start, tokenising":
            process = start(processes)
            try:
                # Importing the libraries takes the first third.
                status = process.wait(draw.uniform(0.3, 1.05) * seconds if killed.total() < kills else None)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                killed[phase()] += 1
                progress.update()
                continue
            assert status == 0, Path("log.txt").read_text()[-3000:]
            finished += 1
            different += digest() != expected
            left += leftovers()
            clear()
    return killed, finished, different, left


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100, help="kills for each number of processes")
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", default="docs/reliability.md")
    args = parser.parse_args()
    output, rows = Path(args.output).resolve(), []
    others = "".join(output.read_text().partition("\n## ")[1:]) if output.is_file() else ""  # sections that stay
    for processes in args.processes:
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            write_corpora(Path())
            FAMILIES["BERT"].save(Path("model"))
            killed, finished, different, left = attack(processes, args.kills, args.seed)
            os.chdir(ROOT)
        counts = ", ".join(f"{name} {killed[name]}" for name in reversed(PHASES) if killed[name])
        rows.append([str(processes), str(killed.total()), counts, str(finished), str(different), str(len(left))])
        header = ["processes", "kills", "by phase", "runs that ended", "with other bytes", "leftovers"]
        command = f"python benchmarks/faults.py --kills {args.kills} --processes {' '.join(map(str, args.processes))}"
        write_text(output, INTRODUCTION.format(command=command) + markdown(header, rows) + "\n" + others)


INTRODUCTION = """# Reliability

Written by `{command}`: runs that label, learn a vocabulary, train,
export and write card and report are killed at random moments and started again until they end. An end counts as the
same if the student, its tokenizer and its two ONNX files have the bytes of an undisturbed run; leftovers are temporary
and damaged files in its folders.

"""

if __name__ == "__main__":
    main()
