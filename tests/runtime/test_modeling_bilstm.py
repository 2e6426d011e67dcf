import copy
import json

import pytest
import tiny
import torch
from tokenizers import normalizers

from hf_distill.runtime.configuration_bilstm import BiLSTMConfig
from hf_distill.runtime.modeling_bilstm import BiLSTMForTokenClassification, Dropout, _autocast_runs_lstm
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
    [read] = model._read(states, lengths)
    torch.testing.assert_close(read * mask[..., None], expected)
    [read] = model._read(torch.nn.functional.pad(states, (0, 0, 0, 3)), lengths)
    assert read.shape == (4, 10, 10)
    torch.testing.assert_close(read[:, :7] * mask[..., None], expected)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"classifier_size": 5},
        {"embedding_type": "bert"},
        {"n_layers": 1},
        {"word_feature_rows": 4},
        {"n_stacks": 3},
    ],
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


SMALL_BERT = {"vocab_size": 20, "hidden_size": 8, "max_position_embeddings": 16, "pad_token_id": 0}
KINDS = {
    "train": {},
    "bert": {"embedding_type": "bert", "bert_config": SMALL_BERT},
    "features": {"word_feature_rows": 4},
    "stacks": {"num_stacks": 2},
    "bert stacks": {"num_stacks": 2, "embedding_type": "bert", "bert_config": SMALL_BERT},
}
RIGHT = torch.tensor([[1, 1, 1, 1, 0, 0], [1, 1, 1, 0, 0, 0]])


def bilstm(kind: str = "train") -> BiLSTMForTokenClassification:
    """A tiny BiLSTM with 20 subwords, of a kind of `KINDS`."""
    torch.manual_seed(0)
    return BiLSTMForTokenClassification(BiLSTMConfig(20, 8, 6, dropout=0.1, num_labels=3, **KINDS[kind])).eval()


def inputs_for(model: BiLSTMForTokenClassification, rows: int = 2, columns: int = 6) -> dict[str, torch.Tensor]:
    inputs = {"input_ids": torch.randint(1, 20, (rows, columns)), "labels": torch.randint(0, 3, (rows, columns))}
    if model.config.word_feature_rows:
        inputs["word_features"] = torch.randint(1, 13, (rows, columns, 3))
    return inputs


@pytest.mark.parametrize("mask", [[[0, 0, 1, 1, 1, 1], [0, 0, 0, 1, 1, 1]], [[1, 0, 1, 0, 1, 1], [1, 1, 1, 0, 0, 0]]])
@pytest.mark.parametrize("kind", KINDS)
def test_subwords_are_read_as_if_those_masked_were_not_there(kind, mask):
    model, mask = bilstm(kind), torch.tensor(mask)
    inputs = inputs_for(model)
    inputs["labels"][mask == 0] = -100
    right = {name: torch.zeros_like(values) for name, values in inputs.items()}
    right["labels"].fill_(-100)
    for name, values in inputs.items():
        right[name][RIGHT == 1] = values[mask == 1]
    expected = model(**right, attention_mask=RIGHT, output_hidden_states=True)
    output = model(**inputs, attention_mask=mask, output_hidden_states=True)
    torch.testing.assert_close(output.logits[mask == 1], expected.logits[RIGHT == 1])
    torch.testing.assert_close(output.loss, expected.loss)
    for states, others in zip(output.hidden_states, expected.hidden_states, strict=True):
        torch.testing.assert_close(states[mask == 1], others[RIGHT == 1])
    output.loss.backward()
    gradient = model.lstm.weight_hh_l0.grad.clone()
    model.zero_grad()
    expected.loss.backward()
    torch.testing.assert_close(model.lstm.weight_hh_l0.grad, gradient)


def of_each_stack(model: BiLSTMForTokenClassification, **inputs: torch.Tensor) -> torch.Tensor:
    """The logits [stacks, batch, subwords, labels] of models that have one of the stacks each."""
    logits = []
    for number, stack in enumerate((model.lstm, *model.more_stacks)):
        alone = copy.deepcopy(model).eval()
        alone.lstm, alone.more_stacks = copy.deepcopy(stack), torch.nn.ModuleList()
        own = model.get_input_embeddings().weight.chunk(model.config.num_stacks, -1)[number]
        alone.set_input_embeddings(torch.nn.Embedding.from_pretrained(own.detach()))
        logits.append(alone(**inputs).logits)
    return torch.stack(logits)


