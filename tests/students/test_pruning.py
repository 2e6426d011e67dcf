import pytest
import tiny

from hf_distill.runtime.tags import UserError
from hf_distill.students.pruning import check_other_text, prune_vocabulary


def test_text_whose_words_a_pruned_vocabulary_cuts_anew_is_refused():
    tokenizer = tiny.wordpiece()
    pruned = prune_vocabulary(tiny.bert(tokenizer), tokenizer, [["receptor"]])
    assert pruned.tokenize("receptor") == ["rec", "##eptor"]
    assert tokenizer.tokenize("kinase") == ["kin", "##ase"] and len(pruned.tokenize("kinase")) == 6
    check_other_text(tokenizer, pruned, [["receptor"] * 99, ["kinase"]])
    with pytest.raises(UserError, match=r"--prune_vocabulary: 2\.0% of the words of the development data"):
        check_other_text(tokenizer, pruned, [["receptor"] * 97, ["kinase"] * 2, ["receptor"]])
