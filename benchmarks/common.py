"""Shared by the benchmarks: data, models with random weights, timing, and resumable runs."""

import json
import os
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
    PreTrainedTokenizerFast,
    TrainerCallback,
)

from hf_distill import BiLSTMConfig, BiLSTMForTokenClassification, load_tsv
from hf_distill.runtime.tags import make_tags
from hf_distill.students.build import label_config

ROOT = Path(__file__).parents[1]
TAGS = make_tags(["GENE"], "IOBES")
VOCABULARY = 28_996  # BERT's, cased
WARM_UP = 3  # training steps before the measured ones
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


def predicted(path: Path) -> list[list[str]]:
    """The student's tags in a run's `predictions_eval.tsv`, the last column but one."""
    blocks = path.read_text(encoding="utf-8").strip("\n").split("\n\n")
    return [[line.split("\t")[-2] for line in block.split("\n")] for block in blocks]


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    return "\n".join(f"| {' | '.join(line)} |" for line in (header, ["---"] * len(header), *rows)) + "\n"
