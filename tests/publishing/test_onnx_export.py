import os

import numpy as np
import onnx
import pytest
import tiny
import torch
from transformers import (
    AlbertConfig,
    AlbertForTokenClassification,
    DistilBertConfig,
    DistilBertForTokenClassification,
    LongformerConfig,
    LongformerForTokenClassification,
    RobertaConfig,
    RobertaForTokenClassification,
    XLNetConfig,
    XLNetForTokenClassification,
)

from hf_distill.evaluation.metrics import count
from hf_distill.publishing.onnx_export import _without_lines, export_onnx, write_onnx
from hf_distill.runtime.configuration_bilstm import BiLSTMConfig
from hf_distill.runtime.modeling_bilstm import BiLSTMForTokenClassification
from hf_distill.runtime.onnx_model import OnnxModel
from hf_distill.runtime.pipeline import predict_words
from hf_distill.runtime.tags import UserError
from hf_distill.students.build import label_config
from hf_distill.students.student import Student

TOKENIZER = tiny.wordpiece()
TEXT = tiny.corpus(40, seed=3, longest=20)


def student(kind):
    torch.manual_seed(0)
    common = {"vocab_size": len(TOKENIZER), "pad_token_id": 0, **label_config(tiny.TAGS)}
    if kind == "tinybert":
        return tiny.bert(TOKENIZER, hidden=48)
    if kind == "roberta":
        config = RobertaConfig(
            hidden_size=24, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, **common
        )
        return RobertaForTokenClassification(config)
    if kind == "distilbert":
        return DistilBertForTokenClassification(
            DistilBertConfig(dim=24, n_layers=2, n_heads=2, hidden_dim=32, **common)
        )
    if kind == "albert":
        sizes = {"embedding_size": 12, "hidden_size": 24, "num_attention_heads": 2, "intermediate_size": 32}
        return AlbertForTokenClassification(AlbertConfig(num_hidden_layers=2, **sizes, **common))
    if kind == "xlnet":
        return XLNetForTokenClassification(XLNetConfig(d_model=24, n_layer=2, n_head=2, d_inner=32, **common))
    sizes = {"embedding_size": 24, "hidden_size": 16, "classifier_size": 8 * (kind == "deep head")}
    sizes |= {"word_feature_rows": 30 * (kind == "features"), "num_stacks": 3 if kind == "stacks" else 1}
    if kind == "bert embeddings":
        table = {"vocab_size": len(TOKENIZER), "hidden_size": 24, "max_position_embeddings": 64}
        sizes |= {"embedding_type": "bert", "bert_config": table}
    return BiLSTMForTokenClassification(BiLSTMConfig(**sizes, **common))


@pytest.mark.isa
@pytest.mark.parametrize(
    "kind",
    [
        "bilstm",
        "deep head",
        "bert embeddings",
        "features",
        "stacks",
        "tinybert",
        "roberta",
        "distilbert",
        "albert",
        "xlnet",
    ],
)
def test_the_export_gives_pytorchs_logits_for_any_batch_and_length(tmp_path, kind):
    model = student(kind).eval()
    report = export_onnx(Student(model, TOKENIZER, 64, tiny.TAGS), tmp_path, TEXT["tokens"], TEXT["tags"])
    assert report["onnx_f1"] == report["pytorch_f1"]
    assert report["int8_bytes"] < report["onnx_bytes"]
    assert sorted(path.name for path in (tmp_path / "onnx").iterdir()) == ["model.onnx", "model_quantized.onnx"]
    exported = OnnxModel(tmp_path / "onnx" / "model.onnx", model.config, threads=1)
    for lengths in ([1], [7], [3, 9, 5], [2, 2, 2, 2], [1, 30, 64, 17, 64]):
        mask = (torch.arange(max(lengths))[None] < torch.tensor(lengths)[:, None]).long()
        inputs = {"input_ids": torch.randint(5, len(TOKENIZER), mask.shape) * mask, "attention_mask": mask}
        if kind == "features":
            inputs["word_features"] = torch.randint(1, 91, (*mask.shape, 3)) * mask[..., None]
        with torch.no_grad():
            expected = model(**inputs).logits
        arrays = {name: values.numpy() for name, values in inputs.items()}
        found = torch.from_numpy(exported(**arrays))
        np.testing.assert_allclose(found[mask.bool()], expected[mask.bool()], atol=1e-4)
    if kind != "xlnet":  # whose padding is not neutral
        in_int8 = OnnxModel(tmp_path / "onnx" / "model_quantized.onnx", model.config, threads=1)
        together = in_int8(**arrays)
        for row, length in enumerate(lengths):
            alone = in_int8(**{name: values[row : row + 1, :length] for name, values in arrays.items()})
            np.testing.assert_allclose(together[row, :length], alone[0], atol=1e-5)


