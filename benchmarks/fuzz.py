"""Damage what a user can give, at random by a seed, and look whether nothing but a message comes of it.

    python benchmarks/fuzz.py --data ../shared/data --minutes 15 --seed 0 --output finds
    python benchmarks/fuzz.py --replay finds/KeyError-1

Inputs are small pieces of real corpora in every format, plain text, answers of labellers, YAML files, command lines,
and the files of settings of a teacher and a student. Each case damages one of them, and runs what reads it through the
entry point of the command line, in a process that is forked for a hundred cases. It has to end with status 0, 1 or 2;
where there is a message, it has at most 2,000 characters. An exception, a process that dies, more than 20 CPU seconds
or 2 GiB are finds, if they come again in a process of their own. The first of each kind is written to a folder of its
own, with the traceback. Prints a table of what came of the cases; the exit status is 1 if there are finds.
"""

import argparse
import base64
import contextlib
import dataclasses
import faulthandler
import functools
import gzip
import io
import json
import os
import random
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

os.environ["HF_HUB_OFFLINE"] = "1"

import datasets  # noqa: E402
import pyarrow as pa  # noqa: E402
import pyarrow.parquet  # noqa: E402
import torch  # noqa: E402
from common import ROOT, TAGS, bert, bilstm, load, markdown, train_tokenizer  # noqa: E402
from transformers.utils import logging  # noqa: E402

from hf_distill import Tagger, cli, load_teacher, parsing  # noqa: E402
from hf_distill import arguments as options  # noqa: E402
from hf_distill.data.corpora import load_corpora  # noqa: E402
from hf_distill.data.readers.text import load_unlabeled  # noqa: E402
from hf_distill.publishing.onnx_export import write_onnx  # noqa: E402
from hf_distill.students.save import save_model  # noqa: E402
from hf_distill.training_arguments import DistillationArguments  # noqa: E402

CASES = 100  # of a process
SECONDS, BYTES, CHARACTERS = 20, 2**31, 2000  # limits of a case: CPU, memory, message
WALL = 600  # seconds after which a process is given up
SIZES = {"hidden_size": 12, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}


class Case(NamedTuple):
    """A command, and the files of the folder that it runs in."""

    command: str
    arguments: list[str]
    files: dict[str, bytes]


# Commands of this benchmark's own, for what no command of the package reads alone.
def _corpora(argv: Sequence[str]) -> None:
    values: dict[str, Any] = dict(argument.split("=", 1) for argument in argv)
    values = {name: value.split() if name == "path_to_annotations" else value for name, value in values.items()}
    load_corpora(options.DataArguments(**values), 0)


def _text(argv: Sequence[str]) -> None:
    load_unlabeled(argv, "apart")


def _tagger(argv: Sequence[str]) -> None:
    find = Tagger.from_pretrained(argv[0])
    find(["Loss of p53 raised MDM2 levels.", "", "a" * 1000])


def _teacher(argv: Sequence[str]) -> None:
    load_teacher(argv[0], TAGS).predict([["Loss", "of", "p53"], ["MDM2"]])


OWN: dict[str, Callable[[Sequence[str]], object]] = {
    "corpora": _corpora,
    "text": _text,
    "tagger": _tagger,
    "teacher": _teacher,
    "parse": parsing.parse_arguments,
    "parse predict": parsing.parse_prediction,
    "parse annotate": parsing.parse_annotate,
    "parse convert": parsing.parse_convert,
    "parse report": parsing.parse_report,
}
GROUPS = {
    "parse": (options.ModelArguments, options.DataArguments, DistillationArguments, options.PublishingArguments),
    "parse predict": (options.PredictionArguments,),
    "parse annotate": (options.AnnotateArguments,),
    "parse convert": (options.ConvertArguments,),
    "parse report": (options.ReportArguments,),
}

