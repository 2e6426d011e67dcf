"""A student without the subwords that its text does not use."""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from ..runtime.pipeline import FOR_LISTS
from ..runtime.tags import UserError
from ..runtime.windows import POSITIONS_AFTER_PADDING, subwords
from ..teachers.loading import generic_tokenizer

READ_AT_ONCE = TRIED_SENTENCES = 1000
MOST_CUT_ANEW = 0.01  # of the words of other text


def prune_vocabulary(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, sentences: Sequence[Sequence[str]]
) -> PreTrainedTokenizerFast:
    """Remove the embeddings of subwords that a text does not use from a model, which is changed, and its tokenizer.

    Special tokens and single characters stay, so that other text is still read. On the given text the model's outputs
    are the same as before.

    Args:
        model: a token classifier.
        tokenizer: its tokenizer.
        sentences: the text, as lists of words; read a part at a time, so that a column of a dataset need not fit into
            memory.

    Returns:
        The tokenizer for the smaller model.

    Raises:
        UserError: the model counts positions from the id of its padding token, which would change.
    """
    embeddings = model.get_input_embeddings()
    weight = embeddings.get_parameter("weight")
    padding: Any = getattr(embeddings, "padding_idx", None)
    used: set[int] = set()
    for start in range(0, len(sentences), READ_AT_ONCE):
        used.update(*(ids for ids, _ in subwords(tokenizer, sentences[start : start + READ_AT_ONCE])))
    pruned, kept = _prune_tokenizer(tokenizer, used, len(weight))
    places = {old: new for new, old in enumerate(kept)}
    for words in sentences[:TRIED_SENTENCES]:
        (before, _), (after, _) = next(subwords(tokenizer, [words])), next(subwords(pruned, [words]))
        if [places[index] for index in before] != after:
            raise UserError(
                f"--prune_vocabulary would cut the words of {' '.join(words)[:80]!r:.200} anew: leave it out."
            )
    pad: Any = model.config.pad_token_id
    if model.config.model_type in POSITIONS_AFTER_PADDING and places.get(pad) != pad:
        raise UserError(
            f"--prune_vocabulary would change the id of the padding token ({pad}), from which a model of type "
            f"{model.config.model_type} counts its positions: leave it out."
        )
    smaller = nn.Embedding(len(kept), weight.shape[1], padding_idx=places.get(padding))
    with torch.no_grad():
        smaller.weight.copy_(weight[kept])
    model.set_input_embeddings(smaller)
    configs = [model.config.__dict__, getattr(model.config, "bert_config", None) or {}]
    for config in configs:
        for name, value in list(config.items()):
            if name.endswith("_token_id") and isinstance(value, int):
                config[name] = places.get(value)
        if "vocab_size" in config:
            config["vocab_size"] = len(kept)
    return pruned


def check_other_text(
    tokenizer: PreTrainedTokenizerBase, pruned: PreTrainedTokenizerBase, sentences: Iterable[Sequence[str]]
) -> None:
    """Check that a pruned tokenizer cuts the words of other text (lists of words) as the whole one does.

    The embeddings of the shorter subwords into which it cuts the others know little of these words, which are the rare
    ones, such as names.

    Raises:
        UserError: it cuts more than `MOST_CUT_ANEW` of the words otherwise.
    """
    words = Counter(word for words in sentences for word in words)
    cuts = (
        [each.convert_ids_to_tokens(ids) for ids, _ in subwords(each, [[word] for word in words])]
        for each in (tokenizer, pruned)
    )
    anew = sum(number for number, before, after in zip(words.values(), *cuts, strict=True) if before != after)
    if anew > MOST_CUT_ANEW * words.total():
        raise UserError(
            f"--prune_vocabulary: {anew / words.total():.1%} of the words of the development data would be cut into "
            "shorter subwords, since the training and unlabelled text do not use theirs. Of more than "
            f"{MOST_CUT_ANEW:.0%} a student loses too much. Give more text of this kind (--path_to_unlabeled), or keep "
            "the vocabulary: --prune_vocabulary 0."
        )


