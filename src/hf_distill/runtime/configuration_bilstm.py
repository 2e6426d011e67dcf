"""Configuration of the BiLSTM token classifier.

This file is copied next to a saved model as remote code.
"""

from types import SimpleNamespace

from transformers import PretrainedConfig

# Saving a configuration saves the files that are imported here; transformers 5.0 brings along only these.
from .confidence import read_calibration  # noqa: F401
from .decoding import constrained_decode  # noqa: F401
from .fields import check_config
from .tags import UserError  # noqa: F401
from .word_features import FEATURES  # noqa: F401
from .words import word_rule  # noqa: F401


class BiLSTMConfig(PretrainedConfig):
    """Configuration of `BiLSTMForTokenClassification`.

    Args:
        vocab_size: number of rows of the embedding table.
        embedding_size: embedding dimension, of each stack.
        hidden_size: number of LSTM units per direction.
        num_hidden_layers: number of stacked LSTM layers.
        num_stacks: number of such stacks side by side, whose outputs are averaged.
        classifier_size: width of the head's hidden layer; 0 for a single linear layer.
        dropout: dropout probability between LSTM layers and before each linear layer of the head.
        embedding_dropout: dropout probability on the input of the first LSTM layer.
        embedding_type: "train" for an embedding table, "bert" for BERT's full embedding module (`BertEmbeddings`).
        bert_config: the `BertConfig` fields that embedding type "bert" needs.
        word_feature_rows: rows of embeddings for each feature of a word (its shape, its beginning and its end), which
            are added to those of its subwords; 0 for none.
        tags: the tag of each class (IOB2 or IOBES). `id2label` holds IOB2 names, which stock pipelines need.

    Raises:
        UserError: a field does not hold what it should.

    Examples:
        >>> BiLSTMConfig(hidden_size=128, num_hidden_layers=1, num_labels=5).model_type
        'bilstm'
    """

    model_type = "bilstm"

    def __init__(
        self,
        vocab_size: int = 28996,
        embedding_size: int = 300,
        hidden_size: int = 300,
        num_hidden_layers: int = 2,
        num_stacks: int = 1,
        classifier_size: int = 0,
        dropout: float = 0.5,
        embedding_dropout: float = 0.0,
        embedding_type: str = "train",
        bert_config: dict | None = None,
        word_feature_rows: int = 0,
        tags: list[str] | None = None,
        pad_token_id: int | None = 0,
        **kwargs,
    ):
        self.vocab_size = vocab_size
        self.embedding_size = embedding_size
        self.hidden_size = hidden_size
        self.num_hidden_layers = num_hidden_layers
        self.num_stacks = num_stacks
        self.classifier_size = classifier_size
        self.dropout = dropout
        self.embedding_dropout = embedding_dropout
        self.embedding_type = embedding_type
        self.bert_config = bert_config
        self.word_feature_rows = word_feature_rows
        self.tags = tags
        own = {"model_type": self.model_type, "_name_or_path": kwargs.get("name_or_path")}
        check_config(SimpleNamespace(**vars(self) | kwargs | own))
        super().__init__(pad_token_id=pad_token_id, **kwargs)  # type: ignore[call-arg]  # kept like any other argument
