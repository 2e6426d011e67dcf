"""Distil a named-entity recogniser into a small, fast student."""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .arguments import ModelArguments as ModelArguments
    from .data.augmentation import augment as augment
    from .data.encoding import encode_dataset as encode_dataset
    from .data.readers.labelled import load_tsv as load_tsv
    from .data.readers.text import load_unlabeled as load_unlabeled
    from .data.tag_format import TagFormat as TagFormat
    from .evaluation.metrics import EntityScores as EntityScores
    from .runtime.pipeline import MentionPipeline as MentionPipeline
    from .runtime.tagger import Tagger as Tagger
    from .students.build import build_student as build_student
    from .students.save import save_model as save_model
    from .teachers.loading import BiLSTMConfig as BiLSTMConfig
    from .teachers.loading import BiLSTMForTokenClassification as BiLSTMForTokenClassification
    from .teachers.signals import SignalStore as SignalStore
    from .teachers.signals import attach_signals as attach_signals
    from .teachers.teacher import Teacher as Teacher
    from .teachers.teacher import load_teacher as load_teacher
    from .training.trainer import DistillationTrainer as DistillationTrainer
    from .training_arguments import DistillationArguments as DistillationArguments

_MODULES = {
    "BiLSTMConfig": "teachers.loading",
    "BiLSTMForTokenClassification": "teachers.loading",
    "DistillationArguments": "training_arguments",
    "DistillationTrainer": "training.trainer",
    "EntityScores": "evaluation.metrics",
    "MentionPipeline": "runtime.pipeline",
    "ModelArguments": "arguments",
    "SignalStore": "teachers.signals",
    "TagFormat": "data.tag_format",
    "Tagger": "runtime.tagger",
    "Teacher": "teachers.teacher",
    "attach_signals": "teachers.signals",
    "augment": "data.augmentation",
    "build_student": "students.build",
    "encode_dataset": "data.encoding",
    "load_teacher": "teachers.teacher",
    "load_tsv": "data.readers.labelled",
    "load_unlabeled": "data.readers.text",
    "save_model": "students.save",
}

__all__ = list(_MODULES)


def __getattr__(name: str):
    # Lazy imports keep `import hf_distill` fast.
    if name in _MODULES:
        try:
            return getattr(importlib.import_module(f".{_MODULES[name]}", __name__), name)
        except ModuleNotFoundError as error:
            if error.name is None or error.name.partition(".")[0] == __name__:
                raise
            raise ImportError(f'{name} needs {error.name}: pip install "hf_distill[train]".') from None
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
