import pytest
import tiny

from hf_distill.data.encoding import word_pieces
from hf_distill.runtime import windows
from hf_distill.runtime.windows import make_windows, special_tokens, subwords


@pytest.fixture
def tokenizer(any_tokenizer):
    return any_tokenizer


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
    size, pieces = windows._PIECES[tokenizer]
    windows._PIECES[tokenizer] = size, Pieces(pieces)
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
