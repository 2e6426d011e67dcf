"""Arguments of the commands: dataclasses for a parser that check their values on creation.

Neither torch nor transformers is imported here, so that --help and what needs neither start at once.
"""

import sys
from dataclasses import dataclass, field
from pathlib import Path

from .runtime.schemes import SCHEMES
from .runtime.tags import UserError
from .runtime.word_features import MOST_ROWS

# How this program is called: without an installation there is the script alone.
PROGRAM = "run_distill.py" if Path(sys.argv[0]).name == "run_distill.py" else "hf-distill"
COMMAND = f"python {PROGRAM}" if PROGRAM.endswith(".py") else PROGRAM
TINYBERT_HEADS = 12
# At 1e-3 a new TinyBERT collapses to predicting O everywhere, with and without warm-up.
LEARNING_RATES = {"bilstm": 1e-3, "tinybert": 3e-4, "auto": 1e-4}
TAG_SCHEMES = list(SCHEMES)
# Formats of annotation tools, and the endings that their files may have; brat has a folder.
ANNOTATION_FORMATS = {
    "labelstudio": (".json",),
    "doccano": (".jsonl",),
    "prodigy": (".jsonl",),
    "pubtator": (".pubtator", ".txt"),
    "brat": ("",),
    "conll": (".conll", ".tsv", ".txt"),
}
LABELLERS = ("openai", "gliner", "spacy", "hf")
INPUT_FORMATS = "tsv conll jsonl pubtator brat bioc spacy".split()
STUDENT_DEFAULTS = {"bilstm": {"n_layers": 2, "hidden_size": 300}, "tinybert": {"n_layers": 4, "hidden_size": 312}}


def option(default, help: str, **metadata):
    if isinstance(default, list):
        return field(default_factory=list, metadata={"help": help, **metadata})
    return field(default=default, metadata={"help": help, **metadata})


def check(condition: bool, message: str) -> None:
    if not condition:
        raise UserError(message)


