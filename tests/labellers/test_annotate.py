"""Texts in, mentions out, from whoever answers; the language model is a server on this machine."""

import gzip
import json
import os
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import tiny

from hf_distill import Tagger
from hf_distill.cli import main
from hf_distill.data.formats.json_lines import read_json
from hf_distill.files import lock
from hf_distill.labellers.chat import RETRIES, locate

KEY = "sk-Very-Secret-0123456789"
TEXTS = ["Loss of p53 raised MDM2.", "No names.", "", "p53 causes Li-Fraumeni syndrome; p53x does not."]
GENES = ("p53", "MDM2", "BRCA1")


def completion(content, finish_reason="stop", refusal=None):
    """A response with an answer; content is given as JSON, or as a string."""
    content = content if isinstance(content, str | None) else json.dumps({"mentions": content})
    message = {"role": "assistant", "content": content, "refusal": refusal}
    choices = [{"index": 0, "message": message, "finish_reason": finish_reason}]
    usage = {"prompt_tokens": 100, "completion_tokens": 7, "total_tokens": 107}
    head = {"id": "1", "object": "chat.completion", "created": 1, "model": "m"}
    return 200, {**head, "choices": choices, "usage": usage}


def genes(text, labels=()):
    """The answer of a model that knows some genes."""
    return completion([{"text": word, "label": "gene"} for word in text.replace(".", " ").split() if word in GENES])


def failure(status, message="no", **fields):
    return status, {"error": {"message": message, **fields}}


class Server:
    """Speaks the chat-completions protocol.

    Attributes:
        reply: makes of a text the status and the body of a response; a status of 0 hangs up.
        asked: the requests, parsed.
        texts: the texts asked for.
        headers: those that all responses have.
    """

    def __init__(self):
        self.reply, self.asked, self.keys, self.headers = genes, [], set(), {"Retry-After": "0.001"}
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.asked.append(request)
                outer.keys.add(self.headers["Authorization"])
                assert self.path == "/v1/chat/completions"
                status, body = outer.reply(request["messages"][-1]["content"])
                if not status:
                    self.close_connection = True
                    return
                content = body.encode() if isinstance(body, str) else json.dumps(body).encode()
                self.send_response(status)
                for name, value in {**outer.headers, "Content-Type": "application/json"}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def texts(self):
        return [request["messages"][-1]["content"] for request in self.asked]

    def after(self, number, failing):
        """Answer so many requests, then fail."""
        self.asked.clear()
        self.reply = lambda text: genes(text) if len(self.asked) <= number else failing


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    monkeypatch.chdir(tmp_path)
    write("in.jsonl", TEXTS)
    return tmp_path


@pytest.fixture
def server(here, monkeypatch):
    client = pytest.importorskip("openai._base_client")
    monkeypatch.setattr(client, "INITIAL_RETRY_DELAY", 0.001)  # where a server gives no Retry-After
    monkeypatch.setattr(client, "MAX_RETRY_DELAY", 0.001)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    server = Server()
    yield server
    server.server.shutdown()
    server.server.server_close()


def write(path, texts):
    Path(path).write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))


def run(server, *more, output="out.jsonl", labels=("gene", "disease"), model="openai:m"):
    command = ["annotate", model, "--input", "in.jsonl", "--output", output, "--labels", *labels]
    return main([*command, *(("--base_url", server.url) if server else ()), *map(str, more)])


def rows(path="out.jsonl"):
    return [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]


ODD = {
    "no choice": {"choices": [None]},
    "choices of text": {"choices": "abc"},
    "a message of text": {"choices": [{"index": 0, "message": "hello", "finish_reason": "stop"}]},
    "usage of text": {"usage": "many"},
    "tokens of text": {"usage": {"prompt_tokens": "3"}},
}


@pytest.mark.parametrize("odd", [*ODD, "[" * 100_000, "half a character"])
def test_a_server_with_odd_answers_stops_nobody(server, odd):
    """The text that got one has no answer; the others have theirs."""

    def reply(text):
        if text != TEXTS[0]:
            return genes(text)
        if odd == "half a character":
            return failure(400, "context_length \ud83d")
        return (200, genes(text)[1] | ODD[odd]) if odd in ODD else (200, odd)

    server.reply = reply
    assert run(server) == 0
    first, *others = rows()
    assert first["answer"] == "ignore" and first["error"] and all("mentions" in other for other in others)


