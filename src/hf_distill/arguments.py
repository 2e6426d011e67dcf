"""What a run can be told: dataclasses for `HfArgumentParser`, checked as soon as they are made."""

from dataclasses import dataclass, field
from pathlib import Path

import torch
from transformers import TrainingArguments
from transformers.utils import logging

logger = logging.get_logger(__name__)

# For the reference's own models; another student family brings its own sizes.
TINYBERT_HEADS = 12
# At 1e-3 a new TinyBERT comes to predict O everywhere, with and without warm-up.
LEARNING_RATES = {"bilstm": 1e-3, "tinybert": 3e-4, "auto": 1e-4}
STUDENT_DEFAULTS = {"bilstm": {"n_layers": 2, "hidden_size": 300}, "tinybert": {"n_layers": 4, "hidden_size": 312}}


def _option(default, help: str, **metadata):
    if isinstance(default, list):
        return field(default_factory=list, metadata={"help": help, **metadata})
    return field(default=default, metadata={"help": help, **metadata})


def _check(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


def _quick_in_bf16(use_cpu: bool) -> bool:
    """Whether this machine computes faster in bf16 than in fp32."""
    if torch.cuda.is_available() and not use_cpu:
        return torch.cuda.is_bf16_supported(including_emulation=False)
    # A CPU that has bf16 from AVX-512 alone is half as fast in it.
    return bool(torch.cpu.get_capabilities().get("amx_bf16"))


@dataclass
class ModelArguments:
    """Teacher and student.

    Example:
        >>> small = ModelArguments(embedding_type="svd", embedding_size=128, hidden_size=128)
        >>> bert = ModelArguments(model_name="tinybert", student_layers=[0, 2, 5])
    """

    task_name: str = _option("ner", "The task.", choices=["ner"])
    model_name: str = _option(
        "bilstm",
        "The student: a BiLSTM, a TinyBERT (BERT with 4 layers of 312), or auto for the architecture of "
        "--student_model_name_or_path.",
        choices=["bilstm", "tinybert", "auto"],
    )
    teacher_model_name_or_path: list[str] = _option(
        [], "Hub id or folder of the teacher; of several teachers the probabilities are averaged."
    )
    teacher_checkpoint: str | None = _option(
        None,
        "A bare state dict (torch.save) for the teacher; --teacher_model_name_or_path then gives its architecture.",
    )
    teacher_labels: list[str] = _option([], "Labels of the teacher's head, in order, where its configuration has none.")
    student_model_name_or_path: str | None = _option(None, "Hub id or folder to start the student from.")
    student_checkpoint: str | None = _option(None, "A bare state dict (torch.save) to start the student from.")
    student_layers: list[int] = _option(
        [], "tinybert only: start from these layers of the teacher (0 is the first), its embeddings and its head."
    )
    tokenizer_name: str | None = _option(
        None, "The student's tokenizer. Default: the student's own, else the teacher's."
    )
    vocabulary_size: int = _option(
        0,
        "Learn a vocabulary of so many subwords from the training text, with a tokenizer of that kind (WordPiece or "
        "BPE); 0: the tokenizer as it is.",
    )
    embedding_type: str = _option(
        "train",
        "bilstm only: train: a new table; bert: the teacher's embedding module; svd: the teacher's word embeddings "
        "(carried over, where the student's tokenizer is another), reduced to --embedding_size where that is smaller, "
        "scaled to unit variance.",
        choices=["train", "bert", "svd"],
    )
    embedding_size: int = _option(300, "bilstm only: dimensions of an embedding.")
    hidden_size: int | None = _option(
        None, "LSTM units per direction (default 300), or hidden size of a TinyBERT (default 312)."
    )
    classifier_size: int = _option(0, "bilstm only: width of the head's hidden layer; 0: a single linear layer.")
    n_layers: int | None = _option(None, "Layers of a new student (default: 2 for bilstm, 4 for tinybert).")
    dropout: float | None = _option(None, "Dropout of a new student (default: 0.5 for bilstm, 0.1 for tinybert).")
    embedding_dropout: float = _option(0.0, "bilstm only: dropout of the embeddings.")
    trust_remote_code: bool = _option(False, "Allow models whose code comes with their Hub repository.")

    def __post_init__(self):
        _check(self.dropout is None or 0 <= self.dropout < 1, f"--dropout must be in [0, 1), got {self.dropout}.")
        _check(0 <= self.embedding_dropout < 1, f"--embedding_dropout must be in [0, 1), got {self.embedding_dropout}.")
        for name in ("embedding_size", "hidden_size", "n_layers"):
            value = getattr(self, name)
            _check(value is None or value > 0, f"--{name} must be positive, got {value}.")
        for name in ("classifier_size", "vocabulary_size"):
            _check(getattr(self, name) >= 0, f"--{name} must not be negative, got {getattr(self, name)}.")
        hidden_size = self.hidden_size if self.model_name == "tinybert" else None
        _check(
            hidden_size is None or hidden_size % TINYBERT_HEADS == 0,
            f"--hidden_size of a tinybert must be a multiple of {TINYBERT_HEADS}, got {hidden_size}.",
        )
        sizes = ("hidden_size", "n_layers", "classifier_size", "vocabulary_size")
        new = [name for name in ("student_layers", *sizes, "dropout", "embedding_dropout") if getattr(self, name)]
        new += ["embedding_type"] * (self.embedding_type != "train")
        _check(
            not (self.student_model_name_or_path and new),
            f"--{' and --'.join(new)} describe a new student; --student_model_name_or_path loads one as it is.",
        )
        _check(
            self.model_name != "auto" or bool(self.student_model_name_or_path),
            "--model_name auto needs --student_model_name_or_path.",
        )
        kinds = (("student_layers", "tinybert"), ("classifier_size", "bilstm"), ("embedding_dropout", "bilstm"))
        for name, only in kinds:
            _check(
                not getattr(self, name) or self.model_name == only,
                f"--{name} is for --model_name {only}, not {self.model_name}.",
            )
        _check(
            self.embedding_type == "train" or self.model_name == "bilstm",
            f"--embedding_type {self.embedding_type} is for --model_name bilstm, not {self.model_name}.",
        )
        kept = {
            "embedding_type bert": self.embedding_type == "bert",
            "student_layers": self.student_layers,
            "student_checkpoint": self.student_checkpoint,
        }
        taken = [name for name, given in kept.items() if given]
        _check(
            not (self.vocabulary_size and taken),
            f"--vocabulary_size learns another vocabulary than --{' and --'.join(taken)} brings along; leave one out.",
        )
        _check(
            not (self.teacher_checkpoint and len(self.teacher_model_name_or_path) != 1),
            "--teacher_checkpoint needs exactly one --teacher_model_name_or_path, which gives its architecture.",
        )


@dataclass
class DataArguments:
    """Corpora."""

    path_to_train: str | None = _option(None, "Training corpus: TSV, a token and its tag per line, IOB2 or IOBES.")
    path_to_val: str | None = _option(None, "Development corpus, same format; chooses the best checkpoint.")
    path_to_test: str | None = _option(None, "Test corpus, same format; chooses nothing.")
    path_to_unlabeled: list[str] = _option([], "Plain text files (.gz too), a sentence a line, words split at blanks.")
    dataset_name: str | None = _option(
        None,
        "A Hub dataset (or local folder) with token and tag columns, in place of --path_to_train and its siblings.",
    )
    dataset_config_name: str | None = _option(None, "The Hub dataset's configuration.")
    token_column: str = _option("tokens", "The Hub dataset's column of words.")
    tag_column: str = _option("ner_tags", "The Hub dataset's column of tags, as text or ClassLabel.")
    tag_scheme: str | None = _option(
        None,
        "The tag scheme that the student learns. Default: IOBES; IOB2 from an IOB2 teacher asked at every step.",
        choices=["IOB2", "IOBES"],
    )
    drop_leaked: bool = _option(
        False,
        "Drop from the training, augmented and unlabelled data every sentence that also stands in devel or test data.",
    )
    transfer_sentences: int = _option(
        0,
        "How many sentences without labels the student learns from: a random choice of the unlabelled ones, and where "
        "those are fewer, augmented ones for the rest; 0: all unlabelled ones.",
    )
    augmentation_rounds: int = _option(
        0, "Rounds of augmentation; each makes a new sentence of every training sentence by each method below."
    )
    lwtr_p: float = _option(
        0.5, "Probability that a token becomes a random training token of the same tag; 0 leaves the method out."
    )
    mr_p: float = _option(0.5, "Probability that a mention becomes another training mention; 0 leaves the method out.")
    sis_p: float = _option(
        0.5, "Probability that a mention, or a run of O tokens, is shuffled; 0 leaves the method out."
    )
    mr_across_types: bool = _option(False, "Replace mentions by mentions of any entity type, not only of the same.")
    save_augmented: str | None = _option(None, "Write the training corpus with its augmented sentences to this TSV.")
    max_seq_length: int | None = _option(
        None, "Subwords per window; longer sentences are cut into overlapping windows. Default: the model's limit."
    )

    def __post_init__(self):
        paths = [name for name in ("path_to_train", "path_to_val", "path_to_test") if getattr(self, name)]
        _check(
            not (self.dataset_name and paths),
            f"--dataset_name takes its splits from the dataset; leave out --{' and --'.join(paths)}.",
        )
        _check(
            bool(self.dataset_name or (self.path_to_train and self.path_to_val)),
            "Training and development data are needed: --path_to_train and --path_to_val, or --dataset_name.",
        )
        for name in ("augmentation_rounds", "transfer_sentences"):
            _check(getattr(self, name) >= 0, f"--{name} must not be negative, got {getattr(self, name)}.")
        _check(
            not (self.transfer_sentences and self.augmentation_rounds),
            "--transfer_sentences says itself how much is augmented; leave out --augmentation_rounds.",
        )
        for name in ("lwtr_p", "mr_p", "sis_p"):
            _check(0 <= getattr(self, name) <= 1, f"--{name} must be in [0.0, 1.0], got {getattr(self, name)}.")
        _check(
            not (self.augmentation_rounds or self.transfer_sentences) or bool(self.lwtr_p or self.mr_p or self.sis_p),
            "Augmentation needs a method: --lwtr_p, --mr_p or --sis_p above 0.",
        )
        _check(
            not self.save_augmented or bool(self.augmentation_rounds or self.transfer_sentences),
            "--save_augmented needs --augmentation_rounds or --transfer_sentences.",
        )
        read = [self.path_to_train, self.path_to_val, self.path_to_test, *self.path_to_unlabeled]
        _check(
            not self.save_augmented
            or Path(self.save_augmented).resolve() not in [Path(path).resolve() for path in read if path],
            f"--save_augmented would overwrite {self.save_augmented}, which the run reads; choose another name.",
        )
        _check(
            self.max_seq_length is None or self.max_seq_length >= 16,
            f"--max_seq_length must be at least 16, got {self.max_seq_length}.",
        )


@dataclass
class DistillationArguments(TrainingArguments):
    """`TrainingArguments` with defaults that train a student well, and what distillation adds to them.

    Example:
        >>> args = DistillationArguments("student", logit_loss="ce", temperature=2.0, alpha=0.1, num_train_epochs=3)
    """

    # Defaults of our own
    output_dir: str | None = _option("", "Where everything goes. Default: outputs/MODEL_NAME[-COMMENT].")
    learning_rate: float | None = _option(
        None, "The student's initial learning rate. Default: 1e-3 for bilstm, 3e-4 for tinybert, 1e-4 for auto."
    )
    num_train_epochs: float = _option(10.0, "Passes over the student's training data.")
    per_device_train_batch_size: int = _option(32, "Sentences per device and step.")
    per_device_eval_batch_size: int = _option(64, "Sentences per device and evaluation step.")
    label_smoothing_factor: float = _option(0.1, "Label smoothing of the hard-label loss.")
    do_train: bool = _option(True, "Train the student.")
    eval_strategy: str | None = _option(
        None, "no, steps or epoch. Default: steps if --eval_steps is given, else epoch."
    )
    save_strategy: str | None = _option(None, "no, steps, epoch or best. Default: as --eval_strategy.")
    save_total_limit: int | None = _option(2, "Checkpoints to keep.")
    load_best_model_at_end: bool = _option(True, "End with the checkpoint that is best by --metric_for_best_model.")
    metric_for_best_model: str | None = _option("f1", "Development metric that chooses the best checkpoint.")
    train_sampling_strategy: str = _option(
        "group_by_length", "Order of training sentences: group_by_length (batches of one length), random or sequential."
    )
    restore_callback_states_from_checkpoint: bool = _option(
        True, "Resume with the callbacks' state, such as the patience that is left."
    )
    bf16: bool | None = _option(
        None, "Compute in bf16. Default: where that is quicker, on a GPU that has it and on a CPU with AMX."
    )
    ddp_find_unused_parameters: bool | None = _option(False, "Passed to DistributedDataParallel.")

    # Distillation
    distillation: bool = _option(True, "Learn from the teacher; 0 trains the same student on the labels alone.")
    alpha: float = _option(0.0, "Weight of the hard-label loss: loss = alpha * CE + (1 - alpha) * KD.")
    logit_loss: str = _option(
        "mse", "Loss between logits: mse, or soft cross-entropy (ce) with --temperature.", choices=["mse", "ce"]
    )
    temperature: float = _option(1.0, "Softens both distributions; --logit_loss ce only.")
    embedding_loss_weight: float | None = _option(
        None, "Weight of the loss between embedding outputs. Default: 1 for --model_name tinybert, else 0."
    )
    hidden_loss_weight: float | None = _option(
        None, "Weight of the loss between hidden states. Default: 1 for --model_name tinybert, else 0."
    )
    attention_loss_weight: float | None = _option(
        None, "Weight of the loss between attention probabilities. Default: 1 for --model_name tinybert, else 0."
    )
    early_stopping_patience: int | None = _option(None, "Stop after so many evaluations without a better one.")
    signals_dir: str | None = _option(
        None,
        "Where the teacher's word logits are kept between runs. Default: hf_distill/signals in the Hugging Face cache.",
    )
    min_teacher_f1: float = _option(0.1, "Stop before training if the teacher's F1 on the development data is below.")
    do_train_teacher: bool = _option(
        False, "First fine-tune the given encoder on the training data; it is the teacher."
    )
    teacher_learning_rate: float = _option(1e-4, "Initial learning rate of --do_train_teacher.")
    teacher_num_train_epochs: float = _option(8.0, "Epochs of --do_train_teacher.")
    do_train_baseline: bool = _option(
        False, "Also train a student of this kind that takes nothing from the teacher, to compare."
    )
    measure_time: bool = _option(
        False, "At the end measure latency, throughput, size and memory of teacher and student on the development data."
    )
    export: str | None = _option(
        None,
        "onnx: also write the student for ONNX Runtime, onnx/model.onnx and onnx/model_quantized.onnx (int8), checked "
        "against PyTorch on the development data.",
        choices=["onnx"],
    )
    comment: str = _option("", "Appended to the default name of the output folder.")

    # The model card
    license: str | None = _option(
        None, "The student's licence, by its Hub identifier (apache-2.0), for the model card."
    )
    language: list[str] = _option([], "Languages of the text, by ISO 639 codes (en), for the model card.")
    card_template: str | None = _option(
        None, "A Jinja template of your own for the model card; model_card_template.md says what it is given."
    )
    widget_examples: list[str] = _option(
        [],
        "Texts to try the student on, for the model card. Default: development sentences of a Hub dataset, else none.",
    )

    def __post_init__(self):
        _check(0 <= self.alpha <= 1, f"--alpha must be in [0.0, 1.0], got {self.alpha}.")
        _check(self.temperature > 0, f"--temperature must be above 0, got {self.temperature}.")
        _check(
            0 <= self.label_smoothing_factor < 1,
            f"--label_smoothing_factor must be in [0.0, 1.0), got {self.label_smoothing_factor}.",
        )
        for name in ("per_device_train_batch_size", "per_device_eval_batch_size", "gradient_accumulation_steps"):
            _check(getattr(self, name) >= 1, f"--{name} must be at least 1, got {getattr(self, name)}.")
        for name in ("learning_rate", "teacher_learning_rate", "num_train_epochs", "teacher_num_train_epochs"):
            _check((getattr(self, name) or 0) >= 0, f"--{name} must not be negative, got {getattr(self, name)}.")
        _check(0 <= self.min_teacher_f1 <= 1, f"--min_teacher_f1 must be in [0.0, 1.0], got {self.min_teacher_f1}.")
        patience = self.early_stopping_patience
        _check(not patience or self.eval_strategy != "no", "--early_stopping_patience needs an --eval_strategy.")
        _check(patience is None or patience >= 1, f"--early_stopping_patience must be at least 1, got {patience}.")
        for name in ("embedding_loss_weight", "hidden_loss_weight", "attention_loss_weight"):
            _check((getattr(self, name) or 0) >= 0, f"--{name} must not be negative, got {getattr(self, name)}.")
        _check(
            self.train_sampling_strategy != "batch_rebalance",
            "--train_sampling_strategy batch_rebalance is not supported; use group_by_length, random or sequential.",
        )
        template = self.card_template
        _check(template is None or Path(template).is_file(), f"--card_template: there is no file {template}.")
        if self.eval_strategy is None:
            self.eval_strategy = "steps" if self.eval_steps else "epoch"
        if self.save_strategy is None:
            self.save_strategy = self.eval_strategy
            if self.save_strategy != "steps" and self.save_steps != TrainingArguments.save_steps:
                logger.warning(f"save_steps is not used: checkpoints follow --eval_strategy {self.eval_strategy}.")
        if self.load_best_model_at_end and self.eval_strategy == self.save_strategy == "steps" and self.eval_steps:
            rounded = -(-self.save_steps // self.eval_steps) * self.eval_steps
            if self.save_steps >= 1 and rounded != self.save_steps:
                logger.warning(
                    f"save_steps {self.save_steps:g} becomes {rounded:g}: the best checkpoint can only be kept where "
                    f"one is evaluated, every {self.eval_steps:g} steps."
                )
                self.save_steps = rounded
        self.label_names = ["labels"]
        if self.bf16 is None:
            self.bf16 = not self.fp16 and _quick_in_bf16(self.use_cpu)
        if not torch.accelerator.is_available():
            self.use_cpu = True  # without being told so, transformers refuses bf16 on a CPU
        super().__post_init__()
        if self.device.type == "cpu":
            self.dataloader_pin_memory = False  # pinning serves transfers to an accelerator

    @property
    def intermediate_losses(self) -> bool:
        """Whether the student also learns from the teacher's embeddings, hidden states or attentions."""
        weights = (self.embedding_loss_weight, self.hidden_loss_weight, self.attention_loss_weight)
        return self.do_train and self.distillation and self.alpha < 1 and any(weights)


@dataclass
class PredictionArguments:
    """What `predict` can be told."""

    model: str = field(metadata={"help": "Hub id or folder of a token classifier; the first word after predict."})
    input: list[str] = field(
        metadata={
            "help": "Files (.gz too): .txt, a text per line; .jsonl, objects with `text` or else `tokens` (a list of "
            "words); .tsv, a word and any further columns per line, an empty line between sentences."
        }
    )
    output: str = field(
        metadata={
            "help": "The file to write: .jsonl, the fields of a line of JSONL input, or else `text`, and `mentions`, "
            "whose offsets count characters of the text (words count as joined by blanks); .tsv, the input's columns "
            "and last the predicted tag."
        }
    )
    runtime: str = _option(
        "auto",
        "int8 or onnx: the model's ONNX file in ONNX Runtime; pytorch; auto: PyTorch on a GPU, else the first of these "
        "that the model has.",
        choices=["auto", "int8", "onnx", "pytorch"],
    )
    trust_remote_code: bool = _option(False, "Allow models whose code comes with their Hub repository.")


@dataclass
class ReportArguments:
    """What `report` can be told."""

    folders: list[str] = field(metadata={"help": "Output folders of runs; the words that follow report."})
    output: str = _option("report.html", "The page to write.")
