from math import e, log

import numpy as np
import torch

from hf_distill.teachers.compression import ALL, LARGEST, compress, restore


def test_few_labels_are_kept_as_they_are():
    logits = np.random.default_rng(0).normal(size=(3, ALL)).astype(np.float32)
    assert compress([logits]) == [(logits, None)]


def test_the_largest_and_the_rest_by_hand(monkeypatch):
    monkeypatch.setattr("hf_distill.teachers.compression.ALL", 3)
    monkeypatch.setattr("hf_distill.teachers.compression.LARGEST", 2)
    signals, other = compress([np.array(rows, np.float32) for rows in ([[1, 5, 2, 3], [9, 0, 0, 8]], [[1, 1, 0, 0]])])
    assert other.labels.tolist() == [[0, 1]]
    assert signals.labels.tolist() == [[1, 3], [0, 3]] and signals.labels.dtype == np.uint16
    np.testing.assert_allclose(signals.logits, [[5, 3, log(e + e**2)], [9, 8, log(2)]], rtol=1e-6)
    restored = restore(torch.tensor(signals.logits), torch.tensor(signals.labels.astype(int)), 4)
    mean = log((e + e**2) / 2)
    np.testing.assert_allclose(restored, [[mean, 5, mean, 3], [9, 0, 0, 8]], rtol=1e-6, atol=1e-6)


def test_the_largest_keep_their_probabilities():
    logits = torch.randn(50, 265, generator=torch.Generator().manual_seed(0)) * 4
    [signals] = compress([logits.numpy()])
    labels = torch.tensor(signals.labels.astype(int))
    restored = restore(torch.tensor(signals.logits), labels, 265)
    before, after = logits.softmax(-1), restored.softmax(-1)
    np.testing.assert_allclose(after.gather(1, labels), before.gather(1, labels), rtol=1e-4)
    assert (after.topk(LARGEST).indices.sort().values == before.topk(LARGEST).indices.sort().values).all()
    np.testing.assert_allclose(after.sum(1), 1, rtol=1e-5)
