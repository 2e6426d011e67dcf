"""What Trainer takes, DistillationTrainer takes: each row of docs/trainer.md."""

import gc
import re

import numpy as np
import pages
import pytest
import tiny
import torch
import torch.nn.functional as F
from datasets import ClassLabel, Dataset, List, concatenate_datasets
from test_trainer import INTERMEDIATE, arguments, assert_same, bilstm, loss_logs, small_bert, weights
from torch import nn
from torch.utils.data import Subset, random_split
from transformers import (
    AutoModelForTokenClassification,
    DataCollatorForTokenClassification,
    PretrainedConfig,
    TrainingArguments,
)

from hf_distill.data.encoding import encode_dataset
from hf_distill.runtime.tags import UserError
from hf_distill.students.save import save_model
from hf_distill.teachers.labels import match_labels
from hf_distill.teachers.signals import SignalStore, attach_signals
from hf_distill.teachers.teacher import Teacher
from hf_distill.training.batching import DistillationCollator
from hf_distill.training.trainer import DistillationTrainer
from hf_distill.training_arguments import DistillationArguments

PAGE = pages.ROOT / "docs" / "trainer.md"


@pytest.fixture(scope="module", autouse=True)
def little_garbage():
    """Trainer collects garbage before each training, which takes longer than the training where much is loaded."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(scope="module")
def rows(tokenizer):
    return encode_dataset(tiny.corpus(64, seed=1), tokenizer, 64, tiny.TAGS)


@pytest.fixture(scope="module")
def devel(tokenizer):
    return encode_dataset(tiny.corpus(30, seed=2), tokenizer, 64, tiny.TAGS)


@pytest.fixture
def make(tmp_path, tokenizer, rows, devel):
    """A trainer with a live teacher, of what is given and of defaults."""

    def trainer(model=None, changes=None, **given) -> DistillationTrainer:
        if model is not None:
            given["model"] = model
        if "teacher" not in given:
            given["teacher"] = tiny.teacher(tokenizer)
        defaults = {"args": arguments(tmp_path, **changes or {}), "train_dataset": rows, "eval_dataset": devel}
        return DistillationTrainer(**defaults | {"processing_class": tokenizer} | given)

    return trainer


def trained(trainer: DistillationTrainer) -> DistillationTrainer:
    trainer.train()
    return trainer


def scores(trainer, *args) -> dict[str, float]:
    return {name: value for name, value in trainer.evaluate(*args).items() if re.search("f1|recall|loss", name)}


# Labels


def test_labels_in_another_order_are_refused(make, tokenizer, rows, devel, tmp_path):
    backwards = tiny.TAGS[::-1]
    other = encode_dataset(tiny.corpus(64, seed=1), tokenizer, 64, backwards)
    with pytest.raises(UserError, match="loaded for the labels O, B-GENE.*; the dataset is encoded for S-GENE, E-GENE"):
        attach_signals([SignalStore(tiny.teacher(tokenizer), tiny.corpus(64, seed=1), tmp_path / "s")], other)
    teacher = Teacher(tiny.bert(tokenizer), tokenizer, match_labels(tiny.TAGS, backwards), 64)
    logits = attach_signals([SignalStore(teacher, tiny.corpus(64, seed=1), tmp_path / "s")], other)
    message = "encoded for other labels.*S-GENE, E-GENE, I-GENE, B-GENE, O; the student has O, B-GENE"
    for changed in (other, logits, other.select(range(5)), concatenate_datasets([other, other]), Subset(other, [1, 2])):
        with pytest.raises(UserError, match=f"train_dataset is {message}"):
            make(bilstm(tokenizer), train_dataset=changed)
    with pytest.raises(UserError, match=f"eval_dataset two is {message}"):
        make(bilstm(tokenizer), eval_dataset={"one": devel, "two": other.to_iterable_dataset()})
    with pytest.raises(UserError, match=message):
        make(bilstm(tokenizer)).evaluate(other)
    with pytest.raises(UserError, match="teacher was loaded for other labels.*S-GENE, E-GENE.*the student has O"):
        make(bilstm(tokenizer), teacher=teacher)


def test_labels_are_those_of_the_head_or_of_its_tags(make, tokenizer, devel):
    """A student in BILOU has tags in IOBES; its data may be encoded by either."""
    student = small_bert(tokenizer)
    student.config.id2label = dict(enumerate(["O", "B-GENE", "I-GENE", "L-GENE", "U-GENE"]))
    bilou = devel.cast_column("labels", List(ClassLabel(names=list(student.config.id2label.values()))))
    assert scores(make(student, eval_dataset=bilou)) == scores(make(student, eval_dataset=devel))


def test_rows_without_names_are_checked_by_number(make, tokenizer):
    more = encode_dataset(tiny.corpus(9, seed=1), tokenizer, 64, ["B-X", "I-X", "E-X", "S-X", *tiny.TAGS]).to_list()
    with pytest.raises(UserError, match="train_dataset has a label 8, but those of the student are 0 to 4"):
        make(bilstm(tokenizer), train_dataset=more)


def test_students_whose_labels_have_no_names_are_refused(make, tokenizer):
    student = small_bert(tokenizer)
    student.config.id2label = {label: f"LABEL_{label}" for label in range(5)}
    with pytest.raises(UserError, match="have no names.*set student.config.tags"):
        make(student)
    student.config.tags = tiny.TAGS[:3]
    with pytest.raises(UserError, match="names 3 tags, but 5 labels"):
        make(student)


def test_features_of_words_for_another_student_are_refused(make, tokenizer):
    student, _ = tiny.random_student("features", tiny.TAGS)
    for number in (0, 19, 21, 2000):
        other = encode_dataset(tiny.corpus(20, seed=1), tokenizer, 64, tiny.TAGS, feature_rows=number)
        for changed in (other, other.to_list()):
            with pytest.raises(UserError, match="tables of 20 rows.*train_dataset.*feature_rows=student.config"):
                make(student, train_dataset=changed)


# Arguments


def test_plain_arguments_have_our_defaults_and_keep_their_values(make, tokenizer, tmp_path):
    given = {"max_steps": 2, "use_cpu": True, "report_to": [], "disable_tqdm": True, "learning_rate": 0.02}
    plain = make(bilstm(tokenizer), args=TrainingArguments(str(tmp_path), **given))
    defaults = DistillationArguments(str(tmp_path))
    assert (plain.args.alpha, plain.args.logit_loss) == (defaults.alpha, defaults.logit_loss)
    assert (plain.args.learning_rate, plain.args.per_device_train_batch_size) == (0.02, 8)
    assert plain.args.label_smoothing_factor == 0.0
    order = plain.args.train_sampling_strategy
    assert order == getattr(TrainingArguments, "train_sampling_strategy", order)  # transformers 5.0 has none
    own = TrainingArguments(str(tmp_path), **given).to_dict()
    own = {name: own[name] for name in ("save_strategy", "eval_strategy", "weight_decay", "optim", "bf16")}
    ours = make(bilstm(tokenizer), args=DistillationArguments(
        str(tmp_path), **own, **given, per_device_train_batch_size=8, train_sampling_strategy=order,
        load_best_model_at_end=False,
    ))  # fmt: skip
    assert_same(weights(trained(plain)), weights(trained(ours)), tolerance=0)


def test_a_trainer_needs_a_tokenizer(make, tokenizer):
    with pytest.raises(ValueError, match="pass processing_class=tokenizer"):
        make(bilstm(tokenizer), processing_class=None)


# Students


@pytest.mark.parametrize("kind", ["bilstm", "projected"])
def test_model_init_equals_the_model_that_it_makes(make, tokenizer, kind):
    student, changes = (small_bert, INTERMEDIATE) if kind == "projected" else (bilstm, {})
    changes = changes | {"learning_rate": None}
    teacher = tiny.teacher(tokenizer)  # before the students, whose seed projections go on from
    made = trained(make(model_init=lambda: student(tokenizer), changes=changes, teacher=teacher))
    given = trained(make(student(tokenizer), changes=changes, teacher=teacher))
    assert made.args.learning_rate == given.args.learning_rate > 0
    assert_same(dict(made.student.state_dict()), dict(given.student.state_dict()), tolerance=0)
    losses = [log["loss"] for log in loss_logs(made)]
    made.train()
    assert [log["loss"] for log in loss_logs(made)] == losses, "as the first time"
    assert made.state.log_history[-1]["train_loss"] == pytest.approx(np.mean(losses)), "the sum begins anew"


def test_each_trial_of_a_search_is_checked_and_trained_as_asked(make, tokenizer):
    pytest.importorskip("optuna")
    seen, order = [], [tiny.TAGS, tiny.TAGS, tiny.TAGS, tiny.TAGS[::-1], tiny.TAGS]

    def student(trial=None):
        student = small_bert(tokenizer)
        student.config.tags = order.pop(0)
        return student

    def objective(metrics):
        seen.append((trainer.args.alpha, trainer.args.hidden_loss_weight))
        return metrics["eval_f1"]

    space = {"alpha": [0.25, 0.75, 0.5], "hidden_loss_weight": [2.0, 0.5, 1.0]}
    trainer = make(model_init=student, changes=INTERMEDIATE)

    def search(**more):
        return trainer.hyperparameter_search(
            lambda trial: {name: values[trial.number] for name, values in space.items()} | more,
            objective, n_trials=2, direction="maximize", backend="optuna",
        )  # fmt: skip

    search()
    assert seen == [(0.25, 2.0), (0.75, 0.5)]
    with pytest.raises(UserError, match="teacher was loaded for other labels"):
        search()
    with pytest.raises(UserError, match="cannot switch"):
        search(embedding_loss_weight=0.0)


class Wrapped(nn.Module):
    """A student that is no PreTrainedModel."""

    def __init__(self, inner):
        super().__init__()
        self.inner, self.config = inner, PretrainedConfig(tags=tiny.TAGS, id2label=dict(enumerate(tiny.TAGS)))

    def forward(self, input_ids, attention_mask):
        return self.inner(input_ids, attention_mask)


def test_any_module_with_a_config_is_trained(make, tokenizer, tmp_path):
    given = {"save_strategy": "steps", "save_steps": 2, "load_best_model_at_end": False}
    trainer = trained(make(Wrapped(bilstm(tokenizer)), changes=given))
    assert_same(dict(trainer.student.inner.state_dict()), weights(trained(make(bilstm(tokenizer)))), tolerance=0)
    assert (tmp_path / "checkpoint-2" / "model.safetensors").exists()
    with pytest.raises(UserError, match="A Linear has no config"):
        make(nn.Linear(2, 2))
    with pytest.raises(UserError, match="need a PreTrainedModel without adapters, not a Wrapped"):
        make(Wrapped(small_bert(tokenizer)), changes=INTERMEDIATE)


def test_adapters_are_trained_and_merged(make, tokenizer, devel, tmp_path):
    peft = pytest.importorskip("peft")
    lora = peft.LoraConfig(task_type="TOKEN_CLS", r=2, lora_alpha=64)
    given = {"eval_strategy": "epoch", "optim": "adamw_torch", "learning_rate": 0.05, "max_steps": 8}
    trainer = trained(make(peft.get_peft_model(small_bert(tokenizer), lora), changes=given))
    adapters = {name: value for name, value in weights(trainer).items() if "lora_B" in name}
    assert adapters and all(value.any() for value in adapters.values()), "they begin at zero"
    trainer.save_model(tmp_path / "adapter")
    assert (tmp_path / "adapter" / "adapter_model.safetensors").exists()
    measured = scores(trainer)
    with pytest.raises(UserError, match="merge them into it"):
        trainer.push_to_hub()
    save_model(trainer.model.merge_and_unload(), tokenizer, tmp_path / "merged")
    merged = AutoModelForTokenClassification.from_pretrained(tmp_path / "merged")
    assert scores(make(merged)) == pytest.approx(measured, rel=1e-4)
    with pytest.raises(UserError, match="without adapters, not a PeftModelForTokenClassification"):
        make(peft.get_peft_model(small_bert(tokenizer), lora), changes=INTERMEDIATE)


@pytest.mark.parametrize(
    "option", [{"torch_compile": True, "torch_compile_backend": "eager"}, {"gradient_checkpointing": True}]
)
def test_compiled_and_checkpointed_students_learn_the_same(make, tokenizer, option):
    plain = trained(make(small_bert(tokenizer), changes=INTERMEDIATE))
    changed = trained(make(small_bert(tokenizer), changes=INTERMEDIATE | option))
    assert_same(weights(plain), weights(changed))
    assert scores(changed) == pytest.approx(scores(plain), rel=1e-4)
    if "gradient_checkpointing" in option:
        assert changed.student.bert.encoder.layer[0].gradient_checkpointing
        with pytest.raises(UserError, match="A BiLSTMForTokenClassification has no gradient checkpointing"):
            make(bilstm(tokenizer), changes=option)


@pytest.mark.parametrize("kind", ["bilstm", "projected"])
def test_noise_on_embeddings(make, tokenizer, kind):
    student, given = (bilstm, {}) if kind == "bilstm" else (small_bert, INTERMEDIATE)
    quiet = trained(make(student(tokenizer), changes=given))
    noisy = trained(make(student(tokenizer), changes=given | {"neftune_noise_alpha": 5.0}))
    assert loss_logs(noisy)[0]["logit_loss"] != loss_logs(quiet)[0]["logit_loss"]
    first = scores(noisy)
    assert scores(noisy) == first, "none where it is evaluated"


# Evaluation


@pytest.mark.parametrize("changes", [{}, {"eval_do_concat_batches": True}, {"batch_eval_metrics": True}])
def test_metrics_of_ones_own_are_added(make, tokenizer, devel, changes):
    changes = changes | {"per_device_eval_batch_size": 4, "include_for_metrics": ["inputs", "loss"]}
    right, batches = [], []

    def metrics(prediction, compute_result=True):
        logits, labels = np.asarray(prediction.predictions), np.asarray(prediction.label_ids)
        assert logits.shape == (*labels.shape, len(tiny.TAGS)) and prediction.inputs is not None
        batches.append(len(labels))
        right.extend((logits.argmax(-1) == labels)[labels != -100])
        labels[:] = 0  # ours are not touched
        return {"accuracy": np.mean(right), "f1": 2.0} if compute_result else {}

    student = bilstm(tokenizer)
    ours, both = (make(student, changes=changes, compute_metrics=each) for each in (None, metrics))
    expected, measured = ours.evaluate(), both.evaluate()
    assert measured["eval_accuracy"] == pytest.approx(np.mean(right))
    assert len(right) == sum(len(labels) for labels in devel["labels"])
    assert sum(batches) == len(devel) and len(batches) == (8 if "batch_eval_metrics" in changes else 1)
    for name in ("eval_loss", "eval_f1", "eval_f1_argmax", "eval_GENE_recall"):
        assert measured[name] == expected[name]


def test_metrics_that_cannot_be_called_are_refused(make, tokenizer):
    with pytest.raises(ValueError, match="has to take compute_result"):
        make(bilstm(tokenizer), changes={"batch_eval_metrics": True}, compute_metrics=lambda prediction: {})
    with pytest.raises(ValueError, match="takes no preprocess_logits_for_metrics"):
        make(bilstm(tokenizer), preprocess_logits_for_metrics=lambda logits, labels: logits.argmax(-1))


def test_metrics_that_return_nothing_add_nothing(make, tokenizer):
    expected = scores(make(bilstm(tokenizer)))
    assert scores(make(bilstm(tokenizer), compute_metrics=lambda prediction: None)) == expected


def test_rows_that_cannot_be_scored(make, tokenizer, devel, caplog):
    text = Dataset.from_dict({"tokens": tiny.sentences(5)}).add_column("tags", [None] * 5)
    unlabelled = encode_dataset(text, tokenizer, 64, tiny.TAGS)
    trainer = make(bilstm(tokenizer))
    output = trainer.predict(unlabelled)
    assert sum(map(len, output.predictions)) == 5 and not any("f1" in name for name in output.metrics)
    assert "The rows have no labels" in caplog.text
    for rows, lacks in ((devel.select([]), "rows"), (devel.remove_columns("labels"), "columns labels")):
        with pytest.raises(UserError, match=f"has no {lacks}: make it by encode_dataset"):
            trainer.evaluate(rows)


def test_evaluation_sets_of_any_class_have_the_same_scores(make, tokenizer, devel):
    student = small_bert(tokenizer)
    expected = scores(make(student))
    some = scores(make(student, eval_dataset=devel.select(range(3, 12))))
    assert some != expected
    for same in (devel.to_iterable_dataset(), devel.to_list(), Pairs(devel), Stream(devel)):
        assert scores(make(student, eval_dataset=same)) == expected, type(same)
    for same in (Subset(devel, range(3, 12)), Subset(Subset(devel, range(2, 30)), range(1, 10)),
                 Subset(Pairs(devel), range(3, 12))):  # fmt: skip
        assert scores(make(student, eval_dataset=same)) == some
        assert scores(make(student), same) == some
        predicted = make(student).predict(same)
        assert predicted.metrics["test_f1"] == some["eval_f1"]


class Pairs(torch.utils.data.Dataset):
    """A dataset of PyTorch, which does not end by itself."""

    def __init__(self, rows: Dataset):
        self.rows = rows

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        return self.rows[index % len(self.rows)]


class Stream(torch.utils.data.IterableDataset):
    def __init__(self, rows: Dataset):
        self.rows = rows

    def __iter__(self):
        return iter(self.rows)


def test_several_evaluation_sets(make, tokenizer, devel):
    some = devel.select(range(9))
    alone = scores(make(bilstm(tokenizer), eval_dataset=some))["eval_loss"]
    trainer = make(bilstm(tokenizer), eval_dataset={"all": devel, "some": Subset(devel, range(9))})
    assert trainer.evaluate()["eval_some_loss"] == alone != trainer.evaluate()["eval_all_loss"]
    trainer = make(bilstm(tokenizer), eval_dataset=[devel, some])
    assert trainer.evaluate()["eval_1_loss"] == trainer.evaluate([some])["eval_0_loss"] == alone
    trainer.eval_dataset = [some]
    assert trainer.evaluate()["eval_0_loss"] == alone
    given = {"eval_strategy": "epoch"}
    with pytest.raises(UserError, match="name one, such as eval_0_f1"):
        make(bilstm(tokenizer), eval_dataset=[devel, some], changes=given)
    without_best = given | {"load_best_model_at_end": False, "save_strategy": "no"}
    history = trained(make(bilstm(tokenizer), eval_dataset=[devel, some], changes=without_best)).state.log_history
    assert any("eval_1_f1" in log for log in history)
    given["metric_for_best_model"] = "eval_1_f1"
    assert trained(make(bilstm(tokenizer), eval_dataset=[devel, some], changes=given)).state.best_metric is not None


# Training


def test_training_sets_of_any_class_are_trained_on(make, tokenizer, rows):
    expected = weights(trained(make(bilstm(tokenizer))))
    whole, _ = random_split(rows, [len(rows), 0], torch.Generator().manual_seed(0))
    whole.indices = sorted(whole.indices)
    for same in (whole, rows.to_list(), Pairs(rows)):
        assert_same(weights(trained(make(bilstm(tokenizer), train_dataset=same))), expected, tolerance=0)
    in_order = {"train_sampling_strategy": "sequential"}
    expected = weights(trained(make(bilstm(tokenizer), changes=in_order)))
    streamed = trained(make(bilstm(tokenizer), train_dataset=rows.to_iterable_dataset()))
    assert_same(weights(streamed), expected, tolerance=0)


def test_a_collator_of_ones_own(make, tokenizer):
    class Masked(DistillationCollator):
        """Hides the first word."""

        def __call__(self, rows):
            batch = super().__call__(rows)
            batch["input_ids"][:, 1] = tokenizer.unk_token_id
            return batch

    plain = trained(make(bilstm(tokenizer), data_collator=DistillationCollator(tokenizer)))
    assert_same(weights(plain), weights(trained(make(bilstm(tokenizer)))), tolerance=0)
    masked = trained(make(bilstm(tokenizer), data_collator=Masked(tokenizer)))
    assert loss_logs(masked)[0] != loss_logs(plain)[0]
    with pytest.raises(ValueError, match="data_collator gives no word_mask"):
        make(bilstm(tokenizer), data_collator=DataCollatorForTokenClassification(tokenizer))


def squared_error(outputs, logits, batch):
    return ((logits - batch["teacher_logits"]) ** 2).mean(-1)


def certainty(outputs, logits, batch):
    assert outputs.logits.shape[-1] == logits.shape[-1] and batch["signal_mask"].any()
    return 0.5 * F.log_softmax(logits, -1).exp().max(-1).values


def test_losses_of_ones_own_replace_ours_and_are_added(make, tokenizer, rows, tmp_path):
    ours = trained(make(bilstm(tokenizer)))
    same = trained(make(bilstm(tokenizer), losses={"logit_loss": squared_error}))
    assert_same(weights(same), weights(ours))
    assert loss_logs(same)[1] == pytest.approx(loss_logs(ours)[1], rel=1e-4)
    stored = attach_signals([SignalStore(tiny.teacher(tokenizer), tiny.corpus(64, seed=1), tmp_path / "s")], rows)
    stored = trained(make(bilstm(tokenizer), losses={"logit_loss": squared_error}, train_dataset=stored, teacher=None))
    assert_same(weights(stored), weights(ours))
    results = []
    for size, steps in ((32, 1), (8, 4)):
        split = {"per_device_train_batch_size": size, "gradient_accumulation_steps": steps}
        results.append(trained(make(bilstm(tokenizer), changes=split, losses={"certainty": certainty})))
    assert_same(weights(results[0]), weights(results[1]))
    [log, _] = [log for log in results[1].state.log_history if "loss" in log]
    assert log["certainty"] > 0.05
    assert log["loss"] == pytest.approx(log["certainty"] + log["hard_loss"] + log["logit_loss"], rel=1e-4)
    labels_alone = {"alpha": 1.0}
    assert_same(
        weights(trained(make(bilstm(tokenizer), changes=labels_alone, losses={"logit_loss": squared_error}))),
        weights(trained(make(bilstm(tokenizer), changes=labels_alone))),
        tolerance=0,
    )


def test_losses_that_cannot_be_used_are_refused(make, tokenizer):
    with pytest.raises(ValueError, match="takes no compute_loss_func: pass losses="):
        make(bilstm(tokenizer), compute_loss_func=lambda outputs, labels, num_items_in_batch=None: 0)
    with pytest.raises(ValueError, match=r"'sum' has to return a value for each word, of shape \[32, \d+\], not \[\]"):
        make(bilstm(tokenizer), losses={"sum": lambda outputs, logits, batch: logits.sum()}).train()
    with pytest.raises(ValueError, match="Trainer logs learning_rate, loss itself"):
        make(bilstm(tokenizer), losses={"loss": certainty, "learning_rate": certainty})


# The page


@pytest.mark.parametrize("number", [0, 1])
def test_the_examples_of_the_page(tmp_path, monkeypatch, number):
    if number == 0:
        pytest.importorskip("optuna")
    pages.write_folder(tmp_path)
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    pages.run_python(PAGE, pages.blocks(PAGE)[number], names)
    if number == 0:
        assert names["best"].hyperparameters.keys() == {"dropout", "learning_rate"}
    else:
        logs = [log for log in names["trainer"].state.log_history if "loss" in log]
        assert logs[-1]["logit_loss"] > 0 > logs[-1]["certainty"]
