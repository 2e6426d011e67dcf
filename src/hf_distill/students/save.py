"""Saving a model with its tokenizer and remote code."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.dynamic_module_utils import custom_object_save
from transformers.utils import SAFE_WEIGHTS_NAME, logging

from ..files import MANIFEST_NAME, file_digest, read_manifest, recorded, write_json
from ..runtime.onnx_model import MODEL_NAME, QUANTIZED_NAME
from ..runtime.pipeline import MentionPipeline

logger = logging.get_logger(__name__)


@contextmanager
def recorded_model(folder: str | Path) -> Iterator[Path]:
    """As `recorded`, for a model: the ONNX files of other weights, which would answer in their place, are removed."""
    folder = Path(folder)
    weights = folder / SAFE_WEIGHTS_NAME
    before = file_digest(weights) if weights.is_file() else None
    with recorded(folder) as temporary:
        yield temporary
    stale = [name for name in (f"onnx/{MODEL_NAME}", f"onnx/{QUANTIZED_NAME}") if (folder / name).exists()]
    if stale and weights.is_file() and file_digest(weights) != before:
        for name in stale:
            (folder / name).unlink()
        write_json(folder / MANIFEST_NAME, {k: v for k, v in (read_manifest(folder) or {}).items() if k not in stale})
        logger.warning(f"{folder}: {' and '.join(stale)} had other weights than are saved now: removed.")


def save_model(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: str | Path) -> None:
    """Save a model, its tokenizer and the remote code that transformers needs to load it without this package.

    Examples:
        >>> tags = ["O", "B-GENE", "I-GENE", "E-GENE", "S-GENE"]
        >>> teacher = load_teacher("my-org/biobert-genes", tags)
        >>> save_model(build_student(ModelArguments(), tags, teacher.tokenizer), teacher.tokenizer, "student")
    """
    with recorded_model(folder) as temporary:
        model.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
        save_pipeline(temporary)


def save_pipeline(folder: str | Path) -> None:
    """Save the pipeline's code in the folder of a model whose configuration refers to it (`label_config`)."""
    custom_object_save(MentionPipeline, folder)
