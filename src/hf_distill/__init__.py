"""hf_distill: distil a named-entity recogniser into a small, fast student."""

import importlib

_MODULES = {
    "BiLSTMConfig": "models",
    "BiLSTMForTokenClassification": "models",
    "DistillationArguments": "arguments",
    "DistillationTrainer": "trainer",
    "EntityScores": "metrics",
    "MentionPipeline": "pipeline",
    "ModelArguments": "arguments",
    "SignalStore": "signals",
    "Teacher": "teacher",
    "attach_signals": "signals",
    "augment": "augmentation",
    "build_student": "students",
    "encode_dataset": "encoding",
    "load_teacher": "teacher",
    "load_tsv": "data",
    "load_unlabeled": "data",
    "save_model": "export",
}

__all__ = list(_MODULES)


def __getattr__(name: str):
    # Names are imported when they are used, so that `import hf_distill` stays quick.
    if name in _MODULES:
        return getattr(importlib.import_module(f".{_MODULES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
