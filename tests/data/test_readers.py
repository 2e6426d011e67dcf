import gzip
import json
import os

import pytest
from datasets import ClassLabel, Dataset, Features, List, Value

from hf_distill.data.readers.common import SENTENCES
from hf_distill.data.readers.hub import load_hub_splits
from hf_distill.data.readers.labelled import load_tsv
from hf_distill.data.readers.text import load_unlabeled, load_unlabeled_dataset
from hf_distill.data.statistics import describe, known_types
from hf_distill.data.tag_format import TagFormat
from hf_distill.runtime.tags import UserError

IOB2 = "BRCA1\tB-GENE\nbinds\tO\np53\tB-GENE\nkinase\tI-GENE\n\nNothing\tO\n"
IOBES = "BRCA1\tS-GENE\nbinds\tO\np53\tB-GENE\nkinase\tE-GENE\n\nNothing\tO\n"
TOKENS = [["BRCA1", "binds", "p53", "kinase"], ["Nothing"]]
IOB2_TAGS = [["B-GENE", "O", "B-GENE", "I-GENE"], ["O"]]
IOBES_TAGS = [["S-GENE", "O", "B-GENE", "E-GENE"], ["O"]]


def write(folder, content, name="corpus.tsv"):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    return str(path)


def write_splits(folder, **splits):
    """A Hub-style dataset: one parquet file per split."""
    for split, dataset in splits.items():
        dataset.to_parquet(folder / f"{split}.parquet")
    return str(folder)


def rows(tokens, tags, column="ner_tags", **kwargs):
    return Dataset.from_dict({"tokens": tokens, column: tags}, **kwargs)


def refusal_of(load, *args):
    with pytest.raises(UserError) as refusal:
        load(*args)
    return str(refusal.value)


@pytest.mark.parametrize(
    "content",
    [
        IOBES,
        IOB2,
        IOBES.replace("\n", "\r\n"),
        "\ufeff" + IOBES,
        "\ufeff" + IOB2.replace("\n", "\r\n"),
        IOBES + "\n\n \n\n",
        IOBES.replace("\n\n", "\n\t\n"),
        "\n\n" + IOBES,
        IOBES.replace("\n\n", "\n\n\n \n"),
        IOBES.rstrip("\n"),
    ],
    ids=[
        "iobes",
        "iob2",
        "crlf",
        "bom",
        "bom-crlf",
        "blank-end",
        "tab-between",
        "blank-start",
        "blank-between",
        "no-newline-at-end",
    ],
)
def test_tsv(tmp_path, content):
    for name, written in (("corpus.tsv", content.encode()), ("corpus.tsv.gz", gzip.compress(content.encode()))):
        path = write(tmp_path, written, name)
        assert load_tsv(path, "IOBES").to_dict() == {"tokens": TOKENS, "tags": IOBES_TAGS}
        assert load_tsv(path, "IOB2").to_dict() == {"tokens": TOKENS, "tags": IOB2_TAGS}


def test_tsv_keeps_odd_tokens_and_the_names_of_types(tmp_path):
    # A no-break space, a line separator, a byte order mark that does not begin the file, blanks, a quotation mark.
    tokens = ["\u00a0", "a\u2028b", "\ufeff", "two words", '"', "\u200b"]
    path = write(tmp_path, "".join(f"{token}\tO\n" for token in tokens) + "x\tS-protein\ny\tS-cell line\n")
    loaded = load_tsv(path, "IOBES")
    assert loaded["tokens"][0] == [*tokens, "x", "y"]
    assert loaded["tags"][0] == ["O"] * 6 + ["S-protein", "S-cell line"]
    assert known_types(loaded) == ["cell line", "protein"]
    assert describe("train", loaded) == "train: 1 sentences, 8 words, mentions: cell line 1, protein 1"


