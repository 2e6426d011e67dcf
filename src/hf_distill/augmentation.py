"""More training sentences out of those at hand, after Dai and Adel 2020 (arXiv 2010.11683).

- `lwtr`, label-wise token replacement: each token, with probability p, becomes a random training token of the same tag.
- `mr`, mention replacement: each mention, with probability p, becomes a random training mention, of any length.
- `sis`, shuffle within segments: each mention and each run of O tokens, with probability p, has its tokens shuffled.

Random tokens and mentions are drawn as often as they occur in training.
"""

import hashlib

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset, Features, Value

from .data import SENTENCES, hash_sentences, sentence_keys
from .labels import transition_scores

METHODS = ("lwtr", "mr", "sis")

# Part of the names of cached Arrow files: to be raised when the same arguments would give other sentences.
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
    """Make new sentences: in each round, one of every sentence by each method whose p is above 0.

    What becomes of a row depends on `seed`, its number and the training data alone, not on `num_proc` or `batch_size`.

    Args:
        dataset: labelled sentences (columns `tokens` and `tags`, valid in IOB2 or IOBES, any entity types), which
            also give the replacements.
        rounds: how often each method is applied to every sentence.
        lwtr_p: probability that a token is replaced.
        mr_p: probability that a mention is replaced.
        sis_p: probability that a segment is shuffled.
        mr_across_types: replace mentions by mentions of any entity type, with their own tags, not only of the same.
        seed: of all random choices.
        num_proc: processes.
        batch_size: sentences of `dataset` taken at a time. Default: as many as give about 20,000 new ones.

    Returns:
        The new sentences (`tokens` and `tags`), without those that equal a sentence of `dataset` or one another.

    Raises:
        ValueError: an argument is out of its bounds, a row has no tags, not as many as tokens, or invalid ones.

    Example:
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
    made = dataset.with_format("arrow").map(
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
    keys = np.concatenate([_short(sentence_keys(dataset)), made.select_columns(["key"])[:]["key"].to_numpy()])
    first = np.unique(keys, return_index=True)[1]
    new = np.sort(first[first >= len(dataset)]) - len(dataset)
    # A fingerprint of its own: without one, `select` would hash all these numbers, which takes longer than the rest.
    return made.remove_columns("key").with_format(None).select(new, new_fingerprint=f"{fingerprint}-new")


class _Augmenter:
    """Augments Arrow batches. Tokens and tags are handled as numbers: their places in `vocabulary` and `tags`."""

    def __init__(self, table: pa.Table, rounds: int, methods: dict[str, float], across_types: bool, seed: int):
        self.seed = seed % 2**64
        self.p = methods
        self.copies = [METHODS.index(name) for name, p in methods.items() if p > 0] * rounds
        self.vocabulary = _values(table["tokens"]).unique()
        self.tags = _values(table["tags"]).unique()
        names = self.tags.to_pylist()
        self.outside = np.array([name == "O" for name in names], dtype=bool)
        self.begins = np.array([name[:1] in "BS" for name in names], dtype=bool)

        tokens, tags, first = self._numbers(table)
        self._check(table, names, tags, first)
        # The training tokens, sorted by tag.
        self.tokens = tokens[np.argsort(tags, kind="stable")]
        self.token_count = np.bincount(tags, minlength=len(names))
        self.token_start = np.cumsum(self.token_count) - self.token_count
        # The training mentions, sorted by the kind that they may stand in for: their type, or all alike.
        types = [name[2:] if not across_types else "" for name in names]
        self.kind = np.unique(types, return_inverse=True)[1]
        segments = self._segments(tags, first)
        mentions = segments[self.begins[tags[segments]]]
        mentions = mentions[np.argsort(self.kind[tags[mentions]], kind="stable")]
        lengths = np.diff(np.append(segments, len(tags)))[np.searchsorted(segments, mentions)]
        inside = _stretches(mentions, lengths)
        self.mention_tokens, self.mention_tags = tokens[inside], tags[inside]
        self.mention_lengths, self.mention_first = lengths, np.cumsum(lengths) - lengths
        self.kind_count = np.bincount(self.kind[tags[mentions]], minlength=self.kind.max(initial=0) + 1)
        self.kind_start = np.cumsum(self.kind_count) - self.kind_count

    def __call__(self, batch: pa.Table, indices: list[int]) -> pa.Table:
        tokens, tags, first = self._numbers(batch)
        lengths = np.diff(np.append(first, len(tokens)))
        begins = np.zeros(len(tokens), dtype=bool)
        begins[self._segments(tags, first)] = True

        # The copies of a sentence follow one another, in the order of self.copies.
        copies = len(self.copies)
        lengths = np.repeat(lengths, copies)
        source = _stretches(np.repeat(first, copies), lengths)
        sentence = np.repeat(np.arange(len(lengths)), lengths)
        method = np.repeat(np.tile(np.array(self.copies, dtype=np.int8), len(first)), lengths)
        # Two random numbers of 32 bits for each token.
        draws = [
            np.random.Philox(key=np.array([self.seed, row], dtype=np.uint64)).random_raw(copies * length)
            for row, length in zip(indices, lengths[::copies], strict=True)
        ]
        random = np.concatenate(draws)
        random, more_random = random >> 32, random & 0xFFFFFFFF
        tokens, tags = tokens[source], tags[source]
        segments = np.flatnonzero(begins[source])
        segment_lengths = np.diff(np.append(segments, len(tokens)))

        def chosen(name: str, units: np.ndarray | slice) -> np.ndarray:
            """Which units (given by their first tokens) a method changes."""
            return (method[units] == METHODS.index(name)) & (random[units] < int(self.p[name] * 2**32))

        replaced = np.flatnonzero(chosen("lwtr", slice(None)))
        pick = _pick(more_random[replaced], self.token_start, self.token_count, tags[replaced])
        tokens[replaced] = self.tokens[pick]

        shuffled = np.repeat(chosen("sis", segments), segment_lengths)
        places = np.flatnonzero(shuffled)
        segment = np.repeat(np.arange(len(segments), dtype=np.uint64), segment_lengths)[places]
        order = np.argsort(segment << 32 | more_random[places], kind="stable")
        tokens[places] = tokens[places[order]]

        swapped = np.flatnonzero(chosen("mr", segments) & self.begins[tags[segments]])
        kinds = self.kind[tags[segments[swapped]]]
        pick = _pick(more_random[segments[swapped]], self.kind_start, self.kind_count, kinds)
        # Sentences are put together from stretches of one array: the text so far, and after it the training mentions.
        rows = sentence[segments]
        segments[swapped] = len(tokens) + self.mention_first[pick]
        segment_lengths[swapped] = self.mention_lengths[pick]
        parts = _stretches(segments, segment_lengths)
        tokens = np.concatenate([tokens, self.mention_tokens])[parts]
        tags = np.concatenate([tags, self.mention_tags])[parts]
        lengths = np.bincount(rows, weights=segment_lengths, minlength=len(lengths))
        offsets = pa.array(np.append(0, np.cumsum(lengths)).astype(np.int32))
        columns = {
            "tokens": pa.ListArray.from_arrays(offsets, self.vocabulary.take(pa.array(tokens))),
            "tags": pa.ListArray.from_arrays(offsets, self.tags.take(pa.array(tags))),
        }
        return pa.table({**columns, "key": pa.array(_short(hash_sentences(columns["tokens"])))})

    def _check(self, table: pa.Table, names: list[str], tags: np.ndarray, first: np.ndarray) -> None:
        """Refuse rows without as many tags as tokens, and invalid sequences."""
        lengths = [pc.list_value_length(table[column]).to_numpy() for column in ("tokens", "tags")]
        faulty = lengths[0] != lengths[1]
        if len(tags) and not faulty.any():
            start, step, end = (np.isfinite(scores) for scores in transition_scores(names))
            row = np.repeat(np.arange(len(first)), lengths[0])
            inside = row[1:] == row[:-1]
            begins = np.append(start[tags[0]], np.where(inside, step[tags[:-1], tags[1:]], start[tags[1:]]))
            ends = np.append(inside | end[tags[:-1]], end[tags[-1]])
            faulty[row[~(begins & ends)]] = True
        if faulty.any():
            row = int(np.flatnonzero(faulty)[0])
            tokens, sequence = table["tokens"][row].as_py(), table["tags"][row].as_py()
            raise ValueError(f"row {row}: not one tag for each token, or no valid sequence: {tokens} {sequence}.")

    def _numbers(self, table: pa.Table) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """All tokens and tags as numbers, and where each sentence begins among them."""
        lengths = pc.list_value_length(table["tokens"]).to_numpy()
        tokens = pc.index_in(_values(table["tokens"]), self.vocabulary).to_numpy()
        tags = pc.index_in(_values(table["tags"]), self.tags).to_numpy()
        return tokens, tags, np.cumsum(lengths) - lengths

    def _segments(self, tags: np.ndarray, first: np.ndarray) -> np.ndarray:
        """Where segments begin: with each sentence, each mention, and each run of O after a mention."""
        begins = self.begins[tags]
        begins[1:] |= self.outside[tags[1:]] & ~self.outside[tags[:-1]]
        begins[first[first < len(tags)]] = True  # an empty sentence may stand at the end
        return np.flatnonzero(begins)


def _short(keys: np.ndarray) -> np.ndarray:
    """The first 64 bits of each key of 128."""
    return keys.view(np.uint64)[::2]


def _values(column: pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks().flatten()


def _stretches(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """start, start + 1, ..., start + length - 1 of each stretch, one stretch after another."""
    ends = np.cumsum(lengths)
    return np.arange(ends[-1] if len(ends) else 0) + np.repeat(starts - ends + lengths, lengths)


def _pick(random: np.ndarray, start: np.ndarray, count: np.ndarray, kinds: np.ndarray) -> np.ndarray:
    """A random member of each given kind; its members are numbered from `start[kind]`. `random` is below 2**32."""
    return start[kinds] + (random * count[kinds].astype(np.uint64) >> 32).astype(np.int64)
