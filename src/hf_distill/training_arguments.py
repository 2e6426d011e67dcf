"""Arguments of training: `TrainingArguments` of transformers with the options of distillation."""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from transformers import TrainingArguments
from transformers.utils import logging

from .arguments import (
    LEARNING_RATES,
    DataArguments,
    DistillationOptions,
    ModelArguments,
    PublishingArguments,
    check,
)

logger = logging.get_logger(__name__)


def cpu_capabilities() -> dict[str, Any]:
    """The CPU's instruction sets, as PyTorch names them; empty before PyTorch 2.10."""
    return getattr(torch.cpu, "get_capabilities", dict)()


def _faster_in_bf16(use_cpu: bool) -> bool:
    """Whether this machine computes faster in bf16 than in fp32."""
    if torch.cuda.is_available() and not use_cpu:
        return torch.cuda.is_bf16_supported(including_emulation=False)
    # Where a CPU has no instructions for bf16, oneDNN computes it by way of fp32, at half of fp32's speed.
    return any(cpu_capabilities().get(name) for name in ("avx512_bf16", "amx_bf16"))


@dataclass
class DistillationArguments(DistillationOptions, TrainingArguments):  # type: ignore[misc]  # other defaults
    """`TrainingArguments` with defaults for students, and the arguments of distillation.

    Examples:
        >>> args = DistillationArguments("student", logit_loss="ce", temperature=2.0, alpha=0.1, num_train_epochs=3)
    """

    def __post_init__(self):
        check(0 <= self.alpha <= 1, f"--alpha must be in [0.0, 1.0], got {self.alpha}.")
        check(self.logit_loss in ("mse", "ce"), f"--logit_loss must be mse or ce, got {self.logit_loss!r}.")
        check(self.temperature > 0, f"--temperature must be above 0, got {self.temperature}.")
        weight = self.sequence_loss_weight
        check(0 <= weight <= 1, f"--sequence_loss_weight must be in [0.0, 1.0], got {weight}.")
        check(not weight or self.logit_loss == "ce", "--sequence_loss_weight is for --logit_loss ce.")
        check(
            0 <= self.label_smoothing_factor < 1,
            f"--label_smoothing_factor must be in [0.0, 1.0), got {self.label_smoothing_factor}.",
        )
        for name in ("per_device_train_batch_size", "per_device_eval_batch_size", "gradient_accumulation_steps"):
            check(getattr(self, name) >= 1, f"--{name} must be at least 1, got {getattr(self, name)}.")
        for name in ("seed", "data_seed"):
            seed = getattr(self, name) or 0
            check(0 <= seed < 2**32, f"--{name} must be in [0, 2**32), got {seed}.")
        for name in (
            "dataloader_num_workers",
            "learning_rate",
            "teacher_learning_rate",
            "weight_decay",
            "num_train_epochs",
            "teacher_num_train_epochs",
        ):
            check((getattr(self, name) or 0) >= 0, f"--{name} must not be negative, got {getattr(self, name)}.")
        check(self.companions >= 0, f"--companions must not be negative, got {self.companions}.")
        check(0 <= self.min_teacher_f1 <= 1, f"--min_teacher_f1 must be in [0.0, 1.0], got {self.min_teacher_f1}.")
        for precision in self.target_precision:
            check(0.0001 <= precision <= 0.9999, f"--target_precision is a share between 0 and 1, got {precision}.")
        patience = self.early_stopping_patience
        check(not patience or self.eval_strategy != "no", "--early_stopping_patience needs an --eval_strategy.")
        check(patience is None or patience >= 1, f"--early_stopping_patience must be at least 1, got {patience}.")
        for name in ("embedding_loss_weight", "hidden_loss_weight", "attention_loss_weight"):
            check((getattr(self, name) or 0) >= 0, f"--{name} must not be negative, got {getattr(self, name)}.")
        check(
            self.train_sampling_strategy != "batch_rebalance",
            "--train_sampling_strategy batch_rebalance is not supported; use group_by_length, random or sequential.",
        )
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            no_clipping = field.name == "max_grad_norm" and value == math.inf
            finite = not isinstance(value, float) or math.isfinite(value) or no_clipping
            check(finite, f"--{field.name} must be a finite number, got {value}.")
        if self.eval_strategy is None:
            self.eval_strategy = "steps" if self.eval_steps else "epoch"
        if self.save_strategy is None:
            self.save_strategy = self.eval_strategy
            if self.save_strategy != "steps" and self.save_steps != TrainingArguments.save_steps:
                logger.warning(f"save_steps is ignored: checkpoints are saved by --eval_strategy {self.eval_strategy}.")
        if self.load_best_model_at_end and self.eval_strategy == self.save_strategy == "steps" and self.eval_steps:
            rounded = -(-self.save_steps // self.eval_steps) * self.eval_steps
            if self.save_steps >= 1 and rounded != self.save_steps:
                logger.warning(
                    f"save_steps {self.save_steps:g} becomes {rounded:g}: to keep the best checkpoint, checkpoints "
                    f"have to be saved at evaluations, every {self.eval_steps:g} steps."
                )
                self.save_steps = rounded
        self.label_names = ["labels"]
        if self.export == "none":
            self.export = None
        if self.bf16 is None:
            self.bf16 = not self.fp16 and _faster_in_bf16(self.use_cpu)
        if not torch.accelerator.is_available():
            self.use_cpu = True  # otherwise transformers refuses bf16 on a CPU
        super().__post_init__()
        if self.device.type == "cpu":
            self.dataloader_pin_memory = False  # pinned memory only helps transfers to an accelerator

    @property
    def intermediate_losses(self) -> bool:
        """Whether the loss compares embeddings, hidden states or attentions with the teacher's."""
        weights = (self.embedding_loss_weight, self.hidden_loss_weight, self.attention_loss_weight)
        return self.do_train and self.distillation and self.alpha < 1 and any(weights)

    def with_student_defaults(self, model_name: str, live_teacher: bool = True) -> "DistillationArguments":
        """These arguments, or a copy in which an unset learning rate or loss weight has the student's default.

        Args:
            model_name: bilstm, tinybert, or anything else for auto.
            live_teacher: whether there may be hidden states to learn from.
        """
        weight = 1.0 if model_name == "tinybert" and live_teacher else 0.0
        defaults: dict[str, Any] = {f"{name}_loss_weight": weight for name in ("embedding", "hidden", "attention")}
        defaults["learning_rate"] = LEARNING_RATES.get(model_name, LEARNING_RATES["auto"])
        unset = {name: value for name, value in defaults.items() if getattr(self, name) is None}
        return dataclasses.replace(self, **unset) if unset else self


class RunArguments(NamedTuple):
    """All arguments of a run, grouped by the code that reads them."""

    model: ModelArguments
    data: DataArguments
    training: DistillationArguments
    publishing: PublishingArguments
