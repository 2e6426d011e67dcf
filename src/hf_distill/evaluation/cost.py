"""Latency, throughput, size and memory of teacher and student."""

import platform
import re
import statistics
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from datasets.utils import tqdm
from torch import Tensor
from transformers import AutoModelForTokenClassification, PreTrainedModel

from ..files import MANIFEST_NAME, format_table
from ..prediction.tagging import deaf_to_interrupts, exit_with_parent
from ..runtime.tagger import ONNX_FILES, Tagger
from ..runtime.windows import make_windows, pad_windows
from ..runtime.word_features import word_feature_rows
from ..students.save import save_model
from ..students.student import Student
from ..teachers.teacher import Teacher

BATCH_SIZES = {1: 200, 32: 512}  # batch size: number of measured sentences
PADDED_LENGTH, PADDED_REPEATS = 202, 50  # as the *BioBERT Distillation* script pads
NO_GAIN = ("of which libraries", "standard deviation")  # rows of the table without a gain
EXPORTED_SENTENCES = 512
BLOCK = 10  # consecutive batches of one model before the next model runs

Subject = Student | Teacher
Inputs = Mapping[str, Tensor]  # of a model, by name


def measure(
    subjects: Mapping[str, Sequence[Subject]],
    sentences: Sequence[Sequence[str]],
    device: torch.device,
    trust_remote_code: bool = False,
) -> dict:
    """Measure forward passes on tokenised batches, with models that are saved and loaded as users load them.

    The models alternate, so that changes in the machine's speed affect all of them.

    Args:
        subjects: by name, a model, or several whose probabilities are averaged.
        sentences: lists of words, of which an evenly spaced sample is used.
        device: the device of the models.
        trust_remote_code: passed to transformers when a model is loaded.

    Returns:
        `hardware`, `device`, `threads`, `dtype`, and by name: `parameters`; `bytes_on_disk` (the whole folder);
        `peak_memory_bytes` of a process that loads the model and runs the longest batch of 32, and
        `libraries_memory_bytes`, the part in use before loading (None where the system does not report them; on a GPU,
        tensors only); `batch_1` and `batch_32` (`p50_ms`, `p95_ms`, `words_per_second`), batches of sentences of
        similar length; `padded_202` (`mean_ms`, `std_ms`), one sentence at a time, truncated and padded to 202 subwords
        or to the model's window if that is shorter, as the *BioBERT Distillation* script measures.
    """
    report: dict = {
        "hardware": torch.cuda.get_device_name(device) if device.type == "cuda" else _processor_name(),
        "device": device.type,
        "threads": torch.get_num_threads(),
    }
    batches = {
        size: _split(sorted(_even_sample(sentences, number), key=len), size) for size, number in BATCH_SIZES.items()
    }
    with TemporaryDirectory() as folder:
        loaded: dict[str, list[Subject]] = {}
        for name, parts in subjects.items():
            paths = [Path(folder) / name / str(number) for number in range(len(parts))]
            for path, part in zip(paths, parts, strict=True):
                save_model(part.model, part.tokenizer, path)
            files = [
                file for path in paths for file in path.rglob("*") if file.is_file() and file.name != MANIFEST_NAME
            ]
            encoded = [_encode(part, batches[32][-1]) for part in parts]
            longest = [{name: values.cpu() for name, values in inputs.items()} for inputs in encoded]
            with ProcessPoolExecutor(1, get_context("spawn"), exit_with_parent) as process:
                arguments = (paths, longest, device, torch.get_num_threads(), trust_remote_code)
                with deaf_to_interrupts():
                    measured = process.submit(_measure_memory, *arguments)
                before, peak = measured.result()
            report[name] = {
                "parameters": sum(part.model.num_parameters() for part in parts),
                "bytes_on_disk": sum(file.stat().st_size for file in files),
                "peak_memory_bytes": peak,
                "libraries_memory_bytes": before,
            }
            loaded[name] = [
                replace(part, model=_load(path, device, trust_remote_code))
                for path, part in zip(paths, parts, strict=True)
            ]
    report["dtype"] = str(next(iter(loaded.values()))[0].model.dtype).removeprefix("torch.")

    rounds = {f"batch_{size}": groups for size, groups in batches.items()}
    rounds[f"padded_{PADDED_LENGTH}"] = _split(_even_sample(sentences, PADDED_REPEATS), 1)
    total = len(loaded) * sum(map(len, rounds.values()))
    with tqdm(total=total, desc="Measuring", unit=" batches") as progress:
        for name, groups in rounds.items():
            seconds = _measure_seconds(loaded, groups, PADDED_LENGTH if name.startswith("padded") else 0, progress)
            words = sum(len(sentence) for group in groups for sentence in group)
            for subject, times in seconds.items():
                milliseconds = [1000 * value for value in times]
                if name.startswith("padded"):
                    figures = {"mean_ms": statistics.mean(milliseconds), "std_ms": statistics.pstdev(milliseconds)}
                else:
                    p50, p95 = np.percentile(milliseconds, [50, 95]).tolist()
                    figures = {"p50_ms": p50, "p95_ms": p95, "words_per_second": words / sum(times)}
                report[subject][name] = figures
    return report


