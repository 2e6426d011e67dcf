"""JSON: texts with spans in characters, or words with tags, as annotation tools and libraries write them.

A file has a JSON value in each line, or (.json) is a list of them. Their keys say what they are; docs/formats.md has an
example of every kind.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import accumulate
from typing import Any

from ...files import numbered_lines
from ...runtime.tags import OUTSIDE, UserError
from .documents import Document, Sentence, Span, make_document, mention_tags

# Where the spans of a text stand: hf_distill, Prodigy, spaCy and doccano, spaCy's Doc.to_json, doccano (two versions).
SPAN_KEYS = ("mentions", "spans", "entities", "ents", "label", "labels")
# Words and their tags, and GLiNER's token spans.
TOKEN_KEYS, TAG_KEYS = ("tokens", "words", "tokenized_text"), ("ner_tags", "tags", "labels")
START_KEYS, END_KEYS = ("start", "start_offset", "start_char"), ("end", "end_offset", "end_char")
ENTITY_KEYS = ("entity_group", "label", "entity", "type", "labels")


def read_json(
    path: str, token_column: str | None = None, tag_column: str | None = None
) -> Iterator[Document | Sentence | None]:
    """Yield what a file of JSON has: a document, a sentence with tags, or None for what an annotator has not accepted.

    Args:
        path: the file.
        token_column: key of words; None: one of TOKEN_KEYS.
        tag_column: key of tags; None: one of TAG_KEYS.

    Raises:
        UserError: `PATH:LINE:`, or `PATH, item N:` in a list.
    """
    for place, item in _items(path):
        yield parse_item(item, place, token_column, tag_column)


def _items(path: str) -> Iterator[tuple[str, Any]]:
    if path.removesuffix(".gz").endswith(".json"):
        text = "\n".join(line for _, line in numbered_lines(path))
        items = _parse(text, path)
        if not isinstance(items, list):
            raise UserError(f"{path}: expected a list of texts, as Label Studio and spaCy write it, or .jsonl.")
        yield from ((f"{path}, item {number}", item) for number, item in enumerate(items, 1))
        return
    for number, line in numbered_lines(path):
        if line.strip():
            yield f"{path}:{number}", _parse(line, f"{path}:{number}")


def _parse(text: str, place: str) -> Any:
    try:
        item = json.loads(text)
        json.dumps(item, ensure_ascii=False).encode()  # fails for an unpaired surrogate
    except (ValueError, RecursionError) as error:
        raise UserError(f"{place}: not valid JSON: {error}: {text[:80]!r}.") from None
    return item


def parse_item(
    item: Any, place: str, token_column: str | None = None, tag_column: str | None = None
) -> Document | Sentence | None:
    """Read one text, as `read_json` does."""
    if isinstance(item, list) and len(item) == 2 and isinstance(item[0], str) and isinstance(item[1], dict):
        item = {"text": item[0]} | item[1]  # spaCy 2: (text, {"entities": [...]})
    if not isinstance(item, dict):
        raise UserError(f"{place}: expected an object with a text and its mentions, or words and tags: {item!r:.80}.")
    if isinstance(item.get("data"), dict):
        return _label_studio(item, place)
    if item.get("answer", "accept") != "accept":  # Prodigy
        return None
    tokens_key = _one_of(item, (token_column,) if token_column else TOKEN_KEYS, place)
    words = item[tokens_key] if tokens_key else []
    if tokens_key and (words or "text" not in item) and not any(isinstance(word, dict) for word in words):
        return _sentence(item, tokens_key, (tag_column,) if tag_column else TAG_KEYS, place)
    text = item.get("text")
    if not isinstance(text, str):
        raise UserError(
            f"{place}: expected `text` with mentions ({', '.join(SPAN_KEYS)}), or words ({', '.join(TOKEN_KEYS)}) with "
            f"tags ({', '.join(TAG_KEYS)}; --token_column and --tag_column name others): its keys are "
            f"{', '.join(map(str, item)) or 'none'}."
        )
    key = _one_of(item, SPAN_KEYS, place)
    if key is None:
        raise UserError(
            f"{place}: the text has no mentions ({', '.join(SPAN_KEYS)}); for one without any write an empty list: "
            f"{text[:60]!r}."
        )
    if not isinstance(item[key], list):
        raise UserError(f"{place}: `{key}` has to be a list of mentions, not {item[key]!r:.60}.")
    spans = [span for each in item[key] for span in _spans(each, place)]
    sentences = [(each["start"], each["end"]) for each in item.get("sents") or [] if isinstance(each, dict)]
    return make_document(text, spans, place, str(item.get("id", "")), sentences)


def _one_of(item: Mapping, keys: tuple[str | None, ...], place: str) -> str | None:
    """The key that an item has; None if it has none.

    Raises:
        UserError: it has several with something in them.
    """
    found = [key for key in keys if isinstance(item.get(key), list)]
    full = [key for key in found if item[key]]
    if len(full) > 1:
        raise UserError(f"{place}: has both {' and '.join(f'`{key}`' for key in full)}: remove what does not count.")
    return (full or found or [None])[0]


def _spans(item: Any, place: str) -> list[Span]:
    """The span that an object or a triple describes, one for each label."""
    start: Any = None
    end: Any = None
    labels: Any = None
    score = None
    if isinstance(item, dict):
        start, end = (next((item[key] for key in keys if key in item), None) for keys in (START_KEYS, END_KEYS))
        labels = next((item[key] for key in ENTITY_KEYS if key in item), None)
        score = item.get("score")
    elif isinstance(item, list) and len(item) == 3:
        start, end, labels = item
    labels = labels if isinstance(labels, list) else [labels]
    whole = isinstance(start, int) and isinstance(end, int) and not isinstance(start, bool)
    if not whole or not labels or not all(isinstance(label, str) for label in labels):
        raise UserError(f"{place}: no mention with start, end and label: {item!r:.80}.")
    if score is not None and (not isinstance(score, int | float) or isinstance(score, bool)):
        raise UserError(f"{place}: the score of a mention is a number, not {score!r:.40}.")
    return [Span(label, start, end, place, score) for label in labels]


def _label_studio(item: Mapping, place: str) -> Document | None:
    """A task of Label Studio's export: its last annotation, or, without one, its first prediction."""
    text = item["data"].get("text")
    if not isinstance(text, str):
        raise UserError(f"{place}: `data` has no `text`, only {', '.join(map(str, item['data'])) or 'nothing'}.")
    annotations = [each for each in item.get("annotations") or [] if not each.get("was_cancelled")]
    chosen = annotations[-1:] or ([] if item.get("annotations") else (item.get("predictions") or [])[:1])
    if not chosen:
        return None
    spans = []
    for result in chosen[0].get("result") or []:
        if isinstance(result, dict) and result.get("type") == "labels" and isinstance(result.get("value"), dict):
            for span in _spans(result["value"] | {"score": result.get("score")}, place):
                spans.append(_in_characters(span, text, result["value"].get("text")))
    return make_document(text, spans, place, str(item.get("id", "")))


