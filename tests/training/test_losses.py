import itertools
from math import log

import numpy as np
import pytest
import torch

from hf_distill.runtime.tags import find_invalid, make_tags
from hf_distill.teachers.compression import compress, restore
from hf_distill.training.losses import (
    attention_mse,
    hard_cross_entropy,
    logit_mse,
    sequence_cross_entropy,
    soft_cross_entropy,
    state_mse,
    teacher_layers,
)


def test_logit_mse_by_hand():
    student = torch.tensor([[[1.0, 2.0], [0.0, 0.0], [9.0, 9.0]]])
    teacher = torch.tensor([[[0.0, 0.0], [0.0, 4.0], [-9.0, 0.0]]])
    mask = torch.tensor([[True, True, False]])
    assert logit_mse(student, teacher, mask).item() == (1 + 4) / 2 + 16 / 2


def test_soft_cross_entropy_by_hand():
    # At temperature 2 the teacher says 3/4, 1/4 and the student 1/4, 3/4; the second word has no signal.
    teacher = torch.tensor([[[2 * log(3), 0.0], [5.0, 7.0]]])
    student = torch.tensor([[[0.0, 2 * log(3)], [1.0, 0.0]]])
    loss = soft_cross_entropy(student, teacher, torch.tensor([[True, False]]), temperature=2.0)
    assert loss.item() == pytest.approx(-4 * (3 / 4 * log(1 / 4) + 1 / 4 * log(3 / 4)))
    # At temperature 1 the same logits are 9/10, 1/10 and 1/10, 9/10.
    loss = soft_cross_entropy(student, teacher, torch.tensor([[True, False]]), temperature=1.0)
    assert loss.item() == pytest.approx(-(9 / 10 * log(1 / 10) + 1 / 10 * log(9 / 10)))


def test_soft_cross_entropy_is_least_where_student_equals_teacher():
    teacher = torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(0))
    student = teacher.clone().requires_grad_()
    soft_cross_entropy(student, teacher, torch.ones(2, 3, dtype=torch.bool), temperature=3.0).backward()
    assert student.grad.abs().max() < 1e-6


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_losses_on_the_largest_logits_are_those_on_all_restored(temperature):
    generator = torch.Generator().manual_seed(0)
    student, teacher = (torch.randn(2, 30, 265, generator=generator) * 3 for _ in range(2))
    signals = compress(list(teacher.numpy()))
    logits = torch.tensor(np.stack([each.logits for each in signals]))
    labels = torch.tensor(np.stack([each.labels for each in signals]).astype(int))
    restored = restore(logits, labels, 265)
    mask = torch.ones(2, 30, dtype=torch.bool)
    mask[1, 20:] = False
    gradients = []
    for *target, kept in ((logits, mask, labels), (restored, mask, None)):
        own = student.clone().requires_grad_()
        loss = soft_cross_entropy(own, *target, temperature, kept) + logit_mse(own, *target, kept)
        loss.backward()
        gradients.append((loss.item(), own.grad))
    (loss, gradient), (expected, expected_gradient) = gradients
    assert loss == pytest.approx(expected, rel=1e-5)
    np.testing.assert_allclose(gradient, expected_gradient, atol=1e-5)


def test_hard_cross_entropy_by_hand():
    logits = torch.tensor([[[0.0, log(3)], [5.0, -5.0]], [[0.0, log(9)], [0.0, 0.0]]])
    labels = torch.tensor([[1, -100], [1, 0]])
    # Probabilities of the label and the other: 3/4, 1/4; 9/10, 1/10; 1/2, 1/2. The word labelled -100 does not count.
    assert hard_cross_entropy(logits, labels, 0.0).item() == pytest.approx(-log(3 / 4) - log(9 / 10) - log(1 / 2))
    smoothed = -(0.95 * log(3 / 4) + 0.05 * log(1 / 4)) - (0.95 * log(9 / 10) + 0.05 * log(1 / 10)) - log(1 / 2)
    assert hard_cross_entropy(logits, labels, 0.1).item() == pytest.approx(smoothed)


