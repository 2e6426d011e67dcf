"""Building the student."""

from collections import Counter
from collections.abc import Sequence

import torch
from datasets import Dataset
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForTokenClassification,
    BertConfig,
    BertForTokenClassification,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from .arguments import STUDENT_DEFAULTS, TINYBERT_HEADS, ModelArguments
from .labels import UserError, detect_scheme, iob2_names, model_tags
from .loading import finding, load_state_dict, read_state_dict, resolve_model
from .models import BiLSTMConfig, BiLSTMForTokenClassification
from .teacher import Teacher
from .vocabulary import carry_embeddings


def label_config(tags: Sequence[str]) -> dict:
    """Configuration fields that name a student's classes (IOB2 names for stock pipelines, the true tags in `tags`) and
    the pipeline that travels with it.
    """
    names = iob2_names(tags)
    pipeline = {"impl": "pipeline.MentionPipeline", "pt": ["AutoModelForTokenClassification"], "type": "text"}
    return {
        "id2label": names,
        "label2id": {name: index for index, name in names.items()},
        "tags": list(tags),
        "custom_pipelines": {"token-classification": pipeline},
    }


def build_student(
    args: ModelArguments,
    tags: Sequence[str],
    tokenizer: PreTrainedTokenizerBase,
    teacher: Teacher | None = None,
    text: Dataset | None = None,
    new_head: bool = True,
) -> PreTrainedModel:
    """Build the student that the arguments describe.

    Args:
        args: what to build.
        tags: its labels, `O` first.
        tokenizer: its tokenizer.
        teacher: what it may take embeddings or layers from.
        text: sentences (column `tokens`) by which the teacher's word embeddings are carried over to another tokenizer.
        new_head: whether a loaded student whose labels are others may be given a new head, to be trained.

    Raises:
        UserError: the teacher does not have what the student is to take over, or a checkpoint does not fit.

    Example:
        >>> tags = ["O", "B-GENE", "I-GENE", "E-GENE", "S-GENE"]
        >>> teacher = load_teacher("my-org/biobert-genes", tags)
        >>> student = build_student(ModelArguments(hidden_size=128), tags, teacher.tokenizer)
        >>> student.config.num_labels
        5
    """
    if args.student_model_name_or_path:
        student = _load(args, tags, new_head)
    elif args.model_name == "bilstm":
        student = _build_bilstm(args, tags, tokenizer, teacher, text)
    else:
        student = _build_tinybert(args, tags, tokenizer, teacher)
    if args.student_checkpoint:
        load_state_dict(student, read_state_dict(args.student_checkpoint), args.student_checkpoint)
    return student


def _load(args: ModelArguments, tags: Sequence[str], new_head: bool) -> PreTrainedModel:
    """Load the student that is named; its head's labels meet `tags` by name, or the head is made anew."""
    name = args.student_model_name_or_path
    with finding(name):
        path = resolve_model(name)
        config = AutoConfig.from_pretrained(path, trust_remote_code=args.trust_remote_code)
        expected = {"bilstm": "bilstm", "tinybert": "bert"}.get(args.model_name, config.model_type)
        if config.model_type != expected:
            raise UserError(
                f"--model_name {args.model_name} needs a model of type {expected}; {name} is of type "
                f"{config.model_type}. Use --model_name auto."
            )
        student = AutoModelForTokenClassification.from_pretrained(
            path, config=config, dtype=torch.float32, trust_remote_code=args.trust_remote_code
        )
    own = model_tags(config) or []
    known = set(tags) <= set(own) and detect_scheme(own) == detect_scheme(tags)
    if not known and not new_head:
        raise UserError(
            f"{name} has the labels {', '.join(own) or '(without names)'}, data and --tag_scheme give "
            f"{', '.join(tags)}: it can be trained on them, but not evaluated."
        )
    place, head = [pair for pair in student.named_modules() if isinstance(pair[1], nn.Linear)][-1]
    own_head = nn.Linear(head.in_features, len(tags))
    if known:
        rows = [own.index(tag) for tag in tags]
        own_head.load_state_dict({"weight": head.weight[rows], "bias": head.bias[rows]})
    student.set_submodule(place, own_head)
    student.num_labels = len(tags)
    for field, value in label_config(tags).items():
        setattr(student.config, field, value)
    return student


def _option(args: ModelArguments, name: str) -> int:
    value = getattr(args, name)
    return STUDENT_DEFAULTS[args.model_name][name] if value is None else value


