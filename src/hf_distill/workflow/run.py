"""One run, from its arguments to a student that is evaluated, saved and published."""

from ..data.corpora import load_corpora, write_augmented
from ..data.readers.common import explain_cache_errors
from ..evaluation.scores import Results
from ..training_arguments import RunArguments
from .preparation import (
    baseline_arguments,
    check_metric,
    check_shared,
    lock_output,
    prepare_arguments,
    print_main,
    set_up_process,
    summary,
)
from .results import (
    choose_thresholds,
    evaluate_student,
    evaluate_teachers,
    finish,
    log_results,
    save_results,
    training_figures,
)
from .stages import (
    build,
    load_answers,
    load_models,
    make_stores,
    reserve_repository,
    reserve_with_tokenizer,
    signal_summary,
    train,
)
from .trained_teachers import teacher_folders, train_companions, train_teachers


def run(arguments: RunArguments) -> None:
    """Load data and models, train, evaluate, and save everything to `arguments.training.output_dir`.

    Raises:
        UserError: the arguments, the data or a model cannot be used; usually before training starts.
    """
    set_up_process(arguments.training)
    arguments = prepare_arguments(arguments)
    with lock_output(arguments.training.output_dir), explain_cache_errors():
        check_shared("output_dir", arguments.training.output_dir)
        _run(arguments)


def _run(arguments: RunArguments) -> None:
    corpora = load_corpora(arguments.data, arguments.training.seed)
    check_metric(arguments.training, corpora)
    arguments = reserve_repository(arguments)
    args = arguments.training
    encoders, teachers = load_models(arguments, corpora)
    answers = load_answers(arguments, corpora)
    if args.do_train or not encoders:
        tokenizer = reserve_with_tokenizer(arguments, corpora, encoders, teachers, answers)
    write_augmented(arguments.data.save_augmented, corpora)
    print_main(summary(arguments, corpora))

    if encoders:
        teachers = train_teachers(encoders, arguments, corpora)
        if not args.do_train:
            folders = " ".join(map(str, teacher_folders(args, len(teachers))))
            print_main(f"To be given as --teacher_model_name_or_path: {folders}")
            return
    results = Results()
    stores = make_stores([*teachers, *answers], corpora, args)
    if stores:
        print_main(signal_summary(stores, args))
        pieces = teachers[0].tokenizer if teachers else tokenizer
        results.evaluations["teacher"] = evaluate_teachers(pieces, corpora, args, stores)
    if args.companions:
        teacher_f1 = results.evaluations["teacher"]["eval"].scores["f1"]
        companions, scores = train_companions(arguments, corpora, teachers, answers, stores["train"], teacher_f1)
        results.figures |= scores
        # They label the training text; the teacher's scores stay those of the teachers that were given.
        stores["train"] = make_stores([*teachers, *companions, *answers], corpora, args)["train"]

    if args.do_train_baseline:
        baseline_args = baseline_arguments(arguments, corpora)
        baseline = build(baseline_args, corpora, tokenizer, teachers)
        trainer = train(baseline, baseline_args.training, corpora)
        evaluations = evaluate_student(trainer, baseline, corpora, teachers)
        save_results(baseline, baseline_args.training, corpora, Results(results.evaluations | {"student": evaluations}))
        results.evaluations["baseline"] = evaluations

    student = build(arguments, corpora, tokenizer, teachers)
    trainer = train(student, args, corpora, teachers, stores.get("train", []))
    results.evaluations["student"] = evaluate_student(trainer, student, corpora, teachers)
    choose_thresholds(student, results.evaluations["student"]["eval"], corpora, args.target_precision)
    results.compare(corpora.evaluated())
    results.figures |= training_figures(student, corpora, args)
    save_results(student, args, corpora, results)
    log_results(trainer, results)
    finish(trainer, student, arguments, corpora, teachers, results)
