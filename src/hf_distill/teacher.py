"""The teacher: a frozen token classifier that says, of every word, what the student should learn."""

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from datasets import Dataset
from torch import Tensor
from transformers import AutoConfig, AutoModelForTokenClassification, PreTrainedModel, PreTrainedTokenizerBase

from . import models  # noqa: F401 (registers the BiLSTM with the Auto classes: a student can teach)
from .alignment import ALIGNMENT_POLICY, load_tokenizer, predict_words, tokenizer_digest, window_length
from .labels import UserError, detect_scheme, label_map, share_out, teacher_tags
from .loading import finding, load_state_dict, model_digest, read_state_dict, resolve_model


@dataclass
class Teacher:
    """A frozen token classifier that speaks in the student's labels.

    Attributes:
        model: the classifier, in evaluation mode, without gradients.
        tokenizer: its tokenizer.
        mapping: for each student label the classes of the head whose probabilities add up to it.
        max_length: subwords per window.
        shared_tags: the student's tags where they are IOBES and the teacher's IOB2, for `labels.share_out`; else empty.

    Example:
        >>> teacher = load_teacher("my-org/biobert-genes", ["O", "B-GENE", "I-GENE"])
        >>> [logits] = teacher.predict([["Loss", "of", "p53"]])
        >>> logits.shape
        (3, 3)
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    mapping: list[list[int]]
    max_length: int
    shared_tags: list[str] = field(default_factory=list)

    def __post_init__(self):
        self.model.requires_grad_(False).eval()

    def predict(self, sentences: Sequence[Sequence[str]], bf16: bool = False) -> list[np.ndarray]:
        """Word logits [words, student labels], one array per sentence."""
        logits = predict_words(self.model, self.tokenizer, sentences, self.max_length, bf16=bf16)
        if not logits:
            return []
        mapped = map_logits(torch.from_numpy(np.concatenate(logits)), self.mapping).numpy()
        answers = np.split(mapped, np.cumsum([len(scores) for scores in logits])[:-1])
        return [share_out(scores, self.shared_tags) for scores in answers] if self.shared_tags else answers

    def fingerprint(self) -> str:
        """A digest of all that decides what the teacher says: weights, tokeniser, windows, label map."""
        policy = f"{ALIGNMENT_POLICY} {self.max_length} {self.mapping} {model_digest(self.model)}"
        policy += " shared out" if self.shared_tags else ""
        return hashlib.sha256((policy + tokenizer_digest(self.tokenizer)).encode()).hexdigest()


def map_logits(logits: Tensor, mapping: Sequence[Sequence[int]]) -> Tensor:
    """Logits of a teacher's head [..., classes] as logits of the student's labels [..., labels].

    Classes that merge are joined by log-sum-exp, which adds their probabilities exactly.
    """
    return torch.stack([torch.logsumexp(logits[..., classes], dim=-1) for classes in mapping], dim=-1)


def load_teacher(
    name_or_path: str,
    student_tags: Sequence[str],
    checkpoint: str | None = None,
    labels: Sequence[str] | None = None,
    max_seq_length: int | None = None,
    trust_remote_code: bool = False,
) -> Teacher:
    """Load a teacher and let its labels meet the student's.

    Args:
        name_or_path: Hub id or folder.
        student_tags: the student's labels.
        checkpoint: a bare state dict; `name_or_path` then gives architecture and tokenizer only.
        labels: names of the head's classes, where its configuration has none.
        max_seq_length: subwords per window, at most the model's limit.
        trust_remote_code: passed to transformers.

    Raises:
        UserError: it is not to be found, its checkpoint does not fit, or its labels cannot be mapped.

    Example:
        >>> teacher = load_teacher("my-org/biobert-genes", ["O", "B-GENE", "I-GENE", "E-GENE", "S-GENE"])
    """
    state = read_state_dict(checkpoint) if checkpoint else None
    if state is not None and "classifier.bias" not in state:
        raise UserError(f"{checkpoint}: has no classifier.bias, so it is no token classifier's state dict.")
    with finding(name_or_path):
        path = resolve_model(name_or_path)
        config = AutoConfig.from_pretrained(path, trust_remote_code=trust_remote_code)
        tokenizer = load_tokenizer(path, trust_remote_code)
        if state is not None and config.num_labels != len(state["classifier.bias"]):
            config.num_labels = len(state["classifier.bias"])
        own_tags = teacher_tags(config, labels)
        mapping = label_map(own_tags, student_tags)
        shared = detect_scheme(own_tags) == "IOB2" and detect_scheme(student_tags) == "IOBES"
        if state is not None:
            model = AutoModelForTokenClassification.from_config(config, trust_remote_code=trust_remote_code)
            load_state_dict(model, state, checkpoint)
        else:
            model, info = AutoModelForTokenClassification.from_pretrained(
                path,
                config=config,
                dtype=torch.float32,
                trust_remote_code=trust_remote_code,
                output_loading_info=True,
            )
            if info["missing_keys"]:
                raise UserError(
                    f"{name_or_path} is no token classifier: it lacks {', '.join(sorted(info['missing_keys'])[:3])}. "
                    "Fine-tune it first (--do_train_teacher 1), or give its weights with --teacher_checkpoint."
                )
    length = window_length(tokenizer, config, max_seq_length)
    return Teacher(model, tokenizer, mapping, length, list(student_tags) if shared else [])


def estimate_seconds(teacher: Teacher, dataset: Dataset, bf16: bool) -> float:
    """Seconds that labelling the dataset will take, from a timed sample of 64 sentences."""
    sample = dataset.shuffle(seed=0).select(range(min(64, len(dataset))))["tokens"]
    teacher.predict(sample[:8], bf16)  # the first pass pays for what later ones reuse
    start = time.perf_counter()
    teacher.predict(sample, bf16)
    return (time.perf_counter() - start) / len(sample) * len(dataset)
