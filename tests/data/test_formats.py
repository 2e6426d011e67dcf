"""Corpora in the formats of annotation tools: what is read, refused, converted, and written for them."""

import gzip
import json
from collections import Counter
from pathlib import Path

import pytest
from datasets import Dataset, DatasetDict

from hf_distill.arguments import ConvertArguments, DataArguments, FormatArguments
from hf_distill.cli import main
from hf_distill.data.corpora import load_corpora
from hf_distill.data.formats.convert import convert
from hf_distill.data.formats.documents import Alignment, Document, Span, choose_word_rule
from hf_distill.data.formats.json_lines import parse_item
from hf_distill.data.formats.source import Source
from hf_distill.data.formats.writing import write_annotations
from hf_distill.runtime.tags import UserError

TEXT = "Loss of p53 raised MDM2 levels."
SPANS = [("GENE", 8, 11), ("GENE", 19, 23)]
NCBI = Path(__file__).parents[3] / "shared" / "data" / "formats" / "ncbi_disease"

# One text in what tools write; by name: the file's ending, and its content.
EXAMPLES = {
    "hf_distill": (
        ".jsonl",
        {"text": TEXT, "mentions": [{"entity_group": "GENE", "start": s, "end": e, "score": 0.5} for _, s, e in SPANS]},
    ),
    "prodigy": (
        ".jsonl",
        {
            "text": TEXT,
            "tokens": [{"text": "Loss", "start": 0, "end": 4, "id": 0}],
            "spans": [{"start": s, "end": e, "label": t, "token_start": 2, "token_end": 2} for t, s, e in SPANS],
            "answer": "accept",
        },
    ),
    "doccano": (".jsonl", {"id": 7, "text": TEXT, "label": [[s, e, t] for t, s, e in SPANS]}),
    "doccano, newer": (
        ".jsonl",
        {
            "text": TEXT,
            "entities": [{"id": 1, "label": t, "start_offset": s, "end_offset": e} for t, s, e in SPANS],
            "relations": [],
        },
    ),
    "spacy 2": (".json", [[TEXT, {"entities": [[s, e, t] for t, s, e in SPANS]}]]),
    "spacy": (
        ".jsonl",
        {"text": TEXT, "ents": [{"start": s, "end": e, "label": t} for t, s, e in SPANS], "tokens": []},
    ),
    "label studio": (
        ".json",
        [
            {
                "id": 1,
                "data": {"text": TEXT},
                "annotations": [
                    {"was_cancelled": True, "result": []},
                    {
                        "was_cancelled": False,
                        "result": [
                            {"type": "labels", "value": {"start": s, "end": e, "text": TEXT[s:e], "labels": [t]}}
                            for t, s, e in SPANS
                        ],
                    },
                ],
                "predictions": [{"result": []}],
            }
        ],
    ),
    "label studio, minimal": (
        ".json",
        [{"text": TEXT, "label": [{"start": s, "end": e, "text": TEXT[s:e], "labels": [t]} for t, s, e in SPANS]}],
    ),
    "pubtator": (
        ".pubtator",
        "7|t|Loss of p53\n7|a|raised MDM2 levels.\n7\t8\t11\tp53\tGENE\t1\n7\t19\t23\tMDM2\tGENE\n7\tCID\tD1\tD2\n\n",
    ),
}


def write(path, content):
    if not isinstance(content, str):
        content = json.dumps(content)
    with (gzip.open if str(path).endswith(".gz") else open)(path, "wt", encoding="utf-8", newline="") as file:
        file.write(content)
    return str(path)


def read(path, **options):
    return list(Source.find(str(path), FormatArguments(**options)).documents())


def spans_of(document):
    return [(span.entity, span.start, span.end) for span in document.spans]


@pytest.mark.parametrize("name", EXAMPLES)
def test_texts_with_spans_as_tools_write_them(tmp_path, name):
    ending, content = EXAMPLES[name]
    for compressed in ("", ".gz"):
        [document] = read(write(tmp_path / f"corpus{ending}{compressed}", content))
        assert document.text == TEXT and spans_of(document) == SPANS
    [document] = read(write(tmp_path / "corpus.data", content)) if ending != ".json" else [document]
    assert spans_of(document) == SPANS, "by its content"