@dataclass
class ModelArguments:
    """Arguments of the teacher and the student.

    Examples:
        >>> small = ModelArguments(embedding_type="svd", embedding_size=128, hidden_size=128)
        >>> three_layers = ModelArguments(model_name="auto", student_layers=[0, 2, 5])
    """

    task_name: str = option("ner", "The task.", choices=["ner"])
    model_name: str = option(
        "bilstm",
        "Architecture of the student: a BiLSTM, a TinyBERT (BERT with 4 layers of 312), or auto: that of "
        "--student_model_name_or_path (the default with one), or with --student_layers the teacher's.",
        choices=["bilstm", "tinybert", "auto"],
    )
    teacher_model_name_or_path: list[str] = option(
        [], "Hub id or folder of the teacher; the probabilities of several teachers are averaged."
    )
    annotation_confidence: float | None = option(
        None,
        "--path_to_annotations: the probability of every mention; 1: answers are labels. Default: its score; without "
        "scores the share of the words of mentions that is right in the development data, where that is answered.",
    )
    teacher_checkpoint: str | None = option(
        None,
        "A bare state dict (torch.save) for the teacher; --teacher_model_name_or_path then gives its architecture.",
    )
    teacher_labels: list[str] = option(
        [], "Label names of the teacher's head, in order, if its configuration has none."
    )
    teacher_scheme: str | None = option(
        None, "Tag scheme of the teacher's labels; flat: bare entity types. Default: detected.", choices=TAG_SCHEMES
    )
    student_model_name_or_path: str | None = option(None, "Hub id or folder of a student to initialise from.")
    student_checkpoint: str | None = option(None, "A bare state dict (torch.save) to initialise the student from.")
    student_layers: list[int] = option(
        [],
        "auto, or tinybert if the teacher is a BERT: initialise from these layers of the teacher (0 is the first), its "
        "embeddings and its head.",
    )
    tokenizer_name: str | None = option(
        None,
        "The student's tokenizer. Default: that of --student_model_name_or_path, of --embeddings_from, else the "
        "teacher's.",
    )
    vocabulary_size: int = option(
        0,
        "Train a tokenizer with this many subwords on the training text: WordPiece if the given one is, else "
        "byte-level BPE; 0: use the tokenizer unchanged.",
    )
    prune_vocabulary: bool = option(
        False,
        "Remove from the student's embeddings and tokenizer the subwords that the training text does not use, except "
        "single characters: smaller, with the same answers on that text.",
    )
    add_prefix_space: bool | None = option(
        None,
        "Whether a byte-level tokenizer puts a blank before each word, as in running text; 0: lists of words are cut "
        "by its own settings, as transformers' run_ner.py does. Default: a fine-tuned model is tried both ways on the "
        "development data; otherwise 1. What this package saved stays as it is.",
    )
    embedding_type: str = option(
        "train",
        "bilstm only: train: randomly initialised; bert: the teacher's embedding module; svd: the teacher's word "
        "embeddings (transferred to the student's tokenizer if that differs), reduced by SVD if --embedding_size is "
        "smaller, scaled to unit variance.",
        choices=["train", "bert", "svd"],
    )
    embeddings_from: str | None = option(
        None,
        "--embedding_type svd: Hub id or folder of an encoder whose word embeddings (and, by default, tokenizer) are "
        "taken instead of the teacher's.",
    )
    embedding_size: int = option(300, "bilstm only: embedding dimension, of each stack.")
    word_feature_rows: int = option(
        0,
        "bilstm only: add to each subword's embedding those of its word's shape, beginning and end, hashed into this "
        "many rows each, so that a student with a lower-casing tokenizer sees case. Only labels teach it what case "
        "means (--alpha). 0: none.",
    )
    hidden_size: int | None = option(
        None, "LSTM units per direction (default: 300), or hidden size of a TinyBERT (default: 312)."
    )
    classifier_size: int = option(
        0, "bilstm only: size of the head's hidden layer; 0: the head is a single linear layer."
    )
    n_layers: int | None = option(None, "Number of layers of a new student (default: 2 for bilstm, 4 for tinybert).")
    n_stacks: int = option(
        1,
        "bilstm only: number of such stacks of layers side by side, each with embeddings of its own (but those of "
        "--embedding_type bert), whose outputs are averaged: an ensemble in one student. In training each sentence is "
        "read by one of them, so that they need as many times the epochs.",
    )
    dropout: float | None = option(
        None,
        "Dropout of a new student. --preset original: 0.5 for bilstm. For tinybert 0.1, with --student_layers the "
        "teacher's.",
    )
    embedding_dropout: float = option(0.0, "bilstm only: dropout of the embeddings.")
    trust_remote_code: bool = option(False, "Allow models whose code comes with their Hub repository.")

    def __post_init__(self):
        check(self.dropout is None or 0 <= self.dropout < 1, f"--dropout must be in [0, 1), got {self.dropout}.")
        check(0 <= self.embedding_dropout < 1, f"--embedding_dropout must be in [0, 1), got {self.embedding_dropout}.")
        for name in ("embedding_size", "hidden_size", "n_layers", "n_stacks"):
            value = getattr(self, name)
            check(value is None or value > 0, f"--{name} must be positive, got {value}.")
        for name in ("classifier_size", "vocabulary_size"):
            check(getattr(self, name) >= 0, f"--{name} must not be negative, got {getattr(self, name)}.")
        rows = self.word_feature_rows
        check(0 <= rows <= MOST_ROWS, f"--word_feature_rows must be from 0 to {MOST_ROWS:,}, got {rows}.")
        hidden_size = self.hidden_size if self.model_name == "tinybert" else None
        check(
            hidden_size is None or hidden_size % TINYBERT_HEADS == 0,
            f"--hidden_size of a tinybert must be a multiple of {TINYBERT_HEADS}, got {hidden_size}.",
        )
        confidence = self.annotation_confidence
        check(
            confidence is None or 0.5 < confidence <= 1,
            f"--annotation_confidence must be above 0.5 and at most 1, got {confidence}.",
        )
        check(
            not self.embeddings_from or self.embedding_type == "svd",
            f"--embeddings_from is for --embedding_type svd, not {self.embedding_type}.",
        )
        sizes = ("hidden_size", "n_layers", "classifier_size", "vocabulary_size", "word_feature_rows")
        given = [name for name in ("student_layers", *sizes, "dropout", "embedding_dropout") if getattr(self, name)]
        given += ["n_stacks"] * (self.n_stacks > 1)
        given += ["embedding_type"] * (self.embedding_type != "train")
        check(
            not (self.student_model_name_or_path and given),
            f"--{' and --'.join(given)} describe a new student; --student_model_name_or_path loads one unchanged.",
        )
        check(
            self.model_name != "auto" or bool(self.student_model_name_or_path or self.student_layers),
            "--model_name auto needs --student_model_name_or_path or --student_layers.",
        )
        check(
            not self.student_layers or self.model_name != "bilstm",
            "--student_layers is for --model_name auto or tinybert, not bilstm.",
        )
        other_sizes = [name for name in ("hidden_size", "n_layers") if getattr(self, name)]
        check(
            not (self.student_layers and other_sizes),
            f"--student_layers gives the student the teacher's sizes; leave out --{' and --'.join(other_sizes)}.",
        )
        own = {name: getattr(self, name) for name in ("classifier_size", "embedding_dropout", "word_feature_rows")}
        for name, used in (own | {"n_stacks": self.n_stacks > 1}).items():
            check(
                not used or self.model_name == "bilstm",
                f"--{name} is for --model_name bilstm, not {self.model_name}.",
            )
        check(
            self.embedding_type == "train" or self.model_name == "bilstm",
            f"--embedding_type {self.embedding_type} is for --model_name bilstm, not {self.model_name}.",
        )
        fix_vocabulary = {
            "embedding_type bert": self.embedding_type == "bert",
            "student_layers": self.student_layers,
            "student_checkpoint": self.student_checkpoint,
        }
        conflicting = [name for name, value in fix_vocabulary.items() if value]
        check(
            not (self.vocabulary_size and conflicting),
            f"--vocabulary_size trains another vocabulary than --{' and --'.join(conflicting)} brings along; leave one "
            "out.",
        )
        check(
            not (self.vocabulary_size and self.prune_vocabulary),
            "--prune_vocabulary is for a tokenizer that is not learnt; leave out it or --vocabulary_size.",
        )
        check(
            not (self.teacher_checkpoint and len(self.teacher_model_name_or_path) != 1),
            "--teacher_checkpoint needs exactly one --teacher_model_name_or_path, which gives its architecture.",
        )

    @property
    def teacher_parts(self) -> list[str]:
        """The options by which a new student takes parts of a teacher."""
        embeddings = self.embedding_type != "train" and not self.embeddings_from
        layers = ["--student_layers"] if self.student_layers else []
        return [f"--embedding_type {self.embedding_type}"] * embeddings + layers


