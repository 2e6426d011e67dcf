"""Whole runs, as a user starts them."""

import copy
import itertools
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from tiny import BILSTM, TINYBERT
from transformers import (
    AutoConfig,
    AutoModelForTokenClassification,
    BertConfig,
    Trainer,
    TrainingArguments,
    pipeline,
)

from hf_distill import Tagger, augment, load_tsv
from hf_distill.cli import main
from hf_distill.publishing.onnx_export import instruction_set
from hf_distill.runtime.onnx_model import OnnxModel
from hf_distill.runtime.pipeline import predict_words
from hf_distill.runtime.tags import spans
from hf_distill.runtime.windows import subwords
from hf_distill.students.save import save_model
from hf_distill.teachers.labels import SCRIPT_TEACHER_LABELS
from hf_distill.teachers.loading import load_tokenizer

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder with the reference's files, tiny: corpora, and a teacher that knows the rule."""
    folder = tmp_path_factory.mktemp("files")
    tiny.write_tsv(folder / "train_aug3.tsv", 300, seed=1)
    tiny.write_tsv(folder / "val.tsv", 40, seed=2)
    tiny.write_tsv(folder / "test.tsv", 30, seed=3)
    with open(folder / "text.txt", "w") as file:
        file.writelines(" ".join(words) + "\n" for words in tiny.sentences(50, seed=4))
    tokenizer = tiny.wordpiece()
    teacher = tiny.bert(tokenizer, tags=SCRIPT_TEACHER_LABELS, layers=4)
    save_model(teacher, tokenizer, folder / "dmis-lab" / "biobert-base-cased-v1.1")
    torch.save(teacher.state_dict(), folder / "biobert_state_dict.pt")
    return folder


