"""Finding mentions with an exported student, without PyTorch and transformers."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import tokenizers

from .decoding import constrained_decode
from .mentions import locate_words, make_mentions
from .onnx_model import MODEL_NAME, QUANTIZED_NAME, OnnxModel
from .schemes import model_tags
from .tags import UserError
from .windows import LONGEST_WINDOW, predict_windows, window_length
from .words import word_rule

ONNX_FILES = {"int8": QUANTIZED_NAME, "fp32": MODEL_NAME}
STREAM_TEXTS = 256  # that `Tagger.stream` reads before it answers


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
            return backend.token_to_id(token["content"] if isinstance(token, dict) else token) if token else None

        pad = token_id("pad_token")
        if pad is None:
            raise UserError(f"{folder / 'tokenizer_config.json'}: names no pad_token of the vocabulary.")
        return cls(backend, pad, token_id("unk_token"), settings.get("model_max_length") or LONGEST_WINDOW)


class Tagger:
    """Finds the mentions of named entities in texts of any length.

    The answers are those of the pipeline that the student brings for transformers, from the same code, but ONNX Runtime
    and `tokenizers` are all that is needed. A tagger may be shared by threads, and pickled. (In int8 the numbers of a
    text depend on those that share its batch, in their third digit: ONNX Runtime scales activations by batch.)

    Args:
        folder: a student's folder.
        precision: "int8" or "fp32".
        threads: number of ONNX Runtime threads, on which in int8 the last digits depend; 0 for all cores.

    Example:
        >>> find = Tagger.from_pretrained("student")
        >>> mentions = find("Loss of p53 raised MDM2 levels.")
        >>> both = find([["Loss", "of", "p53"], ["MDM2"]], is_split_into_words=True)
    """

    def __init__(self, folder: str | Path, precision: str = "int8", threads: int = 1):
        folder = Path(folder)
        self._made_of = (folder, precision, threads)
        path = folder / _onnx_file(precision)
        if not path.is_file():
            raise UserError(f"{folder}: has no {path.relative_to(folder)}; distil with --export onnx to create it.")
        fields = read_object(folder / "config.json")
        names = {int(index): name for index, name in (fields.get("id2label") or {}).items()}
        fields |= {"_name_or_path": str(folder), "id2label": names, "num_labels": len(names)}
        config: Any = SimpleNamespace(**fields)
        tags = model_tags(config)
        if tags is None:
            raise UserError(f"{folder / 'config.json'}: the labels have no names (`id2label`).")
        self.config, self.tags = config, tags
        self.rule = word_rule(config)
        self.tokenizer = FastTokenizer.from_files(folder)
        self.max_length = window_length(self.tokenizer, config)
        self.network = OnnxModel(path, config, threads)

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
            precision: "int8", or "fp32", whose answers are those of PyTorch.
            threads: number of ONNX Runtime threads, on which in int8 the last digits depend; 0 for all cores.

        Raises:
            UserError: there is no such student, it has no ONNX file, or one of its files is not what it should be.
        """
        return cls(find_student(name, [_onnx_file(precision)], revision), precision, threads)

    def __call__(self, texts, is_split_into_words: bool = False) -> list:
        """Find the mentions of a text, or of each of a list of texts.

        Args:
            texts: a text or a list of texts; with `is_split_into_words` lists of words, which are joined by spaces.
            is_split_into_words: whether the texts are already split into words.

        Returns:
            A list of mentions (of each text): `entity_group`, `score` (the mean probability of its words' tags), `word`
            (the text of the mention), `start` and `end` (character offsets, `end` exclusive).
        """
        single = isinstance(texts, str) or (is_split_into_words and bool(texts) and isinstance(texts[0], str))
        found = [mentions for *_, mentions in self.tag([texts] if single else texts)]
        return found[0] if single else found

    def stream(self, texts: Iterable[str] | Iterable[Sequence[str]]) -> Iterator[list[dict[str, Any]]]:
        """Yield the mentions of each of any number of texts, or lists of words, in their order."""
        remaining = iter(texts)
        while batch := list(islice(remaining, STREAM_TEXTS)):
            for *_, mentions in self.tag(batch):
                yield mentions

    def tag(self, texts: Sequence[str] | Sequence[Sequence[str]]) -> Iterator[tuple[dict, list[int], list[dict]]]:
        """Yield for each text, or list of words, its words (`locate_words`), their label ids and its mentions."""
        located = [locate_words(text, self.rule) for text in texts]
        words = [text["words"] for text in located]
        logits = predict_windows(self.network, self.tokenizer, words, self.max_length, len(self.tags))
        decoded = constrained_decode(logits, self.tags)
        for text, scores, labels in zip(located, logits, decoded, strict=True):
            yield text, labels, make_mentions(text, scores, labels, self.tags)


def _onnx_file(precision: str) -> str:
    if precision not in ONNX_FILES:
        raise UserError(f"precision is one of {', '.join(ONNX_FILES)}, not {precision!r}.")
    return f"onnx/{ONNX_FILES[precision]}"


def find_student(name: str | Path, more: Iterable[str] = (), revision: str | None = None) -> Path:
    """Return the folder of a student: `name` itself, or where the files of a Hub repository were put that it needs.

    Args:
        name: Hub id or folder.
        more: names of files that are needed beside configuration and tokenizer, if they are there.
        revision: a branch, tag or commit on the Hub.

    Raises:
        UserError: there is neither such a folder nor such a repository.
    """
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
        UserError: there is no such file, or something else in it.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path.parent}: has no {path.name}.") from None
    except ValueError as error:
        raise UserError(f"{path}: not valid JSON: {error}") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: expected an object.")
    return content