def measure_exported(folder: str | Path, sentences: Sequence[Sequence[str]]) -> dict[str, dict[str, float]]:
    """Measure what a `Tagger` tags in a second, from words to mentions, with one thread.

    The two precisions alternate, and the quickest of three rounds counts.

    Args:
        folder: an exported student's folder.
        sentences: lists of words, of which an evenly spaced sample is used.

    Returns:
        By precision, words per second `one_text` at a time and for `many_texts`.
    """
    taggers = {precision: Tagger(folder, precision) for precision in ONNX_FILES}
    sample = _even_sample(sentences, EXPORTED_SENTENCES)
    report: dict[str, dict[str, float]] = {precision: {} for precision in taggers}
    ways = {"one_text": [[sentence] for sentence in sample[::4]], "many_texts": [sample]}
    with tqdm(total=3 * len(ways), desc="Measuring the exported student", unit=" rounds") as progress:
        for way, batches in ways.items():
            words = sum(len(sentence) for batch in batches for sentence in batch)
            for _ in range(3):
                for precision, tagger in taggers.items():
                    start = time.perf_counter()
                    for batch in batches:
                        tagger(batch, is_split_into_words=True)
                    figure = words / (time.perf_counter() - start)
                    report[precision][way] = max(figure, report[precision].get(way, 0.0))
                progress.update()
    return report


def exported_table(report: Mapping[str, Mapping[str, float]]) -> str:
    """What `measure_exported` measured as a text table, and a line that says where int8 is not the quickest."""
    titles = {"one_text": "one text at a time", "many_texts": "many texts"}
    rows = [[precision, *(f"{figures[way]:,.0f}" for way in titles)] for precision, figures in report.items()]
    table = f"ONNX Runtime, one thread, words per second:\n{format_table(['', *titles.values()], rows)}"
    slower = [title for way, title in titles.items() if report["int8"][way] < report["fp32"][way]]
    if not slower:
        return table
    return (
        f'{table}\nHere int8 is not the quickest for {" and ".join(slower)}: Tagger(..., precision="fp32") is. '
        '(precision="auto" measures one text at a time when it loads, and takes what is.)'
    )


def benchmark_table(report: Mapping) -> str:
    """The report as a text table with a column per model and, for two models, the gain of the second over the first."""
    names = [name for name, figures in report.items() if isinstance(figures, Mapping) and "parameters" in figures]
    lines = [("parameters (M)", "parameters", 1e6), ("on disk (MB)", "bytes_on_disk", 1e6)]
    lines += [("peak memory (MB)", "peak_memory_bytes", 1e6)]
    lines += [("of which libraries", "libraries_memory_bytes", 1e6)]
    for size in BATCH_SIZES:
        lines += [(f"batch {size}: p50 (ms)", f"batch_{size} p50_ms", 1), ("p95 (ms)", f"batch_{size} p95_ms", 1)]
        lines += [("words per second", f"batch_{size} words_per_second", 1)]
    padded = f"padded_{PADDED_LENGTH}"
    lines += [(f"{PADDED_LENGTH} padded subwords: mean (ms)", f"{padded} mean_ms", 1)]
    lines += [("standard deviation", f"{padded} std_ms", 1)]
    rows = []
    for title, path, unit in lines:
        values = []
        for name in names:
            value = report[name]
            for key in path.split():
                value = value[key]
            values.append(float("nan") if value is None else value / unit)
        row = [title, *(f"{value:,.0f}" if value >= 1000 else f"{value:.2f}" for value in values)]
        if len(values) == 2:
            better, other = values if "second" not in title else values[::-1]
            row.append("" if title in NO_GAIN or not other else f"{better / other:.2f} x")
        rows.append(row)
    where = f"Forward passes in {report['dtype']} on {report['hardware']}, {report['threads']} thread(s):"
    return f"{where}\n{format_table(['', *names, *(['gain'] if len(names) == 2 else [])], rows)}"