@pytest.fixture
def here(files, tmp_path, monkeypatch):
    shutil.copytree(files, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


QUICK = "--preset original --max_steps 4 --use_cpu 1 --bf16 0 --min_teacher_f1 0 --disable_tqdm 1".split()
QUICK += ["--signals_dir", "signals"]


def results(folder) -> dict:
    return json.loads((Path(folder) / "all_results.json").read_text())


@pytest.mark.parametrize("command", [BILSTM, TINYBERT], ids=["bilstm", "tinybert"])
def test_the_launch_commands_of_the_reference(here, command, capsys):
    """Verbatim, cut short by --max_steps; evaluation every second step."""
    extra = ["--eval_steps", "2", "--path_to_test", "test.tsv"]
    if "tinybert" in command:
        extra += ["--hidden_size", "12"]
    assert main(command + QUICK + extra) == 0, capsys.readouterr().err
    printed = capsys.readouterr().out
    assert "train: 300 sentences" in printed and "labels: O B-GENE I-GENE E-GENE S-GENE" in printed
    assert "sentences to label" in printed and "stored signals: signals" in printed and "student, distilled" in printed
    folder = Path("outputs") / ("tinybert" if "tinybert" in command else "bilstm")
    measured = results(folder)
    for prefix in ("eval", "teacher_eval", "test", "teacher_test"):
        for name in ("f1", "f1_argmax", "token_f1", "precision", "recall", "GENE_f1"):
            assert 0 <= measured[f"{prefix}_{name}"] <= 1
        assert measured[f"{prefix}_f1_low"] <= measured[f"{prefix}_f1"] <= measured[f"{prefix}_f1_high"]
    for name in ("eval", "test"):
        gain = measured[f"{name}_f1"] - measured[f"teacher_{name}_f1"]
        assert measured[f"{name}_f1_above_teacher"] == pytest.approx(gain)
        assert measured[f"{name}_f1_above_teacher_low"] <= gain <= measured[f"{name}_f1_above_teacher_high"]
    rows = [line.split("\t") for line in (folder / "predictions_eval.tsv").read_text().splitlines()]
    gold = [line.split("\t") for line in Path("val.tsv").read_text().splitlines()]
    assert [row[:2] for row in rows] == gold, "tokens and gold tags, sentence by sentence"
    assert all(len(row) == 6 for row in rows if row != [""])
    model = AutoModelForTokenClassification.from_pretrained(folder, trust_remote_code=True)
    assert model.config.tags == ["O", "B-GENE", "I-GENE", "E-GENE", "S-GENE"]
    assert model.config.id2label[4] == "B-GENE"
    assert not (folder / "projections.safetensors").exists()


def test_yaml_runs_like_flags(here):
    flags = [*QUICK, "--embedding_size", "8", "--hidden_size", "8"]
    assert main(BILSTM + flags + ["--output_dir", "flags"]) == 0
    lines = [f"{name.removeprefix('--')}: {value}" for name, value in zip(BILSTM[::2], BILSTM[1::2], strict=True)]
    Path("run.yaml").write_text("\n".join(lines) + "\nmax_steps: 99\n")
    assert main(["run.yaml", *flags, "--output_dir", "yaml"]) == 0
    assert results("flags")["eval_f1"] == results("yaml")["eval_f1"]
    assert Path("flags/model.safetensors").read_bytes() == Path("yaml/model.safetensors").read_bytes()


def test_a_second_run_resumes_the_same_job_and_refuses_a_different_one(here, capsys):
    command = [*BILSTM, *QUICK, "--embedding_size", "8", "--output_dir", "out", "--eval_steps", "2"]
    command += ["--scheduler", "const"]
    assert main(command) == 0
    first = Path("out/model.safetensors").read_bytes()
    capsys.readouterr()
    assert main([*command, "--logging_steps", "3"]) == 0, "how often to log is no part of the job"
    assert "0 sentences to label" in capsys.readouterr().out, "signals are read"
    assert Path("out/model.safetensors").read_bytes() == first
    assert json.loads(Path("out/config.json").read_text())["word_rule"] == "apart"
    # An interrupted run goes on from its last whole checkpoint and comes to the same end.
    Path("out/all_results.json").unlink()
    for name in ("out/model.safetensors", "out/checkpoint-4/trainer_state.json"):
        Path(name).unlink()
    assert main(command) == 0
    assert Path("out/model.safetensors").read_bytes() == first
    assert main([*command, "--lr_params", "2e-3"]) == 2
    error = capsys.readouterr().err
    assert "learning_rate: 0.001 there, 0.002 now" in error and "--output_dir" in error


def test_teachers_baseline_and_student_in_one_run(here, capsys):
    """Fine-tuned teachers, each with a seed of its own, are kept and reused; text without labels teaches, too."""
    encoder = tiny.bert(tiny.wordpiece(), layers=1)
    save_model(encoder.bert, tiny.wordpiece(), "encoder")
    command = "--path_to_train train_aug3.tsv --path_to_val val.tsv --path_to_unlabeled text.txt --do_train_teacher 1"
    command += " --teacher_model_name_or_path encoder encoder --teacher_num_train_epochs 6 --teacher_learning_rate 1e-2"
    command += " --embedding_size 8 --hidden_size 8 --use_cpu 1 --signals_dir signals --output_dir out --disable_tqdm 1"
    command += " --preset original --logit_loss ce --sequence_loss_weight 0.5"
    assert main([*command.split(), "--do_train", "0"]) == 0
    assert "--teacher_model_name_or_path: out/teacher out/teacher-2" in capsys.readouterr().out
    weights = [Path("out") / name / "model.safetensors" for name in ("teacher", "teacher-2")]
    written = [path.stat().st_mtime_ns for path in weights]
    assert weights[0].read_bytes() != weights[1].read_bytes()
    assert main([*command.split(), "--do_train_baseline", "1", "--num_train_epochs", "2"]) == 0
    assert [path.stat().st_mtime_ns for path in weights] == written
    assert "`encoder` (fine-tuned on the training data), 2 times" in Path("out/README.md").read_text()
    measured = results("out")
    assert measured["teacher_eval_f1"] > 0.8, "the rule is easy to learn"
    assert {"baseline_eval_f1", "eval_f1", "eval_f1_above_baseline_low"} <= measured.keys()
    assert "student, labels alone (eval)" in capsys.readouterr().out
    AutoModelForTokenClassification.from_pretrained("out/teacher")
    AutoModelForTokenClassification.from_pretrained("out/baseline", trust_remote_code=True)


def test_a_second_encoder_that_cannot_be_read_is_refused_before_the_first_is_trained(here, capsys):
    for folder in ("encoder", "broken"):
        save_model(tiny.bert(tiny.wordpiece(), layers=1).bert, tiny.wordpiece(), folder)
    Path("broken/tokenizer.json").write_text("{")
    command = "--path_to_train train_aug3.tsv --path_to_val val.tsv --do_train_teacher 1 --use_cpu 1 --output_dir out"
    assert main([*command.split(), "--teacher_model_name_or_path", "encoder", "broken"]) == 2
    assert "broken: cannot be loaded" in capsys.readouterr().err
    assert not Path("out").exists()


@pytest.mark.parametrize("blank", [True, False])
def test_somebody_elses_student_is_evaluated_as_it_was_fine_tuned(here, blank):
    tiny.save_reader(Path("student"), blank)
    for path in ("train.tsv", "val.tsv"):
        Path(path).write_text("the\tO\np53\tS-GENE\n\np53\tS-GENE\nbinds\tO\n\n" * 5)
    command = "--model_name auto --student_model_name_or_path student --do_train 0 --distillation 0 --output_dir out"
    assert main([*tiny.DATA, *command.split()]) == 0
    assert results("out")["eval_f1"] == 1
    # As it was saved, it is read from now on.
    [(ids, _)] = subwords(load_tokenizer("out"), [["p53"]])
    assert load_tokenizer("out").convert_ids_to_tokens(ids[0]).startswith("Ġ") == blank


def test_a_training_says_how_long_it_will_take(here, capsys):
    sizes = ["--embedding_size", "8", "--hidden_size", "8"]
    assert main([*BILSTM, *QUICK, *sizes, "--max_steps", "40", "--output_dir", "out"]) == 0
    [minutes] = re.findall(r"training out: 40 steps, about (\d+\.\d) minutes left", capsys.readouterr().out)
    assert float(minutes) < 5


def test_a_trained_student_is_evaluated(here, capsys):
    assert main([*BILSTM, *QUICK, "--embedding_size", "8", "--output_dir", "out"]) == 0
    data = "--path_to_train train_aug3.tsv --path_to_val test.tsv --distillation 0 --use_cpu 1 --do_train 0".split()
    assert main([*data, "--student_model_name_or_path", "out", "--output_dir", "again"]) == 0
    assert main([*data, "--path_to_val", "val.tsv", "--student_model_name_or_path", "out", "--output_dir", "val"]) == 0
    assert results("val")["eval_f1"] == results("out")["eval_f1"]
    capsys.readouterr()
    assert main(data) == 2
    assert "--student_model_name_or_path" in capsys.readouterr().err
    assert main([*data, "--student_model_name_or_path", "out", "--tag_scheme", "IOB2", "--output_dir", "x"]) == 2
    assert "not evaluated" in capsys.readouterr().err


def test_a_teacher_that_knows_nothing_stops_the_run(here, capsys):
    command = [*BILSTM, *QUICK, "--min_teacher_f1", "0.9", "--output_dir", "out"]
    assert main(command) == 2
    error = capsys.readouterr().err
    assert "below --min_teacher_f1 0.9" in error and "--teacher_labels" in error and "tokenizer" in error
    assert not Path("out/model.safetensors").exists()


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("p53\tS-GENE\n\nkinase\n", 3, "found 1"),
        ("p53\tB-GENE\nkinase\tI-GENE\n\np53\tS-GENE\n", 1, "not finished"),
        ("p53\tS-DRUG\n", 1, "does not occur in the training data"),
    ],
)
def test_faulty_data_is_refused_before_anything_is_trained(here, capsys, text, line, message):
    Path("bad.tsv").write_text(text)
    assert main([*BILSTM, *QUICK, "--path_to_val", "bad.tsv"]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith(f"bad.tsv:{line}:") and message in error
    assert not Path("outputs").exists()


def test_leaked_sentences_are_reported_and_dropped(here, caplog, capsys):
    lines = Path("train_aug3.tsv").read_text() + "\n" + Path("val.tsv").read_text()
    Path("leaky.tsv").write_text(lines)
    command = [*BILSTM, *QUICK, "--path_to_train", "leaky.tsv", "--embedding_size", "8", "--output_dir", "out"]
    assert main([*command, "--drop_leaked", "1"]) == 0
    assert "also stand in devel or test data (dropped)" in caplog.text
    kept = int(capsys.readouterr().out.split("train: ")[1].split(" sentences")[0])
    assert kept <= 300
    leaked = [block.replace("GENE", "CELL") for block in Path("val.tsv").read_text().split("\n\n") if "GENE" in block]
    Path("val2.tsv").write_text(leaked[0] + "\n")
    Path("leaky.tsv").write_text(Path("val.tsv").read_text() + "\n" + leaked[0] + "\n")
    command += ["--path_to_val", "val2.tsv", "--output_dir", "out2"]
    assert main([*command, "--drop_leaked", "1"]) == 2
    assert "leaves no training sentence with CELL" in capsys.readouterr().err


def test_an_iob2_student_of_an_iobes_teacher(here):
    command = [*BILSTM, *QUICK, "--tag_scheme", "IOB2", "--embedding_size", "8", "--output_dir", "out"]
    assert main(command) == 0
    assert AutoModelForTokenClassification.from_pretrained("out", trust_remote_code=True).config.tags == [
        "O",
        "B-GENE",
        "I-GENE",
    ]


def test_augmented_sentences_are_labelled_and_learnt_from(here, capsys):
    command = [*BILSTM, *QUICK, "--embedding_size", "8", "--output_dir", "out"]
    command += ["--augmentation_rounds", "2", "--sis_p", "0", "--save_augmented", "more/train.tsv"]
    assert main([*command, "--path_to_unlabeled", "text.txt"]) == 0
    saved, train = load_tsv("more/train.tsv", "IOBES"), load_tsv("train_aug3.tsv", "IOBES")
    made = augment(train, rounds=2, sis_p=0)
    assert saved["tokens"][:] == train["tokens"][:] + made["tokens"][:]
    assert saved["tags"][:] == train["tags"][:] + made["tags"][:]
    measured = results("out")
    assert measured["train_sentences"] == len(saved) + 50
    assert measured["train_words"] == sum(map(len, saved["tokens"])) + sum(map(len, tiny.sentences(50, seed=4)))
    assert measured["train_mentions"] == sum(tag[0] in "BS" for tags in saved["tags"] for tag in tags)
    assert f"augmented: {len(made)} sentences" in capsys.readouterr().out
    # Without a teacher the rule-made tags are what is learnt, and unlabelled text is not.
    assert main([*command, "--path_to_unlabeled", "text.txt", "--distillation", "0", "--output_dir", "alone"]) == 0
    assert results("alone")["train_sentences"] == len(saved)


def test_a_transfer_set_of_a_given_size(here, capsys):
    """A choice of the unlabelled sentences, or all of them and augmented ones for the rest."""
    command = [*BILSTM, *QUICK, "--embedding_size", "8", "--path_to_unlabeled", "text.txt"]
    command += ["--vocabulary_size", "120", "--embedding_type", "svd"]
    for wanted, unlabeled, augmented in ((20, 20, 0), (90, 50, 40)):
        folder = f"out{wanted}"
        assert main([*command, "--transfer_sentences", str(wanted), "--output_dir", folder]) == 0
        printed = capsys.readouterr()
        assert f"unlabeled: {unlabeled} sentences" in printed.out
        assert (f"augmented: {augmented} sentences" in printed.out) == bool(augmented)
        assert results(folder)["train_sentences"] == 300 + wanted
    student = AutoModelForTokenClassification.from_pretrained("out90", trust_remote_code=True)
    assert student.config.vocab_size == len(load_tokenizer("out90")) <= 120
    # A second run finds the vocabulary of the first; another one does not take it.
    Path("begun").mkdir()
    Path("begun/job.json").write_bytes(Path("out90/job.json").read_bytes())
    shutil.copytree("out90/tokenizer", "begun/tokenizer")
    assert main([*command, "--vocabulary_size", "110", "--transfer_sentences", "90", "--output_dir", "begun"]) == 2
    assert "vocabulary_size: 120 there, 110 now" in capsys.readouterr().err
    written = Path("out90/tokenizer/tokenizer.json").stat().st_mtime_ns
    assert main([*command, "--transfer_sentences", "90", "--output_dir", "out90"]) == 0
    assert Path("out90/tokenizer/tokenizer.json").stat().st_mtime_ns == written


def test_nothing_but_a_teacher_and_files(here, capsys):
    """The recipe; augmented sentences stand in for unlabelled ones."""
    teacher = "dmis-lab/biobert-base-cased-v1.1"
    command = ["--path_to_train", "train_aug3.tsv", "--path_to_val", "val.tsv", "--teacher_model_name_or_path", teacher]
    quick = (
        "--transfer_sentences 60 --hidden_size 16 --max_steps 4 --min_teacher_f1 0 --use_cpu 1 --signals_dir signals"
    )
    assert main([*command, *quick.split(), "--output_dir", "out"]) == 0, capsys.readouterr().err
    assert "augmented: 60 sentences" in capsys.readouterr().out
    config = AutoConfig.from_pretrained("out", trust_remote_code=True)
    assert (config.word_feature_rows, config.hidden_size, config.embedding_size) == (500, 16, 24)
    card = Path("out/README.md").read_text(encoding="utf-8")
    assert "0.8 × cross-entropy with the teacher's probabilities of tag sequences" in card and "`word_features`" in card
    answers = [find("p53 binds the BRCA1 kinase.") for find in (Tagger("out", "fp32"), Tagger("out", "int8"))]
    assert all(isinstance(answer, list) for answer in answers)
    again = "--output_dir again --use_cpu 1 --min_teacher_f1 0 --signals_dir signals"
    assert main(["out/run.yaml", *command, *again.split()]) == 0
    assert Path("again/model.safetensors").read_bytes() == Path("out/model.safetensors").read_bytes()


@pytest.mark.isa
@pytest.mark.parametrize(
    ("recipe", "bf16"),
    [
        ("recipe", ""),
        ("recipe_small", "--bf16 1"),
        ("recipe_tiny", "--bf16 0"),
        ("recipe_micro", "--bf16 0"),
        ("recipe_transformer", "--bf16 1"),
    ],
)
def test_the_recipes_on_another_corpus(here, capsys, recipe, bf16):
    """Two types, a teacher in IOB2, no unlabelled text: augmentation stands in."""
    for name, count, seed in (("train.tsv", 80, 7), ("devel.tsv", 30, 8)):
        with open(name, "w") as file:
            for words in tiny.sentences(count, seed):
                gene = (tag.replace("S-", "B-").replace("E-", "I-") for tag in tiny.tag(words))
                tags = ["B-CHEMICAL" if word == "alpha" else tag for word, tag in zip(words, gene, strict=True)]
                file.writelines(f"{word}\t{tag}\n" for word, tag in zip(words, tags, strict=True))
                file.write("\n")
    tags = ["O", "B-CHEMICAL", "I-CHEMICAL", "B-GENE", "I-GENE"]
    save_model(tiny.bert(tiny.wordpiece(), tags, layers=6), tiny.wordpiece(), "iob2")
    command = [str(ROOT / "configs" / f"{recipe}.yaml"), *QUICK, *bf16.split(), "--teacher_model_name_or_path", "iob2"]
    command += ["--path_to_train", "train.tsv", "--path_to_val", "devel.tsv", "--transfer_sentences", "60"]
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert "augmented: 60 sentences" in printed and "labels: O B-CHEMICAL I-CHEMICAL E-CHEMICAL S-CHEMICAL" in printed
    folder = Path("outputs") / recipe
    assert {"eval_GENE_f1", "eval_CHEMICAL_f1", "teacher_eval_GENE_f1"} <= results(folder).keys()
    assert (folder / "onnx" / "model_quantized.onnx").exists()


@pytest.mark.parametrize("names", ["B-GENE I-GENE O", "B-GENE E-GENE I-GENE O S-GENE"])
def test_a_teacher_as_run_ner_leaves_it(here, capsys, names):
    """transformers' example sorts the names of the labels, and saves by Trainer."""
    tags = names.split()
    model, tokenizer = tiny.trained_student("bert", tuple(tags))
    model = copy.deepcopy(model)
    fields = {"id2label": dict(enumerate(tags)), "label2id": {tag: label for label, tag in enumerate(tags)}}
    model.config = BertConfig(**{**model.config.to_dict(), **fields, "tags": None, "custom_pipelines": {}})
    trainer = Trainer(model, TrainingArguments("ner", use_cpu=True, report_to=[]), processing_class=tokenizer)
    trainer.save_model()
    trainer.save_metrics("train", {"train_loss": 0.5})
    trainer.save_state()
    trainer.create_model_card(tasks="token-classification")
    command = "--path_to_train train_aug3.tsv --path_to_val val.tsv --teacher_model_name_or_path ner".split()
    assert main([*command, *QUICK, "--hidden_size", "8", "--output_dir", "out"]) == 0
    assert "labels: O B-GENE I-GENE E-GENE S-GENE\n" in capsys.readouterr().out
    assert results("out")["teacher_eval_f1"] > 0.95
    assert AutoConfig.from_pretrained("out", trust_remote_code=True).tags == tiny.TAGS


def test_an_iob2_teacher_asked_at_every_step(here, capsys):
    save_model(tiny.bert(tiny.wordpiece(), ["O", "B-GENE", "I-GENE"]), tiny.wordpiece(), "iob2")
    command = "--path_to_train train_aug3.tsv --path_to_val val.tsv --teacher_model_name_or_path iob2".split()
    command += [*QUICK, *"--model_name tinybert --hidden_size 24 --n_layers 2".split()]
    assert main([*command, "--output_dir", "out"]) == 0
    assert "labels: O B-GENE I-GENE E-GENE S-GENE\n" in capsys.readouterr().out


def write_answers(path: str, count: int, seed: int, score: float | None = None) -> None:
    """Write the right answers to random sentences, as those of somebody who is `score` sure."""
    with open(path, "w") as file:
        for words in tiny.sentences(count, seed):
            ends = list(itertools.accumulate(len(word) + 1 for word in words))
            mentions = [
                {"start": ends[first] - 1 - len(words[first]), "end": ends[last - 1] - 1, "entity_group": entity}
                | ({} if score is None else {"score": score})
                for entity, first, last in spans(tiny.tag(words))
            ]
            file.write(json.dumps({"text": " ".join(words), "mentions": mentions}) + "\n")


def test_answers_alone_make_a_student(here, capsys):
    """No labelled training sentence, no teacher, no model of others."""
    write_answers("answers.jsonl", 300, seed=1, score=0.9)
    write_answers("devel.jsonl", 40, seed=2)  # the sentences of val.tsv
    sizes = "--vocabulary_size 300 --embedding_size 16 --hidden_size 16 --learning_rate 1e-2 --num_train_epochs 9"
    sizes += " --dropout 0 --per_device_train_batch_size 8"
    command = f"{sizes} --path_to_val val.tsv --path_to_annotations answers.jsonl devel.jsonl --logit_loss ce".split()
    quick = [flag for flag in QUICK if flag not in ("--max_steps", "4")]
    assert main([*command, *quick, "--output_dir", "out"]) == 0, capsys.readouterr().err
    printed = capsys.readouterr().out
    assert "answers of answers.jsonl: 300 texts\nanswers of devel.jsonl: 40 texts\n" in printed
    assert "no labelled training data: everything is learnt from these answers" in printed
    measured = results("out")
    assert measured["teacher_eval_f1"] == 1.0 and measured["eval_f1"] > 0.9
    card = Path("out/README.md").read_text()
    assert "from the answers in `answers.jsonl` and the answers in `devel.jsonl`" in card
    assert "and on no label by a person." in card and str(here) not in card
    assert "path_to_annotations:\n- answers.jsonl\n- devel.jsonl\n" in Path("out/run.yaml").read_text()
    find = pipeline(model="out", trust_remote_code=True)
    assert find(" ".join(tiny.sentences(40, seed=2)[0])) is not None


def test_answers_that_are_bad_or_unknown(here, capsys):
    write_answers("answers.jsonl", 60, seed=1)
    with open("answers.jsonl", "a") as file:  # to one development sentence, a wrong one
        words = next(words for words in tiny.sentences(40, seed=2) if any(tag != "O" for tag in tiny.tag(words)))
        file.write(json.dumps({"text": " ".join(words), "mentions": []}) + "\n")
    command = "--path_to_val val.tsv --path_to_annotations answers.jsonl --vocabulary_size 300 --max_steps 2".split()
    command += "--use_cpu 1 --bf16 0 --disable_tqdm 1 --signals_dir signals --embedding_size 8 --hidden_size 8".split()
    assert main([*command, "--output_dir", "bad"]) == 2
    printed = capsys.readouterr()
    assert re.search(r"answers cover \d of the 40 eval sentences, with F1 0.0000", printed.out)
    assert "The F1 of the answers on the development data is 0.000, below --min_teacher_f1" in printed.err
    write_answers("answers.jsonl", 60, seed=1)
    assert main([*command, "--output_dir", "unknown"]) == 0
    assert "how good the answers are is not known" in capsys.readouterr().out
    assert "teacher_eval_f1" not in results("unknown")


def test_answers_teach_beside_a_teacher(here, capsys):
    write_answers("answers.jsonl", 30, seed=8)
    command = [*BILSTM, *QUICK, "--embedding_size", "8", "--hidden_size", "8"]
    assert main([*command, "--path_to_annotations", "answers.jsonl", "--output_dir", "out"]) == 0
    assert "answers of answers.jsonl: 30 texts" in capsys.readouterr().out
    alone = results("out")["teacher_eval_f1"]
    assert main([*command, "--output_dir", "alone"]) == 0
    assert results("alone")["teacher_eval_f1"] == alone, "the answers say nothing of the development data"


def test_companions_teach_like_teachers_that_are_given(here, capsys):
    teacher = "dmis-lab/biobert-base-cased-v1.1"
    command = ["--path_to_train", "train_aug3.tsv", "--path_to_val", "val.tsv", "--path_to_unlabeled", "text.txt"]
    command += ["--embedding_size", "8", "--hidden_size", "8", "--logit_loss", "ce", *QUICK]
    first = [*command, "--companions", "2", "--teacher_model_name_or_path", teacher, "--output_dir", "out"]
    assert main(first) == 0, capsys.readouterr().err
    printed = capsys.readouterr().out
    companions = ["out/companion-1", "out/companion-2"]
    for number, folder in enumerate(companions, 1):
        f1 = results(folder)["eval_f1"]
        assert f"companion {number} of 2: F1 {f1:.4f}" in printed
        assert results("out")[f"companion_{number}_eval_f1"] == f1
    assert (
        Path(companions[0], "model.safetensors").read_bytes() != Path(companions[1], "model.safetensors").read_bytes()
    )

    given = [*command, "--teacher_model_name_or_path", teacher, *companions, "--output_dir", "given"]
    assert main(given) == 0, capsys.readouterr().err
    assert Path("given/model.safetensors").read_bytes() == Path("out/model.safetensors").read_bytes()

    Path("out/all_results.json").unlink()
    damaged = Path(companions[1], "model.safetensors")
    content = damaged.read_bytes()
    damaged.write_bytes(content[:-4] + b"\0\0\0\0")
    capsys.readouterr()
    assert main(first) == 0
    assert damaged.read_bytes() == content


@pytest.mark.parametrize(
    "flags, message",
    [
        ("--distillation 0", "--companions help to teach by stored probabilities"),
        ("--do_train 0 --student_checkpoint s.pt", "--companions help to teach by stored probabilities"),
        ("--model_name tinybert", "--companions help to teach by stored probabilities"),
        ("--path_to_annotations answers.jsonl", "--companions help a teacher, and answers alone are none"),
    ],
)
def test_what_companions_cannot_do(here, capsys, flags, message):
    command = "--path_to_train train_aug3.tsv --path_to_val val.tsv --companions 1"
    if "annotations" not in flags:
        command += " --teacher_model_name_or_path dmis-lab/biobert-base-cased-v1.1"
    assert main([*command.split(), *flags.split(), *QUICK]) == 2
    assert message in capsys.readouterr().err


def test_a_companion_that_has_learnt_little_does_not_teach(here, capsys):
    """The fine-tuned teacher knows the rule; of 10 sentences a companion learns nothing."""
    save_model(tiny.bert(tiny.wordpiece(), layers=1).bert, tiny.wordpiece(), "encoder")
    command = "--path_to_train train_aug3.tsv --path_to_val val.tsv --teacher_model_name_or_path encoder --use_cpu 1"
    command += " --do_train_teacher 1 --do_train 0 --teacher_num_train_epochs 6 --teacher_learning_rate 1e-2 --bf16 0"
    assert main([*command.split(), "--output_dir", "taught"]) == 0
    tiny.write_tsv(Path("few.tsv"), 10, seed=5)
    command = "--path_to_train few.tsv --path_to_val val.tsv --teacher_model_name_or_path taught/teacher --companions 1"
    assert main([*command.split(), *QUICK, "--output_dir", "out"]) == 2
    said = capsys.readouterr().err
    assert "out/companion-1 has an F1 of 0." in said and "it would teach more errors than it mends" in said


def test_time_is_measured_side_by_side(here, capsys):
    command = [*BILSTM, *QUICK, "--embedding_size", "8", "--hidden_size", "8", "--output_dir", "out"]
    assert main([*command, "--measure_time", "1", "--export", "onnx"]) == 0
    assert "F1 and what it costs" in Path("out/report.html").read_text()
    report = json.loads(Path("out/benchmark.json").read_text())
    assert report["device"] == "cpu" and report["dtype"] == "float32" and report["threads"] >= 1
    model = AutoModelForTokenClassification.from_pretrained("out", trust_remote_code=True)
    assert report["student"]["parameters"] == model.num_parameters()
    names = [path.name for path in Path("out").iterdir() if path.suffix in (".safetensors", ".py")]
    names += ["config.json", "tokenizer.json", "tokenizer_config.json"]
    assert report["student"]["bytes_on_disk"] == sum((Path("out") / name).stat().st_size for name in names)
    for name in ("teacher", "student"):
        figures = report[name]
        assert figures["peak_memory_bytes"] > 100e6, "of a whole process"
        assert 0 < figures["batch_1"]["p50_ms"] <= figures["batch_1"]["p95_ms"]
        assert figures["batch_32"]["words_per_second"] > 0 and figures["padded_202"]["mean_ms"] > 0
    printed = capsys.readouterr().out
    assert f"{report['threads']} thread(s)" in printed and "peak memory" in printed and "gain" in printed
    assert all(words > 0 for precision in ("int8", "fp32") for words in report["exported"][precision].values())
    assert "one text at a time" in printed


@pytest.mark.isa
def test_an_exported_student_answers_in_onnx_runtime(here, capsys):
    command = [*BILSTM, *QUICK, "--embedding_size", "8", "--hidden_size", "8", "--output_dir", "out"]
    # In bf16, too, what is exported is what was saved.
    assert main([*command, "--bf16", "1", "--export", "onnx"]) == 0
    model = AutoModelForTokenClassification.from_pretrained("out", trust_remote_code=True)
    tokenizer, devel = load_tokenizer("out"), load_tsv("val.tsv", "IOBES")
    exported = OnnxModel("out/onnx/model.onnx", model.config)
    answers = [predict_words(each, tokenizer, devel["tokens"], 64) for each in (exported, model.eval())]
    for one, other in zip(*answers, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    printed = capsys.readouterr().out
    assert "out/onnx/model.onnx" in printed and "out/onnx/model_quantized.onnx" in printed
    assert f"on a CPU with {instruction_set()} (PyTorch" in printed
    results = json.loads(Path("out/all_results.json").read_text())
    assert results["onnx_f1"] == results["pytorch_f1"]
    row = f"| `onnx/model_quantized.onnx` | {results['int8_bytes'] / 1e6:.1f} | {results['int8_f1']:.4f} |"
    assert row in Path("out/README.md").read_text()