@pytest.mark.parametrize(
    "content",
    [
        {"tokens": ["p53", "binds", "MDM2"], "ner_tags": ["S-GENE", "O", "S-GENE"]},
        {"tokens": ["p53", "binds", "MDM2"], "tags": ["B-GENE", "O", "B-GENE"], "ner_tags": []},
        {"words": ["p53", "binds", "MDM2"], "labels": ["B-GENE", "O", "B-GENE"], "id": 3},
        {"tokenized_text": ["p53", "binds", "MDM2"], "ner": [[0, 0, "GENE"], [2, 2, "GENE"]]},
        {"tokens": ["p53", "binds", "MDM2"], "mentions": [{"start": 0, "end": 3, "entity_group": "GENE"}] * 0
         + [{"start": s, "end": e, "entity_group": "GENE"} for s, e in ((0, 3), (10, 14))]},
    ],
)  # fmt: skip
def test_words_with_tags_in_json(tmp_path, content):
    path = write(tmp_path / "train.jsonl", content)
    corpora = load_corpora(DataArguments(path_to_train=path, path_to_val=path), 0)
    assert corpora.train[0] == {"tokens": ["p53", "binds", "MDM2"], "tags": ["S-GENE", "O", "S-GENE"]}


def test_columns_by_number(tmp_path):
    content = "-DOCSTART- -X- -X- O\n\n# text\np53 NN B-NP B-GENE\nbinds VB B-VP O\n\nMDM2 NN B-NP B-GENE\n"
    path = write(tmp_path / "train.conll", content)
    for columns, tags in (({}, ["S-GENE", "O"]), ({"tag_column": "3"}, ["S-NP", "S-VP"])):
        args = DataArguments(path_to_train=path, path_to_val=path, **columns)
        assert load_corpora(args, 0).train[0] == {"tokens": ["p53", "binds"], "tags": tags}
    for column, message in (
        ("5", "there is no column 5, only 4"),
        ("0", "numbered from 1"),
        ("word", "numbered from 1"),
    ):
        with pytest.raises(UserError, match=message):
            load_corpora(DataArguments(path_to_train=path, path_to_val=path, token_column=column), 0)
    write(tmp_path / "joined.conll", "in\u00a0vitro  O\n10\u2009000 O \n\u3000x  O\u00a0\n")
    [joined] = Source(str(tmp_path / "joined.conll"), "conll").sentences()
    assert joined.words == ["in\u00a0vitro", "10\u2009000", "\u3000x"], "only blanks separate columns"
    write(tmp_path / "ragged.conll", "p53 NN O\nbinds O\n")
    with pytest.raises(UserError, match=r"ragged.conll:2: expected 3 columns.*line 1, found 2"):
        list(Source(str(tmp_path / "ragged.conll"), "conll").sentences())


def make_brat(folder, text, annotation):
    folder.mkdir()
    write(folder / "a.txt", text)
    write(folder / "a.ann", annotation)
    return str(folder)


