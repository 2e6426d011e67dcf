"""A `Trainer` with distillation losses and entity-level metrics."""

from collections.abc import Mapping
from concurrent.futures import Future
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from huggingface_hub import CommitInfo
from torch import Tensor, nn
from torch.utils.data import DataLoader, Sampler, SequentialSampler
from transformers import EvalPrediction, PreTrainedModel, PreTrainedTokenizerBase, Trainer, TrainerCallback
from transformers.trainer_callback import ExportableState
from transformers.trainer_utils import HubStrategy
from transformers.utils.hub import PushInProgress

from ..data.encoding import join_windows, window_order
from ..evaluation.metrics import Counts, count
from ..files import record_checkpoint, recorded
from ..publishing.hub import create_repository, publish, publish_checkpoint
from ..runtime.schemes import model_tags
from ..runtime.tags import UserError
from ..runtime.word_features import word_feature_rows
from ..students.projection import ProjectedStudent
from ..students.save import save_pipeline
from ..teachers.teacher import Teacher
from ..training_arguments import DistillationArguments
from . import losses
from .batching import DistillationCollator, EpochSampler, gather_words

# Indices into the vector of counts that the loss terms are divided by.
LABELS, SIGNALS, SUBWORDS, PAIRS = range(4)


class LossTotal(TrainerCallback, ExportableState):
    """The sum of the losses of all steps of a run, which checkpoints carry along; Trainer's begins anew on resuming."""

    def __init__(self):
        self.total: float | Tensor = 0.0

    def state(self) -> dict:
        """As in `ExportableState`."""
        return {"args": {}, "attributes": {"total": float(self.total)}}


