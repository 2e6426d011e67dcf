import dataclasses
import os
import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import tiny
import torch
from datasets import concatenate_datasets

from hf_distill.data.encoding import encode_dataset
from hf_distill.runtime.configuration_bilstm import BiLSTMConfig
from hf_distill.runtime.modeling_bilstm import BiLSTMForTokenClassification
from hf_distill.runtime.pipeline import predict_words
from hf_distill.runtime.tags import UserError
from hf_distill.students.build import label_config
from hf_distill.teachers.labels import match_labels
from hf_distill.teachers.signals import SignalStore, attach_signals, read_signals
from hf_distill.teachers.teacher import Teacher
from hf_distill.training.trainer import DistillationTrainer
from hf_distill.training_arguments import DistillationArguments

INTERMEDIATE = {"embedding_loss_weight": 1.0, "hidden_loss_weight": 1.0, "attention_loss_weight": 1.0}


def bilstm(tokenizer, dropout: float = 0.0) -> BiLSTMForTokenClassification:
    torch.manual_seed(1)
    config = BiLSTMConfig(
        vocab_size=len(tokenizer), embedding_size=8, hidden_size=8, dropout=dropout, **label_config(tiny.TAGS)
    )
    return BiLSTMForTokenClassification(config)


def small_bert(tokenizer):
    return tiny.bert(tokenizer, layers=1, hidden=12, seed=5, dropout=0.0, tags=tiny.TAGS)


def arguments(folder, **changes) -> DistillationArguments:
    given = {
        "output_dir": str(folder),
        "use_cpu": True,
        "bf16": False,
        "per_device_train_batch_size": 32,
        "num_train_epochs": 1,
        "max_steps": 2,
        "logging_steps": 1,
        "eval_strategy": "no",
        "disable_tqdm": True,
        "alpha": 0.3,
        # Weights then differ as gradients do; Adam would blow up the rounding noise of those that are zero.
        "optim": "sgd",
        "learning_rate": 0.1,
    }
    return DistillationArguments(**given | changes)


def train(folder, student, tokenizer, teacher, dataset, **changes) -> DistillationTrainer:
    args = arguments(folder, **changes)
    trainer = DistillationTrainer(
        model=student, args=args, teacher=teacher, processing_class=tokenizer, train_dataset=dataset
    )
    trainer.train()
    return trainer


def weights(trainer) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in trainer.model.state_dict().items()}


def loss_logs(trainer) -> list[dict[str, float]]:
    terms = "hard_loss logit_loss sequence_loss embedding_loss hidden_loss attention_loss"
    names = ("loss", "grad_norm", *terms.split())
    logs = [log for log in trainer.state.log_history if "loss" in log]
    return [{name: log[name] for name in names if name in log} for log in logs]


def assert_same(one, other, tolerance: float = 2e-5) -> None:
    assert one.keys() == other.keys()
    for name in one:
        torch.testing.assert_close(
            one[name], other[name], atol=tolerance, rtol=1e-3, msg=lambda text, n=name: f"{n}: {text}"
        )


@pytest.fixture(scope="module")
def encoded(tokenizer):
    """64 sentences, half of them without labels, one longer than a window."""
    from datasets import concatenate_datasets

    text = concatenate_datasets([tiny.corpus(32, seed=1), tiny.corpus(31, seed=2, labelled=False)])
    long = tiny.corpus(1, seed=3).map(lambda row: {"tokens": row["tokens"] * 40, "tags": row["tags"] * 40})
    text = concatenate_datasets([text, long])
    return text, encode_dataset(text, tokenizer, 64, tiny.TAGS, keep_tokens=True)


@pytest.mark.parametrize("kind", ["bilstm", "tinybert"])
def test_accumulated_steps_equal_one_large_batch(tmp_path, tokenizer, encoded, kind):
    results = []
    for size, steps in ((32, 1), (8, 4)):
        student = bilstm(tokenizer) if kind == "bilstm" else small_bert(tokenizer)
        trainer = train(
            tmp_path / str(size),
            student,
            tokenizer,
            tiny.teacher(tokenizer),
            encoded[1],
            per_device_train_batch_size=size,
            gradient_accumulation_steps=steps,
            **INTERMEDIATE if kind == "tinybert" else {"logit_loss": "ce", "sequence_loss_weight": 0.5},
        )
        results.append((weights(trainer), loss_logs(trainer)))
    assert_same(results[0][0], results[1][0])
    for one, other in zip(results[0][1], results[1][1], strict=True):
        assert one == pytest.approx(other, rel=1e-3)


