"""From words to subwords and back, for any fast tokenizer.

A word speaks once, at its first subword. A sentence longer than the model's window is cut into overlapping windows;
each word belongs to the window in which it stands farther from a cut, so that n words give n predictions.

A saved student carries this file along, for its pipeline.
"""

import hashlib
import json
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np
import torch
from tokenizers.pre_tokenizers import ByteLevel
from torch import Tensor
from transformers import AutoTokenizer, PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from .labels import UserError

# Raised whenever windows or positions would come out differently, so that no stored signal outlives its policy.
ALIGNMENT_POLICY = "first-subword/overlap-quarter/1"
LONGEST_WINDOW = 512
BATCH_SUBWORDS = 4096  # of a batch that a model predicts
KEPT_WORDS = 100_000  # how many words' subwords a tokenizer's cache may hold, some 30 MB

_PIECES: WeakKeyDictionary[PreTrainedTokenizerBase, tuple[int, dict[str, list[int]]]] = WeakKeyDictionary()


@dataclass
class Window:
    """A stretch of a sentence that fits a model.

    Attributes:
        input_ids: subwords with special tokens.
        word_positions: where, in `input_ids`, the first subword of each word that belongs to the window stands.
        first_word: number of the first of these words in the sentence; the others follow it.
    """

    input_ids: list[int]
    word_positions: list[int]
    first_word: int


def load_tokenizer(name_or_path: str, trust_remote_code: bool = False) -> PreTrainedTokenizerBase:
    """Load a tokenizer that can be given words and says which subword stems from which.

    Raises:
        UserError: the tokenizer has no `word_ids()` (it is not a fast one).
    """
    # Byte-level BPE (RoBERTa and its kin) has to put before a ready-made word the blank that it has in running text.
    tokenizer = AutoTokenizer.from_pretrained(name_or_path, add_prefix_space=True, trust_remote_code=trust_remote_code)
    if not tokenizer.is_fast:
        raise UserError(
            f"The tokenizer of {name_or_path} has no fast version, so words and subwords cannot be aligned."
        )
    cutter = tokenizer.backend_tokenizer.pre_tokenizer
    if isinstance(cutter, ByteLevel):  # the generic tokenizer class does not pass the option on
        cutter.add_prefix_space = True
        tokenizer.backend_tokenizer.pre_tokenizer = cutter
    words = tokenizer(["the", "the"], is_split_into_words=True, add_special_tokens=False)["input_ids"]
    if words != tokenizer("the the", add_special_tokens=False)["input_ids"]:
        raise UserError(f"The tokenizer of {name_or_path} cuts ready-made words otherwise than running text.")
    return tokenizer


def tokenizer_digest(tokenizer: PreTrainedTokenizerBase) -> str:
    """A digest of how a tokenizer cuts text, without the truncation and padding that the last call left in it."""
    content = json.loads(tokenizer.backend_tokenizer.to_str()) | {"truncation": None, "padding": None}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def same_tokenizer(one: PreTrainedTokenizerBase, other: PreTrainedTokenizerBase) -> bool:
    """Whether two tokenizers cut text alike: the same vocabulary, and the same answer to a probe."""
    probe = [["Naïve", "HeLa", "co-transfected", "Δψ", "(p53)"]]
    answers = [tokenizer(probe, is_split_into_words=True)["input_ids"] for tokenizer in (one, other)]
    return answers[0] == answers[1] and one.get_vocab() == other.get_vocab()


def window_length(
    tokenizer: PreTrainedTokenizerBase, config: PretrainedConfig, max_seq_length: int | None = None
) -> int:
    """Subwords per window, special tokens included: what was asked for, within the limits of tokenizer and model."""
    positions = getattr(config, "max_position_embeddings", None) or LONGEST_WINDOW
    if getattr(config, "bert_config", None):
        positions = config.bert_config["max_position_embeddings"]
    if positions < 0:  # XLNet has no limit
        positions = LONGEST_WINDOW
    if config.model_type in ("roberta", "xlm-roberta", "camembert", "longformer", "mpnet", "xlm-roberta-xl"):
        positions -= 2  # these families begin to count positions behind the padding index
    return min(max_seq_length or LONGEST_WINDOW, tokenizer.model_max_length, positions)


def special_tokens(tokenizer: PreTrainedTokenizerBase) -> tuple[list[int], list[int]]:
    """The special tokens that the tokenizer puts before and after a text."""
    encoded = tokenizer(["a"], is_split_into_words=True)
    inside = [index for index, word in enumerate(encoded.word_ids()) if word is not None]
    return encoded["input_ids"][: inside[0]], encoded["input_ids"][inside[-1] + 1 :]