def _in_characters(span: Span, text: str, word: Any) -> Span:
    """A span whose offsets may count units of UTF-16, as browsers do, by the text that it should have."""
    if not isinstance(word, str) or text[span.start : span.end] == word:
        return span
    units = text.encode("utf-16-le")
    before, own = units[: 2 * span.start], units[2 * span.start : 2 * span.end]
    if own.decode("utf-16-le", "replace") != word:
        raise UserError(
            f"{span.place}: the mention is {word!r}, but {span.start} to {span.end} of the text is another."
        )
    start = len(before.decode("utf-16-le", "replace"))
    return replace(span, start=start, end=start + len(word))


def _sentence(item: Mapping, tokens_key: str, tag_keys: tuple[str, ...], place: str) -> Sentence:
    """Words with tags, GLiNER's `ner`, or `mentions` in the words joined by blanks, as `predict` writes them."""
    tokens = item[tokens_key]
    for token in tokens:
        if not isinstance(token, str) or not token.strip(" ") or any(mark in token for mark in "\0\t\r\n"):
            raise UserError(f"{place}: a word that is no text, empty, or has a tab, line end or NUL: {token!r:.80}.")
    if not tokens:
        raise UserError(f"{place}: the sentence has no word.")
    tags_key = _one_of(item, tag_keys, place)
    if tags_key:
        tags = ["" if tag is None else str(tag) for tag in item[tags_key]]
        if len(tags) != len(tokens):
            raise UserError(f"{place}: {len(tokens)} words but {len(tags)} tags.")
        if "" in tags:
            raise UserError(f"{place}: the word {tokens[tags.index('')]!r} has no tag.")
        return list(tokens), tags, [place] * len(tokens)
    if isinstance(item.get("ner"), list):
        # GLiNER's ends are those of the last word.
        found = [(span.entity, span.start, span.end + 1) for each in item["ner"] for span in _spans(each, place)]
    elif isinstance(item.get("mentions"), list):
        ends = list(accumulate(len(token) + 1 for token in tokens))
        first = {end - 1 - len(token): number for number, (token, end) in enumerate(zip(tokens, ends, strict=True))}
        last = {end - 1: number for number, end in enumerate(ends, 1)}
        spans = [span for each in item["mentions"] for span in _spans(each, place)]
        found = [(span.entity, first.get(span.start, -1), last.get(span.end, -1)) for span in spans]
    else:
        raise UserError(
            f"{place}: words (`{tokens_key}`) without tags: expected one of {', '.join(tag_keys)} (--tag_column names "
            "another), `ner` (spans of words) or `mentions`."
        )
    tags = [OUTSIDE] * len(tokens)
    for entity, start, end in found:
        if not 0 <= start < end <= len(tokens):
            raise UserError(f"{place}: a mention of {entity} that is not within its {len(tokens)} words, or cuts one.")
        if any(tag != OUTSIDE for tag in tags[start:end]):
            raise UserError(f"{place}: the mention of {entity} at word {start + 1} overlaps another one: remove one.")
        tags[start:end] = mention_tags(entity, end - start)
    return list(tokens), tags, [place] * len(tokens)