def test_stacks_are_an_ensemble():
    torch.manual_seed(0)
    config = BiLSTMConfig(20, 8, 6, dropout=0.0, num_labels=3, num_stacks=3)
    model = BiLSTMForTokenClassification(config).eval()
    mask = (torch.arange(6) < torch.tensor([6, 2, 5, 6, 1, 3, 4])[:, None]).long()
    inputs = {"input_ids": torch.randint(1, 20, mask.shape), "attention_mask": mask}
    apart = of_each_stack(model, **inputs)
    assert (apart[0] - apart[1])[mask == 1].abs().min() > 1e-6
    torch.testing.assert_close(model(**inputs).logits[mask == 1], apart.mean(0)[mask == 1])

    # In training each sentence is read by one: of seven two or three by each, and not always by the same.
    model.train()
    shares = set()
    for _ in range(20):
        logits = model(**inputs).logits
        readers = [
            [stack for stack in range(3) if torch.allclose(apart[stack, row, real], logits[row, real])]
            for row, real in enumerate(mask == 1)
        ]
        assert all(len(stacks) == 1 for stacks in readers)
        share = tuple(readers.count([stack]) for stack in range(3))
        assert sorted(share) == [2, 2, 3]
        shares.add(share)
    assert len(shares) == 3

    # Each of fewer sentences is read by all, so that all learn.
    few = {name: values[:2] for name, values in inputs.items()}
    real = few["attention_mask"] == 1
    torch.testing.assert_close(model(**few).logits[real], apart.mean(0)[:2][real])
    model(**few, labels=few["attention_mask"]).loss.backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in model.parameters())


@pytest.mark.parametrize("number", [1, 3])
@pytest.mark.parametrize(
    "kind, message", [("stacks", "ignore_mismatched_sizes"), ("bert stacks", "another number of stacks than")]
)
def test_weights_of_another_number_of_stacks_than_the_configuration_says_are_refused(tmp_path, number, kind, message):
    bilstm(kind).save_pretrained(tmp_path)
    fields = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(fields | {"num_stacks": number}))
    with pytest.raises((RuntimeError, ValueError), match=message):
        BiLSTMForTokenClassification.from_pretrained(tmp_path)


def test_masks_of_any_type_of_number_are_read():
    model = bilstm()
    ids = inputs_for(model)["input_ids"]
    expected = model(input_ids=ids, attention_mask=RIGHT).logits
    for mask in (RIGHT.bool(), RIGHT.float(), RIGHT.half(), RIGHT.int()):
        torch.testing.assert_close(model(input_ids=ids, attention_mask=mask).logits, expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"attention_mask": (RIGHT - 1) * 1e9}, "no other number"),
        ({"attention_mask": RIGHT * 0.5}, "no other number"),
        ({"attention_mask": RIGHT[:, :5]}, r"shape \[2, 5\], but the subwords \[2, 6\]"),
        ({"attention_mask": RIGHT[:, None, None]}, r"shape \[2, 1, 1, 6\]"),
        ({"inputs_embeds": torch.zeros(2, 6, 8)}, "either input_ids or inputs_embeds"),
        ({"input_ids": None}, "either input_ids or inputs_embeds"),
    ],
)
def test_inputs_that_cannot_be_meant_are_refused(change, message):
    model = bilstm()
    with pytest.raises(ValueError, match=message):
        model(**inputs_for(model) | {"attention_mask": RIGHT} | change)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("width", [4, 8, 12, 16])
def test_embeddings_of_another_width_are_refused(kind, width):
    model = bilstm(kind)
    own = {"inputs_embeds": torch.zeros(2, 6, width), "word_features": torch.ones(2, 6, 3, dtype=torch.long)}
    if width == model.get_input_embeddings().weight.shape[1]:
        assert model(**own).logits.shape == (2, 6, 3)
    else:
        with pytest.raises((RuntimeError, ValueError), match=rf"{width}\)? (values a subword|must match)"):
            model(**own)


@pytest.mark.parametrize("stacks", [1, 2])
def test_a_bert_of_another_size_than_the_embeddings_is_refused(stacks):
    with pytest.raises(ValueError, match="hidden_size, 8, is not embedding_size, 4"):
        BiLSTMForTokenClassification(BiLSTMConfig(20, 4, num_stacks=stacks, **KINDS["bert"]))