ODD_TEXTS = (
    '| |-1|0|1|1e999|nan|inf|-inf|0.5|99999999999999999999999999|0x10|true|null|[]|{}|{"a":|[1,2]|../..|.|/|a=b|=|-'
    "|--|%s|{0}|*|~|None|auto|O|B-|-GENE|B-GENE|\u0660\u0661|\u00e9|e\u0301|\u200b|\ufeff|\u2028|\x85|\x1c|\U0001f600|\0"
).split("|") + ["a" * 5000, "9" * 5000, "\udcff", "\n", "\t"]
ODD_BYTES = [text.encode("utf-8", "surrogateescape") for text in ODD_TEXTS] + [
    b"\r\n", b"\n\n", b"\xff\xfe", b"\xef\xbb\xbf", b"\xc3", b"[" * 20_000, b'{"a":' * 5000, b"<a>" * 3000, b"'", b'"',
    b"\\ud800", b"\x1f\x8b", b"PAR1", b"&a;", b"!!python/object:os.system", b"*a", b"&a", b"- ", b": ", b"#",
]  # fmt: skip
ODD_VALUES: list[Any] = [
    None, True, False, -1, 0, 1, 2, 10**9, 10**30, -(10**30), 0.5, -0.5, 1e308, float("nan"), float("inf"), [], {},
    [[]], [None], {"": None}, {"0": "O"}, [0, 1, "GENE"], *ODD_TEXTS,
]  # fmt: skip


def damage_bytes(content: bytes, draw: random.Random, others: Sequence[bytes]) -> bytes:
    """Change one place of a file."""
    first = draw.randrange(len(content) + 1)
    last = min(len(content), first + draw.choice((0, 1, 1, 4, 20, 200)))
    lines = content.split(b"\n")
    line = draw.randrange(len(lines))
    ways = (
        lambda: content[:first] + content[last:],
        lambda: content[:first] + draw.choice(ODD_BYTES) + content[last:],
        lambda: content[:last] + content[first:last] * draw.choice((1, 2, 50)) + content[last:],
        lambda: content[:first],
        lambda: content[:first] + bytes([draw.randrange(256)]) + content[first + 1 :],
        lambda: content[:first] + draw.choice(others)[draw.randrange(50) :],
        lambda: b"\n".join(lines[:line] + lines[line + 1 :]),
        lambda: b"\n".join([*lines[:line], draw.choice(lines), *lines[line:]]),
        lambda: b"\n".join([*lines[:line], damage_fields(lines[line], draw), *lines[line + 1 :]]),
    )
    return draw.choice(ways)()


def damage_fields(line: bytes, draw: random.Random) -> bytes:
    """Change one of a line's fields: between tabs, blanks, or the marks of its format."""
    parts = re.split(rb"([\t |,:;=<>\"]+)", line)
    parts[draw.randrange(len(parts))] = draw.choice(ODD_BYTES)
    return b"".join(parts)


def damage_json(value: Any, draw: random.Random) -> Any:
    """Change one of the values of a JSON value, its keys included."""
    if not isinstance(value, dict | list) or not value or draw.random() < 0.15:
        return draw.choice(ODD_VALUES)
    if isinstance(value, list):
        place = draw.randrange(len(value))
        ways: tuple[Callable[[], Any], ...] = (
            lambda: value[:place] + value[place + 1 :],
            lambda: [*value, value[place]],
            lambda: [*value[:place], damage_json(value[place], draw), *value[place + 1 :]],
        )
        return draw.choice((*ways, ways[-1], ways[-1]))()
    key = draw.choice(list(value))
    chance = draw.random()
    if chance < 0.1:
        return {name: each for name, each in value.items() if name != key}
    if chance < 0.2:
        return {draw.choice(ODD_TEXTS) if name == key else name: each for name, each in value.items()}
    return value | {key: damage_json(value[key], draw)}


def damage_file(name: str, content: bytes, draw: random.Random, others: Sequence[bytes]) -> bytes:
    """Change a file: what it says, if it has JSON, or its bytes."""
    if name.endswith(".gz"):
        if draw.random() < 0.3:
            return damage_bytes(content, draw, others)
        return gzip.compress(damage_file(name.removesuffix(".gz"), gzip.decompress(content), draw, others))
    if ".json" in name and draw.random() < 0.7:
        lines = content.decode().splitlines() if name.endswith(".jsonl") else [content.decode()]
        place = draw.randrange(len(lines))
        for _ in range(draw.choice((1, 1, 2))):
            lines[place] = json.dumps(damage_json(json.loads(lines[place]), draw), ensure_ascii=draw.random() < 0.8)
        return "\n".join(lines).encode("utf-8", "surrogatepass")
    for _ in range(draw.choice((1, 1, 1, 2, 4))):
        content = damage_bytes(content, draw, others)
    return content


