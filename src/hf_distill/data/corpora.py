"""Loading the data of a run: labelled, unlabelled and augmented sentences, checked for leaks."""

from collections.abc import Mapping, Sequence

from accelerate import PartialState
from datasets import Dataset, concatenate_datasets
from transformers.utils import logging

from ..arguments import DataArguments
from ..files import write_columns
from ..runtime.tags import UserError
from .augmentation import augment
from .readers.hub import load_hub_splits
from .readers.text import load_unlabeled
from .readers.tsv import load_tsv
from .statistics import find_leaked, known_types

logger = logging.get_logger(__name__)

# Names of the evaluation corpora, and the prefixes of their metrics.
EVALUATED = ("eval", "test")


def load_corpora(args: DataArguments, seed: int) -> dict[str, Dataset]:
    """Load and check the data: `train` and `eval`, and, if configured, `test`, `unlabeled` and `augmented`.

    Logs the number of training, augmented and unlabelled sentences that also occur in `eval` or `test`.

    Args:
        args: the data arguments.
        seed: random seed of the augmentation and of the sampling of `args.transfer_sentences`.

    Raises:
        UserError: a file or row is invalid.
    """
    with PartialState().main_process_first():
        if args.dataset_name:
            names = {"validation": "eval"}
            splits = load_hub_splits(
                args.dataset_name, args.dataset_config_name, args.token_column, args.tag_column, args.tag_scheme
            )
            corpora = {names.get(split, split): dataset for split, dataset in splits.items()}
        else:
            corpora = {"train": load_tsv(args.path_to_train, args.tag_scheme)}
            types = known_types(corpora["train"])
            corpora["eval"] = load_tsv(args.path_to_val, args.tag_scheme, types)
            if args.path_to_test:
                corpora["test"] = load_tsv(args.path_to_test, args.tag_scheme, types)
    held_out = [corpora[name] for name in EVALUATED if name in corpora]
    types = known_types(corpora["train"])
    corpora["train"] = _check_leaks("train", corpora["train"], held_out, args.drop_leaked)
    if not known_types(corpora["train"]):
        raise UserError(f"{args.path_to_train or args.dataset_name}: the training data has no mention.")
    lost_types = set(types) - set(known_types(corpora["train"]))
    if lost_types:
        raise UserError(
            f"--drop_leaked 1 leaves no training sentence with {', '.join(sorted(lost_types))}: all of them also "
            "occur in devel or test data."
        )
    remaining = args.transfer_sentences
    if args.path_to_unlabeled:
        with PartialState().main_process_first():
            unlabeled = load_unlabeled(args.path_to_unlabeled)
        unlabeled = _check_leaks("unlabeled", unlabeled, held_out, args.drop_leaked)
        if remaining:
            unlabeled = _sample("unlabeled", unlabeled, remaining, seed)
            remaining -= len(unlabeled)
        corpora["unlabeled"] = unlabeled
    methods = {"lwtr_p": args.lwtr_p, "mr_p": args.mr_p, "sis_p": args.sis_p}
    # About half of the augmented sentences are dropped as duplicates.
    per_round = len(corpora["train"]) * sum(p > 0 for p in methods.values())
    rounds = -(-2 * remaining // per_round) if remaining else args.augmentation_rounds
    if rounds:
        with PartialState().main_process_first():
            augmented = augment(
                corpora["train"], rounds=rounds, **methods, mr_across_types=args.mr_across_types, seed=seed
            )
        augmented = _check_leaks("augmented", augmented, held_out, args.drop_leaked)
        corpora["augmented"] = _sample("augmented", augmented, remaining, seed) if remaining else augmented
    return corpora


def _check_leaks(name: str, dataset: Dataset, held_out: Sequence[Dataset], drop: bool) -> Dataset:
    """Log, and with `drop` remove, the sentences that also occur in devel or test data."""
    leaked = find_leaked(dataset, held_out)
    if leaked and PartialState().is_main_process:
        action = "dropped" if drop else "kept; --drop_leaked 1 drops them"
        logger.warning(f"{len(leaked)} sentences of the {name} data also stand in devel or test data ({action}).")
    return dataset.select(sorted(set(range(len(dataset))) - set(leaked))) if leaked and drop else dataset


def _sample(name: str, dataset: Dataset, number: int, seed: int) -> Dataset:
    """Return at most `number` sentences, sampled at random."""
    if len(dataset) != number and PartialState().is_main_process:
        sample = f"{number:,} of the {len(dataset):,} {name} sentences, chosen at random"
        too_few = f"all {len(dataset):,} {name} sentences, fewer than the {number:,} requested"
        logger.warning(f"Using {sample if len(dataset) > number else too_few} (--transfer_sentences).")
    return dataset.shuffle(seed=seed).select(range(number)) if len(dataset) > number else dataset


def write_augmented(args: DataArguments, corpora: Mapping[str, Dataset]) -> None:
    """Write the training and augmented sentences to `args.save_augmented` (in the main process only)."""
    if PartialState().is_main_process:
        text = training_text(corpora, unlabeled=False)
        write_columns(args.save_augmented, text["tokens"], text["tags"])


def training_text(corpora: Mapping[str, Dataset], unlabeled: bool = True) -> Dataset:
    """Concatenate the labelled, augmented and, if `unlabeled`, unlabelled training sentences, in this order."""
    names = ("train", "augmented", "unlabeled")[: 3 if unlabeled else 2]
    return concatenate_datasets([corpora[name] for name in names if name in corpora])
