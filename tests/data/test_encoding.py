import tiny
from datasets import Dataset

from hf_distill.data.encoding import encode_dataset
from hf_distill.data.readers.common import SENTENCES


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