@pytest.mark.parametrize(
    ("content", "line", "says"),
    [
        ("a\tO\nb\n", 2, "found 1: 'b'"),
        ("a\tO\n\nb O\n", 3, "found 1: 'b O'"),
        ("a\tO\nb\tNN\tO\n", 2, r"found 3: 'b\tNN\tO'"),
        ("a\tO\n\tO\n", 2, r"the token is empty: '\tO'"),
        ("a\tO\n \tO\n", 2, r"the token is empty: ' \tO'"),
        ("a\tO\r\nb\t\r\n", 2, r"the tag is empty: 'b\t'"),
        ("a\tO\nb\tGENE\n\nc\tB-GENE\n", 2, r"unknown tag 'GENE'"),
        ("a\tO\nb\tB-\n", 2, "unknown tag 'B-'"),
        ("a\tS-GENE\nb\tB-GENE\nc\tL-GENE\n", 3, "unknown tag 'L-GENE' in IOBES"),
        ("a\tb-GENE\nb\ti-GENE\n", 1, "unknown tag 'b-GENE'"),
        ("a\to\n", 1, "unknown tag 'o'"),
        ("a\tB-GENE\n\nb\tO\nc\tI-GENE\n", 4, "c\tI-GENE"),
        ("a\tB-GENE\n\nb\tI-GENE\n", 3, "b\tI-GENE"),
        ("a\tB-GENE\nb\tI-CHEMICAL\n", 2, "b\tI-CHEMICAL"),
        ("a\tS-GENE\n\nb\tO\nc\tE-GENE\n", 4, "c\tE-GENE"),
        # A mention that is not finished: the line of its B-, wherever the fault comes to light.
        ("a\tS-GENE\n\nb\tO\nc\tB-GENE\nd\tI-GENE\n\ne\tO\n", 4, "c\tB-GENE"),
        ("a\tS-GENE\n\nb\tO\nc\tB-GENE\nd\tI-GENE", 4, "c\tB-GENE"),
        ("a\tS-GENE\nb\tB-GENE\nc\tI-GENE\nd\tO\n", 2, "b\tB-GENE"),
        ("a\tB-GENE\nb\tE-CHEMICAL\n", 1, "a\tB-GENE"),
        ("\ufeffa\tO\r\n\r\n\r\nb\0c\tO\r\n", 4, r"NUL character (UTF-16?): 'b\x00c\tO'"),
        (
            "a\tO\n\ncaf\u00e9\tO\n".encode("latin-1"),
            3,
            r"not UTF-8 (invalid continuation byte at byte 3): b'caf\xe9\tO",
        ),
        ("a\tO\n".encode("utf-16"), 1, "not UTF-8"),
        ("a\tB-GENE\rb\tE-GENE\r", 1, "a carriage return within a line"),
        ("", 1, "no sentence"),
        ("\n \n\r\n\n", 1, "no sentence"),
        ("\ufeff", 1, "no sentence"),
    ],
)
def test_faulty_tsv_is_refused_with_its_line(tmp_path, content, line, says):
    path = write(tmp_path, content)
    message = refusal_of(load_tsv, path, "IOBES")
    assert message.startswith(f"{path}:{line}: ")
    assert says in message


def test_missing_file(tmp_path):
    path = str(tmp_path / "nowhere.tsv")
    assert refusal_of(load_tsv, path, "IOBES") == f"{path}: no such file."
    assert refusal_of(load_unlabeled, [path]) == f"{path}: no such file."


def test_label_that_train_lacks(tmp_path):
    path = write(tmp_path, "a\tS-GENE\n\nb\tO\nc\tS-CHEBI\n")
    message = refusal_of(load_tsv, path, "IOBES", ["GENE"])
    assert message.startswith(f"{path}:4: the label 'S-CHEBI' does not occur in the training data, which has GENE: c\t")
    assert refusal_of(load_tsv, path, "IOBES", []).startswith(f"{path}:1: the label 'S-GENE' does not occur")


def test_devel_data_of_several_types(tmp_path):
    """The types that train has must not change what is read of devel."""
    path = write(tmp_path, "a\tS-GENE\nb\tS-CHEMICAL\n\nc\tO\n")
    loaded = load_tsv(path, "IOBES", ["CHEMICAL", "GENE"])
    assert loaded.to_dict() == {"tokens": [["a", "b"], ["c"]], "tags": [["S-GENE", "S-CHEMICAL"], ["O"]]}
    path = write(tmp_path, "a\tO\n\nb\tO\n", "no mention.tsv")
    assert load_tsv(path, "IOBES", ["CHEMICAL", "GENE"])["tokens"][:] == [["a"], ["b"]]


