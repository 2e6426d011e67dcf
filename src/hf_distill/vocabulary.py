"""A vocabulary of the student's own: fewer rows, fewer subwords a word, and still the teacher's embeddings."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from .alignment import load_tokenizer
from .labels import UserError


def learn_tokenizer(
    tokenizer: PreTrainedTokenizerBase, sentences: Sequence[Sequence[str]], size: int, folder: str | Path
) -> PreTrainedTokenizerBase:
    """Learn a tokenizer of the given one's kind (its normalisation, algorithm and special tokens) from sentences.

    Args:
        tokenizer: the pattern, a WordPiece or BPE tokenizer.
        sentences: lists of words.
        size: subwords in the vocabulary.
        folder: where it is kept.

    Raises:
        UserError: the pattern is of another kind, or the text's characters alone need more subwords.
    """
    kind = type(tokenizer.backend_tokenizer.model).__name__
    if kind not in ("WordPiece", "BPE"):
        raise UserError(f"--vocabulary_size needs a WordPiece or BPE tokenizer; this one is of the kind {kind}.")
    texts = [" ".join(words) for words in sentences]
    within: list[str] = []
    if prefix := tokenizer.backend_tokenizer.model.continuing_subword_prefix:
        # Characters within a word pass for special tokens while it learns. Left alone, the trainer numbers them in an
        # order that differs from run to run, and breaks ties by these numbers (huggingface/tokenizers, issue 1794).
        normalizer = tokenizer.backend_tokenizer.normalizer
        letters = {letter for text in texts for letter in (normalizer.normalize_str(text) if normalizer else text)}
        within = [prefix + letter for letter in sorted(letters - {" "})]
    learnt = tokenizer.train_new_from_iterator(texts, vocab_size=size, new_special_tokens=within, show_progress=False)
    if len(learnt) > size:
        raise UserError(f"--vocabulary_size {size} is too small: the characters of the text alone take {len(learnt)}.")
    learnt.save_pretrained(folder)
    for name, entry in (("tokenizer.json", "added_tokens"), ("tokenizer_config.json", "extra_special_tokens")):
        path = Path(folder) / name
        content = json.loads(path.read_text(encoding="utf-8"))
        listed = [token["content"] if isinstance(token, dict) else token for token in content.get(entry, [])]
        content[entry] = [
            token for token, text in zip(content.get(entry, []), listed, strict=True) if text not in within
        ]
        path.write_text(json.dumps(content, ensure_ascii=False, indent=2), encoding="utf-8")
    return load_tokenizer(str(folder))


def carry_embeddings(
    weight: Tensor,
    source: PreTrainedTokenizerBase,
    target: PreTrainedTokenizerBase,
    words: Mapping[str, int],
) -> Tensor:
    """Embeddings [target vocabulary, dimensions] for another tokenizer.

    A subword that both know keeps its row. Any other gets the mean of the rows that stand where it stands in the
    words, weighted by shared characters and by how often the word occurs; one that stands nowhere, the mean of all.

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
    pairs = torch.tensor(list(shares), dtype=torch.long).reshape(-1, 2)
    counts = torch.tensor(list(shares.values()), dtype=weight.dtype)
    totals = torch.zeros(len(target), dtype=weight.dtype).index_add_(0, pairs[:, 0], counts)
    carried = torch.zeros(len(target), weight.shape[1], dtype=weight.dtype)
    carried.index_add_(0, pairs[:, 0], weight[pairs[:, 1]] * (counts / totals[pairs[:, 0]])[:, None])
    carried[totals == 0] = weight.mean(0)
    for piece in vocabulary.keys() & known.keys():
        carried[vocabulary[piece]] = weight[known[piece]]
    return carried


def _pieces(tokenizer: PreTrainedTokenizerBase, words: Sequence[str]) -> list[list[tuple[int, int, int]]]:
    """Of each word its subwords: (number, first character, last character + 1)."""
    encoded = tokenizer(list(words), add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    pairs = zip(encoded["input_ids"], encoded["offset_mapping"], strict=True)
    return [[(piece, *span) for piece, span in zip(ids, spans, strict=True)] for ids, spans in pairs]
