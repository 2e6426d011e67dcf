"""Prediction at scale: files of any size in, mentions or tags out, with all cores.

The main process cuts the files' bytes into chunks of whole texts, processes with one thread each parse, tag and spell
out a chunk, and their answers are written in order. What a chunk is depends on the files alone, so that any number of
processes writes the same bytes. Under `accelerate launch` the processes take the chunks in turns.
"""

import gzip
import os
import zlib
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from datetime import timedelta
from importlib.util import find_spec
from itertools import islice
from multiprocessing import get_context
from pathlib import Path

import torch
from accelerate import PartialState
from accelerate.utils import gather_object, parse_flag_from_env
from tqdm.auto import tqdm
from transformers import AutoConfig
from transformers.utils import cached_file, logging

from .arguments import PredictionArguments
from .labels import UserError, model_tags
from .loading import finding, resolve_model
from .onnx_model import MODEL_NAME, QUANTIZED_NAME
from .tagging import INPUTS, OUTPUTS, Chunk, Setup, end_with_parent, ending, tag_chunk

CHUNK_TEXTS, CHUNK_BYTES = 2048, 2**20
ONNX_FILES = {"int8": QUANTIZED_NAME, "onnx": MODEL_NAME}
NAMES = {"int8": "ONNX Runtime, int8", "onnx": "ONNX Runtime", "pytorch": "PyTorch"}


def predict(args: PredictionArguments) -> None:
    """Tag files, as `args` says.

    Raises:
        UserError: a file or a model is not what it should be, in the files with `PATH:LINE:`.
    """
    _check_files(args)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    cpu = not torch.cuda.is_available() or args.runtime in ONNX_FILES or parse_flag_from_env("ACCELERATE_USE_CPU")
    state = PartialState(cpu, timeout=timedelta(days=7))  # for so long a process waits for a slower one
    device = "cpu" if cpu else str(state.device)
    runtime, setup = _choose_runtime(args, device)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    local = int(os.environ.get("LOCAL_WORLD_SIZE", 1)) if state.num_processes > 1 else 1
    workers = 1 if device != "cpu" else max(1, cores // local)
    if state.is_main_process:
        count = f"{workers * state.num_processes} process(es)"
        print(f"{args.model}: {NAMES[runtime]} on {device}, up to {count}; output: {args.output}", flush=True)

    part = Path(f"{args.output}.part-{state.process_index}")
    lengths, wordless = [], 0
    try:
        with open(part, "wb") as file, _progress(args.input, not state.is_main_process) as progress:
            own = islice(_chunks(args.input, progress), state.process_index, None, state.num_processes)
            for content, left_out in _tag_chunks(own, setup, workers):
                lengths.append(file.write(content))
                wordless += left_out
        gathered = gather_object([(lengths, wordless)])
        if state.is_main_process:
            _join_parts(args.output, [lengths for lengths, _ in gathered])
        state.wait_for_everyone()
    finally:
        part.unlink(missing_ok=True)
    left_out = sum(wordless for _, wordless in gathered)
    if state.is_main_process and left_out:
        print(f"{left_out:,} text(s) without words are left out: TSV has no place for them.", flush=True)


def _check_files(args: PredictionArguments) -> None:
    for paths, endings in ((args.input, INPUTS), ([args.output], OUTPUTS)):
        for path in paths:
            if ending(path) not in endings:
                raise UserError(f"{path}: unknown ending; known are {', '.join(endings)}, and .gz behind each.")
    for path in args.input:
        if not Path(path).is_file():
            raise UserError(f"{path}: no such file.")
        if Path(path).resolve() == Path(args.output).resolve():
            raise UserError(f"{path}: --output would overwrite this input; choose another name.")
    if not Path(args.output).parent.is_dir():
        raise UserError(f"{args.output}: there is no folder {Path(args.output).parent}; make it first.")
    if Path(args.output).is_dir():
        raise UserError(f"{args.output}: --output is a folder; give the name of a file.")


def _choose_runtime(args: PredictionArguments, device: str) -> tuple[str, Setup]:
    """The runtime's name, and what the processes need to answer with it."""
    name = resolve_model(args.model)
    with finding(args.model):
        config = AutoConfig.from_pretrained(name, trust_remote_code=args.trust_remote_code)
    if model_tags(config) is None:
        raise UserError(f"{args.model}: the labels of its head have no names (`id2label` in config.json).")
    wanted = [args.runtime] if args.runtime != "auto" else ["pytorch"] if device != "cpu" else list(NAMES)
    if args.runtime in ONNX_FILES and not find_spec("onnxruntime"):
        raise UserError(f"--runtime {args.runtime} needs ONNX Runtime: pip install onnxruntime")
    for runtime in wanted:
        onnx = None
        if runtime in ONNX_FILES:
            onnx = _find_onnx(name, ONNX_FILES[runtime]) if find_spec("onnxruntime") else None
            if onnx is None:
                continue
        return runtime, Setup(name, onnx, device, args.trust_remote_code, args.output)
    raise UserError(f"{args.model}: has no onnx/{ONNX_FILES[args.runtime]}; distil with --export onnx to get one.")


def _find_onnx(model: str, file: str) -> str | None:
    missing = {"_raise_exceptions_for_missing_entries": False, "_raise_exceptions_for_connection_errors": False}
    return cached_file(model, f"onnx/{file}", **missing)


def _progress(paths: Sequence[str], disable: bool) -> tqdm:
    size = sum(Path(path).stat().st_size for path in paths)
    return tqdm(total=size, unit="B", unit_scale=True, desc="Tagging", disable=disable)


def _chunks(paths: Sequence[str], progress: tqdm) -> Iterator[Chunk]:
    """Cut files into chunks, in order. A chunk ends after a text, and never goes on in another file."""
    for path in paths:
        sentences = ending(path) == ".tsv"
        number, first, texts, size, lines = 0, 1, 0, 0, []
        with open(path, "rb") as raw, gzip.open(raw) if path.endswith(".gz") else raw as file:
            before = 0
            while True:
                try:
                    line = file.readline()
                except (gzip.BadGzipFile, EOFError, zlib.error) as error:
                    raise UserError(f"{path}:{number + 1}: not a whole gzip file: {error}.") from None
                number += 1
                lines.append(line)
                size += len(line)
                ends = not sentences or not line.strip(b" \r\n")
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
    """The chunks' answers, in order. At most two chunks per process are on their way."""
    with ProcessPoolExecutor(workers, get_context("spawn"), end_with_parent) as pool:
        pending = deque()
        try:
            for chunk in chunks:
                pending.append(pool.submit(tag_chunk, setup, chunk))
                if len(pending) == 2 * workers:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        except BrokenProcessPool:
            raise UserError("A process was killed while it tagged; most often memory had run out.") from None
        finally:
            pool.shutdown(cancel_futures=True)


def _join_parts(output: str, lengths: Sequence[Sequence[int]]) -> None:
    """Put the chunks of all parts in order together, and name the whole."""
    if len(lengths) == 1:
        os.replace(f"{output}.part-0", output)
        return
    whole = Path(f"{output}.part-all")
    try:
        with ExitStack() as stack:
            parts = [stack.enter_context(open(f"{output}.part-{index}", "rb")) for index in range(len(lengths))]
            file = stack.enter_context(open(whole, "wb"))
            for turn in range(len(lengths[0])):
                for part, own in zip(parts, lengths, strict=True):
                    file.write(part.read(own[turn]) if turn < len(own) else b"")
        os.replace(whole, output)
    finally:
        whole.unlink(missing_ok=True)
