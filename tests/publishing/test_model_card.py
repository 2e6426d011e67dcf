"""The model card says what was measured, and nothing else."""

import ast
import json
import re

import pytest
import tiny
import torch
from huggingface_hub import ModelCard
from measured import BENCHMARK, EVERYTHING, STATE, STUDENT
from PIL import Image

from hf_distill.data.corpora import Corpora
from hf_distill.evaluation.scores import Results
from hf_distill.parsing import parse_arguments
from hf_distill.publishing.model_card import write_card
from hf_distill.publishing.onnx_export import write_onnx
from hf_distill.runtime.configuration_bilstm import BiLSTMConfig
from hf_distill.runtime.modeling_bilstm import BiLSTMForTokenClassification
from hf_distill.runtime.tags import UserError, make_tags, spans
from hf_distill.students.build import label_config
from hf_distill.students.save import save_model
from hf_distill.workflow.preparation import prepare_arguments

TAGS = make_tags(["CHEMICAL", "GENE"], "IOBES")
DATA = ["--path_to_train", "{0}/train.tsv", "--path_to_val", "{0}/devel.tsv", "--use_cpu", "1"]
DATA += ["--preset", "original"]


@pytest.fixture
def folder(tmp_path):
    """A saved student, and nothing else."""
    folder = tmp_path / "runs" / "my-student"
    tokenizer = tiny.wordpiece()
    torch.manual_seed(3)
    config = BiLSTMConfig(len(tokenizer), 8, 6, pad_token_id=tokenizer.pad_token_id, **label_config(TAGS))
    config.word_rule, config.word_rule_finds = "apart", 0.5
    model = BiLSTMForTokenClassification(config)
    torch.nn.init.normal_(model.classifier.weight, std=3)
    save_model(model, tokenizer, folder)
    return folder


def write(folder, *flags, data=DATA, results=STUDENT, **corpora):
    """Write the card of a run with these flags. Returns its text."""
    flags = ["--output_dir", str(folder), *(flag.format(folder.parent) for flag in (*data, *flags))]
    arguments = prepare_arguments(parse_arguments(flags))
    corpora = {"train": tiny.corpus(30, 1), "eval": tiny.corpus(20, 2)} | corpora
    results = Results.from_dict(results)
    student = results.evaluations["student"]["eval"]
    student.predictions = corpora["eval"]["tags"]
    student.mention_scores = [[0.8] * len(spans(tags)) for tags in student.predictions]
    write_card(folder, arguments, Corpora(tags=TAGS, **corpora), results)
    return (folder / "README.md").read_text(encoding="utf-8")


def snippets(card):
    return re.findall(r"```python\n(.*?)```", card, flags=re.DOTALL)


def test_every_number_is_in_its_place(folder):
    (folder / "benchmark.json").write_text(json.dumps(BENCHMARK))
    (folder / "trainer_state.json").write_text(json.dumps(STATE))
    card = write(
        folder,
        *"--teacher_model_name_or_path org/teacher --path_to_test {0}/test.tsv --alpha 0.25 --seed 7".split(),
        *("--companions", "2"),
        results=EVERYTHING,
        test=tiny.corpus(10, 3),
    )
    size = (folder / "model.safetensors").stat().st_size / 1e6
    header = "|  | F1 | precision | recall | F1 of the teacher | F1 with labels alone |"
    assert card.count(header) == 2, "development and test data"
    for row in (
        "| all types | 0.7012 (0.686 to 0.717) | 0.7055 | 0.6968 | 0.7234 (0.708 to 0.740) | 0.6345 (0.619 to 0.651) |",
        "| GENE | 0.7212 (0.706 to 0.737) | 0.7255 | 0.7168 | 0.7434 (0.728 to 0.760) | 0.6545 (0.639 to 0.671) |",
        "| CHEMICAL | 0.6712 (0.656 to 0.687) | 0.6755 | 0.6668 | 0.6934 (0.678 to 0.710) | 0.6045 (0.589 to 0.621) |",
        "On the test data:\n\n" + header + "\n| --- | --- | --- | --- | --- | --- |\n"
        "| all types | 0.6891 (0.674 to 0.705) | 0.6934 | 0.6847 | 0.6902 (0.675 to 0.706) | 0.6011 (0.586 to 0.617) |",
        "| parameters | 12,345 | 12,345 |",
        "| one sentence, median (ms) | 1.23 | 23.45 |",
        "| 32 sentences at a time (words per second) | 32,520 | 1,706 |",
        f"| `model.safetensors` | {size:.1f} | 0.7012 (0.686 to 0.717) |",
        "| training data | `train.tsv` | 30 | 179 | GENE 17 |",
        "| sizes | layers 2, hidden size 6, embedding size 8, vocabulary 143 |",
        "| length | 2 epochs, 40 steps; the checkpoint of step 40 was kept |",
        "| loss | 0.75 × mean squared error of the logits + 0.25 × cross-entropy with the labels (label smoothing "
        "0.1) |",
        "| learning rate | 0.001 (linear) |",
        "| seed | 7 |",
    ):
        assert f"{row}\n" in card, row
    assert "F1 above that of the teacher: -0.0222 (-0.030 to -0.010 by a paired bootstrap)." in card
    assert "-0.0011 (-0.015 to +0.012 by a paired bootstrap; the difference may be chance)." in card
    assert "trained on labels alone: +0.0880 (+0.070 to +0.100 by a paired bootstrap)." in card
    assert (
        "on A Processor,\n2 CPU threads:" in card
        and "distilled with `hf_distill` from `org/teacher` and 2 small students taught before" in card
    )
    for name, size in (("training_curve.png", (1200, 435)), ("f1_against_latency.png", (900, 480))):
        assert f"]({name})" in card
        with Image.open(folder / name) as image:
            assert image.size == size and len(image.convert("L").getcolors()) > 10


