"""Tiny random models, tokenizers and corpora, made on the fly, and command lines."""

import functools
import random
from collections.abc import Sequence
from pathlib import Path

import torch
from datasets import Dataset
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import BertConfig, BertForTokenClassification, PreTrainedModel, PreTrainedTokenizerFast

from hf_distill.arguments import ModelArguments
from hf_distill.data.encoding import encode_dataset
from hf_distill.data.readers.common import SENTENCES
from hf_distill.publishing.onnx_export import write_onnx
from hf_distill.runtime.configuration_bilstm import BiLSTMConfig
from hf_distill.runtime.modeling_bilstm import BiLSTMForTokenClassification
from hf_distill.runtime.tags import convert_tags, detect_scheme
from hf_distill.students.build import label_config
from hf_distill.students.save import save_model
from hf_distill.teachers.labels import match_labels
from hf_distill.teachers.teacher import Teacher
from hf_distill.training.batching import DistillationCollator, gather_words

TAGS = ["O", "B-GENE", "I-GENE", "E-GENE", "S-GENE"]
WORDS = (
    "the a of in with and p53 BRCA1 kinase receptor alpha beta binds inhibits cells mice levels tumor 7 ( ) - ,".split()
)

# The launch commands of the reference, as they stand after the script's name.
BILSTM = """--task_name ner --model_name bilstm --path_to_train train_aug3.tsv --path_to_val val.tsv
--teacher_model_name_or_path dmis-lab/biobert-base-cased-v1.1 --batch_size 32 --lr_params 1e-3
--num_train_epochs 50 --eval_steps 50 --logging_steps 10 --save_steps 10 --weight_decay 1e-2
--teacher_checkpoint biobert_state_dict.pt --embedding_type train --embedding_size 300 --hidden_size 300
--classifier_size 256 --do_train 1 --distillation 1""".split()
TINYBERT = """--task_name ner --model_name tinybert --path_to_train train_aug3.tsv --path_to_val val.tsv
--teacher_model_name_or_path dmis-lab/biobert-base-cased-v1.1 --batch_size 32 --lr_params 1e-3
--num_train_epochs 50 --eval_steps 50 --logging_steps 50 --save_steps 10 --weight_decay 1e-2
--teacher_checkpoint biobert_state_dict.pt --distillation 1 --do_train 1""".split()
DATA = ["--path_to_train", "train.tsv", "--path_to_val", "val.tsv"]

# Segments of a sentence: (entity type, words), or (None, words) outside; mentions may touch.
segments = st.lists(
    st.tuples(st.sampled_from([None, "GENE", "CHEMICAL", "S-LAYER-E-1"]), st.integers(1, 4)), max_size=6
)


def spell(parts: list[tuple[str | None, int]], scheme: str) -> list[str]:
    """The tags of a sentence's segments."""
    tags = []
    for entity, length in parts:
        if entity is None:
            tags += ["O"] * length
        elif scheme == "IOB2":
            tags += [f"B-{entity}"] + [f"I-{entity}"] * (length - 1)
        elif length == 1:
            tags += [f"S-{entity}"]
        else:
            tags += [f"B-{entity}"] + [f"I-{entity}"] * (length - 2) + [f"E-{entity}"]
    return tags


def sentences(count: int, seed: int = 0, longest: int = 12) -> list[list[str]]:
    """Random sentences."""
    rng = random.Random(seed)
    return [[rng.choice(WORDS) for _ in range(rng.randint(1, longest))] for _ in range(count)]


def tag(words: list[str]) -> list[str]:
    """A rule that a model can learn: p53 and BRCA1 are genes, and so is a name with kinase or receptor behind it."""
    tags = ["O"] * len(words)
    for index, word in enumerate(words):
        if word in ("p53", "BRCA1"):
            follows = words[index + 1 : index + 2]
            if follows and follows[0] in ("kinase", "receptor"):
                tags[index : index + 2] = ["B-GENE", "E-GENE"]
            else:
                tags[index] = "S-GENE"
    return tags


