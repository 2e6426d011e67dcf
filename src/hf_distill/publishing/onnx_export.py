"""Export a student to ONNX in fp32 and int8, checked against PyTorch."""

import copy
import importlib.util
import inspect
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile, TemporaryDirectory, TemporaryFile
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from ..evaluation.metrics import count
from ..files import find_fault, temporary_folder
from ..runtime.onnx_model import FEATURE_ROWS, MODEL_NAME, QUANTIZED_NAME, OnnxModel
from ..runtime.pipeline import predict_words
from ..runtime.tags import UserError
from ..runtime.word_features import FEATURES, word_feature_rows
from ..students.student import Student
from ..training_arguments import cpu_capabilities

if TYPE_CHECKING:
    import onnx

INT8_TOLERANCE = 0.005  # largest loss of entity-level F1
# Types of models that pad or pool by the length of their input: a traced graph holds for the traced length only.
FIXED_LENGTH = ("longformer", "funnel", "canine")
SEGMENTS = "token_type_ids"


class _LogitsOnly(nn.Module):
    def __init__(self, model: PreTrainedModel, names: Sequence[str]):
        super().__init__()
        self.model, self.names = model, names

    def forward(self, *inputs: Tensor) -> Tensor:
        named = dict(zip(self.names, inputs, strict=True))
        if SEGMENTS in named:
            named[SEGMENTS] = named[SEGMENTS].expand_as(named["input_ids"])
        return self.model(**named).logits


