import subprocess
import sys
from pathlib import Path

import pytest
import tiny
import torch
from transformers import AutoModelForTokenClassification, BertConfig, BertForTokenClassification, pipeline

from hf_distill.arguments import ModelArguments
from hf_distill.export import save_model
from hf_distill.labels import REFERENCE_TEACHER_LABELS, UserError, model_tags
from hf_distill.models import BiLSTMConfig, BiLSTMForTokenClassification
from hf_distill.models.modeling_bilstm import Dropout
from hf_distill.projection import ProjectedStudent
from hf_distill.students import build_student, label_config, reduce_embeddings

MEBIBYTE = 2**20 / 4  # parameters in fp32

BERT_FIELDS = {
    "vocab_size": 28996,
    "hidden_size": 768,
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
    "layer_norm_eps": 1e-12,
    "hidden_dropout_prob": 0.1,
    "pad_token_id": 0,
}


class ReferenceTokenizer:
    """What a builder asks of the reference's tokenizer."""

    pad_token_id = 0

    def __len__(self):
        return 28996


@pytest.mark.parametrize(
    ("options", "parameters", "millions", "size"),
    [
        ({}, 12_313_809, "12.31", 46.9),
        ({"classifier_size": 256}, 12_464_569, "12.46", 47.6),
        ({"classifier_size": 256, "hidden_size": 200}, 10_570_169, "10.57", 40.3),
        ({"classifier_size": 256, "embedding_size": 768, "embedding_type": "bert"}, 27_554_185, "27.55", 105.1),
    ],
)
def test_bilstm_sizes_of_the_reference(options, parameters, millions, size):
    """With its vocabulary and nine labels; its tables round 46.97 and 47.55 MiB to 46.9 (or 47) and 47.6."""
    bert = BERT_FIELDS if options.get("embedding_type") == "bert" else None
    with torch.device("meta"):
        model = BiLSTMForTokenClassification(BiLSTMConfig(**options, bert_config=bert, num_labels=9))
    count = model.num_parameters()
    assert count == parameters and f"{count / 1e6:.2f}" == millions
    assert abs(count / MEBIBYTE - size) < 0.1


def test_tinybert_and_teacher_sizes_of_the_reference():
    with torch.device("meta"):
        args = ModelArguments(model_name="tinybert")
        student = build_student(args, REFERENCE_TEACHER_LABELS, ReferenceTokenizer())
        teacher = BertForTokenClassification(BertConfig(vocab_size=28996, num_labels=9))
        training = ProjectedStudent(student, 768)
    assert f"{student.num_parameters() / 1e6:.2f}" == "13.78"
    count = sum(parameter.numel() for parameter in training.parameters())
    assert (f"{count / 1e6:.2f}", f"{count / MEBIBYTE:.0f}") == ("14.26", "54")
    assert (f"{teacher.num_parameters() / 1e6:.1f}", f"{teacher.num_parameters() / MEBIBYTE:.0f}") == ("107.7", "411")


def bilstm_arguments(**options) -> ModelArguments:
    return ModelArguments(**{"embedding_size": 8, "hidden_size": 6, **options})


@pytest.fixture(scope="module")
def tokenizer():
    return tiny.wordpiece()


def test_reading_by_hand_is_what_a_packed_lstm_gives():
    """On a CPU each direction is run by itself; a GPU takes the packed sequence."""
    torch.manual_seed(0)
    config = BiLSTMConfig(vocab_size=9, embedding_size=6, hidden_size=5, num_hidden_layers=3, num_labels=2, dropout=0.0)
    model = BiLSTMForTokenClassification(config)
    lengths = torch.tensor([4, 7, 1, 7])
    mask = (torch.arange(7) < lengths[:, None]).long()
    states = torch.randn(4, 7, 6)
    packed = torch.nn.utils.rnn.pack_padded_sequence(states, lengths, batch_first=True, enforce_sorted=False)
    expected = torch.nn.utils.rnn.pad_packed_sequence(model.lstm(packed)[0], batch_first=True)[0]
    torch.testing.assert_close(model._read(states, mask) * mask[..., None], expected)
    wider = torch.nn.functional.pad(mask, (0, 3))
    read = model._read(torch.nn.functional.pad(states, (0, 0, 0, 3)), wider)
    torch.testing.assert_close(read * wider[..., None], torch.nn.functional.pad(expected, (0, 0, 0, 3)))


