"""Files in, files out: whatever way a text goes, the answer is the pipeline's."""

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import tiny
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForTokenClassification, pipeline

from hf_distill.cli import main
from hf_distill.prediction import predict
from hf_distill.prediction.tagging import Chunk, Setup, tag_chunk
from hf_distill.runtime.decoding import constrained_decode
from hf_distill.runtime.pipeline import predict_words
from hf_distill.runtime.tags import make_tags
from hf_distill.students.save import save_model
from hf_distill.teachers.loading import load_tokenizer

TEXTS = ["p53 binds BRCA1-kinase (p53), in mice.", "", "  ", "Δp53 – the naïve 🧬 cells of p53\u0301x 癌 p53"]


@pytest.fixture(scope="module")
def student(tmp_path_factory):
    return tiny.save_student(tmp_path_factory.mktemp("student"))


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def within(monkeypatch):
    """Tag in this process, in place of those that would be started."""

    def tag_chunks(chunks, setup, workers):
        return (tag_chunk(setup, chunk) for chunk in chunks)

    threads = torch.get_num_threads()
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")
    monkeypatch.setattr(predict, "tag_chunks", tag_chunks)
    yield
    torch.set_num_threads(threads)


def run(model, inputs, output, runtime="pytorch"):
    return main(["predict", str(model), "--input", *inputs, "--output", output, "--runtime", runtime])


def read(path):
    with (gzip.open if path.endswith(".gz") else open)(path, "rt", encoding="utf-8", newline="\n") as file:
        return file.read()


def rows(path):
    return [json.loads(line) for line in read(path).removesuffix("\n").split("\n")]


def test_text_gets_the_answers_of_the_pipeline(student, here, capsys, monkeypatch):
    """With processes of its own, and more chunks than they are sent at a time."""
    monkeypatch.setattr(predict, "CHUNK_TEXTS", 7)
    texts = [*TEXTS, *(" ".join(words) for words in tiny.sentences(60, seed=1))]
    Path("a.txt").write_bytes("\n".join(texts[:40]).encode() + b"\n")
    with gzip.open("b.txt.gz", "wb") as file:
        file.write("\r\n".join(texts[40:]).encode("utf-8-sig"))  # as Windows writes it, without a last line end
    assert run(student, ["a.txt", "b.txt.gz"], "out.jsonl") == 0, capsys.readouterr().err
    find = pipeline(model=str(student), trust_remote_code=True)
    found = rows("out.jsonl")
    assert [row["text"] for row in found] == texts
    for row, expected in zip(found, find(texts), strict=True):
        assert row["mentions"] == [each | {"score": pytest.approx(each["score"], abs=1e-5)} for each in expected]
    assert found[1]["mentions"] == [] and sum(len(row["mentions"]) for row in found) > 40
    said = capsys.readouterr()
    assert "PyTorch on cpu" in said.out and "out.jsonl" in said.out and "100%" in said.err
    assert sorted(os.listdir()) == ["a.txt", "b.txt.gz", "out.jsonl"]


@pytest.mark.usefixtures("within")
def test_tsv_keeps_its_columns(student, here, monkeypatch):
    monkeypatch.setattr(predict, "CHUNK_TEXTS", 4)
    sentences = tiny.sentences(30, seed=2)
    with open("in.tsv", "w") as file:
        for words in sentences:
            file.writelines(f"{word}\tcolumn {index}\tO\n" for index, word in enumerate(words))
            file.write("\n" * (1 + len(words) % 2))
    assert run(student, ["in.tsv"], "out.tsv") == 0
    model = AutoModelForTokenClassification.from_pretrained(student)
    logits = predict_words(model.eval(), load_tokenizer(str(student)), sentences, 64)
    expected = ""
    for words, labels in zip(sentences, constrained_decode(logits, tiny.TAGS), strict=True):
        pairs = enumerate(zip(words, labels, strict=True))
        expected += "".join(f"{word}\tcolumn {index}\tO\t{tiny.TAGS[label]}\n" for index, (word, label) in pairs) + "\n"
    assert read("out.tsv") == expected and "S-GENE" in expected and "E-GENE" in expected

    assert run(student, ["in.tsv"], "out.jsonl.gz") == 0
    found = rows("out.jsonl.gz")
    assert [row["text"] for row in found] == [" ".join(words) for words in sentences]
    assert all(row["text"][each["start"] : each["end"]] == each["word"] for row in found for each in row["mentions"])


