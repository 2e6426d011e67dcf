"""Configuration of the BiLSTM token classifier."""

from transformers import PretrainedConfig


class BiLSTMConfig(PretrainedConfig):
    """Configuration of [`BiLSTMForTokenClassification`].

    Args:
        vocab_size: rows of the embedding table.
        embedding_size: dimensions of an embedding.
        hidden_size: LSTM units per direction.
        num_hidden_layers: stacked LSTM layers.
        classifier_size: width of the hidden layer of the head; 0 for a single linear layer.
        dropout: probability, between LSTM layers and before each linear layer of the head.
        embedding_dropout: probability, of what the first LSTM layer reads.
        embedding_type: "train" for a plain table, "bert" for BERT's whole embedding module.
        bert_config: the fields of `BertConfig` that "bert" needs.
        tags: the true tag of each class (IOB2 or IOBES), where `id2label` shows IOB2 names for stock pipelines.

    Example:
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
        classifier_size: int = 0,
        dropout: float = 0.5,
        embedding_dropout: float = 0.0,
        embedding_type: str = "train",
        bert_config: dict | None = None,
        tags: list[str] | None = None,
        pad_token_id: int | None = 0,
        **kwargs,
    ):
        self.vocab_size = vocab_size
        self.embedding_size = embedding_size
        self.hidden_size = hidden_size
        self.num_hidden_layers = num_hidden_layers
        self.classifier_size = classifier_size
        self.dropout = dropout
        self.embedding_dropout = embedding_dropout
        self.embedding_type = embedding_type
        self.bert_config = bert_config
        self.tags = tags
        super().__init__(pad_token_id=pad_token_id, **kwargs)
