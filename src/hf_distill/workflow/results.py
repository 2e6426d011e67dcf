"""The end of a run: scores of teacher and student, and what is left in the output folder."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from accelerate import PartialState
from datasets import Dataset
from transformers import AutoModelForTokenClassification

from ..arguments import DataArguments, DistillationArguments
from ..data.corpora import EVALUATED
from ..data.encoding import encode_dataset, join_windows, word_pieces
from ..evaluation.cost import measure
from ..evaluation.metrics import decode, f1_difference, f1_intervals, score
from ..files import write_columns, write_json
from ..publishing.onnx_export import export_onnx
from ..runtime.tags import UserError
from ..runtime.windows import window_length
from ..students.save import save_model
from ..teachers.signals import SignalStore, read_signals
from ..teachers.teacher import Teacher
from ..training.trainer import DistillationTrainer


def evaluate_teachers(
    teachers: Sequence[Teacher],
    corpora: Mapping[str, Dataset],
    tags: Sequence[str],
    args: DistillationArguments,
    stores: Mapping[str, Sequence[SignalStore]],
) -> tuple[dict[str, float], dict[str, list[list[str]]]]:
    """Scores (`teacher_eval_f1`, `teacher_eval_f1_low`, ...) and predicted tags, by corpus, of the teachers,
    averaged.

    Raises:
        UserError: the F1 on the development data is below `args.min_teacher_f1`.
    """
    metrics, predictions = {}, {}
    for name in EVALUATED:
        if name not in corpora:
            continue
        logits = read_signals(stores[name])
        predictions[name] = decode(logits, tags)
        judged = (logits, corpora[name]["tags"], tags, word_pieces(corpora[name], teachers[0].tokenizer))
        scores = score(*judged) | f1_intervals(*judged)
        metrics |= {f"teacher_{name}_{key}": value for key, value in scores.items()}
    if metrics["teacher_eval_f1"] < args.min_teacher_f1:
        raise UserError(
            f"The teacher's F1 on the development data is {metrics['teacher_eval_f1']:.3f}, below --min_teacher_f1 "
            f"{args.min_teacher_f1}. Likely causes: its labels are in another order (--teacher_labels), its weights "
            "are not those of a fine-tuned token classifier (--teacher_checkpoint, --do_train_teacher), or its "
            "tokenizer is not the one that it was trained with (cased or not)."
        )
    return metrics, predictions


def evaluate_student(
    trainer: DistillationTrainer,
    corpora: Mapping[str, Dataset],
    data_args: DataArguments,
    teachers: Sequence[Teacher],
) -> tuple[dict[str, float], dict[str, list[list[str]]]]:
    """Scores (`eval_f1`, `eval_f1_low`, ...) and predicted tags, by corpus, of the trained student."""
    tokenizer = trainer.processing_class
    max_length = window_length(tokenizer, trainer.student.config, data_args.max_seq_length)
    pieces = teachers[0].tokenizer if teachers else tokenizer
    metrics, predictions = {}, {}
    for name in EVALUATED:
        if name not in corpora:
            continue
        with PartialState().main_process_first():
            encoded = encode_dataset(
                corpora[name], tokenizer, max_length, trainer.tags, piece_tokenizer=pieces, by_length=True
            )
        output = trainer.predict(encoded, metric_key_prefix=name)
        metrics |= output.metrics
        logits = join_windows(output.predictions, output.label_ids, encoded)
        predictions[name] = decode(logits, trainer.tags)
        intervals = f1_intervals(logits, corpora[name]["tags"], trainer.tags, word_pieces(corpora[name], pieces))
        metrics |= {f"{name}_{key}": value for key, value in intervals.items()}
    return metrics, predictions


def compare(
    corpora: Mapping[str, Dataset],
    predictions: Mapping[str, list[list[str]]],
    others: Mapping[str, list[list[str]]],
    name: str,
) -> dict[str, float]:
    """By corpus, how much the student's F1 is above that of another model, called `name` (`eval_f1_above_NAME`, with
    its interval in `..._low` and `..._high`); nothing where the other has predicted nothing.
    """
    found = {}
    for corpus in predictions.keys() & others.keys():
        difference = f1_difference(predictions[corpus], others[corpus], corpora[corpus]["tags"])
        found |= {
            f"{corpus}_f1_above_{name}": difference["value"],
            f"{corpus}_f1_above_{name}_low": difference["low"],
            f"{corpus}_f1_above_{name}_high": difference["high"],
        }
    return found


def save_results(
    trainer: DistillationTrainer,
    corpora: Mapping[str, Dataset],
    results: Mapping[str, float],
    predictions: Mapping[str, list[list[str]]],
    teacher_predictions: Mapping[str, list[list[str]]],
) -> None:
    """Leave the student, `all_results.json` and `predictions_*.tsv` in the output folder (main process alone)."""
    if not trainer.is_world_process_zero():
        return
    folder = Path(trainer.args.output_dir)
    save_model(trainer.student, trainer.processing_class, folder)
    for name, tags in predictions.items():
        tokens, gold = corpora[name]["tokens"], corpora[name]["tags"]
        # Without a teacher its column holds a hyphen.
        taught = teacher_predictions.get(name) or [["-"] * len(sentence) for sentence in tags]
        write_columns(folder / f"predictions_{name}.tsv", tokens, gold, taught, tags)
    write_json(folder / "all_results.json", dict(sorted(results.items())))


def export_student(
    trainer: DistillationTrainer,
    corpora: Mapping[str, Dataset],
    data_args: DataArguments,
    trust_remote_code: bool,
) -> dict[str, float]:
    """`onnx_export.export_onnx` of the saved student, into its folder."""
    tokenizer, folder = trainer.processing_class, Path(trainer.args.output_dir)
    # Not the trainer's: accelerate has put its autocast into that one's forward.
    student = AutoModelForTokenClassification.from_pretrained(folder, trust_remote_code=trust_remote_code)
    max_length = window_length(tokenizer, student.config, data_args.max_seq_length)
    devel = corpora["eval"]
    return export_onnx(student, tokenizer, folder, devel["tokens"], devel["tags"], trainer.tags, max_length)


def measure_time(
    trainer: DistillationTrainer,
    corpora: Mapping[str, Dataset],
    data_args: DataArguments,
    teachers: Sequence[Teacher],
    trust_remote_code: bool,
) -> dict:
    """`benchmark.measure` of teacher (if there is one) and student on the development sentences."""
    tokenizer = trainer.processing_class
    max_length = window_length(tokenizer, trainer.student.config, data_args.max_seq_length)
    subjects = {"student": [(trainer.student, tokenizer, max_length)]}
    if teachers:
        taught = [(teacher.model, teacher.tokenizer, teacher.max_length) for teacher in teachers]
        subjects = {"teacher": taught} | subjects
    return measure(subjects, corpora["eval"]["tokens"], trainer.args.device, trust_remote_code)
