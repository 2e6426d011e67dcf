import numpy as np
import pytest
import tiny
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_distill import augment
from hf_distill.data.readers.common import SENTENCES
from hf_distill.data.readers.labelled import load_tsv
from hf_distill.runtime.tags import detect_scheme, find_invalid, spans

ALONE = {name: dict.fromkeys(("lwtr_p", "mr_p", "sis_p"), 0.0) | {f"{name}_p": 1.0} for name in ("lwtr", "mr", "sis")}


def dataset(*rows):
    """Sentences written as "p53/S-GENE binds/O"."""
    pairs = [[word.split("/") for word in row.split()] for row in rows]
    return of([[token for token, _ in row] for row in pairs], [[tag for _, tag in row] for row in pairs])


def of(tokens, tags):
    return Dataset.from_dict({"tokens": tokens, "tags": tags}, features=SENTENCES)


def written(data):
    rows = [" ".join(f"{token}/{tag}" for token, tag in zip(row["tokens"], row["tags"], strict=True)) for row in data]
    assert len(set(rows)) == len(rows)
    return set(rows)


def segments_of(tokens, tags):
    """(type or None, tokens) of each mention and each run of O."""
    parts, at = [], 0
    for entity, first, last in [*spans(tags), (None, len(tags), len(tags))]:
        if at < first:
            parts.append((None, tuple(tokens[at:first])))
        if first < last:
            parts.append((entity, tuple(tokens[first:last])))
        at = last
    return parts


def rows_of(data):
    return [(row["tokens"], row["tags"]) for row in data]


# Many rounds with p = 1 reach everything that a method can make of a sentence; what equals an original is dropped.


def test_token_replacement_by_hand():
    made = augment(dataset("p53/S-GENE binds/O", "BRCA1/S-GENE stops/O"), rounds=30, **ALONE["lwtr"])
    assert written(made) == {"p53/S-GENE stops/O", "BRCA1/S-GENE binds/O"}


def test_mention_replacement_by_hand():
    data = dataset("no/O p53/S-GENE binds/O", "a/B-GENE b/I-GENE c/E-GENE zinc/S-CHEMICAL", "iron/S-CHEMICAL")
    assert written(augment(data, rounds=60, **ALONE["mr"])) == {
        "no/O a/B-GENE b/I-GENE c/E-GENE binds/O",
        "p53/S-GENE zinc/S-CHEMICAL",
        "p53/S-GENE iron/S-CHEMICAL",
        "a/B-GENE b/I-GENE c/E-GENE iron/S-CHEMICAL",
        "zinc/S-CHEMICAL",
    }


def test_mention_replacement_across_types_by_hand():
    data = dataset("no/O p53/S-GENE binds/O", "zinc/B-CHEMICAL ions/E-CHEMICAL")
    assert written(augment(data, rounds=30, mr_across_types=True, **ALONE["mr"])) == {
        "no/O zinc/B-CHEMICAL ions/E-CHEMICAL binds/O",
        "p53/S-GENE",
    }


def test_shuffling_by_hand():
    made = augment(dataset("a/O b/O p53/B-GENE c/I-GENE binds/O"), rounds=60, **ALONE["sis"])
    assert written(made) == {
        "b/O a/O p53/B-GENE c/I-GENE binds/O",
        "a/O b/O c/B-GENE p53/I-GENE binds/O",
        "b/O a/O c/B-GENE p53/I-GENE binds/O",
    }


def test_one_round_gives_a_sentence_by_each_method():
    words = [[f"{kind}{row}" for kind in "abcdefgh"] for row in range(100)]
    tags = [["O"] * 5 + ["B-GENE", "I-GENE", "E-GENE"]] * 100
    made = rows_of(augment(of(words, tags), rounds=2, lwtr_p=1, mr_p=1, sis_p=1))
    original = {word for row in words for word in row}
    whole = [len({word[1:] for word in tokens}) == 1 for tokens, _ in made]  # only shuffled
    assert 590 < len(made) <= 600  # a few change into themselves
    assert 195 < sum(whole) <= 200
    assert {word for tokens, _ in made for word in tokens} <= original