@pytest.mark.parametrize("kind", KINDS)
def test_word_embeddings_are_taken_instead_of_ids(kind):
    model = bilstm(kind)
    inputs = inputs_for(model)
    expected = model(**inputs, attention_mask=RIGHT).logits
    embeddings = model.get_input_embeddings()(inputs.pop("input_ids"))
    torch.testing.assert_close(model(**inputs, attention_mask=RIGHT, inputs_embeds=embeddings).logits, expected)


def test_hidden_states_and_tuples_come_on_request_or_by_configuration():
    model = bilstm()
    inputs = inputs_for(model) | {"attention_mask": RIGHT}
    output = model(**inputs, output_hidden_states=True)
    assert [states.shape for states in output.hidden_states] == [(2, 6, 8), (2, 6, 12), (2, 6, 12)]
    torch.testing.assert_close(output.hidden_states[0], model.embeddings(inputs["input_ids"]))
    torch.testing.assert_close(model.classifier(output.hidden_states[-1]), output.logits)
    assert model(**inputs).hidden_states is None
    asked = model(**inputs, output_hidden_states=True, return_dict=False)
    model.config.output_hidden_states, model.config.return_dict = True, False
    assert model(**inputs, return_dict=True, output_hidden_states=False).hidden_states is None
    for loss, logits, hidden_states in (asked, model(**inputs)):
        torch.testing.assert_close((loss, logits, hidden_states), output.to_tuple())


@pytest.mark.parametrize("shape", [(0, 6), (2, 0), (0, 0)])
@pytest.mark.parametrize("kind", KINDS)
def test_an_empty_batch_has_empty_logits(kind, shape):
    model = bilstm(kind)
    inputs = inputs_for(model, *shape) | {"attention_mask": torch.ones(shape)}
    output = model(**inputs, output_hidden_states=True)
    assert output.logits.shape == (*shape, 3) and output.loss == 0
    size = 16 if kind == "stacks" else 8
    assert [states.shape for states in output.hidden_states] == [(*shape, size), (*shape, 12), (*shape, 12)]


@pytest.mark.parametrize("size", [25, 15])
@pytest.mark.parametrize("kind", KINDS)
def test_a_table_of_another_size_is_saved_and_loaded(kind, size, tmp_path):
    model = bilstm(kind)
    padding_idx = model.get_input_embeddings().padding_idx
    model.resize_token_embeddings(size)
    assert model.config.vocab_size == (model.config.bert_config or {}).get("vocab_size", size) == size
    assert SMALL_BERT["vocab_size"] == 20
    model.save_pretrained(tmp_path)
    loaded = BiLSTMForTokenClassification.from_pretrained(tmp_path)
    assert loaded.get_input_embeddings().num_embeddings == size
    assert loaded.get_input_embeddings().padding_idx == model.get_input_embeddings().padding_idx == padding_idx
    inputs = inputs_for(model) | {"input_ids": torch.tensor([[0, 5, size - 1, size - 2, 4, 3]] * 2)}
    torch.testing.assert_close(loaded(**inputs).logits, model(**inputs).logits)


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


@pytest.mark.isa
@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_bilstm_in_half_precision_runs_on_any_cpu(dtype, autocast):
    model = bilstm()
    inputs = inputs_for(model) | {"attention_mask": RIGHT}
    expected = model(**inputs).logits
    model = model.to(dtype)
    with torch.autocast("cpu", dtype, enabled=autocast):
        with torch.no_grad():
            torch.testing.assert_close(model(**inputs).logits, expected.to(dtype), atol=0.02, rtol=0)
        loss = model.train()(**inputs).loss
    loss.backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


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


def test_reading_draws_no_random_numbers():
    """Not the first time either: a run goes on from a checkpoint as if it had not stopped."""
    model = bilstm().eval()
    inputs = inputs_for(model)
    _autocast_runs_lstm.cache_clear()
    before = torch.get_rng_state()
    with torch.autocast("cpu", torch.bfloat16):
        model(**inputs)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_trace_is_refused():
    """It would hold for the lengths that it was made with, and give other lengths wrong logits."""
    model = BiLSTMForTokenClassification(BiLSTMConfig(9, 4, 4, num_labels=3)).eval()
    ids = torch.tensor([[1, 2, 3]])
    with pytest.raises(ValueError, match="cannot be traced.*Export to ONNX"):
        torch.jit.trace(model, (ids, torch.ones_like(ids)), strict=False)
