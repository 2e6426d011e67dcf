"""Building or loading a student model."""

from collections import Counter
from collections.abc import Sequence

import torch
from datasets import Dataset
from torch import Tensor, nn
from transformers import (
    AutoModel,
    AutoModelForTokenClassification,
    BertConfig,
    BertForTokenClassification,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from ..arguments import STUDENT_DEFAULTS, TINYBERT_HEADS, ModelArguments
from ..runtime.configuration_bilstm import BiLSTMConfig
from ..runtime.modeling_bilstm import BiLSTMForTokenClassification
from ..runtime.schemes import model_tags
from ..runtime.tags import UserError, detect_scheme, iob2_names
from ..teachers.loading import (
    explain_loading_errors,
    load_config,
    load_state_dict,
    load_tokenizer,
    read_state_dict,
    resolve_model,
)
from ..teachers.parts import head_name, layers_name
from ..teachers.teacher import Teacher
from .embeddings import reduce_embeddings, transfer_embeddings


def label_config(tags: Sequence[str], model_type: str = "bilstm") -> dict:
    """Return the configuration fields of a student's labels and of the pipeline saved with it.

    `id2label` has IOB2 names, for stock pipelines; `tags` has the actual tags. A transformer's pipeline has a task of
    its own, so that the stock one runs it without remote code; a BiLSTM is remote code anyway.
    """
    names = iob2_names(tags)
    pipeline = {"impl": "pipeline.MentionPipeline", "pt": ["AutoModelForTokenClassification"], "type": "text"}
    task = "token-classification" if model_type == "bilstm" else "mention-detection"
    return {
        "id2label": names,
        "label2id": {name: index for index, name in names.items()},
        "tags": list(tags),
        "custom_pipelines": {task: pipeline},
    }


def build_student(
    args: ModelArguments,
    tags: Sequence[str],
    tokenizer: PreTrainedTokenizerBase,
    teacher: Teacher | None = None,
    text: Dataset | None = None,
    new_head: bool = True,
) -> PreTrainedModel:
    """Build or load a student as described by the arguments.

    Args:
        args: the model arguments.
        tags: the student's tags, `O` first.
        tokenizer: the student's tokenizer.
        teacher: source of embeddings or layers, if the arguments request them.
        text: sentences (column `tokens`) for `transfer_embeddings`, if the teacher has another tokenizer.
        new_head: whether a loaded student with other labels may get a new, untrained head.

    Raises:
        UserError: the teacher lacks the requested embeddings or layers, a loaded student does not fit the arguments,
            or a checkpoint does not fit the student.

    Examples:
        >>> tags = ["O", "B-GENE", "I-GENE", "E-GENE", "S-GENE"]
        >>> teacher = load_teacher("my-org/biobert-genes", tags)
        >>> student = build_student(ModelArguments(hidden_size=128), tags, teacher.tokenizer)
        >>> student.config.num_labels
        5
    """
    if args.student_model_name_or_path:
        student = _load_student(args, args.student_model_name_or_path, tags, new_head)
    elif args.student_layers:
        student = _build_from_layers(args, tags, tokenizer, teacher)
    elif args.model_name == "bilstm":
        student = _build_bilstm(args, tags, tokenizer, teacher, text)
    else:
        student = _build_tinybert(args, tags, tokenizer)
    rows = student.get_input_embeddings().get_parameter("weight").shape[0]
    if args.tokenizer_name and len(tokenizer) > rows:
        raise UserError(
            f"The tokenizer has {len(tokenizer):,} subwords, the student embeddings of {rows:,}: they do not belong "
            "together. Leave out --tokenizer_name."
        )
    if args.student_checkpoint:
        load_state_dict(student, read_state_dict(args.student_checkpoint), args.student_checkpoint)
    return student


def _load_student(args: ModelArguments, name: str, tags: Sequence[str], new_head: bool) -> PreTrainedModel:
    """Load a student and match its head to `tags` by name. If its labels are others, the head is new."""
    with explain_loading_errors(name):
        path = resolve_model(name)
        config = load_config(path, args.trust_remote_code)
        expected = {"bilstm": "bilstm", "tinybert": "bert"}.get(args.model_name, config.model_type)
        if config.model_type != expected:
            raise UserError(
                f"--model_name {args.model_name} needs a model of type {expected}; {name} is of type "
                f"{config.model_type}. Use --model_name auto."
            )
        student = AutoModelForTokenClassification.from_pretrained(
            path, config=config, dtype=torch.float32, trust_remote_code=args.trust_remote_code
        )
    try:
        loaded_tags = model_tags(config) or []
    except UserError:  # labels of no tag scheme: the head is new
        loaded_tags = []
    matched = set(tags) <= set(loaded_tags) and detect_scheme(loaded_tags) == detect_scheme(tags)
    if not matched and not new_head:
        raise UserError(
            f"{name} has the labels {', '.join(loaded_tags) or '(without names)'}; data and --tag_scheme require "
            f"{', '.join(tags)}: it can be trained on them, but not evaluated."
        )
    place = head_name(student)
    head = student.get_submodule(place)
    new = nn.Linear(head.in_features, len(tags), bias=head.bias is not None)
    if matched:
        rows = [loaded_tags.index(tag) for tag in tags]
        new.load_state_dict({name: value[rows] for name, value in head.state_dict().items()})
    student.set_submodule(place, new)
    student.num_labels = len(tags)
    for field, value in label_config(tags, config.model_type).items():
        setattr(student.config, field, value)
    return student


def _option(args: ModelArguments, name: str) -> int:
    """Return an argument, or its default for the student's type if it is None."""
    value = getattr(args, name)
    return STUDENT_DEFAULTS[args.model_name][name] if value is None else value


def _build_bilstm(
    args: ModelArguments,
    tags: Sequence[str],
    tokenizer: PreTrainedTokenizerBase,
    teacher: Teacher | None,
    text: Dataset | None,
) -> BiLSTMForTokenClassification:
    embedding_size = args.embedding_size
    bert_config: dict | None = None
    weight: Tensor | None = None
    if args.embedding_type == "svd":
        if args.embeddings_from:
            weight, own_tokenizer = _load_embeddings(args.embeddings_from, args.trust_remote_code)
        else:
            teacher = _checked_teacher(args, teacher, "--embedding_type svd")
            weight = teacher.model.get_input_embeddings().get_parameter("weight").detach().cpu()
            own_tokenizer = teacher.tokenizer
        embedding_size = min(embedding_size, weight.shape[1])
        if own_tokenizer.get_vocab() != tokenizer.get_vocab():
            words = Counter(word for words in (text["tokens"] if text else ()) for word in words)
            weight = transfer_embeddings(weight, own_tokenizer, tokenizer, words)
    elif args.embedding_type == "bert":
        source = _checked_teacher(args, teacher, "--embedding_type bert", tokenizer).model
        weight = source.get_input_embeddings().get_parameter("weight").detach()
        embedding_size = weight.shape[1]
        fields = ("vocab_size", "hidden_size", "max_position_embeddings", "type_vocab_size", "layer_norm_eps")
        bert_config = {name: getattr(source.config, name) for name in (*fields, "hidden_dropout_prob", "pad_token_id")}
    config = BiLSTMConfig(
        vocab_size=len(tokenizer) if weight is None else len(weight),
        embedding_size=embedding_size,
        hidden_size=_option(args, "hidden_size"),
        num_hidden_layers=_option(args, "n_layers"),
        num_stacks=args.n_stacks,
        classifier_size=args.classifier_size,
        dropout=0.5 if args.dropout is None else args.dropout,
        embedding_dropout=args.embedding_dropout,
        embedding_type="bert" if bert_config else "train",
        bert_config=bert_config,
        word_feature_rows=args.word_feature_rows,
        pad_token_id=tokenizer.pad_token_id,
        **label_config(tags),
    )
    student = BiLSTMForTokenClassification(config)
    if args.embedding_type == "bert":
        student.embeddings.load_state_dict(source.get_submodule("bert.embeddings").state_dict())
    elif weight is not None:
        with torch.no_grad():
            student.embeddings.get_parameter("weight").copy_(
                reduce_embeddings(weight, embedding_size).repeat(1, args.n_stacks)
            )
    return student


def _load_embeddings(name: str, trust_remote_code: bool) -> tuple[Tensor, PreTrainedTokenizerBase]:
    """Load an encoder's word embeddings [vocabulary, dimensions], and its tokenizer."""
    with explain_loading_errors(name, quiet=True):  # transformers would name the weights that are not needed
        path = resolve_model(name)
        encoder = AutoModel.from_pretrained(path, dtype=torch.float32, trust_remote_code=trust_remote_code)
        tokenizer = load_tokenizer(path, trust_remote_code)
    return encoder.get_input_embeddings().get_parameter("weight").detach(), tokenizer


def check_parts(args: ModelArguments, model: PreTrainedModel) -> None:
    """Check that a teacher has the embeddings and layers that the arguments request.

    Raises:
        UserError: the teacher is of another model type, has no such layer, or none that fits in that place.
    """
    kind = model.config.model_type
    if args.embedding_type == "bert" and kind != "bert":
        raise UserError(
            f"--embedding_type bert copies BERT's embedding module; the teacher is of type {kind}. "
            "Use --embedding_type svd, which needs word embeddings only."
        )
    if not args.student_layers:
        return
    if args.model_name == "tinybert" and kind != "bert":
        raise UserError(
            f"--model_name tinybert --student_layers needs a BERT teacher; this one is of type {kind}. Use "
            "--model_name auto."
        )
    shapes = [
        {name: value.shape for name, value in layer.state_dict().items()}
        for layer in model.get_submodule(layers_name(model)).children()
    ]
    option = f"--student_layers {' '.join(map(str, args.student_layers))}"
    if len(args.student_layers) > len(shapes) or not all(0 <= layer < len(shapes) for layer in args.student_layers):
        raise UserError(f"{option}: the teacher has the layers 0 to {len(shapes) - 1}.")
    for place, layer in enumerate(args.student_layers):
        if shapes[layer] != shapes[place]:
            other = sorted(name for name, _ in shapes[layer].items() ^ shapes[place].items())
            raise UserError(
                f"{option}: a teacher of type {kind} has other weights in layer {layer} than in layer {place} "
                f"({', '.join(other[:3])}), whose place it would take. Leave layer {place} where it is."
            )


def _checked_teacher(
    args: ModelArguments, teacher: Teacher | None, option: str, tokenizer: PreTrainedTokenizerBase | None = None
) -> Teacher:
    """Return the teacher after checking that it fits; a given `tokenizer` must equal the teacher's."""
    if teacher is None:
        raise UserError(
            f"{option} copies parts of a teacher: give --teacher_model_name_or_path. (For word embeddings any encoder "
            "does: --embeddings_from; --embedding_type train makes new ones.)"
        )
    check_parts(args, teacher.model)
    if tokenizer is not None and teacher.tokenizer.get_vocab() != tokenizer.get_vocab():
        raise UserError(
            f"{option} needs a student with the teacher's tokenizer: remove --tokenizer_name and --vocabulary_size."
        )
    return teacher


def _build_tinybert(
    args: ModelArguments, tags: Sequence[str], tokenizer: PreTrainedTokenizerBase
) -> BertForTokenClassification:
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
        **label_config(tags, BertConfig.model_type),
    )
    return BertForTokenClassification(config)


