import pytest
import tiny
import torch

from hf_distill.runtime.tags import UserError
from hf_distill.teachers.parts import head_name, layers_name


def test_the_head_is_none_of_the_encoders_layers(tokenizer):
    """Also where there are as many labels as hidden units."""
    model = tiny.bert(tokenizer, tags=[f"I-{number}" for number in range(24)])
    assert head_name(model) == "classifier"
    model.classifier = torch.nn.Identity()
    with pytest.raises(UserError, match="no linear layer with 24 outputs"):
        head_name(model)


def test_layers_are_the_outermost_list_of_their_number(tokenizer):
    model = tiny.bert(tokenizer, layers=2)
    model.bert.encoder.layer[0].parts = torch.nn.ModuleList([torch.nn.Identity(), torch.nn.Identity()])
    assert layers_name(model) == "bert.encoder.layer"
    model.bert.others = torch.nn.ModuleList([torch.nn.Identity(), torch.nn.Identity()])
    with pytest.raises(UserError, match="BertForTokenClassification .type bert., which shares"):
        layers_name(model)