@dataclass(kw_only=True)
class FormatArguments:
    """Arguments of the formats of labelled corpora."""

    input_format: str | None = option(
        None,
        "Format of the corpora. Default: by ending (.tsv, .jsonl, .pubtator, .xml, .spacy; folder: brat) and content.",
        choices=INPUT_FORMATS,
    )
    token_column: str | None = option(
        None, "Column of words: its name in a dataset or JSON (default: tokens), its number in a file (default: 1)."
    )
    tag_column: str | None = option(
        None,
        "Column of tags: its name in a dataset or JSON (default: ner_tags), its number in a file (default: the last).",
    )
    tag_names: list[str] = option([], "The tags that integer tags of the corpora stand for, in order (O B-GENE ...).")
    input_scheme: str | None = option(
        None, "Tag scheme of the corpora; flat: bare entity types. Default: detected in each.", choices=TAG_SCHEMES
    )
    entity_type: str | None = option(None, "The entity type of corpora and teachers whose tags name none (B, I, O).")
    misaligned: str | None = option(
        None,
        "A mention that begins or ends inside a word: split the word there, widen the mention to the whole word, or "
        "drop it. Default: the run stops.",
        choices=["split", "widen", "drop"],
    )
    nested: str | None = option(
        None,
        "Of mentions that overlap keep the longest, or the first. Default: the run stops.",
        choices=["longest", "first"],
    )


