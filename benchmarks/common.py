"""Shared by the benchmarks: data, models with random weights, timing, and resumable runs."""

import json
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from datasets import Dataset
from tokenizers import BertWordPieceTokenizer
from tqdm.auto import tqdm
from transformers import (
    BertConfig,
    BertForTokenClassification,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    TrainerCallback,
)

from hf_distill import BiLSTMConfig, BiLSTMForTokenClassification, load_tsv, load_unlabeled
from hf_distill.evaluation.metrics import f1_difference
from hf_distill.files import write_columns
from hf_distill.runtime.onnx_model import OnnxModel
from hf_distill.runtime.tags import make_tags
from hf_distill.runtime.windows import make_windows, pad_windows, window_length
from hf_distill.runtime.word_features import word_feature_rows
from hf_distill.students.build import label_config

ROOT = Path(__file__).parents[1]
TAGS = make_tags(["GENE"], "IOBES")
VOCABULARY = 28_996  # BERT's, cased
# What is kept of a run's results.
FIGURES = (
    "test_f1 test_f1_low test_f1_high test_precision test_recall test_f1_argmax eval_f1 teacher_test_f1 train_runtime"
).split()
WARM_UP = 3  # training steps before the measured ones
TEXTS = 24_000  # unlabelled sentences of a comparison of small students
# Flags of such a comparison: nothing is chosen on any data, and the last checkpoint counts.
LAST_CHECKPOINT = {
    "export": "none",
    "bf16": 0,
    "load_best_model_at_end": 0,
    "eval_strategy": "no",
    "save_strategy": "no",
    "transfer_sentences": TEXTS,
}
TINYBERT = {"hidden_size": 312, "num_hidden_layers": 4, "num_attention_heads": 12, "intermediate_size": 1200}


class Clock(TrainerCallback):
    """Measures the seconds from the end of the warm-up to the end of training."""

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == WARM_UP:
            self.start = time.perf_counter()
        self.seconds = time.perf_counter() - getattr(self, "start", 0.0)


def load(data: Path, split: str) -> Dataset:
    """A split of BC2GM."""
    return load_tsv(str(data / "bc2gm" / f"{split}.tsv"), "IOBES")


def split_corpus(data: Path, output: Path) -> dict[str, Path]:
    """Write nine tenths of BC2GM train, the other tenth and the unlabelled text of a comparison, unless they are there.

    Returns:
        The files "train", "val", "text", and "test", which is BC2GM devel: no student may be chosen on it.
    """
    files = {"train": output / "train.tsv", "val": output / "val.tsv", "text": output / "text.txt"}
    if not all(path.exists() for path in files.values()):
        output.mkdir(parents=True, exist_ok=True)
        train, chance = load(data, "train"), random.Random(0)
        order = list(range(len(train)))
        chance.shuffle(order)
        tenth = len(train) // 10
        for name, rows in (("val", order[:tenth]), ("train", order[tenth:])):
            part = train.select(sorted(rows))
            write_columns(files[name], part["tokens"], part["tags"])
        known = {" ".join(words) for words in load(data, "devel")["tokens"]}
        text = load_unlabeled([str(data / "biomedical_unlabeled.txt")])["tokens"]
        lines = [line for line in dict.fromkeys(map(" ".join, text)) if line not in known]
        files["text"].write_text("\n".join(chance.sample(lines, TEXTS)) + "\n", encoding="utf-8")
    return files | {"test": data / "bc2gm" / "devel.tsv"}


