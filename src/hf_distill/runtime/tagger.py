"""Finding mentions with an exported student, without PyTorch and transformers."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from time import perf_counter
from types import SimpleNamespace
from typing import Any

import numpy as np
import tokenizers

from .confidence import Threshold, read_calibration, read_threshold
from .fields import check_config
from .mentions import check_text, find_mentions, locate_words
from .onnx_model import MODEL_NAME, QUANTIZED_NAME, OnnxModel
from .tags import UserError, config_place
from .windows import LONGEST_WINDOW, Window, make_windows, pad_windows, predict_windows, window_length
from .word_features import FEATURES, word_feature_rows
from .words import word_rule

ONNX_FILES = {"int8": QUANTIZED_NAME, "fp32": MODEL_NAME}
LARGEST_OBJECT = 16 * 2**20  # bytes of a file of settings
STREAM_TEXTS = 256  # that `Tagger.stream` reads before it answers
PROBES, PROBED_SUBWORDS = 10, 32  # by which precision="auto" decides


@dataclass(eq=False)
class FastTokenizer:
    """A tokenizer of `tokenizers`, with what transformers keeps beside it (as in `windows.Tokenizer`)."""

    backend_tokenizer: tokenizers.Tokenizer
    pad_token_id: int
    unk_token_id: int | None
    model_max_length: int

    def __len__(self) -> int:
        return self.backend_tokenizer.get_vocab_size()

    @classmethod
    def from_files(cls, folder: Path) -> "FastTokenizer":
        """Read `tokenizer.json` and `tokenizer_config.json`.

        Raises:
            UserError: one is missing or not what it should be, or there is no token to pad with.
        """
        try:
            backend = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
        except Exception as error:  # tokenizers raises nothing narrower
            raise UserError(f"{folder / 'tokenizer.json'}: cannot be read: {error}") from None
        backend.no_truncation()
        backend.no_padding()
        settings = read_object(folder / "tokenizer_config.json")

        def token_id(name: str) -> int | None:
            token = settings.get(name)
            token = token.get("content") if isinstance(token, dict) else token
            found = backend.token_to_id(token) if isinstance(token, str) else None
            if found is None and (name == "pad_token" or token is not None):
                raise UserError(f"{folder / 'tokenizer_config.json'}: names no {name} of the vocabulary.")
            return found

        length = settings.get("model_max_length") or LONGEST_WINDOW
        if not isinstance(length, int):
            raise UserError(f"{folder / 'tokenizer_config.json'}: model_max_length is {length!r:.80}, no whole number.")
        pad, unknown = token_id("pad_token"), token_id("unk_token")
        assert pad is not None
        return cls(backend, pad, unknown, length)


class Tagger:
    """Finds the mentions of named entities in texts of any length.

    The answers are those of the pipeline that the student brings for transformers, from the same code, but ONNX Runtime
    and `tokenizers` are all that is needed. A tagger may be shared by threads, and pickled. (In int8
    after `--int8 dynamic` the numbers of a text depend a little on those that share its batch.)

    Args:
        folder: a student's folder.
        precision: "int8", "fp32", whose answers are those of PyTorch, or "auto": the one that this machine computes
            quicker for one text at a time, which is measured when the tagger is made.
        threads: number of ONNX Runtime threads, on which in int8 the last digits depend; 0 for all cores.

    Attributes:
        precision: "int8" or "fp32": what runs.

    Examples:
        >>> find = Tagger.from_pretrained("student")
        >>> mentions = find("Loss of p53 raised MDM2 levels.")
        >>> both = find([["Loss", "of", "p53"], ["MDM2"]], is_split_into_words=True)
    """

    def __init__(self, folder: str | Path, precision: str = "int8", threads: int = 1):
        folder = Path(folder).absolute()
        paths = [folder / file for file in _onnx_files(precision)]
        if not isinstance(threads, int) or threads < 0:
            raise UserError(f"threads is a number, 0 for all cores, not {threads!r:.200}.")
        if not folder.is_dir():
            raise UserError(f"{folder}: no such folder.")
        for path in paths:
            if not path.is_file():
                raise UserError(f"{folder}: has no {path.relative_to(folder)}; distil with --export onnx to create it.")
        fields = {"model_type": None} | read_object(folder / "config.json") | {"_name_or_path": str(folder)}
        config: Any = SimpleNamespace(**fields)
        check_config(config)
        self.config = config
        self.tokenizer = FastTokenizer.from_files(folder)
        self.tags, self.rule = _read_tags(self.config), word_rule(self.config)
        self.calibration = read_calibration(self.config)
        self.max_length = window_length(self.tokenizer, self.config)
        self.feature_rows = word_feature_rows(self.config)
        list(make_windows(self.tokenizer, [["a"]], self.max_length))  # there is room for a word
        networks = [OnnxModel(path, self.config, threads) for path in paths]
        for path, network in zip(paths, networks, strict=True):
            if network.num_labels != len(self.tags):
                raise UserError(f"{path}: has {network.num_labels} outputs, but config.json {len(self.tags)} tags.")
        rows = getattr(self.config, "vocab_size", None)
        if isinstance(rows, int) and rows < len(self.tokenizer):
            raise UserError(f"{folder}: its tokenizer has {len(self.tokenizer):,} subwords, its network {rows:,}.")
        self.network = networks[0]
        if len(networks) > 1:
            ids = [self.tokenizer.pad_token_id] * min(PROBED_SUBWORDS, self.max_length)
            features = np.zeros((len(ids), FEATURES), dtype=np.int64) if self.feature_rows else None
            self.network = _quickest(networks, Window(ids, [], 0, features))
        self.precision = precision if precision in ONNX_FILES else list(ONNX_FILES)[networks.index(self.network)]
        self._made_of = (folder, self.precision, threads)

    def __reduce__(self) -> tuple:
        return Tagger, self._made_of

    @classmethod
    def from_pretrained(
        cls, name: str | Path, revision: str | None = None, precision: str = "int8", threads: int = 1
    ) -> "Tagger":
        """Load a student by Hub id or folder.

        Args:
            name: Hub id or folder.
            revision: a branch, tag or commit on the Hub.
            precision: as of `Tagger`.
            threads: as of `Tagger`.

        Raises:
            UserError: there is no such student, it has no ONNX file, or one of its files is not what it should be.
        """
        return cls(find_student(name, _onnx_files(precision), revision), precision, threads)

    def __call__(
        self,
        texts: str | Iterable[str] | Iterable[Sequence[str]],
        is_split_into_words: bool = False,
        threshold: Threshold = None,
    ) -> list:
        """Find the mentions of a text, or of each of a list of texts.

        Args:
            texts: a text or a list of texts; with `is_split_into_words` lists of words, which are joined by spaces.
            is_split_into_words: whether the texts are already split into words.
            threshold: the score below which mentions are left out: a number, numbers by entity type, or the name of one
                of `config.thresholds`, such as "0.95" (`read_threshold`).

        Returns:
            A list of mentions (of each text): `entity_group`, `score` (the probability that exactly this mention stands
            there), `word` (its text), `start` and `end` (character offsets, `end` exclusive).
        """
        if isinstance(texts, dict | set | bytes) or not isinstance(texts, Iterable):
            raise UserError(f"Expected a text or a list of texts, not {texts!r:.80}.")
        batch: list[Any] = [texts] if isinstance(texts, str) else list(texts)
        single = isinstance(texts, str) or (is_split_into_words and bool(batch) and isinstance(batch[0], str))
        if single and not isinstance(texts, str):
            batch = [batch]
        for number, text in enumerate(batch, 1):
            if isinstance(text, str) == is_split_into_words:
                expected = "a list of words" if is_split_into_words else "a string (is_split_into_words=True: of words)"
                raise UserError(f"Text {number}: expected {expected}, not {text!r:.80}.")
        found = [mentions for *_, mentions in self.tag(batch, threshold)]
        return found[0] if single else found

    def stream(
        self, texts: Iterable[str] | Iterable[Sequence[str]], threshold: Threshold = None
    ) -> Iterator[list[dict[str, Any]]]:
        """Yield the mentions of each of any number of texts, or lists of words, in their order."""
        if isinstance(texts, str):
            raise UserError(f"Expected texts, not one: {texts!r:.80}.")
        remaining = iter(texts)
        while batch := list(islice(remaining, STREAM_TEXTS)):
            for *_, mentions in self.tag(batch, threshold):
                yield mentions

    def tag(
        self, texts: Sequence[str] | Sequence[Sequence[str]], threshold: Threshold = None
    ) -> Iterator[tuple[Mapping, list[int], list[dict]]]:
        """Yield for each text, or list of words, its words (`locate_words`), their label ids and its mentions.

        Raises:
            UserError: one of them is neither, or there is no such threshold.
        """
        thresholds = read_threshold(threshold, self.config, self.tags)
        yield from find_mentions(*self.predict(texts), self.tags, self.calibration, thresholds)

    def predict(self, texts: Sequence[str] | Sequence[Sequence[str]]) -> tuple[list[dict], list[np.ndarray]]:
        """Return each text, or list of words, with its words (`locate_words`), and their logits [words, labels].

        Raises:
            UserError: one of them is neither.
        """
        located = [locate_words(check_text(text, f"Text {number}"), self.rule) for number, text in enumerate(texts, 1)]
        words = [text["words"] for text in located]
        return located, predict_windows(
            self.network, self.tokenizer, words, self.max_length, len(self.tags), self.feature_rows
        )


def _read_tags(config: Any) -> list[str]:
    """Return the tag of each label.

    Raises:
        UserError: the model is no student. (What a head of others means by its labels is not for this class to guess:
            its I- may begin a mention.)
    """
    tags = getattr(config, "tags", None)
    if not tags:
        raise UserError(
            f"{config_place(config)}: names no tags, so that this is no student of hf_distill; "
            "`hf-distill predict` takes other token classifiers, too."
        )
    return tags


def _onnx_files(precision: str) -> list[str]:
    """Return the names of the files that a precision needs."""
    names = list(ONNX_FILES) if precision == "auto" else [precision]
    if names[0] not in list(ONNX_FILES):
        raise UserError(f"precision is one of {', '.join(ONNX_FILES)} and auto, not {precision!r:.200}.")
    return [f"onnx/{ONNX_FILES[name]}" for name in names]


def _quickest(networks: Sequence[OnnxModel], window: Window) -> OnnxModel:
    """Return the network that computes one window in the shortest time, for which they take turns."""
    inputs = pad_windows([window], pad_token_id=0)
    seconds = np.empty((PROBES, len(networks)))
    for turn in seconds:
        for number, network in enumerate(networks):
            start = perf_counter()
            network(**inputs)
            turn[number] = perf_counter() - start
    return networks[int(seconds.min(0).argmin())]


def find_student(name: str | Path, more: Iterable[str] = (), revision: str | None = None) -> Path:
    """Return the folder of a student: `name` itself, or where the files of a Hub repository were put that it needs.

    Args:
        name: Hub id or folder.
        more: names of files that are needed beside configuration and tokenizer, if they are there.
        revision: a branch, tag or commit on the Hub.

    Raises:
        UserError: there is neither such a folder nor such a repository.
    """
    if not isinstance(name, str | Path) or not str(name):
        raise UserError(f"Expected a Hub id or a folder, not {name!r:.200}.")
    with suppress(OSError):  # too long a name, say
        if Path(name).is_dir():
            return Path(name)
    from huggingface_hub import snapshot_download  # this takes longer to import than all else together
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    files = ["config.json", "tokenizer.json", "tokenizer_config.json", *more]
    try:
        return Path(snapshot_download(str(name), revision=revision, allow_patterns=files))
    except (HFValidationError, HfHubHTTPError, LocalEntryNotFoundError) as error:
        raise UserError(
            f"{name}: found neither as a folder nor on the Hugging Face Hub ({type(error).__name__})."
        ) from None


def read_object(path: Path) -> dict[str, Any]:
    """Read the JSON object in a file.

    Raises:
        UserError: there is no such file, it is too large, or something else is in it.
    """
    try:
        with open(path, "rb") as file:
            read = file.read(LARGEST_OBJECT + 1)
        if len(read) > LARGEST_OBJECT:
            raise UserError(f"{path}: larger than {LARGEST_OBJECT:,} bytes.")
        content = json.loads(read.decode())
        json.dumps(content, ensure_ascii=False).encode()  # fails for half a character
    except UserError:
        raise
    except FileNotFoundError:
        raise UserError(f"{path.parent}: has no {path.name}.") from None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: cannot be read as JSON: {error}") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: expected an object.")
    return content