@st.composite
def corpora(draw):
    scheme = draw(st.sampled_from(["IOB2", "IOBES"]))
    tags = [tiny.spell(parts, scheme) for parts in draw(st.lists(tiny.segments.filter(bool), min_size=1, max_size=8))]
    return of([[draw(st.sampled_from("abcdefgé")) for _ in row] for row in tags], tags)


@settings(max_examples=40)
@given(corpora(), st.integers(0, 2**32), st.floats(0.1, 1), st.booleans())
def test_sequences_stay_valid(data, seed, p, across):
    scheme = detect_scheme(tag for row in data["tags"] for tag in row)
    made = augment(data, 3, p, p, p, mr_across_types=across, seed=seed)
    assert all(find_invalid(tags, scheme) is None for tags in made["tags"])


@settings(max_examples=25)
@given(corpora(), st.integers(0, 2**32))
def test_token_replacement_keeps_tags(data, seed):
    pairs = {pair for tokens, tags in rows_of(data) for pair in zip(tokens, tags, strict=True)}
    for tokens, tags in rows_of(augment(data, 3, 0.5, 0, 0, seed=seed)):
        assert tags in data["tags"][:]
        assert set(zip(tokens, tags, strict=True)) <= pairs


@settings(max_examples=25)
@given(corpora(), st.integers(0, 2**32))
def test_shuffling_keeps_tags_and_each_segments_tokens(data, seed):
    def sorted_segments(tokens, tags):
        return tuple(tags), tuple((entity, tuple(sorted(words))) for entity, words in segments_of(tokens, tags))

    originals = {sorted_segments(*row) for row in rows_of(data)}
    assert {sorted_segments(*row) for row in rows_of(augment(data, 3, 0, 0, 0.5, seed=seed))} <= originals


@settings(max_examples=25)
@given(corpora(), st.integers(0, 2**32), st.booleans())
def test_replaced_mentions_come_from_training(data, seed, across):
    def frame(tokens, tags):
        """What is left when mentions are blanked out."""
        return tuple(part if part[0] is None else (None if across else part[0]) for part in segments_of(tokens, tags))

    originals = {frame(*row) for row in rows_of(data)}
    mentions = {part for row in rows_of(data) for part in segments_of(*row) if part[0]}
    for row in rows_of(augment(data, 3, 0, 0.5, 0, mr_across_types=across, seed=seed)):
        assert frame(*row) in originals
        assert {part for part in segments_of(*row) if part[0]} <= mentions


@pytest.mark.parametrize("p", [0.2, 0.5, 1.0])
def test_the_share_changed_matches_p(p):
    """One long sentence of 2,000 mentions, in which every word is unique."""

    def share(length, **ps):
        words = [f"{kind}{number}" for number in range(2000) for kind in "abcdefgh"[:length]]
        data = of([words], [tiny.spell([("GENE", length)] * 2000, "IOBES")])
        (made,) = augment(data, **ps)["tokens"]
        mentions = [[words[at : at + length] for at in range(0, 2000 * length, length)] for words in (words, made)]
        return np.mean([one != other for one, other in zip(*mentions, strict=True)])

    tolerance = 4 * np.sqrt(p * (1 - p) / 2000) + 0.003  # four standard deviations, and what changes into itself
    assert abs(share(1, lwtr_p=p, mr_p=0, sis_p=0) - p) < tolerance
    assert abs(share(1, lwtr_p=0, mr_p=p, sis_p=0) - p) < tolerance
    assert abs(share(8, lwtr_p=0, mr_p=0, sis_p=p) - p) < tolerance