@pytest.mark.parametrize("options", [{}, {"classifier_size": 5}, {"embedding_type": "bert"}, {"n_layers": 1}])
def test_logits_do_not_depend_on_padding(tokenizer, options):
    student = build_student(bilstm_arguments(**options), tiny.TAGS, tokenizer, tiny.teacher(tokenizer)).eval()
    ids = torch.randint(5, len(tokenizer), (3, 9))
    mask = torch.ones_like(ids)
    mask[1, 4:] = 0
    padded = student(input_ids=ids * mask, attention_mask=mask).logits
    assert padded.shape == (3, 9, 5)
    torch.testing.assert_close(padded[1:2, :4], student(input_ids=ids[1:2, :4]).logits)
    torch.testing.assert_close(padded[::2], student(input_ids=ids[::2]).logits)


def test_a_student_takes_over_embeddings(tokenizer):
    teacher = tiny.teacher(tokenizer)
    table = teacher.model.bert.embeddings.word_embeddings.weight.detach()
    ids = torch.arange(5, 25)[None]
    whole = build_student(bilstm_arguments(embedding_type="bert"), tiny.TAGS, tokenizer, teacher).eval()
    torch.testing.assert_close(whole.embeddings(ids), teacher.model.bert.embeddings(ids))
    same = build_student(bilstm_arguments(embedding_type="svd", embedding_size=99), tiny.TAGS, tokenizer, teacher)
    assert same.config.embedding_size == 24, "no more dimensions than the teacher's"
    torch.testing.assert_close(same.embeddings.weight, table / table.std())
    small = build_student(bilstm_arguments(embedding_type="svd"), tiny.TAGS, tokenizer, teacher)
    assert small.embeddings.weight.std().item() == pytest.approx(1)
    # The best approximation of rank 8 keeps the inner products of its own factors.
    u, s, v = torch.linalg.svd(table.double(), full_matrices=False)
    best = (u[:, :8] * s[:8]) @ (u[:, :8] * s[:8]).T
    mine = small.embeddings.weight.detach().double()
    mine = mine @ mine.T
    torch.testing.assert_close(mine / mine.norm(), best / best.norm(), atol=1e-6, rtol=1e-4)


def test_reduced_embeddings_by_hand():
    weight = torch.tensor([[3.0, 4.0], [6.0, 8.0], [0.0, 0.0]])  # rank one, along (0.6, 0.8)
    reduced = reduce_embeddings(weight, 1)
    expected = torch.tensor([[5.0], [10.0], [0.0]]) / 5.0  # the standard deviation of 5, 10, 0 is 5
    torch.testing.assert_close(reduced.abs(), expected)


def test_a_tinybert_from_layers_of_the_teacher(tokenizer):
    teacher = tiny.teacher(tokenizer, layers=3)
    args = ModelArguments(model_name="tinybert", student_layers=[0, 1, 2])
    student = build_student(args, tiny.TAGS, tokenizer, teacher).eval()
    ids = torch.arange(5, 25)[None]
    torch.testing.assert_close(student(ids).logits, teacher.model(ids).logits)
    fewer = build_student(ModelArguments(model_name="tinybert", student_layers=[0, 2]), tiny.TAGS, tokenizer, teacher)
    assert fewer.config.num_hidden_layers == 2
    own, theirs = fewer.bert.encoder.layer[1], teacher.model.bert.encoder.layer[2]
    torch.testing.assert_close(own.output.dense.weight, theirs.output.dense.weight)
    assert model_tags(fewer.config) == tiny.TAGS


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"embedding_type": "svd"}, "give --teacher_model_name_or_path"),
        ({"model_name": "tinybert", "student_layers": [9]}, "layers 0 to 1"),
    ],
)
def test_what_does_not_fit_is_refused(tokenizer, options, message):
    teacher = None if "embedding_type" in options else tiny.teacher(tokenizer)
    with pytest.raises(UserError, match=message):
        build_student(ModelArguments(**options), tiny.TAGS, tokenizer, teacher)