def test_what_is_no_word_of_a_tsv_is_left_out(student, here, capsys):
    Path("in.tsv").write_text("-DOCSTART-\tO\n\n# id 1\np53\tO\n\n# text = vitamin O\n# id\tbinds\tx\np53\tO\n#\tO\n")
    Path("words.tsv").write_text("# id 1\np53\nbinds\n\n#\n")
    for name, texts in (("in.tsv", ["p53", "p53 #"]), ("words.tsv", ["p53 binds", "#"])):
        assert run(student, [name], "out.jsonl") == 0
        assert [row["text"] for row in rows("out.jsonl")] == texts
        Path("out.jsonl").unlink()
    Path("old.tsv").write_bytes(b"p53\tO\rbinds\tO\r")
    assert run(student, ["old.tsv"], "out.jsonl") == 2
    assert "old.tsv:1: a carriage return within a line" in capsys.readouterr().err


@pytest.mark.usefixtures("within")
def test_fields_of_json_lines_pass_through(student, here, capsys):
    lines = [
        {"id": 1, "text": "p53 binds (BRCA1)", "nested": {"π": [None, 1.5]}},
        {"tokens": ["p53", "binds", "(", "BRCA1", ")"], "text": "p53 binds (BRCA1)", "mentions": "of old"},
        {"tokens": ["p53", "binds", "(", "BRCA1", ")"], "year": "1999"},
        {"tokens": []},
        {"text": " "},
    ]
    Path("in.jsonl").write_text("\n\n".join(json.dumps(line) for line in lines) + "\n\n")
    assert run(student, ["in.jsonl"], "out.jsonl") == 0
    found = rows("out.jsonl")
    assert [{**row, "mentions": 0} for row in found] == [{**line, "mentions": 0} for line in lines]
    assert found[0]["mentions"] == found[1]["mentions"] != [], "the text counts, where there is one"
    split = " ".join(lines[2]["tokens"])
    assert all(split[each["start"] : each["end"]] == each["word"] for each in found[2]["mentions"])
    assert len(found[2]["mentions"]) == len(found[0]["mentions"])
    assert found[3]["mentions"] == found[4]["mentions"] == []

    assert "left out" not in capsys.readouterr().out
    assert run(student, ["in.jsonl"], "out.tsv") == 0
    assert "2 text(s) without words are left out" in capsys.readouterr().out
    columns = [line.split("\t") for line in read("out.tsv").split("\n")]
    assert [word for word, *_ in columns] == ["p53", "binds", "(", "BRCA1", ")", ""] * 3 + [""]
    assert columns[0][1] in tiny.TAGS


@pytest.mark.usefixtures("within")
def test_files_without_text(student, here):
    for name, content in (("a.txt", ""), ("b.jsonl", "\n \n"), ("c.tsv", "\n\n\n"), ("d.txt", "\n")):
        Path(name).write_text(content)
    assert run(student, ["a.txt", "b.jsonl", "c.tsv"], "out.jsonl") == 0 and read("out.jsonl") == ""
    assert run(student, ["a.txt", "d.txt"], "out.jsonl") == 0 and rows("out.jsonl") == [{"text": "", "mentions": []}]


@pytest.mark.usefixtures("within")
def test_the_runtime_is_the_quickest_that_the_model_has(student, here, capsys, tmp_path_factory):
    bare = tmp_path_factory.mktemp("bare")
    for path in student.iterdir():
        (bare / path.name).symlink_to(path) if path.is_file() else (bare / path.name).mkdir()
    Path("in.txt").write_text("p53 binds BRCA1\n" * 3)
    answers = []
    for model, runtime, named in (
        (student, "auto", "ONNX Runtime, int8 on"),
        (student, "onnx", "ONNX Runtime on"),
        (student, "pytorch", "PyTorch on"),
        (bare, "auto", "PyTorch on"),
    ):
        assert run(model, ["in.txt"], "out.tsv", runtime) == 0
        said = capsys.readouterr().out
        assert said.startswith(f"{model}: {named}") and "out.tsv" in said
        answers.append(read("out.tsv"))
    assert answers[1] == answers[2] == answers[3]
    (bare / "onnx" / "model.onnx").symlink_to(student / "onnx" / "model.onnx")
    assert run(bare, ["in.txt"], "out.tsv", "auto") == 0 and f"{bare}: ONNX Runtime on" in capsys.readouterr().out
    assert run(bare, ["in.txt"], "out.tsv", "int8") == 2
    assert "has no onnx/model_quantized.onnx" in capsys.readouterr().err


