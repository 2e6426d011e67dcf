"""Draw the pictures of docs/concepts: `python docs/figures.py`. They follow the reader's light or dark scheme."""

from html import escape
from pathlib import Path

FOLDER = Path(__file__).parent / "concepts"
WIDTH = 440  # units, of which letters of 15 are legible on a telephone
LIGHT = """
.card { fill: #f3f7f6; stroke: #d5dfdd }
text { font: 15px system-ui, sans-serif; fill: #1c2a2a }
.mono { font: 14px ui-monospace, monospace }
.small { fill: #4a5957; font-size: 14px }
.mention { fill: #00695c; font-weight: 600 }
.changed { text-decoration: underline }
.plain { fill: #fff; stroke: #a9b8b5 }
.teal { fill: #bfe3dc; stroke: #4c9d91 }
.amber { fill: #fbdfae; stroke: #c79436 }
.line { fill: none; stroke: #52625f; stroke-width: 1.6 }
.dash { stroke-dasharray: 4 4 }
.head { fill: #52625f }
.dot { fill: #00796b }
"""
DARK = """
.card { fill: #20282a; stroke: #3a4648 }
text { fill: #eaf1ef }
.small { fill: #b9c6c3 }
.mention { fill: #7fdccd }
.plain { fill: #2c3739; stroke: #697a77 }
.teal { fill: #1f5e55; stroke: #58b3a5 }
.amber { fill: #6d4e12; stroke: #d3a24a }
.line { stroke: #b3c1be }
.head { fill: #b3c1be }
.dot { fill: #6fd3c4 }
"""
ARROW = (
    '<marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="6" markerHeight="6" orient="auto">'
    '<path d="M0,0L8,4L0,8z" class="head"/></marker>'
)


def text(x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> str:
    return f'<text x="{x:g}" y="{y:g}" class="{kind}" text-anchor="{anchor}">{escape(words)}</text>'


def box(x: float, y: float, width: float, words: str = "", kind: str = "plain", letters: str = "") -> str:
    frame = f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="28" rx="5" class="{kind}"/>'
    return frame + (text(x + width / 2, y + 19, words, letters, "middle") if words else "")


def line(*points: float, kind: str = "") -> str:
    return f'<polyline points="{" ".join(f"{point:g}" for point in points)}" class="line {kind}"/>'


def arrow(*points: float) -> str:
    return line(*points).replace("/>", ' marker-end="url(#head)"/>')


def write(name: str, title: str, height: float, parts: list[str]) -> None:
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:g}" width="{1.3 * WIDTH:g}" '
        f'height="{1.3 * height:g}" role="img" aria-label="{escape(title)}">',
        f"<style>{LIGHT}@media (prefers-color-scheme: dark) {{{DARK}}}\n</style>",
        f"<defs>{ARROW}</defs>",
        f'<rect x="0.5" y="0.5" width="{WIDTH - 1}" height="{height - 1:g}" rx="8" class="card"/>',
        *parts,
        "</svg>",
    ]
    (FOLDER / f"{name}.svg").write_text("\n".join(lines) + "\n", encoding="utf-8")


def words() -> None:
    # As the MiniLM teacher cuts words, and a vocabulary of 4,000 that was learnt from the quickstart's text.
    pieces = [("p", 16, 36), ("##53", 56, 52), ("raised", 116, 80), ("levels", 348, 76)]
    teacher = [*pieces, ("md", 204, 40), ("##m", 248, 44), ("##2", 296, 44)]
    student = [*pieces, ("mdm2", 204, 136)]
    sentence = [("p53", 16, 92), ("raised", 116, 80), ("MDM2", 204, 136), ("levels", 348, 76)]
    parts = [
        text(16, 25, "the teacher's subwords: a word's first one answers", "small"),
        text(16, 211, "the student's subwords", "small"),
    ]
    parts += [box(x, 97, width, word, "plain") for word, x, width in sentence]
    for row, y, kind in ((teacher, 34, "teal"), (student, 160, "amber")):
        for piece, x, width in row:
            first = not piece.startswith("##")
            parts.append(box(x, y, width, piece, kind if first else "plain", "mono"))
            if first:
                middle = x + width / 2
                parts.append(arrow(middle, 62, middle, 95) if kind == "teal" else arrow(middle, 160, middle, 127))
    write("words", "The first subwords of a word, of teacher and student, meet at the word", 226, parts)


def signals() -> None:
    parts = [text(16, 25, "sentences of any corpus", "small")]
    for place, (name, kind) in enumerate((("A", "teal"), ("B", "amber"), ("A", "teal"), ("C", "plain"))):
        parts += [box(16 + 104 * place, 34, 96, name, kind), arrow(64 + 104 * place, 62, 64 + 104 * place, 88)]
    parts += [box(16, 90, 408, "the teacher, once for each distinct sentence"), arrow(220, 118, 220, 142)]
    parts += [text(16, 160, "on disk: a key and the words' logits for each", "small")]
    parts += [
        box(16 + 139 * place, 168, 130, name, kind)
        for place, (name, kind) in enumerate((("A", "teal"), ("B", "amber"), ("C", "plain")))
    ]
    parts += [arrow(220, 196, 220, 224), box(16, 226, 408, "every epoch, every student, every later run")]
    write("signals", "The teacher's logits are stored once and read often", 268, parts)


