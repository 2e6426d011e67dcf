"""A `Trainer` with distillation losses and entity-level metrics."""

import copy
import dataclasses
import inspect
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from huggingface_hub import CommitInfo
from torch import Tensor, nn
from torch.utils.data import DataLoader, Sampler, SequentialSampler
from transformers import (
    EvalPrediction,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)
from transformers.trainer_callback import ExportableState
from transformers.trainer_utils import HubStrategy
from transformers.utils import CONFIG_NAME, logging
from transformers.utils.hub import PushInProgress

from ..data.encoding import join_windows, window_order
from ..evaluation.metrics import Counts, count
from ..files import is_whole, record_checkpoint, writing
from ..publishing.hub import create_repository, publish, publish_checkpoint
from ..runtime.schemes import model_tags
from ..runtime.tags import UserError
from ..students.projection import ProjectedStudent
from ..students.save import recorded_model, save_pipeline
from ..teachers.compression import restore
from ..teachers.teacher import Teacher
from ..training_arguments import DistillationArguments
from . import losses
from .batching import DistillationCollator, EpochSampler, gather_words, join_batches
from .checks import check_checkpointing, check_collator, check_intermediate_losses, check_processes
from .rows import by_name, check_rows, read_rows, without_subsets

logger = logging.get_logger(__name__)

# Indices into the vector of counts that the loss terms are divided by.
LABELS, SIGNALS, SUBWORDS, PAIRS, WORDS = range(5)

# Terms that 1 - alpha is the weight of.
DISTILLATION_TERMS = ("logit_loss", "sequence_loss", "embedding_loss", "hidden_loss", "attention_loss")

# What Trainer logs beside the terms.
RESERVED = {"loss", "grad_norm", "learning_rate", "epoch", "train_loss"}

# A loss of the user's own: the student's outputs, its word logits and the batch give a value for each word.
Loss = Callable[[Any, Tensor, Mapping[str, Tensor]], Tensor]


class LossSums(TrainerCallback, ExportableState):
    """Sums of losses: over all steps of a run, which checkpoints carry along (Trainer's begins anew on resuming), and
    by term over the steps since the last log.
    """

    def __init__(self):
        self.total = 0.0  # the mean of all processes, up to the last log
        self.recent: float | Tensor = 0.0  # since then, of this process
        self.first_step = 0  # of those in `total`
        self.terms: dict[str, Tensor] = {}
        self.steps = 0  # of those in `terms`

    def state(self) -> dict:
        """As in `ExportableState`."""
        return {"args": {}, "attributes": {"total": self.total + float(self.recent)}}

    def on_train_begin(self, args, state, control, **kwargs):
        """Begin anew for each training, such as each trial of a search."""
        if not (state.global_step and self.total):  # else resumed
            self.total, self.first_step = 0.0, state.global_step
        self.recent = 0.0
        self.terms, self.steps = {}, 0