def _build_bilstm(
    args: ModelArguments,
    tags: Sequence[str],
    tokenizer: PreTrainedTokenizerBase,
    teacher: Teacher | None,
    text: Dataset | None,
) -> BiLSTMForTokenClassification:
    embedding_size, bert_config, weight = args.embedding_size, None, None
    if args.embedding_type == "svd":
        source = _teacher_for(args, teacher, "--embedding_type svd")
        weight = source.get_input_embeddings().weight.detach()
        embedding_size = min(embedding_size, weight.shape[1])
        if teacher.tokenizer.get_vocab() != tokenizer.get_vocab():
            words = Counter(word for words in (text["tokens"] if text else ()) for word in words)
            weight = carry_embeddings(weight.cpu(), teacher.tokenizer, tokenizer, words)
    elif args.embedding_type == "bert":
        source = _teacher_for(args, teacher, "--embedding_type bert", tokenizer)
        weight = source.get_input_embeddings().weight.detach()
        embedding_size = weight.shape[1]
        fields = ("vocab_size", "hidden_size", "max_position_embeddings", "type_vocab_size", "layer_norm_eps")
        bert_config = {name: getattr(source.config, name) for name in (*fields, "hidden_dropout_prob", "pad_token_id")}
    config = BiLSTMConfig(
        vocab_size=len(tokenizer) if weight is None else len(weight),
        embedding_size=embedding_size,
        hidden_size=_option(args, "hidden_size"),
        num_hidden_layers=_option(args, "n_layers"),
        classifier_size=args.classifier_size,
        dropout=0.5 if args.dropout is None else args.dropout,
        embedding_dropout=args.embedding_dropout,
        embedding_type="bert" if bert_config else "train",
        bert_config=bert_config,
        pad_token_id=tokenizer.pad_token_id,
        **label_config(tags),
    )
    student = BiLSTMForTokenClassification(config)
    if args.embedding_type == "bert":
        student.embeddings.load_state_dict(source.get_submodule("bert.embeddings").state_dict())
    elif args.embedding_type == "svd":
        with torch.no_grad():
            student.embeddings.weight.copy_(reduce_embeddings(weight, embedding_size))
    return student


def check_parts(args: ModelArguments, config: PretrainedConfig) -> None:
    """Whether a teacher of this configuration has the parts that the student is to take over.

    Raises:
        UserError: it is of another family, or has no such layer.
    """
    if args.embedding_type == "bert" and config.model_type != "bert":
        raise UserError(
            f"--embedding_type bert takes over BERT's embedding module; the teacher is of type {config.model_type}. "
            "Use --embedding_type svd, which needs word embeddings only."
        )
    if args.student_layers and config.model_type != "bert":
        raise UserError(f"--student_layers needs a BERT teacher; this one is of type {config.model_type}.")
    if args.student_layers and not all(0 <= layer < config.num_hidden_layers for layer in args.student_layers):
        raise UserError(
            f"--student_layers {' '.join(map(str, args.student_layers))}: the teacher has the layers 0 to "
            f"{config.num_hidden_layers - 1}."
        )


def _teacher_for(
    args: ModelArguments, teacher: Teacher | None, option: str, tokenizer: PreTrainedTokenizerBase | None = None
) -> PreTrainedModel:
    """The teacher's model; with `tokenizer`, only if that is the teacher's."""
    if teacher is None:
        raise UserError(f"{option} takes over parts of a teacher: give --teacher_model_name_or_path.")
    check_parts(args, teacher.model.config)
    if tokenizer is not None and teacher.tokenizer.get_vocab() != tokenizer.get_vocab():
        raise UserError(
            f"{option} needs a student with the teacher's tokenizer: leave out --tokenizer_name and --vocabulary_size."
        )
    return teacher.model


def reduce_embeddings(weight: Tensor, size: int) -> Tensor:
    """Word embeddings [vocabulary, dimensions] reduced to `size` dimensions by a truncated singular value
    decomposition (where `size` is smaller), then scaled as a whole to unit variance.
    """
    if size < weight.shape[1]:
        # Right singular vectors through the small Gram matrix: exact, and quick for a tall matrix.
        values, vectors = torch.linalg.eigh(weight.double().T @ weight.double())
        weight = (weight.double() @ vectors[:, values.argsort(descending=True)[:size]]).float()
    return weight / weight.std()


def _build_tinybert(
    args: ModelArguments,
    tags: Sequence[str],
    tokenizer: PreTrainedTokenizerBase,
    teacher: Teacher | None,
) -> BertForTokenClassification:
    if args.student_layers:
        return _take_layers(args, tags, tokenizer, teacher)
    dropout = 0.1 if args.dropout is None else args.dropout
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=_option(args, "hidden_size"),
        num_hidden_layers=_option(args, "n_layers"),
        num_attention_heads=TINYBERT_HEADS,
        intermediate_size=1200,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        pad_token_id=tokenizer.pad_token_id,
        **label_config(tags),
    )
    return BertForTokenClassification(config)


def _take_layers(
    args: ModelArguments,
    tags: Sequence[str],
    tokenizer: PreTrainedTokenizerBase,
    teacher: Teacher | None,
) -> BertForTokenClassification:
    source = _teacher_for(args, teacher, "--student_layers", tokenizer)
    layers = args.student_layers
    fields = source.config.to_dict()
    for name in ("id2label", "label2id", "tags", "num_labels", "architectures", "_name_or_path"):
        fields.pop(name, None)
    fields |= {"num_hidden_layers": len(layers), **label_config(tags)}
    if args.dropout is not None:
        fields |= {"hidden_dropout_prob": args.dropout, "attention_probs_dropout_prob": args.dropout}
    student = BertForTokenClassification(BertConfig(**fields))
    student.bert.embeddings.load_state_dict(source.bert.embeddings.state_dict())
    for own, layer in zip(student.bert.encoder.layer, layers, strict=True):
        own.load_state_dict(source.bert.encoder.layer[layer].state_dict())
    # The head meets by name; where classes merge, the mean of their rows is a start.
    with torch.no_grad():
        for label, classes in enumerate(teacher.mapping):
            student.classifier.weight[label] = source.classifier.weight[classes].mean(0)
            student.classifier.bias[label] = source.classifier.bias[classes].mean(0)
    return student