def damage_arguments(arguments: Sequence[str], names: Sequence[str], draw: random.Random) -> list[str]:
    """Change a command line."""
    changed = list(arguments)
    for _ in range(draw.choice((1, 1, 2, 3))):
        place = draw.randrange(len(changed) + 1)
        name, value = draw.choice(names), draw.choice(ODD_TEXTS).replace("\0", "")
        flag = f"--{name}"
        new = draw.choice(([f"{flag}={value}"], [flag, value], [flag, value], [flag], [value], [flag, value, value]))
        changed[place : place + draw.choice((0, 0, 1))] = new
    return changed


@functools.cache
def field_names(command: str) -> list[str]:
    """The flags of a command."""
    names = [field.name for group in GROUPS[command] for field in dataclasses.fields(group) if field.init]
    return [*names, *(("preset", "batch_size", "lr_params", "scheduler") if command == "parse" else ())]


def make_corpora(data: Path) -> dict[str, bytes]:
    """Pieces of labelled corpora in every format but brat's, by name."""
    blocks = [block for block in (data / "bc2gm/devel.tsv").read_text().split("\n\n") if "S-" in block]
    tsv, other = ("\n\n".join([*some, ""]) for some in (blocks[:20], blocks[20:30]))
    noisy = (data / "wnut17/devel.conll").read_text().split("\n\t\n")[:15]
    abstracts = (data / "formats/ncbi_disease/train60.pubtator").read_text().strip().split("\n\n")[:3]
    corpora = {
        "a.tsv": tsv,
        "other.tsv": other,
        "a.conll": "\n\t\n".join([*noisy, ""]),
        "a.pubtator": "\n\n".join([*abstracts, ""]),
    }
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        for name, text in corpora.items():
            Path(name).write_text(text)
        for source, target in (("a.tsv", "tags.jsonl"), ("a.pubtator", "ours.jsonl")):
            assert cli.main(["convert", source, target]) == 0
            corpora[target] = Path(target).read_text()
    texts = [json.loads(line) for line in corpora["ours.jsonl"].splitlines()]
    pairs = [
        (each["text"], [(found["start"], found["end"], found["entity_group"]) for found in each["mentions"]])
        for each in texts
    ]
    columns = [[line.split("\t") for line in block.split("\n")] for block in tsv.strip().split("\n\n")]
    items: dict[str, list[dict]] = {
        "answers": [
            {"text": text, "mentions": [{**as_object(span), "score": 0.9} for span in spans], "source": "openai:x"}
            for text, spans in pairs
        ],
        "doccano": [{"id": 1, "text": text, "label": spans} for text, spans in pairs],
        "prodigy": [{"text": text, "spans": [*map(as_object, spans)], "answer": "accept"} for text, spans in pairs],
        "words": [{"tokens": [line[0] for line in own], "ner_tags": [line[1] for line in own]} for own in columns],
        "gliner": [{"tokenized_text": ["p53", "binds", "MDM2"], "ner": [[0, 0, "GENE"], [2, 2, "GENE"]]}],
    }
    for name, lines in items.items():
        corpora[f"{name}.jsonl"] = "".join(f"{json.dumps(line)}\n" for line in lines)
    tasks = []
    for text, spans in pairs:
        values = [{"start": s, "end": e, "text": text[s:e], "labels": [entity]} for s, e, entity in spans]
        result = [{"type": "labels", "value": value} for value in values]
        tasks.append({"id": 1, "data": {"text": text}, "annotations": [{"was_cancelled": False, "result": result}]})
    corpora["studio.json"] = json.dumps(tasks)
    written = {name: text.encode() for name, text in corpora.items()}
    return written | {"a.tsv.gz": gzip.compress(tsv.encode())} | of_libraries(pairs)


