"""What works with which family of models: docs/compatibility.md, from tiny random models that go through whole runs.

    python benchmarks/compatibility.py --output docs/compatibility.md

Each model has the configuration and the tokenizer of its family (vocabulary learnt from the corpus below), and no
trained weights: this is about what runs and what is refused, not about scores.
"""

import argparse
import contextlib
import functools
import io
import json
import os
import random
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from common import ROOT, markdown
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from tqdm import tqdm
from transformers import (
    AlbertConfig,
    AlbertTokenizer,
    AutoModelForTokenClassification,
    BertConfig,
    CamembertConfig,
    CamembertTokenizer,
    DebertaConfig,
    DebertaTokenizer,
    DebertaV2Config,
    DebertaV2Tokenizer,
    DistilBertConfig,
    ElectraConfig,
    GPT2Config,
    GPT2Tokenizer,
    LlamaConfig,
    LlamaTokenizer,
    LongformerConfig,
    ModernBertConfig,
    MPNetConfig,
    MPNetTokenizer,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2Tokenizer,
    RobertaConfig,
    RobertaTokenizer,
    XLMRobertaConfig,
    XLMRobertaTokenizer,
    XLNetConfig,
    XLNetTokenizer,
)

from hf_distill.cli import main as run_distill
from hf_distill.files import write_columns, write_text
from hf_distill.teachers.parts import head_name

TAGS = ["O", "B-GENE", "I-GENE", "E-GENE", "S-GENE"]
WORDS = (
    "the of in and p53 IL-2 BRCA1 kinase receptor alpha naïve binds 10.5 mice co-expressed ( ) 's प्रोटीन ไทย".split()
)
GENES = ("p53", "IL-2", "BRCA1")


def sentences(count: int, seed: int = 0) -> list[list[str]]:
    """Random sentences."""
    draw = random.Random(seed)
    return [[draw.choice(WORDS) for _ in range(draw.randint(2, 9))] for _ in range(count)]


TEXT = [" ".join(words) for words in sentences(200)]


def trained(model, trainer, pre_tokenizer, **options) -> dict:
    """The model of a tokenizer that is trained on the text."""
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.train_from_iterator(TEXT, trainer(show_progress=False, **options))
    return json.loads(tokenizer.to_str())["model"]


def numbered(special: Sequence[str], pieces: Sequence[str]) -> dict[str, int]:
    """Ids for special tokens and, behind them, pieces."""
    return {piece: index for index, piece in enumerate(dict.fromkeys([*special, *pieces]))}


def wordpiece(kind=PreTrainedTokenizerFast) -> PreTrainedTokenizerBase:
    """A WordPiece tokenizer: BERT's, or MPNet's with its own special tokens."""
    pieces = trained(models.WordPiece(), trainers.WordPieceTrainer, pre_tokenizers.BertPreTokenizer(), vocab_size=110)
    if kind is MPNetTokenizer:
        return MPNetTokenizer(vocab=numbered(["<s>", "<pad>", "</s>", "[UNK]", "<mask>"], pieces["vocab"]))
    ids = numbered(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"], pieces["vocab"])
    tokenizer = Tokenizer(models.WordPiece(ids, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **BERTS_NAMES)


BERTS_NAMES = {"unk_token": "[UNK]", "pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
BERTS_NAMES |= {"mask_token": "[MASK]"}


@functools.cache
def byte_pairs() -> tuple[list[str], list[tuple[str, str]]]:
    """Pieces and merges of a byte-level BPE."""
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    split = pre_tokenizers.ByteLevel(add_prefix_space=True)
    model = trained(models.BPE(), trainers.BpeTrainer, split, vocab_size=300, initial_alphabet=alphabet)
    return list(model["vocab"]), [tuple(merge) for merge in model["merges"]]


def byte_level(kind, special: Sequence[str]) -> PreTrainedTokenizerBase:
    """A byte-level tokenizer of a class of transformers."""
    pieces, merges = byte_pairs()
    return kind(vocab=numbered(special, pieces), merges=merges)


def modernbert() -> PreTrainedTokenizerBase:
    """ModernBERT's: byte-level, without a blank before the first word."""
    pieces, merges = byte_pairs()
    tokenizer = Tokenizer(models.BPE(numbered(["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"], pieces), merges))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    names = [("[CLS]", 1), ("[SEP]", 2)]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=names)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **BERTS_NAMES)


def llama3() -> PreTrainedTokenizerBase:
    """Llama 3's: the byte level behind a split, and nothing to pad with."""
    pieces, merges = byte_pairs()
    begin = "<|begin_of_text|>"
    tokenizer = Tokenizer(models.BPE(numbered([begin, "<|end_of_text|>"], pieces), merges, ignore_merges=True))
    pattern = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    pattern += r"|\s*[\r\n]+|\s+(?!\S)|\s+"
    split = pre_tokenizers.Split(Regex(pattern), "isolated")
    byte_split = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, byte_split])
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{begin} $A", special_tokens=[(begin, 0)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=begin, eos_token="<|end_of_text|>")


