"""The report: what it says of a run, and what its filters show in a browser."""

import json
import re
import shutil
from collections import Counter

import pytest
from measured import BENCHMARK, EVERYTHING, STATE, STUDENT

from hf_distill.cli import main
from hf_distill.files import write_columns, write_json
from hf_distill.publishing import report
from hf_distill.publishing.hub import PUBLISHED
from hf_distill.publishing.report import write_report
from hf_distill.runtime.tags import UserError

# Words, then the tags of gold, teacher and student. What is wrong stands behind each.
SENTENCES = [
    ("p53 binds", "S-GENE O", "S-GENE O", "S-GENE O"),  # 1: nothing
    ("the p53 binds", "O S-GENE O", "O S-GENE O", "O O O"),  # 2: student missed
    ("a b c", "O O O", "S-GENE O O", "O O O"),  # 3: teacher spurious
    ("a b <script>alert(1)</script>", "O O O", "O O O", "O O S-GENE"),  # 4: student spurious
    ("x y z", "B-GENE E-GENE O", "B-GENE I-GENE E-GENE", "S-GENE S-GENE O"),  # 5: boundary, both
    ("acid </script> <!--", "S-CHEMICAL O S-GENE", "S-CHEMICAL O S-GENE", "S-GENE O S-GENE"),  # 6: student type
    ("acid & \u2028 p53", "S-CHEMICAL O O S-GENE", "O O O S-GENE", "S-CHEMICAL O O O"),  # 7: missed, one each
]


def score(column):
    """A score for the first word of each mention, 0.9 for the first one of a sentence, then 0.8, and so on."""
    return [
        [
            f"0.{9 - before.count(True)}" if begins else "-"
            for before, begins in ((begin[:place], begin[place]) for place in range(len(begin)))
        ]
        for begin in ([tag[0] in "BS" for tag in tags] for tags in column)
    ]


def make_run(folder, sentences=SENTENCES, taught=True, **files):
    """The files that a run leaves."""
    columns = [[column.split(" ") for column in each] for each in zip(*sentences, strict=True)]
    if not taught:
        columns[2] = [["-"] * len(words) for words in columns[0]]
    words, gold, teacher, student = columns
    columns = [words, gold, teacher, score(teacher), student, score(student)]
    write_columns(folder / "predictions_eval.tsv", *columns)
    for name, content in ({"all_results": EVERYTHING} | files).items():
        write_json(folder / f"{name}.json", content)
    return folder


def page_of(*folders):
    output = folders[0].parent / "page" / "report.html"
    write_report(folders, output)
    return output.read_text(encoding="utf-8")


def browser_data(page):
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL).group(1))


def text_of(page):
    """What stands between the tags, blanks folded."""
    return " ".join(re.sub(r"<[^>]*>", " ", page.partition("<main>")[2]).split())


def test_mentions_are_counted_by_kind(tmp_path):
    _, counts, scored = report._browse([report._read_run(make_run(tmp_path / "run"), "run")])
    mentions = scored["run"]["student"]
    assert mentions.types.tolist() == ["GENE"] * 6 + ["CHEMICAL"] and mentions.gold == {"GENE": 5, "CHEMICAL": 2}
    assert mentions.scores.tolist() == [0.9, 0.9, 0.9, 0.8, 0.9, 0.8, 0.9]
    assert mentions.right.tolist() == [True, False, False, False, False, True, True]
    assert counts["run", "student"] == Counter(
        {
            ("gold", "right"): 3,
            ("gold", "missed"): 2,
            ("gold", "boundary"): 1,
            ("gold", "type"): 1,
            ("found", "right"): 3,
            ("found", "boundary"): 2,
            ("found", "type"): 1,
            ("found", "spurious"): 1,
        }
    )
    assert counts["run", "teacher"] == Counter(
        {
            ("gold", "right"): 5,
            ("gold", "missed"): 1,
            ("gold", "boundary"): 1,
            ("found", "right"): 5,
            ("found", "boundary"): 1,
            ("found", "spurious"): 1,
        }
    )
    assert "student 3 1 1 2 3 1 2 1 teacher 5 0 1 1 5 0 1 1" in text_of(page_of(tmp_path / "run"))


