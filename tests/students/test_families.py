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

from hf_distill.arguments import ModelArguments
from hf_distill.runtime.schemes import model_tags
from hf_distill.students.build import build_student
from hf_distill.students.save import save_model
from hf_distill.teachers.parts import head_name

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
    "longformer": (LongformerConfig, SIZES | {"attention_window": [8, 4, 2, 8]}),
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