def _prune_tokenizer(
    tokenizer: PreTrainedTokenizerBase, used: set[int], rows: int
) -> tuple[PreTrainedTokenizerFast, list[int]]:
    """Return a tokenizer without the subwords that are not needed, and the old ids of its subwords, in their order.

    `used` are the ids that a text needs, `rows` is the number of ids that the model has embeddings of.
    """
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    model, added = state["model"], {token["content"]: token["id"] for token in state["added_tokens"]}
    listed = isinstance(model["vocab"], list)  # Unigram: pieces with scores, in the order of their ids
    own = {piece: index for index, (piece, _) in enumerate(model["vocab"])} if listed else model["vocab"]
    ids = {piece: index for piece, index in (own | added).items() if index < rows}
    needed = {piece for piece, index in ids.items() if index in used or piece in added or _is_character(piece, model)}
    if model["type"] == "BPE":
        needed |= _merged_from(needed, model)
    if listed and model["unk_id"] is not None:
        needed.add(model["vocab"][model["unk_id"]][0])
    # The ids of the model's own pieces come first, without gaps.
    order = sorted((piece for piece in ids if piece in needed), key=lambda piece: (piece not in own, ids[piece]))
    new = {piece: index for index, piece in enumerate(order)}
    if listed:
        unknown = model["vocab"][model["unk_id"]][0] if model["unk_id"] is not None else None
        model["vocab"] = [entry for entry in model["vocab"] if entry[0] in new]
        model["unk_id"] = new.get(unknown)
    else:
        model["vocab"] = {piece: new[piece] for piece in order if piece in own}
    if model["type"] == "BPE":
        results = {tuple(_parts(merge)): _result(merge, model) for merge in model["merges"]}
        model["merges"] = [list(parts) for parts, result in results.items() if {*parts, result} <= new.keys()]
    state["added_tokens"] = [
        token | {"id": new[token["content"]]} for token in state["added_tokens"] if token["content"] in new
    ]
    _renumber(state["post_processor"], new)
    pruned = generic_tokenizer(tokenizer, state)
    pruned.init_kwargs[FOR_LISTS] = type(pruned).__name__
    return pruned, [ids[piece] for piece in order]


def _is_character(piece: str, model: dict) -> bool:
    """Whether a subword is a single character or byte, without the marks of where words begin, go on or end."""
    prefix, suffix = (model.get(name) or "" for name in ("continuing_subword_prefix", "end_of_word_suffix"))
    bare = piece.removeprefix(prefix).removesuffix(suffix)
    return len(bare.removeprefix("▁").removeprefix("Ġ")) <= 1 or re.fullmatch("<0x[0-9A-F]{2}>", bare) is not None


def _parts(merge: str | list[str]) -> list[str]:
    return merge.split(" ") if isinstance(merge, str) else merge


def _result(merge: str | list[str], model: dict) -> str:
    left, right = _parts(merge)
    return left + right.removeprefix(model.get("continuing_subword_prefix") or "")


def _merged_from(pieces: Iterable[str], model: dict) -> set[str]:
    """Return the subwords that BPE may merge on the way to the given ones."""
    sources: defaultdict[str, set[str]] = defaultdict(set)
    for merge in model["merges"]:
        sources[_result(merge, model)].update(_parts(merge))
    found: set[str] = set()
    pending = list(pieces)
    while pending:
        new = sources[pending.pop()] - found
        found |= new
        pending += new
    return found


def _renumber(processor: dict | None, ids: dict[str, int]) -> None:
    """Write the new ids of special tokens into the state of a post-processor."""
    if processor is None:
        return
    for step in processor.get("processors", ()):
        _renumber(step, ids)
    for name in ("sep", "cls"):
        if name in processor:
            processor[name] = [processor[name][0], ids[processor[name][0]]]
    for token in (processor.get("special_tokens") or {}).values():
        token["ids"] = [ids[piece] for piece in token["tokens"]]
