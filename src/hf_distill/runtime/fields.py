"""The fields of a model's configuration, checked before anything reads them: it may come from anybody.

This file is copied next to a saved model as remote code: it may import only modules of this folder. It must import
neither torch nor transformers.
"""

import re
from collections.abc import Callable
from typing import Any

from .confidence import read_calibration
from .tags import OUTSIDE, UserError, config_place
from .word_features import word_feature_rows
from .words import word_rule


def _is_whole(value: Any, least: float = float("-inf")) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _is_share(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1


def _are_tags(value: Any) -> bool:
    texts = isinstance(value, list) and all(isinstance(tag, str) for tag in value) and len(set(value)) == len(value)
    return texts and OUTSIDE in value and all(re.fullmatch("O|[BIES]-.+", tag, re.DOTALL) for tag in value)


def _are_names(value: Any) -> bool:
    return isinstance(value, dict) and all(
        re.fullmatch(r"\d{1,9}", str(number)) and isinstance(name, str) for number, name in value.items()
    )


def _are_thresholds(value: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(scores, dict) and all(score is None or _is_share(score) for score in scores.values())
        for scores in value.values()
    )


def _has_positions(value: Any) -> bool:
    return isinstance(value, dict) and _is_whole(value.get("max_position_embeddings", 1), 1)


_SIZE = ("a number from 1", lambda value: _is_whole(value, 1))
# What each field holds if it is there and not null.
FIELDS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "return_dict": ("true, because outputs are read by their names", lambda value: value is True),
    "model_type": ("a name", lambda value: isinstance(value, str)),
    "tags": ("a list of different tags, O and others such as B-GENE", _are_tags),
    "id2label": ("an object with the name of each label's number", _are_names),
    "label2id": ("an object with the number of each label's name", lambda value: isinstance(value, dict)),
    "num_labels": ("a number of labels", lambda value: _is_whole(value, 1)),
    "vocab_size": ("a number of subwords", lambda value: _is_whole(value, 1)),
    "max_position_embeddings": ("a whole number", _is_whole),
    "bert_config": ("an object with a number of max_position_embeddings", _has_positions),
    "hidden_size": _SIZE,
    "num_hidden_layers": ("a number from 0", lambda value: _is_whole(value, 0)),
    "word_rule_finds": ("a number from 0 to 1", _is_share),
    "thresholds": ("an object with an object of scores by entity type for each precision", _are_thresholds),
    "custom_pipelines": (
        "an object of objects",
        lambda value: isinstance(value, dict) and all(isinstance(each, dict) for each in value.values()),
    ),
}
BILSTM_FIELDS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "embedding_size": _SIZE,
    "num_hidden_layers": _SIZE,
    "num_stacks": _SIZE,
    "classifier_size": ("a number from 0", lambda value: _is_whole(value, 0)),
    "dropout": ("a number from 0 to 1", _is_share),
    "embedding_dropout": ("a number from 0 to 1", _is_share),
    "embedding_type": ("train or bert", lambda value: value in ("train", "bert")),
}


def check_config(config: Any) -> None:
    """Check the fields of a configuration that this package reads, as attributes of any object.

    Raises:
        UserError: one does not hold what it should; the message names it.
    """
    own = BILSTM_FIELDS if getattr(config, "model_type", None) == "bilstm" else {}
    for name, (what, fits) in (FIELDS | own).items():
        value = getattr(config, name, None)
        must = name in own and hasattr(config, name)
        if (must or value is not None) and not fits(value):
            raise UserError(f"{config_place(config)}: {name} is {what}, not {value!r:.80}. Correct it.")
    word_rule(config)
    word_feature_rows(config)
    read_calibration(config)
