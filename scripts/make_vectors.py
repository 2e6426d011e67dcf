"""Write the test vectors of the runtime (docs/runtime.md) to tests/runtime/vectors.

Three students without a network: a folder each, with configuration, tokenizer and `texts.json`, a list of what has to
come out for each text. The logits in it are invented, so that they depend on no trained model and on no library that
computes one.
"""

import json
import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from hf_distill.runtime.confidence import read_calibration
from hf_distill.runtime.mentions import find_mentions, locate_words, word_places
from hf_distill.runtime.tagger import FastTokenizer
from hf_distill.runtime.tags import make_tags
from hf_distill.runtime.windows import Window, make_windows, window_length
from hf_distill.runtime.word_features import word_feature_rows

SEED = 20250301
FOLDER = Path(__file__).parents[1] / "tests" / "runtime" / "vectors"

# A line is a text, with Python's escapes.
TEXTS = r"""

\x20
 \t\n\u3000\u2028\x85\x1c
a
.
\u0301
\u200d
\u200b
[CLS] <s> </s> [UNK] ##ase [PAD]
Loss of p53 raised MDM2 levels.
  p53 binds BRCA1-kinase (p53), in mice.\n
IL-2/IL-4-induced NF-kappaB; interleukin-1β (IL-1β)
TNF-α, IFN-γ and TGF-β1 [ΔF508-CFTR]
PI3Kα/AKT (p-mTOR↑), miR-21-5p
c.1521_1523delCTT p.Phe508del rs113993960
5'-GGTACC-3' (Ca2+, Na+/K+-ATPase) 10⁻⁶ M
2,4-dinitrophenol 1,25(OH)2D3 N-acetyl-L-cysteine
the kinase p53kinase p53-kinase kinase.p53
3,000 1.5e-10 50% £12.99 12:30 2024-02-29 192.168.0.1
O'Brien's well-known U.S. e.g. rock’n’roll AT&T
a_b __init__ _ __ -- ... a--b a-_-b -a- 'a'
user@example.org https://example.org/a?b=c#d
x² H₂O ½ Ⅷ ① ٣ ๓ 𝟘
naïve nai\u0308ve Ångström A\u030angstro\u0308m
Straßenbahn-Fahrer, Äpfel – „Zug“
¿Qué pasó? ¡España! l'été
Việt Nam, Hà Nội; V\u0069\u0302\u0323t
İstanbul ışık Żółć čeština
a\u0300\u0301\u0302 -\u0301b a-\u0301b \u0301a \xada so\xadft
ﬁne ™ ª º \u212b ẞ ǅ
\ufeffp53\u200bkinase p53\u2060kinase p53\x00kinase \ufffd
Η πρωτεΐνη p53, ἀρχή· λόγος;
ΜΑΪΟΣ α\u0301βγ ·
Белок p53 — «страж» генома.
й и\u0306 Ёлка, санкт-петербург
Київ, п’ять; Šабац
بروتين p53 في الخلية، نعم؟
م\u064fح\u064eم\u0651\u064eد ١٢٫٣ ــ ؛
می\u200cخواهم ۱۲۳
חלבון p53, צה"ל ג׳ורג׳
ש\u05b8\u05c1לו\u05b9ם ב־א ף.
\u200fabc\u200e \u202bאב\u202c 12
प\u094dर\u094bट\u0940न p53 ह\u0948। ह\u093fन\u094dद\u0940-भ\u093eष\u093e
क\u094d\u200dष क\u094d\u200cष १२३ ॐ
ব\u09be\u0982ল\u09be தம\u0bbfழ\u0bcd త\u0c46ల\u0c41గ\u0c41
โปรต\u0e35น p53 จ\u0e31บ ข\u0e49าว
กp53ข ฿100 าๆ \u0e31ก ๐๑
ລາວ မ\u103cန\u103aမ\u102c ខ\u17d2ម\u17c2រ
王明在Siemens上海3号工作。
癌症细胞p53，“基因”！１２
〇一々𠮷野家 葛\U000e0100飾 ⺀〡
p53受容体はBRCA1に結合する。
タワーへ、プロテイン・ﾊﾟｰﾄﾞ
か\u3099 ハ\u309a ㌦ ㍿ あ、い
p53 단백질은 세포에 있다.
\u1112\u1161\u11ab글 한-글 ㄱㅏ
ქართული Հայ አማርኛ። ᏣᎳᎩ
བ\u0f7cད་ཡ\u0f72ག ᠠᠡ\u180e
🧬🧬 p53 🧬! ❤\ufe0f :-)
👨\u200d👩\u200d👧 👩\U0001f3fd\u200d🔬 👍\U0001f3fd👍
🇩🇪🇫🇷🇬 🇩 🇪
🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f 1\ufe0f\u20e3 #\ufe0f\u20e3
🧬\u200d \u200d🧬 🧬\u200da 🧬\u200d_ _\u200d_ a\u200d🧬 \U0001f3fd
𝒫𝕓𝟙 𐌰𐌱 \U0001d15e√2≠±1
""".split("\n")[1:-1]
RANDOM_WORDS = "the of in and p53 BRCA1 kinase receptor binds cells mice ( ) - , β 癌 ген 🧬".split()


