"""Smaller tokenizers for a student: learnt from its text, or the teacher's without what its text lacks."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from ..files import record, temporary_folder
from ..runtime.pipeline import FOR_LISTS
from ..runtime.tags import UserError
from ..teachers.loading import generic_tokenizer, load_tokenizer


def learn_tokenizer(
    tokenizer: PreTrainedTokenizerBase, sentences: Iterable[Sequence[str]], size: int, folder: Path
) -> PreTrainedTokenizerBase:
    """Train a tokenizer with the normalisation and special tokens of a given one, on words as they stand in lists.

    A WordPiece tokenizer gives a WordPiece tokenizer that splits words in the same way; any other a byte-level BPE that
    splits them at punctuation: it knows every character, and its training gives the same result every time, which
    Unigram's does not.

    Args:
        tokenizer: the given tokenizer.
        sentences: lists of words, iterated over several times.
        size: vocabulary size.
        folder: where to save the trained tokenizer, once it is known to be usable.

    Returns:
        The trained tokenizer, loaded from `folder`.

    Raises:
        UserError: the text has more distinct characters than `size`, or the result does not cut words reliably.
    """
    pattern = generic_tokenizer(tokenizer)
    pattern.init_kwargs.pop(FOR_LISTS, None)
    continuing: list[str] = []
    if type(pattern.backend_tokenizer.model).__name__ == "WordPiece":
        # Passing the continuing characters as special tokens fixes their ids. Otherwise these ids, by which the trainer
        # breaks ties, differ between runs (huggingface/tokenizers, issue 1794).
        prefix = pattern.backend_tokenizer.model.continuing_subword_prefix
        continuing = [prefix + letter for letter in sorted(_continuing_characters(pattern, sentences))]
    else:
        pattern = _byte_level(pattern)
    trained = pattern.train_new_from_iterator(
        map(" ".join, sentences), vocab_size=size, new_special_tokens=continuing, show_progress=False
    )
    if len(trained) > size:
        raise UserError(f"--vocabulary_size {size} is too small: the characters of the text alone take {len(trained)}.")
    with temporary_folder(folder.parent) as temporary:
        saved = temporary / folder.name
        trained.save_pretrained(saved)
        for name, entry in (("tokenizer.json", "added_tokens"), ("tokenizer_config.json", "extra_special_tokens")):
            content = json.loads((saved / name).read_text(encoding="utf-8"))
            tokens = content.get(entry, [])
            texts = [token["content"] if isinstance(token, dict) else token for token in tokens]
            content[entry] = [token for token, text in zip(tokens, texts, strict=True) if text not in continuing]
            (saved / name).write_text(json.dumps(content, ensure_ascii=False, indent=2), encoding="utf-8")
        load_tokenizer(str(saved), words={word for words in sentences for word in words})
        record(saved, [path.name for path in saved.iterdir()])
        saved.rename(folder)
    return load_tokenizer(str(folder))


def plain_tokenizer() -> PreTrainedTokenizerFast:
    """Return an untrained byte-level BPE tokenizer, a pattern for `learn_tokenizer` where no model gives one."""
    backend = Tokenizer(models.BPE())
    backend.normalizer = normalizers.NFC()
    special = ["[CLS]", "[SEP]", "[PAD]", "[UNK]"]
    backend.add_special_tokens(special)
    ids = [(token, backend.token_to_id(token)) for token in special[:2]]
    backend.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", "[CLS] $A [SEP] $B [SEP]", ids)
    names = dict(zip(("cls_token", "sep_token", "pad_token", "unk_token"), special, strict=True))
    return PreTrainedTokenizerFast(tokenizer_object=backend, model_max_length=512, **names)


def _byte_level(pattern: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    """Return an untrained byte-level BPE tokenizer with the normalisation and the special tokens of `pattern`."""
    backend = Tokenizer(models.BPE())
    words = [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation()]
    bytes_of_words = pre_tokenizers.ByteLevel(add_prefix_space=True, use_regex=False)
    backend.pre_tokenizer = pre_tokenizers.Sequence([*words, bytes_of_words])
    backend.decoder = decoders.ByteLevel()
    state, given = (json.loads(each.to_str()) for each in (backend, pattern.backend_tokenizer))
    steps = given["normalizer"] or {"type": "Sequence", "normalizers": []}
    # What puts marks in place of blanks splits words SentencePiece's way, which is replaced.
    kept = [
        step for step in steps.get("normalizers", [steps]) if step["type"] != "Prepend" and step.get("content") != "▁"
    ]
    state["normalizer"] = {"type": "Sequence", "normalizers": kept}
    state["post_processor"] = given["post_processor"]
    state["added_tokens"] = [token for token in given["added_tokens"] if token["special"]]
    state["model"]["vocab"] = {token["content"]: token["id"] for token in state["added_tokens"]}
    return generic_tokenizer(pattern, state)


def _continuing_characters(tokenizer: PreTrainedTokenizerBase, sentences: Iterable[Sequence[str]]) -> set[str]:
    """Return the characters after the first of a word, with words as the tokenizer's pre-tokenizer splits them."""
    backend = tokenizer.backend_tokenizer
    characters: set[str] = set()
    for words in sentences:
        text = " ".join(words)
        text = backend.normalizer.normalize_str(text) if backend.normalizer else text
        parts = backend.pre_tokenizer.pre_tokenize_str(text) if backend.pre_tokenizer else [(text, None)]
        characters.update(letter for word, _ in parts for letter in word[1:])
    return characters
