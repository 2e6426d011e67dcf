"""The teacher: a frozen token classifier whose word logits are the student's training targets."""

import hashlib
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from datasets import Dataset
from transformers import AutoModelForTokenClassification, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging

from ..data.encoding import tokenizer_digest
from ..data.tag_format import TagFormat
from ..runtime.pipeline import predict_words
from ..runtime.tags import UserError
from ..runtime.windows import ALIGNMENT_POLICY, window_length
from ..runtime.word_features import word_feature_rows
from .labels import LabelMap, begins_with_inside, is_undecided, match_labels, teacher_tags
from .loading import (
    explain_loading_errors,
    load_classifier,
    load_config,
    load_state_dict,
    load_tokenizer,
    model_digest,
    own_settings,
    read_state_dict,
    resolve_model,
    same_tokenizer,
)
from .parts import head_name

logger = logging.get_logger(__name__)


class WordTeacher(Protocol):
    """What teaches by the logits that it gives the words of a sentence."""

    @property
    def tags(self) -> Sequence[str]:
        """The student's labels."""

    def predict(self, sentences: Sequence[Sequence[str]], bf16: bool = False) -> list[np.ndarray]:
        """Return word logits [words, student labels] of each sentence; NaN for one that it does not answer."""

    def fingerprint(self) -> str:
        """Return a digest of all that determines its answers."""


@dataclass
class Teacher:
    """A frozen token classifier whose logits are converted to the student's labels.

    Attributes:
        model: the classifier, in evaluation mode, without gradients.
        tokenizer: its tokenizer.
        labels: how its classes become the student's labels.
        max_length: subwords per window, special tokens included.

    Examples:
        >>> teacher = load_teacher("my-org/biobert-genes", ["O", "B-GENE", "I-GENE"])
        >>> [logits] = teacher.predict([["Loss", "of", "p53"]])
        >>> logits.shape
        (3, 3)
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    labels: LabelMap
    max_length: int

    def __post_init__(self):
        self.model.requires_grad_(False).eval()

    @property
    def tags(self) -> Sequence[str]:
        """The student's labels."""
        return self.labels.tags

    def predict(self, sentences: Sequence[Sequence[str]], bf16: bool = False) -> list[np.ndarray]:
        """Return word logits [words, student labels], one array per sentence. `bf16`: use bf16 autocast.

        Raises:
            UserError: they are not all finite.
        """
        logits = self.labels.convert(predict_words(self.model, self.tokenizer, sentences, self.max_length, bf16=bf16))
        if not all(np.isfinite(scores).all() for scores in logits):
            raise UserError("The teacher's outputs are not all finite numbers. Try --bf16 0, or check its weights.")
        return logits

    def reads_windows_of(self, tokenizer: PreTrainedTokenizerBase) -> bool:
        """Whether it reads subwords of a student with this tokenizer, and nothing else of its words."""
        return same_tokenizer(tokenizer, self.tokenizer) and not word_feature_rows(self.model.config)

    def fingerprint(self) -> str:
        """Return a digest of all that determines the teacher's outputs: weights, tokenizer, windows, label map."""
        labels = f"{self.labels.classes} {self.labels.foreign} {self.labels.neighbours}"
        policy = f"{ALIGNMENT_POLICY} {self.max_length} {labels} {model_digest(self.model)}"
        return hashlib.sha256((policy + tokenizer_digest(self.tokenizer)).encode()).hexdigest()