def test_json_between_fences(server):
    server.reply = lambda text: completion(f"```json\n{json.dumps({'mentions': []})}\n```")
    assert run(server) == 0
    assert [line["mentions"] for line in rows()] == [[]] * len(TEXTS)


def test_answers_get_offsets_and_keep_the_fields_of_their_texts(server, capsys):
    with gzip.open("in.jsonl.gz", "wt") as file:
        file.write('{"id": 7, "text": "Loss of p53 raised MDM2.", "mentions": "of old", "error": "of old"}\n')
        file.write('{"tokens": ["p53", "binds"], "year": null}\n\n{"text": " "}\n')
    Path("b.txt").write_text("BRCA1\n")
    command = ["annotate", "openai:qwen3:8b", "--input", "in.jsonl.gz", "b.txt", "--output", "out.jsonl"]
    assert main([*command, "--labels", "gene", "cell line", "--base-url", server.url]) == 0
    said = capsys.readouterr()
    source = {"source": "openai:qwen3:8b"}
    p53 = {"entity_group": "gene", "start": 8, "end": 11, "word": "p53"}
    mdm2 = {"entity_group": "gene", "start": 19, "end": 23, "word": "MDM2"}
    brca1 = {"entity_group": "gene", "start": 0, "end": 5, "word": "BRCA1"}
    assert rows() == [
        {"id": 7, "text": "Loss of p53 raised MDM2.", "mentions": [p53, mdm2]} | source,
        {"tokens": ["p53", "binds"], "year": None, "text": "p53 binds", "mentions": [p53 | {"start": 0, "end": 3}]}
        | source,
        {"text": " ", "mentions": []} | source,
        {"text": "BRCA1", "mentions": [brca1]} | source,
    ]
    assert sorted(os.listdir()) == ["b.txt", "in.jsonl", "in.jsonl.gz", "out.jsonl"]
    assert "out.jsonl: mentions of gene: 4, texts: 4\n" in said.out
    assert "In this run: completion tokens: 21, prompt tokens: 300\n" in said.out, "nobody is asked for blanks"
    assert "4/4" in said.err
    assert {request["model"] for request in server.asked} == {"qwen3:8b"}
    [schema] = {json.dumps(request["response_format"]["json_schema"]["schema"]) for request in server.asked}
    assert '"enum": ["gene", "cell line"]' in schema
    assert "gene, cell line" in server.asked[0]["messages"][0]["content"]
    assert server.keys == {f"Bearer {KEY}"}


@pytest.mark.parametrize(
    ("text", "found", "expected", "left_out"),
    [
        ("p53, p53 and p53x", [("p53", "A")], [("A", 0, 3), ("A", 5, 8)], {}),
        ("p53, p53 and p53x", [("p53", "A")] * 2, [("A", 0, 3), ("A", 5, 8)], {}),
        ("p53, p53 and p53x", [("p53", "A")] * 3, [("A", 0, 3), ("A", 5, 8), ("A", 13, 16)], {}),
        ("p53 or p53", [("p53", "A"), ("p53", "B")], [("A", 0, 3), ("B", 7, 10)], {}),
        ("p53 p53 p53", [("p53", "A"), ("p53", "B")], [("A", 0, 3), ("B", 4, 7)], {}),
        ("p53 kinases", [("kinase", "A")], [("A", 4, 10)], {}),
        ("p53x p53", [("p53", "A")], [("A", 5, 8)], {}),
        ("癌细胞癌", [("癌", "A")], [("A", 0, 1), ("A", 3, 4)], {}),
        ("lung cancer, cancer", [("cancer", "A"), ("lung cancer", "B")], [("B", 0, 11), ("A", 13, 19)], {}),
        ("lung cancer", [("lung cancer", "B"), ("cancer", "A")], [("B", 0, 11)], {"inside another mention": 1}),
        ("a p53 b", [("p53 ", "A"), ("p53", "A"), ("MDM2", "A")], [("A", 2, 5)], {"not in the text": 2}),
        ("p53", [("p53", "C"), (" ", "A"), ("", "B")], [], {"of another label": 1, "empty": 2}),
        ("a.b axb", [("a.b", "A")], [("A", 0, 3)], {}),
    ],
)
def test_where_a_string_stands(text, found, expected, left_out):
    mentions, counts = locate(text, found, ["A", "B"])
    assert [(each["entity_group"], each["start"], each["end"]) for each in mentions] == expected
    assert all(text[each["start"] : each["end"]] == each["word"] for each in mentions)
    assert counts == {f"left out, {reason}": number for reason, number in left_out.items()}