def test_int8_weights_have_a_scale_for_each_unit(tmp_path):
    model = student("bilstm").eval()
    with torch.no_grad():
        model.classifier.weight[1].mul_(100)
        model.get_input_embeddings().weight[4].mul_(1000)  # [MASK], which no text has
    [whole, quantized] = write_onnx(model, tmp_path)
    ids = np.arange(5, 45)[None]
    inputs = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
    answers = [OnnxModel(path, model.config)(**inputs) for path in (whole, quantized)]
    largest = np.abs(answers[0]).max((0, 1))
    assert (np.abs(answers[0] - answers[1]).max((0, 1)) < 0.02 * largest).all()


@pytest.mark.parametrize("kind", ["bilstm", "tinybert"])
def test_int8_sums_overflow_on_no_cpu(tmp_path, kind):
    """Some CPUs add two products of a weight and an activation (0 to 255) in 16 bits: 2 * 255 * 64 = 32640 fits."""
    [_, quantized] = write_onnx(student(kind).eval(), tmp_path, "dynamic")
    graph = onnx.load(quantized).graph
    weights = {each.name: onnx.numpy_helper.to_array(each) for each in graph.initializer}
    inputs = {"MatMulInteger": [1], "DynamicQuantizeLSTM": [1, 2]}
    factors = [weights[node.input[place]] for node in graph.node for place in inputs.get(node.op_type, [])]
    assert len(factors) >= 5
    assert max(abs(each.astype(int)).max() for each in factors) == 64


def test_an_export_that_int8_spoils_is_refused_and_leaves_nothing(tmp_path):
    model = student("bilstm").eval()
    with torch.no_grad():
        # One huge number in each row takes all of int8: the others become zero.
        model.get_input_embeddings().weight[:, 0] = 1e6
        model.lstm.weight_ih_l0[:, 0] = model.lstm.weight_ih_l0_reverse[:, 0] = 0
        model.classifier.weight.mul_(100)
    own = count(predict_words(model, TOKENIZER, TEXT["tokens"], 64), TEXT["tags"], tiny.TAGS).predictions
    with pytest.raises(UserError, match="in int8 .on a CPU with .*the student's F1 is 0.*in PyTorch 1.0000"):
        export_onnx(Student(model, TOKENIZER, 64, tiny.TAGS), tmp_path, TEXT["tokens"], own)
    assert not list(tmp_path.iterdir())


def test_a_model_that_pads_by_length_is_refused_by_name(tmp_path):
    config = LongformerConfig(
        vocab_size=len(TOKENIZER), hidden_size=24, num_hidden_layers=1, num_attention_heads=2, attention_window=8,
        intermediate_size=32, **label_config(tiny.TAGS)
    )  # fmt: skip
    model = Student(LongformerForTokenClassification(config), TOKENIZER, 64, tiny.TAGS)
    with pytest.raises(UserError, match="type longformer holds for sentences of one length"):
        export_onnx(model, tmp_path, TEXT["tokens"], TEXT["tags"])
    assert not list(tmp_path.iterdir())


def test_only_what_is_known_is_left_out_of_standard_error(capfd):
    with _without_lines(b"type is missing"):
        os.write(2, b"[W1] Warning: the type is missing\n[W2] Warning: something else\n")  # as C++ does
    assert capfd.readouterr().err == "[W2] Warning: something else\n"
