"""Students of every family of token classifiers."""

import copy
from pathlib import Path

import pytest
import tiny
import torch
from compatibility import COLUMNS, FAMILIES, SIZES, TAGS, Family, attempt, sentences, wordpiece
from transformers import (
    AutoModelForTokenClassification,
    AutoTokenizer,
    DebertaV2Config,
    DiffLlamaConfig,
    EsmConfig,
    PreTrainedModel,
)

from hf_distill.arguments import ModelArguments
from hf_distill.data.encoding import encode_dataset
from hf_distill.runtime.pipeline import as_saved
from hf_distill.runtime.schemes import model_tags
from hf_distill.runtime.tags import UserError
from hf_distill.runtime.windows import subwords
from hf_distill.students.build import build_student
from hf_distill.students.pruning import prune_vocabulary
from hf_distill.students.save import save_model
from hf_distill.students.vocabulary import learn_tokenizer
from hf_distill.teachers.labels import match_labels
from hf_distill.teachers.loading import load_tokenizer
from hf_distill.teachers.parts import head_name, layers_name
from hf_distill.teachers.teacher import Teacher
from hf_distill.training.trainer import DistillationTrainer
from hf_distill.training_arguments import DistillationArguments

TOKENIZER = wordpiece()
IDS = torch.arange(5, 35).reshape(2, 15)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_table_of_what_works(tmp_path, monkeypatch, family):
    monkeypatch.chdir(tmp_path)
    document = (Path(__file__).parents[2] / "docs" / "compatibility.md").read_text(encoding="utf-8")
    [row] = [line for line in document.splitlines() if line.startswith(f"| {family} |")]
    for column, cell in zip(COLUMNS, row.split(" | ")[1:], strict=True):
        reason = attempt(family, column)
        assert cell.startswith("refused" if reason else "yes") and reason in document, (column, reason)


@pytest.fixture(params=FAMILIES)
def loaded(request, tmp_path):
    """A family's own tokenizer, and the same as it is loaded."""
    FAMILIES[request.param].save(tmp_path / "model")
    return AutoTokenizer.from_pretrained(tmp_path / "model"), load_tokenizer(str(tmp_path / "model"))


def test_lists_of_words_are_cut_as_the_model_cuts_text(loaded, tmp_path):
    own, tokenizer = loaded
    text = sentences(30, seed=5)
    # What stands before a text's first word differs, so another one stands there.
    before = len(own("the", add_special_tokens=False)["input_ids"])
    expected = [own(f"the {' '.join(words)}", add_special_tokens=False)["input_ids"][before:] for words in text]
    assert [ids for ids, _ in subwords(tokenizer, text)] == expected
    tokenizer.save_pretrained(tmp_path / "student")
    (tmp_path / "student" / "config.json").write_bytes((tmp_path / "model" / "config.json").read_bytes())
    for load in (load_tokenizer, lambda folder: as_saved(AutoTokenizer.from_pretrained(folder))):
        assert [ids for ids, _ in subwords(load(str(tmp_path / "student")), text)] == expected, "as the pipeline will"


def test_a_vocabulary_is_learnt_from_any_tokenizer(loaded, tmp_path):
    own, tokenizer = loaded
    learnt = [learn_tokenizer(tokenizer, sentences(60), 420, tmp_path / str(number)) for number in range(2)]
    assert len({(tmp_path / str(number) / "tokenizer.json").read_bytes() for number in range(2)}) == 1
    assert len(learnt[0]) <= 420 and learnt[0].special_tokens_map == tokenizer.special_tokens_map

    def unknown(tokenizer) -> list[int]:
        """How many subwords of each sentence are unknown, in text with letters and signs that were not learnt from."""
        text = [*sentences(30, seed=5), "Zürich प्रोटीनों ยีน 中 β".split()]
        return [ids.count(tokenizer.unk_token_id) for ids, _ in subwords(tokenizer, text)]

    assert all(new <= old for new, old in zip(unknown(learnt[0]), unknown(own), strict=True))
    # Vowel signs of Devanagari are marks, not letters: the word stays whole where the model's normalisation keeps them.
    word = "प्रोटीन"
    assert learnt[0].decode(next(subwords(learnt[0], [[word]]))[0]).strip() == (
        own.backend_tokenizer.normalizer.normalize_str(word) if own.backend_tokenizer.normalizer else word
    ).strip(" ▁")