def test_brat(tmp_path):
    text = "Loss of p53\nraised MDM2\r\nlevels. Colon and skin cancer"
    annotation = (
        "T1\tGENE 8 11\tp53\nT2\tGENE 19 23;25 31\tMDM2 levels\nN1\tReference T1 X:1\n#1\tAnnotatorNotes T1\tnote\n"
        "T3\tDISEASE 33 38;48 54\tColon cancer\nT4\tDISEASE 43 54\tskin cancer\nR1\trel Arg1:T1 Arg2:T2\n"
    )
    [document] = read(make_brat(tmp_path / "brat", text, annotation))
    assert spans_of(document) == [("GENE", 8, 11), ("GENE", 19, 31), ("DISEASE", 43, 54)]
    assert document.text == text and document.name == "a"
    others = Counter()
    list(Source(str(tmp_path / "brat"), "brat").documents(others))
    assert others == {"discontinuous mentions": 1, "relations, events and attributes": 2, "notes": 1}
    [document] = read(make_brat(tmp_path / "parts", "p53\nMDM2", "T1\tGENE 4 8;0 3\tp53 MDM2\n"))
    assert spans_of(document) == [("GENE", 0, 8)]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", '{"text": "p53"}', r"a.jsonl:1: the text has no mentions"),
        ("a.jsonl", '{"text": "p53", "spans": [[0, 3, "A"]], "label": [[0, 3, "B"]]}', "both `spans` and `label`"),
        ("a.jsonl", '{"text": "p53", "spans": [[0, 4, "A"]]}', r"a.jsonl:1: the mention from 0 to 4 is not within"),
        ("a.jsonl", '{"text": "p53", "spans": [[0, true, "A"]]}', "no mention with start, end and label"),
        ("a.jsonl", '{"text": "a b", "spans": [[1, 2, "A"]]}', "nothing but blanks"),
        ("a.jsonl", '{"text": "p53", "mentions": [{"start": 0, "end": 3, "label": "A", "score": NaN}]}', "score"),
        ("a.jsonl", '{"text": "p53", "ents": [], "sents": [{"start": 0}]}', "no sentence with start and end"),
        ("a.jsonl", '{"text": "p53", "ents": [], "sents": 5}', "no sentence with start and end"),
        ("a.jsonl", '{"text": "p53", "ents": [], "sents": [{"start": 0, "end": 9}]}', "not within its text"),
        ("a.json", '[{"data": {"text": "p53"}, "annotations": [5]}]', "expected a list of objects"),
        ("a.json", '[{"data": {"text": "p53"}, "predictions": {"a": 1}}]', "expected a list of objects"),
        ("a.json", '[{"data": {"text": "p53"}, "annotations": [{"result": 5}]}]', "expected a list of objects"),
        ("a.jsonl", '{"text": "p53", "spans": [[2, 2, "A"]]}', "or empty"),
        ("a.jsonl", '{"text": "p53", "spans": [[-1, 2, "A"]]}', "not within its text"),
        ("a.jsonl", '{"text": "p53", "spans": [[true, 2, "A"]]}', "no mention with start, end and label"),
        ("a.jsonl", '{"text": "p53", "spans": [{"start": 0, "end": 3}]}', "no mention with start, end and label"),
        ("a.jsonl", '{"text": "p53", "spans": [[0, 3, ""]]}', "'' is no name of an entity type"),
        ("a.jsonl", '{"text": "p53", "label": "GENE"}', "has no mentions"),
        ("a.jsonl", '{"text": "p53", "label": ["GENE"]}', "no mention with start, end and label"),
        ("a.jsonl", '{"tokens": ["p53"]}', "without tags"),
        ("a.jsonl", '{"tokens": ["p53"], "tags": ["O"], "entities": [[0, 3, "A"]]}', "both `tags` and `entities`"),
        ("a.jsonl", '{"tokens": ["p53"], "tags": ["O"], "ner": [[0, 0, "A"]]}', "both `tags` and `ner`"),
        ("a.jsonl", '{"tokens": ["p53"], "tags": ["O", "O"]}', "1 words but 2 tags"),
        ("a.jsonl", '{"tokens": ["p53", 3], "tags": ["O", "O"]}', "a word that is no text"),
        ("a.jsonl", '{"tokenized_text": ["p53"], "ner": [[0, 1, "A"]]}', "not within its 1 words"),
        ("a.jsonl", '{"tokens": ["p53", "x"], "mentions": [[0, 2, "A"]]}', "not within its 2 words, or cuts one"),
        ("a.jsonl", "\n[1]\n", "a.jsonl:2: expected an object"),
        ("a.jsonl", '{"text": "p53", "spans": []}\n{"tokens": ["a"], "tags": ["O"]}', "a.jsonl:2: words with tags"),
        ("a.jsonl", '{"text": "p53", "answer": "reject"}\n', "there is no annotated text"),
        ("a.json", '{"text": 1', "a.json:1: not valid JSON: .*in each line"),
        ("a.json", '[{"data": {"x": 1}}]', "a.json, item 1: `data` has no `text`"),
        (
            "a.json",
            '[{"data": {"text": "p53"}, "annotations": [{"result": [{"type": "labels", "value": '
            '{"start": 0, "end": 2, "text": "p53", "labels": ["G"]}}]}]}]',
            "the mention is 'p53', but 0 to 2",
        ),
        ("a.pubtator", "1|t|p53\n1\t0\t2\tp53\tGENE\n", r"a.pubtator:2: the mention is 'p53', but 0 to 2"),
        ("a.pubtator", "1|t|p53\n2\t0\t3\tp53\tGENE\n", r"a.pubtator:2: belongs to no document"),
        ("a.pubtator", "1|t|p53\n1\t0\tp53\n", "a.pubtator:2: expected ID, start, end"),
        ("a.pubtator", "1|t|p53\n2|t|MDM2\n", "a.pubtator:2: a new document begins"),
        ("a.pubtator", "1|a|p53\n", "has no title"),
        ("a.pubtator", "\n  \n", "has no document"),
    ],
)
def test_what_is_refused(tmp_path, name, content, message):
    path = write(tmp_path / name, content)
    with pytest.raises(UserError, match=message):
        source = Source.find(path, FormatArguments())
        list(source.documents() if source.has_documents() else source.sentences())


