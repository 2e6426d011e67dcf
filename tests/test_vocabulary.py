from collections import Counter

import pytest
import tiny
import torch

from hf_distill.arguments import ModelArguments
from hf_distill.labels import UserError
from hf_distill.students import build_student, reduce_embeddings
from hf_distill.vocabulary import carry_embeddings, learn_tokenizer

SENTENCES = tiny.sentences(300, seed=5)


@pytest.mark.parametrize("pattern", [tiny.wordpiece(), tiny.byte_level()], ids=["wordpiece", "bpe"])
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
    with pytest.raises(UserError, match="Unigram.*--vocabulary_size 0"):
        learn_tokenizer(tiny.unigram(), SENTENCES, 300, tmp_path / "a")
    suffixed = tiny.byte_level()
    suffixed.backend_tokenizer.model.end_of_word_suffix = "</w>"
    with pytest.raises(UserError, match="BPE"):
        learn_tokenizer(suffixed, SENTENCES, 300, tmp_path / "a")
    assert not list(tmp_path.iterdir()), "nothing is left behind"


def test_embeddings_are_carried_over_by_hand():
    """Where two tokenizers differ, a piece takes over what stands in its place."""
    source, target = tiny.wordpiece(), tiny.wordpiece(("kinase", "##nase", "zzz"))
    old, new = source.get_vocab(), target.get_vocab()
    weight = torch.randn(len(old), 4)
    carried = carry_embeddings(weight, source, target, Counter({"kinase": 3, "the": 9}))
    for piece in old:
        torch.testing.assert_close(carried[new[piece]], weight[old[piece]])
    # "kinase" was "kin" and "##ase": three letters each.
    expected = (weight[old["kin"]] + weight[old["##ase"]]) / 2
    torch.testing.assert_close(carried[new["kinase"]], expected)
    torch.testing.assert_close(carried[new["zzz"]], weight.mean(0))


def test_embeddings_are_weighted_by_letters_and_occurrences():
    source, target = tiny.wordpiece(("##as", "##e")), tiny.wordpiece(("kinas", "##nas"))
    assert source.tokenize("kinase") == ["kin", "##ase"] and target.tokenize("kinase") == ["kinas", "##e"]
    assert source.tokenize("kinasp") == ["kin", "##as", "##p"] and target.tokenize("kinasp") == ["kinas", "##p"]
    old, weight = source.get_vocab(), torch.randn(len(source), 4)
    carried = carry_embeddings(weight, source, target, Counter({"kinase": 2, "kinasp": 1}))
    # Three letters of "kin" in all three words, two of "##ase" in two of them, two of "##as" in one.
    expected = (9 * weight[old["kin"]] + 4 * weight[old["##ase"]] + 2 * weight[old["##as"]]) / 15
    torch.testing.assert_close(carried[target.get_vocab()["kinas"]], expected)


def test_a_student_with_a_vocabulary_of_its_own(tmp_path):
    teacher, text = tiny.teacher(), tiny.corpus(300, seed=5)
    tokenizer = learn_tokenizer(teacher.tokenizer, text["tokens"], 150, tmp_path / "tokenizer")
    args = ModelArguments(embedding_type="svd", embedding_size=6, hidden_size=5, vocabulary_size=150)
    student = build_student(args, tiny.TAGS, tokenizer, teacher, text)
    weight = teacher.model.get_input_embeddings().weight.detach()
    words = Counter(word for words in text["tokens"] for word in words)
    expected = reduce_embeddings(carry_embeddings(weight, teacher.tokenizer, tokenizer, words), 6)
    torch.testing.assert_close(student.get_input_embeddings().weight, expected)
    assert student.config.vocab_size == len(tokenizer)
    with pytest.raises(UserError, match="--vocabulary_size"):
        build_student(ModelArguments(embedding_type="bert"), tiny.TAGS, tokenizer, teacher, text)


def test_characters_that_only_begin_words_take_one_row(tmp_path):
    """A BERT cuts out each Chinese character, so that none stands within a word."""
    sentences = [[chr(0x4E00 + 3 * number + place) for place in range(3)] for number in range(200)]
    learnt = learn_tokenizer(tiny.wordpiece(), sentences, 620, tmp_path / "tokenizer")
    assert len(learnt) <= 620
    assert not [piece for piece in learnt.get_vocab() if piece.startswith("##")]


def test_equal_names_in_tokenizers_of_two_kinds_mean_two_things():
    """Byte-level BPE marks where words begin, WordPiece where they go on."""
    source, target = tiny.wordpiece(), tiny.byte_level()
    old, new, weight = source.get_vocab(), target.get_vocab(), torch.randn(len(source), 4)
    assert source.tokenize("ax") == ["a", "##x"] and target.tokenize("ax") == ["Ġa", "x"]
    carried = carry_embeddings(weight, source, target, Counter({"ax": 1}))
    torch.testing.assert_close(carried[new["Ġa"]], weight[old["a"]])
    torch.testing.assert_close(carried[new["x"]], weight[old["##x"]])
