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
from transformers.utils.generic import can_return_tuple

# Saving a model saves the files that are imported here, the pipeline's too; transformers 5.0 brings along only these.
from .confidence import read_calibration  # noqa: F401
from .configuration_bilstm import BiLSTMConfig
from .decoding import constrained_decode  # noqa: F401
from .fields import check_config  # noqa: F401
from .mentions import find_mentions  # noqa: F401
from .onnx_model import OnnxModel  # noqa: F401
from .pipeline import use_own_pipeline
from .schemes import model_tags  # noqa: F401
from .tags import UserError  # noqa: F401
from .windows import predict_windows  # noqa: F401
from .word_features import FEATURES, word_feature_rows
from .words import word_rule  # noqa: F401

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
    with torch.random.fork_rng(devices=[]):  # what is drawn next shall not depend on whether this ran before
        lstm = nn.LSTM(1, 1)
    try:
        with torch.enable_grad(), torch.autocast("cpu", dtype):
            lstm(torch.zeros(1, 1, 1))
    except RuntimeError:
        return False
    return True


def _read_mask(attention_mask: Tensor | None, given: Tensor) -> Tensor:
    """Return on the CPU which of the subwords of `given` [batch, subwords, ...] are real.

    Raises:
        ValueError: the mask has another shape, or other values than 0 and 1.
    """
    if attention_mask is None:
        return torch.ones(given.shape[:2], dtype=torch.bool)
    attention_mask = attention_mask.cpu()  # packing needs lengths there: a GPU waits for that, not for the checks
    if torch.onnx.is_in_onnx_export():  # a graph checks no values
        return attention_mask
    if attention_mask.shape != given.shape[:2]:
        shapes = list(attention_mask.shape), list(given.shape[:2])
        raise ValueError(f"attention_mask has the shape {shapes[0]}, but the subwords {shapes[1]}.")
    real = attention_mask == 1
    if not torch.equal(real, attention_mask != 0):
        raise ValueError("attention_mask must be 1 for subwords that are read and 0 for others, and no other number.")
    return real