@pytest.mark.parametrize(
    ("text", "annotation", "message"),
    [
        ("p53", "T1\tGENE 0 2\tp53\n", r"a.ann:1: the mention is 'p53', but 0 to 2"),
        ("p53", "T1 GENE 0 3 p53\n", r"a.ann:1: expected an id"),
        ("p53", "T1\tGENE 0 9\tp53\n", "the mention is 'p53'|not within"),
    ],
)
def test_faults_of_brat(tmp_path, text, annotation, message):
    with pytest.raises(UserError, match=message):
        read(make_brat(tmp_path / "brat", text, annotation))
    (tmp_path / "brat" / "a.ann").unlink()
    with pytest.raises(UserError, match=r"there is no a.ann beside it"):
        read(tmp_path / "brat")


def aligned(text, spans, **options):
    """The words and tags of a text, and the alignment."""
    alignment = Alignment("apart", **options)
    document = Document(text, [Span(*span, "a:1") for span in spans], "a:1")
    return [(words, tags) for words, tags, *_ in alignment.sentences([document])], alignment


def test_a_mention_that_cuts_words():
    text, spans = "the anti-p53kinase binds", [("GENE", 9, 12)]
    _, alignment = aligned(text, spans)
    with pytest.raises(
        UserError, match=r"1 mention\(s\) begin or end inside a word \(words: apart\):\n  a:1: GENE 'p53'"
    ):
        alignment.check([])
    for way, expected in {
        "split": (["the", "anti", "-", "p53", "kinase", "binds"], ["O", "O", "O", "S-GENE", "O", "O"]),
        "widen": (["the", "anti", "-", "p53kinase", "binds"], ["O", "O", "O", "S-GENE", "O"]),
        "drop": (["the", "anti", "-", "p53kinase", "binds"], ["O"] * 5),
    }.items():
        [found], alignment = aligned(text, spans, misaligned=way)
        assert found == expected and len(alignment.cut) == 1
        alignment.check([])
    # Blanks at the ends of a mention cut nothing.
    [found], alignment = aligned("a p53 b", [("GENE", 1, 6)])
    assert found == (["a", "p53", "b"], ["O", "S-GENE", "O"]) and not alignment.cut


def test_mentions_that_overlap():
    text, spans = "colon cancer cell line", [("CELL", 0, 22), ("DISEASE", 0, 12), ("DISEASE", 6, 12), ("CELL", 0, 22)]
    _, alignment = aligned(text, spans)
    with pytest.raises(
        UserError, match=r"2 mention\(s\) overlap another one:(.|\n)*--nested longest keeps the longest"
    ):
        alignment.check([])
    [(_, tags)], _ = aligned(text, spans, nested="longest")
    assert tags == ["B-CELL", "I-CELL", "I-CELL", "E-CELL"]
    [(_, tags)], _ = aligned(text, [("DISEASE", 0, 12), ("CELL", 6, 22)], nested="first")
    assert tags == ["B-DISEASE", "E-DISEASE", "O", "O"]


def test_the_first_ten_faults_are_listed(tmp_path):
    lines = [json.dumps({"text": "xp53", "spans": [[1, 4, "GENE"]]})] * 12
    path = write(tmp_path / "train.jsonl", "\n".join(lines))
    with pytest.raises(UserError) as caught:
        load_corpora(DataArguments(path_to_train=path, path_to_val=path), 0)
    message = str(caught.value)
    assert message.startswith("12 mention(s)") and message.count(": GENE 'p53'") == 10 and "and 2 more" in message
    assert f"{path}:10: GENE" in message and f"{path}:11" not in message and "--misaligned widen" in message