@pytest.mark.parametrize("family", FAMILIES)
def test_a_pruned_vocabulary_gives_the_same_answers(tmp_path, family):
    FAMILIES[family].save(tmp_path)
    tokenizer, text = load_tokenizer(str(tmp_path)), [["the", "p53", "kinase"], ["naïve", "IL-2"]]
    model = AutoModelForTokenClassification.from_pretrained(tmp_path).eval()

    def answers(model, tokenizer) -> torch.Tensor:
        encoded = tokenizer(text, is_split_into_words=True, padding=True, padding_side="right", return_tensors="pt")
        inputs = {name: encoded[name] for name in ("input_ids", "attention_mask")}
        with torch.no_grad():
            return model(**inputs).logits[encoded["attention_mask"].bool()]

    before, rows = answers(model, tokenizer), model.config.vocab_size
    pruned = prune_vocabulary(model, tokenizer, text)
    assert len(pruned) == model.config.vocab_size == model.get_input_embeddings().num_embeddings < rows
    torch.testing.assert_close(answers(model, pruned), before)
    save_model(model, pruned, tmp_path / "student")
    again = AutoModelForTokenClassification.from_pretrained(tmp_path / "student").eval()
    torch.testing.assert_close(answers(again, load_tokenizer(str(tmp_path / "student"))), before)
    # Single characters stay, so that no other word becomes unknown.
    others = sentences(30, seed=5)
    old, new = ([ids.count(each.unk_token_id) for ids, _ in subwords(each, others)] for each in (tokenizer, pruned))
    assert old == new


def classifier(family: str) -> PreTrainedModel:
    """A tiny random one with five labels, for the ids of `TOKENIZER`."""
    return FAMILIES[family].model(TOKENIZER)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_loaded_student_has_a_head_for_its_labels(tmp_path, family):
    model = classifier(family).eval()
    save_model(model, TOKENIZER, tmp_path)
    args = ModelArguments(model_name="auto", student_model_name_or_path=str(tmp_path))
    turned = build_student(args, TAGS[::-1], TOKENIZER).eval()
    with torch.no_grad():
        torch.testing.assert_close(turned(IDS).logits.flip(-1), model(IDS).logits)
    other = build_student(args, ["O", "B-DRUG", "I-DRUG"], TOKENIZER)
    assert model_tags(other.config) == ["O", "B-DRUG", "I-DRUG"]
    assert other(IDS).logits.shape == (2, 15, 3)
    assert isinstance(other.get_submodule(head_name(other)), torch.nn.Linear)
    other.save_pretrained(tmp_path)
    again = AutoModelForTokenClassification.from_pretrained(tmp_path).eval()
    with torch.no_grad():
        torch.testing.assert_close(again(IDS).logits, other.eval()(IDS).logits)


def teacher_of(family: str) -> Teacher:
    return Teacher(classifier(family), TOKENIZER, match_labels(TAGS, TAGS), 64)


@pytest.mark.parametrize("family", [family for family in FAMILIES if family != "ALBERT"])
def test_a_student_from_layers_of_the_teacher(tmp_path, family):
    teacher = teacher_of(family)
    args = ModelArguments(model_name="auto", student_layers=[0, 1, 2, 3])
    whole = build_student(args, TAGS, TOKENIZER, teacher).eval()
    with torch.no_grad():
        torch.testing.assert_close(whole(IDS).logits, teacher.model(IDS).logits)

    args = ModelArguments(model_name="auto", student_layers=[0, 3])
    student = build_student(args, TAGS, TOKENIZER, teacher)
    save_model(student, TOKENIZER, tmp_path)
    loaded = AutoModelForTokenClassification.from_pretrained(tmp_path).eval()
    # What remains of the teacher without its layers 1 and 2.
    config = teacher.model.config
    del teacher.model.get_submodule(layers_name(teacher.model))[1:3]
    config.num_hidden_layers = 2
    config.use_cache = False  # a cache counts the layers by numbers that they had before
    if hasattr(config, "layer_types"):
        config.layer_types = [config.layer_types[layer] for layer in (0, 3)]
    with torch.no_grad():
        expected = teacher.model(IDS).logits
        torch.testing.assert_close(loaded(IDS).logits, expected)
        torch.testing.assert_close(student.eval()(IDS).logits, expected)

    rows = encode_dataset(tiny.corpus(8), TOKENIZER, 64, TAGS)
    training = DistillationArguments(str(tmp_path), use_cpu=True, bf16=False, max_steps=1, eval_strategy="no")
    trainer = DistillationTrainer(student, training, teacher_of(family), processing_class=TOKENIZER, train_dataset=rows)
    head = head_name(student)
    before = student.get_submodule(head).weight.clone()
    trainer.train()
    assert not torch.equal(student.get_submodule(head).weight, before)


def test_lists_that_are_as_long_as_the_model_is_deep_stay():
    fields = FAMILIES["DeBERTa-v2, v3"].fields | {"num_hidden_layers": 2}
    model = Family(DebertaV2Config, fields, wordpiece).model(TOKENIZER)
    teacher = Teacher(model, TOKENIZER, match_labels(TAGS, TAGS), 64)
    student = build_student(ModelArguments(model_name="auto", student_layers=[1]), TAGS, TOKENIZER, teacher)
    assert student.config.pos_att_type == ["c2p", "p2c"] and student.config.num_hidden_layers == 1