def texts() -> list[str]:
    """Return the texts: those above, one of many windows, and some with words longer than a window."""
    rng = random.Random(SEED)
    return [
        *(line.encode("latin-1", "backslashreplace").decode("unicode_escape") for line in TEXTS),
        " ".join(rng.choice(RANDOM_WORDS) for _ in range(110)),
        f"the {'xy' * 45} of p53",
        f"癌 {'x' * 101} kinase {'🧬' * 3}",
    ]


def vocabulary() -> list[str]:
    """Return the pieces that the tokenizers know: some words, and most characters of the texts."""
    letters = sorted({letter for text in texts() for letter in text if letter.isalnum() or "!" <= letter <= "~"})
    known = [letter for number, letter in enumerate(letters) if number % 8 or letter.isascii()]
    return ["the", "kinase", "p53", "protein", "receptor", *known]


def wordpiece() -> Tokenizer:
    """A tokenizer such as BERT's, which erases some characters."""
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *vocabulary(), "rec", "##ase", "##eptor"]
    pieces += [f"##{piece}" for piece in vocabulary() if len(piece) == 1]
    ids = {piece: number for number, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.WordPiece(ids, unk_token="[UNK]", max_input_chars_per_word=100))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.add_special_tokens(pieces[:4])
    return tokenizer


def byte_level() -> Tokenizer:
    """A tokenizer such as RoBERTa's, with a blank before every word; it has no unknown token."""
    merges = [("\u0120", "p"), ("\u0120p", "5"), ("\u0120p5", "3"), ("\u0120", "k"), ("i", "n"), ("\u0120k", "in")]
    merges += [("a", "s"), ("as", "e"), ("\u0120kin", "ase")]
    pieces = ["<s>", "<pad>", "</s>", *sorted(pre_tokenizers.ByteLevel.alphabet()), *map("".join, merges)]
    tokenizer = Tokenizer(models.BPE({piece: number for number, piece in enumerate(pieces)}, merges))
    tokenizer.normalizer = normalizers.Replace("\u200b", "")
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    tokenizer.add_special_tokens(pieces[:3])
    return tokenizer


def unigram() -> Tokenizer:
    """A tokenizer such as XLNet's or T5's (SentencePiece), whose only special token stands behind a text."""
    pieces = ["<pad>", "</s>", "<unk>", "\u2581", "\u2581the", "\u2581p53", *vocabulary()]
    scores = [0.0, 0.0, 0.0, *(-2 - number / 64 for number in range(len(pieces) - 3))]
    tokenizer = Tokenizer(models.Unigram(list(zip(pieces, scores, strict=True)), unk_id=2))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing("$A </s>", None, [("</s>", 1)])
    tokenizer.add_special_tokens(pieces[:3])
    return tokenizer