class DistillationTrainer(Trainer):
    """Trains a token classifier on a teacher's logits, on labels, or on both.

    `loss = alpha * CE + (1 - alpha) * KD`, where KD is the loss between word logits plus, for transformer students,
    those between embeddings, hidden states and attentions. Each term is divided by its own count over the whole
    optimiser step: labelled words, words with teacher logits, subwords, or query-key pairs, without padding.

    Args:
        model: the student.
        args: a `DistillationArguments`.
        teacher: run by `compute_loss` on batches without stored `teacher_logits`; None if all are stored, or to train
            on labels only (`args.distillation=False`).
        processing_class: the student's tokenizer.
        **kwargs: as in Trainer; `train_dataset` and `eval_dataset` are from `encode_dataset`, the former optionally
            with a column `teacher_logits`.

    Raises:
        UserError: several GPUs without a launcher, or models that do not support the intermediate losses.

    Example:
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
    counts: Counts  # of the last evaluation

    # compute_loss divides by the counts of the whole optimiser step, so that Trainer must not divide again. Before
    # transformers 5.19 this depended on `model_accepts_loss_kwargs`.
    loss_is_scaled_for_ga = True

    def __init__(
        self,
        model: PreTrainedModel,
        args: DistillationArguments,
        teacher: Teacher | None = None,
        processing_class: PreTrainedTokenizerBase | None = None,
        **kwargs,
    ):
        check_processes(args)
        args = args.with_student_defaults(model.config.model_type)
        self.teacher = teacher
        self.tags = model_tags(model.config)
        # Weights of the optional loss terms.
        self.weights = {
            name: getattr(args, f"{name}_loss_weight") or 0.0 if args.intermediate_losses else 0.0
            for name in ("embedding", "hidden", "attention")
        }
        if args.sequence_loss_weight and self.tags is None:
            raise UserError("--sequence_loss_weight needs a student whose labels are tags of IOB2 or IOBES.")
        if processing_class is None:
            raise ValueError("DistillationTrainer needs processing_class, the student's tokenizer, to pad batches.")
        for name in ("train_dataset", "eval_dataset"):
            columns = getattr(kwargs.get(name), "column_names", None)
            if word_feature_rows(model.config) and columns and "word_features" not in columns:
                raise UserError(
                    f"The student also reads how words are written: make its {name} by encode_dataset(..., "
                    "feature_rows=student.config.word_feature_rows)."
                )
        self.collator = DistillationCollator(processing_class, teacher)
        trained: PreTrainedModel | ProjectedStudent = model
        if any(self.weights.values()):
            self._check_intermediate_losses(model)
            assert teacher is not None  # else the check fails
            if self.weights["attention"]:
                for each in (model, teacher.model):
                    each.set_attn_implementation("eager")
                    check_attentions(each)
            if self.weights["embedding"] or self.weights["hidden"]:
                used = (self.weights["embedding"] > 0, self.weights["hidden"] > 0)
                trained = ProjectedStudent(model, teacher.model.config.hidden_size, *used)
        self._terms: dict[str, Tensor] = {}
        self._steps_since_log = 0
        super().__init__(
            model=trained,
            args=args,
            data_collator=self.collator,
            processing_class=processing_class,
            compute_metrics=self._compute_metrics,
            **kwargs,
        )
        self.model_accepts_loss_kwargs = True
        self.add_callback(LossTotal())
        if teacher is not None:
            teacher.model.to(args.device)  # type: ignore[arg-type]  # transformers' decorator hides self

    @property
    def student(self) -> PreTrainedModel:
        """The student, without the projections that only training needs."""
        return self.model.student if isinstance(self.model, ProjectedStudent) else self.model

    def _check_intermediate_losses(self, model: PreTrainedModel) -> None:
        if self.teacher is None:
            raise UserError(
                "Embedding, hidden-state and attention losses need a live teacher: pass one to the trainer."
            )
        for kind, each in (("student", model.config), ("teacher", self.teacher.model.config)):
            if not hasattr(each, "num_attention_heads"):
                raise UserError(
                    f"Embedding, hidden-state and attention losses need a transformer {kind}, not {each.model_type}: "
                    "set --embedding_loss_weight, --hidden_loss_weight and --attention_loss_weight to 0."
                )
        if not self.collator.shared:
            raise UserError(
                "Embedding, hidden-state and attention losses need one tokenizer for teacher and student, which cuts "
                "words alike for both (--add_prefix_space)."
            )
        config, teacher = model.config, self.teacher.model.config
        if self.weights["attention"] and config.num_attention_heads != teacher.num_attention_heads:
            raise UserError(
                f"The attention loss needs equally many heads: the student has {config.num_attention_heads}, the "
                f"teacher {teacher.num_attention_heads}. Set --attention_loss_weight 0."
            )

    # Data

    def _set_signature_columns_if_needed(self) -> None:
        # The columns that the collator reads, in place of the arguments of the model's forward.
        columns = "input_ids word_features word_positions first_word sentence labels teacher_logits teacher_labels"
        self._signature_columns = [*columns.split(), "tokens", "pieces"]  # type: ignore[assignment]  # declared as None

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> Sampler | None:
        if self.args.train_sampling_strategy != "group_by_length":
            return super()._get_train_sampler(train_dataset)
        step = self.args.train_batch_size * self.args.gradient_accumulation_steps * self.args.world_size
        return EpochSampler(self, self.train_dataset["length"][:], step)

    def _get_eval_sampler(self, eval_dataset: Dataset) -> Sampler | None:
        return SequentialSampler(eval_dataset)  # metrics rely on the order of the dataset

    # Loss

    def get_batch_samples(self, epoch_iterator, num_batches, device):
        """As in `Trainer`, with a vector of four counts over the optimiser step as the number of items."""
        self._steps_since_log += 1
        return super().get_batch_samples(epoch_iterator, num_batches, device)

    def _get_num_items_in_batch(self, batch_samples: list, device: torch.device) -> Tensor:
        counts = torch.zeros(4, dtype=torch.float64)
        for batch in batch_samples:
            subwords = batch["attention_mask"].sum(1)
            signals = batch.get("signal_mask", batch["word_mask"])
            counts += torch.stack(
                [(batch["labels"] != -100).sum(), signals.sum(), subwords.sum(), (subwords**2).sum()]
            ).cpu()
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
            soft = self._distillation_losses(outputs, logits, inputs, counts)
            terms |= {name: (1 - alpha) * term for name, term in soft.items()}
        # Gradients are averaged over processes, but the counts are sums over all processes.
        terms = {name: term * self.args.world_size for name, term in terms.items()}
        if model.training:
            for name, term in terms.items():
                self._terms[name] = self._terms.get(name, 0.0) + term.detach()
        loss = sum(terms.values())
        return (loss, outputs) if return_outputs else loss

    def _distillation_losses(
        self, outputs, logits: Tensor, inputs: Mapping[str, Tensor], counts: Tensor
    ) -> dict[str, Tensor]:
        """The distillation terms by name, each divided by its count."""
        if "teacher_logits" in inputs:
            target, mask, labels = inputs["teacher_logits"], inputs["signal_mask"], inputs.get("teacher_labels")
        elif self.teacher is None:
            raise UserError("The training data has no column teacher_logits and the trainer was given no teacher.")
        if "teacher_logits" not in inputs or any(self.weights.values()):
            teacher_outputs = self._teacher_forward(inputs)
        if "teacher_logits" not in inputs:
            target, mask, labels = self._teacher_word_logits(teacher_outputs, inputs), inputs["word_mask"], None
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
        self._loss_total.total = self._loss_total.total + loss.detach().nan_to_num(0.0, 0.0, 0.0)
        return loss

    @property
    def _loss_total(self) -> LossTotal:
        return next(each for each in self.callback_handler.callbacks if isinstance(each, LossTotal))

    def log(self, logs: dict[str, Any], start_time: float | None = None) -> None:
        """As in `Trainer`; also logs each loss term, averaged like `loss` over the steps since the last log, and
        `train_loss` over the whole run, resumed or not.
        """
        if "train_loss" in logs:
            logs["train_loss"] = float(self._loss_total.total) / max(1, self.state.global_step)
        if "loss" in logs and self._terms:
            means = torch.stack(list(self._terms.values())) / self._steps_since_log
            means = self.accelerator.reduce(means, "mean")
            logs |= dict(zip(self._terms, means.tolist(), strict=True))
            self._terms, self._steps_since_log = {}, 0
        super().log(logs, start_time)

    # Evaluation

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
        self._evaluated: Dataset = dataloader.dataset
        rows = self._evaluated["labels"]
        self._words_per_row = max(1, sum(label != -100 for labels in rows for label in labels)) / len(rows)
        return super().evaluation_loop(dataloader, *args, **kwargs)

    def _compute_metrics(self, prediction: EvalPrediction) -> dict[str, float]:
        assert self.tags is not None  # `encode_dataset` labels words by them
        values: list = [prediction.predictions, prediction.label_ids]
        if not self.args.eval_do_concat_batches:  # then they come by batch
            values = [list(chain.from_iterable(batches)) for batches in values]
        logits, gold = (join_windows(each, values[1], self._evaluated) for each in values)
        references = [[self.tags[label] for label in labels] for labels in gold]
        pieces = None
        if "pieces" in self._evaluated.column_names:
            # The score needs them in the order of the joined windows; sentence boundaries do not matter.
            counts = self._evaluated["pieces"][:]
            pieces = [counts[row] for row in window_order(self._evaluated)]
        self.counts = count(logits, references, self.tags, pieces)
        return self.counts.scores()

    # Checkpoints: the student as users load it, and the projections in a separate file

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        if not self.args.should_save:
            return
        with recorded(output_dir or self.args.output_dir) as temporary:
            if isinstance(self.model, ProjectedStudent):
                self.model.save_pretrained(str(temporary), state_dict)
                self.processing_class.save_pretrained(temporary)
            else:
                super()._save(str(temporary), state_dict)
            save_pipeline(temporary)

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        super()._save_checkpoint(model, trial)
        self.accelerator.wait_for_everyone()
        folder = Path(self._get_output_dir(trial=trial), f"checkpoint-{self.state.global_step}")
        if self.args.should_save and folder.exists():
            record_checkpoint(folder)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        if isinstance(self.model, ProjectedStudent):
            self.model.load_pretrained(resume_from_checkpoint)
        else:
            super()._load_from_checkpoint(resume_from_checkpoint, model)

    def _load_best_model(self) -> None:
        if isinstance(self.model, ProjectedStudent) and not self.is_fsdp_enabled and not self.is_deepspeed_enabled:
            assert self.state.best_model_checkpoint is not None  # else Trainer does not call this
            self.model.load_pretrained(self.state.best_model_checkpoint)
        else:
            super()._load_best_model()

    # The Hub

    def init_hf_repo(self, token: str | None = None, private: bool | None = None) -> None:
        """As in `Trainer`; also creates the branch `args.hub_revision`."""
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


def check_attentions(model: PreTrainedModel) -> None:
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


def check_processes(args: DistillationArguments) -> None:
    """Raise a UserError for several GPUs in one process, where Trainer would use DataParallel."""
    if args.n_gpu > 1:
        raise UserError(
            f"{args.n_gpu} GPUs but one process: start it with `accelerate launch --num_processes {args.n_gpu}`, or "
            "make a single GPU visible (CUDA_VISIBLE_DEVICES=0)."
        )
