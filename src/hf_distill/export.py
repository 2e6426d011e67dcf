"""The folder that any Hub user loads."""

from pathlib import Path

from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.dynamic_module_utils import custom_object_save

from .pipeline import MentionPipeline


def save_model(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: str | Path) -> None:
    """Save model and tokenizer so that transformers alone loads them, with the code of the pipeline and of a BiLSTM.

    Example:
        >>> tags = ["O", "B-GENE", "I-GENE", "E-GENE", "S-GENE"]
        >>> teacher = load_teacher("my-org/biobert-genes", tags)
        >>> save_model(build_student(ModelArguments(), tags, teacher.tokenizer), teacher.tokenizer, "student")
    """
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    save_pipeline(folder)


def save_pipeline(folder: str | Path) -> None:
    """Put the pipeline's code beside a model whose configuration names it (`students.label_config`)."""
    custom_object_save(MentionPipeline, folder)