def test_what_a_model_makes_up_is_counted(server, capsys):
    made_up = [("p53", "gene"), ("KRAS", "gene"), ("p53", "virus"), ("", "gene")]
    server.reply = lambda text: completion([{"text": string, "label": label} for string, label in made_up])
    write("in.jsonl", ["p53 binds"])
    assert run(server) == 0
    assert [each["word"] for each in rows()[0]["mentions"]] == ["p53"]
    said = capsys.readouterr().out
    for reason in ("empty", "not in the text", "of another label"):
        assert f"left out, {reason}: 1" in said


NO_ANSWERS = {
    "malformed": (completion("p53 is a gene"), "not the JSON that was asked for: 'p53 is a gene'"),
    "another JSON": (completion('{"mentions": [{"text": "p53"}]}'), "not the JSON that was asked for"),
    "nothing": (completion(None), "not the JSON that was asked for: None"),
    "refusal": (completion(None, refusal="I cannot help."), "refused: 'I cannot help.'"),
    "filtered": (completion("", "content_filter"), "refused: 'content_filter'"),
    "cut": (completion('{"mentions": [', "length"), "cut short"),
    "no completion": ((200, {"choices": []}), "no chat completion"),
    "no JSON": ((200, "<html>"), "no JSON"),
}


@pytest.mark.parametrize("kind", NO_ANSWERS)
def test_a_text_without_an_answer_is_ignored_by_readers(server, capsys, kind):
    response, reason = NO_ANSWERS[kind]
    server.reply = lambda text: genes(text) if "MDM2" in text else response
    write("in.jsonl", ["MDM2", "p53"])
    assert run(server) == 0
    assert Counter(server.texts) == {"MDM2": 1, "p53": 3}
    first, second = rows()
    assert [each["word"] for each in first["mentions"]] == ["MDM2"]
    assert reason in second.pop("error")
    assert second == {"text": "p53", "answer": "ignore", "source": "openai:m"}
    assert "texts without an answer: 1" in capsys.readouterr().out
    assert [found is None for found in read_json("out.jsonl")] == [False, True]
    assert main(["convert", "out.jsonl", "out.tsv"]) == 0
    assert Path("out.tsv").read_text() == "MDM2\tS-gene\n\n"
    assert "texts without an accepted annotation: 1" in capsys.readouterr().out


def test_a_second_answer_counts(server, capsys):
    server.reply = lambda text: completion("{") if len(server.asked) < 3 else genes(text)
    write("in.jsonl", ["p53"])
    assert run(server) == 0 and len(server.asked) == 3
    assert len(rows()[0]["mentions"]) == 1 and "completion tokens: 21" in capsys.readouterr().out


def test_a_busy_server_is_asked_again_when_it_says(server):
    begun = []

    def reply(text):
        begun.append(time.monotonic())
        return failure(429) if len(begun) == 1 else genes(text)

    server.reply, server.headers = reply, {"Retry-After": "0.2"}
    write("in.jsonl", ["p53"])
    assert run(server) == 0 and len(rows()[0]["mentions"]) == 1
    assert begun[1] - begun[0] >= 0.2


@pytest.mark.parametrize("failing", [failure(500), (0, "")], ids=["errors", "dead"])
def test_a_run_goes_on_where_a_server_failed(server, capsys, failing):
    texts = [f"{number} p53" for number in range(10)]
    write("in.jsonl", texts)
    server.after(4, failing)
    assert run(server, "--concurrency", 1) == 2
    said = capsys.readouterr().err
    assert "4 of 10 text(s) are answered, in out.jsonl.partial: the same command goes on from there." in said
    assert server.texts == [*texts[:4], *[texts[4]] * (1 + RETRIES)]
    assert len(rows("out.jsonl.partial")) == 1 + 4 and not Path("out.jsonl").exists()
    server.after(10, None)
    assert run(server, "--concurrency", 3) == 0
    assert sorted(server.texts) == texts[4:]
    assert [row["text"] for row in rows()] == texts and "mentions of gene: 10, texts: 10" in capsys.readouterr().out
    assert sorted(os.listdir()) == ["in.jsonl", "out.jsonl"]