def test_the_metadata_come_back(folder):
    flags = (
        "--teacher_model_name_or_path org/teacher {0}/own --path_to_test {0}/test.tsv --license mit --language en de"
    )
    flags += " --hub_model_id me/genes"
    (folder.parent / "own").mkdir()
    card = write(folder, *flags.split(), results=EVERYTHING, test=tiny.corpus(10, 3))
    data = ModelCard.load(folder / "README.md").data
    found = {(each.dataset_name, each.dataset_split, each.metric_type): each.metric_value for each in data.eval_results}
    assert found == {
        ("devel.tsv", "validation", "precision"): 0.7055,
        ("devel.tsv", "validation", "recall"): 0.6968,
        ("devel.tsv", "validation", "f1"): 0.7012,
        ("test.tsv", "test", "precision"): 0.6934,
        ("test.tsv", "test", "recall"): 0.6847,
        ("test.tsv", "test", "f1"): 0.6891,
    }
    assert data.model_name == "genes" and data.license == "mit" and data.language == ["en", "de"]
    assert data.library_name == "transformers" and data.pipeline_tag == "token-classification"
    assert data.base_model == ["org/teacher"], "a local folder is no base model"
    assert data.tags == ["hf_distill", "ner", "bilstm", "distillation"] and data.get("datasets") is None
    assert data.get("widget") is None, "sentences of a local corpus are not shown"
    assert "Licence: mit.\nLanguage: en, de." in card and "from `org/teacher` and `own`." in card


def test_a_dataset_of_the_hub_is_named(folder):
    hub = ["--dataset_name", "org/genes", "--dataset_config_name", "small", "--use_cpu", "1"]
    write(folder, "--distillation", "0", data=hub)
    data = ModelCard.load(folder / "README.md").data
    result = data.eval_results[0]
    assert data.datasets == ["org/genes"]
    assert len(data["widget"]) == 3 and all(re.search("p53|BRCA1", each["text"]) for each in data["widget"])
    assert (result.dataset_type, result.dataset_name, result.dataset_config) == ("org/genes", "org/genes", "small")


def test_no_path_of_this_machine_is_told(folder):
    (folder.parent / "teacher").mkdir()
    (folder / "onnx").mkdir()
    (folder / "onnx" / "model.onnx").write_bytes(b"0" * 2**20)
    flags = (
        "--teacher_model_name_or_path {0}/teacher --teacher_checkpoint {0}/weights.pt --student_checkpoint {0}/start.pt"
    )
    flags += " --path_to_unlabeled {0}/a.txt {0}/gone/b.txt.gz --signals_dir {0}/signals"
    card = write(folder, *flags.split(), unlabeled=tiny.corpus(40, 3, labelled=False))
    for part in (str(folder.parent), *folder.parent.parts[1:]):
        assert f"{part}/" not in card
    assert "`teacher` with the weights of `weights.pt`" in card and "`start.pt`" in card
    assert "| unlabelled sentences | `a.txt, b.txt.gz` | 40 |" in card and "| `onnx/model.onnx` | 1.0 | " in card
    assert "base_model" not in card


def test_what_was_not_measured_is_left_out(folder):
    full = write(folder, "--distillation", "0")
    for absent in ("teacher", "labels alone:", "png", "ms)", "ONNX", "onnx", "Licence", "license", "language", "None"):
        assert absent not in full, absent
    assert "trained with `hf_distill` on labelled sentences alone." in full and "## Recipe" in full
    assert "| loss | cross-entropy with the labels (label smoothing 0.1) |" in full and "\n\n\n" not in full
    assert not list(folder.glob("*.png"))
    evaluated = write(folder, *"--do_train 0 --distillation 0 --student_model_name_or_path org/student".split())
    assert "## Recipe" not in evaluated and "chose the checkpoint" not in evaluated


def test_a_template_of_the_users_own(folder):
    template = folder.parent / "card.md"
    template.write_text(
        "---\n{{ card_data }}\n---\n# Ours\n{{ model_id }}: {{ results.eval_f1 }} {{ types }}\n{{ recipe }}"
    )
    card = write(folder, "--distillation", "0", "--card_template", str(template))
    assert "# Ours\nmy-student: 0.7012 ['CHEMICAL', 'GENE']\n|  |  |" in card and "## Use" not in card
    assert ModelCard.load(folder / "README.md").data.eval_results[2].metric_value == 0.7012
    template.write_text("{{ nothing.at_all }}")
    with pytest.raises(UserError, match=r"card\.md: this template gives no model card: 'nothing' is undefined"):
        write(folder, "--distillation", "0", "--card_template", str(template))
    with pytest.raises(UserError, match="--card_template: there is no file"):
        write(folder, "--card_template", "missing.md")