class BiLSTMForTokenClassification(PreTrainedModel):
    """Token classifier: embeddings, a stacked bidirectional LSTM, and a linear or two-layer head.

    With `num_stacks` it is an ensemble in one model: several such LSTMs, each with embeddings of its own (but those of
    a BERT, which they share), have one head, and their outputs are averaged. In training each sentence is read by one
    of them, drawn at random, so that they stay as different as models that were trained apart.

    Examples:
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
        width = config.embedding_size
        if config.embedding_type == "bert":
            assert config.bert_config is not None  # comes with this type
            bert = BertConfig(**config.bert_config)
            if bert.hidden_size != width:
                raise ValueError(f"bert_config's hidden_size, {bert.hidden_size}, is not embedding_size, {width}.")
            self.embeddings = BertEmbeddings(bert)
        else:
            width *= config.num_stacks  # side by side
            self.embeddings = nn.Embedding(config.vocab_size, width)
        if rows := word_feature_rows(config):
            self.feature_embeddings = nn.Embedding(1 + FEATURES * rows, width, padding_idx=0)
        stacks = [
            nn.LSTM(
                config.embedding_size,
                config.hidden_size,
                num_layers=config.num_hidden_layers,
                dropout=config.dropout if config.num_hidden_layers > 1 else 0.0,
                bidirectional=True,
                batch_first=True,
            )
            for _ in range(config.num_stacks)
        ]
        self.lstm, self.more_stacks = stacks[0], nn.ModuleList(stacks[1:])
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
            ValueError: the weights read features of words, and the configuration has none, or another number of stacks.
        """
        loaded: Any = super().from_pretrained(*args, output_loading_info=True, **kwargs)
        model, info = loaded
        if any(name.startswith("feature_embeddings.") for name in info["unexpected_keys"]):
            raise ValueError("the weights have embeddings of features of words, but config.json no word_feature_rows.")
        too_few = not any(name.startswith("lstm.") for name in info["missing_keys"])  # and not: no weights at all
        keys = [*info["unexpected_keys"], *(info["missing_keys"] if too_few else [])]
        if any(name.startswith("more_stacks.") for name in keys):
            raise ValueError(f"the weights have another number of stacks than num_stacks, {model.config.num_stacks}.")
        return (model, info) if output_loading_info else model

    def save_pretrained(self, *args, **kwargs) -> None:
        """As in `PreTrainedModel`; the pipeline that the configuration names is saved, too."""
        use_own_pipeline(self.config)
        super().save_pretrained(*args, **kwargs)

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

    def resize_token_embeddings(self, *args, **kwargs):
        """As in `PreTrainedModel`."""
        embeddings = super().resize_token_embeddings(*args, **kwargs)
        if self.config.embedding_type == "bert":
            self.config.bert_config = self.config.bert_config | {"vocab_size": self.config.vocab_size}
        return embeddings

    def _read(self, states: Tensor, lengths: Tensor, every_layer: bool = False) -> list[Tensor]:
        """Return the outputs [batch, subwords, 2 * hidden_size] of the last LSTM layer, or of every layer.

        `states` are embeddings [batch, subwords, size] with padding on the right, `lengths` [batch] are on the CPU.
        """
        stacks = [self.lstm, *self.more_stacks]
        if len(stacks) == 1:
            return self._read_by(self.lstm, states, lengths, every_layer)
        shared = self.config.embedding_type == "bert"
        inputs = [states] * len(stacks) if shared else states.chunk(len(stacks), -1)
        if not self.training or len(states) < len(stacks):  # where each has to read: the others would get no gradient
            # Limits that no length reaches: the exporter would make one of equal packings, and then not know it.
            read = [
                self._read_by(stack, own, lengths.clamp(max=2**30 + number), every_layer)
                for number, (stack, own) in enumerate(zip(stacks, inputs, strict=True))
            ]
            return [torch.stack(outputs).mean(0) for outputs in zip(*read, strict=True)]
        shares = list(torch.randperm(len(states)).tensor_split(len(stacks)))
        if len(states) % len(stacks):  # the first shares are larger
            shares = [shares[number] for number in torch.randperm(len(stacks))]
        order = torch.cat(shares).argsort().to(states.device)
        read = [
            self._read_by(stack, own[share.to(states.device)], lengths[share], every_layer)
            for stack, own, share in zip(stacks, inputs, shares, strict=True)
        ]
        return [torch.cat(outputs)[order] for outputs in zip(*read, strict=True)]

    def _read_by(self, lstm: nn.LSTM, states: Tensor, lengths: Tensor, every_layer: bool) -> list[Tensor]:
        """As `_read`, by one stack."""
        exported = torch.onnx.is_in_onnx_export()  # the exported LSTM accepts unsorted lengths
        if exported or (states.device.type != "cpu" and states.numel() and not every_layer):
            packed = pack_padded_sequence(states, lengths.clamp(min=1), batch_first=True, enforce_sorted=exported)
            return [pad_packed_sequence(lstm(packed)[0], batch_first=True, total_length=states.shape[1])[0]]
        layers = self.config.num_hidden_layers
        if not states.numel():  # PyTorch's LSTM refuses empty batches
            return [states.new_zeros(*states.shape[:2], 2 * self.config.hidden_size)] * layers
        # On a CPU, packed sequences of different lengths are 2 to 5 times slower. So the backward direction runs over
        # sentences that are reversed within their own length: padding stays on the right in both directions.
        width, longest = states.shape[1], max(1, int(lengths.max()))
        states = states[:, :longest]
        positions, lengths = torch.arange(longest), lengths[:, None]
        reversal = torch.where(positions < lengths, lengths - 1 - positions, positions)[..., None].to(states.device)
        outputs = []
        for layer in range(layers):
            if layer:
                states = self.dropout(states)
            reversed_states = states.gather(1, reversal.expand_as(states))
            forward = self._run_direction(lstm, states, f"l{layer}")
            backward = self._run_direction(lstm, reversed_states, f"l{layer}_reverse")
            states = torch.cat([forward, backward.gather(1, reversal.expand_as(backward))], dim=-1)
            outputs.append(states)
        kept = outputs if every_layer else [states]
        return [nn.functional.pad(states, (0, 0, 0, width - longest)) for states in kept]

    def _run_direction(self, lstm: nn.LSTM, states: Tensor, direction: str) -> Tensor:
        """Run one direction of one LSTM layer; `direction` is its parameter suffix, such as "l0_reverse"."""
        if torch.is_autocast_enabled("cpu") and not _autocast_runs_lstm(torch.get_autocast_dtype("cpu")):
            with torch.autocast("cpu", enabled=False):
                return self._run_direction(lstm, states.to(self.dtype), direction)
        weights = [getattr(lstm, f"{name}_{direction}") for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
        initial = states.new_zeros(1, len(states), self.config.hidden_size)
        return torch.lstm(states, (initial, initial), weights, True, 1, 0.0, self.training, False, True)[0]

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        word_features: Tensor | None = None,
        labels: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        output_hidden_states: bool | None = None,
        **kwargs,
    ) -> TokenClassifierOutput:
        """Return logits [batch, subwords, labels] and, given `labels` [batch, subwords], the mean cross-entropy loss.

        Labels of -100 are ignored. Subwords where `attention_mask` [batch, subwords] is 0 are left out, as if they were
        not there, wherever they are; a graph exported to ONNX needs them on the right. `inputs_embeds` [batch,
        subwords, size of the table] takes the place of word embeddings. `word_features` [batch, subwords, 3]
        (`windows.make_windows`) is needed if the configuration has `word_feature_rows`. `token_type_ids` is accepted,
        because BERT tokenizers return it, but not used. `hidden_states`, if asked for here or by the configuration, are
        the inputs of the first LSTM layers, side by side, and the output of each layer, the mean of all stacks, [batch,
        subwords, size].

        Raises:
            ValueError: both or none of `input_ids` and `inputs_embeds` are given, `word_features` are missing, the mask
                has another shape than the subwords or other values than 0 and 1, `inputs_embeds` are not as wide as the
                table, or `torch.jit` traces the model.
        """
        given = input_ids if inputs_embeds is None else inputs_embeds
        if given is None or (given is not input_ids and input_ids is not None):
            raise ValueError("Give either input_ids or inputs_embeds, not both.")
        exported = torch.onnx.is_in_onnx_export()
        if torch.jit.is_tracing() and not exported:
            raise ValueError("A BiLSTM cannot be traced: the trace would hold for these lengths alone. Export to ONNX.")
        if output_hidden_states is None:
            output_hidden_states = self.config.output_hidden_states
        every_layer = bool(output_hidden_states) and not exported
        real = _read_mask(attention_mask, given)
        # Subwords after padding move to the left, and what was read of them back to its place.
        moved = not exported and bool((real[:, 1:] > real[:, :-1]).any())
        if moved:
            rows, order = torch.arange(len(real))[:, None], real.logical_not().argsort(dim=1, stable=True)
            given = given[rows, order]
        if inputs_embeds is None:
            states = self.embeddings(given)
        elif self.config.embedding_type == "bert":
            states = self.embeddings(inputs_embeds=given)
        else:
            states, width = given, self.config.embedding_size * self.config.num_stacks
            if states.shape[-1] != width:
                raise ValueError(
                    f"inputs_embeds have {states.shape[-1]} values a subword, the embedding table {width}."
                )
        if self.config.word_feature_rows:
            if word_features is None:
                raise ValueError(
                    "This student also reads how words are written (`word_features`), which a tokenizer does not give: "
                    "use its own pipeline, pipeline(model=..., trust_remote_code=True)."
                )
            states = states + self.feature_embeddings(word_features[rows, order] if moved else word_features).sum(-2)
        states = self.embedding_dropout(states)
        hidden_states = [states, *self._read(states, real.sum(1), every_layer)]
        if moved:
            hidden_states = [states[rows, order.argsort(1)] for states in hidden_states]
        logits = self.classifier(self.dropout(hidden_states[-1]))
        loss = None
        if labels is not None:
            # Trainer passes the number of labels of all gradient accumulation steps.
            count = kwargs.get("num_items_in_batch")
            count = (labels != -100).sum().clamp(min=1) if count is None else count
            loss = nn.functional.cross_entropy(logits.float().flatten(0, 1), labels.flatten(), reduction="sum") / count
        return TokenClassifierOutput(
            loss=loss, logits=logits, hidden_states=tuple(hidden_states) if every_layer else None
        )