# The same two sentences in every scheme; 1 and 2 are entity types.
SPELLINGS = {
    "IOB2": ["O B1 B1 I1 B2 I2", "B1 I1 I1 O B2"],
    "IOB1": ["O I1 B1 I1 I2 I2", "I1 I1 I1 O I2"],
    "IOBES": ["O S1 B1 E1 B2 E2", "B1 I1 E1 O S2"],
    "BILOU": ["O U1 B1 L1 B2 L2", "B1 I1 L1 O U2"],
    "BMEWO": ["O W1 B1 E1 B2 E2", "B1 M1 E1 O W2"],
    "BMES": ["O S1 B1 E1 B2 E2", "B1 M1 E1 O S2"],
}
TYPES = {"1": "GENE", "2": "creative-work of art"}


@pytest.mark.parametrize("spelling", ["{0}-{1}", "{0}_{1}", "{1}-{0}"])
@pytest.mark.parametrize("scheme", SPELLINGS)
@pytest.mark.parametrize("given", [True, False], ids=["given", "detected"])
def test_every_scheme_is_read_as_the_same_mentions(tmp_path, scheme, spelling, given):
    def write_tags(sentences, spelling):
        return [
            [tag if tag == "O" else spelling.format(tag[0], TYPES[tag[1]]) for tag in sentence.split(" ")]
            for sentence in sentences
        ]

    tags = write_tags(SPELLINGS[scheme], spelling)
    path = write(tmp_path, "\n".join("".join(f"w\t{tag}\n" for tag in sentence) for sentence in tags))
    loaded = load_tsv(path, "IOBES", tag_format=TagFormat(scheme if given else None))
    assert loaded["tags"][:] == write_tags(SPELLINGS["IOBES"], "{0}-{1}")


@pytest.mark.parametrize("prefix", ["I-", ""], ids=["IO", "flat"])
def test_tags_that_do_not_say_where_a_mention_begins(tmp_path, prefix, caplog):
    path = write(tmp_path, f"a\tO\nb\t{prefix}loc\nc\t{prefix}loc\nd\t{prefix}PER\n")
    assert load_tsv(path, "IOBES")["tags"][0] == ["O", "B-loc", "E-loc", "S-PER"]
    assert caplog.text.count("do not say where a mention begins") == 1


def test_names_that_are_asked_for(tmp_path):
    path = write(tmp_path, "a\tB-protein\nb\tB-PROTEIN\nc\tB-gene\nd\tB-CellLine\n")
    renamed = (("protein", "Protein"), ("CellLine", "cells"))
    for tag_format, tags in (
        (TagFormat(), "B-protein B-PROTEIN B-gene B-CellLine"),
        (TagFormat(renamed=renamed), "B-Protein B-PROTEIN B-gene B-cells"),
        (TagFormat(aliases="biomedical"), "B-GENE B-GENE B-GENE B-CELL_LINE"),
        (TagFormat(aliases="biomedical", renamed=renamed), "B-Protein B-GENE B-GENE B-cells"),
    ):
        assert load_tsv(path, "IOB2", tag_format=tag_format)["tags"][0] == tags.split()


def test_tags_without_a_type(tmp_path):
    path = write(tmp_path, "a\tO\nb\tB\nc\tI\n")
    assert load_tsv(path, "IOBES", tag_format=TagFormat(entity_type="GENE"))["tags"][0] == ["O", "B-GENE", "E-GENE"]
    assert refusal_of(load_tsv, path, "IOBES").startswith(f"{path}:2: the tag 'B' names no entity type")


