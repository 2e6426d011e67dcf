"""Distil a named-entity recogniser into a small, fast student."""

import importlib

_MODULES = {
    "BiLSTMConfig": "teachers.loading",
    "BiLSTMForTokenClassification": "teachers.loading",
    "DistillationArguments": "arguments",
    "DistillationTrainer": "training.trainer",
    "EntityScores": "evaluation.metrics",
    "MentionPipeline": "runtime.pipeline",
    "ModelArguments": "arguments",
    "SignalStore": "teachers.signals",
    "Teacher": "teachers.teacher",
    "attach_signals": "teachers.signals",
    "augment": "data.augmentation",
    "build_student": "students.build",
    "encode_dataset": "data.encoding",
    "load_teacher": "teachers.teacher",
    "load_tsv": "data.readers.tsv",
    "load_unlabeled": "data.readers.text",
    "save_model": "students.save",
}

__all__ = list(_MODULES)


def __getattr__(name: str):
    # Lazy imports keep `import hf_distill` fast.
    if name in _MODULES:
        return getattr(importlib.import_module(f".{_MODULES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
