"""The pipeline that finds the mentions of named entities in text.

This file is copied next to a saved model as remote code: it may import only modules of this folder.
"""

# Pipeline declares its methods with more parameters than a pipeline has.
# mypy: disable-error-code="override"

import re
from collections.abc import Mapping, Sequence
from types import GeneratorType
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset
from transformers import Pipeline, PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase, PreTrainedTokenizerFast
from transformers.dynamic_module_utils import custom_object_save
from transformers.pipelines.token_classification import AggregationStrategy
from transformers.utils import cached_file, logging

from .confidence import Threshold, read_calibration, read_threshold
from .decoding import constrained_decode  # noqa: F401  transformers 5.0 brings along only what is imported here
from .fields import check_config
from .mentions import check_text, find_mentions, locate_words, running_text_notice
from .onnx_model import OnnxModel
from .schemes import model_tags
from .tags import UserError
from .windows import predict_windows, window_length
from .word_features import word_feature_rows
from .words import word_rule

logger = logging.get_logger(__name__)

# A field of the configuration of tokenizers that cut words of lists as they should: the class that they are saved with.
FOR_LISTS = "class_for_lists_of_words"
UNSET: Any = object()


def as_saved(tokenizer: PreTrainedTokenizerBase, revision: str = "main") -> PreTrainedTokenizerBase:
    """Return a tokenizer as it was saved: for models of some types (Qwen2) AutoTokenizer makes it another class."""
    if tokenizer.init_kwargs.get(FOR_LISTS) in (None, type(tokenizer).__name__):
        return tokenizer
    return PreTrainedTokenizerFast.from_pretrained(tokenizer.name_or_path, revision=revision)


def use_own_pipeline(config: PretrainedConfig) -> None:
    """Let a configuration that was loaded from the Hub name the pipeline beside it, not the one in that repository."""
    for pipeline in getattr(config, "custom_pipelines", {}).values():
        pipeline["impl"] = pipeline["impl"].rpartition("--")[2]


