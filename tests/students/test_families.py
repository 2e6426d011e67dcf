"""Students of every family of token classifiers."""

import pytest
import tiny
import torch
from transformers import (
    AlbertConfig,
    AutoModelForTokenClassification,
    CamembertConfig,
    DebertaConfig,
    DebertaV2Config,
    DistilBertConfig,
    ElectraConfig,
    GPT2Config,
    LlamaConfig,
    LongformerConfig,
    ModernBertConfig,
    MPNetConfig,
    PreTrainedModel,
    Qwen2Config,
    RobertaConfig,
    XLMRobertaConfig,
    XLNetConfig,
)

from hf_distill.arguments import DistillationArguments, ModelArguments
from hf_distill.data.encoding import encode_dataset
from hf_distill.runtime.schemes import model_tags
from hf_distill.runtime.tags import UserError
from hf_distill.students.build import build_student
from hf_distill.students.save import save_model
from hf_distill.teachers.labels import match_labels
from hf_distill.teachers.parts import head_name, layers_name
from hf_distill.teachers.teacher import Teacher
from hf_distill.training.trainer import DistillationTrainer

TOKENIZER = tiny.wordpiece()
SIZES = {"hidden_size": 24, "num_hidden_layers": 4, "num_attention_heads": 2, "intermediate_size": 32}
SIZES |= {"max_position_embeddings": 70}
IDS = torch.arange(5, 35).reshape(2, 15)

FAMILIES = {
    "roberta": (RobertaConfig, SIZES),
    "xlm-roberta": (XLMRobertaConfig, SIZES),
    "camembert": (CamembertConfig, SIZES),
    "distilbert": (DistilBertConfig, {"dim": 24, "n_layers": 4, "n_heads": 2, "hidden_dim": 32}),
    "electra": (ElectraConfig, SIZES | {"embedding_size": 12}),
    "deberta": (DebertaConfig, SIZES | {"relative_attention": True, "pos_att_type": ["c2p", "p2c"]}),
    "deberta-v3": (
        DebertaV2Config,
        SIZES
        | {"relative_attention": True, "pos_att_type": ["c2p", "p2c"], "position_buckets": 16}
        | {"share_att_key": True, "norm_rel_ebd": "layer_norm", "conv_kernel_size": 3},
    ),
    "modernbert": (ModernBertConfig, SIZES | {"local_attention": 8}),
    "mpnet": (MPNetConfig, SIZES),
    "longformer": (LongformerConfig, SIZES | {"attention_window": [8, 4, 4, 8]}),
    "xlnet": (XLNetConfig, {"d_model": 24, "n_layer": 4, "n_head": 2, "d_inner": 32}),
    "gpt2": (GPT2Config, {"n_embd": 24, "n_layer": 4, "n_head": 2, "n_positions": 70}),
    "llama": (LlamaConfig, SIZES),
    "qwen2": (Qwen2Config, SIZES | {"num_key_value_heads": 1}),
    "albert": (AlbertConfig, SIZES | {"embedding_size": 12}),
}


def classifier(family: str) -> PreTrainedModel:
    """A tiny random one with five labels."""
    kind, fields = FAMILIES[family]
    labels = {"id2label": dict(enumerate(tiny.TAGS)), "label2id": {tag: i for i, tag in enumerate(tiny.TAGS)}}
    special = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}
    torch.manual_seed(0)
    return AutoModelForTokenClassification.from_config(kind(vocab_size=len(TOKENIZER), **fields, **special, **labels))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_loaded_student_has_a_head_for_its_labels(tmp_path, family):
    model = classifier(family).eval()
    save_model(model, TOKENIZER, tmp_path)
    args = ModelArguments(model_name="auto", student_model_name_or_path=str(tmp_path))
    turned = build_student(args, tiny.TAGS[::-1], TOKENIZER).eval()
    with torch.no_grad():
        torch.testing.assert_close(turned(IDS).logits.flip(-1), model(IDS).logits)
    other = build_student(args, ["O", "B-DRUG", "I-DRUG"], TOKENIZER)
    assert model_tags(other.config) == ["O", "B-DRUG", "I-DRUG"]
    assert other(IDS).logits.shape == (2, 15, 3)
    assert isinstance(other.get_submodule(head_name(other)), torch.nn.Linear)
    other.save_pretrained(tmp_path)
    again = AutoModelForTokenClassification.from_pretrained(tmp_path).eval()
    with torch.no_grad():
        torch.testing.assert_close(again(IDS).logits, other.eval()(IDS).logits)


def teacher_of(family: str) -> Teacher:
    return Teacher(classifier(family), TOKENIZER, match_labels(tiny.TAGS, tiny.TAGS), 64)