def test_the_rule_that_cuts_the_fewest_mentions_is_chosen():
    def document(text, *spans):
        return Document(text, [Span("A", *span, "") for span in spans], "")

    assert choose_word_rule([document("anti-p53 well-known", (5, 8))]) == "apart"
    assert choose_word_rule([document("p53は癌", (4, 5)), document("x")]) == "characters"
    assert choose_word_rule([document("癌受容体", (0, 4)), document("x")]) == "characters"


def test_sentences_of_a_format_are_kept():
    text = "p53 binds. MDM2 too. IL-2"
    document = Document(
        text, [Span("GENE", 0, 3, ""), Span("GENE", 16, 25, "")], "a:1", sentences=[(0, 10), (11, 20), (21, 25)]
    )
    found = [words for words, *_ in Alignment("apart").sentences([document])]
    assert found == [["p53", "binds", "."], ["MDM2", "too", ".", "IL", "-", "2"]], "none ends in a mention"


def test_a_corpus_of_texts(tmp_path, caplog):
    """Splitting as the training texts need it; development data in another format; names of types."""
    texts = [{"text": "p53は癌に結合する", "mentions": [[0, 3, "GENE"], [4, 5, "癌"]]}] * 4
    train = write(tmp_path / "train.jsonl", "\n".join(map(json.dumps, texts)))
    devel = make_brat(tmp_path / "devel", "MDM2は癌\nxp53", "T1\tGENE 0 4\tMDM2\nT2\tGENE 8 11\tp53\n")
    args = DataArguments(path_to_train=train, path_to_val=devel, misaligned="widen", rename_types=["癌=DISEASE"])
    corpora = load_corpora(args, 0)
    assert corpora.word_rule == "characters" and corpora.word_rule_finds == 1.0
    assert corpora.train["tokens"][0][:3] == ["p53", "は", "癌"]
    assert corpora.train["tags"][0][:3] == ["S-GENE", "O", "S-DISEASE"]
    assert corpora.eval[0] == {"tokens": ["MDM2", "は", "癌", "xp53"], "tags": ["S-GENE", "O", "O", "S-GENE"]}
    assert f"{devel}: not taken as it stands: mentions inside a word (widen): 1" in caplog.text
    with pytest.raises(UserError, match="the label 'S-OTHER' does not occur in the training data"):
        other = make_brat(tmp_path / "other", "MDM2", "T1\tOTHER 0 4\tMDM2\n")
        load_corpora(DataArguments(path_to_train=train, path_to_val=other), 0)


def test_a_dataset_of_texts(tmp_path):
    rows = Dataset.from_list(
        [{"text": TEXT, "entities": [{"start": s, "end": e, "label": t} for t, s, e in SPANS]}] * 3
    )
    DatasetDict({"train": rows, "validation": rows}).save_to_disk(tmp_path / "saved")
    for split in ("train", "validation"):
        rows.to_parquet(tmp_path / "data" / f"{split}.parquet")
    corpora = load_corpora(DataArguments(dataset_name=str(tmp_path / "data")), 0)
    assert corpora.train[0]["tokens"] == ["Loss", "of", "p53", "raised", "MDM2", "levels", "."]
    assert [tag for tag in corpora.eval[0]["tags"] if tag != "O"] == ["S-GENE", "S-GENE"]


def test_predictions_count_whatever_stands_beside_them():
    """`predict` adds `mentions` to what it reads."""
    mentions = [{"entity_group": "GENE", "start": 8, "end": 11, "word": "p53"}]
    for beside in ({"label": [[0, 4, "X"]]}, {"spans": [[0, 4, "X"]], "answer": "reject"}, {"data": {"x": 1}}):
        document = parse_item({"text": TEXT, "mentions": mentions} | beside, "here")
        assert spans_of(document) == [("GENE", 8, 11)]
    for tags in (["O", "O", "O"], []):
        words = {"tokens": ["Loss", "of", "p53"], "ner_tags": tags, "mentions": mentions}
        assert parse_item(words, "here")[1] == ["O", "O", "S-GENE"]


