"""Files of others take no more memory than is known beforehand, and no more of a message than helps to find them."""

import gzip
import json
import os
import re

import pytest
import tiny

from hf_distill import files
from hf_distill.arguments import DataArguments
from hf_distill.data.formats import columns
from hf_distill.data.formats.source import Source
from hf_distill.data.readers.labelled import load_labelled
from hf_distill.data.readers.text import load_unlabeled
from hf_distill.parsing import parse_arguments
from hf_distill.prediction import predict
from hf_distill.runtime.tagger import Tagger
from hf_distill.runtime.tags import UserError

LONG = "a" * 3000


def refusal(function, *args):
    with pytest.raises(UserError) as error:
        function(*args)
    return str(error.value)


def read_texts(path):
    return list(predict.read_texts([path]))


def read_unlabeled(path):
    return load_unlabeled([path])


def read_corpus(path):
    source = Source.find(path, DataArguments(path_to_train=path, path_to_val=path))
    return list(source.documents() if source.has_documents() else source.sentences())


@pytest.mark.parametrize("read", [read_texts, read_unlabeled, read_corpus])
@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz", "a.jsonl", "a.jsonl.gz", "a.tsv", "a.tsv.gz"])
def test_a_line_without_end_is_refused_before_it_is_read(tmp_path, monkeypatch, read, name):
    monkeypatch.setattr(files, "LONGEST_LINE", 1000)
    path = tmp_path / name
    content = b"\0" * 10**6
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    message = refusal(read, str(path))
    assert message.startswith(f"{path}:1: the line is longer than 1,000 bytes: b'\\x00") and len(message) < 500


@pytest.mark.parametrize(("read", "where"), [(read_texts, predict), (read_corpus, columns)])
def test_a_sentence_without_end_is_refused(tmp_path, monkeypatch, read, where):
    monkeypatch.setattr(where, "LONGEST_LINE", 1000)
    path = tmp_path / "a.tsv"
    path.write_text("p53\tO\n\n" + "p53\tO\n" * 300)
    assert "the sentence does not end within 1,000" in refusal(read, str(path))


@pytest.mark.parametrize("name", ["a.json", "a.json.gz", "a.xml", "a.spacy"])
def test_a_file_without_lines_has_a_size(tmp_path, monkeypatch, name):
    monkeypatch.setattr(files, "LARGEST_FILE", 1000)
    monkeypatch.setattr(files, "LONGEST_LINE", 100)
    path = tmp_path / name
    text = json.dumps([{"text": LONG[:500], "spans": []}]).encode()  # a list in one line may be longer than a line
    pack = gzip.compress if name.endswith(".gz") else bytes
    if ".json" in name:
        path.write_bytes(pack(text))
        assert len(read_corpus(str(path))) == 1
    path.write_bytes(pack(text + b" " * 500))
    assert refusal(read_corpus, str(path)).startswith(f"{path}: ")
    assert "larger than 1,000 bytes" in refusal(read_corpus, str(path))


SPAN = {"start": 0, "end": 1, "label": "GENE"}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.tsv", f"{LONG}\n"),
        ("a.tsv", f"p53\tO\n{LONG}\n"),
        ("a.tsv", f"{LONG}\t\n"),
        ("a.tsv", f"p53\tb-{LONG}\nx\tO\n"),
        ("a.tsv", f"p53\tI-{LONG}\nx\tB-GENE\n"),
        ("a.tsv", f"p53\tE-{LONG}\n"),
        ("a.tsv", f"{LONG}\tE-GENE\n"),
        ("a.jsonl", f'{{"{LONG}": 1}}'),
        ("a.jsonl", f'{{"{LONG}"'),
        ("a.jsonl", json.dumps({"text": LONG})),
        ("a.jsonl", json.dumps([LONG])),
        ("a.jsonl", json.dumps({"text": "p53", "spans": [LONG]})),
        ("a.jsonl", json.dumps({"text": "p53", "spans": [SPAN | {"label": f" {LONG}"}]})),
        ("a.jsonl", json.dumps({"text": LONG, "mentions": [SPAN | {"end": 3001}]})),
        ("a.jsonl", json.dumps({"tokens": [LONG], "tags": [None]})),
        ("a.jsonl", json.dumps({"tokens": [f"{LONG}\t"], "tags": ["O"]})),
        ("a.jsonl", json.dumps({"tokens": [LONG], "mentions": [SPAN | {"label": LONG}]})),
        ("a.pubtator", f"1|t|{LONG}\n1\t0\t2000\t{LONG}\tGENE\n"),
        ("a.pubtator", f"1|t|p53\n{LONG}\n"),
    ],
)
def test_a_message_quotes_little(tmp_path, name, content):
    path = tmp_path / name
    path.write_text(content)

    def load():
        source = Source.find(str(path), DataArguments(path_to_train="a", path_to_val="a"))
        if source.has_documents():
            list(source.documents())
        load_labelled(source, "IOBES")

    message = refusal(load)
    assert str(path) in message and "a" * 201 not in message and len(message) < 1000


def test_no_message_is_longer_than_a_page():
    error = UserError(f"file:1: {LONG}. Correct it.")
    assert len(str(error)) < 2010 and str(error).startswith("file:1: aaa") and str(error).endswith("aaa. Correct it.")
    assert str(UserError(LONG[:2000])) == LONG[:2000]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed: &a 1\nalpha: *a\n", ":2: an alias (*a)"),
        (f"lr_scheduler_kwargs: {'{a: [' * 6}*x", "an alias"),
        (f"path_to_unlabeled: {'[' * 20_000}{']' * 20_000}", ":1: more than 20 lists and mappings"),
        (f"path_to_unlabeled:\n{' - ' * 20_000}a", ":2: more than 20 lists and mappings"),
        (f"path_to_unlabeled: [{'a, ' * 100_000}]", ": larger than 262,144 bytes"),
        ("path_to_unlabeled: [[a], b]", ":1: path_to_unlabeled is a list of single values"),
        ("lr_scheduler_kwargs: {a: 2020-01-01}", ":1: lr_scheduler_kwargs: "),
        ("lr_scheduler_kwargs: {a: !!python/name:os.system x}", ":1: lr_scheduler_kwargs: "),
        ("seed: 1\n---\nseed: 2\n", ": not valid YAML"),
    ],
)
def test_a_configuration_takes_no_more_time_than_its_size_tells(tmp_path, text, message):
    path = tmp_path / "config.yaml"
    path.write_text(text)
    found = refusal(parse_arguments, [str(path)])
    assert found.startswith(f"{path}{message}" if message[0] == ":" else f"{path}:1: {message}") and len(found) < 1000


def test_settings_of_a_model_have_a_size(tmp_path, monkeypatch):
    monkeypatch.setattr("hf_distill.runtime.tagger.LARGEST_OBJECT", 1000)
    folder = tiny.save_student(tmp_path / "student")
    with open(folder / "config.json", "a") as file:
        file.write(" " * 1000)
    assert re.search(r"config\.json: larger than 1,000 bytes", refusal(Tagger, folder))


def test_only_files_are_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match="pipe is no file that could be replaced"), files.replacing(tmp_path / "pipe"):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["pipe"] and not (tmp_path / "pipe").is_file()
