"""`hf-distill annotate`: mentions that a language model, a library or a token classifier finds, to learn from.

Answers may cost money: what is answered is on the disk at once, and no text is asked again that has an answer there.
"""

import json
import os
import shutil
import signal
from collections import Counter
from collections.abc import Callable, Mapping
from itertools import islice, tee
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from ..arguments import AnnotateArguments, FormatArguments
from ..data.formats.source import Source
from ..data.formats.writing import to_json
from ..files import file_digest, replacing, write_text, writing
from ..prediction.predict import check_files, lock_output, read_texts
from ..runtime.tags import UserError
from .answer import Answer, Labeller
from .chat import Chat, address
from .libraries import Gliner, SpacyPipeline
from .token_classifier import TokenClassifier

LABELLERS: dict[str, Callable[[str, AnnotateArguments], Labeller]] = {
    "openai": Chat,
    "gliner": Gliner,
    "spacy": SpacyPipeline,
    "hf": TokenClassifier,
}
WRITTEN = ("mentions", "source", "answer", "error")  # fields; those of the input with such names are left out


def annotate(args: AnnotateArguments) -> None:
    """Have the mentions of texts found, and write them to a file.

    Raises:
        UserError: a file (`PATH:LINE:`) or the labeller is invalid, or it gives no further answers.
    """
    check_files(args.input, args.output, (".txt", ".jsonl"), (".jsonl",))
    with lock_output(args.output):
        if Path(args.output).exists():
            raise UserError(f"{args.output}: exists already, and answers may cost money. Choose another name.")
        total = sum(1 for _ in read_texts(args.input))
        partial, job = Path(f"{args.output}.partial"), _describe(args)
        done = _cut_partial(partial, job)
        kind, model = args.kind_and_model()
        labeller = LABELLERS[kind](model, args)
        if not done:
            write_text(partial, f"{to_json(job)}\n")
        print(f"{args.labeller}: {total:,} text(s), of which {done:,} are answered; output: {args.output}", flush=True)
        counts = _ask(args, labeller, partial, done, total)
        written = _finish(partial, Path(args.output))
    for what, found in ((args.output, written), ("In this run", counts)):
        if found:
            print(f"{what}: {', '.join(f'{kind}: {number:,}' for kind, number in sorted(found.items()))}", flush=True)


def _describe(args: AnnotateArguments) -> dict[str, Any]:
    """What has to be the same for a run to go on where another one stopped."""
    return {
        "labeller": args.labeller,
        "labels": args.labels,
        "threshold": args.threshold,
        "base_url": address(args) if args.kind_and_model()[0] == "openai" else None,
        "input": [file_digest(Path(path)) for path in args.input],
        "examples": Source.find(args.examples, FormatArguments()).digest() if args.examples else None,
    }


def _cut_partial(partial: Path, job: Mapping[str, Any]) -> int:
    """Cut a partial file after its last whole line, and return the number of its answers; 0 if there is none.

    Raises:
        UserError: it has answers of another job.
    """
    if not partial.exists():
        return 0
    with open(partial, "rb") as file:
        first = file.readline()
        whole = [len(line) for line in file if line.endswith(b"\n")]
    try:
        before = json.loads(first)
        differences = [
            f"{name} was {before[name]!r}, is {value!r}" if name not in ("input", "examples") else f"another {name}"
            for name, value in job.items()
            if before[name] != value
        ]
    except (ValueError, TypeError, KeyError):
        raise UserError(f"{partial}: is in the way: no partial output of annotate. Move it.") from None
    if whole and differences:
        raise UserError(
            f"{partial}: has {len(whole):,} answer(s) of another job: {'; '.join(differences)}. Finish that one with "
            "its command, choose another --output, or remove the file."
        )
    os.truncate(partial, len(first) + sum(whole))
    return len(whole)


def _ask(args: AnnotateArguments, labeller: Labeller, partial: Path, done: int, total: int) -> Counter[str]:
    """Have all texts answered but the first `done`; return what was used and left out."""
    counts: Counter[str] = Counter()
    rest = ((" ".join(text) if isinstance(text, list) else text, fields) for text, fields, _ in read_texts(args.input))
    texts, asked = tee(islice(rest, done, None))
    answers = labeller.annotate(text for text, _ in asked)
    with (
        writing(partial),
        open(partial, "a", encoding="utf-8", newline="\n") as file,
        tqdm(total=total, initial=done, unit=" texts", desc="Annotating") as progress,
    ):
        try:
            for (text, fields), answer in zip(texts, answers, strict=True):
                counts.update(answer.counts)
                kept = {name: value for name, value in fields.items() if name not in WRITTEN}
                file.write(f"{to_json(kept | {'text': text} | _fields(answer) | {'source': args.labeller})}\n")
                file.flush()
                progress.update()
        except KeyboardInterrupt as stop:
            number = stop.args[0] if stop.args else signal.SIGINT
            os._exit(128 + number)  # threads would first wait for the answers to what they have asked
        except UserError as error:
            raise UserError(
                f"{error} {int(progress.n):,} of {total:,} text(s) are answered, in {partial}: the same command goes "
                "on from there."
            ) from None
    return counts


def _fields(answer: Answer) -> dict[str, Any]:
    """The fields of an answer; readers of labelled corpora leave out what is to be ignored."""
    return {"answer": "ignore", "error": answer.error} if answer.mentions is None else {"mentions": answer.mentions}


def _finish(partial: Path, output: Path) -> Counter[str]:
    """Make the output of a partial file, atomically; return what is in it."""
    written: Counter[str] = Counter(texts=0)
    with replacing(output) as temporary, open(partial, "rb") as lines, open(temporary, "wb") as file:
        lines.readline()
        start = lines.tell()
        for line in lines:
            fields = json.loads(line)
            written["texts"] += 1
            written["texts without an answer"] += "mentions" not in fields
            written.update(f"mentions of {mention['entity_group']}" for mention in fields.get("mentions", ()))
        lines.seek(start)
        shutil.copyfileobj(lines, file)
        file.flush()
        os.fsync(file.fileno())
    partial.unlink()
    return +written
