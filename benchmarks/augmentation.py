"""Speed of augmenting BC2GM, compared with the per-token method of the *BioBERT Distillation* notebook.

    python benchmarks/augmentation.py --data ../shared/data

Prints a table and, last, one line of JSON: `sentences_per_second` (6 rounds of three methods on one core, including
the removal of duplicates and writing to disk), `vs_reference` (speed relative to the per-token method; the two
alternate), `two_processes` (20 rounds: time of one process over that of two).
"""

import argparse
import json
import os
import random
import statistics
import tempfile
import time
from pathlib import Path

# Set before `datasets` is imported: a cache that is deleted after the run.
CACHE = tempfile.TemporaryDirectory(prefix="augmentation-")
os.environ["HF_DATASETS_CACHE"] = CACHE.name

import datasets  # noqa: E402
import torch  # noqa: E402

from hf_distill import augment, load_tsv  # noqa: E402
from hf_distill.files import format_table  # noqa: E402


def per_token(tokens: list[str], tags: list[str], corpus: list[tuple[str, str]], mentions: list) -> list:
    """One round for one sentence as in the notebook, which collects the candidates again for each token."""
    replaced = [
        random.choice([token for token, tag in corpus if tag == own]) if random.random() < 0.5 else word
        for word, own in zip(tokens, tags, strict=True)
    ]
    segments, at = [], 0
    while at < len(tags):
        end = at + 1
        while end < len(tags) and (tags[end][0] in "IE" or tags[end] == tags[at] == "O"):
            end += 1
        segments.append((tokens[at:end], tags[at:end]))
        at = end
    swapped, shuffled = [], []
    for words, own in segments:
        if own[0] != "O" and random.random() < 0.5:
            swapped.append(random.choice([mention for mention in mentions if mention[1][0][2:] == own[0][2:]]))
        else:
            swapped.append((words, own))
        shuffled.append((random.sample(words, len(words)) if random.random() < 0.5 else words, own))
    return [
        (replaced, tags),
        *(
            ([w for words, _ in parts for w in words], [t for _, own in parts for t in own])
            for parts in (swapped, shuffled)
        ),
    ]


def find_mentions(tokens: list[str], tags: list[str]) -> list:
    found = []
    for at, tag in enumerate(tags):
        if tag[0] in "BS":
            end = at + 1
            while end < len(tags) and tags[end][0] in "IE":
                end += 1
            found.append((tokens[at:end], tags[at:end]))
    return found


def seconds(work) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="../shared/data", help="folder that holds bc2gm/train.tsv")
    parser.add_argument("--reference_sentences", type=int, default=150, help="sentences for the per-token method")
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    datasets.disable_caching()  # otherwise repetitions would be read from the cache
    datasets.disable_progress_bars()
    torch.set_num_threads(1)

    train = load_tsv(str(Path(args.data) / "bc2gm" / "train.tsv"), "IOBES")
    rows = list(zip(train["tokens"][:], train["tags"][:], strict=True))
    corpus = [pair for tokens, tags in rows for pair in zip(tokens, tags, strict=True)]
    mentions = [mention for row in rows for mention in find_mentions(*row)]
    sample = random.Random(0).sample(rows, args.reference_sentences)

    augment(train)  # warm-up
    six, reference, one, two = [], [], [], []
    for repeat in range(args.repeats):
        part = sample[repeat :: args.repeats]
        six.append(18 * len(train) / seconds(lambda: augment(train, rounds=6)))
        took = seconds(lambda part=part: [per_token(*row, corpus, mentions) for row in part])
        reference.append(3 * len(part) / took)
        one.append(seconds(lambda: augment(train, rounds=20)))
        two.append(seconds(lambda: augment(train, rounds=20, num_proc=2)))

    kept = len(augment(train, rounds=6))
    rate, slow = statistics.median(six), statistics.median(reference)
    figures = {
        "sentences_per_second": round(rate),
        "vs_reference": round(statistics.median(new / old for new, old in zip(six, reference, strict=True))),
        "two_processes": round(statistics.median(a / b for a, b in zip(one, two, strict=True)), 2),
    }
    table = [
        ["per token, as in BioBERT Distillation", f"{slow:,.0f}", ""],
        ["hf_distill, 6 rounds, one process", f"{rate:,.0f}", f"{kept:,} of {18 * len(train):,} are new"],
        ["hf_distill, 20 rounds, one process", f"{60 * len(train) / statistics.median(one):,.0f}", ""],
        ["hf_distill, 20 rounds, two processes", f"{60 * len(train) / statistics.median(two):,.0f}", ""],
    ]
    print(format_table(["", "sentences per second", ""], table))
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
