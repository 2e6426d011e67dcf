"""How running text is cut into words."""

import pytest
from transformers import PretrainedConfig

from hf_distill.runtime.tags import UserError
from hf_distill.runtime.words import RULES, choose_rule, join_words, split_words, word_rule


def words_of(text: str, rule: str) -> list[str]:
    return [text[start:end] for start, end in split_words(text, rule)]


@pytest.mark.parametrize(
    ("text", "apart", "within"),
    [
        ("interleukin-2 (IL-2),", "interleukin - 2 ( IL - 2 ) ,", "interleukin-2 ( IL-2 ) ,"),
        ("O'Brien's U.S. 3,000", "O ' Brien ' s U . S . 3 , 000", "O'Brien's U.S . 3,000"),
        ("naïve nai\u0308ve α-actin_2", "naïve nai\u0308ve α - actin _ 2", "naïve nai\u0308ve α-actin_2"),
        ("Straßenbahn-Fahrer, Äpfel", "Straßenbahn - Fahrer , Äpfel", "Straßenbahn-Fahrer , Äpfel"),
        ("हिन्दी-अमेरिका। क्\u200dष", "हिन्दी - अमेरिका । क्\u200dष", "हिन्दी-अमेरिका । क्\u200dष"),
        ("محمَّد، می\u200cخواهم", "محمَّد ، می\u200cخواهم", "محمَّد ، می\u200cخواهم"),
        ("👨\u200d👩\u200d👧❤️!👍🏽🇩🇪", "👨\u200d👩\u200d👧 ❤️ ! 👍🏽 🇩🇪", "👨\u200d👩\u200d👧 ❤️ ! 👍🏽 🇩🇪"),
        (" \n\t ", "", ""),
    ],
)
def test_words_by_hand(text, apart, within):
    assert words_of(text, "apart") == words_of(text, "characters") == apart.split(" ") * bool(apart)
    assert words_of(text, "within") == within.split(" ") * bool(within)


@pytest.mark.parametrize(
    ("text", "characters", "apart"),
    [
        ("王明在Siemens上海3号工作。", "王 明 在 Siemens 上 海 3 号 工 作 。", "王明在Siemens上海3号工作 。"),
        ("タワーへ行った。", "タ ワ ー へ 行 っ た 。", "タワーへ行った 。"),
        ("ยีนข้าว p53", "ยี น ข้ า ว p53", "ยีนข้าว p53"),
    ],
)
def test_characters_of_scripts_without_blanks(text, characters, apart):
    assert words_of(text, "characters") == characters.split(" ")
    assert words_of(text, "apart") == words_of(text, "within") == apart.split(" ")


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(
    "long", ["a" + "\u0300b\u0301" * 50_000, "🧬" + "\u200d\u0300" * 50_000 + "\u200d🧬", "a-" * 50_000]
)
def test_words_of_many_accents_take_no_longer(rule, long):
    """Steps that double with each accent would never come to an end."""
    assert split_words(f"{long} .", rule)[-1] == (len(long) + 1, len(long) + 2)


@pytest.mark.parametrize(
    ("sentences", "expected"),
    [
        ([["interleukin", "-", "2"], ["binds", "."]], ("apart", 1)),
        ([["interleukin-2"], ["binds", "."]], ("within", 1)),
        ([["word"] * 199 + ["IL-2"]], ("apart", 0.995)),  # one in two hundred is a slip
        ([["IL-2", "(p53)", "of", "."]], ("within", 0.75)),  # none fits
        ([list("王明在上海工作。"), ["IL", "-", "2"]], ("characters", 1)),
        ([list("王明在上海")] + [["word"] * 99] * 10, ("characters", 1)),
        ([["東京", "タワー", "へ", "行っ", "た", "。"]], ("characters", 0.5)),
        ([["ฉัน", "กิน", "ข้าว"]], ("characters", 0)),
        ([["हिन्दी", "में", "।"], ["محمَّد", "،"]], ("apart", 1)),
    ],
)
def test_the_rule_is_that_of_the_corpus(sentences, expected):
    assert choose_rule(sentences) == expected


def test_sentences_are_written_as_their_scripts_are():
    assert join_words(["王", "明", "met", "Ana", "在", "ข้", "า"]) == "王明 met Ana 在ข้า"


def test_a_strangers_rule_is_refused_and_not_run():
    assert word_rule(PretrainedConfig()) == "characters"
    assert word_rule(PretrainedConfig(word_rule="within")) == "within"
    assert word_rule(PretrainedConfig(word_pattern=r"[^\W_]+(?:[\u0300-\u036f]+[^\W_]*)*|\S")) == "apart"
    for fields in ({"word_rule": "(a+)+$"}, {"word_pattern": "(a+)+$"}, {"word_rule": ["apart"]}):
        with pytest.raises(UserError, match="which is none of characters, apart, within"):
            word_rule(PretrainedConfig(**fields))