@pytest.mark.parametrize("family", [family for family in FAMILIES if family != "albert"])
def test_a_student_from_layers_of_the_teacher(tmp_path, family):
    teacher = teacher_of(family)
    args = ModelArguments(model_name="auto", student_layers=[0, 1, 2, 3])
    whole = build_student(args, tiny.TAGS, TOKENIZER, teacher).eval()
    with torch.no_grad():
        torch.testing.assert_close(whole(IDS).logits, teacher.model(IDS).logits)

    args = ModelArguments(model_name="auto", student_layers=[0, 3])
    student = build_student(args, tiny.TAGS, TOKENIZER, teacher)
    save_model(student, TOKENIZER, tmp_path)
    loaded = AutoModelForTokenClassification.from_pretrained(tmp_path).eval()
    # What remains of the teacher without its layers 1 and 2.
    config = teacher.model.config
    del teacher.model.get_submodule(layers_name(teacher.model))[1:3]
    config.num_hidden_layers = 2
    config.use_cache = False  # a cache counts the layers by numbers that they had before
    if hasattr(config, "layer_types"):
        config.layer_types = [config.layer_types[layer] for layer in (0, 3)]
    with torch.no_grad():
        expected = teacher.model(IDS).logits
        torch.testing.assert_close(loaded(IDS).logits, expected)
        torch.testing.assert_close(student.eval()(IDS).logits, expected)

    rows = encode_dataset(tiny.corpus(8), TOKENIZER, 64, tiny.TAGS)
    training = DistillationArguments(str(tmp_path), use_cpu=True, bf16=False, max_steps=1, eval_strategy="no")
    trainer = DistillationTrainer(student, training, teacher_of(family), processing_class=TOKENIZER, train_dataset=rows)
    head = head_name(student)
    before = student.get_submodule(head).weight.clone()
    trainer.train()
    assert not torch.equal(student.get_submodule(head).weight, before)


def test_copied_layers_take_another_dropout():
    args = ModelArguments(model_name="auto", student_layers=[0, 2], dropout=0.25)
    student = build_student(args, tiny.TAGS, TOKENIZER, teacher_of("distilbert"))
    assert {module.p for module in student.modules() if isinstance(module, torch.nn.Dropout)} == {0.25}


@pytest.mark.parametrize(
    ("family", "layers", "message"),
    [
        ("albert", [0, 1], "type albert., which shares"),
        ("modernbert", [1, 3], "layer 1 than in layer 0 .attn_norm.weight"),
        ("roberta", [0, 4], "layers 0 to 3"),
        ("roberta", [0, 1, 2, 3, 3], "layers 0 to 3"),
    ],
)
def test_layers_that_a_teacher_has_not_are_refused(family, layers, message):
    args = ModelArguments(model_name="auto", student_layers=layers)
    with pytest.raises(UserError, match=message):
        build_student(args, tiny.TAGS, TOKENIZER, teacher_of(family))


def test_parts_of_another_family_are_refused_by_name():
    teacher = teacher_of("roberta")
    for args in (
        tiny.bilstm_arguments(embedding_type="bert"),
        ModelArguments(model_name="tinybert", student_layers=[0]),
    ):
        with pytest.raises(UserError, match="is of type roberta. Use --"):
            build_student(args, tiny.TAGS, TOKENIZER, teacher)


def test_attentions_of_another_shape_are_refused_before_training(tmp_path):
    teacher, training = teacher_of("longformer"), DistillationArguments(str(tmp_path), attention_loss_weight=1.0)
    student = build_student(ModelArguments(model_name="auto", student_layers=[0, 3]), tiny.TAGS, TOKENIZER, teacher)
    with pytest.raises(UserError, match="a longformer have another shape. Set --attention_loss_weight 0"):
        DistillationTrainer(student, training, teacher, processing_class=TOKENIZER)


@pytest.mark.parametrize("family", ["xlm-roberta", "deberta-v3", "modernbert", "mpnet", "albert", "xlnet", "gpt2"])
def test_hidden_states_and_attentions_of_other_families_teach(tmp_path, family):
    weights = {"embedding_loss_weight": 1.0, "hidden_loss_weight": 1.0, "attention_loss_weight": 1.0}
    training = DistillationArguments(
        str(tmp_path), **weights, use_cpu=True, bf16=False, max_steps=1, logging_steps=1, eval_strategy="no"
    )
    rows = encode_dataset(tiny.corpus(8), TOKENIZER, 64, tiny.TAGS)
    student = classifier(family)
    torch.nn.init.normal_(student.get_input_embeddings().weight)
    trainer = DistillationTrainer(student, training, teacher_of(family), processing_class=TOKENIZER, train_dataset=rows)
    trainer.train()
    log = next(log for log in trainer.state.log_history if "loss" in log)
    assert all(log[f"{name}_loss"] > 0 for name in ("embedding", "hidden", "attention"))