def train_tokenizer(corpus: Dataset) -> PreTrainedTokenizerFast:
    """A cased WordPiece tokenizer, trained on the corpus."""
    trained = BertWordPieceTokenizer(lowercase=False)
    text = (" ".join(words) for words in corpus["tokens"])
    trained.train_from_iterator(text, vocab_size=VOCABULARY, show_progress=False)
    special = {"unk_token": "[UNK]", "pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    return PreTrainedTokenizerFast(tokenizer_object=trained._tokenizer, model_max_length=512, **special)


def bert(seed: int = 0, **sizes) -> BertForTokenClassification:
    """A BERT with random weights; the default sizes are those of BERT base."""
    torch.manual_seed(seed)
    return BertForTokenClassification(BertConfig(vocab_size=VOCABULARY, **sizes, **label_config(TAGS))).eval()


def bilstm(size: int = 300, classifier_size: int = 256, seed: int = 0, **sizes: int) -> BiLSTMForTokenClassification:
    """A BiLSTM with random weights; `size` is the embedding and hidden size unless `sizes` overrides it."""
    torch.manual_seed(seed)
    sizes = {"embedding_size": size, "hidden_size": size, "classifier_size": classifier_size} | sizes
    return BiLSTMForTokenClassification(BiLSTMConfig(VOCABULARY, **sizes, **label_config(TAGS))).eval()


def in_turns(contenders: Mapping[str, Callable[[], object]], rounds: int, seconds: float) -> dict[str, float]:
    """Median seconds per call of each contender.

    In each round, each contender is called once to warm up and then repeatedly for about `seconds`, at least three
    times. Alternating contenders share changes in the machine's speed.
    """
    times: dict[str, list[float]] = {name: [] for name in contenders}
    with tqdm(total=rounds * len(contenders), desc="Measuring") as progress:
        for _ in range(rounds):
            for name, call in contenders.items():
                call()
                begin, calls = time.perf_counter(), 0
                while calls < 3 or time.perf_counter() - begin < seconds:
                    start = time.perf_counter()
                    call()
                    times[name].append(time.perf_counter() - start)
                    calls += 1
                progress.update()
    return {name: statistics.median(values) for name, values in times.items()}


def print_json(figures: Mapping[str, float]) -> None:
    """Print the figures as JSON, the last line of a benchmark."""
    print(json.dumps({name: round(value, 3) for name, value in figures.items()}))


def finish(call: Callable[[], object], model: PreTrainedModel) -> Callable[[], object]:
    """Wrap a call so that it waits for the model's device."""

    def run():
        call()
        if model.device.type != "cpu":
            torch.accelerator.synchronize()

    return run


def forward_passes(
    model: PreTrainedModel | OnnxModel,
    tokenizer: PreTrainedTokenizerBase,
    sentences: Sequence[Sequence[str]],
    size: int,
) -> Callable[[], None]:
    """A function that runs the forward passes of tokenised sentences, in batches of `size`, sorted by length."""
    length = window_length(tokenizer, model.config)
    cuts = make_windows(tokenizer, sentences, length, word_feature_rows(model.config))
    windows = sorted((window for cut in cuts for window in cut), key=lambda window: len(window.input_ids))
    batches: list[dict] = [
        pad_windows(windows[start : start + size], tokenizer.pad_token_id) for start in range(0, len(windows), size)
    ]
    if isinstance(model, PreTrainedModel):
        batches = [{name: torch.from_numpy(each).to(model.device) for name, each in one.items()} for one in batches]

    @torch.no_grad()
    def run() -> None:
        for batch in batches:
            model(**batch)

    return run


def run_resumable(arguments: Sequence[str], folder: Path, last: str) -> None:
    """Run or resume run_distill.py, unless `last`, the file that it writes last, is in its folder.

    `row.json` in the folder records the command and its seconds, without interruptions.
    """
    command = [str(ROOT / "run_distill.py"), *arguments]
    record = folder / "row.json"
    row = json.loads(record.read_text()) if record.exists() else {"command": command, "seconds": 0.0}
    if row["command"] != command:
        raise SystemExit(
            f"{folder} belongs to another command ({' '.join(row['command'])}): remove it, or use another."
        )
    if (folder / last).exists():
        print(f"{folder}: already finished", flush=True)
        return
    print(f"{folder}: started", flush=True)
    folder.mkdir(parents=True, exist_ok=True)
    before, start = row["seconds"], time.monotonic()
    with subprocess.Popen([sys.executable, *command]) as process:
        while process.poll() is None:
            time.sleep(1)
            # Replacing the file avoids partly written ones.
            temporary = record.with_suffix(".tmp")
            temporary.write_text(json.dumps(row | {"seconds": before + time.monotonic() - start}))
            os.replace(temporary, record)
    if process.returncode:
        raise SystemExit(f"{folder}: run_distill.py ended with status {process.returncode}.")


def read_tags(path: Path) -> tuple[list[list[str]], list[list[str]]]:
    """The gold tags and the student's in a run's file of predictions: its second column and the last but one."""
    blocks = path.read_text(encoding="utf-8").strip("\n").split("\n\n")
    rows = [[line.split("\t") for line in block.split("\n")] for block in blocks]
    return [[row[1] for row in block] for block in rows], [[row[-2] for row in block] for block in rows]


def compare(rows: Mapping[str, Mapping[int, Path]]) -> tuple[str, list[dict]]:
    """Compare finished runs on their test data, and on that and the development data together, where neither was used
    to choose anything.

    Args:
        rows: the folders of each row by seed, without those that are not finished; the first row is the yardstick.

    Returns:
        A table of F1 on the test data by seed, its mean, and the differences to the first row by paired bootstraps over
        the sentences of all seeds that both have; and the figures of each run.
    """
    lines, runs = [], []
    yardstick: dict[int, Path] = {}
    for name, folders in rows.items():
        results = {seed: json.loads((folder / "all_results.json").read_text()) for seed, folder in folders.items()}
        runs += [
            {"row": name, "seed": seed} | {key: each[key] for key in FIGURES if key in each}
            for seed, each in results.items()
        ]
        scores = [each["test_f1"] for each in results.values()]
        line = [name, ", ".join(f"{score:.4f}" for score in scores), f"{sum(scores) / len(scores):.4f}"]
        pairs = [(folder, yardstick[seed]) for seed, folder in folders.items() if seed in yardstick]
        line += [_gain(pairs, corpora) if pairs else "" for corpora in (["test"], ["test", "eval"])]
        yardstick = yardstick or dict(folders)
        lines.append(line)
    return markdown(["", "F1 by seed", "mean", "to the first row (95 %)", "on the tenth of train, too"], lines), runs


def _gain(pairs: Sequence[tuple[Path, Path]], corpora: Sequence[str]) -> str:
    """The difference in F1 between the first and the second runs, on some of their corpora."""
    gold, own, others = [], [], []
    for folder, other in pairs:
        for corpus in corpora:
            references, tags = read_tags(folder / f"predictions_{corpus}.tsv")
            gold += references
            own += tags
            others += read_tags(other / f"predictions_{corpus}.tsv")[1]
    gain = f1_difference(own, others, gold)
    return f"{gain.value:+.4f} ({gain.low:+.4f} to {gain.high:+.4f})"


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    return "\n".join(f"| {' | '.join(line)} |" for line in (header, ["---"] * len(header), *rows)) + "\n"