def test_formats_are_told_apart(tmp_path):
    for name, content, expected in (
        ("a.conll", "<unk> O\n", "conll"),
        ("a.txt", "<unk>\tO\n", "conll"),
        ("a.txt", "[[ O\n", "conll"),
        ("a.txt", "a|t|b\tO\n", "conll"),
        ("a.txt", "7|t|a title\n", "pubtator"),
        ("a.txt", '[{"text": ""}]', "jsonl"),
        ("a.JSON", "[]", "jsonl"),
        ("a.json", '{"text": "a", "ents": []}\n{"text": "b", "ents": []}', "jsonl"),
        ("a.json", '{"source": "", "documents": []}', "bioc"),
        ("a.json", '{\n "source": ""}', "bioc"),
        ("a.dat", "<?xml version='1.0'?>", "bioc"),
        ("a.tsv.gz", "[\tO\n", "tsv"),
    ):
        assert Source.find(write(tmp_path / name, content), FormatArguments()).input_format == expected, content
    with pytest.raises(UserError, match="brat is read from a folder"):
        Source.find(str(tmp_path / "a.txt"), FormatArguments(input_format="brat"))


def test_offsets_of_browsers(tmp_path):
    """Counted in units of UTF-16, where the texts of the mentions say so."""

    def task(*values):
        result = [{"type": "labels", "value": {"start": s, "end": e, "text": t, "labels": ["G"]}} for s, e, t in values]
        return {
            "data": {"text": "🧬 p53 🧬TTT"},
            "annotations": [{"result": [*result, {"type": "choices", "value": {}}]}],
        }

    assert spans_of(parse_item(task((2, 5, "p53"), (7, 9, "TT")), "here")) == [("G", 2, 5), ("G", 7, 9)]
    document = parse_item(task((3, 6, "p53"), (9, 11, "TT")), "here")
    assert spans_of(document) == [("G", 2, 5), ("G", 7, 9)] and document.left_out == {
        "annotations that are no labels": 1
    }
    with pytest.raises(UserError, match="the mention is 'p53', but 9 to 11"):
        parse_item(task((2, 5, "p53"), (9, 11, "p53")), "here")


def test_words_are_cut_for_mentions_that_stay():
    [(words, tags)], _ = aligned("abcdef", [("A", 0, 3), ("B", 0, 6)], misaligned="split", nested="longest")
    assert (words, tags) == (["abcdef"], ["S-B"])


def test_long_documents_take_linear_time():
    """20,000 mentions that cut words, in one text; what is quadratic would take minutes."""
    text = "xp53 binds. " * 20_000
    spans = [Span("GENE", place + 1, place + 4, "a:1") for place in range(0, len(text), 12)]
    sentences = [(place, place + 11) for place in range(0, len(text), 12)]
    found = list(Alignment("apart", "split").sentences([Document(text, spans, "a:1", sentences=sentences)]))
    assert len(found) == 20_000 and all(words == ["x", "p53", "binds", "."] for words, *_ in found)


def run_convert(source, output, **options):
    return convert(ConvertArguments(input=str(source), output=str(output), **options))


