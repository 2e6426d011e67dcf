"""Data augmentation for named-entity recognition (Dai and Adel 2020, arXiv 2010.11683).

- `lwtr`, label-wise token replacement: each token, with probability p, becomes a random training token with its tag.
- `mr`, mention replacement: each mention, with probability p, becomes a random training mention, of any length.
- `sis`, shuffle within segments: each mention and each run of O tokens, with probability p, has its tokens shuffled.

Tokens and mentions are drawn in proportion to their frequency in the training data.
"""

import hashlib

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset, Features, Value

from ..runtime.tags import OUTSIDE, can_follow, detect_scheme
from .readers.common import SENTENCES
from .statistics import hash_sentences, sentence_keys

METHODS = ("lwtr", "mr", "sis")

# Part of the fingerprint of cached datasets: increase it when the same arguments produce other sentences.
AUGMENTER = 1


def augment(
    dataset: Dataset,
    rounds: int = 1,
    lwtr_p: float = 0.5,
    mr_p: float = 0.5,
    sis_p: float = 0.5,
    mr_across_types: bool = False,
    seed: int = 42,
    num_proc: int | None = None,
    batch_size: int | None = None,
) -> Dataset:
    """Create new sentences: in each round, one from every sentence with each method whose p is above 0.

    The result depends on `seed` and the dataset alone, not on `num_proc` or `batch_size`.

    Args:
        dataset: labelled sentences (columns `tokens` and `tags`, valid IOB2 or IOBES), also the source of the
            replacements.
        rounds: number of times that each method is applied to every sentence.
        lwtr_p: probability that a token is replaced.
        mr_p: probability that a mention is replaced.
        sis_p: probability that a segment is shuffled.
        mr_across_types: replace a mention by one of any entity type, with that mention's tags, not only of its type.
        seed: random seed.
        num_proc: number of processes.
        batch_size: sentences of `dataset` per batch. Default: as many as produce about 20,000 new sentences.

    Returns:
        The new sentences (`tokens` and `tags`), without duplicates and without sentences of `dataset`.

    Raises:
        ValueError: an argument is out of range, or a row has no tags, a different number of tags and tokens, or invalid
                tags.

    Examples:
        >>> train = load_tsv("train.tsv", "IOBES")
        >>> replaced = augment(train, rounds=3, mr_p=0, sis_p=0, num_proc=2)
        >>> all(len(row["tokens"]) == len(row["tags"]) for row in replaced)
        True
    """
    methods = dict(zip(METHODS, (lwtr_p, mr_p, sis_p), strict=True))
    for method, p in methods.items():
        if not 0 <= p <= 1:
            raise ValueError(f"{method}_p must be in [0.0, 1.0], got {p}.")
    copies = rounds * sum(p > 0 for p in methods.values())
    if copies < 1:
        raise ValueError(f"augmentation needs at least one round, and a method with p above 0; got {rounds} rounds.")
    if not len(dataset):
        return dataset
    table = dataset.with_format("arrow")[:]
    if dataset.features["tags"] != SENTENCES["tags"]:
        raise ValueError(f"tags must be text, got {dataset.features['tags']}.")
    if table["tags"].null_count:
        raise ValueError(f"only labelled sentences can be augmented; {table['tags'].null_count} have no tags.")
    name = f"{AUGMENTER} {dataset._fingerprint} {rounds} {methods} {mr_across_types} {seed}"
    fingerprint = hashlib.sha256(name.encode()).hexdigest()[:16]
    generated = dataset.with_format("arrow").map(
        _Augmenter(table, rounds, methods, mr_across_types, seed),
        batched=True,
        batch_size=batch_size or max(1, 20_000 // copies),
        with_indices=True,
        remove_columns=dataset.column_names,
        features=Features({**SENTENCES, "key": Value("uint64")}),
        num_proc=num_proc,
        desc="Augmenting",
        new_fingerprint=fingerprint,
    )
    generated_keys = generated.select_columns(["key"])[:]["key"].to_numpy()
    keys = np.concatenate([_first_64_bits(sentence_keys(dataset)), generated_keys])
    first_rows = np.unique(keys, return_index=True)[1]
    new_rows = np.sort(first_rows[first_rows >= len(dataset)]) - len(dataset)
    # Without an explicit fingerprint, `select` hashes all row indices, which takes longer than the augmentation.
    return generated.remove_columns("key").with_format(None).select(new_rows, new_fingerprint=f"{fingerprint}-new")


class _Augmenter:
    """Augments Arrow batches. Tokens and tags are encoded as their indices in `vocabulary` and `tags`."""

    def __init__(self, table: pa.Table, rounds: int, methods: dict[str, float], across_types: bool, seed: int):
        self.seed = seed % 2**64
        self.p = methods
        self.copies = [METHODS.index(name) for name, p in methods.items() if p > 0] * rounds
        self.vocabulary = _flatten(table["tokens"]).unique()
        self.tags = _flatten(table["tags"]).unique()
        names = self.tags.to_pylist()
        self.outside = np.array([name == "O" for name in names], dtype=bool)
        self.begins = np.array([name[:1] in "BS" for name in names], dtype=bool)

        tokens, tags, first = self._encode(table)
        self._validate(table, names, tags, first)
        # The training tokens, sorted by tag.
        self.tokens = tokens[np.argsort(tags, kind="stable")]
        self.token_count = np.bincount(tags, minlength=len(names))
        self.token_start = np.cumsum(self.token_count) - self.token_count
        # The training mentions, sorted by group. A mention is replaced by one of its group: its type, or all mentions.
        groups = [name[2:] if not across_types else "" for name in names]
        self.group = np.unique(groups, return_inverse=True)[1]
        segments = self._segments(tags, first)
        mentions = segments[self.begins[tags[segments]]]
        mentions = mentions[np.argsort(self.group[tags[mentions]], kind="stable")]
        lengths = np.diff(np.append(segments, len(tags)))[np.searchsorted(segments, mentions)]
        inside = _ranges(mentions, lengths)
        self.mention_tokens, self.mention_tags = tokens[inside], tags[inside]
        self.mention_lengths, self.mention_first = lengths, np.cumsum(lengths) - lengths
        self.group_count = np.bincount(self.group[tags[mentions]], minlength=self.group.max(initial=0) + 1)
        self.group_start = np.cumsum(self.group_count) - self.group_count

    def __call__(self, batch: pa.Table, indices: list[int]) -> pa.Table:
        tokens, tags, first = self._encode(batch)
        lengths = np.diff(np.append(first, len(tokens)))
        begins = np.zeros(len(tokens), dtype=bool)
        begins[self._segments(tags, first)] = True

        # The copies of a sentence are consecutive, in the order of self.copies.
        copies = len(self.copies)
        lengths = np.repeat(lengths, copies)
        source = _ranges(np.repeat(first, copies), lengths)
        sentence = np.repeat(np.arange(len(lengths)), lengths)
        method = np.repeat(np.tile(np.array(self.copies, dtype=np.int8), len(first)), lengths)
        # Two 32-bit random numbers per token: one decides whether it changes, the other what it becomes.
        draws = [
            np.random.Philox(key=np.array([self.seed, row], dtype=np.uint64)).random_raw(copies * length)
            for row, length in zip(indices, lengths[::copies], strict=True)
        ]
        random = np.concatenate(draws)
        random, choice = random >> 32, random & 0xFFFFFFFF
        tokens, tags = tokens[source], tags[source]
        segments = np.flatnonzero(begins[source])
        segment_lengths = np.diff(np.append(segments, len(tokens)))

        def chosen(name: str, units: np.ndarray | slice) -> np.ndarray:
            """Return a mask of the tokens, or segments (given by their first tokens), that a method changes."""
            return (method[units] == METHODS.index(name)) & (random[units] < int(self.p[name] * 2**32))

        replaced = np.flatnonzero(chosen("lwtr", slice(None)))
        pick = _draw(choice[replaced], self.token_start, self.token_count, tags[replaced])
        tokens[replaced] = self.tokens[pick]

        shuffled = np.repeat(chosen("sis", segments), segment_lengths)
        positions = np.flatnonzero(shuffled)
        segment = np.repeat(np.arange(len(segments), dtype=np.uint64), segment_lengths)[positions]
        order = np.argsort(segment << 32 | choice[positions], kind="stable")
        tokens[positions] = tokens[positions[order]]

        swapped = np.flatnonzero(chosen("mr", segments) & self.begins[tags[segments]])
        groups = self.group[tags[segments[swapped]]]
        pick = _draw(choice[segments[swapped]], self.group_start, self.group_count, groups)
        # Sentences are assembled from ranges of one array: the current tokens, followed by the training mentions.
        sentences = sentence[segments]
        segments[swapped] = len(tokens) + self.mention_first[pick]
        segment_lengths[swapped] = self.mention_lengths[pick]
        parts = _ranges(segments, segment_lengths)
        tokens = np.concatenate([tokens, self.mention_tokens])[parts]
        tags = np.concatenate([tags, self.mention_tags])[parts]
        lengths = np.bincount(sentences, weights=segment_lengths, minlength=len(lengths))
        offsets = pa.array(np.append(0, np.cumsum(lengths)).astype(np.int32))
        columns = {
            "tokens": pa.ListArray.from_arrays(offsets, self.vocabulary.take(pa.array(tokens))),
            "tags": pa.ListArray.from_arrays(offsets, self.tags.take(pa.array(tags))),
        }
        return pa.table({**columns, "key": pa.array(_first_64_bits(hash_sentences(columns["tokens"])))})

    def _validate(self, table: pa.Table, names: list[str], tags: np.ndarray, first: np.ndarray) -> None:
        """Raise ValueError for a row with a different number of tags and tokens, or an invalid tag sequence."""
        lengths = [pc.list_value_length(table[column]).to_numpy() for column in ("tokens", "tags")]
        faulty = lengths[0] != lengths[1]
        if len(tags) and not faulty.any():
            every, scheme = [*names, OUTSIDE], detect_scheme(names)
            allowed = np.array([[can_follow(previous, tag, scheme) for tag in every] for previous in every])
            row = np.repeat(np.arange(len(first)), lengths[0])
            outside, starts = len(names), np.append(True, row[1:] != row[:-1])
            begins = allowed[np.where(starts, outside, np.roll(tags, 1)), tags]
            ends = allowed[tags, outside] | ~np.append(starts[1:], True)
            faulty[row[~(begins & ends)]] = True
        if faulty.any():
            number = int(np.flatnonzero(faulty)[0])
            tokens, sequence = table["tokens"][number].as_py(), table["tags"][number].as_py()
            raise ValueError(f"row {number}: not one tag per token, or an invalid tag sequence: {tokens} {sequence}.")

    def _encode(self, table: pa.Table) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Encode all tokens and tags of a table as indices; also return the start of each sentence among them."""
        lengths = pc.list_value_length(table["tokens"]).to_numpy()
        tokens = pc.index_in(_flatten(table["tokens"]), self.vocabulary).to_numpy()
        tags = pc.index_in(_flatten(table["tags"]), self.tags).to_numpy()
        return tokens, tags, np.cumsum(lengths) - lengths

    def _segments(self, tags: np.ndarray, first: np.ndarray) -> np.ndarray:
        """Return the starts of segments: of each sentence, each mention, and each run of O after a mention."""
        begins = self.begins[tags]
        begins[1:] |= self.outside[tags[1:]] & ~self.outside[tags[:-1]]
        begins[first[first < len(tags)]] = True  # empty sentences at the end have no first token
        return np.flatnonzero(begins)


def _first_64_bits(keys: np.ndarray) -> np.ndarray:
    """Return the first 64 bits of each 128-bit key."""
    return keys.view(np.uint64)[::2]


def _flatten(column: pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks().flatten()


def _ranges(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Concatenate the ranges start, start + 1, ..., start + length - 1."""
    ends = np.cumsum(lengths)
    return np.arange(ends[-1] if len(ends) else 0) + np.repeat(starts - ends + lengths, lengths)


def _draw(random: np.ndarray, start: np.ndarray, count: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Draw a member of each given group: an index from `start[group]` on. `random` is an integer below 2**32."""
    return start[groups] + (random * count[groups].astype(np.uint64) >> 32).astype(np.int64)