def test_every_term_is_logged_by_name_and_they_add_up(tmp_path, tokenizer, encoded):
    trainer = train(
        tmp_path, small_bert(tokenizer), tokenizer, tiny.teacher(tokenizer), encoded[1], logging_steps=2, **INTERMEDIATE
    )
    log = next(log for log in trainer.state.log_history if "loss" in log)
    names = {"hard_loss", "logit_loss", "embedding_loss", "hidden_loss", "attention_loss"}
    assert names <= log.keys()
    assert log["loss"] == pytest.approx(sum(log[name] for name in names), rel=1e-4)
    assert all(log[name] > 0 for name in names)


@pytest.mark.parametrize("family", [tiny.wordpiece, tiny.byte_level])
def test_stored_signals_equal_the_live_teacher(tmp_path, tokenizer, encoded, family):
    """Also where the teacher has a tokenizer of its own, and in a sentence of several windows."""
    teacher = tiny.teacher(family())
    text, live_rows = encoded
    live = train(tmp_path / "live", bilstm(tokenizer), tokenizer, teacher, live_rows, max_steps=3)
    stored_rows = attach_signals([SignalStore(teacher, text, tmp_path / "signals")], live_rows)
    assert "teacher_logits" in stored_rows.column_names
    stored = train(tmp_path / "stored", bilstm(tokenizer), tokenizer, None, stored_rows, max_steps=3)
    assert_same(weights(live), weights(stored))


def test_features_of_words_reach_student_and_teacher(tmp_path):
    """A student that reads them learns from another one, live or stored, though their tokenizers are the same."""
    model, tokenizer = tiny.random_student("features", tiny.TAGS)
    teacher = Teacher(model, tokenizer, match_labels(tiny.TAGS, tiny.TAGS), 64)
    text = tiny.corpus(40, seed=2)
    rows = encode_dataset(text, tokenizer, 64, tiny.TAGS, keep_tokens=True, feature_rows=20)
    live = train(tmp_path / "live", tiny.random_student("features", tiny.TAGS)[0], tokenizer, teacher, rows)
    stored_rows = attach_signals([SignalStore(teacher, text, tmp_path / "signals")], rows)
    stored = train(tmp_path / "stored", tiny.random_student("features", tiny.TAGS)[0], tokenizer, None, stored_rows)
    assert_same(weights(live), weights(stored))
    log = next(log for log in live.state.log_history if "loss" in log)
    assert log["logit_loss"] > 0
    start = tiny.random_student("features", tiny.TAGS)[0].state_dict()["feature_embeddings.weight"]
    moved = weights(live)["feature_embeddings.weight"] != start
    assert moved[1:].any() and not moved[0].any()
    without_words = rows.remove_columns("tokens")
    trainer = DistillationTrainer(
        model=model,
        args=arguments(tmp_path / "without"),
        teacher=teacher,
        processing_class=tokenizer,
        train_dataset=without_words,
        eval_dataset=without_words,
    )
    assert trainer.evaluate()["eval_f1"] >= 0, "the teacher does not run"
    with pytest.raises(UserError, match="keep_tokens=True"):
        trainer.train()
    with pytest.raises(UserError, match="encode_dataset.*feature_rows"):
        train(tmp_path, model, tokenizer, None, encode_dataset(text, tokenizer, 64, tiny.TAGS))


def test_stored_signals_of_a_head_in_iob2_equal_the_live_teacher(tmp_path, tokenizer):
    teacher = dataclasses.replace(
        tiny.teacher(tokenizer), labels=match_labels(["O", "I-GENE", "B-GENE", "X", "Y"], tiny.TAGS)
    )
    text = tiny.corpus(40, seed=2)
    rows = encode_dataset(text, tokenizer, 64, tiny.TAGS)
    live = train(tmp_path / "live", bilstm(tokenizer), tokenizer, teacher, rows)
    stored_rows = attach_signals([SignalStore(teacher, text, tmp_path / "signals")], rows)
    stored = train(tmp_path / "stored", bilstm(tokenizer), tokenizer, None, stored_rows)
    assert_same(weights(live), weights(stored))


def test_students_move_and_teachers_do_not(tmp_path, tokenizer, encoded):
    teacher = tiny.teacher(tokenizer)
    before = {name: value.clone() for name, value in teacher.model.state_dict().items()}
    hidden_alone = INTERMEDIATE | {"embedding_loss_weight": 0.0, "attention_loss_weight": 0.0}
    kinds = [(bilstm, {}), (small_bert, INTERMEDIATE), (small_bert, hidden_alone)]
    for number, (student, given) in enumerate(kinds):
        trainer = DistillationTrainer(
            model=student(tokenizer),
            args=arguments(tmp_path / str(number), max_steps=4, optim="adamw_torch", **given),
            teacher=teacher,
            processing_class=tokenizer,
            train_dataset=encoded[1],
        )
        start = weights(trainer)
        trainer.train()
        # Projections are among them. Position and vocabulary rows that no sentence reaches have to stay.
        for name, value in weights(trainer).items():
            assert not torch.equal(value, start[name]), name
    for name, value in teacher.model.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert not any(parameter.requires_grad for parameter in teacher.model.parameters())