def test_a_changed_file_is_read_again(tmp_path):
    path = write(tmp_path, "p53\tS-GENE\n")
    stamp = os.stat(path)
    assert load_tsv(path, "IOBES")["tokens"][:] == [["p53"]]
    # Of the same size and age.
    write(tmp_path, "p63\tS-GENE\n")
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert load_tsv(path, "IOBES")["tokens"][:] == [["p63"]]
    write(tmp_path, "p63\tE-GENE\n")
    assert refusal_of(load_tsv, path, "IOBES").startswith(f"{path}:1: ")
    assert load_unlabeled([write(tmp_path, "old\n", "text.txt")])["tokens"][:] == [["old"]]
    assert load_unlabeled([write(tmp_path, "new\n", "text.txt")])["tokens"][:] == [["new"]]


def test_lines_that_belong_to_no_sentence(tmp_path, caplog):
    before = "-DOCSTART-\tO\n\n# id = 1\n# text = a\tb\tc\n"
    path = write(tmp_path, before + IOBES + "\n#\tO\n\n-DOCSTART- -X- -X- O\n\n#2\n#2\tO\n")
    loaded = load_tsv(path, "IOBES")
    assert loaded["tokens"][:] == [*TOKENS, ["#"], ["#2"]], "a token may be a number sign"
    assert f"{path}: not taken as it stands: -DOCSTART-: 2, comments: 3." in caplog.text
    inside = write(tmp_path, "p53\tO\n# not here\n")
    assert refusal_of(load_tsv, inside, "IOBES").startswith(f"{inside}:2: expected 2 columns, a token and its tag")
    nothing = write(tmp_path, "# only\n\n-DOCSTART-\tO\n")
    assert refusal_of(load_tsv, nothing, "IOBES").startswith(f"{nothing}:1: the file has no sentence")


def test_tags_that_are_numbers(tmp_path):
    names = TagFormat(names=("O", "B-GENE", "I-GENE"))
    path = write(tmp_path, "BRCA1\t1\nbinds\t0\np53\t1\nkinase\t2\n\nNothing\t0\n")
    assert load_tsv(path, "IOBES", tag_format=names).to_dict() == {"tokens": TOKENS, "tags": IOBES_TAGS}
    message = refusal_of(load_tsv, path, "IOBES")
    assert message == f"{path}:1: the tag '1' is a number: say what each stands for, --tag_names O B-GENE ..."
    message = refusal_of(load_tsv, path, "IOBES", None, TagFormat(names=("O", "B-GENE")))
    assert message == f"{path}:4: the tag '2' has no name: --tag_names has 0 to 1."
    data = rows(TOKENS, [[1, 0, 1, 2], [0]])
    splits, _ = load_hub_splits(write_splits(tmp_path, train=data), None, "tokens", "ner_tags", "IOBES", names)
    assert splits["train"].to_dict() == {"tokens": TOKENS, "tags": IOBES_TAGS}


@pytest.mark.parametrize("name", ["validation", "dev", "devel", "val"])
def test_the_development_split_of_a_dataset_has_many_names(tmp_path, name):
    data = {split: rows(TOKENS, IOB2_TAGS) for split in ("train", name)}
    for split, dataset in data.items():
        dataset.to_parquet(tmp_path / f"{split}.parquet")
    files = "\n".join(f"  - split: {split}\n    path: {split}.parquet" for split in data)
    (tmp_path / "README.md").write_text(f"---\nconfigs:\n- config_name: default\n  data_files:\n{files}\n---\n")
    assert list(load_hub_splits(str(tmp_path), None, "tokens", "ner_tags", "IOBES")[0]) == ["train", "validation"]


RAW = "Loss of p53, (MDM2).\nIL-2 binds.\n"
SPLIT = [["Loss", "of", "p53", ",", "(", "MDM2", ")", "."], ["IL", "-", "2", "binds", "."]]


