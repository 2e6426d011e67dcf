"""Training of a smaller, domain-specific tokenizer for the student."""

import json
import uuid
from collections.abc import Iterable, Sequence
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from ..runtime.tags import UserError
from ..teachers.loading import load_tokenizer


def learn_tokenizer(
    tokenizer: PreTrainedTokenizerBase, sentences: Iterable[Sequence[str]], size: int, folder: Path
) -> PreTrainedTokenizerBase:
    """Train a tokenizer with the normalisation, algorithm and special tokens of a given one.

    Args:
        tokenizer: the given tokenizer, WordPiece or BPE.
        sentences: lists of words, iterated over twice.
        size: vocabulary size.
        folder: where to save the trained tokenizer.

    Returns:
        The trained tokenizer, loaded from `folder`.

    Raises:
        UserError: the given tokenizer uses another algorithm, or the text has more distinct characters than `size`.
    """
    model = tokenizer.backend_tokenizer.model
    if type(model).__name__ not in ("WordPiece", "BPE") or getattr(model, "end_of_word_suffix", None):
        raise UserError(
            f"--vocabulary_size cannot train a tokenizer of this type ({type(model).__name__}) reproducibly. Use "
            "--vocabulary_size 0 to keep the tokenizer."
        )
    # Passing the continuing characters as special tokens fixes their ids. Otherwise these ids, by which the trainer
    # breaks ties, differ between runs (huggingface/tokenizers, issue 1794).
    prefix = model.continuing_subword_prefix
    continuing = [prefix + letter for letter in sorted(_continuing_characters(tokenizer, sentences))] if prefix else []
    trained = tokenizer.train_new_from_iterator(
        map(" ".join, sentences), vocab_size=size, new_special_tokens=continuing, show_progress=False
    )
    if len(trained) > size:
        raise UserError(f"--vocabulary_size {size} is too small: the characters of the text alone take {len(trained)}.")
    temporary = folder.with_name(f"{folder.name}.tmp-{uuid.uuid4().hex}")
    trained.save_pretrained(temporary)
    for name, entry in (("tokenizer.json", "added_tokens"), ("tokenizer_config.json", "extra_special_tokens")):
        content = json.loads((temporary / name).read_text(encoding="utf-8"))
        tokens = content.get(entry, [])
        texts = [token["content"] if isinstance(token, dict) else token for token in tokens]
        content[entry] = [token for token, text in zip(tokens, texts, strict=True) if text not in continuing]
        (temporary / name).write_text(json.dumps(content, ensure_ascii=False, indent=2), encoding="utf-8")
    temporary.replace(folder)
    return load_tokenizer(str(folder))


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