def test_conversion(tmp_path, capsys):
    texts = [
        {"text": "anti-p53kinase", "spans": [[5, 8, "GENE"]]},
        {"text": "colon cancer cell", "spans": [[0, 17, "CELL"], [0, 12, "DISEASE"]]},
    ]
    source = write(tmp_path / "in.jsonl", "\n".join(map(json.dumps, texts)))
    assert main(["convert", source, str(tmp_path / "out.jsonl")]) == 0
    assert "mentions of CELL: 1, mentions of DISEASE: 1, mentions of GENE: 1, texts: 2" in capsys.readouterr().out
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert lines[0] == {
        "text": "anti-p53kinase",
        "mentions": [{"entity_group": "GENE", "start": 5, "end": 8, "word": "p53"}],
    }
    assert [(each["entity_group"], each["word"]) for each in lines[1]["mentions"]] == [
        ("CELL", "colon cancer cell"),
        ("DISEASE", "colon cancer"),
    ], "overlaps are kept"
    with pytest.raises(UserError, match="--misaligned"):
        run_convert(source, tmp_path / "out.tsv")
    said = run_convert(source, tmp_path / "out.tsv", misaligned="split", nested="first", tag_scheme="IOB2")
    assert "mentions inside a word (split): 1, mentions that overlap another one (first): 1" in said
    expected = "anti\tO\n-\tO\np53\tB-GENE\nkinase\tO\n\ncolon\tB-CELL\ncancer\tI-CELL\ncell\tI-CELL\n\n"
    assert (tmp_path / "out.tsv").read_text() == expected
    run_convert(tmp_path / "out.tsv", tmp_path / "again.jsonl")
    assert json.loads((tmp_path / "again.jsonl").read_text().splitlines()[0]) == {
        "text": "anti - p53 kinase",
        "mentions": [{"entity_group": "GENE", "start": 7, "end": 10, "word": "p53"}],
    }
    for arguments in (["convert"], ["convert", source], ["convert", source, "out.csv"], ["convert", source, source]):
        assert main(arguments) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again.jsonl", "in.jsonl", "out.jsonl", "out.tsv"]


@pytest.mark.skipif(not NCBI.exists(), reason="the NCBI disease corpus is not here")
def test_the_same_corpus_as_pubtator_and_as_brat(tmp_path):
    found = []
    for source in (NCBI / "train60.pubtator", NCBI / "brat"):
        assert "texts: 60" in run_convert(source, tmp_path / "out.jsonl")
        lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
        found.append({line["id"]: line["mentions"] for line in lines})
        corpora = load_corpora(DataArguments(path_to_train=str(source), validation_fraction=0.2), 0)
        found.append([corpora.train[:], corpora.eval[:]])
    assert sum(map(len, found[0].values())) == 555
    assert found[0] == found[2] and found[1] == found[3]


TEXTS = [
    {"text": "p53 binds 🧬 MDM2", "id": "x", "mentions": [
        {"entity_group": "GENE", "start": 0, "end": 3, "word": "p53", "score": 0.9},
        {"entity_group": "GENE", "start": 12, "end": 16, "word": "MDM2", "score": 0.25},
    ]},
    {"tokens": ["IL-2", "binds"], "mentions": [
        {"entity_group": "GENE", "start": 0, "end": 4, "word": "IL-2", "score": 1.0}
    ]},
    {"text": "nothing", "mentions": []},
]  # fmt: skip
OUTPUTS = {"labelstudio": "o.json", "doccano": "o.jsonl", "prodigy": "p.jsonl", "pubtator": "o.pubtator", "brat": "o"}


@pytest.mark.parametrize("form", OUTPUTS)
def test_what_is_written_for_a_tool_is_read_back(tmp_path, form):
    path = tmp_path / OUTPUTS[form]
    write_annotations(iter(TEXTS), str(path), form)
    documents = read(path)
    assert [document.text for document in documents] == ["p53 binds 🧬 MDM2", "IL-2 binds", "nothing"]
    expected = [[("GENE", each["start"], each["end"]) for each in text["mentions"]] for text in TEXTS]
    assert [spans_of(document) for document in documents] == expected
    scores = [[span.score for span in document.spans] for document in documents]
    kept = form in ("labelstudio", "prodigy")
    assert scores[0] == ([0.9, 0.25] if kept else [None, None])
    assert [path.name for path in tmp_path.iterdir()] == [OUTPUTS[form]], "nothing half done is left"


def test_what_a_format_cannot_hold(tmp_path):
    text = {
        "text": "p53\nMDM2",
        "mentions": [{"entity_group": "A B", "start": 0, "end": 8, "word": "p53\nMDM2", "score": 1}],
    }
    with pytest.raises(UserError, match="PubTator has no line ends"):
        write_annotations([text], str(tmp_path / "o.pubtator"), "pubtator")
    with pytest.raises(UserError, match="no blanks in the names of entity types"):
        write_annotations([text], str(tmp_path / "o"), "brat")
    assert list(tmp_path.iterdir()) == []
    text["mentions"][0]["entity_group"] = "A"
    write_annotations([text], str(tmp_path / "o"), "brat")
    assert (tmp_path / "o" / "0000001.ann").read_text() == "T1\tA 0 3;4 8\tp53 MDM2\n"
    assert spans_of(read(tmp_path / "o")[0]) == [("A", 0, 8)]


