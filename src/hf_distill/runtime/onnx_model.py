"""Inference with an exported student in ONNX Runtime.

This file is copied next to a saved model as remote code: it may import only modules of this folder. It must import
neither torch nor transformers.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .tags import UserError
from .word_features import word_feature_rows

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

FEATURE_ROWS = "word_feature_rows"  # in the metadata of a file whose network reads features of words
MODEL_NAME, QUANTIZED_NAME = "model.onnx", "model_quantized.onnx"


def model_inputs(config: PreTrainedConfig) -> list[str]:
    """Return the names of the inputs of a student's network."""
    return ["input_ids", "attention_mask", *(["word_features"] if word_feature_rows(config) else [])]


class OnnxModel:
    """An exported student that runs in ONNX Runtime on the CPU."""

    def __init__(self, path: str | Path, config: PreTrainedConfig, threads: int = 0):
        """Load an ONNX file.

        Args:
            path: the ONNX file.
            config: the student's configuration.
            threads: number of threads; 0 for all cores.

        Raises:
            ImportError: onnxruntime is not installed.
            UserError: the file cannot be loaded.
        """
        try:  # transformers requires every import of remote code outside a try block to be installed
            import onnxruntime
        except ImportError as error:
            raise ImportError("Running an ONNX file needs ONNX Runtime: pip install onnxruntime") from error

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3  # errors: else it warns of inputs that have a default
        self.config = config
        try:
            self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's have no common class
            raise UserError(f"{path}: cannot be loaded, it may be damaged: {str(error).splitlines()[0]}") from None
        found, expected = [each.name for each in self.session.get_inputs()], model_inputs(config)
        if found != expected:
            raise UserError(f"{path}: reads {', '.join(found)}; by its config.json it should: {', '.join(expected)}.")
        rows = self.session.get_modelmeta().custom_metadata_map.get(FEATURE_ROWS, "0")
        if rows != str(word_feature_rows(config)):
            raise UserError(
                f"{path}: has {rows} rows for each feature of words; by its config.json it should have others."
            )
        self.num_labels = self.session.get_outputs()[0].shape[-1]

    def __call__(self, **inputs: np.ndarray) -> np.ndarray:
        """Return logits [batch, subwords, labels] for the inputs of `windows.pad_windows`."""
        return self.session.run(None, inputs)[0]
