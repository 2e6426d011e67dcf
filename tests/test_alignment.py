import numpy as np
import pytest
import tiny
import torch
from datasets import Dataset
from transformers import AutoTokenizer

from hf_distill import alignment
from hf_distill.alignment import (
    load_tokenizer,
    make_windows,
    predict_words,
    special_tokens,
    subwords,
)
from hf_distill.data import SENTENCES
from hf_distill.encoding import encode_dataset, word_pieces

FAMILIES = {"wordpiece": tiny.wordpiece, "byte-level": tiny.byte_level, "unigram": tiny.unigram}


@pytest.fixture(params=FAMILIES)
def tokenizer(request):
    return FAMILIES[request.param]()


def test_loaded_tokenizers_cut_words_as_they_cut_text(tmp_path, tokenizer):
    """Byte-level tokenizers as most are published: without a blank before a text's first word."""
    tiny.byte_level(add_prefix_space=False).save_pretrained(tmp_path / "bytes")
    tokenizer.save_pretrained(tmp_path / "other")
    for folder in ("bytes", "other"):
        loaded = load_tokenizer(str(tmp_path / folder))
        [(ids, _)] = subwords(loaded, [["the", "receptor", "of", "p53"]])
        assert ids == loaded("the receptor of p53", add_special_tokens=False)["input_ids"]
        loaded.save_pretrained(tmp_path / "again")
        again = AutoTokenizer.from_pretrained(tmp_path / "again")
        assert ids == again("the receptor of p53", add_special_tokens=False)["input_ids"], "as a pipeline will"


def test_first_subwords_by_hand():
    tokenizer = tiny.wordpiece()
    [(ids, starts)] = subwords(tokenizer, [["the", "kinase", "p53", "-", "receptor"]])
    assert tokenizer.convert_ids_to_tokens(ids) == "the kin ##ase p ##5 ##3 - rec ##eptor".split()
    assert starts == [0, 1, 3, 6, 7]
    assert word_pieces({"tokens": [["the", "kinase", "p53"]]}, tokenizer) == [[1, 2, 3]]


def test_every_word_begins_where_its_own_subwords_do(tokenizer):
    """Tokenising a word alone gives what stands between its beginning and the next word's."""
    words = ["the", "BRCA1", "(", "receptor", ")", "alpha"]
    [(ids, starts)] = subwords(tokenizer, [words])
    for word, start, end in zip(words, starts, [*starts[1:], len(ids)], strict=True):
        [(alone, _)] = subwords(tokenizer, [[word]])
        assert ids[start:end] == alone


def test_words_seen_before_are_cut_as_in_their_sentence(tokenizer):
    for seed in (1, 1, 2):
        sentences = tiny.sentences(20, seed)
        for words, (ids, starts) in zip(sentences, subwords(tokenizer, sentences), strict=True):
            encoded = tokenizer(words, is_split_into_words=True, add_special_tokens=False)
            assert ids == encoded["input_ids"]
            assert starts == [encoded.word_to_tokens(word).start for word in range(len(words))]


def test_a_call_does_not_walk_through_the_words_seen_before(tokenizer):
    class Pieces(dict):
        def __iter__(self):
            raise AssertionError("walked through")

        keys = items = values = __iter__

    list(subwords(tokenizer, [["the"]]))
    size, pieces = alignment._PIECES[tokenizer]
    alignment._PIECES[tokenizer] = size, Pieces(pieces)
    assert list(subwords(tokenizer, [["the"]]))


def test_tokens_added_later_count(tokenizer):
    [(before, _)] = subwords(tokenizer, [["receptor"]])
    tokenizer.add_tokens(["receptor"])
    [(after, _)] = subwords(tokenizer, [["receptor"]])
    assert after == [len(tokenizer) - 1] != before


@pytest.mark.parametrize("erased", ["\u200b", "\ufeff", "\u00ad", "\u0001", "\u200b\u200b"])
def test_an_erased_word_is_the_unknown_token(tokenizer, erased):
    [(ids, starts)] = subwords(tokenizer, [[erased, "the", erased, erased, "of", erased]])
    assert len(starts) == 6
    assert starts == sorted(set(starts)), "every word has a subword of its own"
    [(plain, _)] = subwords(tokenizer, [["the", "of"]])
    if len(ids) == len(plain) + 4:  # the tokenizer does erase it
        assert [ids[starts[word]] for word in (0, 2, 3, 5)] == [tokenizer.unk_token_id] * 4


@pytest.mark.parametrize("count", [1, 61, 62, 63, 64, 100, 2000])
def test_windows_cover_each_word_once(tokenizer, count):
    words = tiny.sentences(1, seed=count, longest=1)[0] * count
    [windows] = make_windows(tokenizer, [words], 64)
    before, after = special_tokens(tokenizer)
    [(ids, starts)] = subwords(tokenizer, [words])
    spoken = []
    for window in windows:
        assert len(window.input_ids) <= 64
        assert window.input_ids[: len(before)] == before and window.input_ids[-len(after) :] == after
        assert window.first_word == len(spoken)
        spoken += [window.input_ids[position] for position in window.word_positions]
    assert spoken == [ids[start] for start in starts]


def test_words_stand_away_from_the_cuts():
    """Between two windows each word has a quarter of a window's half of context on either side at least."""
    tokenizer = tiny.wordpiece()
    [windows] = make_windows(tokenizer, [["the"] * 1000], 64)
    overlap = (64 - 2) // 4
    for window in windows[1:]:
        assert window.word_positions[0] - 1 >= overlap // 2
    for window in windows[:-1]:
        assert len(window.input_ids) - 2 - window.word_positions[-1] >= overlap // 2


def test_a_word_longer_than_a_window_speaks_once():
    tokenizer = tiny.wordpiece()
    [windows] = make_windows(tokenizer, [["the", "x" * 90, "of"]], 64)
    assert sum(len(window.word_positions) for window in windows) == 3


def test_a_long_sentence_gets_a_prediction_for_each_word():
    tokenizer = tiny.wordpiece()
    model = tiny.bert(tokenizer).eval()
    sentences = [["kinase", "the"] * 1000, ["of"], ["p53", "\u200b"]]
    logits = predict_words(model, tokenizer, sentences, 64)
    assert [scores.shape for scores in logits] == [(2000, 5), (1, 5), (2, 5)]
    # A word in the middle of a window says what the model says when run on that window by hand.
    window = list(make_windows(tokenizer, sentences[:1], 64))[0][3]
    with torch.no_grad():
        alone = model(input_ids=torch.tensor([window.input_ids])).logits[0, window.word_positions]
    last = window.first_word + len(window.word_positions)
    np.testing.assert_allclose(logits[0][window.first_word : last], alone, atol=1e-5)


def test_encoded_rows_carry_the_labels_of_their_words():
    tokenizer = tiny.wordpiece()
    long = ["p53"] * 150
    rows = [{"tokens": ["the", "p53"], "tags": ["O", "S-GENE"]}, {"tokens": ["of"], "tags": None}]
    rows.append({"tokens": long, "tags": ["S-GENE", "O"] * 75})
    encoded = encode_dataset(
        Dataset.from_list(rows, features=SENTENCES), tokenizer, 64, tiny.TAGS, piece_tokenizer=tokenizer
    )
    assert encoded[0]["labels"] == [0, 4] and encoded[0]["pieces"] == [1, 3]
    assert encoded[1]["labels"] == [-100]
    windows = [row for row in encoded if row["sentence"] == 2]
    assert len(windows) > 2
    assert [label for row in windows for label in row["labels"]] == [4, 0] * 75
    assert all(len(row["input_ids"]) == row["length"] for row in encoded)
