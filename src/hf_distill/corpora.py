"""What a run reads: labelled, unlabelled and augmented sentences, checked for leaks."""

from collections.abc import Mapping, Sequence

from accelerate import PartialState
from datasets import Dataset, concatenate_datasets
from transformers.utils import logging

from .arguments import DataArguments
from .augmentation import augment
from .data import EVALUATED, find_leaked, known_types, load_hub_splits, load_tsv, load_unlabeled
from .files import write_columns
from .labels import UserError

logger = logging.get_logger(__name__)


def load_corpora(args: DataArguments, seed: int) -> dict[str, Dataset]:
    """Load and check what the arguments name: `train` and `eval`, maybe `test`, `unlabeled` and `augmented`.

    Sentences of `eval` and `test` that also stand in the training, augmented or unlabelled data are counted and
    reported. `seed` is that of the augmentation and of the choice of `args.transfer_sentences`.

    Raises:
        UserError: a file or row is faulty.
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
        raise UserError(f"{args.path_to_train or args.dataset_name}: the training data has no mention to learn from.")
    lost = set(types) - set(known_types(corpora["train"]))
    if lost:
        raise UserError(
            f"--drop_leaked 1 leaves no training sentence with {', '.join(sorted(lost))}: all stand in devel or "
            "test data, too."
        )
    wanted = args.transfer_sentences
    if args.path_to_unlabeled:
        with PartialState().main_process_first():
            unlabeled = load_unlabeled(args.path_to_unlabeled)
        unlabeled = _check_leaks("unlabeled", unlabeled, held_out, args.drop_leaked)
        if wanted:
            unlabeled = _sample("unlabeled", unlabeled, wanted, seed)
            wanted -= len(unlabeled)
        corpora["unlabeled"] = unlabeled
    methods = {"lwtr_p": args.lwtr_p, "mr_p": args.mr_p, "sis_p": args.sis_p}
    # About half of what augmentation makes was there before.
    made = len(corpora["train"]) * sum(p > 0 for p in methods.values())
    rounds = -(-2 * wanted // made) if wanted else args.augmentation_rounds
    if rounds:
        with PartialState().main_process_first():
            augmented = augment(
                corpora["train"], rounds=rounds, **methods, mr_across_types=args.mr_across_types, seed=seed
            )
        augmented = _check_leaks("augmented", augmented, held_out, args.drop_leaked)
        corpora["augmented"] = _sample("augmented", augmented, wanted, seed) if wanted else augmented
    return corpora


def _check_leaks(name: str, dataset: Dataset, held_out: Sequence[Dataset], drop: bool) -> Dataset:
    """Report, and maybe drop, the sentences that also stand in devel or test data."""
    leaked = find_leaked(dataset, held_out)
    if leaked and PartialState().is_main_process:
        what = "dropped" if drop else "kept; --drop_leaked 1 drops them"
        logger.warning(f"{len(leaked)} sentences of the {name} data also stand in devel or test data ({what}).")
    return dataset.select(sorted(set(range(len(dataset))) - set(leaked))) if leaked and drop else dataset


def _sample(name: str, dataset: Dataset, number: int, seed: int) -> Dataset:
    """At most `number` sentences, chosen at random."""
    if len(dataset) != number and PartialState().is_main_process:
        what = f"{number:,} of the {len(dataset):,} {name} sentences, at random"
        what = what if len(dataset) > number else f"all {len(dataset):,} {name} sentences; {number:,} were asked for"
        logger.warning(f"Taking {what} (--transfer_sentences).")
    return dataset.shuffle(seed=seed).select(range(number)) if len(dataset) > number else dataset


def write_augmented(args: DataArguments, corpora: Mapping[str, Dataset]) -> None:
    """Write the training corpus and its augmented sentences to `args.save_augmented` (main process alone)."""
    if PartialState().is_main_process:
        text = training_text(corpora, unlabeled=False)
        write_columns(args.save_augmented, text["tokens"], text["tags"])


def training_text(corpora: Mapping[str, Dataset], unlabeled: bool = True) -> Dataset:
    """The labelled, augmented and (unless left out) unlabelled training sentences, in this order."""
    names = ("train", "augmented", "unlabeled")[: 3 if unlabeled else 2]
    return concatenate_datasets([corpora[name] for name in names if name in corpora])
