"""Loading the data of a run: labelled, unlabelled and augmented sentences, checked for leaks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from accelerate import PartialState
from datasets import Dataset, concatenate_datasets
from transformers.utils import logging

from ..arguments import DataArguments
from ..files import write_columns
from ..runtime.tags import UserError, make_tags
from ..runtime.words import DEFAULT_RULE, WORDS_THAT_FIT, choose_rule
from .augmentation import augment
from .formats.documents import Alignment, choose_word_rule
from .formats.source import Source
from .readers.annotations import load_annotations
from .readers.common import SENTENCES
from .readers.hub import SPLITS, load_hub_splits
from .readers.labelled import load_labelled
from .readers.text import load_unlabeled, load_unlabeled_dataset
from .statistics import find_leaked, known_types, mention_counts, sentence_keys
from .tag_format import corpus_format, differing_in_case

logger = logging.get_logger(__name__)

# Names of the evaluation corpora, and the prefixes of their metrics.
EVALUATED = ("eval", "test")


@dataclass(frozen=True)
class Corpora:
    """The data of a run: datasets with the columns `tokens` and `tags`, and the student's labels.

    Attributes:
        train: labelled sentences; there may be none, if there are annotations.
        eval: development sentences.
        tags: labels of the student: `O`, then the tags of each entity type of `train`.
        test: test sentences, if there are any.
        unlabeled: sentences without tags (None in every row), if there are any, those of `annotations` among them.
        augmented: sentences made from `train`, if there are any.
        annotations: the answers of labellers that teach by these alone (columns: `ANSWERS`), if there are any.
        word_rule: how running text is split into words like those of `train`, one of `words.RULES`.
        word_rule_finds: the share of the words of `train` that it finds in running text.
    """

    train: Dataset
    eval: Dataset
    tags: list[str]
    test: Dataset | None = None
    unlabeled: Dataset | None = None
    augmented: Dataset | None = None
    annotations: Dataset | None = None
    word_rule: str = DEFAULT_RULE
    word_rule_finds: float = 1.0

    def datasets(self) -> dict[str, Dataset]:
        """The datasets that there are, by name."""
        names = ("train", "eval", "test", "unlabeled", "augmented")
        return {name: dataset for name in names if (dataset := getattr(self, name)) is not None}

    def evaluated(self) -> dict[str, Dataset]:
        """The evaluation corpora, by name."""
        return {name: dataset for name, dataset in self.datasets().items() if name in EVALUATED}

    def training_text(self, unlabeled: bool = True) -> Dataset:
        """Concatenate the labelled, augmented and, if `unlabeled`, unlabelled training sentences, in this order."""
        parts = [self.train, self.augmented, self.unlabeled if unlabeled else None]
        return concatenate_datasets([part for part in parts if part is not None])


def load_corpora(args: DataArguments, seed: int) -> Corpora:
    """Load and check the data that the arguments name; `args.tag_scheme` is the student's.

    Logs the number of training, augmented and unlabelled sentences that also occur in `eval` or `test`.

    Args:
        args: the data arguments.
        seed: random seed of the augmentation and of the sampling of `args.transfer_sentences`.

    Raises:
        UserError: a file or row is invalid.
    """
    with PartialState().main_process_first():
        splits, rule = _load_splits(args, args.tag_scheme, seed)
    held_out = [splits[name] for name in EVALUATED if name in splits]
    gold = splits.get("train", Dataset.from_dict({"tokens": [], "tags": []}, SENTENCES))
    source = args.path_to_train or args.dataset_name or " ".join(args.path_to_annotations)
    rule, found = (rule, 1.0) if rule else choose_rule((gold if len(gold) else splits["eval"])["tokens"][:])
    annotations = None
    if args.path_to_annotations:
        with PartialState().main_process_first():
            sentences = [words for split in splits.values() for words in split["tokens"]]
            annotations = load_annotations(args, sentences, args.tag_scheme, corpus_format(args), rule, found)
    types = known_types(gold if annotations is None or len(gold) else annotations)
    train = _check_leaks("train", gold, held_out, args.drop_leaked)
    if not types:
        raise UserError(f"{source}: the training data has no mention.")
    unlearnt = sorted({each for split in held_out for each in known_types(split)} - set(types))
    if unlearnt:
        raise UserError(
            f"{args.path_to_val or args.dataset_name}: {', '.join(unlearnt)} stands in the development or test data, "
            f"but not in {source}, which has {', '.join(types)}. Names are case-sensitive: "
            "--rename_types OLD=NEW makes them one."
        )
    if not known_types(splits["eval"]):
        raise UserError(
            f"{args.path_to_val or args.dataset_name}: the development data has no mention, so that no F1 can be "
            "measured on it. Give development data with mentions of the training data's entity types."
        )
    if "token" in types:
        raise UserError(
            f"{source}: the score of an entity type named token would share its name with token F1: --rename_types "
            "token=OTHER."
        )
    missing = sorted({new for _, new in corpus_format(args).renamed} - set(types))
    if missing:
        raise UserError(
            f"--rename_types: no entity type of the training data is now named {', '.join(missing)}; it has "
            f"{', '.join(types)}. Names are case-sensitive: OLD=NEW."
        )
    _warn_of_case(mention_counts(train), str(source))
    lost_types = set(types) - set(known_types(train)) if len(gold) else set()
    if lost_types:
        raise UserError(
            f"--drop_leaked 1 leaves no training sentence with {', '.join(sorted(lost_types))}: all of them also "
            "occur in devel or test data."
        )
    if found < WORDS_THAT_FIT and PartialState().is_main_process:
        logger.warning(
            f"{source}: no rule splits running text into words like those of the training data: the best ({rule}) "
            f"finds {found:.1%} of them. Give a trained model lists of words (is_split_into_words=True)."
        )
    answered = annotations and _answered_text(annotations, [gold, *held_out])
    unlabeled = _load_unlabeled(args, answered, held_out, seed, rule, found)
    # What is made of labelled sentences has no answers.
    number = 0 if annotations else args.transfer_sentences - len(unlabeled or ())
    augmented = _augment(args, train, held_out, number, seed)
    if not len(train) and unlabeled is None:
        raise UserError(f"{source}: there is nothing to learn from: all texts are devel or test data.")
    tags = make_tags(types, args.tag_scheme)
    return Corpora(train, splits["eval"], tags, splits.get("test"), unlabeled, augmented, annotations, rule, found)


def _answered_text(annotations: Dataset, others: Sequence[Dataset]) -> Dataset | None:
    """The distinct sentences of annotations that are in none of the other corpora, without tags; None if all are."""
    known = set(np.concatenate([sentence_keys(each) for each in others]).tolist())
    rows = {key: row for row, key in reversed(list(enumerate(sentence_keys(annotations).tolist()))) if key not in known}
    words = annotations.select(sorted(rows.values())).select_columns(["tokens"])
    if not len(words):
        return None
    return words.map(lambda row: {"tags": None}, features=SENTENCES)


def _load_splits(args: DataArguments, tag_scheme: str, seed: int) -> tuple[dict[str, Dataset], str | None]:
    """The labelled splits, `eval` perhaps out of `train`, and how their texts were split into words, if they had to."""
    splits, rule = _read_splits(args, tag_scheme)
    source, fraction = args.path_to_train or args.dataset_name, args.validation_fraction
    if "eval" in splits and fraction:
        raise UserError(f"{source}: has development data; leave out --validation_fraction.")
    if "eval" not in splits and not fraction:
        raise UserError(
            f"{source}: has no development data (a split called {', '.join(SPLITS['validation'])}). "
            "--validation_fraction 0.1 takes a tenth of the training sentences for that."
        )
    if fraction:
        parts = splits["train"].train_test_split(test_size=fraction, seed=seed)
        if PartialState().is_main_process:
            logger.warning(
                f"{source}: has no development data: {len(parts['test']):,} of its {len(splits['train']):,} training "
                "sentences, drawn at random, are taken for that (--validation_fraction, --seed)."
            )
        lost = sorted(set(known_types(splits["train"])) - set(known_types(parts["train"])))
        if lost:
            raise UserError(
                f"--validation_fraction {fraction:g} leaves no training sentence with {', '.join(lost)}: choose "
                "another fraction or --seed."
            )
        splits |= {"train": parts["train"], "eval": parts["test"]}
    return splits, rule


def _read_splits(args: DataArguments, tag_scheme: str) -> tuple[dict[str, Dataset], str | None]:
    if args.dataset_name:
        names = {"validation": "eval"}
        splits, rule = load_hub_splits(
            args.dataset_name,
            args.dataset_config_name,
            args.token_column,
            args.tag_column,
            tag_scheme,
            corpus_format(args),
            args.misaligned,
            args.nested,
        )
        return {names.get(split, split): dataset for split, dataset in splits.items()}, rule
    paths = {"train": args.path_to_train, "eval": args.path_to_val, "test": args.path_to_test}
    sources = {name: Source.find(path, args) for name, path in paths.items() if path}
    found: dict[str, Dataset] = {}
    first = next(iter(sources))  # the training data, if there is any
    rule = choose_word_rule(sources[first].documents()) if sources[first].has_documents() else None
    own = rule
    for name, source in sources.items():
        types = known_types(found["train"]) if "train" in found else None
        documents = source.has_documents()
        if documents and own is None:
            own, _ = choose_rule(found[first]["tokens"][:])
        alignment = Alignment(own, source.misaligned, source.nested) if documents else None
        found[name] = load_labelled(source, tag_scheme, types, corpus_format(args), alignment)
    return found, rule


def _warn_of_case(counts: Mapping[str, int], source: str) -> None:
    """Warn of entity types whose names differ in case alone."""
    for one, other in differing_in_case(counts, counts):
        if (counts[one], one) < (counts[other], other) and PartialState().is_main_process:
            logger.warning(
                f"{source}: the entity types {other} ({counts[other]:,} mentions) and {one} ({counts[one]:,}) differ "
                f"in case alone. If they are the same: --rename_types {one}={other}"
            )


def _load_unlabeled(
    args: DataArguments,
    answered: Dataset | None,
    held_out: Sequence[Dataset],
    seed: int,
    rule: str,
    rule_finds: float,
) -> Dataset | None:
    parts = [] if answered is None else [answered]
    with PartialState().main_process_first():
        if args.path_to_unlabeled:
            parts.append(load_unlabeled(args.path_to_unlabeled, rule, rule_finds, args.unlabeled_column))
        if args.unlabeled_dataset:
            name, config_name, column = (
                args.unlabeled_dataset,
                args.unlabeled_dataset_config_name,
                args.unlabeled_column,
            )
            limit = args.transfer_sentences
            parts.append(load_unlabeled_dataset(name, config_name, column, limit, rule, rule_finds))
    if not parts:
        return None
    unlabeled = concatenate_datasets(parts)
    unlabeled = _check_leaks("unlabeled", unlabeled, held_out, args.drop_leaked)
    return _sample("unlabeled", unlabeled, args.transfer_sentences, seed) if args.transfer_sentences else unlabeled


def _augment(
    args: DataArguments, train: Dataset, held_out: Sequence[Dataset], number: int, seed: int
) -> Dataset | None:
    """With `args.transfer_sentences`, `number` augmented sentences; else those of `args.augmentation_rounds`."""
    methods: dict[str, Any] = {"lwtr_p": args.lwtr_p, "mr_p": args.mr_p, "sis_p": args.sis_p}
    sampled = args.transfer_sentences and number > 0
    # About half of the augmented sentences are dropped as duplicates.
    per_round = len(train) * sum(p > 0 for p in methods.values())
    rounds = -(-2 * number // per_round) if sampled else args.augmentation_rounds
    if not rounds:
        return None
    with PartialState().main_process_first():
        augmented = augment(train, rounds=rounds, **methods, mr_across_types=args.mr_across_types, seed=seed)
    augmented = _check_leaks("augmented", augmented, held_out, args.drop_leaked)
    return _sample("augmented", augmented, number, seed) if sampled else augmented


def _check_leaks(name: str, dataset: Dataset, held_out: Sequence[Dataset], drop: bool) -> Dataset:
    """Log, and with `drop` remove, the sentences that also occur in devel or test data."""
    leaked = find_leaked(dataset, held_out)
    if leaked.any() and PartialState().is_main_process:
        action = "dropped" if drop else "kept; --drop_leaked 1 drops them"
        logger.warning(f"{leaked.sum()} sentences of the {name} data also stand in devel or test data ({action}).")
    return dataset.select(np.flatnonzero(~leaked)) if drop and leaked.any() else dataset


def _sample(name: str, dataset: Dataset, number: int, seed: int) -> Dataset:
    """Return at most `number` sentences, sampled at random."""
    if len(dataset) != number and PartialState().is_main_process:
        sample = f"{number:,} of the {len(dataset):,} {name} sentences, chosen at random"
        too_few = f"all {len(dataset):,} {name} sentences, fewer than the {number:,} requested"
        logger.warning(f"Using {sample if len(dataset) > number else too_few} (--transfer_sentences).")
    return dataset.shuffle(seed=seed).select(range(number)) if len(dataset) > number else dataset


def write_augmented(path: str | None, corpora: Corpora) -> None:
    """Write the training and augmented sentences to a TSV file, if a path is given (in the main process only)."""
    if path and PartialState().is_main_process:
        text = corpora.training_text(unlabeled=False)
        write_columns(path, text["tokens"], text["tags"])