def llama2() -> PreTrainedTokenizerBase:
    """Llama 2's: SentencePiece's BPE, unknown characters as bytes, nothing to pad with."""
    model = trained(models.BPE(), trainers.BpeTrainer, pre_tokenizers.Metaspace(), vocab_size=110)
    special = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    merges = [tuple(merge) for merge in model["merges"]]
    return LlamaTokenizer(vocab=numbered(special, model["vocab"]), merges=merges)


def unigram(kind, before: Sequence[str], after: Sequence[str] = (), **options) -> PreTrainedTokenizerBase:
    """A SentencePiece Unigram tokenizer of a class of transformers, with special tokens before and after the pieces."""
    special = {"special_tokens": ["<unk>"], "unk_token": "<unk>"}
    model = trained(models.Unigram(), trainers.UnigramTrainer, pre_tokenizers.Metaspace(), vocab_size=100, **special)
    pieces = [tuple(entry) for entry in model["vocab"] if entry[0] != "<unk>"]
    return kind(vocab=[*((name, 0.0) for name in before), *pieces, *((name, 0.0) for name in after)], **options)


@dataclass
class Family:
    """A family of models: how a tiny one is made."""

    config: type[PretrainedConfig]
    fields: dict
    tokenizer: Callable[[], PreTrainedTokenizerBase]

    def save(self, *folders: Path) -> None:
        """Write token classifiers with random weights, and the same tokenizer, to each folder."""
        tokenizer = self.tokenizer()
        tokenizer.model_max_length = 64
        for seed, folder in enumerate(folders):
            self.model(tokenizer, seed).save_pretrained(folder)
            tokenizer.save_pretrained(folder)

    def model(self, tokenizer: PreTrainedTokenizerBase, seed: int = 0) -> PreTrainedModel:
        """A token classifier with random weights and the labels `TAGS`."""
        labels = {"id2label": dict(enumerate(TAGS)), "label2id": {tag: index for index, tag in enumerate(TAGS)}}
        special = {
            f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("pad", "bos", "eos", "cls", "sep")
        }
        torch.manual_seed(seed)
        config = self.config(vocab_size=len(tokenizer), **self.fields, **special, **labels)
        model = AutoModelForTokenClassification.from_config(config)
        # Decided answers, so that rounding changes none of them.
        torch.nn.init.normal_(model.get_submodule(head_name(model)).weight, std=3)
        return model


SIZES = {"hidden_size": 24, "num_hidden_layers": 4, "num_attention_heads": 2, "intermediate_size": 32}
SIZES |= {"max_position_embeddings": 70}
ROBERTAS = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
RELATIVE = {"relative_attention": True, "pos_att_type": ["c2p", "p2c"]}
V3 = {"position_buckets": 16, "share_att_key": True, "norm_rel_ebd": "layer_norm", "conv_kernel_size": 3}
FAMILIES = {
    "BERT": Family(BertConfig, SIZES, wordpiece),
    "DistilBERT": Family(DistilBertConfig, {"dim": 24, "n_layers": 4, "n_heads": 2, "hidden_dim": 32}, wordpiece),
    "ELECTRA": Family(ElectraConfig, SIZES | {"embedding_size": 12}, wordpiece),
    "MPNet": Family(MPNetConfig, SIZES, lambda: wordpiece(MPNetTokenizer)),
    "RoBERTa": Family(RobertaConfig, SIZES, lambda: byte_level(RobertaTokenizer, ROBERTAS)),
    "Longformer": Family(
        LongformerConfig, SIZES | {"attention_window": [8, 4, 4, 8]}, lambda: byte_level(RobertaTokenizer, ROBERTAS)
    ),
    "ModernBERT": Family(ModernBertConfig, SIZES | {"local_attention": 8}, modernbert),
    "DeBERTa": Family(
        DebertaConfig,
        SIZES | RELATIVE,
        lambda: byte_level(DebertaTokenizer, ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]"]),
    ),
    "DeBERTa-v2, v3": Family(
        DebertaV2Config,
        SIZES | RELATIVE | V3,
        lambda: unigram(DebertaV2Tokenizer, ["[PAD]", "[CLS]", "[SEP]", "[UNK]"], ["[MASK]"], unk_id=3),
    ),
    "XLM-RoBERTa": Family(
        XLMRobertaConfig, SIZES, lambda: unigram(XLMRobertaTokenizer, ["<s>", "<pad>", "</s>", "<unk>"], ["<mask>"])
    ),
    "CamemBERT": Family(
        CamembertConfig,
        SIZES,
        lambda: unigram(
            CamembertTokenizer,
            ["<s>NOTUSED", "<pad>", "</s>NOTUSED", "<unk>", "<unk>NOTUSED"],
            ["<s>", "</s>", "<mask>"],
        ),
    ),
    "ALBERT": Family(
        AlbertConfig,
        SIZES | {"embedding_size": 12},
        lambda: unigram(AlbertTokenizer, ["<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]"]),
    ),
    "XLNet": Family(
        XLNetConfig,
        {"d_model": 24, "n_layer": 4, "n_head": 2, "d_inner": 32},
        lambda: unigram(
            XLNetTokenizer, ["<unk>", "<s>", "</s>", "<cls>", "<sep>", "<pad>", "<mask>", "<eod>", "<eop>"]
        ),
    ),
    "GPT-2": Family(
        GPT2Config,
        {"n_embd": 24, "n_layer": 4, "n_head": 2, "n_positions": 70},
        lambda: byte_level(GPT2Tokenizer, ["<|endoftext|>"]),
    ),
    "Llama 2": Family(LlamaConfig, SIZES, llama2),
    "Llama 3": Family(LlamaConfig, SIZES, llama3),
    "Qwen2": Family(
        Qwen2Config, SIZES | {"num_key_value_heads": 1}, lambda: byte_level(Qwen2Tokenizer, ["<|endoftext|>"])
    ),
}