def _even_sample(sentences: Sequence[Sequence[str]], number: int) -> list[Sequence[str]]:
    """`number` evenly spaced sentences, or all if there are fewer."""
    places = np.linspace(0, len(sentences) - 1, min(number, len(sentences))).round().astype(int).tolist()
    return [sentences[place] for place in places]


def _split(items: Sequence, size: int) -> list[Sequence]:
    return [items[start : start + size] for start in range(0, len(items), size)]


def _encode(subject: Subject, sentences: Sequence[Sequence[str]], length: int = 0) -> Inputs:
    """The inputs of the sentences' windows, padded to the longest.

    With a `length`, only the first window of each sentence, truncated and padded to that many subwords.
    """
    width = min(length or subject.max_length, subject.max_length)
    split = make_windows(subject.tokenizer, sentences, width, word_feature_rows(subject.model.config))
    windows = [window for each in split for window in (each[:1] if length else each)]
    inputs = pad_windows(windows, subject.tokenizer.pad_token_id, width if length else 0)
    return {name: torch.from_numpy(values).to(subject.model.device) for name, values in inputs.items()}


def _load(path: Path, device: torch.device, trust_remote_code: bool) -> PreTrainedModel:
    model = AutoModelForTokenClassification.from_pretrained(path, trust_remote_code=trust_remote_code)
    return model.to(device).eval()


@torch.inference_mode()
def _measure_seconds(
    subjects: Mapping[str, Sequence[Subject]], groups: Sequence[Sequence[Sequence[str]]], length: int, progress: tqdm
) -> dict[str, list[float]]:
    """Seconds of each model's forward pass on each batch of sentences."""
    seconds: dict[str, list[float]] = {name: [] for name in subjects}
    for block in _split(groups, BLOCK):
        for name, parts in subjects.items():
            inputs = [[_encode(part, group, length) for part in parts] for group in block]
            for number, batch in enumerate([inputs[0], *inputs]):  # the first pass is a warm-up
                _synchronise(parts)
                start = time.perf_counter()
                for part, tensors in zip(parts, batch, strict=True):
                    part.model(**tensors)
                _synchronise(parts)
                if number:
                    seconds[name].append(time.perf_counter() - start)
            progress.update(len(block))
    return seconds


def _synchronise(parts: Sequence[Subject]) -> None:
    if parts[0].model.device.type != "cpu":
        torch.accelerator.synchronize()


@torch.inference_mode()
def _measure_memory(
    paths: Sequence[Path], inputs: Sequence[Inputs], device: torch.device, threads: int, trust_remote_code: bool
) -> tuple[int | None, int | None]:
    """Peak memory before loading the models, and after running one batch; to be called in a new process."""
    torch.set_num_threads(threads)
    before = _peak_memory(device)
    loaded = [_load(path, device, trust_remote_code) for path in paths]
    for model, tensors in zip(loaded, inputs, strict=True):
        model(**{name: values.to(device) for name, values in tensors.items()})
    return before, _peak_memory(device)


def _peak_memory(device: torch.device) -> int | None:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    # Only on Linux. getrusage would include the peak of the parent process.
    status = Path("/proc/self/status")
    found = re.search(r"VmHWM:\s+(\d+)", status.read_text()) if status.exists() else None
    return 1024 * int(found.group(1)) if found else None


def _processor_name() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*:\s*(.+)", cpuinfo.read_text()) if cpuinfo.exists() else None
    return found.group(1) if found else platform.processor() or platform.machine()
