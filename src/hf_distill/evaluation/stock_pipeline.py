"""What clients that know only transformers' own pipeline get out of a student."""

from datasets import Dataset
from tqdm import tqdm
from transformers import TokenClassificationPipeline
from transformers.pipelines.token_classification import AggregationStrategy

from ..runtime.mentions import locate_words, word_places
from ..runtime.pipeline import MentionPipeline
from ..runtime.tags import spans
from ..runtime.windows import window_length
from ..students.student import Student

STRATEGIES = ("first", "average", "max", "simple")  # all but "none", which gives no mentions
SENTENCES = 1000  # at most


def compare_pipelines(student: Student, corpus: Dataset) -> dict[str, float]:
    """Return the entity-level F1 of pipelines on running text: words of the corpus, joined by spaces.

    Args:
        student: a transformer, loaded from its folder, with the tokenizer that users get.
        corpus: labelled sentences; of many, `SENTENCES` at equal distances are read.

    Returns:
        F1 by each `aggregation_strategy` of transformers' own pipeline, and under "own" that of the student's pipeline.
        Blanks before a mention, which byte-level tokenizers count in, are left out.
    """
    corpus = corpus.select(range(0, len(corpus), -(-len(corpus) // SENTENCES)))
    located = [locate_words(words, rule="") for words in corpus["tokens"]]
    gold = set()
    for number, (text, tags) in enumerate(zip(located, corpus["tags"], strict=True)):
        places = word_places(text)
        gold |= {(number, entity, places[first][0], places[last - 1][1]) for entity, first, last in spans(tags)}
    own = MentionPipeline(model=student.model, tokenizer=student.tokenizer, device=student.model.device)
    stock = TokenClassificationPipeline(model=student.model, tokenizer=student.tokenizer, device=student.model.device)
    limit = window_length(student.tokenizer, student.model.config)  # many tokenizers have none of their own
    settings = {"is_split_into_words": False, "tokenizer_params": {"max_length": limit}}
    found: dict[str, set] = {name: set() for name in (*STRATEGIES, "own")}
    for number, text in enumerate(
        tqdm([each["text"] for each in located], desc="Comparing pipelines", unit=" sentences")
    ):
        mentions = {"own": own(text)}
        outputs = [stock.forward(chunk) for chunk in stock.preprocess(text, **settings)]
        for name in STRATEGIES:
            mentions[name] = stock.postprocess(outputs, AggregationStrategy(name))
        for name, each in mentions.items():
            for one in each:
                blanks = len(text[one["start"] :]) - len(text[one["start"] :].lstrip())
                found[name].add((number, one["entity_group"], one["start"] + blanks, one["end"]))
    return {name: 2 * len(each & gold) / max(1, len(each) + len(gold)) for name, each in found.items()}
