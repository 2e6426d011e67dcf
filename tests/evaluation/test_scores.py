import measured
import pytest

from hf_distill.evaluation.scores import Evaluation, Results


def test_how_much_the_student_is_above_another_by_hand():
    gold = [["S-GENE"], ["S-GENE"]]
    student = {name: Evaluation({"f1": 1.0}, gold) for name in ("eval", "test")}
    teacher = {"eval": Evaluation({"f1": 2 / 3}, [["S-GENE"], ["O"]])}
    results = Results({"student": student, "teacher": teacher})
    results.compare({name: {"tags": gold} for name in ("eval", "test")})
    # The other finds one of two: 1 - 2 / 3. It has predicted nothing on the test data.
    value, low, high = results.gain("eval", "teacher")
    assert (value, low, high) == (pytest.approx(1 / 3), 0, 1)
    assert results.gain("test", "teacher") is None
    flat = results.to_dict()
    assert flat["eval_f1_above_teacher"] == value and flat["eval_f1_above_teacher_low"] == low
    assert flat["teacher_eval_f1"] == 2 / 3 and flat["test_f1"] == 1
    assert not any(name.startswith("test_f1_above") for name in flat)


def test_flat_names_come_back():
    """A type may be called like a score, or like a corpus."""
    flat = measured.EVERYTHING | {"eval_f1_above_f1": 0.5, "teacher_test_eval_f1_f1_low": 0.25, "int8_bytes": 7.0}
    results = Results.from_dict(flat)
    assert results.to_dict() == flat
    assert results.figures["train_sentences"] == 30 and results.figures["int8_bytes"] == 7
    assert results.scores("baseline", "test")["CHEMICAL_f1"] == flat["baseline_test_CHEMICAL_f1"]
    assert results.scores("teacher", "test")["eval_f1_f1_low"] == 0.25
    assert results.gain("test", "baseline").low == 0.07