@dataclass
class DataArguments(FormatArguments):
    """Arguments of the corpora, of augmentation and of the windows."""

    path_to_train: str | None = option(
        None,
        "Training corpus: a word and its tag per line (.tsv, .conll), texts with mentions or words with tags (.jsonl), "
        "PubTator, BioC, .spacy, or a folder of brat.",
    )
    path_to_val: str | None = option(None, "Development corpus, same format; selects the best checkpoint.")
    path_to_test: str | None = option(None, "Test corpus, same format; only evaluated.")
    path_to_annotations: list[str] = option(
        [],
        "Files of texts with the mentions that a labeller finds in them (as `annotate` writes, or in any format of "
        "corpora): they are learnt from like a teacher's answers, mentions by their `score`. A labeller for each "
        "`source`, else for each file. The texts need not be given again.",
    )
    path_to_unlabeled: list[str] = option(
        [],
        "Files of text, a sentence or a document per line: .jsonl (objects with `text` or `tokens`), .parquet, or "
        "plain text with any other name; running text is split into words like those of the training data.",
    )
    unlabeled_dataset: str | None = option(
        None, "A Hub dataset (or local folder) of text or lists of words; up to --transfer_sentences rows are read."
    )
    unlabeled_dataset_config_name: str | None = option(None, "Configuration of that dataset.")
    unlabeled_column: str | None = option(
        None, "Column of the unlabelled text in .jsonl, .parquet and --unlabeled_dataset. Default: text, else tokens."
    )
    dataset_name: str | None = option(
        None,
        "A Hub dataset (or local folder) with token and tag columns, instead of --path_to_train, _val and _test.",
    )
    dataset_config_name: str | None = option(None, "Configuration of the dataset.")
    validation_fraction: float | None = option(
        None, "Without development data: take this fraction of the training sentences for that, drawn by --seed."
    )
    rename_types: list[str] = option(
        [], "Other names for entity types of the corpora and teachers, OLD=NEW, case-sensitive."
    )
    entity_aliases: str | None = option(
        None,
        "biomedical: one name for each of PROTEIN and GGP (GENE), CL (CELL_TYPE), CHEBI (CHEMICAL), SPECIES (TAXON), "
        "CELLLINE (CELL_LINE), in any case.",
        choices=["biomedical"],
    )
    tag_scheme: str = option("IOBES", "Tag scheme of the student.", choices=["IOB2", "IOBES"])
    drop_leaked: bool = option(
        False,
        "Drop every sentence of the training, augmented and unlabelled data that also occurs in devel or test data.",
    )
    transfer_sentences: int = option(
        0,
        "Number of sentences beside the training data to distil on: a random sample of the unlabelled sentences, "
        "filled up with augmented ones if there are too few (not with --path_to_annotations); 0: all unlabelled ones.",
    )
    augmentation_rounds: int = option(
        0, "Rounds of augmentation; each round creates one sentence per training sentence and method below."
    )
    lwtr_p: float = option(
        0.5, "Probability that a token is replaced by a random training token of the same tag; 0 disables the method."
    )
    mr_p: float = option(
        0.5, "Probability that a mention is replaced by another training mention; 0 disables the method."
    )
    sis_p: float = option(0.5, "Probability that a mention, or a run of O tokens, is shuffled; 0 disables the method.")
    mr_across_types: bool = option(False, "Replace mentions by mentions of any entity type, not only of the same type.")
    save_augmented: str | None = option(
        None, "Write the training corpus with its augmented sentences to this TSV file."
    )
    max_seq_length: int | None = option(
        None,
        "Subwords per window; longer sentences are split into overlapping windows. The saved tokenizer has it for its "
        "limit, where transformers' own pipeline cuts texts unless given a stride. Default: the model's limit.",
    )

    def __post_init__(self):
        paths = [name for name in ("path_to_train", "path_to_val", "path_to_test") if getattr(self, name)]
        check(
            not (self.dataset_name and paths),
            f"--dataset_name takes its splits from the dataset; leave out --{' and --'.join(paths)}.",
        )
        fraction = self.validation_fraction
        check(
            bool(self.dataset_name or (self.path_to_train and (self.path_to_val or fraction)))
            or bool(self.path_to_annotations and self.path_to_val),
            "Training and development data are needed: --path_to_train and --path_to_val (or --validation_fraction), "
            "or --dataset_name; or, without labels of people to learn from, --path_to_annotations and --path_to_val.",
        )
        check(
            bool(self.dataset_name or self.path_to_train) or not (fraction or self.augmentation_rounds),
            "--validation_fraction and --augmentation_rounds take labelled sentences: give --path_to_train.",
        )
        check(fraction is None or 0 < fraction < 1, f"--validation_fraction must be in (0, 1), got {fraction}.")
        check(
            not (fraction and self.path_to_val),
            "--validation_fraction takes development data from the training data; leave out it or --path_to_val.",
        )
        for pair in self.rename_types:
            old, _, new = pair.partition("=")
            whole = old.strip() and new.strip() and new != "O"
            check(bool(whole), f"--rename_types takes pairs of entity types (without B-, I-), OLD=NEW, not {pair!r}.")
        old_types = [pair.partition("=")[0] for pair in self.rename_types]
        twice = sorted({old for old in old_types if old_types.count(old) > 1})
        check(not twice, f"--rename_types gives {', '.join(twice)} two names.")
        for name in ("augmentation_rounds", "transfer_sentences"):
            check(getattr(self, name) >= 0, f"--{name} must not be negative, got {getattr(self, name)}.")
        check(
            not (self.transfer_sentences and self.augmentation_rounds),
            "--transfer_sentences already sets the amount of augmentation; leave out --augmentation_rounds.",
        )
        for name in ("lwtr_p", "mr_p", "sis_p"):
            check(0 <= getattr(self, name) <= 1, f"--{name} must be in [0.0, 1.0], got {getattr(self, name)}.")
        check(
            not (self.augmentation_rounds or self.transfer_sentences) or bool(self.lwtr_p or self.mr_p or self.sis_p),
            "Augmentation needs a method: --lwtr_p, --mr_p or --sis_p above 0.",
        )
        check(
            not self.save_augmented or bool(self.augmentation_rounds or self.transfer_sentences),
            "--save_augmented needs --augmentation_rounds or --transfer_sentences.",
        )
        read = [self.path_to_train, self.path_to_val, self.path_to_test, *self.path_to_unlabeled]
        check(
            not self.save_augmented
            or Path(self.save_augmented).resolve() not in [Path(path).resolve() for path in read if path],
            f"--save_augmented would overwrite {self.save_augmented}, which the run reads; choose another name.",
        )
        check(
            self.max_seq_length is None or self.max_seq_length >= 16,
            f"--max_seq_length must be at least 16, got {self.max_seq_length}.",
        )


