from pathlib import Path

import pytest
from datasets import Dataset

from hf_distill.arguments import DataArguments
from hf_distill.data.corpora import Corpora, load_corpora
from hf_distill.runtime.tags import UserError


@pytest.fixture
def load(tmp_path):
    """Loads three training sentences and three of devel, one in both; of five unlabelled ones devel has one, too."""
    corpora = {
        "train": "p53\tS-GENE\nbinds\tO\n\nof\tO\n\nBRCA1\tS-GENE\nstops\tO\n",
        "val": "of\tO\n\nmice\tO\n\nZFP\tS-GENE\n",
    }
    files = {f"path_to_{name}": str(tmp_path / f"{name}.tsv") for name in corpora}
    for name, content in corpora.items():
        Path(files[f"path_to_{name}"]).write_text(content)
    (tmp_path / "text.txt").write_text("mice\na\nb\nc\nd\n")

    def load_with(**given):
        args = DataArguments(**files, path_to_unlabeled=[str(tmp_path / "text.txt")], tag_scheme="IOBES", **given)
        return load_corpora(args, seed=0)

    return load_with


def words(dataset):
    return [" ".join(tokens) for tokens in dataset["tokens"]]


def test_sentences_of_devel_are_dropped_on_demand_alone(load):
    corpora = load()
    assert words(corpora.train) == ["p53 binds", "of", "BRCA1 stops"]
    assert words(corpora.unlabeled) == ["mice", "a", "b", "c", "d"]
    corpora = load(drop_leaked=True)
    assert words(corpora.train) == ["p53 binds", "BRCA1 stops"] and words(corpora.eval) == ["of", "mice", "ZFP"]
    assert words(corpora.unlabeled) == ["a", "b", "c", "d"]


def test_unlabelled_sentences_are_chosen_or_augmented_up_to_the_number_wanted(load):
    chosen = load(transfer_sentences=3)
    assert len(set(words(chosen.unlabeled))) == 3 and chosen.augmented is None
    assert words(load(transfer_sentences=3).unlabeled) == words(chosen.unlabeled), "the seed decides"
    filled = load(transfer_sentences=6)
    assert words(filled.unlabeled) == ["mice", "a", "b", "c", "d"] and len(filled.augmented) == 1


def test_development_data_out_of_the_training_data(tmp_path, caplog):
    (tmp_path / "train.tsv").write_text("".join(f"p{number}\tS-GENE\n\n" for number in range(40)))
    source = str(tmp_path / "train.tsv")
    args = DataArguments(path_to_train=source, validation_fraction=0.1)
    corpora = load_corpora(args, seed=3)
    assert len(corpora.eval) == 4 and len(corpora.train) == 36
    assert sorted(words(corpora.eval) + words(corpora.train)) == sorted(f"p{number}" for number in range(40))
    assert f"{source}: has no development data: 4 of its 40 training sentences, drawn at random" in caplog.text
    assert words(load_corpora(args, seed=3).eval) == words(corpora.eval) != words(load_corpora(args, seed=4).eval)
    Dataset.from_dict({"tokens": [["p53"]], "ner_tags": [["B-GENE"]]}).to_parquet(tmp_path / "train.parquet")
    (tmp_path / "train.tsv").unlink()
    with pytest.raises(
        UserError, match="has no development data .a split called validation, dev.*--validation_fraction"
    ):
        load_corpora(DataArguments(dataset_name=str(tmp_path)), seed=3)


def test_unlabelled_text_is_split_like_the_training_data(tmp_path):
    (tmp_path / "train.tsv").write_text("IL-2\tS-GENE\nbinds\tO\n.\tO\n")
    (tmp_path / "raw.txt").write_text("See (IL-2), which binds.\n")
    Dataset.from_dict({"text": ["It is p53-like."] * 3}).to_parquet(tmp_path / "train.parquet")
    path = str(tmp_path / "train.tsv")
    raw = [str(tmp_path / "raw.txt")]
    (tmp_path / "hub").mkdir()
    (tmp_path / "train.parquet").rename(tmp_path / "hub" / "train.parquet")
    args = DataArguments(
        path_to_train=path, path_to_val=path, path_to_unlabeled=raw, unlabeled_dataset=str(tmp_path / "hub")
    )
    corpora = load_corpora(args, seed=0)
    assert (corpora.word_rule, corpora.word_rule_finds) == ("within", 1)
    assert words(corpora.unlabeled) == ["See ( IL-2 ) , which binds ."] + ["It is p53-like ."] * 3


def test_training_text_is_labelled_then_augmented_then_unlabelled(load):
    corpora = load(transfer_sentences=6)
    parts = [words(getattr(corpora, name)) for name in ("train", "augmented", "unlabeled")]
    assert words(corpora.training_text()) == sum(parts, [])
    assert words(corpora.training_text(unlabeled=False)) == parts[0] + parts[1]
    assert words(Corpora(corpora.train, corpora.eval, corpora.tags).training_text()) == parts[0]


def write(tmp_path, train, val):
    for name, content in (("train", train), ("val", val)):
        (tmp_path / f"{name}.tsv").write_text(content)
    return {f"path_to_{name}": str(tmp_path / f"{name}.tsv") for name in ("train", "val")}


def test_devel_without_mentions_is_refused_as_that(tmp_path):
    files = write(tmp_path, "a\tS-GENE\n", "b\tO\n")
    with pytest.raises(UserError, match=f"^{files['path_to_val']}: the development data has no mention"):
        load_corpora(DataArguments(**files), seed=0)


def test_entity_types_are_renamed_on_demand_alone(tmp_path, caplog):
    train = "a\tS-Protein\n\nb\tS-protein\nc\tS-protein\nd\tS-RNA\n"
    files = write(tmp_path, train, "a\tS-protein\n")
    assert load_corpora(DataArguments(**files), seed=0).tags[1::4] == ["B-Protein", "B-RNA", "B-protein"]
    assert "the entity types protein (2 mentions) and Protein (1) differ in case alone" in caplog.text
    assert "--rename_types Protein=protein" in caplog.text
    one = load_corpora(DataArguments(**files, rename_types=["Protein=protein", "RNA=DNA"]), seed=0)
    assert one.tags[1::4] == ["B-DNA", "B-protein"]
    with pytest.raises(UserError, match="--rename_types.*is now named GENE; it has Protein, RNA, protein"):
        load_corpora(DataArguments(**files, rename_types=["proteins=GENE"]), seed=0)


def test_arguments_say_how_tags_are_written(tmp_path):
    files = write(tmp_path, "a\tB\nb\tI\n", "a\tU\nb\tO\n")
    corpora = load_corpora(DataArguments(**files, entity_type="GENE"), seed=0)
    assert (corpora.train["tags"][0], corpora.eval["tags"][0]) == (["B-GENE", "E-GENE"], ["S-GENE", "O"])
    with pytest.raises(UserError, match="val.tsv:1: unknown tag 'U' in IOB2"):
        load_corpora(DataArguments(**files, entity_type="GENE", input_scheme="IOB2"), seed=0)


def test_a_type_whose_score_would_have_the_name_of_another(tmp_path):
    files = write(tmp_path, "a\tS-token\n", "a\tS-token\n")
    with pytest.raises(UserError, match="share its name with token F1: --rename_types token=OTHER"):
        load_corpora(DataArguments(**files), seed=0)
    assert load_corpora(DataArguments(**files, rename_types=["token=word"]), seed=0).tags[1] == "B-word"