def test_a_student_that_was_only_evaluated_was_not_trained(tmp_path):
    folder = make_run(tmp_path / "run")
    assert "trained on 30 sentences" in page_of(folder)
    (folder / "run.yaml").write_text("do_train: false\nlr_scheduler_kwargs: {num_cycles: 2}\n")
    page = page_of(folder)
    assert "trained on" not in page and "lr_scheduler_kwargs {&#39;num_cycles&#39;: 2}" in text_of(page)


def test_scores_on_different_data_are_told_apart(tmp_path):
    same = make_run(tmp_path / "a", job={"eval data": "x", "test data": "t"})
    other = make_run(tmp_path / "b", job={"eval data": "y", "test data": "t"})
    assert "These runs have different development data: their scores" in text_of(page_of(same, other))
    assert "These runs have different" not in text_of(page_of(same, make_run(tmp_path / "c")))


def test_the_numbers_of_a_run(tmp_path):
    int8 = {"int8_f1": 0.6987, "int8_bytes": 2_345_678}
    folder = make_run(tmp_path / "run", all_results=EVERYTHING | int8, benchmark=BENCHMARK, trainer_state=STATE)
    (folder / "model.safetensors").write_bytes(b"0" * 9_876_543)
    text = text_of(page_of(folder))
    for row in (
        "On the development data teacher 0.7234 0.708 to 0.740 0.7277 0.7190 12,345 0.0 23.45",
        "student, labels alone 0.6345 0.619 to 0.651 0.6388 0.6301",
        "student 0.7012 0.686 to 0.717 0.7055 0.6968 -0.0222 -0.030 to -0.010 12,345 9.9 1.23",
        "student, int8 0.6987 12,345 2.3",
        "On the test data teacher 0.6902 0.675 to 0.706 0.6945 0.6858 12,345 0.0 23.45",
        "GENE teacher 0.7434 0.728 to 0.760 0.7477 0.7390",
        "in float32 on A Processor, 2 threads.",
        # The tiles speak of the test data where there are any.
        "F1 on the test data 0.6891 95 % interval 0.674 to 0.705",
        "F1 above the teacher's -0.0011 95 % interval -0.015 to +0.012, may be chance",
        "F1 above labels alone +0.0880 95 % interval +0.070 to +0.100 Parameters",
        "Median latency of a sentence 1.23 ms 19.1 times as fast as the teacher",
        "Weights in int8 2.35 MB F1 0.6987",
    ):
        assert row in text.replace("&#39;", "'"), row
    assert text.count("training step") == 2 and text.count("F1, with 95 % interval") == 2


def test_a_run_of_labels_alone(tmp_path):
    """No teacher, one type, nothing measured, nothing logged."""
    results = {name: value for name, value in STUDENT.items() if "eval" in name and "CHEMICAL" not in name}
    page = page_of(make_run(tmp_path / "run", SENTENCES[:5], taught=False, all_results=results))
    data, text = browser_data(page), text_of(page)
    assert data["types"] == ["GENE"] and all(row[3] is None for row in data["runs"][0]["rows"])
    assert "student 0.7012 0.686 to 0.717" in text and "teacher 0" not in text
    assert "F1 and what it costs" not in text and "Entity types" not in text
    assert "has logged no training" in text and "--measure_time 1" in text and "no run.yaml" in text


def test_corpus_text_is_text(tmp_path):
    page = page_of(make_run(tmp_path / '"><b>run', benchmark=BENCHMARK, trainer_state=STATE))
    assert page.count("<script") == page.count("</script>") == 2, "the data and the page's own"
    assert "alert(1)<" not in page and "\u2028" not in page and "<b>run" not in page
    texts = browser_data(page)["texts"]
    assert "a\tb\t<script>alert(1)</script>" in texts and "acid\t&\t\u2028\tp53" in texts