def test_two_processes_write_the_bytes_of_one(student, here):
    texts = "".join(" ".join(words) + "\n" for words in tiny.sentences(5000, seed=4))
    Path("in.txt").write_text(texts)  # three chunks
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    launch += ["--main_process_port", "0", str(Path(__file__).parents[2] / "run_distill.py")]
    command = ["predict", str(student), "--input", "in.txt", "--runtime", "int8", "--output"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run([*launch, *command, "two.jsonl"], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("ONNX Runtime") == 1
    assert sorted(os.listdir()) == ["in.txt", "two.jsonl"]
    setup = Setup(str(student), tuple(tiny.TAGS), "one.jsonl", precision="int8")
    lines = texts.encode().splitlines(keepends=True)
    starts = range(0, 5000, predict.CHUNK_TEXTS)
    chunks = [Chunk("in.txt", start + 1, b"".join(lines[start : start + predict.CHUNK_TEXTS])) for start in starts]
    one = b"".join(tag_chunk(setup, chunk)[0] for chunk in chunks)
    assert len(chunks) == 3 and Path("two.jsonl").read_bytes() == one


@pytest.mark.usefixtures("within")
@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b'{"text": "p53"}\n{"text": \n', "a.jsonl:2: not valid JSON"),
        ("a.jsonl", b'\n{"text": "\\ud800"}\n', "a.jsonl:2: not valid JSON"),
        ("a.jsonl", b'{"text": "p53"}\n{"words": ["p53"]}\n', "a.jsonl:2: expected an object with `text` or `tokens`"),
        ("a.jsonl", b"[1]\n", "a.jsonl:1: expected an object"),
        ("a.jsonl", b'{"text": 7}\n', "a.jsonl:1: `text` has to be a string"),
        ("a.jsonl", b'{"tokens": "p53"}\n', "a.jsonl:1: `tokens` has to be a list of words"),
        ("a.jsonl", b'{"tokens": ["p53", 7]}\n', "a.jsonl:1: `tokens` has to be a list of words"),
        ("a.jsonl", b'{"tokens": ["p53\\t"]}\n', "a.jsonl:1: `tokens` has to be a list of words"),
        ("a.txt", b"p53\n" * 2100 + b"na\xefve\n", "a.txt:2101: not UTF-8"),
        ("a.tsv", b"p53\tO\n\n\tO\n", "a.tsv:3: the word is empty"),
        ("a.tsv", b"p53 B-GENE\nbinds O\n", "a.tsv:1: a word and a tag separated by blanks"),
        ("a.txt", "p53 binds\n".encode("utf-16"), "a.txt:1: not UTF-8"),
        ("a.txt", b"p53\np\x005\x003\x00\n", "a.txt:2: the line contains a NUL character (UTF-16?)"),
        ("a.txt.gz", gzip.compress(b"p53\n" * 9, mtime=0)[:-4], "a.txt.gz:10: not a whole gzip file"),
        ("a.txt.gz", b"p53\n", "a.txt.gz:1: not a whole gzip file"),
        ("a.csv", b"p53\n", "a.csv: unknown ending; known are .txt, .jsonl, .tsv"),
    ],
)
def test_faults_of_a_file(student, here, capsys, name, content, message):
    Path(name).write_bytes(content)
    assert run(student, [name], "out.jsonl") == 2
    assert message in capsys.readouterr().err
    assert os.listdir() == [name], "nothing half done is left"


def test_faults_come_before_the_work(student, here, capsys, monkeypatch):
    Path("in.tsv").write_text("p53\n")
    Path("folder.tsv").mkdir()
    monkeypatch.setattr(predict, "find_student", None)
    for inputs, output, message in (
        (["in.tsv", "no.txt"], "out.tsv", "no.txt: no such file"),
        (["in.tsv", "folder.tsv"], "out.tsv", "folder.tsv: a folder, pipe or device"),
        (["in.tsv"], "out.txt", "out.txt: unknown ending; known are .jsonl, .tsv"),
        (["in.tsv"], "../" + here.name + "/in.tsv", "would overwrite this input"),
        (["in.tsv"], "no/out.tsv", "there is no folder no"),
        (["in.tsv"], "folder.tsv", "is a folder"),
    ):
        assert run(student, inputs, output) == 2
        assert message in capsys.readouterr().err


def test_faults_of_a_model(here, capsys):
    Path("in.txt").write_text("p53\n")
    assert run("no/model", ["in.txt"], "out.tsv") == 2
    assert "no/model: found neither as a folder nor on the Hugging Face Hub" in capsys.readouterr().err
    save_model(tiny.bert(tiny.wordpiece(), tags=["LABEL_0", "LABEL_1"]), tiny.wordpiece(), here / "bare")
    assert run("bare", ["in.txt"], "out.tsv") == 2
    assert "bare: the labels of its head have no names" in capsys.readouterr().err


