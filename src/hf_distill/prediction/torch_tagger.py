"""Tagging with any token classifier of transformers, in PyTorch or, if it has such a file, in ONNX Runtime."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging

from ..arguments import PredictionArguments
from ..runtime.confidence import UNCALIBRATED, Calibration, read_calibration
from ..runtime.mentions import locate_words
from ..runtime.onnx_model import OnnxModel
from ..runtime.pipeline import predict_words
from ..runtime.schemes import model_tags
from ..runtime.tags import OUTSIDE, UserError, entity_types, make_tags
from ..runtime.windows import window_length
from ..runtime.words import word_rule
from ..teachers.labels import LabelMap, begins_with_inside, match_labels
from ..teachers.loading import explain_loading_errors, load_classifier, load_config, load_tokenizer, prefix_space_notice


@dataclass
class TorchTagger:
    """Finds tags of texts, as `Tagger` does, by the answers of any head.

    Attributes:
        model: the classifier.
        tokenizer: its tokenizer.
        labels: how its classes become tags of IOBES, or of a student.
        rule: how it splits running text.
        max_length: subwords per window, special tokens included.
        calibration: that of its scores.
    """

    model: PreTrainedModel | OnnxModel
    tokenizer: PreTrainedTokenizerBase
    labels: LabelMap
    rule: str
    max_length: int
    calibration: Calibration = UNCALIBRATED

    @classmethod
    def load(
        cls,
        name: str,
        tags: Sequence[str],
        begins_inside: bool | None = None,
        onnx: str | None = None,
        device: str = "cpu",
        trust_remote_code: bool = False,
        add_prefix_space: bool = True,
    ) -> "TorchTagger":
        """Load a model and its tokenizer.

        Args:
            name: Hub id or folder.
            tags: the tag of each class of its head.
            begins_inside: as in `match_labels`.
            onnx: path of the ONNX file to run; None for PyTorch.
            device: PyTorch device. On the CPU, one thread is used.
            trust_remote_code: passed to transformers.
            add_prefix_space: as in `load_tokenizer`.

        Raises:
            UserError: it cannot be loaded.
        """
        logging.set_verbosity_error()
        logging.disable_progress_bar()
        if device == "cpu":
            torch.set_num_threads(1)
        with explain_loading_errors(name):
            tokenizer = load_tokenizer(name, trust_remote_code, add_prefix_space)
            config = load_config(name, trust_remote_code)
            model: PreTrainedModel | OnnxModel
            if onnx:
                model = OnnxModel(onnx, config, threads=1)
            else:
                classifier = load_classifier(name, "Fine-tune it first.", trust_remote_code=trust_remote_code)
                model = classifier.to(device).eval()  # type: ignore[arg-type]  # transformers' decorator hides self
        calibration = UNCALIBRATED
        if getattr(config, "tags", None):  # saved by this package
            calibration = read_calibration(config)
            labels = LabelMap(tuple(tags), tuple(tags), tuple((index,) for index in range(len(tags))))
        else:
            labels = match_labels(tags, make_tags(entity_types(tags), "IOBES"), begins_inside)
        return cls(model, tokenizer, labels, word_rule(config), window_length(tokenizer, config), calibration)

    @property
    def tags(self) -> tuple[str, ...]:
        """The tag of each label."""
        return self.labels.tags

    def predict(self, texts: Sequence[str | list[str]]) -> tuple[list[dict], list[np.ndarray]]:
        """As `Tagger.predict`."""
        located = [locate_words(text, self.rule) for text in texts]
        return located, self.labels.convert(self._logits(located))

    def begins_inside(self, texts: Sequence[str | list[str]]) -> bool:
        """Whether the model begins the mentions of texts with I- (`begins_with_inside`)."""
        return begins_with_inside(self._logits([locate_words(text, self.rule) for text in texts]), self.labels.head)

    def _logits(self, located: Sequence[dict]) -> list:
        return predict_words(self.model, self.tokenizer, [text["words"] for text in located], self.max_length)


def read_head(args: PredictionArguments) -> tuple[PretrainedConfig, list[str]]:
    """Return a model's configuration, and the tag of each class of its head.

    Raises:
        UserError: the model cannot be loaded, or its labels cannot be read.
    """
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    with explain_loading_errors(args.model):
        config = load_config(args.model, args.trust_remote_code)
    try:
        tags = model_tags(config, args.scheme, args.entity_type)
        if tags is not None:
            match_labels(tags, [OUTSIDE])
    except UserError as error:
        raise UserError(f"{args.model}: {error}") from None
    if tags is None:
        raise UserError(f"{args.model}: the labels of its head have no names: add them to config.json (`id2label`).")
    return config, tags


def tokenizer_notice(args: PredictionArguments) -> str:
    """Return what may make a model miss mentions, because its tokenizer cuts lists of words otherwise; else ""."""
    if args.add_prefix_space is not None:
        return ""
    with explain_loading_errors(args.model):
        return prefix_space_notice(load_tokenizer(args.model, args.trust_remote_code), args.trust_remote_code)
