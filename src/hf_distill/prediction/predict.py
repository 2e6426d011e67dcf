"""Tagging of files of any size on all cores.

The main process splits the input files into chunks of whole texts. Single-threaded worker processes parse and tag the
chunks, and format the output, which is written in order. Chunks depend on the input files alone, so the output does not
depend on the number of processes. Under `accelerate launch`, the processes take the chunks in turns.
"""

import glob
import gzip
import json
import os
import time
import uuid
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import timedelta
from importlib.util import find_spec
from itertools import chain, islice
from multiprocessing import get_context
from pathlib import Path

from tqdm.auto import tqdm

from ..arguments import PredictionArguments
from ..data.formats.writing import write_annotations
from ..files import LONGEST_LINE, TEMPORARY, check_file, lock, read_lines, remove_dead, writing
from ..runtime.confidence import read_threshold
from ..runtime.mentions import running_text_notice
from ..runtime.tagger import ONNX_FILES, Tagger, find_student, read_object
from ..runtime.tags import UserError
from .tagging import (
    INPUTS,
    OUTPUTS,
    Chunk,
    Setup,
    Tagged,
    Text,
    begins_inside,
    deaf_to_interrupts,
    ending,
    exit_with_parent,
    keep_most_uncertain,
    read_chunk,
    tag_chunk,
)

CHUNK_TEXTS, CHUNK_BYTES = 2048, 2**20
PRECISIONS = {"int8": "int8", "onnx": "fp32", "pytorch": None}  # of each runtime, the quickest first
NAMES = {"int8": "ONNX Runtime, int8", "onnx": "ONNX Runtime", "pytorch": "PyTorch"}