def check_onnx_installed() -> None:
    """Raise a UserError if a package that `export_onnx` needs is not installed."""
    missing = [name for name in ("onnx", "onnxruntime") if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(f'--export onnx needs {" and ".join(missing)}: pip install "hf_distill[train]".')


def check_exportable(model: PreTrainedModel) -> None:
    """Raise a UserError if there can be no ONNX file of the model, or none that holds for sentences of any length."""
    with NamedTemporaryFile(suffix=".onnx") as file:
        _trace(copy.deepcopy(model).cpu().float().eval(), file.name)


def export_onnx(
    student: Student,
    folder: str | Path,
    sentences: Sequence[Sequence[str]],
    references: Sequence[Sequence[str]],
    int8: str = "weights",
) -> dict[str, float]:
    """Write `folder`/onnx/model.onnx and model_quantized.onnx (int8), for any batch size and length.

    Args:
        student: its model has the inputs `model_inputs`.
        folder: the model's folder.
        sentences: lists of words, to compare ONNX Runtime with PyTorch.
        references: their gold tags.
        int8: as in `write_onnx`.

    Returns:
        Entity-level F1 on the sentences (`pytorch_f1`, `onnx_f1`, `int8_f1`), and the sizes of the files
        (`onnx_bytes`, `int8_bytes`).

    Raises:
        UserError: the model cannot be exported (`check_exportable`), a tag differs between PyTorch and ONNX in fp32, or
            int8 loses more than `INT8_TOLERANCE` of F1 (in a small corpus: more than one mention). No file is written
            then.
    """
    model = copy.deepcopy(student.model).cpu().float().eval()
    with temporary_folder(folder) as temporary:
        paths = write_onnx(model, temporary, int8)
        models = {
            "pytorch": model,
            "onnx": OnnxModel(paths[0], model.config),
            "int8": OnnxModel(paths[1], model.config),
        }
        logits = {
            name: predict_words(each, student.tokenizer, sentences, student.max_length) for name, each in models.items()
        }
        counts = {name: count(values, references, student.tags) for name, values in logits.items()}
        _check_same("best valid tags", counts["pytorch"].predictions, counts["onnx"].predictions)
        best = [[scores.argmax(-1).tolist() for scores in logits[name]] for name in ("pytorch", "onnx")]
        _check_same("tags", *best)
        f1 = {name: each.scores()["f1"] for name, each in counts.items()}
        # In a small corpus, a single mention can exceed the tolerance.
        mentions = sum(tag[0] in "BS" for sequence in references for tag in sequence)
        tolerance = max(INT8_TOLERANCE, 1 / max(1, mentions))
        if f1["pytorch"] - f1["int8"] > tolerance:
            raise UserError(
                f"The ONNX export failed: in int8 (on a CPU with {instruction_set()}) the student's F1 is "
                f"{f1['int8']:.4f}, in PyTorch {f1['pytorch']:.4f}; at most {tolerance:.3f} may be lost."
            )
        target = Path(folder) / "onnx"
        target.mkdir(exist_ok=True)
        for path in paths:
            path.replace(target / path.name)
    sizes = {"onnx_bytes": target / MODEL_NAME, "int8_bytes": target / QUANTIZED_NAME}
    return {f"{name}_f1": value for name, value in f1.items()} | {
        name: path.stat().st_size for name, path in sizes.items()
    }


def instruction_set() -> str:
    """The CPU's instruction set for int8 products, as PyTorch detects it ("AVX2", "AVX512_VNNI", ...)."""
    found = cpu_capabilities()
    for name in ("amx_int8", "avx512_vnni", "avx_vnni"):
        if found.get(name):
            return name.upper()
    return torch.backends.cpu.get_cpu_capability()


def write_onnx(model: PreTrainedModel, folder: str | Path, int8: str = "weights") -> list[Path]:
    """Export a model to fp32 and int8 without checks; returns the two files.

    Args:
        model: on the CPU, in evaluation mode.
        folder: where to write them.
        int8: "weights": sums are in fp32, so that an answer depends neither on the CPU nor on the sentences that share
            its batch; "dynamic": sums are in int8, and the scale of activations is that of the whole batch.
    """
    import onnx
    from onnxruntime.quantization import quantize_dynamic
    from onnxruntime.quantization.shape_inference import quant_pre_process

    Path(folder).mkdir(exist_ok=True)
    paths = [Path(folder) / name for name in (MODEL_NAME, QUANTIZED_NAME)]
    _trace(model, str(paths[0]))
    with TemporaryDirectory() as temporary:
        prepared = Path(temporary) / MODEL_NAME
        quant_pre_process(paths[0], prepared, skip_symbolic_shape=True)
        if int8 == "weights":
            _quantize_weights(prepared, paths[1])
        else:
            # 7-bit weights: a CPU without VNNI adds two products of a weight and an 8-bit activation in 16 bits, which
            # overflow with 8-bit weights. One scale per row of a matrix makes up for the lost bit.
            quantize_dynamic(prepared, paths[1], reduce_range=True, per_channel=True)
    rows, segments = word_feature_rows(model.config), _has_segments(model)
    for path in paths if rows or segments else []:
        exported = onnx.load(path)
        if rows:
            onnx.helper.set_model_props(exported, {FEATURE_ROWS: str(rows)})
        if segments:  # a default makes the input optional: clients of BERT give it, all others need not
            exported.graph.initializer.append(onnx.numpy_helper.from_array(np.zeros((1, 1), dtype=np.int64), SEGMENTS))
        onnx.save(exported, path)
    return paths


def _quantize_weights(source: Path, target: Path) -> None:
    """Write an ONNX model with its matrices in 8 bits, with a scale for each row of an embedding table and for each
    unit's weights of a layer.

    ONNX Runtime restores the matrices of layers to fp32 when it loads the file, and rows of tables as they are looked
    up. (Cast and Mul, because it would keep DequantizeLinear for each call.)
    """
    import onnx
    from onnx import helper, numpy_helper

    model = onnx.load(source)
    graph = model.graph
    matrices = {each.name: each for each in graph.initializer if each.data_type == onnx.TensorProto.FLOAT}
    users: dict[str, list[tuple[onnx.NodeProto, int]]] = {}
    for node in graph.node:
        for place, name in enumerate(node.input):
            if name in matrices:
                users.setdefault(name, []).append((node, place))
    nodes: list[onnx.NodeProto] = []  # in place of the graph's
    after: dict[str, list[onnx.NodeProto]] = {}  # what follows a lookup, by its output
    for name, uses in users.items():
        axes = {_axis_of_units(node, place) for node, place in uses}
        if len(axes) != 1 or (axis := axes.pop()) is None:
            continue
        weights = numpy_helper.to_array(matrices[name])
        scale = np.abs(weights).max(axis=axis, keepdims=True) / 127
        scale[scale == 0] = 1.0
        graph.initializer.remove(matrices[name])
        rounded = np.round(weights / scale).astype(np.int8)
        graph.initializer.extend(
            [numpy_helper.from_array(rounded, f"{name}_int8"), numpy_helper.from_array(scale, f"{name}_scale")]
        )
        if uses[0][0].op_type != "Gather":
            nodes += _restored(f"{name}_int8", f"{name}_scale", name)
            continue
        for lookup, _ in uses:
            [output] = lookup.output
            lookup.input[0], lookup.output[0] = f"{name}_int8", f"{output}_int8"
            scales = helper.make_node("Gather", [f"{name}_scale", lookup.input[1]], [f"{output}_scale"])
            after[lookup.output[0]] = [scales, *_restored(f"{output}_int8", f"{output}_scale", output)]
    for node in graph.node:
        nodes += [node, *after.get(node.output[0], [])]
    del graph.node[:]
    graph.node.extend(nodes)
    onnx.save(model, target)


def _axis_of_units(node: "onnx.NodeProto", place: int) -> int | None:
    """The axis of an input of a node over which one unit's sum runs (of a table: one row); None: it is no matrix."""
    attributes = {each.name: each.i for each in node.attribute}
    if node.op_type in ("LSTM", "GRU", "RNN") and place in (1, 2):  # [directions, units, inputs]
        return -1
    if node.op_type == "MatMul" and place == 1:
        return -2
    if node.op_type == "Gemm" and place == 1:
        return -1 if attributes.get("transB") else -2
    if node.op_type == "Gather" and place == 0 and not attributes.get("axis"):
        return -1
    return None


def _restored(integers: str, scale: str, output: str) -> list["onnx.NodeProto"]:
    """Nodes that multiply integers by their scale."""
    from onnx import TensorProto, helper

    cast = helper.make_node("Cast", [integers], [f"{output}_cast"], to=TensorProto.FLOAT)
    return [cast, helper.make_node("Mul", [f"{output}_cast", scale], [output])]


def _has_segments(model: PreTrainedModel) -> bool:
    """Whether the model, like BERT, tells segments of its input apart."""
    return getattr(model.config, "type_vocab_size", 0) > 1 and SEGMENTS in inspect.signature(model.forward).parameters


def _trace(model: PreTrainedModel, path: str) -> None:
    """Export a model (on the CPU, in evaluation mode) in fp32.

    Raises:
        UserError: there can be no such file, or none that holds for sentences of any length.
    """
    kind = model.config.model_type
    if kind in FIXED_LENGTH:
        raise UserError(
            f"--export onnx: the ONNX file of a student of type {kind} holds for sentences of one length only. Use "
            "another student, or --export none."
        )
    # The traced graph holds for any batch size and length. Packed sequences need lengths in descending order.
    input_ids = torch.full((2, 4), model.config.pad_token_id or 0)
    attention_mask = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]])
    inputs = {"input_ids": input_ids, "attention_mask": attention_mask}
    if word_feature_rows(model.config):
        inputs["word_features"] = torch.zeros(2, 4, FEATURES, dtype=torch.long)
    axes = dict.fromkeys([*inputs, "logits"], {0: "batch", 1: "length"})
    if _has_segments(model):  # of sizes of their own, because the default is a single 0
        inputs[SEGMENTS] = torch.zeros(1, 1, dtype=torch.long)
        axes[SEGMENTS] = {0: "segments_batch", 1: "segments_length"}
    try:
        with _without_known_warnings(), torch.no_grad():
            torch.onnx.export(
                _LogitsOnly(model, list(inputs)).eval(),
                tuple(inputs.values()),
                path,
                input_names=list(inputs),
                output_names=["logits"],
                dynamic_axes=axes,
                dynamo=False,  # the torch.export exporter lacks packed sequences, which the LSTM needs for padding
            )
    except (torch.onnx.OnnxExporterError, RuntimeError) as error:
        if find_fault(error):
            raise
        raise UserError(
            f"--export onnx: PyTorch cannot export a student of type {kind}: {str(error).splitlines()[0]} Use another "
            "student, or --export none."
        ) from None