def test_running_text_is_split_like_the_training_data(tmp_path, caplog):
    raw = write(tmp_path, RAW, "raw.txt")
    tokenised = write(tmp_path, "".join(" ".join(words) + "\n" for words in SPLIT), "tokenised.txt")
    assert load_unlabeled([raw, tokenised], "apart")["tokens"][:] == SPLIT * 2
    assert (
        f"{raw}: in a sample, 33.3% of what" in caplog.text and "running text, split by the rule apart." in caplog.text
    )
    assert f"{tokenised}: in a sample, 100.0% of" in caplog.text and "training data: taken as it is." in caplog.text
    assert load_unlabeled([raw], "within")["tokens"][1] == ["IL-2", "binds", "."]
    assert load_unlabeled([raw])["tokens"][:] == [["Loss", "of", "p53,", "(MDM2)."], ["IL-2", "binds."]]
    # Of the training data, too, the rule finds only some words, so that these are as they should be.
    odd = write(tmp_path, "(MDM2) binds to IL-2 .\n", "odd.txt")
    assert load_unlabeled([odd], "apart", rule_finds=0.6)["tokens"][0] == ["(MDM2)", "binds", "to", "IL-2", "."]


def test_json_lines_and_parquet(tmp_path):
    lines = [{"text": "Loss of p53, (MDM2)."}, {"text": "IL-2 binds."}]
    jsonl = write(tmp_path, "\n\n".join(map(json.dumps, lines)), "a.jsonl")
    tokens = write(tmp_path, gzip.compress(b'{"tokens": ["(MDM2)", "is"], "id": 1}\n', mtime=0), "b.jsonl.gz")
    Dataset.from_list(lines).to_parquet(tmp_path / "c.parquet")
    Dataset.from_dict({"abstract": ["IL-2 binds."]}).to_parquet(tmp_path / "d.parquet")
    loaded = load_unlabeled([jsonl, tokens, str(tmp_path / "c.parquet")], "apart")
    assert loaded["tokens"][:] == [*SPLIT, ["(MDM2)", "is"], *SPLIT]
    other = str(tmp_path / "d.parquet")
    assert load_unlabeled([other], "apart", column="abstract")["tokens"][:] == SPLIT[1:]
    assert refusal_of(load_unlabeled, [other]) == (
        f"{other}:1: has no column 'text', only abstract. Set it with --unlabeled_column."
    )


def test_unlabelled_text_of_a_dataset(tmp_path):
    Dataset.from_list([{"text": line} for line in RAW.splitlines() * 3]).to_parquet(tmp_path / "train.parquet")
    assert load_unlabeled_dataset(str(tmp_path), None, None, 0, "apart", 1.0)["tokens"][:] == SPLIT * 3
    assert load_unlabeled_dataset(str(tmp_path), None, "text", 3, "apart", 1.0)["tokens"][:] == [*SPLIT, SPLIT[0]]
    message = refusal_of(load_unlabeled_dataset, str(tmp_path), None, "words", 0, "apart", 1.0)
    assert message.startswith(f"{tmp_path}/train:1: has no column 'words', only text.")
    message = refusal_of(load_unlabeled_dataset, str(tmp_path / "none"), None, None, 0, "apart", 1.0)
    assert message.startswith(f"{tmp_path / 'none'}: the dataset cannot be loaded: ")


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.txt", '{"text": "p53"}\n{"text": "IL-2"}\n', "1: expected text, found JSON"),
        ("a.txt", 'id,text\n1,"Loss of p53, it says"\n2,"IL-2"\n', "1: expected text, found CSV: 'id,text'"),
        ("a.txt", "text,label\nLoss of p53 is,1\nIL-2 binds,0\n", "1: expected text, found CSV"),
        ("a.txt", "p53\tB-GENE\nbinds\tO\n\n", "1: expected text, found words with their tags"),
        ("a.txt", "p53 NN B_GENE\nbinds VB O\n", "1: expected text, found words with their tags"),
        ("a.txt", '[\n{\n"text": "p53",\n"id": 3\n}\n]\n', "1: expected text, found JSON"),
        ("a.jsonl", '{"text": "p\\ud800"}\n', "1: the text contains half a character"),
        ("a.parquet.gz", "p53", ": Parquet is compressed in itself"),
        ("a.jsonl", '{"text": "p53"}\n{"text": 3}\n', "2: 'text' holds neither text nor a list of words: 3"),
        ("a.jsonl", '{"tokens": ["p53", ""]}\n', "1: a word that is empty, or has a tab or line end: ''"),
        ("a.jsonl", '{"text": "p53"}\np53\n', "2: not valid JSON"),
        ("a.jsonl", "3\n", "1: expected an object with `text` or `tokens`"),
        ("a.jsonl", '{"text": "p\\u0000"}\n', "1: the text contains a NUL"),
        ("a.parquet", "p53", ": not a whole Parquet file"),
    ],
)
def test_what_is_no_text_is_refused(tmp_path, name, content, says):
    path = write(tmp_path, content, name)
    assert refusal_of(load_unlabeled, [path], "apart").startswith(f"{path}:{says.removeprefix(':')}")


