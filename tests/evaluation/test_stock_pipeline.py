import pytest
import tiny
from datasets import Dataset

from hf_distill.evaluation.stock_pipeline import compare_pipelines
from hf_distill.students.student import Student


def test_f1_of_the_stock_pipeline_by_strategy(tokenizer):
    """Of `kinase` and `receptor`, which have two subwords, the student knows the first."""
    words, tags = "7 kinase receptor ( of mice".split(), "O B-GENE E-GENE S-GENE O O".split()
    student = Student(tiny.knowing_bert(tokenizer, words, tags), tokenizer, 64, tiny.TAGS)
    # The second sentence is longer than the window, from which transformers' pipeline leaves out the mentions.
    corpus = Dataset.from_dict({"tokens": [words, ["of"] * 80 + words], "tags": [tags, ["O"] * 80 + tags]})
    f1 = compare_pipelines(student, corpus)
    whole = 2 * 2 / (2 + 4)  # 2 right of 2 found and 4 gold
    cut = 2 * 1 / (3 + 4)  # "simple" finds kin, rec and (
    expected = {"own": 1.0, "first": whole, "average": whole, "max": whole, "simple": cut}
    assert f1 == pytest.approx(expected)