def test_bioc(tmp_path):
    bioc = pytest.importorskip("bioc")
    from bioc import biocjson, biocxml

    collection = bioc.BioCCollection()
    document = bioc.BioCDocument()
    document.id = "7"
    for offset, text in ((0, "Loss of p53"), (12, "raised MDM2 levels.")):
        passage = bioc.BioCPassage()
        passage.offset, passage.text = offset, text
        document.add_passage(passage)
    for number, (entity, start, end) in enumerate(SPANS):
        annotation = bioc.BioCAnnotation()
        annotation.id, annotation.text, annotation.infons["type"] = str(number), TEXT[start:end], entity
        annotation.add_location(bioc.BioCLocation(start, end - start))
        document.passages[number].add_annotation(annotation)
    collection.add_document(document)
    for name, module in (("a.xml", biocxml), ("a.json", biocjson)):
        with open(tmp_path / name, "w") as file:
            module.dump(collection, file)
        first, second = read(tmp_path / name)
        assert (first.text, spans_of(first)) == ("Loss of p53", [("GENE", 8, 11)])
        assert (second.text, spans_of(second)) == ("raised MDM2 levels.", [("GENE", 7, 11)])
        with gzip.open(tmp_path / f"{name}.gz", "wb") as file:
            file.write((tmp_path / name).read_bytes())
        assert [each.text for each in read(tmp_path / f"{name}.gz")] == [first.text, second.text]
    write(tmp_path / "b.xml", "<nothing")
    with pytest.raises(UserError, match="not a BioC collection"):
        read(tmp_path / "b.xml")


def test_what_is_written_is_read_by_bioc(tmp_path):
    pytest.importorskip("bioc")
    from bioc import brat, pubtator

    write_annotations(iter(TEXTS), str(tmp_path / "o.pubtator"), "pubtator")
    with open(tmp_path / "o.pubtator") as file:
        documents = pubtator.load(file)
    found = [[(each.type, each.start, each.end, each.text) for each in document.annotations] for document in documents]
    assert found[0] == [("GENE", 0, 3, "p53"), ("GENE", 12, 16, "MDM2")] and found[2] == []
    write_annotations(iter(TEXTS), str(tmp_path / "o"), "brat")
    document = brat.load((tmp_path / "o" / "0000001.txt").open(), (tmp_path / "o" / "0000001.ann").open())
    assert sorted(each.text for each in document.annotations) == ["MDM2", "p53"]


def test_docbin(tmp_path):
    spacy = pytest.importorskip("spacy")
    from spacy.tokens import DocBin

    nlp = spacy.blank("en")
    document = nlp(TEXT)
    document.ents = [document.char_span(start, end, label=entity) for entity, start, end in SPANS]
    DocBin(docs=[document, nlp("nothing")]).to_disk(tmp_path / "a.spacy")
    first, second = read(tmp_path / "a.spacy")
    assert (first.text, spans_of(first), first.sentences) == (TEXT, SPANS, []) and spans_of(second) == []
    with gzip.open(tmp_path / "a.spacy.gz", "wb") as file:
        file.write((tmp_path / "a.spacy").read_bytes())
    assert len(read(tmp_path / "a.spacy.gz")) == 2
    write(tmp_path / "a.jsonl", document.to_json())
    assert spans_of(read(tmp_path / "a.jsonl")[0]) == SPANS
    write(tmp_path / "b.spacy", "nothing")
    with pytest.raises(UserError, match="not a DocBin"):
        read(tmp_path / "b.spacy")


def test_the_examples_of_the_documentation():
    document = (Path(__file__).parents[2] / "docs" / "formats.md").read_text(encoding="utf-8")
    lines = [line for line in document.splitlines() if line.startswith(("{", "["))]
    assert len(lines) == 13
    for line in lines:
        found = parse_item(json.loads(line), "here")
        if isinstance(found, Document):
            assert [found.text[span.start : span.end] for span in found.spans] == ["p53"], line
        else:
            assert found[0][2] == "p53" and found[1][:2] == ["O", "O"] and found[1][2] in ("B-GENE", "S-GENE"), line
