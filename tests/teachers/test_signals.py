import numpy as np
import pytest
import tiny
import torch
from datasets import concatenate_datasets

from hf_distill.data.encoding import encode_dataset
from hf_distill.runtime.tags import UserError, make_tags
from hf_distill.teachers.compression import LARGEST, restore
from hf_distill.teachers.labels import match_labels
from hf_distill.teachers.signals import SHARD_SENTENCES, SignalStore, attach_signals, read_signals
from hf_distill.teachers.teacher import Teacher

# 53 labels: more than are stored.
MANY = make_tags([f"TYPE-{number:02d}" for number in range(13)], "IOBES")


def many_teacher(tokenizer, seed: int = 0) -> Teacher:
    """A tiny random teacher with many labels."""
    model = tiny.bert(tokenizer, MANY, seed=seed)
    torch.nn.init.normal_(model.classifier.weight, std=3)
    return Teacher(model, tokenizer, match_labels(MANY, MANY), 64)


def unpack(row, n_labels: int = len(tiny.TAGS)) -> np.ndarray:
    """The logits of a row of `attach_signals`."""
    words = len(row["word_positions"])
    logits = np.frombuffer(row["teacher_logits"], np.float32).reshape(words, -1)
    if "teacher_labels" not in row:
        return logits
    labels = np.frombuffer(row["teacher_labels"], np.uint16).reshape(words, -1).astype(int)
    return restore(torch.tensor(logits), torch.tensor(labels), n_labels).numpy()


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
        np.testing.assert_allclose(unpack(row), expected, atol=1e-5)


def test_rows_of_another_dataset_than_the_stores_are_refused(tmp_path, tokenizer):
    parts = [tiny.corpus(5, seed=seed) for seed in (1, 2)]
    whole = concatenate_datasets(parts)
    store = SignalStore(tiny.teacher(tokenizer), whole, tmp_path)
    encoded = [encode_dataset(text, tokenizer, 64, tiny.TAGS) for text in (whole, *parts)]
    assert len(attach_signals([store], encoded[0])) == len(attach_signals([store], encoded[1])) * 2
    for rows in (concatenate_datasets(encoded[1:]), encoded[2]):
        with pytest.raises(UserError, match="encoded apart"):
            attach_signals([store], rows)
    with pytest.raises(UserError, match="encoded apart"):
        attach_signals([SignalStore(store.teacher, parts[0], tmp_path)], encoded[0])


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
        np.testing.assert_allclose(unpack(row), stored, atol=1e-5)
    # A single teacher's logits stay as they are.
    for stored, logits in zip(read_signals(stores[:1]), teachers[0].predict(text["tokens"]), strict=True):
        np.testing.assert_allclose(stored, logits, atol=1e-5)


@pytest.mark.parametrize("count", [1, 2])
def test_of_many_labels_the_largest_are_stored(tmp_path, tokenizer, count):
    teachers = [many_teacher(tokenizer, seed) for seed in range(count)]
    text = tiny.corpus(20, seed=1, longest=40)
    stores = [SignalStore(teacher, text, tmp_path) for teacher in teachers]
    encoded = encode_dataset(text.map(lambda row: {"tags": ["O"] * len(row["tokens"])}), tokenizer, 16, MANY)
    attached = attach_signals(stores, encoded)
    answers = [[torch.tensor(scores).softmax(-1) for scores in teacher.predict(text["tokens"])] for teacher in teachers]
    means = [torch.stack(each).mean(0).numpy() for each in zip(*answers, strict=True)]
    for stored, mean in zip(read_signals(stores), means, strict=True):
        largest = np.argsort(mean)[:, -LARGEST // 2 :]  # the largest on average are among those of each
        np.testing.assert_allclose(
            np.take_along_axis(torch.tensor(stored).softmax(-1).numpy(), largest, 1),
            np.take_along_axis(mean, largest, 1), atol=0.01 * (count - 1) + 1e-5,
        )  # fmt: skip
    assert len(attached) > len(text), "some sentences have several windows"
    stored = read_signals(stores)
    for row in attached:
        words = slice(row["first_word"], row["first_word"] + len(row["word_positions"]))
        own = unpack(row, len(MANY))
        np.testing.assert_allclose(own.max(-1), stored[row["sentence"]][words].max(-1), rtol=1e-5)
        np.testing.assert_array_equal(own.argmax(-1), stored[row["sentence"]][words].argmax(-1))
    words = sum(map(len, text["tokens"]))
    assert sum(shard.stat().st_size for shard in stores[0].folder.iterdir()) < 140 * words, "small files: 100 and more"


def test_a_store_of_an_earlier_format_is_named(tmp_path, tokenizer, monkeypatch, caplog):
    text = tiny.corpus(5, seed=1)
    monkeypatch.setattr("hf_distill.teachers.signals.ALL", 100)
    monkeypatch.setattr("hf_distill.teachers.compression.ALL", 100)
    earlier = SignalStore(many_teacher(tokenizer), text, tmp_path)
    earlier.compute()
    monkeypatch.undo()
    store = SignalStore(many_teacher(tokenizer), text, tmp_path)
    assert store.folder != earlier.folder and len(store.missing)
    with caplog.at_level("WARNING"):
        store.compute()
    assert f"{earlier.folder}: this teacher's signals as an earlier version stored them" in caplog.text
