from collections import Counter

import tiny
import torch

from hf_distill.students.embeddings import reduce_embeddings, transfer_embeddings


def test_reduced_embeddings_by_hand():
    weight = torch.tensor([[3.0, 4.0], [6.0, 8.0], [0.0, 0.0]])  # rank one, along (0.6, 0.8)
    reduced = reduce_embeddings(weight, 1)
    expected = torch.tensor([[5.0], [10.0], [0.0]]) / 5.0  # the standard deviation of 5, 10, 0 is 5
    torch.testing.assert_close(reduced.abs(), expected)


def test_embeddings_are_carried_over_by_hand():
    """Where two tokenizers differ, a piece takes over what stands in its place."""
    source, target = tiny.wordpiece(), tiny.wordpiece(("kinase", "##nase", "zzz"))
    old, new = source.get_vocab(), target.get_vocab()
    weight = torch.randn(len(old), 4)
    carried = transfer_embeddings(weight, source, target, Counter({"kinase": 3, "the": 9}))
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
    carried = transfer_embeddings(weight, source, target, Counter({"kinase": 2, "kinasp": 1}))
    # Three letters of "kin" in all three words, two of "##ase" in two of them, two of "##as" in one.
    expected = (9 * weight[old["kin"]] + 4 * weight[old["##ase"]] + 2 * weight[old["##as"]]) / 15
    torch.testing.assert_close(carried[target.get_vocab()["kinas"]], expected)


def test_equal_names_in_tokenizers_of_two_kinds_mean_two_things():
    """Byte-level BPE marks where words begin, WordPiece where they go on."""
    source, target = tiny.wordpiece(), tiny.byte_level()
    old, new, weight = source.get_vocab(), target.get_vocab(), torch.randn(len(source), 4)
    assert source.tokenize("ax") == ["a", "##x"] and target.tokenize("ax") == ["Ġa", "x"]
    carried = transfer_embeddings(weight, source, target, Counter({"ax": 1}))
    torch.testing.assert_close(carried[new["Ġa"]], weight[old["a"]])
    torch.testing.assert_close(carried[new["x"]], weight[old["##x"]])