# By rule: configuration, tokenizer, what stands beside it.
STUDENTS: dict[str, tuple[dict[str, Any], Tokenizer, dict[str, Any]]] = {
    "apart": (
        {"model_type": "bert", "max_position_embeddings": 512, "tags": make_tags(["GENE"], "IOBES")},
        wordpiece(),
        {"unk_token": "[UNK]", "pad_token": "[PAD]", "model_max_length": 64},
    ),
    "within": (
        {"model_type": "roberta", "max_position_embeddings": 66, "tags": make_tags(["CELL", "GENE"], "IOB2")}
        | {"score_calibration": {"temperature": 1.5, "a": 1.2, "b": 0.8, "c": -0.1, "d": 0.4}},
        byte_level(),
        {"pad_token": "<pad>", "model_max_length": 512},
    ),
    "characters": (
        {
            "model_type": "bilstm",
            "bert_config": {"max_position_embeddings": 42},
            "word_feature_rows": 500,
            "tags": make_tags(["CELL", "S-LAYER-E-1"], "IOBES"),
            "score_calibration": {"temperature": 0.7, "a": 0.5, "b": 2.0, "c": 0.3, "d": -0.6},
        },
        unigram(),
        {"unk_token": {"__type": "AddedToken", "content": "<unk>"}, "pad_token": "<pad>"},
    ),
}


def make_logits(rng: random.Random, words: int, labels: int) -> list[list[float]]:
    """Return random logits; for a third of the texts whole numbers, so that many sequences are equally good."""
    ties = rng.random() < 1 / 3
    return [[rng.randint(-1, 1) if ties else round(rng.gauss(0, 2), 2) for _ in range(labels)] for _ in range(words)]


def as_vector(window: Window) -> dict[str, Any]:
    """Return a window as it stands in a file."""
    kept = {name: value for name, value in vars(window).items() if value is not None}
    return {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in kept.items()}


def make_vectors(folder: Path) -> list[dict[str, Any]]:
    """Return what has to come out for each text, with the student in `folder`."""
    config = SimpleNamespace(**json.loads((folder / "config.json").read_text(encoding="utf-8")))
    tokenizer = FastTokenizer.from_files(folder)
    rng = random.Random(f"{SEED} {config.word_rule}")
    vectors = []
    for text in texts():
        placed = locate_words(text, config.word_rule)
        length, rows = window_length(tokenizer, config), word_feature_rows(config)
        [windows] = make_windows(tokenizer, [placed["words"]], length, rows)
        logits = make_logits(rng, len(placed["words"]), len(config.tags))
        scores = np.array(logits, dtype=np.float32)
        [[_, labels, mentions]] = find_mentions([placed], [scores], config.tags, read_calibration(config))
        vector = {
            "text": text,
            "words": word_places(placed),
            "windows": [as_vector(window) for window in windows if window.word_positions],
            "logits": logits,
            "tags": [config.tags[label] for label in labels],
            "mentions": [mention | {"score": round(mention["score"], 6)} for mention in mentions],
        }
        vectors.append(vector)
    return vectors


def write(folder: Path) -> None:
    """Write a folder for each student."""
    for rule, (config, tokenizer, settings) in STUDENTS.items():
        student = folder / rule
        student.mkdir(parents=True, exist_ok=True)
        tokenizer.save(str(student / "tokenizer.json"), pretty=False)
        settings = {"tokenizer_class": "TokenizersBackend"} | settings
        for name, content in {"config": {"word_rule": rule} | config, "tokenizer_config": settings}.items():
            (student / f"{name}.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        lines = (json.dumps(each, ensure_ascii=False, separators=(",", ":")) for each in make_vectors(student))
        lines = (line.replace("\u2028", "\\u2028") for line in lines)  # some editors take it for a new line
        (student / "texts.json").write_text("[\n" + ",\n".join(lines) + "\n]\n", encoding="utf-8", newline="\n")


if __name__ == "__main__":
    write(FOLDER)