def corpus(count: int, seed: int = 0, labelled: bool = True, longest: int = 12) -> Dataset:
    """A random corpus as a dataset."""
    rows = [{"tokens": words, "tags": tag(words) if labelled else None} for words in sentences(count, seed, longest)]
    return Dataset.from_list(rows, features=SENTENCES)


def write_tsv(path: Path, count: int, seed: int = 0, longest: int = 12) -> Path:
    """A random corpus as a TSV file."""
    with open(path, "w", encoding="utf-8") as file:
        for words in sentences(count, seed, longest):
            file.writelines(f"{word}\t{label}\n" for word, label in zip(words, tag(words), strict=True))
            file.write("\n")
    return path


def wordpiece(extra: tuple[str, ...] = ()) -> PreTrainedTokenizerFast:
    """A BERT-like tokenizer that cuts some words into pieces and erases what BERT erases."""
    letters = sorted(
        {letter for word in WORDS for letter in word}
        | set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
    )
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "of", "kin", "##ase", "rec", "##eptor", *extra]
    vocabulary += [*letters, *(f"##{letter}" for letter in letters)]
    ids = {piece: index for index, piece in enumerate(dict.fromkeys(vocabulary))}
    tokenizer = Tokenizer(models.WordPiece(ids, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", ids["[SEP]"]), ("[CLS]", ids["[CLS]"]))
    special = {"unk_token": "[UNK]", "pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=64, **special)


def byte_level(add_prefix_space: bool = True) -> PreTrainedTokenizerFast:
    """A RoBERTa-like tokenizer (byte-level BPE)."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=add_prefix_space)
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([" ".join(words) for words in sentences(200)], trainer)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, model_max_length=64, unk_token="<unk>", pad_token="<pad>", cls_token="<s>"
    )


def unigram() -> PreTrainedTokenizerFast:
    """A SentencePiece-like tokenizer (unigram, blanks as metaspace)."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace("\u200b", "")])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    trainer = trainers.UnigramTrainer(vocab_size=60, special_tokens=special, unk_token="<unk>", show_progress=False)
    tokenizer.train_from_iterator([" ".join(words) for words in sentences(200)], trainer)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, model_max_length=64, unk_token="<unk>", pad_token="<pad>", cls_token="<s>"
    )


def bert(tokenizer, tags=TAGS, layers: int = 2, hidden: int = 24, seed: int = 0, dropout: float = 0.1, **fields):
    """A tiny random BERT token classifier."""
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=12,
        intermediate_size=32,
        max_position_embeddings=64,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        initializer_range=0.3,
        pad_token_id=tokenizer.pad_token_id,
        id2label=dict(enumerate(tags)),
        label2id={name: index for index, name in enumerate(tags)},
        **fields,
    )
    return BertForTokenClassification(config)


def teacher(tokenizer=None, **kwargs) -> Teacher:
    """A tiny random teacher whose labels are the student's."""
    tokenizer = tokenizer or wordpiece()
    return Teacher(bert(tokenizer, **kwargs), tokenizer, match_labels(TAGS, TAGS), 64)


def bilstm_arguments(**options) -> ModelArguments:
    """Those of a tiny BiLSTM."""
    return ModelArguments(**{"embedding_size": 8, "hidden_size": 6, **options})


def save_student(
    folder: Path,
    kind: str = "bilstm",
    tags: Sequence[str] = TAGS,
    rule: str = "apart",
    trained: bool = False,
) -> Path:
    """A student (of the kind bilstm, features or bert) with its ONNX files: a random one, that finds something nearly
    everywhere, or one that has learnt the rule of `tag` (and that cells and mice are of the type CELL, if the tags have
    that).
    """
    model, tokenizer = trained_student(kind, tuple(tags)) if trained else random_student(kind, tags)
    model.config.word_rule = rule
    save_model(model, tokenizer, folder)
    write_onnx(model.eval(), folder / "onnx")
    return folder


def save_reader(folder: Path, blank: bool) -> None:
    """A byte-level classifier that knows p53 by its first subword, another one where a blank is before the word."""
    tokenizer = byte_level(add_prefix_space=False)
    first = tokenizer(" p53" if blank else "p53", add_special_tokens=False)["input_ids"][0]
    sizes = {"hidden_size": len(tokenizer), "num_hidden_layers": 0, "num_attention_heads": 1, "intermediate_size": 4}
    labels = {"id2label": dict(enumerate(TAGS)), "label2id": {name: index for index, name in enumerate(TAGS)}}
    model = BertForTokenClassification(BertConfig(vocab_size=len(tokenizer), **sizes, **labels))
    embeddings = model.bert.embeddings
    with torch.no_grad():
        for weight in (embeddings.position_embeddings.weight, embeddings.token_type_embeddings.weight):
            weight.zero_()
        embeddings.word_embeddings.weight.copy_(torch.eye(len(tokenizer)))
        model.classifier.weight.zero_()
        model.classifier.weight[TAGS.index("S-GENE"), first] = 10.0
        model.classifier.bias.copy_(torch.eye(len(TAGS))[0])
    save_model(model, tokenizer, folder)


def random_student(kind: str, tags: Sequence[str]) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """A student with random weights, of the kind bilstm, features (a BiLSTM that also reads how words are written) or
    bert, and its tokenizer.
    """
    tokenizer = wordpiece()
    if kind == "bert":
        model = bert(tokenizer, tags, seed=3)
        for name, value in label_config(tags, "bert").items():
            setattr(model.config, name, value)
    else:
        torch.manual_seed(3)
        options = label_config(tags) | {"word_feature_rows": 20 if kind == "features" else 0}
        config = BiLSTMConfig(len(tokenizer), 8, 8, pad_token_id=tokenizer.pad_token_id, **options)
        model = BiLSTMForTokenClassification(config)
        if kind == "features":
            torch.nn.init.normal_(model.feature_embeddings.weight[1:])
        torch.nn.init.normal_(model.classifier.weight, std=3)
    return model, tokenizer


def knowing_bert(
    tokenizer: PreTrainedTokenizerFast, words: Sequence[str], tags: Sequence[str]
) -> BertForTokenClassification:
    """A student without layers that knows the tag of each of the words by its first subword; all others are O."""
    size = len(tokenizer)
    sizes = {"hidden_size": size, "num_hidden_layers": 0, "num_attention_heads": 1, "intermediate_size": 4}
    config = BertConfig(vocab_size=size, **sizes, **label_config(TAGS, "bert"))
    student = BertForTokenClassification(config).eval()
    embeddings = student.bert.embeddings
    with torch.no_grad():
        # One-hot embeddings; layer normalisation keeps the order, so a word's first subword picks its row of the head.
        embeddings.word_embeddings.weight.copy_(torch.eye(size))
        for silent in (embeddings.position_embeddings, embeddings.token_type_embeddings, student.classifier):
            silent.weight.zero_()
        student.classifier.bias.copy_(torch.eye(len(TAGS))[0])  # what it does not know is O
        for word, tag in zip(words, tags, strict=True):
            first = tokenizer(word, add_special_tokens=False)["input_ids"][0]
            student.classifier.weight[TAGS.index(tag), first] = 1.0
    return student


@functools.cache
def trained_student(kind: str, tags: tuple[str, ...]) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """The same, trained until it is sure of the tags of random sentences."""
    model, tokenizer = random_student(kind, tags)
    sentences = corpus(2400, seed=4, longest=8).to_list()
    for row in sentences:
        if "S-CELL" in tags:
            cells = zip(row["tokens"], row["tags"], strict=True)
            row["tags"] = ["S-CELL" if word in ("cells", "mice") else name for word, name in cells]
        row["tags"] = convert_tags(row["tags"], detect_scheme(tags))
    rows = encode_dataset(Dataset.from_list(sentences, features=SENTENCES), tokenizer, 64, tags).to_list()
    collate = DistillationCollator(tokenizer)
    optimizer = torch.optim.AdamW(model.train().parameters(), 0.01)
    for first in range(0, len(rows), 20):
        batch = collate(rows[first : first + 20])
        logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
        logits = gather_words(logits, batch["word_positions"])
        torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch["labels"].flatten()).backward()
        optimizer.step()
        optimizer.zero_grad()
    return model.eval(), tokenizer
