"""Saving a model with its tokenizer and remote code."""

from pathlib import Path

from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.dynamic_module_utils import custom_object_save

from ..files import recorded
from ..runtime.pipeline import MentionPipeline


def save_model(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: str | Path) -> None:
    """Save a model, its tokenizer and the remote code that transformers needs to load it without this package.

    Examples:
        >>> tags = ["O", "B-GENE", "I-GENE", "E-GENE", "S-GENE"]
        >>> teacher = load_teacher("my-org/biobert-genes", tags)
        >>> save_model(build_student(ModelArguments(), tags, teacher.tokenizer), teacher.tokenizer, "student")
    """
    with recorded(folder) as temporary:
        model.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
        save_pipeline(temporary)


def save_pipeline(folder: str | Path) -> None:
    """Save the pipeline's code in the folder of a model whose configuration refers to it (`label_config`)."""
    custom_object_save(MentionPipeline, folder)