def test_what_no_retry_helps_ends_the_run_at_once(server, capsys):
    for status in (401, 404):
        server.after(0, failure(status, f"your key {KEY} is of no use"))
        assert run(server, "--concurrency", 1) == 2
        said = capsys.readouterr()
        assert f"m at {server.url}: Error code: {status}" in said.err and "your key *** is of no use" in said.err
        assert server.texts == TEXTS[:1]
        assert KEY not in said.err + said.out
    # Nothing is answered: nothing is in the way of another job.
    server.after(10, None)
    assert run(server, labels=["gene"]) == 0 and KEY not in Path("out.jsonl").read_text()


def test_the_key_is_nowhere(server, capsys):
    server.reply = lambda text: completion(None, refusal=f"Not with {KEY}") if "No" in text else genes(text)
    assert run(server) == 0
    server.after(1, failure(500, KEY))
    assert run(server, "--concurrency", 1, output="other.jsonl") == 2
    said = capsys.readouterr()
    written = "".join(path.read_text() for path in Path().iterdir())
    assert "Not with ***" in written and "other.jsonl.partial" in os.listdir()
    assert KEY not in written + said.out + said.err


def test_credentials_of_an_address_are_not_written(server, capsys):
    server.after(1, failure(401))
    address = server.url.replace("http://", "http://me:hush@")
    assert run(None, "--base_url", f"{address}", "--concurrency", 1) == 2
    said = capsys.readouterr()
    assert rows("out.jsonl.partial")[0]["base_url"] == server.url
    assert "hush" not in Path("out.jsonl.partial").read_text() + said.out + said.err


def test_a_text_that_is_too_long_ends_nothing(server):
    too_long = failure(400, "This model's maximum context length is 8 tokens.", code="context_length_exceeded")
    server.reply = lambda text: too_long if text.startswith("Loss") else genes(text)
    assert run(server) == 0
    assert "maximum context length" in rows()[0]["error"] and len(rows()[3]["mentions"]) == 1


def test_a_model_that_refuses_the_temperature(server):
    server.reply = lambda text: (
        failure(400, "Unsupported value: 'temperature'") if "temperature" in server.asked[-1] else genes(text)
    )
    assert run(server, "--concurrency", 1) == 0
    assert ["temperature" in request for request in server.asked] == [True, False, False, False]
    assert server.asked[0]["temperature"] == 0 and len(rows()[0]["mentions"]) == 2


def test_concurrency_changes_nothing_but_the_time(server):
    texts = [f"{number} p53 {'MDM2 ' * (number % 3)}" for number in range(40)]
    write("in.jsonl", texts)
    at_once, most = Counter(), []

    def reply(text):
        at_once["requests"] += 1
        most.append(at_once["requests"])
        time.sleep(0.02 if int(text.split()[0]) % 4 == 0 else 0.001)
        at_once["requests"] -= 1
        return genes(text)

    server.reply = reply
    for concurrency in (1, 7):
        most.clear()
        assert run(server, "--concurrency", concurrency, output=f"{concurrency}.jsonl") == 0
        assert max(most) <= concurrency and (concurrency == 1 or max(most) > 1)
    assert Path("1.jsonl").read_bytes() == Path("7.jsonl").read_bytes()
    assert [row["text"] for row in rows("7.jsonl")] == texts


def test_a_torn_line_is_asked_again(server):
    server.after(2, failure(401))
    assert run(server, "--concurrency", 1) == 2
    partial = Path("out.jsonl.partial")
    whole = partial.read_bytes()
    partial.write_bytes(whole + b'{"text": "", "ment')
    server.after(9, None)
    assert run(server) == 0
    assert server.texts == [TEXTS[3]] and [row["text"] for row in rows()] == TEXTS
    assert b"".join(whole.splitlines(True)[1:]) == b"".join(Path("out.jsonl").read_bytes().splitlines(True)[:3])


