import numpy as np
import pytest
import tiny
import torch

from hf_distill.data.encoding import encode_dataset
from hf_distill.runtime.tags import UserError
from hf_distill.teachers.labels import match_labels
from hf_distill.teachers.signals import SHARD_SENTENCES, SignalStore, attach_signals, read_signals


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
    monkeypatch.setattr("hf_distill.teachers.signals._write_shard", lambda *parts: None)
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
        other.labels = match_labels([*tiny.TAGS[1::-1], *tiny.TAGS[2:]], tiny.TAGS)
    stores = SignalStore(teacher, text, tmp_path), SignalStore(other, text, tmp_path, bf16=change == "format")
    assert stores[0].folder != stores[1].folder


def test_shards_put_together_again(tmp_path, tokenizer, monkeypatch):
    monkeypatch.setattr("hf_distill.teachers.signals.SHARD_SENTENCES", 7)
    assert SHARD_SENTENCES > 7
    teacher, text = tiny.teacher(tokenizer), tiny.corpus(40, seed=4)
    store = SignalStore(teacher, text, tmp_path)
    attached = attach_signals([store], encode_dataset(text, tokenizer, 64, tiny.TAGS))
    assert len(list(store.folder.iterdir())) == -(-len({tuple(words) for words in text["tokens"]}) // 7)
    for row, expected in zip(attached, teacher.predict(text["tokens"]), strict=True):
        np.testing.assert_allclose(row["teacher_logits"], expected, atol=1e-5)


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
