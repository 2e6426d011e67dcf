"""Transfer of a teacher's word embeddings to another tokenizer, and reduction of their dimension."""

from collections import Counter
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase


def reduce_embeddings(weight: Tensor, size: int) -> Tensor:
    """Reduce word embeddings [vocabulary, dimensions] to at most `size` dimensions by a truncated singular value
    decomposition, and scale them to a standard deviation of 1 over all elements.
    """
    if size < weight.shape[1]:
        # The right singular vectors are eigenvectors of the Gram matrix, which is small: exact and fast.
        values, vectors = torch.linalg.eigh(weight.double().T @ weight.double())
        weight = (weight.double() @ vectors[:, values.argsort(descending=True)[:size]]).float()
    return weight / weight.std()


def transfer_embeddings(
    weight: Tensor,
    source: PreTrainedTokenizerBase,
    target: PreTrainedTokenizerBase,
    words: Mapping[str, int],
) -> Tensor:
    """Compute embeddings [target vocabulary, dimensions] for another tokenizer.

    A subword of both vocabularies keeps its embedding, if both tokenizers use the same algorithm or it occurs in no
    word. Any other subword gets the mean embedding of the source subwords that overlap with it in `words`, weighted by
    the number of shared characters and the frequency of the word; if it occurs in no word, the mean of all embeddings.

    Args:
        weight: embeddings [source vocabulary, dimensions].
        source: the tokenizer of `weight`.
        target: the tokenizer of the result.
        words: frequency of each word.
    """
    source_vocabulary, target_vocabulary = source.get_vocab(), target.get_vocab()
    overlaps: Counter[tuple[int, int]] = Counter()
    texts = list(words)
    for start in range(0, len(texts), 10_000):
        batch = texts[start : start + 10_000]
        spans = zip(batch, _subword_spans(target, batch), _subword_spans(source, batch), strict=True)
        for word, target_spans, source_spans in spans:
            for target_id, target_start, target_end in target_spans:
                for source_id, source_start, source_end in source_spans:
                    shared = min(target_end, source_end) - max(target_start, source_start)
                    if shared > 0:
                        overlaps[target_id, source_id] += shared * words[word]
    pairs = torch.tensor(list(overlaps), dtype=torch.long).reshape(-1, 2).T
    counts = torch.tensor(list(overlaps.values()), dtype=weight.dtype)
    totals = torch.zeros(len(target), dtype=weight.dtype).index_add_(0, pairs[0], counts)
    result = torch.sparse_coo_tensor(pairs, counts, (len(target), len(weight)), check_invariants=True) @ weight
    result = torch.where(totals[:, None] > 0, result / totals.clamp(min=1)[:, None], weight.mean(0))
    # Equal subwords correspond only if the algorithm is the same. Special tokens, which occur in no word, always do.
    for subword in target_vocabulary.keys() & source_vocabulary.keys():
        index = target_vocabulary[subword]
        if _algorithm(source) == _algorithm(target) or totals[index] == 0:
            result[index] = weight[source_vocabulary[subword]]
    return result


def _algorithm(tokenizer: PreTrainedTokenizerBase) -> tuple[str, str, bool]:
    """Return a tokenizer's algorithm (WordPiece, BPE, ...), the prefix of its continuing subwords, and whether their
    characters stand for bytes.
    """
    backend = tokenizer.backend_tokenizer
    prefix = getattr(backend.model, "continuing_subword_prefix", None)
    return type(backend.model).__name__, prefix or "", "ByteLevel" in repr(backend.pre_tokenizer)


def _subword_spans(tokenizer: PreTrainedTokenizerBase, words: Sequence[str]) -> list[list[tuple[int, int, int]]]:
    """Return for each word its subwords as (id, start, end), with character offsets in the word."""
    encoded = tokenizer(list(words), add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    pairs = zip(encoded["input_ids"], encoded["offset_mapping"], strict=True)
    return [[(index, *span) for index, span in zip(ids, spans, strict=True)] for ids, spans in pairs]
