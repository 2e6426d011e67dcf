"""What student, teacher and arguments have to be for a training, checked before it begins."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel, Trainer

from ..runtime.tags import UserError
from ..teachers.teacher import Teacher
from ..training_arguments import DistillationArguments


def check_intermediate_losses(model: Any, teacher: Teacher | None, shared: bool, attention: bool) -> Teacher:
    """Check that the losses between embeddings, hidden states and attentions can be computed, and return the teacher.

    Args:
        model: the student.
        teacher: the live teacher.
        shared: whether both read the same subwords.
        attention: whether the loss between attentions is one of them; both models then compute these eagerly, and the
            student without their dropout: models return probabilities of which dropout has set some to zero and scaled
            up the others, from which no loss should keep the student.

    Raises:
        UserError: they cannot.
    """
    weights = "--embedding_loss_weight, --hidden_loss_weight and --attention_loss_weight"
    if not isinstance(model, PreTrainedModel) or getattr(model, "peft_config", None):
        raise UserError(
            "Embedding, hidden-state and attention losses need a PreTrainedModel without adapters, not a "
            f"{type(model).__name__}: set {weights} to 0."
        )
    if teacher is None:
        raise UserError("Embedding, hidden-state and attention losses need a live teacher: pass one to the trainer.")
    for kind, each in (("student", model.config), ("teacher", teacher.model.config)):
        if not hasattr(each, "num_attention_heads"):
            raise UserError(
                f"Embedding, hidden-state and attention losses need a transformer {kind}, not {each.model_type}: "
                f"set {weights} to 0."
            )
    if not shared:
        raise UserError(
            "Embedding, hidden-state and attention losses need one tokenizer for teacher and student, which cuts "
            "words alike for both (--add_prefix_space)."
        )
    if not attention:
        return teacher
    heads = model.config.num_attention_heads, teacher.model.config.num_attention_heads
    if heads[0] != heads[1]:
        raise UserError(
            f"The attention loss needs equally many heads: the student has {heads[0]}, the teacher {heads[1]}. Set "
            "--attention_loss_weight 0."
        )
    for network in (model, teacher.model):
        network.set_attn_implementation("eager")
        _check_attentions(network)
    for module in model.modules():
        if "Attention" in type(module).__name__:
            for name in ("dropout", "attention_dropout", "attn_dropout"):
                given = getattr(module, name, None)
                if isinstance(given, nn.Dropout):
                    given.p = 0.0
                elif isinstance(given, float):
                    setattr(module, name, 0.0)
    return teacher


def _check_attentions(model: PreTrainedModel) -> None:
    """Check, on a sentence, that a model gives an attention probability for each pair of subwords.

    Raises:
        UserError: its attentions have another shape, such as Longformer's, which are those of a window.
    """
    ids = torch.ones(1, 8, dtype=torch.long, device=model.device)
    with torch.no_grad():
        attentions = model(input_ids=ids, output_attentions=True).attentions
    shape = (1, model.config.num_attention_heads, 8, 8)
    if any(layer.shape != shape for layer in attentions):
        raise UserError(
            "The attention loss compares attentions between all pairs of subwords, but those of a "
            f"{model.config.model_type} have another shape. Set --attention_loss_weight 0."
        )


def check_checkpointing(model: nn.Module, args: DistillationArguments) -> None:
    """Raise a UserError for gradient checkpointing of a model that has none."""
    # Older versions of transformers have the second name alone.
    asked = getattr(args, "activation_checkpointing", None) or args.gradient_checkpointing
    if asked and not getattr(model, "supports_gradient_checkpointing", False):
        raise UserError(f"A {type(model).__name__} has no gradient checkpointing: leave gradient_checkpointing out.")


def check_collator(collator: Callable[[Sequence[Mapping]], Mapping[str, Tensor]], dataset: Any) -> None:
    """Raise a ValueError if the batch that a collator makes of a dataset's first row is none that can be trained on."""
    if not (dataset is not None and hasattr(dataset, "__getitem__") and len(dataset)):
        return
    batch = collator([dataset[0]])
    missing = {"input_ids", "attention_mask", "word_positions", "word_mask", "labels"} - batch.keys()
    if missing:
        raise ValueError(
            f"data_collator gives no {', '.join(sorted(missing))}: let yours add to what DistillationCollator("
            "processing_class, teacher) returns."
        )


def check_processes(args: DistillationArguments) -> None:
    """Raise a UserError for several GPUs in one process, where Trainer would use DataParallel."""
    if args.n_gpu > 1:
        raise UserError(
            f"{args.n_gpu} GPUs but one process: start it with `accelerate launch --num_processes {args.n_gpu}`, or "
            "make a single GPU visible (CUDA_VISIBLE_DEVICES=0)."
        )


def rehearse(args: DistillationArguments) -> None:
    """Make a Trainer of these arguments, and what it makes only when it trains: data loader, optimizer and scheduler.

    Raises:
        Exception: as Trainer and the libraries that the arguments name do.
    """
    modules = args.optim_target_modules and "all-linear"  # those of the student have other names than these
    with TemporaryDirectory() as folder:
        args = dataclasses.replace(args, output_dir=folder, push_to_hub=False, optim_target_modules=modules)
        args = args.with_student_defaults("auto")
        rows: Any = [{"input_ids": [0]}]
        model = nn.Linear(1, 1)
        model.config = PretrainedConfig()  # type: ignore[assignment]  # which Trainer reads of any model
        trainer = Trainer(model, args, train_dataset=rows, eval_dataset=rows)
        if args.do_train or args.do_train_teacher:
            trainer.get_train_dataloader()
            trainer.create_optimizer_and_scheduler(num_training_steps=1000)