def _build_from_layers(
    args: ModelArguments,
    tags: Sequence[str],
    tokenizer: PreTrainedTokenizerBase,
    teacher: Teacher | None,
) -> PreTrainedModel:
    """Copy a teacher with fewer layers; its head's labels are matched by name."""
    teacher = _checked_teacher(args, teacher, "--student_layers", tokenizer)
    source = teacher.model
    student = type(source)(_config_of_layers(args, tags, source.config))
    head, stack = head_name(source), layers_name(source)
    own_head = student.get_submodule(head)
    with torch.no_grad():
        for name, parameter in own_head.named_parameters():
            rows = source.get_parameter(f"{head}.{name}")
            for label, classes in enumerate(map(list, teacher.labels.classes)):
                if classes:
                    parameter[label] = rows[classes].mean(0)
    state = {f"{head}.{name}": value for name, value in own_head.state_dict().items()}
    for place, layer in enumerate(args.student_layers):
        copied = source.get_submodule(f"{stack}.{layer}").state_dict()
        state |= {f"{stack}.{place}.{name}": value for name, value in copied.items()}
    others = (pair for pair in source.state_dict().items() if not pair[0].startswith((f"{head}.", f"{stack}.")))
    _check_places(args, source.get_submodule(stack), student.get_submodule(stack))
    try:
        student.load_state_dict(state | dict(others))
    except RuntimeError as error:  # ESM has a head with a weight for each layer
        raise UserError(
            f"--student_layers: a teacher of type {source.config.model_type} has other parts that depend on its number "
            f"of layers: {error}. Use --model_name bilstm, or another teacher."
        ) from None
    return student