def test_parts_of_another_family_are_refused_by_name(tokenizer):
    from transformers import DistilBertConfig, DistilBertForTokenClassification

    from hf_distill.teacher import Teacher

    config = DistilBertConfig(vocab_size=len(tokenizer), dim=12, n_heads=2, n_layers=1, hidden_dim=8, num_labels=5)
    teacher = Teacher(DistilBertForTokenClassification(config), tokenizer, [[0]], 64)
    for args in (bilstm_arguments(embedding_type="bert"), ModelArguments(model_name="tinybert", student_layers=[0])):
        with pytest.raises(UserError, match="distilbert"):
            build_student(args, tiny.TAGS, tokenizer, teacher)
    assert build_student(bilstm_arguments(embedding_type="svd"), tiny.TAGS, tokenizer, teacher)
    student = build_student(bilstm_arguments(embedding_type="svd"), tiny.TAGS, tiny.byte_level(), teacher)
    assert student.config.vocab_size == len(tiny.byte_level()), "word embeddings are carried over to any tokenizer"


def test_any_token_classifier_can_be_the_student(tmp_path, tokenizer):
    from transformers import DistilBertConfig, DistilBertForTokenClassification

    config = DistilBertConfig(vocab_size=len(tokenizer), dim=12, n_heads=2, n_layers=1, hidden_dim=8, num_labels=3)
    save_model(DistilBertForTokenClassification(config), tokenizer, tmp_path)
    args = ModelArguments(model_name="auto", student_model_name_or_path=str(tmp_path))
    student = build_student(args, tiny.TAGS, tokenizer)
    assert type(student) is DistilBertForTokenClassification
    assert student.classifier.out_features == 5 and model_tags(student.config) == tiny.TAGS
    with pytest.raises(UserError, match="type bert.*distilbert"):
        build_student(
            ModelArguments(model_name="tinybert", student_model_name_or_path=str(tmp_path)), tiny.TAGS, tokenizer
        )


def test_a_loaded_head_meets_the_labels_by_name(tmp_path, tokenizer):
    student = build_student(bilstm_arguments(), tiny.TAGS, tokenizer)
    save_model(student, tokenizer, tmp_path)
    args = ModelArguments(model_name="bilstm", student_model_name_or_path=str(tmp_path))
    again = build_student(args, tiny.TAGS, tokenizer)
    assert torch.equal(again.lstm.weight_ih_l0, student.lstm.weight_ih_l0)
    assert torch.equal(again.classifier.weight, student.classifier.weight)
    # The same labels in another order.
    turned = build_student(args, tiny.TAGS[::-1], tokenizer)
    assert torch.equal(turned.classifier.weight, student.classifier.weight.flip(0))
    other = build_student(args, ["O", "B-DRUG", "I-DRUG"], tokenizer)
    assert torch.equal(other.lstm.weight_ih_l0, student.lstm.weight_ih_l0)
    # PyTorch draws a linear layer's weights from +-1/sqrt(its inputs).
    assert 0 < other.classifier.weight.abs().max() <= 12**-0.5
    assert model_tags(other.config) == ["O", "B-DRUG", "I-DRUG"]
    assert other(torch.ones(1, 4, dtype=torch.long)).logits.shape == (1, 4, 3)
    with pytest.raises(UserError, match="not evaluated"):
        build_student(args, ["O", "B-DRUG", "I-DRUG"], tokenizer, new_head=False)


LOAD = """
import sys
sys.modules["hf_distill"] = None  # as if it were not installed
import torch
from transformers import AutoModelForTokenClassification, AutoTokenizer
model = AutoModelForTokenClassification.from_pretrained(sys.argv[1], trust_remote_code=sys.argv[2] == "yes")
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
encoded = tokenizer(["p53 kinase binds the receptor", "mice"], padding=True, return_tensors="pt")
torch.save(model.eval()(**encoded).logits, sys.argv[1] + "/logits.pt")
"""


@pytest.mark.parametrize("kind", ["bilstm", "bilstm with BERT embeddings", "tinybert"])
def test_a_saved_student_loads_without_this_package(tmp_path, tokenizer, kind):
    options = {"embedding_type": "bert"} if "BERT" in kind else {}
    args = ModelArguments(model_name="tinybert", hidden_size=12) if kind == "tinybert" else bilstm_arguments(**options)
    student = build_student(args, tiny.TAGS, tokenizer, tiny.teacher(tokenizer)).eval()
    save_model(student, tokenizer, tmp_path)
    remote = "no" if kind == "tinybert" else "yes"
    subprocess.run([sys.executable, "-c", LOAD, str(tmp_path), remote], check=True, capture_output=True)
    encoded = tokenizer(["p53 kinase binds the receptor", "mice"], padding=True, return_tensors="pt")
    logits = torch.load(tmp_path / "logits.pt", weights_only=True)
    torch.testing.assert_close(logits, student(**encoded).logits)
    code = {path.name for path in Path(tmp_path).glob("*_bilstm.py")}
    assert code == (set() if kind == "tinybert" else {"configuration_bilstm.py", "modeling_bilstm.py"})