def as_object(span: tuple[int, int, str]) -> dict[str, Any]:
    """A mention as most tools write it."""
    return dict(zip(("start", "end", "label"), span, strict=True))


def make_cases(data: Path, scratch: Path) -> list[tuple[Case, str]]:
    """The whole cases, each with the name of the file that is damaged; "": the arguments."""
    cases: list[tuple[Case, str]] = []
    corpora = make_corpora(data)
    devel = corpora.pop("other.tsv")
    ways = {"misaligned": "widen", "nested": "longest"}
    chosen = [part for name, way in ways.items() for part in (f"--{name}", way)]
    for name, content in corpora.items():
        files = {name: content, f"whole-{name}": content, "devel.tsv": devel}
        cases += [(Case("convert", [name, target, *chosen], files), name) for target in ("out.jsonl", "out.tsv")]
        paths = [{"path_to_train": name, "path_to_val": f"whole-{name}"}]
        paths += [{"path_to_val": "devel.tsv", "path_to_annotations": name}] * (3 if name == "answers.jsonl" else 1)
        cases += [(Case("corpora", [f"{k}={v}" for k, v in (each | ways).items()], files), name) for each in paths]
    brat = sorted((data / "formats/ncbi_disease/brat").glob("*.txt"))[:2]
    files = {f"a/{path.name}": path.read_bytes() for text in brat for path in (text, text.with_suffix(".ann"))}
    cases += [(Case("convert", ["a", "out.jsonl", *chosen], files), name) for name in files]

    lines = (data / "biomedical_unlabeled.txt").read_text()[:6000].splitlines()[:-1]
    pa.parquet.write_table(pa.table({"text": lines}), scratch / "text.parquet")
    texts = {
        "text.txt": "\n".join(lines).encode(),
        "text.txt.gz": gzip.compress("\n".join(lines).encode()),
        "text.jsonl": "\n".join(json.dumps({"id": 1, "text": line}) for line in lines).encode(),
        "words.jsonl": "\n".join(json.dumps({"tokens": line.split()}) for line in lines).encode(),
        "text.parquet": (scratch / "text.parquet").read_bytes(),
    }
    cases += [(Case("text", [name], {name: content}), name) for name, content in texts.items()]

    more = b"path_to_train: a.tsv\npath_to_val: a.tsv\n"
    more += b"teacher_model_name_or_path: [a, b]\nlr_scheduler_kwargs: {min_lr: 1e-5}\npath_to_unlabeled:\n  - a.txt\n"
    for path in sorted((ROOT / "configs").glob("recipe*.yaml")):
        cases.append((Case("parse", ["a.yaml"], {"a.yaml": path.read_bytes() + more}), "a.yaml"))
    run = "--teacher_model_name_or_path T --path_to_train a.tsv --path_to_val a.tsv --num_train_epochs 3"
    commands = {
        "parse predict": "student --input a.txt --output b.jsonl --threshold 0.5",
        "parse annotate": "openai:m --input a.txt --output b.jsonl --labels gene",
        "parse convert": "a.tsv b.jsonl --misaligned widen",
        "parse report": "a b --output c.html",
    }
    for command, line in [*commands.items(), *(5 * [("parse", run)])]:
        cases.append((Case(command, line.split(), {}), ""))

    tokenizer = train_tokenizer(load(data, "devel"))
    models = {"bert": bert(**SIZES), "student": bilstm(8, 0, word_feature_rows=20), "deep": bilstm(8, 8)}
    for name, model in models.items():
        model.config.word_rule = "apart"
        save_model(model, tokenizer, scratch / name)
        write_onnx(model, scratch / name / "onnx")
        paths = [path for path in (scratch / name).rglob("*") if path.is_file()]
        files = {path.relative_to(scratch).as_posix(): path.read_bytes() for path in paths}
        for file in ("config.json", "config.json", "tokenizer_config.json"):
            cases += [(Case(command, [name], files), f"{name}/{file}") for command in ("teacher", "tagger")]
    return cases