@pytest.mark.parametrize("kind", ["bilstm", "tinybert"])
def test_resumed_equals_uninterrupted(tmp_path, tokenizer, encoded, kind):
    """With dropout, in the middle of the second epoch, projections included."""
    given = {"max_steps": 12, "per_device_train_batch_size": 8, "save_strategy": "steps", "save_steps": 10}
    given |= {"num_train_epochs": 2, "load_best_model_at_end": False}
    given |= INTERMEDIATE if kind == "tinybert" else {}

    def student():
        return bilstm(tokenizer, dropout=0.5) if kind == "bilstm" else small_bert(tokenizer)

    whole = train(tmp_path, student(), tokenizer, tiny.teacher(tokenizer), encoded[1], **given)
    resumed = DistillationTrainer(
        model=student(),
        args=arguments(tmp_path, **given),
        teacher=tiny.teacher(tokenizer),
        processing_class=tokenizer,
        train_dataset=encoded[1],
    )
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-10"))
    assert resumed.state.global_step == 12
    assert_same(weights(whole), weights(resumed), tolerance=0)


def test_checkpoints_hold_the_student_as_users_load_it(tmp_path, tokenizer, encoded):
    given = {"save_strategy": "steps", "save_steps": 2, "load_best_model_at_end": False, **INTERMEDIATE}
    trainer = train(tmp_path, small_bert(tokenizer), tokenizer, tiny.teacher(tokenizer), encoded[1], **given)
    from transformers import AutoModelForTokenClassification

    folder = tmp_path / "checkpoint-2"
    loaded, info = AutoModelForTokenClassification.from_pretrained(folder, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    assert_same(dict(loaded.state_dict()), dict(trainer.student.state_dict()), tolerance=0)
    assert (folder / "projections.safetensors").exists()


def test_best_checkpoint_by_devel_f1_and_early_stopping(tmp_path, tokenizer):
    from transformers import EarlyStoppingCallback

    rows = encode_dataset(tiny.corpus(400, seed=1), tokenizer, 64, tiny.TAGS)
    devel = encode_dataset(tiny.corpus(40, seed=2), tokenizer, 64, tiny.TAGS)
    trainer = DistillationTrainer(
        model=bilstm(tokenizer),
        args=arguments(
            tmp_path,
            distillation=False,
            max_steps=-1,
            num_train_epochs=30,
            eval_strategy="epoch",
            optim="adamw_torch",
            learning_rate=2e-2,
        ),
        processing_class=tokenizer,
        train_dataset=rows,
        eval_dataset=devel,
        callbacks=[EarlyStoppingCallback(early_stopping_patience=2)],
    )
    trainer.train()
    scores = [log["eval_f1"] for log in trainer.state.log_history if "eval_f1" in log]
    assert len(scores) < 30, "stopped early"
    assert max(scores) > 0.9, "the rule is easy to learn"
    assert scores.index(max(scores)) == len(scores) - 3
    assert trainer.evaluate()["eval_f1"] == max(scores), "the best is loaded at the end"


@pytest.mark.parametrize("concat", [False, True])
def test_word_scores_do_not_depend_on_windows_and_batches(tmp_path, tokenizer, encoded, concat):
    """The trainer's evaluation, put together from windows, is the score of the whole sentences."""
    from hf_distill.data.encoding import word_pieces
    from hf_distill.evaluation.metrics import count

    devel = tiny.corpus(20, seed=7).map(lambda row: {"tokens": row["tokens"] * 11, "tags": row["tags"] * 11})
    student = small_bert(tokenizer)
    windows = encode_dataset(devel, tokenizer, 64, tiny.TAGS, piece_tokenizer=tokenizer).shuffle(seed=0)
    assert len(windows) > len(devel)
    trainer = DistillationTrainer(
        model=student,
        args=arguments(tmp_path, per_device_eval_batch_size=3, eval_do_concat_batches=concat),
        processing_class=tokenizer, train_dataset=encoded[1], eval_dataset=windows,
    )  # fmt: skip
    measured = trainer.evaluate()
    logits = predict_words(student.eval(), tokenizer, devel["tokens"], 64)
    counts = count(logits, devel["tags"], tiny.TAGS, word_pieces(devel, tokenizer))
    for name, value in counts.scores().items():
        assert measured[f"eval_{name}"] == pytest.approx(value), name
    assert trainer.counts.predictions == counts.predictions
    assert trainer.counts.intervals() == counts.intervals()
    gold = torch.tensor([tiny.TAGS.index(tag) for tags in devel["tags"] for tag in tags])
    per_word = torch.nn.functional.cross_entropy(torch.tensor(np.concatenate(logits)), gold)
    assert measured["eval_loss"] == pytest.approx(per_word.item())
    # Sentences without labels count for nothing.
    text = concatenate_datasets([tiny.corpus(9, seed=8, labelled=False), devel])
    again = trainer.evaluate(encode_dataset(text, tokenizer, 64, tiny.TAGS, piece_tokenizer=tokenizer))
    for name in counts.scores():
        assert again[f"eval_{name}"] == pytest.approx(measured[f"eval_{name}"]), name


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"teacher": "none"}, "live teacher"),
        ({"teacher": "other tokenizer"}, "one tokenizer"),
        ({"student": "bilstm"}, "transformer student, not bilstm"),
        ({"student": "6 heads"}, "the student has 6, the teacher 12"),
    ],
)
def test_intermediate_losses_between_strangers_are_refused(tmp_path, tokenizer, encoded, change, message):
    teacher = {"none": None, "other tokenizer": tiny.teacher(tiny.byte_level())}.get(
        change.get("teacher"), tiny.teacher(tokenizer)
    )
    student = bilstm(tokenizer) if change.get("student") == "bilstm" else small_bert(tokenizer)
    if change.get("student") == "6 heads":
        student.config.num_attention_heads = 6
    with pytest.raises(UserError, match=message):
        DistillationTrainer(
            model=student, args=arguments(tmp_path, **INTERMEDIATE), teacher=teacher, processing_class=tokenizer
        )