def subwords(
    tokenizer: PreTrainedTokenizerBase, sentences: Sequence[Sequence[str]]
) -> Iterator[tuple[list[int], list[int]]]:
    """For each sentence its subwords, without special tokens, and where each word begins among them.

    A word that the tokenizer erases (zero-width and control characters) stands as its unknown token.
    """
    # A ready-made word is cut by itself, whatever stands beside it, so each distinct one is cut once.
    size, pieces = _PIECES.get(tokenizer, (0, {}))
    if size != len(tokenizer) or len(pieces) > KEPT_WORDS:
        pieces = {}
    new = [word for word in dict.fromkeys(word for words in sentences for word in words) if word not in pieces]
    if new:
        encoded = tokenizer(
            [[word] for word in new],
            is_split_into_words=True,
            add_special_tokens=False,
            truncation=False,
            return_attention_mask=False,
            return_token_type_ids=False,
            verbose=False,
        )
        pieces |= {word: ids or [tokenizer.unk_token_id] for word, ids in zip(new, encoded["input_ids"], strict=True)}
        _PIECES[tokenizer] = len(tokenizer), pieces
    for words in sentences:
        ids, starts = [], []
        for word in words:
            starts.append(len(ids))
            ids += pieces[word]
        yield ids, starts


def make_windows(
    tokenizer: PreTrainedTokenizerBase, sentences: Sequence[Sequence[str]], max_length: int
) -> Iterator[list[Window]]:
    """Cut each sentence (a list of words) into windows of at most `max_length` subwords; nearly always it is one."""
    before, after = special_tokens(tokenizer)
    room = max_length - len(before) - len(after)
    overlap = room // 4
    for ids, starts in subwords(tokenizer, sentences):
        cuts = [0]
        while cuts[-1] + room < len(ids):
            cuts.append(cuts[-1] + room - overlap)
        windows = []
        for number, cut in enumerate(cuts):
            # In the middle of an overlap the right to speak passes to the next window.
            low = cut + overlap // 2 if number else 0
            high = cuts[number + 1] + overlap // 2 if number + 1 < len(cuts) else len(ids)
            first, last = bisect_left(starts, low), bisect_left(starts, high)
            if last > first or not ids:
                windows.append(
                    Window(
                        input_ids=before + ids[cut : cut + room] + after,
                        word_positions=[start - cut + len(before) for start in starts[first:last]],
                        first_word=first,
                    )
                )
        yield windows


def gather_words(subword_values: Tensor, word_positions: Tensor) -> Tensor:
    """Pick, for each word, the value at its first subword: [batch, subwords, n] and [batch, words] give
    [batch, words, n].
    """
    return subword_values.gather(1, word_positions[..., None].expand(-1, -1, subword_values.shape[-1]))


def pad(rows: Sequence[Sequence], value: float = 0, dtype: torch.dtype = torch.long) -> Tensor:
    """Rows of different lengths as one tensor, padded on the right. Rows may themselves hold lists of one length."""
    return torch.nn.utils.rnn.pad_sequence(
        [torch.as_tensor(np.asarray(row), dtype=dtype) for row in rows], batch_first=True, padding_value=value
    )


@torch.no_grad()
def predict_words(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    sentences: Sequence[Sequence[str]],
    max_length: int,
    bf16: bool = False,
) -> list[np.ndarray]:
    """The logits of every word of every sentence, one array [words, labels] (fp32) per sentence, in the given order.

    Sentences of like length share a batch of at most about BATCH_SUBWORDS subwords, padding included.
    """
    windows = [
        (number, window) for number, cut in enumerate(make_windows(tokenizer, sentences, max_length)) for window in cut
    ]
    logits = [np.empty((len(words), model.config.num_labels), dtype=np.float32) for words in sentences]
    device = model.device
    order = sorted(range(len(windows)), key=lambda index: len(windows[index][1].input_ids))
    while order:
        size = max(1, BATCH_SUBWORDS // len(windows[order[-1]][1].input_ids))
        batch = [windows[index] for index in order[-size:]]
        del order[-size:]
        input_ids = pad([window.input_ids for _, window in batch], tokenizer.pad_token_id)
        attention_mask = pad([[1] * len(window.input_ids) for _, window in batch])
        word_positions = pad([window.word_positions for _, window in batch])
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            outputs = model(input_ids=input_ids.to(device), attention_mask=attention_mask.to(device))
        values = gather_words(outputs.logits.float(), word_positions.to(device)).cpu().numpy()
        for row, (number, window) in enumerate(batch):
            words = len(window.word_positions)
            logits[number][window.first_word : window.first_word + words] = values[row, :words]
    return logits