def test_the_page_stands_alone(tmp_path):
    """Nothing is fetched, nothing tells of the machine, and the same files give the same page."""
    folder = make_run(tmp_path / "run", benchmark=BENCHMARK, trainer_state=STATE)
    (folder / "run.yaml").write_text("path_to_train: train.tsv\nteacher_model_name_or_path:\n- org/teacher\nseed: 7\n")
    page = page_of(folder)
    assert "http" not in page.replace("http-equiv", "") and "url(#" in page
    assert set(re.findall(r'(?:src|href)="([^"#]*)', page)) == {"data:,", ""}
    assert re.findall(r"url\((?!#)", page) == [] and "@import" not in page
    assert str(tmp_path) not in page and tmp_path.parts[1] + "/" not in page
    assert ", taught by org/teacher." in page and "train.tsv" in page
    assert page_of(folder) == page
    assert not any("html" in pattern for pattern in PUBLISHED), "sentences of the corpus stay at home"


def test_curves_come_from_the_newest_checkpoint_of_an_interrupted_run(tmp_path):
    folder = make_run(tmp_path / "run")
    for step, state in (("9", {"log_history": []}), ("10", STATE)):
        (folder / f"checkpoint-{step}").mkdir()
        write_json(folder / f"checkpoint-{step}" / "trainer_state.json", state)
    (folder / "checkpoint-11").mkdir()
    page = page_of(folder)
    assert "Training loss of run by step" in page and "F1 of run on the development data by step" in page


def test_several_runs(tmp_path):
    """One table, one browser; a teacher that several share stands there once."""
    one = make_run(tmp_path / "a" / "run", benchmark=BENCHMARK)
    two = make_run(tmp_path / "b" / "run", SENTENCES[1:3], all_results=EVERYTHING | {"eval_f1": 0.7777})
    other = {name: value + 0.001 for name, value in EVERYTHING.items()}
    three = make_run(tmp_path / "third", taught=False, all_results=other | {"parameters": 1000})
    page = page_of(one, two)
    text, data = text_of(page), browser_data(page)
    assert "run (1) 0.7012" in text and "run (2) 0.7777" in text
    assert text.count("teacher 0.7234") == 1 and str(tmp_path) not in page
    assert [(run["name"], run["sentences"]) for run in data["runs"]] == [("run (1)", 7), ("run (2)", 2)]
    assert len(data["texts"]) == 7, "a sentence is there once"
    text = text_of(page_of(one, three))
    assert "teacher of run 0.7234" in text and "teacher of third 0.7244" in text
    assert page_of(one, one) == page_of(one)


def test_sentences_that_are_left_out(tmp_path, monkeypatch):
    """Those with an error come first, and the page says how many there are."""
    monkeypatch.setattr(report, "MOST_SENTENCES", 6)
    right = [("p53", "S-GENE", "S-GENE", "S-GENE")] * 50
    [run] = browser_data(page_of(make_run(tmp_path / "run", right + SENTENCES)))["runs"]
    assert (run["sentences"], run["faulty"]) == (57, 6)
    assert [row[0] for row in run["rows"]] == [52, 53, 54, 55, 56, 57]


