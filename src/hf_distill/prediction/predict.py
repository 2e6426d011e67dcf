"""Tagging of files of any size on all cores.

The main process splits the input files into chunks of whole texts. Single-threaded worker processes parse and tag the
chunks, and format the output, which is written in order. Chunks depend on the input files alone, so the output does not
depend on the number of processes. Under `accelerate launch`, the processes take the chunks in turns.
"""

import glob
import gzip
import os
import uuid
import zlib
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import timedelta
from importlib.util import find_spec
from itertools import islice
from multiprocessing import get_context
from pathlib import Path

import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list, gather_object, parse_flag_from_env
from tqdm.auto import tqdm
from transformers import AutoConfig, PretrainedConfig
from transformers.utils import cached_file, logging

from ..arguments import PredictionArguments
from ..files import TEMPORARY, lock
from ..runtime.onnx_model import MODEL_NAME, QUANTIZED_NAME
from ..runtime.pipeline import running_text_notice
from ..runtime.schemes import model_tags
from ..runtime.tags import OUTSIDE, UserError
from ..runtime.words import word_rule
from ..teachers.labels import is_undecided, match_labels
from ..teachers.loading import explain_loading_errors, load_tokenizer, prefix_space_notice, resolve_model
from .tagging import INPUTS, OUTPUTS, Chunk, Setup, begins_inside, ending, exit_with_parent, tag_chunk

CHUNK_TEXTS, CHUNK_BYTES = 2048, 2**20
ONNX_FILES = {"int8": QUANTIZED_NAME, "onnx": MODEL_NAME}
NAMES = {"int8": "ONNX Runtime, int8", "onnx": "ONNX Runtime", "pytorch": "PyTorch"}