def test_several_gpus_in_one_process_are_refused(tmp_path, tokenizer):
    args = arguments(tmp_path)
    args._n_gpu = 2
    with pytest.raises(UserError, match="accelerate launch --num_processes 2"):
        DistillationTrainer(model=bilstm(tokenizer), args=args, processing_class=tokenizer)


TWO_PROCESSES = """
import os, sys, torch
sys.path[:0] = sys.argv[2:]
import test_trainer
torch.save(test_trainer.train_both(sys.argv[1]), f"{sys.argv[1]}/results-{os.environ['RANK']}.pt")
"""


def train_both(folder) -> dict:
    """Two steps on 32 sentences each, over all processes, for either kind of student."""
    tokenizer = tiny.wordpiece()
    rows = encode_dataset(tiny.corpus(64, seed=1), tokenizer, 64, tiny.TAGS)
    results = {}
    for kind, student in (("bilstm", bilstm(tokenizer)), ("tinybert", small_bert(tokenizer))):
        args = arguments(f"{folder}/{kind}", **INTERMEDIATE if kind == "tinybert" else {})
        args.per_device_train_batch_size = 32 // args.world_size
        trainer = DistillationTrainer(
            model=student,
            args=args,
            teacher=tiny.teacher(tokenizer),
            processing_class=tokenizer,
            train_dataset=rows,
            eval_dataset=rows,
        )
        trainer.train()
        logs = [*loss_logs(trainer), {"train_loss": trainer.state.log_history[-1]["train_loss"]}]
        scores = {name: value for name, value in trainer.evaluate().items() if "f1" in name}
        results[kind] = [weights(trainer), logs, scores, args.world_size]
    # Some sentences are labelled before, in a store that is not a multiple of its shards.
    text, teacher, signals = tiny.corpus(64, seed=1), tiny.teacher(tokenizer), f"{folder}/signals"
    SignalStore(teacher, text.select(range(10, 20)), signals).compute()
    with patch("hf_distill.teachers.signals.SHARD_SENTENCES", 7):
        results["signals"] = torch.tensor(np.concatenate(read_signals([SignalStore(teacher, text, signals)])))
    return results


def test_two_processes_equal_one(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(TWO_PROCESSES)
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    launch += ["--main_process_port", "0", str(script), str(tmp_path), *map(str, Path(__file__).parents[:2])]
    done = subprocess.run(launch, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr[-3000:]
    one = train_both(tmp_path / "one")
    for rank in (0, 1):
        two = torch.load(tmp_path / f"results-{rank}.pt", weights_only=True)
        torch.testing.assert_close(two["signals"], one["signals"])
        for kind in ("bilstm", "tinybert"):
            assert two[kind][3] == 2 and one[kind][3] == 1, "world size"
            assert_same(one[kind][0], two[kind][0])
            for log, other in zip(one[kind][1], two[kind][1], strict=True):
                assert log == pytest.approx(other, rel=1e-3)
            assert one[kind][2] == pytest.approx(two[kind][2])