def of_libraries(pairs: Sequence[tuple[str, list]]) -> dict[str, bytes]:
    """The texts and their mentions as BioC and spaCy write them."""
    import bioc.biocjson
    import bioc.biocxml
    import spacy
    from bioc import BioCAnnotation, BioCCollection, BioCDocument, BioCLocation, BioCPassage
    from spacy.tokens import DocBin

    collection, store, blank = BioCCollection(), DocBin(), spacy.blank("en")
    for number, (text, spans) in enumerate(pairs):
        document, passage = BioCDocument(), BioCPassage()
        document.id, passage.offset, passage.text = str(number), 0, text
        for place, (start, end, entity) in enumerate(spans):
            annotation = BioCAnnotation()
            annotation.id, annotation.text, annotation.infons["type"] = str(place), text[start:end], entity
            annotation.add_location(BioCLocation(start, end - start))
            passage.add_annotation(annotation)
        document.add_passage(passage)
        collection.add_document(document)
        read = blank(text)
        found = [read.char_span(*span[:2], label=span[2]) for span in spans]
        read.ents = spacy.util.filter_spans([each for each in found if each])
        store.add(read)
    return {
        "bioc.xml": bioc.biocxml.dumps(collection).encode(),
        "bioc.json": bioc.biocjson.dumps(collection).encode(),
        "a.spacy": store.to_bytes(),
    }


def damaged(cases: Sequence[tuple[Case, str]], seed: int, number: int) -> Case:
    """The case of this number."""
    draw = random.Random(f"{seed} {number}")
    case, name = draw.choice(cases)
    if not name:
        return case._replace(arguments=damage_arguments(case.arguments, field_names(case.command), draw))
    others = [each.files[other] for each, other in cases if other]
    return case._replace(files=case.files | {name: damage_file(name, case.files[name], draw, others)})


def run(case: Case) -> tuple[str, str]:
    """Run a case in the current, empty folder.

    Returns:
        What came of it: done, message or the kind of a find; and the message or traceback.
    """
    for name, content in case.files.items():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(content)
    said = io.StringIO()
    if case.command in OWN:
        cli.COMMANDS[case.command] = OWN[case.command], cli.ANEW
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
            status = cli.main([case.command, *case.arguments])
    except SystemExit as error:  # --help
        status = error.code or 0
    except BaseException as error:
        frames = traceback.extract_tb(error.__traceback__)
        own = [frame for frame in frames if "hf_distill" in frame.filename]
        place = f"{Path(own[-1].filename).stem}-{own[-1].lineno}" if own else "outside"
        return f"{type(error).__name__}-{place}", traceback.format_exc()
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    message = said.getvalue()
    if status not in (0, 1, 2):
        return f"status-{status}", message
    if status and not message.strip():
        return "no-message", f"status {status}"
    if status and len(message) > CHARACTERS:
        return f"long-message-{case.command.replace(' ', '-')}", message
    return ("message" if status else "done"), message


def work(cases: Sequence[Case], scratch: Path, results: int) -> None:
    """Run cases in this process, a fork, and write what came of each, a line of JSON."""
    log = open(scratch / "died.txt", "w")  # noqa: SIM115  # until the process ends
    faulthandler.enable(log)
    faulthandler.register(signal.SIGPROF, log, chain=True)
    for number in (1, 2):
        os.dup2(os.open(os.devnull, os.O_WRONLY), number)
    used = int(re.search(r"VmData:\s+(\d+)", Path("/proc/self/status").read_text())[1]) * 1024  # type: ignore[index]
    resource.setrlimit(resource.RLIMIT_DATA, (used + BYTES, used + BYTES))
    datasets.config.HF_DATASETS_CACHE = scratch / "cache"
    for number, case in enumerate(cases):
        folder = scratch / f"case-{number}"
        folder.mkdir()
        os.chdir(folder)
        line = json.dumps(run(case)) + "\n"
        os.chdir(scratch)
        shutil.rmtree(folder)
        os.write(results, line.encode())


