"""A bidirectional LSTM token classifier as a transformers model.

This file is copied next to a saved model as remote code.
"""

import functools
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from transformers import BertConfig, PreTrainedModel
from transformers.modeling_outputs import TokenClassifierOutput
from transformers.models.bert.modeling_bert import BertEmbeddings

from .configuration_bilstm import BiLSTMConfig
from .tags import UserError  # noqa: F401  transformers 5.0 brings along only what is imported here
from .word_features import FEATURES, word_feature_rows

FEATURE_STD = 0.05  # of new embeddings of features, beside those of subwords, whose standard deviation is 1


class Dropout(nn.Dropout):
    """`nn.Dropout` with faster mask generation on the CPU."""

    def forward(self, states: Tensor) -> Tensor:
        if not self.training or self.p in (0, 1) or states.device.type != "cpu":
            return super().forward(states)
        # The generator is single-threaded, so each 64-bit random number serves four elements of 16 bits.
        count = states.numel()
        bits = torch.empty(-(-count // 4), dtype=torch.int64).random_(-(2**63), None).view(torch.int16)[:count]
        threshold = min(round(self.p * 2**16), 2**16 - 1)
        keep = (bits >= threshold - 2**15).view_as(states)
        return states * keep * (2**16 / (2**16 - threshold))


@functools.cache
def _autocast_runs_lstm(dtype: torch.dtype) -> bool:
    """Whether this CPU supports an LSTM under autocast to `dtype` (oneDNN has no bf16 LSTM without AVX-512)."""
    lstm = nn.LSTM(1, 1)
    try:
        with torch.enable_grad(), torch.autocast("cpu", dtype):
            lstm(torch.zeros(1, 1, 1))
    except RuntimeError:
        return False
    return True


class BiLSTMForTokenClassification(PreTrainedModel):
    """Token classifier: embeddings, a stacked bidirectional LSTM, and a linear or two-layer head.

    Example:
        >>> student = BiLSTMForTokenClassification(BiLSTMConfig(vocab_size=100, num_labels=5))
        >>> student(input_ids=torch.tensor([[2, 7, 3]])).logits.shape
        torch.Size([1, 3, 5])
    """

    config_class = BiLSTMConfig
    base_model_prefix = "bilstm"

    def __init__(self, config: BiLSTMConfig):
        super().__init__(config)
        assert config.num_labels is not None  # two by default
        self.embeddings: nn.Module
        self.classifier: nn.Module
        if config.embedding_type == "bert":
            assert config.bert_config is not None  # comes with this type
            self.embeddings = BertEmbeddings(BertConfig(**config.bert_config))
        else:
            self.embeddings = nn.Embedding(config.vocab_size, config.embedding_size)
        if rows := word_feature_rows(config):
            self.feature_embeddings = nn.Embedding(1 + FEATURES * rows, config.embedding_size, padding_idx=0)
        self.lstm = nn.LSTM(
            config.embedding_size,
            config.hidden_size,
            num_layers=config.num_hidden_layers,
            dropout=config.dropout if config.num_hidden_layers > 1 else 0.0,
            bidirectional=True,
            batch_first=True,
        )
        self.embedding_dropout = Dropout(config.embedding_dropout)
        self.dropout = Dropout(config.dropout)
        width = 2 * config.hidden_size
        if config.classifier_size:
            self.classifier = nn.Sequential(
                nn.Linear(width, config.classifier_size),
                nn.ReLU(),
                Dropout(config.dropout),
                nn.Linear(config.classifier_size, config.num_labels),
            )
        else:
            self.classifier = nn.Linear(width, config.num_labels)
        self.post_init()

    @classmethod
    def from_pretrained(cls, *args, output_loading_info: bool = False, **kwargs):
        """As in `PreTrainedModel`.

        Raises:
            ValueError: the weights read features of words, but the configuration has none.
        """
        loaded: Any = super().from_pretrained(*args, output_loading_info=True, **kwargs)
        model, info = loaded
        if any(name.startswith("feature_embeddings.") for name in info["unexpected_keys"]):
            raise ValueError("the weights have embeddings of features of words, but config.json no word_feature_rows.")
        return (model, info) if output_loading_info else model

    def _init_weights(self, module: nn.Module) -> None:
        # PyTorch's default initialisation suits an LSTM. transformers skips the weights loaded from a checkpoint.
        if isinstance(module, (nn.Embedding, nn.Linear, nn.LSTM, nn.LayerNorm)):
            module.reset_parameters()
            if module is getattr(self, "feature_embeddings", None):
                nn.init.normal_(module.weight, std=FEATURE_STD)
                module._fill_padding_idx_with_zero()
        elif isinstance(module, BertEmbeddings):  # non-persistent buffers, absent from checkpoints
            module.position_ids.copy_(torch.arange(module.position_ids.shape[-1])[None])
            module.token_type_ids.zero_()

    def get_input_embeddings(self) -> nn.Module:
        bert = self.config.embedding_type == "bert"
        return self.embeddings.get_submodule("word_embeddings") if bert else self.embeddings

    def set_input_embeddings(self, value: nn.Module) -> None:
        if self.config.embedding_type == "bert":
            self.embeddings.word_embeddings = value
        else:
            self.embeddings = value

    def _read(self, states: Tensor, attention_mask: Tensor) -> Tensor:
        """Return the LSTM outputs [batch, subwords, 2 * hidden_size] for embeddings [batch, subwords, size]."""
        exported = torch.onnx.is_in_onnx_export()  # the exported LSTM accepts unsorted lengths
        if exported or states.device.type != "cpu":
            lengths = attention_mask.sum(1).clamp(min=1).cpu()
            packed = pack_padded_sequence(states, lengths, batch_first=True, enforce_sorted=exported)
            return pad_packed_sequence(self.lstm(packed)[0], batch_first=True, total_length=states.shape[1])[0]
        # On a CPU, packed sequences of different lengths are 2 to 5 times slower. So the backward direction runs over
        # sentences that are reversed within their own length: padding stays on the right in both directions.
        lengths = attention_mask.sum(1, keepdim=True)
        width, longest = states.shape[1], int(lengths.max().clamp(min=1))
        states = states[:, :longest]
        positions = torch.arange(longest)[None]
        reversal = torch.where(positions < lengths, lengths - 1 - positions, positions)[..., None]
        for layer in range(self.config.num_hidden_layers):
            if layer:
                states = self.dropout(states)
            reversed_states = states.gather(1, reversal.expand_as(states))
            forward = self._run_direction(states, f"l{layer}")
            backward = self._run_direction(reversed_states, f"l{layer}_reverse")
            states = torch.cat([forward, backward.gather(1, reversal.expand_as(backward))], dim=-1)
        return nn.functional.pad(states, (0, 0, 0, width - longest))

    def _run_direction(self, states: Tensor, direction: str) -> Tensor:
        """Run one direction of one LSTM layer; `direction` is its parameter suffix, such as "l0_reverse"."""
        if torch.is_autocast_enabled("cpu") and not _autocast_runs_lstm(torch.get_autocast_dtype("cpu")):
            with torch.autocast("cpu", enabled=False):
                return self._run_direction(states.to(self.dtype), direction)
        weights = [
            getattr(self.lstm, f"{name}_{direction}") for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        ]
        initial = states.new_zeros(1, len(states), self.config.hidden_size)
        return torch.lstm(states, (initial, initial), weights, True, 1, 0.0, self.training, False, True)[0]

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        word_features: Tensor | None = None,
        labels: Tensor | None = None,
        return_dict: bool | None = None,
        **kwargs,
    ) -> TokenClassifierOutput | tuple:
        """Return logits [batch, subwords, labels] and, given `labels` [batch, subwords], the mean cross-entropy loss.

        Labels of -100 are ignored. Padding must be on the right; it does not change the logits of other subwords.
        `word_features` [batch, subwords, 3] (`windows.make_windows`) is needed if the configuration has
        `word_feature_rows`. `token_type_ids` is accepted, because BERT tokenizers return it, but not used.

        Raises:
            ValueError: `word_features` are missing.
        """
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        states = self.embeddings(input_ids)
        if self.config.word_feature_rows:
            if word_features is None:
                raise ValueError(
                    "This student also reads how words are written (`word_features`), which a tokenizer does not give: "
                    'use its own pipeline, pipeline("token-classification", model=..., trust_remote_code=True).'
                )
            states = states + self.feature_embeddings(word_features).sum(-2)
        hidden = self._read(self.embedding_dropout(states), attention_mask)
        logits = self.classifier(self.dropout(hidden))
        loss = None
        if labels is not None:
            # Trainer passes the number of labels of all gradient accumulation steps.
            count = kwargs.get("num_items_in_batch")
            count = (labels != -100).sum().clamp(min=1) if count is None else count
            loss = nn.functional.cross_entropy(logits.float().flatten(0, 1), labels.flatten(), reduction="sum") / count
        if return_dict is False:
            return (logits,) if loss is None else (loss, logits)
        return TokenClassifierOutput(loss=loss, logits=logits)