@dataclass
class DistillationOptions:
    """What `DistillationArguments` adds to `TrainingArguments`, or sets otherwise."""

    # Defaults that differ from those of TrainingArguments
    output_dir: str = option("", "The output directory. Default: outputs/MODEL_NAME[-COMMENT].")
    learning_rate: float | None = option(  # type: ignore[assignment]  # None until `with_student_defaults`
        None,
        "The student's initial learning rate. Where no recipe gives one: 1e-3 for bilstm, 3e-4 for tinybert, 1e-4 for "
        "auto.",
    )
    num_train_epochs: float = option(10.0, "Epochs of the student's training.")
    per_device_train_batch_size: int = option(32, "Sentences per device and training step.")
    per_device_eval_batch_size: int = option(64, "Sentences per device and evaluation step.")
    label_smoothing_factor: float = option(0.1, "Label smoothing of the hard-label loss.")
    do_train: bool = option(True, "Train the student.")
    eval_strategy: str = option(None, "no, steps or epoch. Default: steps if --eval_steps is given, else epoch.")
    save_strategy: str = option(None, "no, steps, epoch or best. Default: as --eval_strategy.")
    logging_steps: float = option(0.01, "Logging interval in steps; a value below 1 is a fraction of all steps.")
    save_total_limit: int | None = option(2, "Number of checkpoints to keep.")
    load_best_model_at_end: bool = option(True, "Load the best checkpoint by --metric_for_best_model after training.")
    metric_for_best_model: str | None = option("f1", "Development metric that selects the best checkpoint.")
    train_sampling_strategy: str = option(
        "group_by_length",
        "Order of training sentences: group_by_length (similar lengths per batch), random or sequential.",
    )
    eval_do_concat_batches: bool = option(
        False, "Join the predictions of all batches, padded to the longest sentence; takes time and memory."
    )
    restore_callback_states_from_checkpoint: bool = option(
        True, "Resume with the callbacks' state, such as that of early stopping."
    )
    bf16: bool | None = option(  # type: ignore[assignment]  # as `bool` the parser would take it for a switch
        None,
        "Compute in bf16. Default: where that is faster: on a GPU with bf16, on a CPU with AVX512_BF16 or AMX.",
    )
    ddp_find_unused_parameters: bool | None = option(False, "Passed to DistributedDataParallel.")

    # Distillation
    distillation: bool = option(True, "Train on the teacher's outputs; 0: train the same student on the labels only.")
    alpha: float = option(0.0, "Weight of the hard-label loss: loss = alpha * CE + (1 - alpha) * KD.")
    logit_loss: str = option(
        "mse",
        "Loss between logits: mse, or cross-entropy of softened probabilities (ce) with --temperature.",
        choices=["mse", "ce"],
    )
    temperature: float = option(1.0, "Temperature of both softmaxes; --logit_loss ce only.")
    sequence_loss_weight: float = option(
        0.0,
        "--logit_loss ce: the share of it that compares distributions over whole valid tag sequences, not over each "
        "word's labels; with 1 a word's best label means little without constrained decoding.",
    )
    embedding_loss_weight: float | None = option(
        None, "Weight of the loss between embedding outputs. Default: 1 for --model_name tinybert, else 0."
    )
    hidden_loss_weight: float | None = option(
        None, "Weight of the loss between hidden states. Default: 1 for --model_name tinybert, else 0."
    )
    attention_loss_weight: float | None = option(
        None, "Weight of the loss between attention probabilities. Default: 1 for --model_name tinybert, else 0."
    )
    early_stopping_patience: int | None = option(None, "Stop after this many evaluations without improvement.")
    signals_dir: str | None = option(
        None,
        "Folder that caches the teacher's word logits. Default: hf_distill/signals in the Hugging Face cache.",
    )
    min_teacher_f1: float = option(0.1, "Stop before training if the teacher's F1 on the development data is lower.")
    do_train_teacher: bool = option(
        False,
        "First fine-tune --teacher_model_name_or_path, an encoder, on the training data, in batches of at most 32; use "
        "it as the teacher. Of several, or one that is named several times, each is fine-tuned with a seed of its own.",
    )
    teacher_learning_rate: float = option(1e-4, "Initial learning rate of --do_train_teacher.")
    teacher_num_train_epochs: float = option(8.0, "Epochs of --do_train_teacher.")
    companions: int = option(
        0,
        "Number of small students (recipe_small's) that first learn from the teachers, and then teach beside them: "
        "their errors are other ones. Kept in the output directory, companion-1, ...",
    )
    do_train_baseline: bool = option(
        False,
        "Also train the same student without the teacher's outputs and weights, on labels alone for as many steps, for "
        "comparison.",
    )
    target_precision: list[float] = option(
        [],
        "Precisions (0.9 0.95) that thresholds on the scores of mentions shall keep, at 95 % confidence: chosen by "
        'entity type on the development data, kept with the student, used as threshold="0.95".',
    )
    measure_time: bool = option(
        False, "Finally measure latency, throughput, size and memory of teacher and student on the development data."
    )
    export: str | None = option(
        None,
        "onnx: also export the student to onnx/model.onnx and onnx/model_quantized.onnx (int8), checked against "
        "PyTorch on the development data; none: do not, whatever a YAML file says.",
        choices=["onnx", "none"],
    )
    int8: str = option(
        "weights",
        "--export onnx: weights: 8-bit weights and fp32 arithmetic, the same answers on any CPU and in any batch; "
        "dynamic: 8-bit arithmetic, faster on CPUs with VNNI, where a score depends a little on the batch.",
        choices=["weights", "dynamic"],
    )
    comment: str = option("", "Appended to the default name of the output directory.")