def test_a_damaged_page_of_parquet_is_refused(tmp_path):
    path = tmp_path / "a.parquet"
    Dataset.from_dict({"text": ["p53 binds"] * 100}).to_parquet(path)
    content = path.read_bytes()
    path.write_bytes(content[:4] + bytes(20) + content[24:])
    assert refusal_of(load_unlabeled, [str(path)], "apart").startswith(f"{path}: not a whole Parquet file: ")


def test_lines_that_look_a_little_like_something_else_are_text(tmp_path):
    lines = [
        "1,000 people died.",
        "However,the cat sat.",
        "王明,在上海",
        '"p53," he said, "binds."',
        "[1]",
        "Vitamin O",
    ]
    lines += ["1,2-Dichloroethane", "Hepatitis B-virus", "a\rb", "word " * 40_000]
    for count in range(1, len(lines) + 1):
        assert len(load_unlabeled([write(tmp_path, "\n".join(lines[:count]), "a.txt")], "apart")) == count


def test_unlabeled_text(tmp_path):
    first = write(tmp_path, "\ufeffp53 binds\t BRCA1 .\r\n\r\n  \na\u00a0b c\u2028d e\u0085f\n", "first.txt")
    second = write(tmp_path, gzip.compress(b"  last line"), "second.txt.gz")
    loaded = load_unlabeled([first, second])
    assert loaded.features == SENTENCES
    # A no-break space is no blank, and U+2028 and U+0085 end no line.
    expected = [["p53", "binds", "BRCA1", "."], ["a\u00a0b", "c\u2028d", "e\u0085f"], ["last", "line"]]
    assert loaded["tokens"][:] == expected
    assert loaded["tags"][:] == [None, None, None]
    assert describe("unlabeled", loaded) == "unlabeled: 3 sentences, 9 words"


@pytest.mark.parametrize(
    ("content", "line", "says"),
    [
        (b"fine\nna\0ught\n", 2, "NUL"),
        (b"fine\n\ncaf\xe9\n", 3, "not UTF-8"),
        (b"", 1, "no sentence"),
        (b" \n\r\n", 1, "no sentence"),
    ],
)
def test_faulty_text_is_refused_with_its_line(tmp_path, content, line, says):
    fine, path = write(tmp_path, "fine\n", "fine.txt"), write(tmp_path, content, "faulty.txt")
    message = refusal_of(load_unlabeled, [fine, path])
    assert message.startswith(f"{path}:{line}: ")
    assert says in message


def test_hub_dataset_with_tags_as_text(tmp_path):
    data = rows(TOKENS, IOB2_TAGS)
    splits, _ = load_hub_splits(
        write_splits(tmp_path, train=data, validation=data.select([0])), None, "tokens", "ner_tags", "IOBES"
    )
    assert {name: split.to_dict() for name, split in splits.items()} == {
        "train": {"tokens": TOKENS, "tags": IOBES_TAGS},
        "validation": {"tokens": TOKENS[:1], "tags": IOBES_TAGS[:1]},
    }


def test_hub_dataset_as_json_lines_with_other_columns(tmp_path):
    data = Dataset.from_dict({"id": ["0", "1"], "words": TOKENS, "labels": IOBES_TAGS})
    for split in ("train", "validation", "test"):
        data.to_json(tmp_path / f"{split}.jsonl")
    splits, _ = load_hub_splits(str(tmp_path), None, "words", "labels", "IOB2")
    assert list(splits) == ["train", "validation", "test"]
    assert all(split.to_dict() == {"tokens": TOKENS, "tags": IOB2_TAGS} for split in splits.values())


