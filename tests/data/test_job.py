import json

import pytest
from datasets import Dataset
from tiny import DATA

from hf_distill.data.job import JOB_NAME, describe_job, reserve_output_dir
from hf_distill.data.readers.common import SENTENCES
from hf_distill.parsing import parse_arguments
from hf_distill.runtime.tags import UserError
from hf_distill.workflow.preparation import prepare_arguments

TOKENS = [["p53", "binds"], ["BRCA1"]]
TAGS = [["S-GENE", "O"], ["S-GENE"]]


def corpora(tokens=TOKENS, tags=TAGS):
    dataset = Dataset.from_dict({"tokens": tokens, "tags": tags}, features=SENTENCES)
    unlabeled = Dataset.from_dict({"tokens": tokens, "tags": [None] * len(tokens)}, features=SENTENCES)
    return {"train": dataset, "unlabeled": unlabeled}


def job(*flags, data=None, teachers=("ab" * 32,)):
    arguments = prepare_arguments(parse_arguments([*DATA, "--preset", "original", *flags]))
    return describe_job(arguments[:3], data or corpora(), teachers)


def begin(folder):
    """Claim a folder and leave a first checkpoint there."""
    reserve_output_dir(folder, job())
    (folder / "checkpoint-1").mkdir()


def test_a_folder_where_nothing_was_trained_is_free(tmp_path):
    reserve_output_dir(tmp_path, job())
    reserve_output_dir(tmp_path, job("--seed", "7"))
    (tmp_path / "checkpoint-1").mkdir()
    with pytest.raises(UserError, match="seed: 7 there, 42 now"):
        reserve_output_dir(tmp_path, job())


def test_the_same_job_comes_back(tmp_path):
    folder = tmp_path / "new" / "run"
    reserve_output_dir(folder, job("--seed", "7"))
    reserve_output_dir(folder, job("--seed", "7"))
    (folder / "checkpoint-5").mkdir()
    (folder / "config.json").write_text("{}")
    reserve_output_dir(folder, job("--seed", "7"))


def test_a_different_argument_is_refused_by_name(tmp_path):
    begin(tmp_path)
    with pytest.raises(UserError, match=r"learning_rate: 0\.001 there, 0\.01 now; seed: 42 there, 7 now") as refusal:
        reserve_output_dir(tmp_path, job("--lr_params", "1e-2", "--seed", "7"))
    assert str(refusal.value).startswith(str(tmp_path))
    reserve_output_dir(tmp_path, job())


@pytest.mark.parametrize(
    "flags",
    [
        ["--alpha", "0.5"],
        ["--hidden_size", "200"],
        ["--tag_scheme", "IOB2"],
        ["--num_train_epochs", "3"],
        ["--scheduler", "const"],
        ["--teacher_labels", "O", "B-GENE", "I-GENE"],
        ["--drop_leaked", "1"],
        ["--distillation", "0"],
    ],
    ids=lambda flags: flags[0],
)
def test_what_changes_the_result_is_another_job(tmp_path, flags):
    begin(tmp_path)
    with pytest.raises(UserError, match=r"holds a different run"):
        reserve_output_dir(tmp_path, job(*flags))


def test_where_things_lie_and_what_is_logged_is_no_other_job(tmp_path):
    begin(tmp_path)
    moved = ["--path_to_train", "elsewhere/train.tsv", "--path_to_unlabeled", "more.txt", "--signals_dir", "elsewhere"]
    reserve_output_dir(
        tmp_path, job(*moved, "--teacher_model_name_or_path", "copy", "--logging_steps", "10", "--comment", "x")
    )


def test_other_data_is_another_job(tmp_path):
    begin(tmp_path)
    with pytest.raises(UserError, match="train data: .*; unlabeled data: "):
        reserve_output_dir(tmp_path, job(data=corpora(tokens=[["p53", "bound"], ["BRCA1"]])))
    with pytest.raises(UserError, match=r"\(train data: [^;]*\)"):
        reserve_output_dir(tmp_path, job(data=corpora(tags=[["S-GENE", "O"], ["O"]])))
    with pytest.raises(UserError, match="unlabeled data: .* there, None now"):
        reserve_output_dir(tmp_path, job(data={"train": corpora()["train"]}))


def test_another_teacher_is_another_job(tmp_path):
    begin(tmp_path)
    with pytest.raises(UserError, match="teacher: "):
        reserve_output_dir(tmp_path, job(teachers=("cd" * 32,)))


def test_many_differences_are_counted(tmp_path):
    begin(tmp_path)
    flags = "--alpha=0.5 --batch_size=8 --dropout=0.1 --hidden_size=9 --lr_params=1 --n_layers=1 --seed=7"
    with pytest.raises(UserError, match="hidden_size: None there, 9 now.*; and 2 more"):
        reserve_output_dir(tmp_path, job(*flags.split()))


@pytest.mark.parametrize("name", ["config.json", "checkpoint-100"])
def test_a_foreign_model_is_left_alone(tmp_path, name):
    (tmp_path / name).mkdir()
    with pytest.raises(UserError, match="holds a model that this program did not put there"):
        reserve_output_dir(tmp_path, job())
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_no_token_in_the_job_file(tmp_path):
    reserve_output_dir(tmp_path, job("--hub_token", "hf_secret"))
    assert "hf_secret" not in (tmp_path / JOB_NAME).read_text()
    assert json.loads((tmp_path / JOB_NAME).read_text())["learning_rate"] == 1e-3


def test_a_file_is_no_output_directory(tmp_path):
    (tmp_path / "train.tsv").touch()
    with pytest.raises(UserError, match="is a file"):
        reserve_output_dir(tmp_path / "train.tsv", job())