def predict(args: PredictionArguments) -> None:
    """Tag the words of files, or find their mentions, and write them to a file.

    Raises:
        UserError: a file (`PATH:LINE:`) or the model is invalid.
    """
    _check_files(args)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    cpu = not torch.cuda.is_available() or args.runtime in ONNX_FILES or parse_flag_from_env("ACCELERATE_USE_CPU")
    state = PartialState(cpu, timeout=timedelta(days=7))  # how long a process waits for a slower one
    device = "cpu" if cpu else str(state.device)
    config = _load_config(args)
    runtime, setup = _choose_runtime(args, device, config)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    local = int(os.environ.get("LOCAL_WORLD_SIZE", 1)) if state.num_processes > 1 else 1
    workers = 1 if device != "cpu" else max(1, cores // local)
    if state.is_main_process:
        for notice in _notices(args, setup.model, config):
            print(notice, flush=True)
        processes = f"{workers * state.num_processes} process(es)"
        print(f"{args.model}: {NAMES[runtime]} on {device}, up to {processes}; output: {args.output}", flush=True)

    with _lock_output(args.output, state.is_main_process):
        [token] = broadcast_object_list([uuid.uuid4().hex])
        part_name = f"{TEMPORARY}{Path(args.output).name}.part-{token}"
        parts = [Path(args.output).with_name(f"{part_name}-{index}") for index in range(state.num_processes)]
        part = parts[state.process_index]
        lengths, wordless = [], 0
        try:
            with open(part, "wb") as file, _progress(args.input, not state.is_main_process) as progress:
                own_chunks = islice(_chunks(args.input, progress), state.process_index, None, state.num_processes)
                for content, skipped in _tag_chunks(own_chunks, setup, workers):
                    lengths.append(file.write(content))
                    wordless += skipped
            gathered = gather_object([(lengths, wordless)])
            if state.is_main_process:
                _join_parts(args.output, parts, [lengths for lengths, _ in gathered])
            state.wait_for_everyone()
        finally:
            part.unlink(missing_ok=True)
    skipped = sum(wordless for _, wordless in gathered)
    if state.is_main_process and skipped:
        print(f"{skipped:,} text(s) without words are left out: TSV cannot represent them.", flush=True)


@contextmanager
def _lock_output(output: str, main_process: bool) -> Iterator[None]:
    """Keep other calls of `predict` from the output, and remove what killed ones left there."""
    if not main_process:
        yield
        return
    name = f"{TEMPORARY}{Path(output).name}"
    path = Path(output).with_name(f"{name}.lock")
    with lock(path):
        for part in Path(output).parent.glob(f"{glob.escape(name)}.part-*"):
            part.unlink()
        try:
            yield
        finally:
            path.unlink()


def _check_files(args: PredictionArguments) -> None:
    """Raise UserError for an unusable input or output path."""
    for paths, endings in ((args.input, INPUTS), ([args.output], OUTPUTS)):
        for path in paths:
            if ending(path) not in endings:
                raise UserError(f"{path}: unknown ending; known are {', '.join(endings)}, each also with .gz.")
    for path in args.input:
        if not Path(path).is_file():
            raise UserError(f"{path}: no such file.")
        if Path(path).resolve() == Path(args.output).resolve():
            raise UserError(f"{path}: --output would overwrite this input; choose another name.")
    if not Path(args.output).parent.is_dir():
        raise UserError(f"{args.output}: there is no folder {Path(args.output).parent}; create it first.")
    if Path(args.output).is_dir():
        raise UserError(f"{args.output}: --output is a folder; give the name of a file.")


def _load_config(args: PredictionArguments) -> PretrainedConfig:
    with explain_loading_errors(args.model):
        return AutoConfig.from_pretrained(resolve_model(args.model), trust_remote_code=args.trust_remote_code)


def _notices(args: PredictionArguments, model: str, config: PretrainedConfig) -> list[str]:
    """Return what may make the model miss mentions in this input."""
    notices = []
    if args.add_prefix_space is None:
        tokenizer = load_tokenizer(model, args.trust_remote_code)
        notices.append(prefix_space_notice(tokenizer, args.trust_remote_code))
    if any(ending(path) != ".tsv" for path in args.input):
        notices.append(running_text_notice(config))
    return list(filter(None, notices))


def _choose_runtime(args: PredictionArguments, device: str, config: PretrainedConfig) -> tuple[str, Setup]:
    """Return the name of the runtime and the setup of its worker processes."""
    name = resolve_model(args.model)
    word_rule(config)
    try:
        tags = model_tags(config, args.scheme, args.entity_type)
        if tags is not None:
            match_labels(tags, [OUTSIDE])
    except UserError as error:
        raise UserError(f"{args.model}: {error}") from None
    if tags is None:
        raise UserError(f"{args.model}: the labels of its head have no names: add them to config.json (`id2label`).")
    candidates = [args.runtime] if args.runtime != "auto" else ["pytorch"] if device != "cpu" else list(NAMES)
    if args.runtime in ONNX_FILES and not find_spec("onnxruntime"):
        raise UserError(f"--runtime {args.runtime} needs ONNX Runtime: pip install onnxruntime")
    for runtime in candidates:
        onnx = None
        if runtime in ONNX_FILES:
            onnx = _find_onnx(name, ONNX_FILES[runtime]) if find_spec("onnxruntime") else None
            if onnx is None:
                continue
        inside = True if args.scheme == "IOB1" else None
        prefix_space = args.add_prefix_space is not False
        setup = Setup(name, tuple(tags), inside, onnx, device, args.trust_remote_code, prefix_space, args.output)
        ours = getattr(config, "tags", None)
        return runtime, setup if ours or args.scheme or not is_undecided(tags) else _find_scheme(args, setup)
    raise UserError(f"{args.model}: has no onnx/{ONNX_FILES[args.runtime]}; distil with --export onnx to create it.")


def _find_scheme(args: PredictionArguments, setup: Setup) -> Setup:
    """Find out, by the first texts, whether a head with B- and I- alone is in IOB1."""
    chunk = next(_chunks(args.input, _progress(args.input, True)), None)
    if chunk is None:
        return setup
    with ProcessPoolExecutor(1, get_context("spawn"), exit_with_parent) as pool:
        return replace(setup, begins_inside=pool.submit(begins_inside, setup, chunk).result())


def _find_onnx(model: str, file: str) -> str | None:
    """Return the path of a file in a model's `onnx` folder, or None."""
    missing = {"_raise_exceptions_for_missing_entries": False, "_raise_exceptions_for_connection_errors": False}
    return cached_file(model, f"onnx/{file}", **missing)


def _progress(paths: Sequence[str], disable: bool) -> tqdm:
    size = sum(Path(path).stat().st_size for path in paths)
    return tqdm(total=size, unit="B", unit_scale=True, desc="Tagging", disable=disable)


def _chunks(paths: Sequence[str], progress: tqdm) -> Iterator[Chunk]:
    """Split files into chunks, in order. A chunk contains whole texts of one file."""
    for path in paths:
        sentences = ending(path) == ".tsv"
        number, first, texts, size, lines = 0, 1, 0, 0, []
        with open(path, "rb") as raw, gzip.open(raw) if path.endswith(".gz") else raw as file:
            before = 0
            while True:
                try:
                    line = file.readline()
                except (gzip.BadGzipFile, EOFError, zlib.error) as error:
                    raise UserError(
                        f"{path}:{number + 1}: not a whole gzip file: {error}. Compress it again."
                    ) from None
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
                if not line:
                    break


def _tag_chunks(chunks: Iterator[Chunk], setup: Setup, workers: int) -> Iterator[tuple[bytes, int]]:
    """Yield the result of `tag_chunk` for each chunk, in order. At most two chunks per worker are pending."""
    with ProcessPoolExecutor(workers, get_context("spawn"), exit_with_parent) as pool:
        pending: deque[Future[tuple[bytes, int]]] = deque()
        try:
            for chunk in chunks:
                pending.append(pool.submit(tag_chunk, setup, chunk))
                if len(pending) == 2 * workers:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        except BrokenProcessPool:
            raise UserError("A worker process was killed, most likely because memory ran out.") from None
        finally:
            pool.shutdown(cancel_futures=True)


def _join_parts(output: str, parts: Sequence[Path], lengths: Sequence[Sequence[int]]) -> None:
    """Merge the part files of all processes into the output. `lengths` lists the chunk sizes of each part in bytes."""
    if len(lengths) == 1:
        os.replace(parts[0], output)
        return
    merged = parts[0].with_name(f"{parts[0].name}-all")
    try:
        with ExitStack() as stack:
            opened = [stack.enter_context(open(path, "rb")) for path in parts]
            file = stack.enter_context(open(merged, "wb"))
            for turn in range(len(lengths[0])):
                for part, sizes in zip(opened, lengths, strict=True):
                    file.write(part.read(sizes[turn]) if turn < len(sizes) else b"")
        os.replace(merged, output)
    finally:
        merged.unlink(missing_ok=True)