def test_a_transformer_says_what_the_stock_pipeline_finds(tmp_path):
    folder = tmp_path / "my-student"
    save_model(*tiny.random_student("bert", tiny.TAGS), folder)
    f1 = {"own": 0.9, "first": 0.7, "average": 0.6, "max": 0.5, "simple": 0.4}
    data = [flag.replace("{0}", str(tmp_path)) for flag in DATA]
    card = write(folder, data=data, results=STUDENT | {f"{name}_pipeline_f1": value for name, value in f1.items()})
    assert "| the model's own | 0.9000 |" in card
    assert '| transformers\', `aggregation_strategy="simple"` | 0.4000 |' in card
    codes = [code.replace('"my-student"', repr(str(folder))) for code in snippets(card)]
    names: dict = {}
    exec(codes[1], names)  # without trust_remote_code
    assert type(names["find"]).__name__ == "TokenClassificationPipeline"


def test_the_examples_run(folder):
    (folder / "onnx").mkdir()
    model = BiLSTMForTokenClassification.from_pretrained(folder)
    write_onnx(model.eval(), folder / "onnx")
    card = write(folder, "--distillation", "0", "--widget_examples", 'p53 "binds" BRCA1', "no \\ gene")
    assert '- text: p53 "binds" BRCA1\n- text: no \\ gene\n' in card
    codes = [code.replace('"my-student"', repr(str(folder))) for code in snippets(card)]
    assert [len(code.replace("\n\n", "\n").splitlines()) for code in codes] == [3, 3, 3]
    for code in codes:
        names: dict = {}
        exec(code, names)
        if "find" in names:
            # The last line is what the user sees.
            [mention, *_] = eval(code.splitlines()[-1], names)
            assert {"entity_group", "score", "word", "start", "end"} <= mention.keys()
    assert names["find"].network.session, "the last one asked ONNX Runtime"


ODD = ["<IMG/SRC=X/ONERROR=ALERT(1)>", "[x](https://y)", "a|b`c\\", "*_GENE_*", "&lt;"]


def test_names_of_others_stand_as_they_are(folder, monkeypatch):
    """And neither Markdown, HTML, YAML nor Python takes them for its own."""
    markdown_it = pytest.importorskip("markdown_it")  # comes with the command line of huggingface_hub
    types = [*ODD, "GENE_or-GENE.product"]
    scores = {f"eval_{name}_{score}": 0.5 for name in types for score in ("f1", "precision", "recall")}
    tags = [f"S-{name}" for name in types]
    devel = tiny.corpus(5, 2).map(lambda row: {"tokens": ["a"] * len(tags), "tags": tags})
    odd = folder.parent / 'a"b`<i>_|.tsv'
    tiny.write_tsv(odd, 5)
    folder = folder.rename(folder.parent / "my`<b>\"'_x")
    monkeypatch.setitem(globals(), "TAGS", make_tags(types, "IOBES"))
    flags = ["--distillation", "0", "--path_to_val", str(odd)]
    card = write(folder, *flags, results=STUDENT | scores, eval=devel, train=devel)
    text = re.sub(r"```.*?```", "", card.split("\n---\n", 1)[1], flags=re.DOTALL)
    parsed = markdown_it.MarkdownIt("commonmark").enable("table").parse(text)
    inline = [each for token in parsed for each in token.children or ()]
    assert not [each for each in inline if each.type in ("link_open", "em_open", "image")]
    assert {each.content for each in inline if each.type == "html_inline"} <= {"<code>", "</code>"}
    assert not [token for token in parsed if token.type == "html_block"]
    shown = ["".join(each.content for each in token.children) for token in parsed if token.type == "inline"]
    cells = [html_free(cell) for cell in shown]
    assert set(types) <= set(cells), "the first cells of the table of scores"
    assert html_free("".join(shown)).count(", ".join(sorted(types))) == 2 and 'a"b`<i>_|.tsv' in cells
    assert "my`<b>\"'_x" in cells and "GENE_or-GENE.product" in card
    for code in snippets(card):
        ast.parse(code)
    data = ModelCard.load(folder / "README.md").data
    assert data.model_name == folder.name and data.eval_results[0].dataset_name == odd.name


def html_free(text):
    return text.replace("<code>", "").replace("</code>", "")


@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
        "{% include '/etc/passwd' %}",
        "{% for i in range(10 ** 9) %}{% endfor %}",
        "{{ 1 / 0 }}",
        "{{ '{:,}'.format(none) }}",
    ],
)
def test_a_template_reaches_nothing_but_its_variables(folder, template):
    path = folder.parent / "card.md"
    path.write_text(f"---\n{{{{ card_data }}}}\n---\n{template}")
    with pytest.raises(UserError, match=r"card\.md: this template gives no model card"):
        write(folder, "--distillation", "0", "--card_template", str(path))