class MentionPipeline(Pipeline):
    """Finds the mentions of named entities in texts of any length.

    `pipeline(model=NAME, trust_remote_code=True)` creates it. Text is split into words as in the training data
    (`config.word_rule`), long texts are split into overlapping windows, and the most probable valid tag sequence is
    decoded.

    Args:
        onnx: name of a file in the model's `onnx` folder ("model_quantized.onnx") to run instead of PyTorch.
        threads: number of ONNX Runtime threads; 0 for all cores.

    Examples:
        >>> find = pipeline(model="student", trust_remote_code=True)
        >>> mentions = find("Loss of p53 raised MDM2 levels.")
        >>> both = find([["Loss", "of", "p53"], ["MDM2"]], is_split_into_words=True)
    """

    # Pipeline declares the flags as None, and a slow tokenizer.
    _load_processor = _load_image_processor = _load_feature_extractor = False  # type: ignore[assignment]
    _load_tokenizer = True  # type: ignore[assignment]
    tokenizer: PreTrainedTokenizerBase  # type: ignore[assignment]

    def __init__(self, *args, onnx: str | None = None, threads: int = 0, **kwargs):
        super().__init__(*args, **kwargs)
        config = self.model.config
        # transformers passes no revision to pipelines, but the module name of remote code contains the commit.
        commit = re.search(r"\.([0-9a-f]{40})\.", type(self).__module__)
        revision = commit.group(1) if commit else "main"
        self.tokenizer = as_saved(self.tokenizer, revision)
        check_config(config)
        self.tags = model_tags(config)
        self.rule = word_rule(config)
        self.calibration = read_calibration(config)
        self.max_length = window_length(self.tokenizer, config)
        self.network: PreTrainedModel | OnnxModel = self.model.eval()
        if onnx:
            path = cached_file(config._name_or_path, f"onnx/{onnx}", revision=revision)
            assert path is not None  # cached_file raises OSError for a missing file
            self.network = OnnxModel(path, config, threads)

    def __call__(self, inputs: Any, is_split_into_words: bool = False, **kwargs: Any) -> Any:
        """Find the mentions in one text or in several (a list, tuple, array, column, dataset or iterator).

        Args:
            inputs: texts; with `is_split_into_words`, lists of words.
            is_split_into_words: whether the texts are already split into words.
            **kwargs: as in transformers' pipelines, such as `batch_size`, the number of texts per batch; as in its
                `TokenClassificationPipeline`, where `ignore_labels` are entity types that are left out, `delimiter`
                joins words (" "), and `stride`, `offset_mapping` and an `aggregation_strategy` change nothing; and
                `threshold`, the score below which mentions are left out: a number, numbers by entity type, or the name
                of one of `config.thresholds`, such as "0.95".

        Returns:
            A list of mentions per text: `entity_group`, `score` (the probability that exactly this mention stands
            there), `word` (its text), `start` and `end` (character offsets, `end` exclusive). For texts of unknown
            number, an iterator.

        Raises:
            UserError: an input is neither text nor words, or single tokens are asked for.
        """
        if not isinstance(inputs, (str, Dataset, GeneratorType)):
            # Keys of a mapping and names of a data frame's columns are no texts, and a set has no order.
            named = isinstance(inputs, Mapping) or hasattr(inputs, "columns")
            if named or isinstance(inputs, (set, frozenset)) or not hasattr(inputs, "__iter__"):
                check_text(inputs if isinstance(inputs, Mapping) else type(inputs), "The input")
            inputs = list(inputs) if hasattr(inputs, "__len__") else (each for each in inputs)
        if isinstance(inputs, list) and not inputs:
            return []
        if is_split_into_words and isinstance(inputs, list) and isinstance(inputs[0], str):
            return super().__call__([inputs], **kwargs)[0]
        return super().__call__(inputs, **kwargs)

    def save_pretrained(self, save_directory, **kwargs) -> None:
        """Save model and tokenizer, as `Pipeline` does, and the code of this pipeline."""
        use_own_pipeline(self.model.config)
        self.model.save_pretrained(save_directory, **kwargs)  # Pipeline's own fails in transformers 5.0
        self.tokenizer.save_pretrained(save_directory, **kwargs)
        custom_object_save(type(self), save_directory)

    def _sanitize_parameters(
        self,
        aggregation_strategy: str | AggregationStrategy | None = None,
        ignore_labels: Sequence[str] = UNSET,
        delimiter: str | None = None,
        threshold: Threshold = UNSET,
        stride: int | None = None,
        offset_mapping: Sequence | None = None,
    ):
        if aggregation_strategy is not None:
            name = str(getattr(aggregation_strategy, "value", aggregation_strategy)).lower()
            if AggregationStrategy(name) == AggregationStrategy.NONE:
                raise UserError('This pipeline returns whole mentions; for single tokens use pipeline("ner", ...).')
        chosen: dict[str, Any] = {}
        if ignore_labels is not UNSET:
            chosen["ignore_labels"] = ignore_labels
        if threshold is not UNSET:  # None leaves out nothing, whatever threshold the pipeline was made with
            tags = model_tags(self.model.config) or []
            chosen["thresholds"] = read_threshold(threshold, self.model.config, tags)
        return {} if delimiter is None else {"delimiter": delimiter}, {}, chosen

    def preprocess(self, inputs: str | Sequence[str], delimiter: str = " ") -> dict:
        """Split a text into words; see `locate_words`."""
        inputs = check_text(inputs, "A text")
        notice = running_text_notice(self.model.config)
        if notice and isinstance(inputs, str):
            logger.warning_once(notice)
        return locate_words(inputs, self.rule, delimiter)

    def _forward(self, inputs: dict) -> dict:
        batched = isinstance(inputs["text"], list)
        sentences = inputs["words"] if batched else [inputs["words"]]
        logits = predict_words(self.network, self.tokenizer, sentences, self.max_length)
        # Each array is wrapped in a list, because transformers would add a dimension to a bare array.
        return inputs | {"logits": [[scores] for scores in logits] if batched else logits}

    def postprocess(
        self, outputs: dict, thresholds: Mapping[str, float] | None = None, ignore_labels: Sequence[str] | None = None
    ) -> list[dict]:
        """Decode the words' logits into mentions."""
        assert self.tags is not None  # a saved student names its labels
        [[_, _, mentions]] = find_mentions([outputs], outputs["logits"], self.tags, self.calibration, thresholds)
        return [mention for mention in mentions if mention["entity_group"] not in (ignore_labels or ())]


@torch.no_grad()
def predict_words(
    model: PreTrainedModel | OnnxModel,
    tokenizer: PreTrainedTokenizerBase,
    sentences: Sequence[Sequence[str]],
    max_length: int,
    bf16: bool = False,
) -> list[np.ndarray]:
    """Return the word logits of each sentence, one array [words, labels] (fp32) per sentence, in the given order.

    Args:
        model: a token classifier.
        tokenizer: its tokenizer.
        sentences: lists of words.
        max_length: subwords per window, special tokens included.
        bf16: use bf16 autocast (PyTorch only).
    """
    num_labels = model.config.num_labels
    assert num_labels is not None  # a token classifier has labels

    def forward(**inputs: np.ndarray) -> np.ndarray:
        if isinstance(model, OnnxModel):
            return model(**inputs)
        tensors = {name: torch.from_numpy(values).to(model.device) for name, values in inputs.items()}
        with torch.autocast(model.device.type, torch.bfloat16, enabled=bf16):
            return model(**tensors).logits.float().cpu().numpy()

    return predict_windows(forward, tokenizer, sentences, max_length, num_labels, word_feature_rows(model.config))
