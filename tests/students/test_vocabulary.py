import pytest
import tiny
from tokenizers import normalizers

from hf_distill.runtime.tags import UserError
from hf_distill.students.vocabulary import learn_tokenizer

SENTENCES = tiny.sentences(300, seed=5)


@pytest.mark.parametrize(
    "pattern", [tiny.wordpiece(), tiny.byte_level(), tiny.unigram()], ids=["wordpiece", "bpe", "unigram"]
)
def test_a_learnt_vocabulary_is_the_same_every_time(tmp_path, pattern):
    """Many ties, so that an order that differs from run to run would show."""
    learnt = [learn_tokenizer(pattern, SENTENCES, 330, tmp_path / str(number)) for number in range(3)]
    files = [(tmp_path / str(number) / "tokenizer.json").read_bytes() for number in range(3)]
    assert files[0] == files[1] == files[2]
    new = learnt[0]
    assert len(new) <= 330 and new.all_special_tokens == pattern.all_special_tokens
    assert new.model_max_length == pattern.model_max_length
    words = ["BRCA1", "kinase", "p53", ")"]
    old, encoded = (each(words, is_split_into_words=True) for each in (pattern, new))
    assert len(encoded["input_ids"]) < len(old["input_ids"]), "words of the text are whole"
    assert set(encoded.word_ids()) == {None, 0, 1, 2, 3}
    assert new.unk_token_id not in new("kinp53ase receptoralpha BRAC")["input_ids"], "letters inside words are known"
    assert new.tokenize("##a", add_special_tokens=False)[0] != "##a"


def test_a_vocabulary_that_cannot_be_learnt_is_refused(tmp_path):
    with pytest.raises(UserError, match="--vocabulary_size 30 is too small: the characters of the text alone take"):
        learn_tokenizer(tiny.wordpiece(), SENTENCES, 30, tmp_path / "a")
    with pytest.raises(UserError, match="--vocabulary_size 200 is too small"):
        learn_tokenizer(tiny.unigram(), SENTENCES, 200, tmp_path / "a")
    joining = tiny.wordpiece()
    joining.backend_tokenizer.normalizer = normalizers.Replace(" ", "")
    with pytest.raises(UserError, match="cuts words of a list otherwise than in a text"):
        learn_tokenizer(joining, SENTENCES, 330, tmp_path / "a")
    assert not list(tmp_path.iterdir()), "nothing is left behind"


def test_characters_that_only_begin_words_take_one_row(tmp_path):
    """A BERT cuts out each Chinese character, so that none stands within a word."""
    sentences = [[chr(0x4E00 + 3 * number + place) for place in range(3)] for number in range(200)]
    learnt = learn_tokenizer(tiny.wordpiece(), sentences, 620, tmp_path / "tokenizer")
    assert len(learnt) <= 620
    assert not [piece for piece in learnt.get_vocab() if piece.startswith("##")]