class DistillationTrainer(Trainer):
    """Trains a token classifier on a teacher's logits, on labels, or on both.

    `loss = alpha * CE + (1 - alpha) * KD`, where KD is the loss between word logits plus, for transformer students,
    those between embeddings, hidden states and attentions. Each term is divided by its own count over the whole
    optimiser step: labelled words, words with teacher logits, subwords, or query-key pairs, without padding.

    Args:
        model: the student; None: `model_init` makes it.
        args: a `DistillationArguments`; in other `TrainingArguments` its own fields have their defaults.
        teacher: run by `compute_loss` on batches without stored `teacher_logits`; None if all are stored, or to train
            on labels only (`args.distillation=False`).
        processing_class: the student's tokenizer.
        train_dataset: from `encode_dataset`, optionally with a column `teacher_logits`.
        eval_dataset: from `encode_dataset`; several in a dictionary or a list.
        data_collator: one that adds to what `DistillationCollator` returns; None: that one.
        compute_metrics: gets word logits [rows, words, labels] and labels [rows, words], padded with -100. What it
            returns is added to the scores of mentions, whose names (`Counts.scores`) are not replaced.
        losses: losses of your own by name, added to the others: each gets the student's outputs, its word logits
            [batch, words, labels] in fp32 and the batch, which has the teacher's `teacher_logits` of the same shape if
            `args.alpha` is below 1, and returns a value for each word, [batch, words]. The term is the mean over the
            words of the optimiser step. One with the name of another term, such as `logit_loss`, replaces it, and is
            multiplied by `alpha` or `1 - alpha` as that was.
        **kwargs: as in Trainer.

    Raises:
        UserError: several GPUs without a launcher; datasets that are encoded for other labels or features than the
            student's; a student that does not support intermediate losses or gradient checkpointing, which were asked
            for, or whose labels have no names.
        ValueError: no tokenizer; a collator, a `compute_metrics` or other arguments that cannot be used.

    Examples:
        >>> tags = ["O", "B-GENE", "I-GENE", "E-GENE", "S-GENE"]
        >>> teacher, train = load_teacher("my-org/biobert-genes", tags), load_tsv("train.tsv", "IOBES")
        >>> rows = encode_dataset(train, teacher.tokenizer, 512, tags)
        >>> trainer = DistillationTrainer(
        ...     model=build_student(ModelArguments(hidden_size=128), tags, teacher.tokenizer),
        ...     args=DistillationArguments("student", max_steps=2),
        ...     teacher=teacher,  # runs at each step; attach_signals avoids that
        ...     processing_class=teacher.tokenizer,
        ...     train_dataset=rows,
        ...     eval_dataset=rows,
        ... )
        >>> trainer.train().global_step  # doctest: +ELLIPSIS
        {'loss': ...
        2
    """

    args: DistillationArguments
    model: PreTrainedModel | ProjectedStudent
    processing_class: PreTrainedTokenizerBase
    train_dataset: Dataset
    tags: list[str]  # the student's
    counts: Counts  # of the last evaluation

    # compute_loss divides by the counts of the whole optimiser step, so that Trainer must not divide again. Before
    # transformers 5.19 this depended on `model_accepts_loss_kwargs`.
    loss_is_scaled_for_ga = True

    def __init__(
        self,
        model: PreTrainedModel | nn.Module | None = None,
        args: TrainingArguments | None = None,
        teacher: Teacher | None = None,
        processing_class: PreTrainedTokenizerBase | None = None,
        *,
        train_dataset: Any = None,
        eval_dataset: Any = None,
        data_collator: Callable[[Sequence[Mapping]], dict[str, Tensor]] | None = None,
        compute_metrics: Callable[..., dict] | None = None,
        losses: Mapping[str, Loss] | None = None,
        **kwargs: Any,
    ):
        if processing_class is None:
            raise ValueError(
                "DistillationTrainer needs the student's tokenizer, to pad batches: pass processing_class=tokenizer, "
                "the one that encode_dataset was given."
            )
        refused = {
            "compute_loss_func": "pass losses={name: function}, which are added to the teacher's or replace them.",
            "preprocess_logits_for_metrics": "scores of mentions need all logits; reduce them in compute_metrics.",
        }
        for name, instead in refused.items():
            if kwargs.get(name) is not None:
                raise ValueError(f"DistillationTrainer takes no {name}: {instead}")
        self.args = distillation_arguments(args)
        check_processes(self.args)
        self.teacher = teacher
        self.processing_class = processing_class
        self.train_dataset, self.eval_dataset = without_subsets(train_dataset), by_name(eval_dataset)
        self.collator = DistillationCollator(processing_class, teacher)
        self.losses = dict(losses or {})
        if taken := RESERVED & self.losses.keys():
            raise ValueError(f"Trainer logs {', '.join(sorted(taken))} itself: give your loss another name.")
        self._check_metrics(compute_metrics)
        self._own_metrics = compute_metrics
        if data_collator is not None:
            check_collator(data_collator, self.train_dataset)
        self._first_student = None
        if model is not None:
            model = self._prepare_student(model)
        elif kwargs.get("model_init") is not None:
            # Trainer's own call comes too late: the arguments' defaults depend on the student.
            self.model_init = kwargs["model_init"]
            set_seed(self.args.seed)
            self._first_student = self.call_model_init()
        super().__init__(
            model=model,
            args=self.args,
            data_collator=data_collator or self.collator,
            train_dataset=self.train_dataset,
            eval_dataset=self.eval_dataset,
            processing_class=processing_class,
            compute_metrics=self._compute_metrics,
            **kwargs,
        )
        self.model_accepts_loss_kwargs = True
        self.add_callback(LossSums())
        if teacher is not None:
            teacher.model.to(self.args.device)  # type: ignore[arg-type]  # transformers' decorator hides self

    @property
    def student(self) -> PreTrainedModel:
        """The student, without the projections that only training needs."""
        return self.model.student if isinstance(self.model, ProjectedStudent) else self.model

    @property
    def weights(self) -> dict[str, float]:
        """Weights of the losses between embeddings, hidden states and attentions."""
        return {
            name: getattr(self.args, f"{name}_loss_weight") or 0.0 if self.args.intermediate_losses else 0.0
            for name in ("embedding", "hidden", "attention")
        }

    def call_model_init(self, trial: Any = None) -> nn.Module:
        """As in `Trainer`; each student is checked, and gets its projections, as if it were given to the trainer."""
        first, self._first_student = self._first_student, None
        return self._prepare_student(super().call_model_init(trial)) if first is None else first

    def _hp_search_setup(self, trial: Any) -> None:
        used = [name for name, weight in self.weights.items() if weight]
        super()._hp_search_setup(trial)
        if used != [name for name, weight in self.weights.items() if weight]:
            # The student of this trial has been made, with its projections.
            raise UserError(
                "A search cannot switch the embedding, hidden-state and attention losses on and off: give the trainer "
                "weights above 0, and search above 0."
            )

    def _prepare_student(self, model: Any) -> Any:
        """Check a student against arguments, teacher and datasets, and add the projections that its losses need."""
        config: Any = getattr(model, "config", None)
        if not hasattr(config, "id2label"):
            raise UserError(
                f"A {type(model).__name__} has no config with the names of its labels: set student.config to a "
                'PretrainedConfig(tags=["O", "B-GENE", ...], id2label={0: "O", ...}).'
            )
        self.args = self.args.with_student_defaults(config.model_type)
        tags = model_tags(config)
        if tags is None:
            raise UserError(
                "The student's labels have no names (LABEL_0, LABEL_1, ...), by which they meet the teacher's and the "
                'data\'s: set student.config.tags to its tags, in the order of its labels, such as ["O", "B-GENE", '
                '"I-GENE"].'
            )
        self.tags = tags
        if self.teacher is not None and list(self.teacher.tags) != tags:
            raise UserError(
                "The teacher was loaded for other labels than the student's, or in another order: "
                f"{', '.join(self.teacher.tags)}; the student has {', '.join(tags)}. Give load_teacher the student's."
            )
        check_rows("train_dataset", self.train_dataset, config, tags)
        self._check_evaluation(config)
        check_checkpointing(model, self.args)
        if not any(self.weights.values()):
            return model
        teacher = check_intermediate_losses(model, self.teacher, self.collator.shared, self.weights["attention"] > 0)
        if not (self.weights["embedding"] or self.weights["hidden"]):
            return model
        used = (self.weights["embedding"] > 0, self.weights["hidden"] > 0)
        return ProjectedStudent(model, teacher.model.config.hidden_size, *used)

    def _check_evaluation(self, config: Any) -> None:
        """Check the evaluation sets, and that the best checkpoint is chosen on one of them."""
        if not isinstance(self.eval_dataset, dict):
            return check_rows("eval_dataset", self.eval_dataset, config, self.tags)
        for name, dataset in self.eval_dataset.items():
            check_rows(f"eval_dataset {name}", dataset, config, self.tags)
        metric = f"eval_{(self.args.metric_for_best_model or '').removeprefix('eval_')}"
        chosen = self.args.load_best_model_at_end or self.args.save_strategy == "best"
        evaluated = self.args.do_train and self.args.eval_strategy != "no"
        if chosen and evaluated and not any(metric.startswith(f"eval_{name}_") for name in self.eval_dataset):
            raise UserError(
                f"There are several evaluation sets, and metric_for_best_model {metric!r} is of none: name one, such "
                f"as eval_{next(iter(self.eval_dataset))}_f1, or set load_best_model_at_end to False."
            )
        if not chosen:  # Trainer looks for it nevertheless
            self.args = copy.copy(self.args)
            self.args.metric_for_best_model = None

    # Data

    def _get_dataloader(self, dataset: Any, description: str, *args, **kwargs) -> DataLoader:
        if not kwargs.get("is_training"):
            # Checked again: it may have been given to `evaluate` or `predict`.
            check_rows(f"{description.lower()} dataset", dataset, self.student.config, self.tags)
            dataset = read_rows(dataset)
        return super()._get_dataloader(dataset, description, *args, **kwargs)

    def _set_signature_columns_if_needed(self) -> None:
        # The columns that the collator reads, in place of the arguments of the model's forward.
        columns = "input_ids word_features word_positions first_word sentence labels teacher_logits teacher_labels"
        self._signature_columns = [*columns.split(), "tokens", "pieces"]  # type: ignore[assignment]  # declared as None

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> Sampler | None:
        if self.args.train_sampling_strategy == "sequential":  # which transformers 5.0 does not know
            return SequentialSampler(self.train_dataset)
        if self.args.train_sampling_strategy != "group_by_length":
            return super()._get_train_sampler(train_dataset)
        step = self.args.train_batch_size * self.args.gradient_accumulation_steps * self.args.world_size
        rows: Any = self.train_dataset
        lengths = rows["length"][:] if isinstance(rows, Dataset) else [rows[row]["length"] for row in range(len(rows))]
        return EpochSampler(self, lengths, step)

    def _get_eval_sampler(self, eval_dataset: Dataset) -> Sampler | None:
        return SequentialSampler(eval_dataset)  # metrics rely on the order of the dataset

    # Loss

    def get_batch_samples(self, epoch_iterator, num_batches, device):
        """As in `Trainer`, with a vector of five counts over the optimiser step as the number of items."""
        self._loss_sums.steps += 1
        return super().get_batch_samples(epoch_iterator, num_batches, device)

    def _get_num_items_in_batch(self, batch_samples: list, device: torch.device) -> Tensor:
        counts = torch.zeros(5, dtype=torch.float64)
        for batch in batch_samples:
            subwords = batch["attention_mask"].sum(1)
            words = batch["word_mask"].sum()
            signals = batch["signal_mask"].sum() if "signal_mask" in batch else words
            labels = (batch["labels"] != -100).sum()
            counts += torch.stack([labels, signals, subwords.sum(), (subwords**2).sum(), words]).cpu()
        if self.args.world_size > 1:
            counts = self.accelerator.reduce(counts.to(device), "sum")
        return counts.clamp(min=1).float().to(device)

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        """The loss of a batch, which is the whole optimiser step if `num_items_in_batch` is None."""
        counts = num_items_in_batch
        if counts is None:
            counts = self._get_num_items_in_batch([inputs], inputs["input_ids"].device)
        outputs = model(
            **_model_inputs(inputs),
            **({"output_hidden_states": True} if self.weights["embedding"] or self.weights["hidden"] else {}),
            **({"output_attentions": True} if self.weights["attention"] else {}),
        )
        logits = gather_words(outputs.logits, inputs["word_positions"])
        alpha = self.args.alpha if self.args.distillation else 1.0
        terms = {}
        if alpha > 0:
            hard = losses.hard_cross_entropy(logits, inputs["labels"], self.args.label_smoothing_factor)
            terms["hard_loss"] = alpha * hard / counts[LABELS]
        if alpha < 1:
            inputs, teacher_outputs = self._with_teacher(inputs)
            soft = self._distillation_losses(outputs, teacher_outputs, logits, inputs, counts)
            terms |= {name: (1 - alpha) * term for name, term in soft.items()}
        weights = {"hard_loss": alpha, **dict.fromkeys(DISTILLATION_TERMS, 1 - alpha)}
        terms |= self._own_losses(outputs, logits.float(), inputs, counts, weights)
        # Gradients are averaged over processes, but the counts are sums over all processes.
        terms = {name: term * self.args.world_size for name, term in terms.items()}
        if model.training:
            sums = self._loss_sums.terms
            for name, term in terms.items():
                sums[name] = sums.get(name, 0.0) + term.detach()
        loss = sum(terms.values())
        return (loss, outputs) if return_outputs else loss

    def _with_teacher(self, inputs: Mapping[str, Tensor]) -> tuple[Mapping[str, Tensor], Any]:
        """The batch with the teacher's word logits, stored or not, and the live teacher's outputs if it had to run."""
        stored = "teacher_logits" in inputs
        if not stored and self.teacher is None:
            raise UserError("The training data has no column teacher_logits and the trainer was given no teacher.")
        if stored and not any(self.weights.values()):
            return inputs, None
        outputs = self._teacher_forward(inputs)
        if not stored:
            logits = self._teacher_word_logits(outputs, inputs)
            inputs = {**inputs, "teacher_logits": logits, "signal_mask": inputs["word_mask"]}
        return inputs, outputs

    def _own_losses(
        self, outputs, logits: Tensor, inputs: Mapping[str, Tensor], counts: Tensor, weights: Mapping[str, float]
    ) -> dict[str, Tensor]:
        """The user's terms by name, each divided by the number of words; one that replaces another has its weight."""
        if self.losses and "teacher_labels" in inputs:
            scores = restore(inputs["teacher_logits"], inputs["teacher_labels"], logits.shape[-1])
            inputs = {**inputs, "teacher_logits": scores}
        terms = {}
        for name, function in self.losses.items():
            weight = weights.get(name, 1.0)
            if not weight:
                continue
            values = function(outputs, logits, inputs)
            if values.shape != inputs["word_mask"].shape:
                raise ValueError(
                    f"The loss {name!r} has to return a value for each word, of shape "
                    f"{list(inputs['word_mask'].shape)}, not {list(values.shape)}."
                )
            terms[name] = weight * values[inputs["word_mask"]].sum() / counts[WORDS]
        return terms

    def _distillation_losses(
        self, outputs, teacher_outputs, logits: Tensor, inputs: Mapping[str, Tensor], counts: Tensor
    ) -> dict[str, Tensor]:
        """The distillation terms by name, each divided by its count."""
        target, mask, labels = inputs["teacher_logits"], inputs["signal_mask"], inputs.get("teacher_labels")
        if self.args.logit_loss == "mse":
            terms = {"logit_loss": losses.logit_mse(logits, target, mask, labels) / counts[SIGNALS]}
        else:
            terms, weight, temperature = {}, self.args.sequence_loss_weight, self.args.temperature
            if weight < 1:
                soft = losses.soft_cross_entropy(logits, target, mask, temperature, labels)
                terms["logit_loss"] = (1 - weight) * soft / counts[SIGNALS]
            if weight > 0:
                soft = losses.sequence_cross_entropy(logits, target, mask, self.tags or [], temperature, labels)
                terms["sequence_loss"] = weight * soft / counts[SIGNALS]
        real = inputs["attention_mask"].bool()
        if self.teacher is not None and any(self.weights.values()):
            layers = losses.teacher_layers(
                self.student.config.num_hidden_layers, self.teacher.model.config.num_hidden_layers
            )
        if self.weights["embedding"]:
            error = losses.state_mse(outputs.hidden_states[:1], teacher_outputs.hidden_states[:1], real)
            terms["embedding_loss"] = self.weights["embedding"] * error / counts[SUBWORDS]
        if self.weights["hidden"]:
            states = [teacher_outputs.hidden_states[layer] for layer in layers]
            error = losses.state_mse(outputs.hidden_states[1:], states, real)
            terms["hidden_loss"] = self.weights["hidden"] * error / counts[SUBWORDS]
        if self.weights["attention"]:
            attentions = [teacher_outputs.attentions[layer - 1] for layer in layers]
            error = losses.attention_mse(outputs.attentions, attentions, real)
            terms["attention_loss"] = self.weights["attention"] * error / counts[PAIRS]
        return terms

    @torch.no_grad()
    def _teacher_forward(self, inputs: Mapping[str, Tensor]):
        assert self.teacher is not None  # the caller has checked
        if not self.collator.shared and "teacher_input_ids" not in inputs:
            raise UserError(
                "The teacher has to read the words themselves: make the training rows by encode_dataset(..., "
                "keep_tokens=True), or store its signals (attach_signals)."
            )
        own = {"input_ids": inputs["input_ids"], "attention_mask": inputs["attention_mask"]}
        with torch.autocast(self.args.device.type, torch.bfloat16, enabled=bool(self.args.bf16)):
            return self.teacher.model(
                **(own if self.collator.shared else _model_inputs(inputs, "teacher_")),
                output_hidden_states=bool(self.weights["embedding"] or self.weights["hidden"]),
                output_attentions=bool(self.weights["attention"]),
            )

    def _teacher_word_logits(self, teacher_outputs, inputs: Mapping[str, Tensor]) -> Tensor:
        """The live teacher's word logits, by the student's labels: [batch, words, labels].

        Where a head needs a word's neighbours (`LabelMap`), those outside of the window count as O.
        """
        assert self.teacher is not None  # it gave `teacher_outputs`
        logits = teacher_outputs.logits.float()
        if self.collator.shared:
            words = gather_words(logits, inputs["word_positions"])
        else:
            words = logits[inputs["teacher_places"][..., 0], inputs["teacher_places"][..., 1]]
        return self.teacher.labels(words, inputs["word_mask"])

    def training_step(self, *args, **kwargs) -> Tensor:
        """As in `Trainer`."""
        loss = super().training_step(*args, **kwargs)
        # Looked up anew: on resuming Trainer replaces the callback.
        self._loss_sums.recent = self._loss_sums.recent + loss.detach().nan_to_num(0.0, 0.0, 0.0)
        return loss

    @property
    def _loss_sums(self) -> LossSums:
        return next(each for each in self.callback_handler.callbacks if isinstance(each, LossSums))

    def log(self, logs: dict[str, Any], start_time: float | None = None) -> None:
        """As in `Trainer`; also logs each loss term, averaged like `loss` over the steps since the last log, and
        `train_loss` over the whole run, resumed or not.
        """
        sums = self._loss_sums
        if logs.keys() & {"loss", "train_loss"}:
            recent = torch.as_tensor(sums.recent, device=self.args.device)
            sums.total, sums.recent = sums.total + float(self.accelerator.reduce(recent, "mean")), 0.0
        if "train_loss" in logs:
            logs["train_loss"] = sums.total / max(1, self.state.global_step - sums.first_step)
        if "loss" in logs and sums.terms:
            means = torch.stack(list(sums.terms.values())) / sums.steps
            means = self.accelerator.reduce(means, "mean")
            logs |= dict(zip(sums.terms, means.tolist(), strict=True))
            sums.terms, sums.steps = {}, 0
        super().log(logs, start_time)

    # Evaluation

    def evaluate(self, eval_dataset: Any = None, *args, **kwargs) -> dict[str, float]:
        """As in `Trainer`; of a list of evaluation sets, the names are "0", "1", ..."""
        return super().evaluate(by_name(self.eval_dataset if eval_dataset is None else eval_dataset), *args, **kwargs)

    def prediction_step(self, model, inputs, prediction_loss_only, ignore_keys=None):
        """Cross-entropy with the labels, word logits [batch, words, labels] and labels; the teacher does not run."""
        inputs = self._prepare_inputs(inputs)
        with torch.no_grad(), self.compute_loss_context_manager():
            outputs = model(**_model_inputs(inputs))
        logits = gather_words(outputs.logits.float(), inputs["word_positions"])
        labels = inputs["labels"]
        # Trainer averages over rows; this factor turns that into the mean over words.
        count = len(labels) * self._words_per_row
        loss = losses.hard_cross_entropy(logits, labels, label_smoothing=0.0) / count
        return (loss, None, None) if prediction_loss_only else (loss, logits, labels)

    def evaluation_loop(self, dataloader: DataLoader, *args, **kwargs):
        """As in `Trainer`; keeps the dataset for `_compute_metrics`."""
        self._batches: list[list[np.ndarray]] = []
        self._evaluated: Dataset = dataloader.dataset
        rows = self._evaluated["labels"]
        self._words_per_row = max(1, sum(label != -100 for labels in rows for label in labels)) / len(rows)
        return super().evaluation_loop(dataloader, *args, **kwargs)

    def _check_metrics(self, compute_metrics: Callable | None) -> None:
        if compute_metrics is None or not self.args.batch_eval_metrics:
            return
        if "compute_result" not in inspect.signature(compute_metrics).parameters:
            raise ValueError(
                "With batch_eval_metrics, compute_metrics is called for each batch and has to take compute_result, "
                "which is True for the last."
            )

    def _compute_metrics(self, prediction: EvalPrediction, compute_result: bool = True) -> dict[str, float]:
        by_batch = self.args.batch_eval_metrics
        values: list[Any] = [prediction.predictions, prediction.label_ids]
        if by_batch:
            # Mentions are counted in whole sentences, whose windows may be in several batches.
            self._batches.append([each.cpu().numpy().copy() for each in values])
            values = list(zip(*self._batches, strict=True))
        if by_batch or not self.args.eval_do_concat_batches:
            values = [list(chain.from_iterable(batches)) for batches in values]
        scores: dict[str, float] = {}
        if compute_result and all((np.asarray(labels) == -100).all() for labels in values[1]):
            logger.warning("The rows have no labels: they have no scores.")
        elif compute_result:
            scores = self._score(*values)
        if self._own_metrics is None:
            return scores
        own = (
            self._own_metrics(prediction, compute_result=compute_result)
            if by_batch
            else self._own_metrics(join_batches(prediction))
        )
        own = own or {}
        for name in scores.keys() & own.keys():
            logger.warning_once(
                f"compute_metrics returns {name}, which is left out: it is one of the trainer's scores."
            )
        return own | scores

    def _score(self, logits: Sequence[np.ndarray] | np.ndarray, labels: Sequence[np.ndarray] | np.ndarray) -> dict:
        """The scores of mentions, for word logits [rows, words, labels] of the rows that are evaluated."""
        labelled = [(np.asarray(row) != -100).any() for row in labels]
        logits, gold = (join_windows(each, labels, self._evaluated) for each in (logits, labels))
        references = [[self.tags[label] for label in sentence] for sentence in gold]
        pieces = None
        if "pieces" in self._evaluated.column_names:
            # The score needs them in the order of the joined windows; sentence boundaries do not matter.
            counts = self._evaluated["pieces"][:]
            pieces = [counts[row] if labelled[row] else [] for row in window_order(self._evaluated)]
        self.counts = count(logits, references, self.tags, pieces)
        return self.counts.scores()

    # Checkpoints: the student as users load it, and the projections in a separate file

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        if not self.args.should_save:
            return
        with recorded_model(output_dir or self.args.output_dir) as temporary:
            if isinstance(self.model, ProjectedStudent):
                self.model.save_pretrained(str(temporary), state_dict)
                self.processing_class.save_pretrained(temporary)
            else:
                token, self.args.hub_token = self.args.hub_token, None  # Trainer writes the arguments, too
                try:
                    super()._save(str(temporary), state_dict)
                finally:
                    self.args.hub_token = token
            # Not of adapters, nor of an nn.Module or another model that names no pipeline of ours.
            if (temporary / CONFIG_NAME).exists() and getattr(self.student.config, "custom_pipelines", None):
                save_pipeline(temporary)

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        folder = Path(self._get_output_dir(trial=trial), f"checkpoint-{self.state.global_step}")
        with writing(folder):
            super()._save_checkpoint(model, trial)
        self.accelerator.wait_for_everyone()
        if self.args.should_save and folder.exists():
            record_checkpoint(folder)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        if isinstance(self.model, ProjectedStudent):
            self.model.load_pretrained(resume_from_checkpoint)
        else:
            super()._load_from_checkpoint(resume_from_checkpoint, model)

    def _load_best_model(self) -> None:
        best = Path(str(self.state.best_model_checkpoint))
        if not is_whole(best):  # Trainer would go on with the last weights
            raise UserError(
                f"The best checkpoint, {best}, is gone or not whole. The same command goes on from the last one that "
                "does not need it, or begins anew."
            )
        if isinstance(self.model, ProjectedStudent) and not self.is_fsdp_enabled and not self.is_deepspeed_enabled:
            self.model.load_pretrained(str(best))
        else:
            super()._load_best_model()

    # The Hub

    def init_hf_repo(self, token: str | None = None, private: bool | None = None) -> None:
        """As in `Trainer`; also creates the branch `args.hub_revision`.

        Raises:
            UserError: the student has adapters, which are not among the files that are published.
        """
        if getattr(self.model, "peft_config", None):
            raise UserError("Adapters are not published without their student: merge them into it (merge_and_unload).")
        self.args.hub_token = self.args.hub_token if token is None else token
        self.args.hub_private_repo = self.args.hub_private_repo if private is None else private
        if self.is_world_process_zero():
            self.args.hub_model_id = create_repository(self.args)
            self.hub_model_id = self.args.hub_model_id  # type: ignore[assignment]  # declared as None
            self.push_in_progress = None

    def push_to_hub(  # type: ignore[override]  # Trainer's returns the same, but declares a CommitInfo
        self,
        commit_message: str = "End of training",
        blocking: bool = True,
        token: str | None = None,
        revision: str | None = None,
        private: bool | None = None,
        **kwargs,
    ) -> CommitInfo | Future | None:
        """As in `Trainer`, but pushes only the files in `hub.PUBLISHED` and keeps an existing model card.

        Raises:
            ValueError: there are `kwargs`, the values of a new model card, but a card exists.
        """
        card = Path(self.args.output_dir, "README.md").exists()
        if card and kwargs:
            raise ValueError(
                f"{self.args.output_dir}/README.md is there; write {', '.join(kwargs)} into it, or remove it."
            )
        self.callback_handler.on_push_begin(self.args, self.state, self.control)
        self.args.hub_revision = self.args.hub_revision if revision is None else revision
        if self.hub_model_id is None or token or revision:
            self.init_hf_repo(token, private)
        self.save_model(_internal_call=True)
        if not self.is_world_process_zero():
            return None
        if not card:
            self.create_model_card(**kwargs)
        self._finish_current_push()
        return publish(self.args.output_dir, self.args, commit_message, run_as_future=not blocking)

    def _push_from_checkpoint(self, checkpoint_folder: str) -> None:
        if not self.is_world_process_zero() or self.args.hub_strategy == HubStrategy.END:
            return
        pushes: list[Future] = self.push_in_progress.jobs if self.push_in_progress else []
        running = [job for job in pushes if not job.done()]
        if running and not self.args.hub_always_push:
            return
        self.callback_handler.on_push_begin(self.args, self.state, self.control)
        message = f"Training in progress, step {self.state.global_step}"
        jobs = [publish(checkpoint_folder, self.args, message, run_as_future=True)]
        if self.args.hub_strategy in (HubStrategy.CHECKPOINT, HubStrategy.ALL_CHECKPOINTS):
            last = self.args.hub_strategy == HubStrategy.CHECKPOINT
            target = "last-checkpoint" if last else Path(checkpoint_folder).name
            jobs.append(publish_checkpoint(checkpoint_folder, target, self.args, f"{message}, checkpoint"))
        # Trainer declares the attribute as None, and the jobs as a single future.
        self.push_in_progress = PushInProgress([*running, *jobs])  # type: ignore[assignment, arg-type]


def _model_inputs(batch: Mapping[str, Tensor], prefix: str = "") -> dict[str, Tensor]:
    """The inputs of the student, or those with `prefix` of the teacher, by the names of their parameters."""
    names = ("input_ids", "attention_mask", "word_features")
    return {name: batch[prefix + name] for name in names if prefix + name in batch}


def distillation_arguments(args: TrainingArguments | None) -> DistillationArguments:
    """Return arguments with all fields of `DistillationArguments`; those that `args` has not have their defaults."""
    if isinstance(args, DistillationArguments):
        return args
    if args is None:
        return DistillationArguments("tmp_trainer")  # as in Trainer
    fields = [field.name for field in dataclasses.fields(DistillationArguments) if field.init]
    return DistillationArguments(**{name: getattr(args, name) for name in fields if hasattr(args, name)})
