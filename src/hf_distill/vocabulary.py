"""A vocabulary of the student's own: fewer rows, fewer subwords a word, and still the teacher's embeddings."""

import json
import uuid
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from .alignment import load_tokenizer
from .labels import UserError


def learn_tokenizer(
    tokenizer: PreTrainedTokenizerBase, sentences: Iterable[Sequence[str]], size: int, folder: Path
) -> PreTrainedTokenizerBase:
    """Learn a tokenizer of the given one's kind (its normalisation, algorithm and special tokens) from sentences.

    Args:
        tokenizer: the pattern, a WordPiece or BPE tokenizer.
        sentences: lists of words, gone through twice.
        size: subwords in the vocabulary.
        folder: where it is kept.

    Raises:
        UserError: the pattern is of another kind, or the text's characters alone need more subwords.
    """
    model = tokenizer.backend_tokenizer.model
    if type(model).__name__ not in ("WordPiece", "BPE") or getattr(model, "end_of_word_suffix", None):
        raise UserError(
            f"--vocabulary_size cannot learn a tokenizer of this kind ({type(model).__name__}): it would come out "
            "differently each time. --vocabulary_size 0 keeps the tokenizer as it is."
        )
    # Characters within a word pass for special tokens while it learns. Left alone, the trainer numbers them in an order
    # that differs from run to run, and breaks ties by these numbers (huggingface/tokenizers, issue 1794).
    prefix = model.continuing_subword_prefix
    within = [prefix + letter for letter in sorted(_letters_within(tokenizer, sentences))] if prefix else []
    learnt = tokenizer.train_new_from_iterator(
        map(" ".join, sentences), vocab_size=size, new_special_tokens=within, show_progress=False
    )
    if len(learnt) > size:
        raise UserError(f"--vocabulary_size {size} is too small: the characters of the text alone take {len(learnt)}.")
    temporary = folder.with_name(f"{folder.name}.tmp-{uuid.uuid4().hex}")
    learnt.save_pretrained(temporary)
    for name, entry in (("tokenizer.json", "added_tokens"), ("tokenizer_config.json", "extra_special_tokens")):
        content = json.loads((temporary / name).read_text(encoding="utf-8"))
        tokens = content.get(entry, [])
        texts = [token["content"] if isinstance(token, dict) else token for token in tokens]
        content[entry] = [token for token, text in zip(tokens, texts, strict=True) if text not in within]
        (temporary / name).write_text(json.dumps(content, ensure_ascii=False, indent=2), encoding="utf-8")
    temporary.replace(folder)
    return load_tokenizer(str(folder))


def _letters_within(tokenizer: PreTrainedTokenizerBase, sentences: Iterable[Sequence[str]]) -> set[str]:
    """The characters that stand behind the first of a word, as the tokenizer sees words."""
    backend, found = tokenizer.backend_tokenizer, set()
    for words in sentences:
        text = " ".join(words)
        text = backend.normalizer.normalize_str(text) if backend.normalizer else text
        cut = backend.pre_tokenizer.pre_tokenize_str(text) if backend.pre_tokenizer else [(text, None)]
        found.update(letter for word, _ in cut for letter in word[1:])
    return found


def carry_embeddings(
    weight: Tensor,
    source: PreTrainedTokenizerBase,
    target: PreTrainedTokenizerBase,
    words: Mapping[str, int],
) -> Tensor:
    """Embeddings [target vocabulary, dimensions] for another tokenizer.

    A subword that both know keeps its row, if the tokenizers are of one kind. Any other gets the mean of the rows that
    stand where it stands in the words, weighted by shared characters and by how often the word occurs; one that stands
    nowhere, the mean of all.

    Args:
        weight: embeddings [source vocabulary, dimensions].
        source, target: tokenizers.
        words: how often each word occurs.
    """
    known, vocabulary = source.get_vocab(), target.get_vocab()
    shares: Counter[tuple[int, int]] = Counter()
    texts = list(words)
    for start in range(0, len(texts), 10_000):
        batch = texts[start : start + 10_000]
        for word, new, old in zip(batch, _pieces(target, batch), _pieces(source, batch), strict=True):
            for piece, first, last in new:
                for row, begin, end in old:
                    shared = min(last, end) - max(first, begin)
                    if shared > 0:
                        shares[piece, row] += shared * words[word]
    pairs = torch.tensor(list(shares), dtype=torch.long).reshape(-1, 2).T
    counts = torch.tensor(list(shares.values()), dtype=weight.dtype)
    totals = torch.zeros(len(target), dtype=weight.dtype).index_add_(0, pairs[0], counts)
    carried = torch.sparse_coo_tensor(pairs, counts, (len(target), len(weight)), check_invariants=True) @ weight
    carried = torch.where(totals[:, None] > 0, carried / totals.clamp(min=1)[:, None], weight.mean(0))
    # Equal names mean the same only in tokenizers of one kind; special tokens, which no word has, go by them anyway.
    for piece in vocabulary.keys() & known.keys():
        if _kind(source) == _kind(target) or totals[vocabulary[piece]] == 0:
            carried[vocabulary[piece]] = weight[known[piece]]
    return carried


def _kind(tokenizer: PreTrainedTokenizerBase) -> tuple[str, str | None]:
    model = tokenizer.backend_tokenizer.model
    return type(model).__name__, getattr(model, "continuing_subword_prefix", None)


def _pieces(tokenizer: PreTrainedTokenizerBase, words: Sequence[str]) -> list[list[tuple[int, int, int]]]:
    """Of each word its subwords: (number, first character, last character + 1)."""
    encoded = tokenizer(list(words), add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    pairs = zip(encoded["input_ids"], encoded["offset_mapping"], strict=True)
    return [[(piece, *span) for piece, span in zip(ids, spans, strict=True)] for ids, spans in pairs]
