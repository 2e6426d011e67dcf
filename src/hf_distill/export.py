"""The folder that any Hub user loads."""

from pathlib import Path

from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.dynamic_module_utils import custom_object_save

from .pipeline import MentionPipeline


def save_model(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: str | Path) -> None:
    """Save model and tokenizer so that transformers alone loads them, with the code of the pipeline and of a BiLSTM."""
    implementation = f"{MentionPipeline.__module__.rpartition('.')[2]}.{MentionPipeline.__name__}"
    model.config.custom_pipelines = {
        "token-classification": {"impl": implementation, "pt": ["AutoModelForTokenClassification"], "type": "text"}
    }
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    custom_object_save(MentionPipeline, folder)
