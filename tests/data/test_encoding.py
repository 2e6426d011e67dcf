import pytest
import tiny
from datasets import Dataset, Value, concatenate_datasets, load_from_disk

from hf_distill.data.encoding import encode_dataset
from hf_distill.data.readers.common import SENTENCES
from hf_distill.teachers.signals import SignalStore, attach_signals


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


def test_encoded_rows_name_their_tags(tmp_path):
    """Wherever they go; sentences without labels among them."""
    tokenizer = tiny.wordpiece()
    text = concatenate_datasets([tiny.corpus(5, seed=1), tiny.corpus(5, seed=2, labelled=False)])
    rows = encode_dataset(text, tokenizer, 64, tiny.TAGS, keep_tokens=True, piece_tokenizer=tokenizer, feature_rows=20)
    assert rows[5]["labels"] == [-100] * len(text[5]["tokens"])
    attached = attach_signals([SignalStore(tiny.teacher(tokenizer), text, tmp_path / "signals")], rows)
    rows.save_to_disk(tmp_path / "saved")
    rows.to_parquet(tmp_path / "saved.parquet")
    same = [attached, rows.select([7]), rows.shuffle(), rows.filter(lambda row: row["length"] > 4)]
    same += [rows.map(lambda row: {"length": 1}), rows.cast_column("length", Value("int32")), rows.with_format("torch")]
    same += [concatenate_datasets([rows, rows]), load_from_disk(tmp_path / "saved"), rows.to_iterable_dataset()]
    same += [Dataset.from_parquet(str(tmp_path / "saved.parquet"))]
    for dataset in same:
        assert dataset.features["labels"].feature.names == tiny.TAGS
    with pytest.raises(ValueError, match="can't be aligned"):
        concatenate_datasets([rows, encode_dataset(text, tokenizer, 64, tiny.TAGS[::-1])])