@pytest.mark.isa
def test_a_bilstm_learns_under_autocast_on_any_cpu(tokenizer):
    """oneDNN makes an LSTM in bf16 on some CPUs only."""
    model = BiLSTMForTokenClassification(BiLSTMConfig(len(tokenizer), 8, 8, dropout=0.0, **label_config(tiny.TAGS)))
    inputs = {"input_ids": torch.randint(5, len(tokenizer), (3, 7)), "labels": torch.randint(0, 5, (3, 7))}
    losses, gradients = [], []
    for enabled in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            output = model(**inputs)
        output.loss.backward()
        losses.append(output.loss.item())
        gradients.append(model.lstm.weight_hh_l0.grad.clone())
        model.zero_grad()
    assert output.logits.dtype == torch.bfloat16
    assert losses[0] == pytest.approx(losses[1], rel=0.02)
    torch.testing.assert_close(*gradients, atol=0.05 * gradients[0].abs().max().item(), rtol=0.1)


@pytest.mark.parametrize("p", [0.1, 0.3, 0.5, 0.999])
def test_dropout_drops_its_share_and_keeps_the_mean(p):
    dropout, states = Dropout(p), torch.ones(100_003, requires_grad=True)
    torch.manual_seed(0)
    dropped = dropout(states)
    kept = dropped != 0
    deviation = (p * (1 - p) / states.numel()) ** 0.5
    assert kept.float().mean().item() == pytest.approx(1 - p, abs=5 * deviation)
    assert dropped[kept].unique().tolist() == pytest.approx([1 / (1 - p)], rel=0.01)
    # Neighbours are dropped independently of one another.
    both = (kept[1:] & kept[:-1]).float().mean().item()
    assert both == pytest.approx((1 - p) ** 2, abs=10 * deviation)
    dropped.sum().backward()
    torch.testing.assert_close(states.grad, dropped.detach())
    torch.manual_seed(0)
    torch.testing.assert_close(dropout(states), dropped)
    assert dropout.eval()(states) is states


def test_the_stock_pipeline_finds_whole_iobes_mentions(tmp_path, tokenizer):
    """A mention of three words, one of a single word right behind it, and one whose first word has several subwords."""
    student = BertForTokenClassification(
        BertConfig(
            vocab_size=len(tokenizer),
            hidden_size=len(tokenizer),
            num_hidden_layers=0,
            num_attention_heads=1,
            intermediate_size=4,
            **label_config(tiny.TAGS),
        )  # fmt: skip
    )
    words = "the p53 alpha beta BRCA1 of kinase receptor mice".split()
    tags = "O B-GENE I-GENE E-GENE S-GENE O B-GENE E-GENE O".split()
    embeddings = student.bert.embeddings
    with torch.no_grad():
        # One-hot embeddings; layer normalisation keeps the order, so a word's first subword picks its row of the head.
        embeddings.word_embeddings.weight.copy_(torch.eye(len(tokenizer)))
        embeddings.position_embeddings.weight.zero_()
        embeddings.token_type_embeddings.weight.zero_()
        student.classifier.weight.zero_()
        student.classifier.bias.zero_()
        for word, tag in zip(words, tags, strict=True):
            first = tokenizer(word, add_special_tokens=False)["input_ids"][0]
            student.classifier.weight[tiny.TAGS.index(tag), first] = 1.0
    save_model(student, tokenizer, tmp_path)
    assert AutoModelForTokenClassification.from_pretrained(tmp_path).config.tags == tiny.TAGS
    # "ner" is the stock pipeline, which needs no code of the model's; "token-classification" is the model's own.
    for task, trust in (("ner", None), ("token-classification", True)):
        find = pipeline(task, str(tmp_path), aggregation_strategy="first", trust_remote_code=trust)
        found = find(" ".join(words))
        mentions = [(mention["entity_group"], " ".join(words)[mention["start"] : mention["end"]]) for mention in found]
        assert mentions == [("GENE", "p53 alpha beta"), ("GENE", "BRCA1"), ("GENE", "kinase receptor")]