def test_hub_dataset_with_class_labels(tmp_path):
    """More names are declared than the rows use, as in datasets that were converted."""
    names = ["B-protein", "I-protein", "O", "E-protein", "S-protein"]
    features = Features({"tokens": List(Value("string")), "ner_tags": List(ClassLabel(names=names))})
    data = rows(TOKENS, [[0, 2, 0, 1], [2]], features=features)
    folder = write_splits(tmp_path, train=data, validation=data)
    genes = TagFormat(renamed=(("protein", "GENE"),))
    splits, _ = load_hub_splits(folder, None, "tokens", "ner_tags", "IOBES", genes)
    assert all(split.to_dict() == {"tokens": TOKENS, "tags": IOBES_TAGS} for split in splits.values())


def test_hub_dataset_of_several_types(tmp_path):
    data = rows([["a", "b"], ["c"]], [["B-GENE", "B-CHEMICAL"], ["O"]])
    splits, _ = load_hub_splits(write_splits(tmp_path, train=data, validation=data), None, "tokens", "ner_tags", "IOB2")
    assert splits["validation"].to_dict() == {"tokens": [["a", "b"], ["c"]], "tags": [["B-GENE", "B-CHEMICAL"], ["O"]]}


def test_hidden_class_labels_are_refused(tmp_path):
    """-1 stands for a label that is kept secret; it is not the last name."""
    features = Features(
        {"tokens": List(Value("string")), "ner_tags": List(ClassLabel(names=["B-GENE", "I-GENE", "O"]))}
    )
    data = rows([["a", "b"]], [[0, 1]], features=features)
    hidden = rows([["a", "b"]], [[-1, -1]], features=features)
    folder = write_splits(tmp_path, train=data, validation=data, test=hidden)
    message = refusal_of(load_hub_splits, folder, None, "tokens", "ner_tags", "IOB2")
    assert message.startswith(f"{folder}/test:1: ")


@pytest.mark.parametrize(
    ("tokens", "tags", "row", "says"),
    [
        ([["a"], ["b"]], [["B-GENE"], ["I-GENE"]], 2, "b\tI-GENE"),
        ([["a"], ["b"]], [["O"], ["B-CHEMICAL"]], 2, "'B-CHEMICAL' does not occur in the training data"),
        ([["a", "b"]], [["O"]], 1, "2 tokens but 1 tags"),
        ([["a", ""]], [["O", "O"]], 1, "a token that is empty, or has a tab"),
        ([["a", "b\tc"]], [["O", "O"]], 1, "'b\\tc'"),
        ([["a", "\n"]], [["O", "O"]], 1, "'\\n'"),
        ([["a"], ["b"]], [["B-GENE"], ["GENE"]], 2, "unknown tag 'GENE'"),
        ([["a", "b"]], [["B-GENE", ""]], 1, "the token 'b' has no tag"),
        ([["a"], []], [["O"], []], 2, "no token"),
    ],
)
def test_faulty_rows_of_a_hub_dataset(tmp_path, tokens, tags, row, says):
    folder = write_splits(tmp_path, train=rows(TOKENS, IOB2_TAGS), validation=rows(tokens, tags))
    message = refusal_of(load_hub_splits, folder, None, "tokens", "ner_tags", "IOBES")
    assert message.startswith(f"{folder}/validation:{row}: ")
    assert says in message


def test_missing_split_and_column_of_a_hub_dataset(tmp_path):
    folder = write_splits(tmp_path, test=rows(TOKENS, IOB2_TAGS))
    assert refusal_of(load_hub_splits, folder, None, "tokens", "ner_tags", "IOBES") == (
        f"{folder}: has no split 'train', only test."
    )
    folder = write_splits(tmp_path, train=rows(TOKENS, IOB2_TAGS))
    message = refusal_of(load_hub_splits, folder, None, "words", "ner_tags", "IOBES")
    assert message.startswith(f"{folder}/train: has no column 'words', only tokens, ner_tags.")