def test_copied_layers_take_another_dropout():
    args = ModelArguments(model_name="auto", student_layers=[0, 2], dropout=0.25)
    student = build_student(args, TAGS, TOKENIZER, teacher_of("DistilBERT"))
    assert {module.p for module in student.modules() if isinstance(module, torch.nn.Dropout)} == {0.25}


@pytest.mark.parametrize(
    ("family", "layers", "message"),
    [
        ("ALBERT", [0, 1], "type albert., which shares"),
        ("ModernBERT", [1, 3], "layer 1 than in layer 0 .attn_norm.weight"),
        ("RoBERTa", [0, 4], "layers 0 to 3"),
        ("RoBERTa", [0, 1, 2, 3, 3], "layers 0 to 3"),
    ],
)
def test_layers_that_a_teacher_has_not_are_refused(family, layers, message):
    args = ModelArguments(model_name="auto", student_layers=layers)
    with pytest.raises(UserError, match=message):
        build_student(args, TAGS, TOKENIZER, teacher_of(family))


def test_layers_that_depend_on_their_place_or_number_are_refused():
    small = {"num_key_value_heads": 2, "mask_token_id": 4}
    for config, layers, message in (
        (DiffLlamaConfig, [0, 3], "layer 3 of the teacher computes otherwise in place 1: its lambda_init is"),
        (EsmConfig, [0, 3], "parts that depend on its number of layers: .*contact_head"),
    ):
        model = Family(config, SIZES | small, wordpiece).model(TOKENIZER)
        teacher = Teacher(model, TOKENIZER, match_labels(TAGS, TAGS), 64)
        with pytest.raises(UserError, match=f"(?s){message}"):
            build_student(ModelArguments(model_name="auto", student_layers=layers), TAGS, TOKENIZER, teacher)


def test_parts_of_another_family_are_refused_by_name():
    teacher = teacher_of("RoBERTa")
    for args in (
        tiny.bilstm_arguments(embedding_type="bert"),
        ModelArguments(model_name="tinybert", student_layers=[0]),
    ):
        with pytest.raises(UserError, match="is of type roberta. Use --"):
            build_student(args, TAGS, TOKENIZER, teacher)


def test_attentions_of_another_shape_are_refused_before_training(tmp_path):
    teacher, training = teacher_of("Longformer"), DistillationArguments(str(tmp_path), attention_loss_weight=1.0)
    student = build_student(ModelArguments(model_name="auto", student_layers=[0, 3]), TAGS, TOKENIZER, teacher)
    with pytest.raises(UserError, match="a longformer have another shape. Set --attention_loss_weight 0"):
        DistillationTrainer(student, training, teacher, processing_class=TOKENIZER)


@pytest.mark.parametrize("family", ["BERT", "DistilBERT", "MPNet", "ModernBERT", "DeBERTa", "ALBERT", "GPT-2"])
def test_equal_attentions_have_no_loss(tmp_path, family):
    teacher = teacher_of(family)
    config = copy.deepcopy(teacher.model.config)
    for name, value in config.to_dict().items():
        if isinstance(value, float) and ("dropout" in name or name.endswith("pdrop")):
            setattr(config, name, 0.4 if "att" in name else 0.0)
    student = type(teacher.model)(config)
    student.load_state_dict(teacher.model.state_dict())
    training = DistillationArguments(
        str(tmp_path),
        attention_loss_weight=1.0,
        use_cpu=True,
        bf16=False,
        max_steps=1,
        logging_steps=1,
        eval_strategy="no",
    )
    rows = encode_dataset(tiny.corpus(8), TOKENIZER, 64, TAGS)
    trainer = DistillationTrainer(student, training, teacher, processing_class=TOKENIZER, train_dataset=rows)
    trainer.train()
    assert trainer.state.log_history[0]["attention_loss"] == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("family", ["XLM-RoBERTa", "DeBERTa-v2, v3", "ModernBERT", "MPNet", "ALBERT", "XLNet", "GPT-2"])
def test_hidden_states_and_attentions_of_other_families_teach(tmp_path, family):
    weights = {"embedding_loss_weight": 1.0, "hidden_loss_weight": 1.0, "attention_loss_weight": 1.0}
    training = DistillationArguments(
        str(tmp_path), **weights, use_cpu=True, bf16=False, max_steps=1, logging_steps=1, eval_strategy="no"
    )
    rows = encode_dataset(tiny.corpus(8), TOKENIZER, 64, TAGS)
    student = classifier(family)
    torch.nn.init.normal_(student.get_input_embeddings().weight)
    trainer = DistillationTrainer(student, training, teacher_of(family), processing_class=TOKENIZER, train_dataset=rows)
    trainer.train()
    log = next(log for log in trainer.state.log_history if "loss" in log)
    assert all(log[f"{name}_loss"] > 0 for name in ("embedding", "hidden", "attention"))