def test_the_command(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    make_run(tmp_path / "run", all_results=STUDENT)
    assert main(["report", "run"]) == 0 and "report.html" in capsys.readouterr().out
    assert main(["report", "run", "run/", "--output", "new/page.html"]) == 0
    assert (tmp_path / "report.html").read_text() == (tmp_path / "new" / "page.html").read_text()
    (tmp_path / "begun" / "checkpoint-4").mkdir(parents=True)
    for arguments, message in (
        (["run", "begun"], "begun: there are no results here (all_results.json). Name the --output_dir of a run"),
        ([], "--folders"),
        (["run", "--outputs", "x"], "unknown flag --outputs. Did you mean output?"),
    ):
        assert main(["report", *arguments]) == 2
        assert message in capsys.readouterr().err
    (tmp_path / "run" / "predictions_eval.tsv").unlink()
    assert main(["report", "run"]) == 0
    assert "There are no predictions" in (tmp_path / "report.html").read_text()


@pytest.fixture(scope="module")
def chromium():
    """A headless browser, the system's own."""
    playwright = pytest.importorskip("playwright.sync_api", reason="the report's page is tested with playwright")
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("the report's page is tested with chromium")
    with playwright.sync_playwright() as started:
        options = ["--no-sandbox", "--disable-background-networking", "--disable-gpu"]
        browser = started.chromium.launch(executable_path=path, args=options)
        yield browser
        browser.close()


@pytest.fixture
def opened(chromium):
    """Opens a page of 400 x 800 pixels; whatever it complains about, or asks the network for, fails the test."""
    tab = chromium.new_page(viewport={"width": 400, "height": 800})
    trouble = []
    tab.on("console", lambda message: trouble.append(message.text))
    tab.on("pageerror", lambda error: trouble.append(str(error)))
    tab.on("request", lambda request: trouble.append(request.url) if request.url[:5] not in ("file:", "data:") else 0)

    def open_page(*folders):
        page_of(*folders)
        tab.goto((folders[0].parent / "page" / "report.html").as_uri())
        return tab

    yield open_page
    tab.close()
    assert trouble == []


def places(tab):
    return [int(text.removeprefix("sentence ")) for text in tab.locator("#sentences .place").all_inner_texts()]


def choose(tab, name, value):
    tab.locator(f"[name={name}][value={value}]").click()


def test_the_filters_in_a_browser(tmp_path, opened):
    tab = opened(make_run(tmp_path / "run", benchmark=BENCHMARK, trainer_state=STATE))
    assert places(tab) == [2, 4, 5, 6, 7], "where the student is wrong"
    numbers = [int(text) for text in tab.locator("form .count").all_inner_texts()]
    assert numbers == [7, 5, 3, 1, 2] + [2, 1, 1, 1]
    by_sentences = {"all": [1, 2, 3, 4, 5, 6, 7], "student_lost": [2, 4, 6], "student_won": [3], "both_wrong": [5, 7]}
    for value, expected in by_sentences.items():
        choose(tab, "sentences", value)
        assert places(tab) == expected
    choose(tab, "sentences", "all")
    order = tab.get_by_role("combobox", name="Order")
    order.select_option("the student's least sure mention first")
    assert places(tab) == [5, 6, 1, 4, 7, 2, 3]
    order.select_option("as in the corpus")
    choose(tab, "sentences", "student_wrong")
    for value, expected in {"missed": [2, 7], "spurious": [4], "boundary": [5], "type": [6]}.items():
        choose(tab, "kind", value)
        assert places(tab) == expected
        choose(tab, "kind", value)
    choose(tab, "kind", "missed")
    choose(tab, "kind", "spurious")
    assert places(tab) == [2, 4, 7]
    choose(tab, "sentences", "student_lost")
    assert places(tab) == [2, 4]
    tab.get_by_role("searchbox", name="Text").fill("SCRIPT")
    assert places(tab) == [4] and tab.get_by_role("status").inner_text() == "1 to 1 of 1 sentence"
    tab.get_by_role("searchbox", name="Text").fill("nothing like it")
    assert places(tab) == [] and tab.get_by_role("status").inner_text() == "No sentence is like this."


def test_entity_types_and_marks_in_a_browser(tmp_path, opened):
    tab = opened(make_run(tmp_path / "run"))
    tab.get_by_role("combobox", name="Entity type").select_option("CHEMICAL")
    assert places(tab) == [6, 7]
    choose(tab, "kind", "missed")
    assert places(tab) == [], "what the student missed in 7 is a GENE"
    choose(tab, "kind", "missed")
    assert tab.locator("select[name=type] option").all_inner_texts() == ["any (5)", "CHEMICAL (2)", "GENE (5)"]
    rows = [" ".join(text.split()) for text in tab.locator("#sentences li").nth(1).locator(".row").all_inner_texts()]
    assert rows == [
        "gold acid CHEMICAL missed by teacher & p53 GENE missed by student",
        "teacher acid & p53 GENE 0.90",
        "student acid CHEMICAL 0.90 & p53",
    ]
    classes = [mark.get_attribute("class") for mark in tab.locator("#sentences li").first.locator("mark").all()]
    assert classes == ["gold", "gold", "right", "right", "type", "right"]


def test_keyboard_and_pages_in_a_browser(tmp_path, opened):
    """Sixty sentences come by 25; a script in a token does not run; nothing is wider than a phone."""
    tab = opened(make_run(tmp_path / "run", SENTENCES[3:4] * 60, benchmark=BENCHMARK, trainer_state=STATE))
    assert places(tab) == list(range(1, 26)) and tab.get_by_role("button", name="Previous").is_disabled()
    tab.get_by_role("button", name="Next").focus()
    tab.keyboard.press("Enter")
    assert places(tab) == list(range(26, 51)) and "26 to 50 of 60 sentences" in tab.locator(":focus").inner_text()
    tab.get_by_role("button", name="Next").click()
    assert places(tab) == list(range(51, 61)) and tab.get_by_role("button", name="Next").is_disabled()
    tab.locator("[value=student_wrong]").focus()
    tab.keyboard.press("ArrowLeft")
    assert places(tab) == list(range(1, 26)) and tab.locator("[value=all]").is_checked()
    assert "<script>alert(1)</script>" in tab.locator("#sentences").inner_text()
    assert tab.locator("#sentences script").count() == 0
    for width in (400, 320, 1400):
        tab.set_viewport_size({"width": width, "height": 800})
        assert tab.evaluate("document.documentElement.scrollWidth") <= width


def test_several_runs_in_a_browser(tmp_path, opened):
    one = make_run(tmp_path / "one")
    tab = opened(one, make_run(tmp_path / "two", SENTENCES[1:4], taught=False))
    choose(tab, "sentences", "student_lost")
    assert places(tab) == [2, 4, 6]
    tab.get_by_role("combobox", name="Run").select_option("two")
    assert places(tab) == [1, 3], "without a teacher: where the student is wrong"
    assert tab.get_by_text("teacher right, student wrong").is_hidden()
    assert tab.locator(".row", has_text="teacher").count() == 0


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("all_results.json", '{"eval_f1": 0.5', "not valid JSON"),
        ("all_results.json", "[1]", "holds no JSON object"),
        ("all_results.json", '{"eval_f1": "high"}', "eval_f1 is 'high', no number"),
        ("all_results.json", '{"eval_f1": 1.0, "eval_f1_above_teacher": 0.1}', "of a difference, a bound is missing"),
        ("benchmark.json", "[]", "holds no JSON object"),
        ("benchmark.json", '{"student": 3}', "is not what --measure_time writes"),
        ("job.json", "{", "not valid JSON"),
        ("trainer_state.json", '{"log_history": 3}', "log_history is no list of objects"),
        ("predictions_eval.tsv", "p53\tO\tO\t-\tS-GENE\tx\n", ":1: not as it was written"),
        ("predictions_eval.tsv", "p53\tO\tO\t-\tS-GENE\t-\n", ":1: not as it was written"),
        ("predictions_eval.tsv", "p53\tO\tO\t-\tO\t-\np53\tO\n", ":1: not as it was written"),
    ],
)
def test_damaged_files_are_named(tmp_path, name, content, says):
    make_run(tmp_path)
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=re.escape(says)) as caught:
        write_report([tmp_path], tmp_path / "report.html")
    assert name in str(caught.value)
