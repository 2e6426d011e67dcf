"""The page of demo/web in a real browser: what it marks is what Python's pipeline finds."""

import json
import shutil
import subprocess

import pytest
import tiny
import torch

pytest.importorskip("playwright", reason="the demo is tested with playwright: pip install playwright")
for program in ("npm", "chromium"):
    if not shutil.which(program):
        pytest.skip(f"the demo is tested with {program}", allow_module_level=True)
import web  # noqa: E402

SOURCE = web.ROOT / "demo" / "web"
if not (SOURCE / "node_modules").exists():
    pytest.skip("the demo has not been installed: npm --prefix demo/web ci", allow_module_level=True)

TAGS = ["O", *(f"{prefix}-{entity}" for entity in ("CELL", "GENE") for prefix in "BIES")]
TEXTS = [
    "p53 binds BRCA1-kinase (p53), in mice.",
    "",
    "  \n ",
    "\u0394p53 – the naïve 🧬 cells of p53\u0301x 癌 p53",
    "O'Brien's U.S. 3,000 nai\u0308ve α-actin_2;\u2028IL-2/IL-4\x85\x1cp53\ufeffkinase",
    "🧬🧬 p53 🧬 kinase \u200d\u200b receptor ½ Ⅷ ٣ \U0001d7d8",
    "<b>p53</b> & kinase\n\n[CLS] ##ase\n",
    "x" * 300,
    " ".join(word for words in tiny.sentences(60, seed=9) for word in words),  # many windows
    "🧬p53é" * 60 + " the kinase",
    "王明在p53上海。タワーへ ยีนข้าว हिन्दी-क्\u200dष می\u200cخواهم 👨\u200d👩\u200d👧❤️!👍🏽🇩🇪 1️⃣ p53",
]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run(["npm", "run", "build", "--", f"--outdir={folder}"], cwd=SOURCE, check=True, capture_output=True)
    return folder


@pytest.mark.isa
@pytest.mark.parametrize(
    ("kind", "rule", "tags"),
    [
        ("bert", "apart", TAGS),
        ("bilstm", "within", TAGS),
        ("bilstm", "characters", ["O", "B-GENE", "I-GENE"]),
    ],
)
def test_the_page_marks_what_the_pipeline_finds(tmp_path, monkeypatch, built, kind, rule, tags):
    # One window at a time, as the page asks: in int8, what stands in one batch is scaled alike.
    monkeypatch.setattr("hf_distill.runtime.windows.BATCH_SUBWORDS", 1)
    student = tiny.save_student(tmp_path, kind, tags, rule, trained=True)
    find = web.python_pipeline(student)
    texts = [*TEXTS, *(" ".join(words) for words in tiny.sentences(40, seed=5))]
    expected = [web.spans(find(text)) for text in texts]
    assert sum(map(len, expected)) > 50
    with web.open_demo(built, student) as demo:
        for text, marks in zip(texts, expected, strict=True):
            assert demo.find(text) == marks, text
        assert demo.trouble == []
        assert demo.page.inner_text("#threads") == "1"
        size = (student / "onnx" / "model_quantized.onnx").stat().st_size / 1e6
        assert demo.page.inner_text("#size") == f"{size:.1f} MB"


@pytest.mark.isa
def test_what_is_typed_is_marked_and_listed(tmp_path, built):
    student = tiny.save_student(tmp_path, "bilstm", TAGS, "apart", trained=True)
    text = "Loss of p53 (BRCA1)"
    mentions = web.python_pipeline(student)(text)
    assert mentions
    with web.open_demo(built, student) as demo:
        demo.page.fill("#text", "")
        demo.page.locator("#text").press_sequentially(text, delay=5)
        demo.wait()
        assert demo.marks() == web.spans(mentions)
        listed = [each.split("\n") for each in demo.page.locator("#mentions li").all_inner_texts()]
        assert [each[:2] for each in listed] == [[each["entity_group"], each["word"]] for each in mentions]
        # The two round otherwise.
        assert [float(each[2]) for each in listed] == pytest.approx([each["score"] for each in mentions], abs=0.02)
        assert demo.page.locator("#legend li").all_inner_texts() == ["CELL", "GENE"]
        # What lies behind an edit moves along before the answer is here.
        busy, marked = demo.page.locator("#text").evaluate(
            """text => {
                text.value = "A " + text.value;
                text.dispatchEvent(new Event("input"));
                return [mentions.ariaBusy, [...marks.querySelectorAll("mark")].map((mark) => mark.textContent)];
            }"""
        )
        assert (busy, marked) == ("true", [mention["word"] for mention in mentions])
        demo.wait()
        assert demo.trouble == []


def test_nothing_is_asked_for_elsewhere(tmp_path, built):
    """Neither the page nor its worker could, if it wanted to."""
    student = tiny.save_student(tmp_path, "bert", TAGS, "apart", trained=True)

    def ask(demo, place):
        elsewhere = demo.page.url.replace("127.0.0.1", "localhost")
        return place.evaluate(
            f"fetch('{elsewhere}', {{ mode: 'no-cors' }}).then(() => 'answered', () => 'refused')",
        )

    with web.open_demo(built, student) as demo:
        [worker] = demo.page.workers
        assert ask(demo, demo.page) == ask(demo, worker) == "refused"
    with web.open_demo(built, student, bypass_csp=True) as demo:
        assert ask(demo, demo.page) == "answered", "but for the page's policy"


def test_a_missing_student_is_reported_in_words(tmp_path, built):
    with web.open_demo(built, tmp_path) as demo:
        assert "Export one with --export onnx, and copy its folder to model/" in demo.page.inner_text("#status.error")


def test_the_stock_pipeline_of_transformers_js_reads_the_folder(tmp_path):
    student = tiny.save_student(tmp_path, "bert", TAGS, "apart", trained=True)
    script = """
        import { env, pipeline } from "@huggingface/transformers";
        env.allowRemoteModels = false;
        const find = await pipeline("token-classification", process.argv[1], { dtype: "q8" });
        console.log(JSON.stringify(await find("the p53 kinase", { ignore_labels: [] })));
    """
    command = ["node", "--input-type=module", "--eval", script, str(student)]
    answer = json.loads(subprocess.run(command, cwd=SOURCE, check=True, capture_output=True, text=True).stdout)
    find = web.python_pipeline(student)
    input_ids = torch.tensor([find.tokenizer("the p53 kinase")["input_ids"]])
    [logits] = find.network(input_ids=input_ids.numpy(), attention_mask=torch.ones_like(input_ids).numpy())
    best = [find.model.config.id2label[label] for label in logits.argmax(-1).tolist()]
    assert [each["entity"] for each in answer] == best[1:-1]
