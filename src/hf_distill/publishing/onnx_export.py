"""Export a student to ONNX in fp32 and int8, checked against PyTorch."""

import copy
import importlib.util
import warnings
from collections.abc import Sequence
from pathlib import Path
from tempfile import NamedTemporaryFile, TemporaryDirectory

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from ..evaluation.metrics import count
from ..files import TEMPORARY
from ..runtime.onnx_model import INPUTS, MODEL_NAME, QUANTIZED_NAME, OnnxModel
from ..runtime.pipeline import predict_words
from ..runtime.tags import UserError
from ..students.student import Student
from ..training_arguments import cpu_capabilities

INT8_TOLERANCE = 0.005  # largest loss of entity-level F1
# Types of models that pad or pool by the length of their input: a traced graph holds for the traced length only.
FIXED_LENGTH = ("longformer", "funnel")


class _LogitsOnly(nn.Module):
    def __init__(self, model: PreTrainedModel):
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return self.model(input_ids=input_ids, attention_mask=attention_mask).logits


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
) -> dict[str, float]:
    """Write `folder`/onnx/model.onnx and model_quantized.onnx (dynamic int8), for any batch size and length.

    Args:
        student: its model has the inputs `input_ids` and `attention_mask`.
        folder: the model's folder.
        sentences: lists of words, to compare ONNX Runtime with PyTorch.
        references: their gold tags.

    Returns:
        Entity-level F1 on the sentences (`pytorch_f1`, `onnx_f1`, `int8_f1`), and the sizes of the files
        (`onnx_bytes`, `int8_bytes`).

    Raises:
        UserError: the model cannot be exported (`check_exportable`), a tag differs between PyTorch and ONNX in fp32, or
            int8 loses more than `INT8_TOLERANCE` of F1 (in a small corpus: more than one mention). No file is written
            then.
    """
    model = copy.deepcopy(student.model).cpu().float().eval()
    with TemporaryDirectory(dir=folder, prefix=TEMPORARY) as temporary:
        paths = write_onnx(model, temporary)
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


def write_onnx(model: PreTrainedModel, folder: str | Path) -> list[Path]:
    """Export a model (on the CPU, in evaluation mode) to fp32 and int8 without checks; returns the two files."""
    from onnxruntime.quantization import quantize_dynamic
    from onnxruntime.quantization.shape_inference import quant_pre_process

    Path(folder).mkdir(exist_ok=True)
    paths = [Path(folder) / name for name in (MODEL_NAME, QUANTIZED_NAME)]
    _trace(model, str(paths[0]))
    with TemporaryDirectory() as temporary:
        prepared = Path(temporary) / MODEL_NAME
        quant_pre_process(paths[0], prepared, skip_symbolic_shape=True)
        # 7-bit weights: a CPU without VNNI adds two products of a weight and an 8-bit activation in 16 bits, which
        # overflow with 8-bit weights. One scale per row of a matrix makes up for the lost bit.
        quantize_dynamic(prepared, paths[1], reduce_range=True, per_channel=True)
    return paths


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
    axes = {0: "batch", 1: "length"}
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # tracer warnings; export_onnx compares the outputs instead
            torch.onnx.export(
                _LogitsOnly(model).eval(),
                (input_ids, attention_mask),
                path,
                input_names=INPUTS,
                output_names=["logits"],
                dynamic_axes=dict.fromkeys([*INPUTS, "logits"], axes),
                dynamo=False,  # the torch.export exporter lacks packed sequences, which the LSTM needs for padding
            )
    except (torch.onnx.OnnxExporterError, RuntimeError) as error:
        raise UserError(
            f"--export onnx: PyTorch cannot export a student of type {kind}: {str(error).splitlines()[0]} Use another "
            "student, or --export none."
        ) from None


def _check_same(what: str, expected: Sequence[list], found: Sequence[list]) -> None:
    different = sum(one != other for one, other in zip(expected, found, strict=True))
    if different:
        raise UserError(
            f"The ONNX export failed: in {different} of {len(expected)} sentences its {what} differ from PyTorch's."
        )