def load_teacher(
    name_or_path: str,
    student_tags: Sequence[str],
    checkpoint: str | None = None,
    labels: Sequence[str] | None = None,
    max_seq_length: int | None = None,
    trust_remote_code: bool = False,
    tag_format: TagFormat | None = None,
    add_prefix_space: bool = True,
    words: Iterable[str] = (),
) -> Teacher:
    """Load a teacher and map its labels to the student's.

    Args:
        name_or_path: Hub id or folder.
        student_tags: the student's labels.
        checkpoint: file with a state dict; `name_or_path` then provides only architecture and tokenizer.
        labels: names of the head's classes, in order; default: those of its configuration.
        max_seq_length: subwords per window, special tokens included; default: the model's limit, at most 512.
        trust_remote_code: passed to transformers.
        tag_format: how the labels are written; None: their scheme is detected by their names, which stay as they are;
            B- and I- alone are taken for IOB2 (`find_scheme` tries them out).
        add_prefix_space: as in `load_tokenizer` (`find_prefix_space` tries it out).
        words: words of the text, on which the tokenizer is checked.

    Raises:
        UserError: the model is not found, the checkpoint does not fit it, or its labels cannot be mapped.

    Examples:
        >>> teacher = load_teacher("my-org/biobert-genes", ["O", "B-GENE", "I-GENE", "E-GENE", "S-GENE"])
    """
    state = read_state_dict(checkpoint) if checkpoint else None
    with explain_loading_errors(name_or_path):
        path = resolve_model(name_or_path)
        config = load_config(path, trust_remote_code)
        tokenizer = load_tokenizer(path, trust_remote_code, add_prefix_space, words)
        if state is not None:
            with torch.device("meta"):  # no weights: the head's name is all that is needed
                empty = AutoModelForTokenClassification.from_config(config, trust_remote_code=trust_remote_code)
            weight = f"{head_name(empty)}.weight"
            if weight not in state:
                raise UserError(f"{checkpoint}: has no {weight}, so it is not a token classifier's state dict.")
            if config.num_labels != len(state[weight]):
                config.num_labels = len(state[weight])
        tag_format = tag_format or TagFormat()
        begins_inside = True if tag_format.scheme == "IOB1" else None
        try:
            matched = match_labels(teacher_tags(config, labels, tag_format), student_tags, begins_inside)
        except UserError as error:
            raise UserError(f"{name_or_path}: {error}") from None
        if checkpoint and state is not None:
            model = AutoModelForTokenClassification.from_config(config, trust_remote_code=trust_remote_code)
            load_state_dict(model, state, checkpoint)
        else:
            model = load_classifier(
                path,
                "Fine-tune it first (--do_train_teacher 1), or give its weights with --teacher_checkpoint.",
                config=config,
                dtype=torch.float32,
                trust_remote_code=trust_remote_code,
            )
    others = sorted({matched.head[index].partition("-")[2] for index in matched.foreign})
    if others:
        logger.warning(
            f"{name_or_path}: also finds {', '.join(others)}, which the student's labels lack: where it does, that "
            "counts as O."
        )
    length = window_length(tokenizer, config, max_seq_length)
    return Teacher(model, tokenizer, matched, length)


def find_scheme(teacher: Teacher, sentences: Sequence[Sequence[str]]) -> Teacher:
    """Return the teacher, read as IOB1 if its head has B- and I- alone and begins mentions with I-."""
    if not is_undecided(teacher.labels.head):
        return teacher
    logits = predict_words(teacher.model, teacher.tokenizer, sentences, teacher.max_length)
    if not begins_with_inside(logits, teacher.labels.head):
        return teacher
    logger.warning(
        f"{teacher.model.config._name_or_path}: begins mentions with I- in the development data, so that its labels "
        "are read as IOB1. (--teacher_scheme IOB2 decides otherwise.)"
    )
    return replace(teacher, labels=match_labels(teacher.labels.head, teacher.labels.tags, True))


def find_prefix_space(teacher: Teacher, dataset: Dataset, trust_remote_code: bool = False) -> Teacher:
    """Return the teacher, with a tokenizer that puts no blank before words if its answers are better so.

    A model that was fine-tuned on lists of words, with a tokenizer that puts no blank before them, is used to that.

    Args:
        teacher: a teacher that puts a blank before each word.
        dataset: labelled sentences, whose `tags` are among the student's labels.
        trust_remote_code: passed to transformers.
    """
    name = teacher.tokenizer.name_or_path
    own = own_settings(teacher.tokenizer, trust_remote_code)
    if own is None:
        return teacher
    without = replace(teacher, tokenizer=own)
    tags = [teacher.labels.tags.index(tag) for sentence in dataset["tags"] for tag in sentence]
    right = [
        np.mean(np.concatenate(each.predict(dataset["tokens"][:])).argmax(-1) == tags) for each in (teacher, without)
    ]
    logger.warning(
        f"{name}: of the words of {len(dataset)} development sentences {right[0]:.1%} get the right label with a blank "
        f"before each word, {right[1]:.1%} without, so it is read {'without' if right[1] > right[0] else 'with'}. "
        "(--add_prefix_space decides otherwise.)"
    )
    return without if right[1] > right[0] else teacher


def estimate_seconds(teacher: WordTeacher, dataset: Dataset, bf16: bool) -> float:
    """Estimate the seconds that labelling a dataset takes, from a timed sample of 64 sentences."""
    sample = dataset.shuffle(seed=0).select(range(min(64, len(dataset))))["tokens"]
    teacher.predict(sample, bf16)  # a GPU's first call with inputs of a size takes far longer than the next
    start = time.perf_counter()
    teacher.predict(sample, bf16)
    return (time.perf_counter() - start) / len(sample) * len(dataset)