def test_answers_of_another_job_are_not_mixed_in(server, capsys):
    server.after(1, failure(401))
    assert run(server, "--concurrency", 1) == 2
    before = Path("out.jsonl.partial").read_bytes()
    server.after(9, None)
    capsys.readouterr()
    assert run(server, labels=["gene"]) == 2
    said = capsys.readouterr().err
    assert "1 answer(s) of another job: labels was ['gene', 'disease'], is ['gene']. Finish that one" in said
    write("in.jsonl", ["another text"])
    assert run(server) == 2 and "of another job: another input." in capsys.readouterr().err
    assert Path("out.jsonl.partial").read_bytes() == before and server.asked == []
    Path("out.jsonl.partial").write_text("my own notes\n")
    assert run(server) == 2 and "is in the way" in capsys.readouterr().err


def test_an_output_is_never_written_over(server, capsys):
    Path("out.jsonl").write_text("dear\n")
    assert run(server) == 2 and "exists already" in capsys.readouterr().err
    with lock(Path(".hf_distill-tmp-other.jsonl.lock")):
        assert run(server, output="other.jsonl") == 2
        assert "another process writes there at this moment" in capsys.readouterr().err
    assert Path("out.jsonl").read_text() == "dear\n" and server.asked == []


def test_examples_show_every_label(server, capsys):
    spans = [[(0, 3, "gene")]] * 9 + [[(0, 3, "disease"), (4, 8, "virus")], [], [(0, 3, "virus")]]
    texts = [f"p53 like {number}" for number in range(len(spans))]
    lines = [{"text": text, "spans": found} for text, found in zip(texts, spans, strict=True)]
    Path("gold.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    write("in.jsonl", ["p53"])
    assert run(server, "--examples", "gold.jsonl", labels=["gene", "disease", "cell"]) == 0
    said = capsys.readouterr().out
    assert "gold.jsonl: no example of cell." in said and "gold.jsonl: without virus." in said
    system, *shown, last = server.asked[0]["messages"]
    assert system["role"] == "system" and last == {"role": "user", "content": "p53"}
    assert [turn["content"] for turn in shown[::2]] == [*texts[:7], texts[9]]
    assert {turn["role"] for turn in shown[::2]} == {"user"} and {turn["role"] for turn in shown[1::2]} == {"assistant"}
    assert json.loads(shown[-1]["content"]) == {"mentions": [{"text": "p53", "label": "disease"}]}

    Path("gold.tsv").write_text("the\tO\np53\tB-gene\nkinase\tI-gene\n\n")
    assert run(server, "--examples", "gold.tsv", output="tsv.jsonl") == 0
    shown = [turn["content"] for turn in server.asked[1]["messages"][1:3]]
    assert shown == ["the p53 kinase", '{"mentions": [{"text": "p53 kinase", "label": "gene"}]}']
    assert run(server, "--examples", "gold.jsonl", output="no.jsonl", labels=["cell"]) == 2
    assert "has no mentions of cell, but of disease, gene, virus" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("openai:m --labels A", "OPENAI_API_KEY is not set"),
        ("openai:m --labels A --base_url localhost:1", "expected an address such as http://"),
        ("openai:m", "openai needs --labels"),
        ("gliner:m", "gliner needs --labels"),
        ("openai: --labels A", "openai:: expected openai:MODEL, gliner:MODEL, spacy:MODEL, hf:MODEL"),
        ("other:m --labels A", "other:m: expected openai:MODEL"),
        ("openai:m --labels A A", "names A twice"),
        ("spacy:m --examples gold.tsv", "--examples is for openai, not spacy"),
        ("openai:m --labels A --threshold 0.5", "--threshold is for gliner, not openai"),
        ("openai:m --labels A --concurrency 0", "--concurrency must be positive"),
        ("openai:m --labels A --label B", "unknown flag --label. Did you mean labels?"),
        ("openai:m --labels A --examples no.tsv", "no.tsv: no such file"),
        ("spacy:no_such_pipeline", "no_such_pipeline: spaCy cannot load it"),
    ],
)
def test_faults_come_before_the_work(here, capsys, monkeypatch, command, message):
    pytest.importorskip("openai")
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    assert main(["annotate", *command.split(), "--input", "in.jsonl", "--output", "out.jsonl"]) == 2
    assert message in capsys.readouterr().err
    assert os.listdir() == ["in.jsonl"]