def predict(args: PredictionArguments) -> None:
    """Tag the words of files, or find their mentions, and write them to a file.

    Raises:
        UserError: a file (`PATH:LINE:`) or the model is invalid.
    """
    check_files(args.input, args.output, INPUTS, [] if args.format else OUTPUTS)
    if args.format == "brat" and Path(args.output).is_file():
        raise UserError(f"{args.output}: --output is a file; give the name of a folder that does not exist yet.")
    gpu = args.runtime in ("auto", "pytorch") and has_gpu()
    processes = _Launched(not gpu) if int(os.environ.get("WORLD_SIZE", 1)) > 1 else _Alone()
    runtime, setup, notices = choose_runtime(args, processes.gpu() if gpu else "cpu")
    local = int(os.environ.get("LOCAL_WORLD_SIZE", 1)) if processes.number > 1 else 1
    workers = 1 if gpu else max(1, cores() // local)
    main = processes.index == 0
    if main:
        for notice in notices:
            print(notice, flush=True)
        up_to = f"up to {workers * processes.number} process(es)"
        print(f"{args.model}: {NAMES[runtime]} on {setup.device}, {up_to}; output: {args.output}", flush=True)

    with lock_output(args.output, main), writing(args.output):
        token = processes.broadcast(uuid.uuid4().hex)
        part_name = f"{TEMPORARY}{Path(args.output).name}.part-{token}"
        parts = [Path(args.output).with_name(f"{part_name}-{index}") for index in range(processes.number)]
        part = parts[processes.index]
        lengths, words, wordless, start = list[int](), 0, 0, time.perf_counter()
        try:
            with open(part, "wb") as file, _progress(args.input, not main) as progress:
                own_chunks = islice(_chunks(args.input, progress), processes.index, None, processes.number)
                for tagged in tag_chunks(own_chunks, setup, workers):
                    lengths.append(file.write(tagged.content))
                    words += tagged.words
                    wordless += tagged.skipped
                    progress.set_postfix_str(f"{words / (time.perf_counter() - start):,.0f} words/s", refresh=False)
            gathered = processes.gather((lengths, wordless))
            if main:
                _join_parts(args, parts, [lengths for lengths, _ in gathered])
            processes.wait()
        finally:
            part.unlink(missing_ok=True)
    processes.end()
    skipped = sum(wordless for _, wordless in gathered)
    if main and skipped:
        print(f"{skipped:,} text(s) without words are left out: TSV cannot represent them.", flush=True)


class _Alone:
    """A process that nobody launched beside others."""

    number, index = 1, 0

    def gpu(self) -> str:
        return "cuda"

    def broadcast(self, value):
        return value

    def gather(self, value) -> list:
        return [value]

    def wait(self) -> None:
        pass

    def end(self) -> None:
        pass


class _Launched(_Alone):
    """One of the processes of `accelerate launch`."""

    def __init__(self, cpu: bool):
        from accelerate import PartialState

        self._state = PartialState(cpu, timeout=timedelta(days=7))  # how long a process waits for a slower one
        self.number, self.index = self._state.num_processes, self._state.process_index

    def gpu(self) -> str:
        return str(self._state.device)

    def broadcast(self, value):
        from accelerate.utils import broadcast_object_list

        return broadcast_object_list([value])[0]

    def gather(self, value) -> list:
        from accelerate.utils import gather_object

        return gather_object([value])

    def wait(self) -> None:
        self._state.wait_for_everyone()

    def end(self) -> None:
        self._state.destroy_process_group()  # whose threads may abort a process that ends before the others


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def has_gpu() -> bool:
    """Whether PyTorch is there and finds a GPU that it may use."""
    if not find_spec("torch") or os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("1", "true", "yes", "on"):
        return False
    import torch

    return torch.cuda.is_available()


@contextmanager
def lock_output(output: str, main_process: bool = True) -> Iterator[None]:
    """Keep other processes from the output, and remove what killed calls of `predict` left there."""
    if not main_process:
        yield
        return
    name = f"{TEMPORARY}{Path(output).name}"
    path = Path(output).with_name(f"{name}.lock")
    with lock(path):
        remove_dead(path.parent)
        for part in Path(output).parent.glob(f"{glob.escape(name)}.part-*"):
            part.unlink()
        try:
            yield
        finally:
            path.unlink()


def check_files(inputs: Sequence[str], output: str, read: Sequence[str], written: Sequence[str]) -> None:
    """Raise UserError for an unusable input or output path.

    Args:
        inputs: the files to read.
        output: the file to write, or a folder that does not exist yet.
        read: the endings that inputs may have.
        written: those of the output; none: any.
    """
    for paths, endings in ((inputs, read), ([output] if written else [], written)):
        for path in paths:
            if ending(path) not in endings:
                raise UserError(f"{path}: unknown ending; known are {', '.join(endings)}, each also with .gz.")
    for path in inputs:
        check_file(path)
        if Path(path).resolve() == Path(output).resolve():
            raise UserError(f"{path}: --output would overwrite this input; choose another name.")
    if not Path(output).parent.is_dir():
        raise UserError(f"{output}: there is no folder {Path(output).parent}; create it first.")
    if Path(output).is_dir():
        raise UserError(f"{output}: --output is a folder that exists already; choose another name.")


def choose_runtime(args: PredictionArguments, device: str) -> tuple[str, Setup, list[str]]:
    """Return the name of the runtime, the setup of its worker processes, and what may make the model miss mentions.

    Raises:
        UserError: the model cannot be used, or has no such file.
    """
    ours = bool(read_object(find_student(args.model) / "config.json").get("tags"))
    candidates = [args.runtime] if args.runtime != "auto" else ["pytorch"] if device != "cpu" else list(PRECISIONS)
    for runtime in candidates:
        precision = PRECISIONS[runtime]
        if precision is None:
            return runtime, *_foreign(args, device, None)
        file = f"onnx/{ONNX_FILES[precision]}"
        folder = find_student(args.model, [file])
        if (folder / file).is_file() and ours:
            student = Tagger(folder, precision)  # what is wrong with it is said before the work begins
            student.config._name_or_path = args.model
            setup = Setup(str(folder), tuple(student.tags), _lines_of(args), precision=precision)
            return runtime, _with_thresholds(setup, args, student.config), _notices(args, student.config)
        if (folder / file).is_file():
            return runtime, *_foreign(args, device, str(folder / file))
    raise UserError(f"{args.model}: has no {file}; distil with --export onnx to create it.")


def _with_thresholds(setup: Setup, args: PredictionArguments, config) -> Setup:
    thresholds = read_threshold(args.chosen_threshold(), config, setup.tags)
    return replace(setup, thresholds=tuple(thresholds.items()), most_uncertain=args.most_uncertain)


def _lines_of(args: PredictionArguments) -> str:
    """Name of the output whose ending says what the processes write: what `write_annotations` reads, or the output."""
    if not args.format:
        return args.output
    return f"{args.output}.conll" if args.format == "conll" else f"{args.output}.jsonl"


def _notices(args: PredictionArguments, config) -> list[str]:
    splits = any(ending(path) != ".tsv" for path in args.input)
    return [notice for notice in [running_text_notice(config)] if splits and notice]


def _foreign(args: PredictionArguments, device: str, onnx: str | None) -> tuple[Setup, list[str]]:
    """As `choose_runtime`, of a model that transformers has to load."""
    from ..teachers.labels import is_undecided
    from .torch_tagger import read_head, tokenizer_notice

    config, tags = read_head(args)
    setup = Setup(
        args.model,
        tuple(tags),
        _lines_of(args),
        begins_inside=True if args.scheme == "IOB1" else None,
        onnx=onnx,
        device=device,
        trust_remote_code=args.trust_remote_code,
        add_prefix_space=args.add_prefix_space is not False,
    )
    if not getattr(config, "tags", None) and not args.scheme and is_undecided(tags):
        setup = _find_scheme(args, setup)
    return _with_thresholds(setup, args, config), [*filter(None, [tokenizer_notice(args)]), *_notices(args, config)]


def _find_scheme(args: PredictionArguments, setup: Setup) -> Setup:
    """Find out, by the first texts, whether a head with B- and I- alone is in IOB1."""
    chunk = next(_chunks(args.input, _progress(args.input, True)), None)
    if chunk is None:
        return setup
    with ProcessPoolExecutor(1, get_context("spawn"), exit_with_parent) as pool:
        with deaf_to_interrupts():
            found = pool.submit(begins_inside, setup, chunk)
        return replace(setup, begins_inside=found.result())


def _progress(paths: Sequence[str], disable: bool) -> tqdm:
    size = sum(Path(path).stat().st_size for path in paths)
    return tqdm(total=size, unit="B", unit_scale=True, desc="Tagging", disable=disable)


def read_texts(paths: Sequence[str]) -> Iterator[Text]:
    """Yield the texts of files, in order.

    Raises:
        UserError: `PATH:LINE:`, the error and how to correct it.
    """
    for chunk in _chunks(paths, _progress(paths, True)):
        yield from read_chunk(chunk)


def _chunks(paths: Sequence[str], progress: tqdm) -> Iterator[Chunk]:
    """Split files into chunks, in order. A chunk contains whole texts of one file."""
    for path in paths:
        sentences = ending(path) == ".tsv"
        number, first, texts, size, lines = 0, 1, 0, 0, []
        with open(path, "rb") as raw, gzip.open(raw) if path.endswith(".gz") else raw as file:
            before = 0
            for line in chain(read_lines(file, path), [b""]):
                number += 1
                lines.append(line)
                size += len(line)
                ends = not sentences or not line.strip(b" \t\r\n")
                texts += ends
                if not line or (ends and (texts == CHUNK_TEXTS or size >= CHUNK_BYTES)):
                    progress.update(raw.tell() - before)
                    before = raw.tell()
                    if size:
                        yield Chunk(path, first, b"".join(lines))
                    first, texts, size, lines = number + 1, 0, 0, []
                if size > LONGEST_LINE:
                    raise UserError(
                        f"{path}:{number}: the sentence does not end within {LONGEST_LINE:,} bytes. An empty line is "
                        "the end of a sentence."
                    )


def tag_chunks(chunks: Iterator[Chunk], setup: Setup, workers: int) -> Iterator[Tagged]:
    """Yield the result of `tag_chunk` for each chunk, in order. At most two chunks per worker are pending."""
    with ProcessPoolExecutor(workers, get_context("spawn"), exit_with_parent) as pool:
        pending: deque[Future[Tagged]] = deque()
        try:
            for chunk in chunks:
                with deaf_to_interrupts():
                    pending.append(pool.submit(tag_chunk, setup, chunk))
                if len(pending) == 2 * workers:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def _join_parts(args: PredictionArguments, parts: Sequence[Path], lengths: Sequence[Sequence[int]]) -> None:
    """Merge the part files of all processes into the output. `lengths` lists the chunk sizes of each part in bytes."""
    if len(lengths) == 1 and not args.most_uncertain and not args.format:
        os.replace(parts[0], args.output)
        return
    merged = parts[0].with_name(f"{parts[0].name}-all")
    try:
        with ExitStack() as stack:
            opened = [stack.enter_context(open(path, "rb")) for path in parts]
            file = stack.enter_context(open(merged, "wb"))
            for turn in range(len(lengths[0])):
                for part, sizes in zip(opened, lengths, strict=True):
                    file.write(part.read(sizes[turn]) if turn < len(sizes) else b"")
        if args.most_uncertain:
            keep_most_uncertain(merged, _lines_of(args), args.most_uncertain)
        if args.format and args.format != "conll":
            with open(merged, encoding="utf-8") as lines:
                write_annotations(map(json.loads, lines), args.output, args.format)
        else:
            os.replace(merged, args.output)
    finally:
        merged.unlink(missing_ok=True)