def _check_places(args: ModelArguments, source: nn.Module, student: nn.Module) -> None:
    """Raise a UserError if a layer computes with a number that depends on its place, such as DiffLlama's."""
    for place, layer in enumerate(args.student_layers):
        old, new = source.get_submodule(str(layer)).modules(), student.get_submodule(str(place)).modules()
        for one, other in zip(old, new, strict=True):
            numbers = {name: value for name, value in vars(one).items() if isinstance(value, float)}
            changed = [name for name, value in numbers.items() if value != vars(other)[name]]
            changed = [name for name in changed if name != "p" and "dropout" not in name]  # these may be changed
            if changed:
                raise UserError(
                    f"--student_layers: layer {layer} of the teacher computes otherwise in place {place}: its "
                    f"{changed[0]} is {numbers[changed[0]]:g} there, {vars(other)[changed[0]]:g} here. Leave it where "
                    "it is."
                )


def _config_of_layers(args: ModelArguments, tags: Sequence[str], config: PretrainedConfig) -> PretrainedConfig:
    """The teacher's configuration with only the layers `args.student_layers`."""
    fields = config.to_dict()
    for name in ("id2label", "label2id", "tags", "num_labels", "architectures", "_name_or_path"):
        fields.pop(name, None)
    for name, value in fields.items():
        # One value per layer, such as ModernBERT's kinds of attention (layer_types) and Longformer's windows.
        per_layer = "layer" in name or name == "attention_window"
        if per_layer and isinstance(value, list) and len(value) == config.num_hidden_layers:
            fields[name] = [value[layer] for layer in args.student_layers]
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if args.dropout is not None and number and ("dropout" in name or name.endswith("pdrop")):
            fields[name] = args.dropout
    fields[config.attribute_map.get("num_hidden_layers", "num_hidden_layers")] = len(args.student_layers)
    return type(config).from_dict(fields | label_config(tags, config.model_type))
