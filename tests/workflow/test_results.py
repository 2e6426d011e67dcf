import tiny
from datasets import Dataset

from hf_distill.data.corpora import Corpora
from hf_distill.evaluation.scores import Evaluation, Results
from hf_distill.files import read_json
from hf_distill.students.student import Student
from hf_distill.training_arguments import DistillationArguments
from hf_distill.workflow.results import save_results


def test_predictions_stand_beside_gold_and_teacher(tmp_path, tokenizer):
    corpus = Dataset.from_dict({"tokens": [["p53", "binds"]], "tags": [["S-GENE", "O"]]})
    corpora = Corpora(corpus, corpus, tiny.TAGS, test=corpus)
    found = Evaluation({"f1": 0.0}, [["O", "O"]], [[]])
    by_teacher = Evaluation({"f1": 1.0}, [["S-GENE", "S-GENE"]], [[0.98765, 0.5]])
    results = Results({"student": {"eval": found, "test": found}, "teacher": {"eval": by_teacher}})
    student = Student(tiny.bert(tokenizer), tokenizer, 64, tiny.TAGS)
    save_results(student, DistillationArguments(str(tmp_path), use_cpu=True), corpora, results)
    assert (tmp_path / "predictions_eval.tsv").read_text() == (
        "p53\tS-GENE\tS-GENE\t0.9877\tO\t-\nbinds\tO\tS-GENE\t0.5000\tO\t-\n\n"
    )
    # Nobody taught there.
    assert (tmp_path / "predictions_test.tsv").read_text() == "p53\tS-GENE\t-\t-\tO\t-\nbinds\tO\t-\t-\tO\t-\n\n"
    assert Results.from_dict(read_json(tmp_path / "all_results.json")).scores("teacher", "eval") == {"f1": 1.0}
