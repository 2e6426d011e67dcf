from types import SimpleNamespace

import pytest
import tiny

from hf_distill.workflow.results import compare, save_results


def test_how_much_the_student_is_above_another_by_hand():
    gold = [["S-GENE"], ["S-GENE"]]
    corpora = {name: {"tags": gold} for name in ("eval", "test")}
    found = compare(corpora, {"eval": gold, "test": gold}, {"eval": [["S-GENE"], ["O"]]}, "teacher")
    # The other finds one of two: 1 - 2 / 3. It has predicted nothing on the test data.
    assert found["eval_f1_above_teacher"] == pytest.approx(1 / 3)
    assert found["eval_f1_above_teacher_low"] == 0 and found["eval_f1_above_teacher_high"] == 1
    assert not any(name.startswith("test") for name in found)


def test_predictions_stand_beside_gold_and_teacher(tmp_path, tokenizer):
    trainer = SimpleNamespace(
        is_world_process_zero=lambda: True,
        student=tiny.bert(tokenizer),
        processing_class=tokenizer,
        args=SimpleNamespace(output_dir=str(tmp_path)),
    )
    corpora = {name: {"tokens": [["p53", "binds"]], "tags": [["S-GENE", "O"]]} for name in ("eval", "test")}
    student = {name: [["O", "O"]] for name in corpora}
    save_results(trainer, corpora, {"eval_f1": 0.0}, student, {"eval": [["S-GENE", "S-GENE"]]})
    assert (tmp_path / "predictions_eval.tsv").read_text() == "p53\tS-GENE\tS-GENE\tO\nbinds\tO\tS-GENE\tO\n\n"
    # Nobody taught there.
    assert (tmp_path / "predictions_test.tsv").read_text() == "p53\tS-GENE\t-\tO\nbinds\tO\t-\tO\n\n"
