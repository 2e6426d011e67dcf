from types import SimpleNamespace

import numpy as np
import tiny

from hf_distill.data.encoding import encode_dataset
from hf_distill.training.batching import DistillationCollator, EpochSampler


def test_rows_without_a_signal_are_left_out_where_there_is_no_teacher(tokenizer):
    rows = encode_dataset(tiny.corpus(2, seed=1), tokenizer, 64, tiny.TAGS).to_list()
    words = len(rows[0]["word_positions"])
    rows[0]["teacher_logits"] = np.eye(5, dtype=np.float32)[[1] * words].tobytes()
    batch = DistillationCollator(tokenizer)(rows)
    assert batch["teacher_logits"][0, :words].tolist() == [[0, 1, 0, 0, 0]] * words
    assert batch["signal_mask"].sum() == words and not batch["signal_mask"][1].any()
    with_teacher = DistillationCollator(tokenizer, tiny.teacher(tokenizer))(rows)
    assert "teacher_logits" not in with_teacher, "the live teacher is asked for the whole batch"


def test_the_largest_logits_come_with_their_labels(tokenizer):
    rows = encode_dataset(tiny.corpus(2, seed=1), tokenizer, 64, tiny.TAGS).to_list()
    words = [len(row["word_positions"]) for row in rows]
    logits = [np.random.default_rng(count).normal(size=(count, 3)).astype(np.float32) for count in words]
    labels = [np.array([[0, 40_000]] * count, dtype=np.uint16) for count in words]
    for row, own, largest in zip(rows, logits, labels, strict=True):
        row |= {"teacher_logits": own.tobytes(), "teacher_labels": largest.tobytes()}
    batch = DistillationCollator(tokenizer)(rows)
    for number, count in enumerate(words):
        np.testing.assert_array_equal(batch["teacher_logits"][number, :count], logits[number])
        np.testing.assert_array_equal(batch["teacher_labels"][number, :count], labels[number])
        assert batch["signal_mask"][number].sum() == count


def test_batches_have_one_length_and_an_order_of_their_own_each_epoch():
    lengths = np.random.default_rng(0).integers(5, 15, 1000).tolist()
    trainer = SimpleNamespace(args=SimpleNamespace(seed=3, data_seed=None), state=SimpleNamespace(epoch=0.0))
    sampler = EpochSampler(trainer, lengths, 8)
    first, again = list(sampler), list(sampler)
    trainer.state.epoch = 1.0
    second = list(sampler)
    assert first == again != second
    assert sorted(first) == sorted(second) == list(range(1000))
    batches = [{lengths[index] for index in first[start : start + 8]} for start in range(0, 1000, 8)]
    assert sum(len(batch) > 1 for batch in batches) <= 9, "ten lengths have nine borders"


def test_what_does_not_fill_a_step_comes_last_and_is_of_any_length():
    trainer = SimpleNamespace(args=SimpleNamespace(seed=3, data_seed=None), state=SimpleNamespace(epoch=0.0))
    sampler = EpochSampler(trainer, range(100), 16)
    rests = []
    for epoch in range(20):
        trainer.state.epoch = float(epoch)
        order = list(sampler)
        assert sorted(order) == list(range(100))
        assert all(np.ptp(order[start : start + 16]) < 20 for start in range(0, 96, 16)), "steps of equally long ones"
        rests.append(order[96])
    assert min(rests) < 30 < 70 < max(rests)