def run_apart(cases: Sequence[Case]) -> list[tuple[str, str]]:
    """Run cases in a process of their own; what came of each, to the one that it died of, included."""
    with tempfile.TemporaryDirectory() as name:
        reading, writing = os.pipe()
        process = os.fork()
        if not process:
            try:
                os.close(reading)
                work(cases, Path(name), writing)
            finally:
                os._exit(0)
        os.close(writing)
        signal.alarm(WALL)
        signal.signal(signal.SIGALRM, lambda *_: os.kill(process, signal.SIGKILL))
        with open(reading) as file:
            results = [tuple(json.loads(line)) for line in file if line.endswith("\n")]
        signal.alarm(0)
        _, status = os.waitpid(process, 0)
        if len(results) < len(cases):
            number = os.waitstatus_to_exitcode(status)
            kind = {-signal.SIGPROF: "too-slow", -signal.SIGKILL: "stuck"}.get(number, f"died-of-{number}")
            results.append((kind, (Path(name) / "died.txt").read_text()[-5000:]))
        return results


def keep(folder: Path, case: Case, text: str) -> None:
    """Write a find, to be replayed."""
    files = {name: base64.b64encode(content).decode() for name, content in case.files.items()}
    folder.mkdir(parents=True)
    (folder / "case.json").write_text(json.dumps(case._replace(files=files)._asdict(), indent=1))
    (folder / "traceback.txt").write_text(text, errors="backslashreplace")
    for name, content in case.files.items():
        if len(content) < 100_000:
            (folder / "files" / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / "files" / name).write_bytes(content)


def replay(folder: Path) -> int:
    """Run a find once more."""
    read = json.loads((folder / "case.json").read_text())
    files = {name: base64.b64decode(content) for name, content in read["files"].items()}
    [(kind, text)] = run_apart([Case(read["command"], read["arguments"], files)])
    print(f"{kind}\n{text}")
    return int(kind not in ("done", "message"))


def fuzz(args: argparse.Namespace, cases: Sequence[tuple[Case, str]]) -> int:
    """Damage and run cases until the time is over; print what came of them, and return the exit status."""
    whole = list({repr(case[:2]): case for case, _ in cases}.values())
    for case, (kind, text) in zip(whole, run_apart(whole), strict=False):
        if kind != "done":
            raise SystemExit(f"{case.command} {case.arguments} fails undamaged: {kind}: {text}")
    counts: Counter[tuple[str, str]] = Counter()
    finds: Counter[str] = Counter()
    once, number, end = Counter[str](), 0, time.monotonic() + 60 * args.minutes
    while time.monotonic() < end:
        batch = [damaged(cases, args.seed, number + place) for place in range(CASES)]
        results = run_apart(batch)
        number += len(results)  # those after one that died are made once more, with the same numbers
        for case, (kind, _) in zip(batch, results, strict=False):
            if kind not in ("done", "message"):
                [(kind, text)] = run_apart([case])
                if kind in ("done", "message"):
                    once[kind] += 1
                else:
                    finds[kind] += 1
                    if finds[kind] == 1:
                        keep(args.output / f"{kind}-{number}", case, text)
                        print(f"{kind}: {case.command} {' '.join(case.arguments)[:100]!r}", flush=True)
            counts[case.command, kind if kind in ("done", "message") else "find"] += 1
    commands = sorted({command for command, _ in counts})
    kinds = ("done", "message", "find")
    print(markdown(["", *kinds], [[name, *(f"{counts[name, kind]:,}" for kind in kinds)] for name in commands]))
    print(
        f"{number:,} cases (seed {args.seed}), {finds.total():,} finds of {len(finds)} kinds; {once.total()} came once"
    )
    return int(bool(finds))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default="../shared/data", help="folder of the corpora")
    parser.add_argument("--minutes", type=float, default=15)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default="finds", help="folder for finds")
    parser.add_argument("--replay", type=Path, help="the folder of one find: run it again")
    args = parser.parse_args()
    torch.set_num_threads(1)  # threads do not live on in a fork
    logging.set_verbosity_error()
    datasets.disable_progress_bars()
    args.output = args.output.resolve()
    if args.replay:
        return replay(args.replay)
    with tempfile.TemporaryDirectory() as scratch:
        return fuzz(args, make_cases(args.data.resolve(), Path(scratch)))


if __name__ == "__main__":
    sys.exit(main())