def test_faults_of_the_files(server, capsys):
    for content, message in (('{"text": "p53"}\n{"text": 7}\n', "in.jsonl:2: `text` has"), ("[]\n", "in.jsonl:1")):
        Path("in.jsonl").write_text(content)
        assert run(server) == 2 and message in capsys.readouterr().err
    assert run(server, output="out.json") == 2 and "out.json: unknown ending" in capsys.readouterr().err
    assert run(server, output="in.jsonl") == 2 and "would overwrite this input" in capsys.readouterr().err
    assert server.asked == [] and os.listdir() == ["in.jsonl"]


def test_entities_of_a_pipeline_of_spacy(here, capsys):
    spacy = pytest.importorskip("spacy")
    pipeline = spacy.blank("en")
    pipeline.add_pipe("entity_ruler").add_patterns([
        {"label": "GENE", "pattern": "p53"}, {"label": "DISEASE", "pattern": [{"LOWER": "syndrome"}]}
    ])  # fmt: skip
    pipeline.to_disk("pipeline")
    command = ["annotate", "spacy:pipeline", "--input", "in.jsonl", "--output"]
    assert main([*command, "all.jsonl"]) == 0
    gene = {"entity_group": "GENE", "start": 0, "end": 3, "word": "p53"}
    disease = {"entity_group": "DISEASE", "start": 23, "end": 31, "word": "syndrome"}
    assert [row["mentions"] for row in rows("all.jsonl")] == [[gene | {"start": 8, "end": 11}], [], [], [gene, disease]]
    assert main([*command, "one.jsonl", "--labels", "DISEASE"]) == 0
    assert [row["mentions"] for row in rows("one.jsonl")] == [[], [], [], [disease]]
    assert main([*command, "no.jsonl", "--labels", "GENE", "gene"]) == 2
    assert "pipeline: has no label gene; it has DISEASE, GENE." in capsys.readouterr().err


def test_mentions_of_a_student(here, capsys):
    """As `predict` finds them, at whatever text a run begins."""
    tiny.save_student(here / "student")
    texts = [" ".join(words) for words in tiny.sentences(300, seed=1)]
    write("in.jsonl", texts)
    command = ["annotate", "hf:student", "--input", "in.jsonl", "--output", "out.jsonl"]
    assert main(command) == 0
    expected = Tagger("student")(texts)
    near = [[each | {"score": pytest.approx(each["score"], abs=0.02)} for each in found] for found in expected]
    assert [row["mentions"] for row in rows()] == near and sum(map(len, expected)) > 100
    assert main([*command[:-1], "no.jsonl", "--labels", "DISEASE"]) == 2
    assert "student: has no label DISEASE; it has GENE." in capsys.readouterr().err


def test_gliner_reads_long_texts_to_their_end(here):
    gliner = pytest.importorskip("gliner")
    tokenizer = tiny.wordpiece()
    tiny.bert(tokenizer).bert.save_pretrained("encoder")
    tokenizer.save_pretrained("encoder")
    config = gliner.GLiNERConfig(model_name="encoder", hidden_size=24, max_len=12, max_width=3)
    gliner.GLiNER.from_config(config).save_pretrained("model")
    text = "p53 binds mice. " * 20
    write("in.jsonl", [text, "", "p53"])
    command = ["annotate", "gliner:model", "--input", "in.jsonl", "--output", "out.jsonl", "--threshold", "0"]
    assert main([*command, "--labels", "gene", "cell line"]) == 0
    found, nothing, _ = (row["mentions"] for row in rows())
    assert nothing == [] and {each["entity_group"] for each in found} <= {"gene", "cell line"}
    assert found[0]["start"] == 0 and found[-1]["end"] == len(text.strip()) and 0 <= found[0]["score"] <= 1
    assert all(text[each["start"] : each["end"]] == each["word"] for each in found)