def test_rows_do_not_depend_on_processes_and_batches():
    data = tiny.corpus(200, seed=5)
    whole = rows_of(augment(data, rounds=2))
    assert len(whole) > 400
    for settings_ in ({"batch_size": 1}, {"batch_size": 17}, {"num_proc": 2}, {"num_proc": 3, "batch_size": 5}):
        assert rows_of(augment(data, rounds=2, **settings_)) == whole
    assert rows_of(augment(data, rounds=2, seed=7)) != whole


def test_later_rounds_add_to_earlier_ones():
    data = tiny.corpus(100, seed=5)
    once, thrice = ({tuple(tokens) for tokens in augment(data, rounds=rounds)["tokens"]} for rounds in (1, 3))
    assert once < thrice


def test_any_seed_will_do():
    data = tiny.corpus(50, seed=5)
    made = {seed: rows_of(augment(data, seed=seed)) for seed in (0, -1, 2**63, 2**63 + 1, 2**64 - 2)}
    assert len({str(rows) for rows in made.values()}) == 5
    assert rows_of(augment(data, seed=2**64)) == made[0]


def test_no_sentence_comes_twice():
    data = dataset("a/O b/O", "b/O a/O", "p53/S-GENE")
    assert len(augment(data, rounds=20, **ALONE["sis"])) == 0
    assert written(augment(data, rounds=20, **ALONE["lwtr"])) == {"a/O a/O", "b/O b/O"}


def test_a_selected_and_a_loaded_corpus_give_the_same(tmp_path):
    path = tiny.write_tsv(tmp_path / "train.tsv", 50, seed=6)
    loaded = load_tsv(str(path), "IOBES")
    assert rows_of(augment(loaded)) == rows_of(augment(of(loaded["tokens"][:], loaded["tags"][:])))
    part = loaded.select(range(10, 30))
    assert rows_of(augment(part)) == rows_of(augment(of(part["tokens"][:], part["tags"][:])))


def test_an_empty_sentence_is_no_trouble():
    data = of([["a", "b"], [], ["p53"], []], [["O", "O"], [], ["S-GENE"], []])
    assert written(augment(data, rounds=20, **ALONE["sis"])) == {"b/O a/O"}
    assert written(augment(data, rounds=30, **ALONE["lwtr"])) == {"b/O a/O", "a/O a/O", "b/O b/O"}
    assert len(augment(data, rounds=3, **ALONE["mr"])) == len(augment(of([[]], [[]]))) == len(augment(of([], []))) == 0


def test_refusals():
    data = tiny.corpus(5)
    with pytest.raises(ValueError, match=r"mr_p must be in \[0.0, 1.0\], got 1.5"):
        augment(data, mr_p=1.5)
    with pytest.raises(ValueError, match="at least one round"):
        augment(data, rounds=0)
    with pytest.raises(ValueError, match="a method with p above 0"):
        augment(data, 1, 0, 0, 0)
    with pytest.raises(ValueError, match="5 have no tags"):
        augment(tiny.corpus(5, labelled=False))
    with pytest.raises(ValueError, match="tags must be text"):
        augment(Dataset.from_dict({"tokens": [["a"]], "tags": [[0]]}))


@pytest.mark.parametrize(
    ("tags", "row"),
    [
        ([["S-GENE", "O"], ["O", "O"], ["O"]], 1),  # as many tags as tokens in all, but not in each sentence
        ([["O", "O"], ["B-GENE"], ["E-GENE", "O"]], 1),  # a mention across sentences
        ([["O", "S-GENE"], ["O"], ["E-GENE", "O"]], 2),
        ([["B-GENE", "E-GENE"], ["O"], ["O", "B-GENE"]], 2),
        ([["O", "I-GENE"], ["O"], ["O", "O"]], 0),  # IOB1
        ([["B-GENE", "I-CHEMICAL"], ["O"], ["O", "O"]], 0),
    ],
)
def test_faulty_rows_are_named(tags, row):
    with pytest.raises(ValueError, match=f"row {row}: "):
        augment(of([["a", "b"], ["c"], ["d", "e"]], tags))