def test_state_mse_by_hand():
    zeros = torch.zeros(1, 3, 2)
    first = torch.tensor([[[1.0, 3.0], [2.0, 0.0], [8.0, 8.0]]])
    second = torch.tensor([[[0.0, 2.0], [0.0, 0.0], [8.0, 8.0]]])
    mask = torch.tensor([[True, True, False]])
    assert state_mse([first], [zeros], mask).item() == 5 + 2
    assert state_mse([first, zeros], [zeros, second], mask).item() == (5 + 2 + 2) / 2


def test_attention_mse_by_hand():
    student = torch.zeros(1, 2, 2, 2)
    teacher = torch.tensor([[[[1.0, 2.0], [0.0, 4.0]], [[3.0, 0.0], [0.0, 2.0]]]])
    # Averaged over the two heads: 5, 2, 0 and 10 for the four query-key pairs.
    assert attention_mse([student], [teacher], torch.tensor([[True, True]])).item() == 5 + 2 + 0 + 10
    assert attention_mse([student], [teacher], torch.tensor([[True, False]])).item() == 5
    assert attention_mse([student, teacher], [teacher, teacher], torch.tensor([[True, True]])).item() == 17 / 2


def test_equal_inputs_give_zero():
    x = torch.randn(2, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    mask = torch.ones(2, 4, dtype=torch.bool)
    assert logit_mse(x[0], x[0], mask[:1].expand(4, 4)).item() == 0
    assert state_mse([x[0], x[1]], [x[0], x[1]], mask[:1].expand(4, 4)).item() == 0
    assert attention_mse([x, x], [x, x], mask).item() == 0


@pytest.mark.parametrize(
    "loss",
    [
        logit_mse,
        lambda student, teacher, mask: soft_cross_entropy(student, teacher, mask, 2.0),
        lambda student, teacher, mask: state_mse([student], [teacher], mask),
        lambda student, teacher, mask: hard_cross_entropy(student, mask.long() * 102 - 100, 0.1),
    ],
    ids=["logit_mse", "soft_cross_entropy", "state_mse", "hard_cross_entropy"],
)
def test_no_gradient_where_the_mask_is_false(loss):
    generator = torch.Generator().manual_seed(0)
    student = torch.randn(2, 3, 4, generator=generator).requires_grad_()
    mask = torch.tensor([[True, True, False], [True, False, False]])
    loss(student, torch.randn(2, 3, 4, generator=generator), mask).backward()
    assert torch.equal(student.grad.abs().sum(-1) > 0, mask)


def test_sums_of_parts_are_the_sum_of_the_whole():
    generator = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(2, 8, 5, 4, generator=generator)
    mask = torch.rand(8, 5, generator=generator) > 0.3
    labels = torch.randint(0, 4, (8, 5), generator=generator).masked_fill(~mask, -100)
    losses = [
        lambda rows: logit_mse(student[rows], teacher[rows], mask[rows]),
        lambda rows: soft_cross_entropy(student[rows], teacher[rows], mask[rows], 2.0),
        lambda rows: state_mse([student[rows]], [teacher[rows]], mask[rows]),
        lambda rows: hard_cross_entropy(student[rows], labels[rows], 0.1),
    ]
    for loss in losses:
        parts = sum(loss(slice(start, start + 2)).item() for start in range(0, 8, 2))
        assert parts == pytest.approx(loss(slice(None)).item(), rel=1e-5)


def test_half_precision_inputs_are_computed_in_fp32():
    # 600 squared is beyond fp16.
    loss = logit_mse(torch.full((1, 1, 2), 300.0).half(), torch.full((1, 1, 2), -300.0).half(), torch.tensor([[True]]))
    assert loss.dtype == torch.float32
    assert loss.item() == 360_000


@pytest.mark.parametrize(
    ("student", "teacher", "layers"),
    [(4, 12, [3, 6, 9, 12]), (2, 12, [6, 12]), (6, 12, [2, 4, 6, 8, 10, 12]), (4, 4, [1, 2, 3, 4]), (1, 12, [12])],
)
def test_teacher_layers(student, teacher, layers):
    assert teacher_layers(student, teacher) == layers


@pytest.mark.parametrize("scale", [2, 40])
@pytest.mark.parametrize("types, scheme", [(["GENE"], "IOBES"), (["GENE", "DRUG"], "IOB2")])
def test_sequence_cross_entropy_is_that_of_all_valid_sequences(types, scheme, scale):
    tags = make_tags(types, scheme)
    generator = torch.Generator().manual_seed(0)
    student, teacher = (scale * torch.randn(2, 4, len(tags), generator=generator) for _ in range(2))
    mask = torch.tensor([[True] * 4, [True] * 3 + [False]])
    own, enumerated = student.clone().requires_grad_(), student.double().requires_grad_()
    expected = torch.zeros((), dtype=torch.float64)
    for row, length in enumerate((4, 3)):
        valid = [
            list(labels)
            for labels in itertools.product(range(len(tags)), repeat=length)
            if find_invalid([tags[label] for label in labels], scheme) is None
        ]
        scores = [
            torch.stack([logits[row, range(length), labels].sum() for labels in valid]) / 2.0
            for logits in (enumerated, teacher.double())
        ]
        expected = expected - 4.0 * (scores[1].softmax(0) * scores[0].log_softmax(0)).sum()
    loss = sequence_cross_entropy(own, teacher, mask, tags, temperature=2.0)
    torch.testing.assert_close(loss, expected.float())
    (3 * loss).backward()
    (3 * expected).backward()
    torch.testing.assert_close(own.grad, enumerated.grad.float())
    assert own.grad[1, 3].abs().max() == 0
    same = teacher.clone().requires_grad_()
    sequence_cross_entropy(same, teacher, mask, tags).backward()
    assert same.grad.abs().max() < 1e-5


def test_sequence_cross_entropy_of_sure_logits_is_finite():
    tags = make_tags(["GENE"], "IOBES")
    student = (1e4 * torch.eye(5)[[1, 0, 0]][None]).requires_grad_()  # B O O: not valid
    teacher = 1e4 * torch.eye(5)[[1, 2, 3]][None]  # B I E
    loss = sequence_cross_entropy(student, teacher, torch.ones(1, 3, dtype=torch.bool), tags)
    loss.backward()
    assert loss.isfinite()
    # The best valid sequences are O O O, S O O and B E O.
    expected = torch.tensor([[[1 / 3, -2 / 3, 0, 0, 1 / 3], [2 / 3, 0, -1, 1 / 3, 0], [1, 0, 0, -1, 0]]])
    torch.testing.assert_close(student.grad, expected)


def test_sequence_cross_entropy_is_in_single_precision_under_autocast():
    tags = make_tags(["GENE"], "IOBES")
    student, teacher = torch.randn(2, 3, 9, len(tags), generator=torch.Generator().manual_seed(0))
    mask = torch.ones(3, 9, dtype=torch.bool)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = sequence_cross_entropy(student, teacher, mask, tags)
    assert torch.equal(mixed, sequence_cross_entropy(student, teacher, mask, tags))


def test_sequence_cross_entropy_without_mentions_that_go_on():
    student = torch.tensor([[[0.0, log(3)], [0.0, 0.0]]])
    teacher = torch.tensor([[[log(3), 0.0], [0.0, 0.0]]])
    loss = sequence_cross_entropy(student, teacher, torch.tensor([[True, False]]), ["O", "S-GENE"])
    assert loss.item() == pytest.approx(-(3 / 4 * log(1 / 4) + 1 / 4 * log(3 / 4)))