@dataclass
class PublishingArguments:
    """Arguments of the model card; the Hub repository is chosen by the `hub_` arguments of TrainingArguments."""

    license: str | None = option(None, "Hub identifier of the student's licence (apache-2.0), for the model card.")
    language: list[str] = option([], "ISO 639 codes of the text's languages (en), for the model card.")
    card_template: str | None = option(
        None, "A Jinja template for the model card; model_card_template.md lists its variables."
    )
    widget_examples: list[str] = option(
        [],
        "Example texts of the model card's widget. Default: development sentences of a Hub dataset, else none.",
    )

    def __post_init__(self):
        template = self.card_template
        check(template is None or Path(template).is_file(), f"--card_template: there is no file {template}.")


@dataclass
class ConvertArguments(FormatArguments):
    """Arguments of `convert`."""

    input: str = option("", "A labelled corpus; the first argument after convert.")
    output: str = option(
        "",
        "The file to write, the second argument: .jsonl, a text with its mentions per line (characters untouched, "
        "overlaps kept; words are joined by blanks), or .tsv, a word and its tag per line.",
    )
    tag_scheme: str = option("IOBES", "Tag scheme of .tsv.", choices=["IOB2", "IOBES"])

    def __post_init__(self):
        check(bool(self.input and self.output), "convert needs two names: IN OUT. See --help.")
        check(self.output.endswith((".jsonl", ".tsv")), f"{self.output}: unknown ending; known are .jsonl, .tsv.")