SMALL = "--vocabulary_size 400 --embedding_size 12 --hidden_size 8 --transfer_sentences 24"
RECIPE_OF_LAYERS = f"{ROOT}/configs/recipe_transformer.yaml --transfer_sentences 24 --student_layers 0 3 --export none"
AUTO = "--model_name auto --teacher_model_name_or_path model --student_model_name_or_path student --logit_loss ce"
AUTO += " --add_prefix_space 1"  # which way a model without trained weights is better is chance
# What is done with a model of the family, and the arguments for it.
COLUMNS = {
    "teacher: `recipe.yaml`": f"{ROOT}/configs/recipe.yaml --teacher_model_name_or_path model {SMALL}",
    "`recipe_small.yaml`, exported": f"{ROOT}/configs/recipe_small.yaml --teacher_model_name_or_path model {SMALL}",
    "`recipe_transformer.yaml`": f"{RECIPE_OF_LAYERS} --teacher_model_name_or_path model",
    "fine-tuned as teacher": "--teacher_model_name_or_path model --do_train_teacher 1 --teacher_num_train_epochs 1 "
    f"--embedding_type svd {SMALL}",
    "student: logits, exported": f"{AUTO} --export onnx",
    "student: hidden states": f"{AUTO} --embedding_loss_weight 1 --hidden_loss_weight 1",
}


def write_corpora(folder: Path) -> None:
    """Write train.tsv and devel.tsv."""
    for name, count, seed in (("train", 24, 1), ("devel", 8, 2)):
        text = sentences(count, seed)
        tags = [["S-GENE" if word in GENES else "O" for word in words] for words in text]
        write_columns(folder / f"{name}.tsv", text, tags)


def attempt(family: str, column: str) -> str:
    """Do what a column says with a family, in an empty working folder. Return "" or why it is refused."""
    if not Path("train.tsv").exists():
        write_corpora(Path())
        FAMILIES[family].save(Path("model"), Path("student"))
    output = f"out-{list(COLUMNS).index(column)}"
    data = "--path_to_train train.tsv --path_to_val devel.tsv --signals_dir signals --min_teacher_f1 0 --bf16 0"
    brief = f"--num_train_epochs 1 --save_strategy no --load_best_model_at_end 0 --use_cpu 1 --output_dir {output}"
    errors = io.StringIO()
    with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(io.StringIO()):
        status = run_distill(f"{COLUMNS[column]} {data} {brief}".split())
    if status:
        return errors.getvalue().strip().rpartition("\n")[2]
    results = json.loads(Path(output, "all_results.json").read_text())
    assert 0 <= results["eval_f1"] <= 1
    return ""


def table(outcomes: dict[str, dict[str, str]]) -> str:
    """The outcomes as a table, with the refusals as notes below it."""
    reasons: list[str] = []
    rows = []
    for family, outcome in outcomes.items():
        cells = []
        for reason in outcome.values():
            if reason and reason not in reasons:
                reasons.append(reason)
            cells.append(f"refused ({reasons.index(reason) + 1})" if reason else "yes")
        rows.append([family, *cells])
    notes = [f"{number}. {reason}" for number, reason in enumerate(reasons, 1)]
    return "\n".join([markdown(["family", *COLUMNS], rows), "", *notes])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", default="docs/compatibility.md", help="the file to write")
    parser.add_argument("--families", nargs="+", default=list(FAMILIES), choices=list(FAMILIES))
    args = parser.parse_args()
    output, home = Path(args.output).resolve(), Path.cwd()
    outcomes: dict[str, dict[str, str]] = {}
    for family in tqdm(args.families):
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            outcomes[family] = {column: attempt(family, column) for column in COLUMNS}
            os.chdir(home)
    write_text(output, INTRODUCTION + table(outcomes) + "\n")


INTRODUCTION = """# Compatibility

Written by `python benchmarks/compatibility.py`, from whole runs of tiny random models, one for each cell; the tests go
through the same table.

"""

if __name__ == "__main__":
    main()