def loss() -> None:
    parts = [text(16, 25, "errors of words, in two batches of one step", "small")]
    for y, values in ((34, "42"), (72, "111111")):
        parts += [box(16 + 36 * place, y, 32, value, "teal") for place, value in enumerate(values)]
        parts += [
            f'<rect x="{16 + 36 * place}" y="{y}" width="32" height="28" rx="5" class="line dash"/>'
            for place in range(len(values), 6)
        ]
    parts += [text(238, 53, "mean 3"), text(238, 91, "mean 1")]
    parts += [text(16, 132, "(3 + 1) / 2 = 2: a mean of means, not used")]
    parts += [text(16, 158, "(4 + 2 + 6 × 1) / 8 words = 1.5: the loss", "mention")]
    write("loss", "The errors of all words of a step are divided by their number", 176, parts)


def schemes() -> None:
    sentence = "the p53 MDM2 complex binds".split()
    rows = {
        "IOBES": "O S B E O",
        "IOB2": "O B B I O",
        "IOB1": "O I B I O",
        "BILOU": "O U B L O",
        "BMES": "O S B E O",
        "IO": "O I I I O",
    }
    parts = [text(118 + 68 * place, 28, word, "", "middle") for place, word in enumerate(sentence)]
    parts += [line(154, 38, 218, 38), line(222, 38, 354, 38)]
    parts += [text(186, 56, "a gene", "small", "middle"), text(288, 56, "a gene", "small", "middle")]
    for row, (scheme, tags) in enumerate(rows.items()):
        y = 68 + 34 * row
        parts.append(text(16, y + 19, scheme))
        for place, tag in enumerate(tags.split()):
            kind = "plain" if tag == "O" else "teal" if place == 1 or scheme == "IO" else "amber"
            parts.append(box(86 + 68 * place, y, 64, tag, kind, "mono"))
    write("schemes", "Two mentions side by side in six tag schemes", 280, parts)


def windows() -> None:
    # `make_windows` with room for 32 subwords and a sentence of 60 words of one subword.
    def place(word: int) -> float:
        return 16 + word * 6.8

    parts = [text(16, 25, "a sentence of 60 subwords, windows of 32", "small"), box(16, 34, 408)]
    rows = ((0, 32, 0, 28), (24, 56, 28, 52), (48, 60, 52, 60))
    for row, (start, end, first, last) in enumerate(rows):
        y = 76 + 36 * row
        parts.append(box(place(start), y, place(end) - place(start)))
        parts.append(box(place(first), y, place(last) - place(first), f"{first}-{last - 1}", "teal"))
    parts += [line(place(word), 64, place(word), 178, kind="dash") for word in (28, 52)]
    write("windows", "Overlapping windows, and the words that each predicts", 190, parts)


def better() -> None:
    rows = (  # docs/results.md, "The students that the recipes make", seed 42
        ("a BiLSTM, labels alone", 0.7695, 0.754, 0.785),
        ("the teacher, a MiniLM of four times the size", 0.7997, 0.783, 0.815),
        ("a BiLSTM, taught by it", 0.8276, 0.812, 0.842),
        ("a BiLSTM, taught by it and two of its like", 0.8256, 0.810, 0.839),
    )

    def place(f1: float) -> float:
        return 16 + (f1 - 0.70) / 0.14 * 408

    parts = []
    for row, (name, f1, low, high) in enumerate(rows):
        y = 28 + 50 * row
        parts += [text(16, y, name), line(place(0.7997), y + 7, place(0.7997), y + 25, kind="dash")]
        parts += [line(place(low), y + 16, place(high), y + 16)]
        parts += [f'<circle cx="{place(f1):g}" cy="{y + 16}" r="5" class="dot"/>']
    parts += [text(place(f1), 234, f"{f1:.2f}", "small", "middle") for f1 in (0.72, 0.76, 0.80)]
    parts += [text(424, 234, "F1", "small", "end")]
    write("better-than-the-teacher", "F1 of teacher and students, with 95 % intervals", 246, parts)


def augmentation() -> None:
    # Of the quickstart's training corpus, by `augment` with p = 0.5. Mentions in [], changed tokens with _.
    rows = {
        "a sentence": "[Akt] is a potent inhibitor of [HLA - DR] activity .",
        "tokens replaced, lwtr": "[Akt] _PC12 a potent _in _beta [HLA - _1] _of _active",
        "mentions replaced, mr": "[_follistatin] is a potent inhibitor of [HLA - DR] activity .",
        "segments shuffled, sis": "[Akt] _of _inhibitor _a _potent _is [_HLA _DR _-] activity .",
    }
    parts = []
    for row, (name, tokens) in enumerate(rows.items()):
        spans, inside = [], False
        for token in tokens.split():
            inside = inside or token.startswith("[")
            kind = "mention " * inside + "changed" * ("_" in token)
            spans.append(f'<tspan class="{kind}">{token.strip("[]").lstrip("_")}</tspan>')
            inside = inside and not token.endswith("]")
        y = 26 + 54 * row
        parts += [text(16, y, name, "small"), f'<text x="16" y="{y + 22}">{" ".join(spans)}</text>']
    write("augmentation", "A sentence and what three methods make of it", 226, parts)


if __name__ == "__main__":
    for draw in (words, signals, loss, schemes, windows, better, augmentation):
        draw()