@dataclass
class PredictionArguments:
    """Arguments of `predict`."""

    model: str = field(metadata={"help": "Hub id or folder of a token classifier; the first argument after predict."})
    input: list[str] = field(
        metadata={
            "help": "Files (.gz too): .txt, one text per line; .jsonl, objects with `text` or `tokens` (a list of "
            "words); .tsv, a word and any further columns per line, an empty line between sentences."
        }
    )
    output: str = field(
        metadata={
            "help": "The file to write: .jsonl, the fields of the JSONL input (else `text`) and `mentions` with "
            "character offsets in the text (words are joined by spaces); .tsv, the input's columns and, last, "
            "the predicted tag, in IOBES, or IOB2 if the model has no E- and S-."
        }
    )
    runtime: str = option(
        "auto",
        "int8 or onnx: the model's ONNX file in ONNX Runtime; pytorch; auto: PyTorch on a GPU, else the first of these "
        "that is available.",
        choices=["auto", "int8", "onnx", "pytorch"],
    )
    format: str | None = option(
        None,
        "Write it for an annotation tool: labelstudio (.json), doccano, prodigy (.jsonl), pubtator, brat (a folder), "
        "or conll (words and tags in IOB2).",
        choices=list(ANNOTATION_FORMATS),
    )
    threshold: list[str] = option(
        [],
        "The score from 0 to 1 below which mentions are left out: a number, or numbers by entity type (GENE=0.9 "
        "CELL=0.8; other types have none).",
    )
    target_precision: str | None = option(
        None, "Leave out mentions by the thresholds that were chosen for this precision (0.95) when it was distilled."
    )
    most_uncertain: int = option(
        0,
        "Write only so many texts, those whose annotation would correct most, in the order to annotate: by the errors "
        "per word that the model expects to make (`uncertainty`), the most first; identical texts once. Needs .jsonl.",
    )
    scheme: str | None = option(
        None, "Tag scheme of the model's labels; flat: bare entity types. Default: detected.", choices=TAG_SCHEMES
    )
    entity_type: str | None = option(None, "The entity type of a model whose labels name none (B, I, O).")
    add_prefix_space: bool | None = option(
        None,
        "Whether a byte-level tokenizer puts a blank before each word, as in running text (default); 0: lists of words "
        "are cut by its own settings. A student of this package is read as it was trained.",
    )
    trust_remote_code: bool = option(False, "Allow models whose code comes with their Hub repository.")

    def __post_init__(self):
        self.chosen_threshold()
        check(self.most_uncertain >= 0, "--most_uncertain is a number of texts.")
        if self.format:
            name = "" if self.format == "brat" else Path(self.output).suffix
            endings = ANNOTATION_FORMATS[self.format]
            check(name in endings, f"--format {self.format} writes {' or '.join(endings)}, not {self.output}.")
        lines = self.output.removesuffix(".gz").endswith(".jsonl") or self.format not in (None, "conll")
        check(not self.most_uncertain or lines, "--most_uncertain writes texts with their uncertainty: .jsonl.")

    def chosen_threshold(self) -> float | str | dict[str, float] | None:
        """Return `--threshold` or `--target_precision` as `read_threshold` takes it."""
        check(not (self.threshold and self.target_precision), "--threshold or --target_precision: give one of them.")
        if not self.threshold:
            return self.target_precision
        by_type = {}
        for value in self.threshold:
            entity, equals, score = value.rpartition("=")
            check(bool(entity) == bool(equals), f"--threshold {value}: expected TYPE=SCORE.")
            check(entity not in by_type, f"--threshold {value}: {entity or 'it'} has a score already.")
            try:
                by_type[entity] = float(score)
            except ValueError:
                raise UserError(f"--threshold {value}: {score!r} is no number.") from None
        if "" not in by_type:
            return by_type
        check(len(by_type) == 1, "--threshold: one score for all types, or TYPE=SCORE for each.")
        return by_type[""]


