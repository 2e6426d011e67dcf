import pytest
import tiny
import torch
from tokenizers import normalizers

from hf_distill.runtime.configuration_bilstm import BiLSTMConfig
from hf_distill.runtime.modeling_bilstm import BiLSTMForTokenClassification, Dropout
from hf_distill.runtime.pipeline import predict_words
from hf_distill.students.build import build_student, label_config

BERT_FIELDS = {
    "vocab_size": 28996,
    "hidden_size": 768,
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
    "layer_norm_eps": 1e-12,
    "hidden_dropout_prob": 0.1,
    "pad_token_id": 0,
}


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
    assert abs(4 * count / 2**20 - size) < 0.1


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


@pytest.mark.parametrize(
    "options",
    [{}, {"classifier_size": 5}, {"embedding_type": "bert"}, {"n_layers": 1}, {"word_feature_rows": 4}],
)
def test_logits_do_not_depend_on_padding(tokenizer, options):
    student = build_student(tiny.bilstm_arguments(**options), tiny.TAGS, tokenizer, tiny.teacher(tokenizer)).eval()
    ids = torch.randint(5, len(tokenizer), (3, 9))
    mask = torch.ones_like(ids)
    mask[1, 4:] = 0
    inputs = {"input_ids": ids * mask}
    if options.get("word_feature_rows"):
        inputs["word_features"] = torch.randint(1, 13, (3, 9, 3)) * mask[..., None]
    padded = student(**inputs, attention_mask=mask).logits
    assert padded.shape == (3, 9, 5)
    short, full = ({name: values[part] for name, values in inputs.items()} for part in (1, slice(None, None, 2)))
    short = {name: values[None, :4] for name, values in short.items()}
    torch.testing.assert_close(padded[1:2, :4], student(**short).logits)
    torch.testing.assert_close(padded[::2], student(**full).logits)


def test_a_student_that_reads_features_sees_case_and_does_not_go_without():
    student, tokenizer = tiny.random_student("features", tiny.TAGS)
    tokenizer.backend_tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    small, capital = predict_words(student.eval(), tokenizer, [["the", "was"], ["the", "WAS"]], 64)
    assert abs(small - capital).max() > 0.1
    assert student.feature_embeddings.weight[0].abs().sum() == 0
    with pytest.raises(ValueError, match="also reads how words are written"):
        student(**tokenizer("the was", return_tensors="pt"))


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
