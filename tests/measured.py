"""What a run measured, made up: scores, what the trainer logged, what the models cost."""

HISTORY = [
    {"step": 10, "loss": 0.9, "logit_loss": 0.7, "hard_loss": 0.2},
    {"step": 20, "eval_f1": 0.6123, "eval_loss": 0.3},
    {"step": 20, "loss": 0.5, "logit_loss": 0.4, "hard_loss": 0.1},
    {"step": 40, "eval_f1": 0.7012, "eval_loss": 0.2},
    {"step": 40, "train_loss": 0.6, "train_runtime": 3.0},
]
STATE = {"epoch": 2.0, "global_step": 40, "best_global_step": 40, "log_history": HISTORY}


def scores(prefix, f1):
    """A model's scores on a corpus, overall and by type, each F1 with its interval."""
    return {
        f"{prefix}_{key}{name}": round(f1 + step, 4)
        for key, step in (("", 0.0), ("GENE_", 0.02), ("CHEMICAL_", -0.03))
        for name, step in (
            ("f1", step),
            ("f1_low", step - 0.0151),
            ("f1_high", step + 0.0162),
            ("precision", step + 0.0043),
            ("recall", step - 0.0044),
        )
    } | {f"{prefix}_ece": 0.0312, f"{prefix}_ece_by_chance": 0.0201}


def gain(name, value, low, high):
    return {name: value, f"{name}_low": low, f"{name}_high": high}


STUDENT = scores("eval", 0.7012) | {"parameters": 12345, "train_sentences": 30, "train_words": 180}
EVERYTHING = (
    STUDENT
    | scores("teacher_eval", 0.7234)
    | scores("baseline_eval", 0.6345)
    | scores("test", 0.6891)
    | scores("teacher_test", 0.6902)
    | scores("baseline_test", 0.6011)
    | gain("eval_f1_above_teacher", -0.0222, -0.03, -0.01)
    | gain("test_f1_above_teacher", -0.0011, -0.015, 0.012)
    | gain("test_f1_above_baseline", 0.088, 0.07, 0.1)
)


def figures(milliseconds):
    return {
        "parameters": 12345,
        "batch_1": {"p50_ms": milliseconds, "p95_ms": 2 * milliseconds},
        "batch_32": {"words_per_second": 40_000 / milliseconds},
    }


BENCHMARK = {"hardware": "A Processor", "device": "cpu", "threads": 2, "dtype": "float32"}
BENCHMARK |= {"teacher": figures(23.45), "student": figures(1.23)}