@pytest.mark.usefixtures("within")
@pytest.mark.parametrize(
    ("damage", "says"),
    [
        ("no head", "is not a token classifier: missing classifier.bias, classifier.weight"),
        ("other shapes", "3 weights do not fit config.json: bert.embeddings.word_embeddings.weight ["),
        ("no numbers", "its scores are not all numbers"),
        ("no tokenizer", "cannot be loaded"),
        ("tokenizer settings", "cannot be loaded"),
    ],
)
def test_a_damaged_model_of_others(here, capsys, damage, says):
    Path("in.txt").write_text("p53\n")
    tokenizer = tiny.wordpiece()
    save_model(tiny.bert(tokenizer), tokenizer, here / "model")
    weights = load_file("model/model.safetensors")
    embeddings = "bert.embeddings.word_embeddings.weight"
    if damage == "no head":
        weights = {name: weight for name, weight in weights.items() if not name.startswith("classifier")}
    elif damage == "other shapes":
        weights |= {name: weights[name][1:].clone() for name in (embeddings, "classifier.weight", "classifier.bias")}
    elif damage == "no numbers":
        weights[embeddings] *= float("nan")
    elif damage == "no tokenizer":
        Path("model/tokenizer.json").unlink()
    else:
        Path("model/tokenizer_config.json").write_text("[]")
    save_file(weights, "model/model.safetensors", {"format": "pt"})
    assert run("model", ["in.txt"], "out.tsv") == 2
    error = capsys.readouterr().err
    assert says in error and "Traceback" not in error
    assert sorted(os.listdir()) == ["in.txt", "model"]


def test_chunks_are_whole_texts_of_one_file(here, monkeypatch):
    monkeypatch.setattr(predict, "CHUNK_TEXTS", 2)
    monkeypatch.setattr(predict, "CHUNK_BYTES", 10)
    Path("a.txt").write_bytes(b"1\n2\n3\nlonger than ten\n5")
    Path("b.tsv").write_bytes(b"\xef\xbb\xbffour\n\r\ntwo\n \n\nthree\n")
    with predict._progress(["a.txt", "b.tsv"], False) as progress:
        chunks = list(predict._chunks(["a.txt", "b.tsv"], progress))
        assert progress.n == progress.total
    assert chunks == [
        Chunk("a.txt", 1, b"1\n2\n"),
        Chunk("a.txt", 3, b"3\nlonger than ten\n"),
        Chunk("a.txt", 5, b"5"),
        Chunk("b.tsv", 1, b"\xef\xbb\xbffour\n\r\n"),
        Chunk("b.tsv", 3, b"two\n \n\n"),
        Chunk("b.tsv", 6, b"three\n"),
    ]


@pytest.mark.parametrize("spelling", ["BILOU", "suffix"])
def test_a_model_that_writes_its_labels_otherwise(tmp_path, here, within, spelling):
    """The same weights with the labels of another scheme find the same mentions."""
    letters = {"E": "L", "S": "U"} if spelling == "BILOU" else {}
    models = {"ours": tiny.bert(tiny.wordpiece()), "theirs": tiny.bert(tiny.wordpiece())}
    config = models["theirs"].config
    names = [tag if tag == "O" else (letters.get(tag[0], tag[0]), tag[2:]) for tag in tiny.TAGS]
    pattern = "{0}_{1}" if spelling == "BILOU" else "{1}-{0}"
    config.id2label = {index: name if name == "O" else pattern.format(*name) for index, name in enumerate(names)}
    for name, model in models.items():
        save_model(model, tiny.wordpiece(), name)
    Path("in.txt").write_text("".join(" ".join(words) + "\n" for words in tiny.sentences(20, seed=4)))
    for name in models:
        assert run(name, ["in.txt"], f"{name}.jsonl") == run(name, ["in.txt"], f"{name}.tsv") == 0
    assert read("ours.tsv") == read("theirs.tsv") and "S-GENE" in read("ours.tsv")
    assert read("ours.jsonl") == read("theirs.jsonl")


