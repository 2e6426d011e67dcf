import hashlib

from datasets import Dataset

from hf_distill.data.readers.common import SENTENCES
from hf_distill.data.statistics import describe, find_leaked, mention_counts, sentence_keys


def test_leaked_sentences():
    def corpus(*sentences):
        rows = [{"tokens": sentence.split(), "tags": None} for sentence in sentences]
        return Dataset.from_list(rows, features=SENTENCES)

    train = corpus("a b", "c", "a", "d e", "c")
    assert find_leaked(train, [corpus("c", "x"), corpus("d e", "b a")]).nonzero()[0].tolist() == [1, 3, 4]
    assert not find_leaked(train, [corpus("ab", "b")]).any()


def test_sentences_differ_where_words_do():
    keys = sentence_keys(
        Dataset.from_dict({"tokens": [["a", "b"], ["a b"], ["ab"], ["b", "a"], ["a", "B"], ["a", "b"]]})
    )
    assert len(set(keys[:5])) == 5
    assert keys[5] == keys[0]
    assert keys[:1].tobytes() == hashlib.blake2b(b"a\tb", digest_size=16).digest()


def test_mentions_are_counted_by_type():
    tags = [["B-X", "I-X", "B-X", "O", "S-Y", "B-Y", "I-Y", "E-Y"], None, ["O"]]
    data = Dataset.from_dict({"tokens": [["a"] * 8, ["b"], ["c"]], "tags": tags}, features=SENTENCES)
    assert mention_counts(data) == {"X": 2, "Y": 2}
    assert describe("train", data) == "train: 3 sentences, 10 words, mentions: X 2, Y 2"
    assert describe("unlabeled", data.select([1])) == "unlabeled: 1 sentences, 1 words"
