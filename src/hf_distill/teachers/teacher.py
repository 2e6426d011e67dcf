"""The teacher: a frozen token classifier whose word logits are the student's training targets."""

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from datasets import Dataset
from torch import Tensor
from transformers import AutoConfig, AutoModelForTokenClassification, PreTrainedModel, PreTrainedTokenizerBase

from ..data.encoding import tokenizer_digest
from ..runtime.pipeline import predict_words
from ..runtime.tags import UserError, detect_scheme
from ..runtime.windows import ALIGNMENT_POLICY, window_length
from .labels import iob2_to_iobes_logits, label_map, teacher_tags
from .loading import (
    explain_loading_errors,
    load_state_dict,
    load_tokenizer,
    model_digest,
    read_state_dict,
    resolve_model,
)


@dataclass
class Teacher:
    """A frozen token classifier whose logits are mapped to the student's labels.

    Attributes:
        model: the classifier, in evaluation mode, without gradients.
        tokenizer: its tokenizer.
        mapping: for each student label, the classes of the teacher's head whose probabilities add up to it.
        max_length: subwords per window, special tokens included.
        iobes_tags: the student's tags if they are IOBES and the teacher's IOB2 (`iob2_to_iobes_logits`); else empty.

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
    iobes_tags: list[str] = field(default_factory=list)

    def __post_init__(self):
        self.model.requires_grad_(False).eval()

    def predict(self, sentences: Sequence[Sequence[str]], bf16: bool = False) -> list[np.ndarray]:
        """Return word logits [words, student labels], one array per sentence. `bf16`: use bf16 autocast."""
        logits = predict_words(self.model, self.tokenizer, sentences, self.max_length, bf16=bf16)
        if not logits:
            return []
        joined = map_logits(torch.from_numpy(np.concatenate(logits)), self.mapping).numpy()
        mapped = np.split(joined, np.cumsum([len(scores) for scores in logits])[:-1])
        return [iob2_to_iobes_logits(scores, self.iobes_tags) for scores in mapped] if self.iobes_tags else mapped

    def fingerprint(self) -> str:
        """Return a digest of all that determines the teacher's outputs: weights, tokenizer, windows, label map."""
        policy = f"{ALIGNMENT_POLICY} {self.max_length} {self.mapping} {model_digest(self.model)}"
        policy += " shared out" if self.iobes_tags else ""
        return hashlib.sha256((policy + tokenizer_digest(self.tokenizer)).encode()).hexdigest()


def map_logits(logits: Tensor, mapping: Sequence[Sequence[int]]) -> Tensor:
    """Map logits of a teacher's head [..., classes] to the student's labels [..., labels].

    The logits of classes with the same label are merged by log-sum-exp, which adds their probabilities.
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
    """Load a teacher and map its labels to the student's.

    Args:
        name_or_path: Hub id or folder.
        student_tags: the student's labels.
        checkpoint: file with a state dict; `name_or_path` then provides only architecture and tokenizer.
        labels: tags of the head's classes, in order; default: those of its configuration.
        max_seq_length: subwords per window, special tokens included; default: the model's limit, at most 512.
        trust_remote_code: passed to transformers.

    Raises:
        UserError: the model is not found, the checkpoint does not fit it, or its labels cannot be mapped.

    Example:
        >>> teacher = load_teacher("my-org/biobert-genes", ["O", "B-GENE", "I-GENE", "E-GENE", "S-GENE"])
    """
    state = read_state_dict(checkpoint) if checkpoint else None
    if state is not None and "classifier.bias" not in state:
        raise UserError(f"{checkpoint}: has no classifier.bias, so it is not a token classifier's state dict.")
    with explain_loading_errors(name_or_path):
        path = resolve_model(name_or_path)
        config = AutoConfig.from_pretrained(path, trust_remote_code=trust_remote_code)
        tokenizer = load_tokenizer(path, trust_remote_code)
        if state is not None and config.num_labels != len(state["classifier.bias"]):
            config.num_labels = len(state["classifier.bias"])
        tags = teacher_tags(config, labels)
        mapping = label_map(tags, student_tags)
        iob2_to_iobes = detect_scheme(tags) == "IOB2" and detect_scheme(student_tags) == "IOBES"
        if checkpoint and state is not None:
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
                    f"{name_or_path} is not a token classifier: missing {', '.join(sorted(info['missing_keys'])[:3])}. "
                    "Fine-tune it first (--do_train_teacher 1), or give its weights with --teacher_checkpoint."
                )
    length = window_length(tokenizer, config, max_seq_length)
    return Teacher(model, tokenizer, mapping, length, list(student_tags) if iob2_to_iobes else [])


def estimate_seconds(teacher: Teacher, dataset: Dataset, bf16: bool) -> float:
    """Estimate the seconds that labelling a dataset takes, from a timed sample of 64 sentences."""
    sample = dataset.shuffle(seed=0).select(range(min(64, len(dataset))))["tokens"]
    teacher.predict(sample[:8], bf16)  # warm-up
    start = time.perf_counter()
    teacher.predict(sample, bf16)
    return (time.perf_counter() - start) / len(sample) * len(dataset)