def test_a_model_that_begins_mentions_with_i(here):
    """One that has I for every word finds one mention in each text; read as IOB2, these would be none."""
    model = tiny.bert(tiny.wordpiece(), ["O", "B-GENE", "I-GENE"])
    model.classifier.bias.data = torch.tensor([0.0, -50.0, 50.0])
    save_model(model, tiny.wordpiece(), "iob1")
    Path("in.txt").write_text("p53 binds BRCA1\nmice\n")
    assert run("iob1", ["in.txt"], "out.tsv") == 0
    assert read("out.tsv") == "p53\tB-GENE\nbinds\tI-GENE\nBRCA1\tI-GENE\n\nmice\tB-GENE\n\n"


@pytest.mark.usefixtures("within")
def test_mentions_below_a_threshold_are_left_out(here, tmp_path):
    folder = tiny.save_student(tmp_path / "student", tags=make_tags(["CELL", "GENE"], "IOBES"))
    config = json.loads((folder / "config.json").read_text())
    kept = {"thresholds": {"0.9": {"CELL": None, "GENE": 0.3}}}
    (folder / "config.json").write_text(json.dumps(config | kept))
    texts = [" ".join(words) for words in tiny.sentences(60, seed=4)]
    Path("in.txt").write_text("\n".join(texts) + "\n")
    find = pipeline(model=str(folder), trust_remote_code=True)
    ways = {
        ("--threshold", "0.4"): 0.4,
        ("--threshold", "GENE=0.5"): {"GENE": 0.5},
        ("--target_precision", "0.9"): "0.9",
        (): None,
    }
    sizes = []
    for flags, threshold in ways.items():
        for runtime in ("pytorch", "onnx"):
            command = ["predict", str(folder), "--input", "in.txt", "--runtime", runtime, *flags]
            assert main([*command, "--output", "out.jsonl"]) == main([*command, "--output", "out.tsv"]) == 0
            found = [row["mentions"] for row in rows("out.jsonl")]
            for one, other in zip(found, find(texts, threshold=threshold), strict=True):
                assert one == [mention | {"score": pytest.approx(mention["score"], abs=1e-4)} for mention in other]
            assert sum(map(len, found)) == read("out.tsv").count("\tB-") + read("out.tsv").count("\tS-")
        sizes.append(sum(map(len, found)))
    assert min(sizes[:3]) > 0 and max(sizes[:3]) < sizes[3]


def test_what_is_no_threshold(student, here, capsys):
    Path("in.txt").write_text("p53\n")
    for flags, message in (
        (["--threshold", "high"], "--threshold high: 'high' is no number"),
        (["--threshold", "0.5", "GENE=0.5"], "one score for all types, or TYPE=SCORE for each"),
        (["--threshold", "GENE=0.5", "GENE=0.6"], "--threshold GENE=0.6: GENE has a score already"),
        (["--threshold", "7"], "from 0 to 1, not 7.0"),
        (["--threshold", "DRUG=0.5"], "'DRUG' is no type of this model: GENE"),
        (["--threshold", "0.5", "--target_precision", "0.9"], "give one of them"),
        (["--target_precision", "0.9"], "has thresholds for are none"),
        (["--most_uncertain", "-1"], "--most_uncertain is a number of texts"),
        (["--most_uncertain", "5", "--output", "out.tsv"], "--most_uncertain writes texts with their uncertainty"),
    ):
        assert main(["predict", str(student), "--input", "in.txt", "--output", "out.jsonl", *flags]) == 2
        assert message in capsys.readouterr().err


@pytest.mark.usefixtures("within")
@pytest.mark.parametrize("output", ["out.jsonl", "out.jsonl.gz"])
def test_the_most_uncertain_texts_come_first(student, here, monkeypatch, output):
    texts = [" ".join(words) for words in tiny.sentences(40, seed=4)]
    Path("in.txt").write_text("\n".join([*texts, "a\u2028b", "", *texts]) + "\n")
    command = ["predict", str(student), "--input", "in.txt", "--output", output, "--runtime", "onnx"]
    assert main([*command, "--most_uncertain", "1000"]) == 0
    every = rows(output)
    distinct = set(texts) | {"a\u2028b", ""}
    assert {row["text"] for row in every} == distinct and len(every) == len(distinct), "identical texts once"
    order = [row["uncertainty"] for row in every]
    assert order == sorted(order, reverse=True) and 0 <= order[-1] < order[0]
    find = pipeline(model=str(student), trust_remote_code=True)
    found = find([row["text"] for row in every])
    assert [len(row["mentions"]) for row in every] == [len(mentions) for mentions in found]
    monkeypatch.setattr(predict, "CHUNK_TEXTS", 9)
    assert main([*command, "--most_uncertain", "7"]) == 0
    assert [row["text"] for row in rows(output)] == [row["text"] for row in every[:7]]