@contextmanager
def _without_known_warnings() -> Iterator[None]:
    """Keep to itself what PyTorch's exporter says of every student, and `export_onnx` checks by comparing answers."""
    with warnings.catch_warnings(), _without_lines(b"type is missing, so it may result in wrong shape inference"):
        # A condition is traced as it turned out.
        warnings.filterwarnings("ignore", category=torch.jit.TracerWarning)
        # An LSTM may depend on the batch size (packed sequences do not), an operator becomes several.
        warnings.filterwarnings("ignore", message="Exporting a model to ONNX with a batch_size other than 1")
        warnings.filterwarnings("ignore", message="Exporting aten::index operator")
        # There is a newer exporter, which lacks packed sequences.
        warnings.filterwarnings("ignore", category=DeprecationWarning, message="You are using the legacy TorchScript")
        warnings.filterwarnings("ignore", category=DeprecationWarning, message="The feature will be removed")
        yield


@contextmanager
def _without_lines(known: bytes) -> Iterator[None]:
    """Leave out lines in which `known` stands of what is written to standard error meanwhile, from C++ too.

    All other lines are written when it ends.
    """
    sys.stderr.flush()
    with TemporaryFile() as written:
        standard_error = os.dup(2)
        os.dup2(written.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(standard_error, 2)
            os.close(standard_error)
            written.seek(0)
            for line in written:
                if known not in line:
                    os.write(2, line)


def _check_same(what: str, expected: Sequence[list], found: Sequence[list]) -> None:
    different = sum(one != other for one, other in zip(expected, found, strict=True))
    if different:
        raise UserError(
            f"The ONNX export failed: in {different} of {len(expected)} sentences its {what} differ from PyTorch's."
        )
