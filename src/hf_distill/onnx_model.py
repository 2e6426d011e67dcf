"""An exported student in ONNX Runtime. A saved student carries this file along, for its pipeline."""

from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedConfig
from transformers.modeling_outputs import TokenClassifierOutput

MODEL_NAME, QUANTIZED_NAME = "model.onnx", "model_quantized.onnx"
INPUTS = ["input_ids", "attention_mask"]


class OnnxModel:
    """An exported student in ONNX Runtime on the CPU, called like the model that it was made from."""

    device = torch.device("cpu")

    def __init__(self, path: str | Path, config: PreTrainedConfig, threads: int = 0):
        """Open an ONNX file; `config` is the student's. `threads` 0 takes all cores.

        Raises:
            ImportError: onnxruntime is not installed.
        """
        try:  # in a try, so that transformers does not ask for it where PyTorch answers
            import onnxruntime
        except ImportError as error:
            raise ImportError("An ONNX file needs ONNX Runtime: pip install onnxruntime") from error

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self.config = config
        self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def __call__(self, input_ids: Tensor, attention_mask: Tensor) -> TokenClassifierOutput:
        """Logits [batch, subwords, labels]."""
        feed = dict(zip(INPUTS, (input_ids.numpy(), attention_mask.numpy()), strict=True))
        return TokenClassifierOutput(logits=torch.from_numpy(self.session.run(None, feed)[0]))