@dataclass
class AnnotateArguments:
    """Arguments of `annotate`."""

    labeller: str = field(
        metadata={
            "help": "Who answers, the first argument after annotate: openai:MODEL, a server that speaks OpenAI's "
            "chat-completions protocol (the key in OPENAI_API_KEY); gliner:MODEL; spacy:PIPELINE; hf:MODEL, a token "
            "classifier. A MODEL is a name, a Hub id or a folder."
        }
    )
    input: list[str] = field(
        metadata={"help": "Files (.gz too): .jsonl, objects with `text` or `tokens`; .txt, one text per line."}
    )
    output: str = field(
        metadata={
            "help": "The file to write, .jsonl: the fields of the JSONL input, `text`, `mentions` and `source`. Until "
            "all texts are answered they are in OUTPUT.partial, from which the same command goes on."
        }
    )
    labels: list[str] = option(
        [], "The entity types to find. openai and gliner need them; of spacy and hf, all that the model has if not set."
    )
    examples: str | None = option(None, "openai: a labelled corpus of which a few texts are shown as examples.")
    base_url: str | None = option(
        None, "openai: the server's address (http://localhost:11434/v1). Default: OPENAI_BASE_URL, else OpenAI's."
    )
    concurrency: int = option(8, "openai: requests at a time.")
    threshold: float | None = option(
        None, "gliner: the score from 0 to 1 below which mentions are left out. Default: 0.5."
    )
    trust_remote_code: bool = option(False, "hf: allow a model whose code comes with its Hub repository.")

    def __post_init__(self):
        kind, model = self.kind_and_model()
        known = kind in LABELLERS and bool(model)
        check(known, f"{self.labeller}: expected {':MODEL, '.join(LABELLERS)}:MODEL.")
        check(self.output.endswith(".jsonl"), f"{self.output}: unknown ending; known is .jsonl.")
        named = bool(self.labels) or kind in ("spacy", "hf")
        check(named, f"{kind} needs --labels, the entity types to find.")
        for label in self.labels:
            whole = label and label == label.strip() and not any(mark in label for mark in "\t\r\n")
            check(bool(whole), f"--labels: {label!r} is no name of an entity type.")
            check(self.labels.count(label) == 1, f"--labels names {label} twice.")
        owners = {"examples": "openai", "base_url": "openai", "threshold": "gliner", "trust_remote_code": "hf"}
        for name, owner in owners.items():
            check(getattr(self, name) in (None, False) or kind == owner, f"--{name} is for {owner}, not {kind}.")
        threshold = self.threshold
        check(self.concurrency > 0, f"--concurrency must be positive, got {self.concurrency}.")
        check(threshold is None or 0 <= threshold <= 1, f"--threshold must be in [0, 1], got {threshold}.")

    def kind_and_model(self) -> tuple[str, str]:
        """Return one of LABELLERS, and the name of its model, which may have colons, too."""
        kind, _, model = self.labeller.partition(":")
        return kind, model


@dataclass
class ReportArguments:
    """Arguments of `report`."""

    folders: list[str] = field(metadata={"help": "Output directories of runs; the arguments after report."})
    output: str = option("report.html", "The HTML file to write.")
