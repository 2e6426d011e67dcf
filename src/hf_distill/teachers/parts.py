"""Parts of a token classifier of any family: its head, and its stack of layers."""

from torch import nn
from transformers import PreTrainedModel

from ..runtime.tags import UserError


def head_name(model: PreTrainedModel) -> str:
    """Return the name of the linear layer that gives a token classifier's logits, such as `classifier` or `score`.

    Raises:
        UserError: outside of the encoder no linear layer has as many outputs as the model has labels.

    Examples:
        >>> head_name(load_teacher("my-org/biobert-genes", ["O", "B-GENE", "I-GENE"]).model)
        'classifier'
    """
    # Some families register the head before the encoder, whose own layers may have as many outputs.
    encoder = model.base_model
    inside = set() if encoder is model else set(encoder.modules())
    labels = model.config.num_labels
    heads = [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and module.out_features == labels and module not in inside
    ]
    if not heads:
        raise UserError(
            f"{type(model).__name__} has no linear layer with {labels} outputs, one for each label, behind its "
            "encoder, so that its head is not known. Use another model."
        )
    return heads[-1]


def layers_name(model: PreTrainedModel) -> str:
    """Return the name of the module list of a token classifier's layers, such as `bert.encoder.layer`.

    Raises:
        UserError: there is not one list of as many modules as the model has layers.
    """
    count = model.config.num_hidden_layers
    stacks: list[str] = []
    for name, module in model.named_modules():
        nested = any(name.startswith(f"{stack}.") for stack in stacks)
        if isinstance(module, nn.ModuleList) and len(module) == count and not nested:
            stacks.append(name)
    if len(stacks) != 1:
        raise UserError(
            f"--student_layers needs a teacher with one list of layers; {type(model).__name__} (type "
            f"{model.config.model_type}), which shares or arranges its {count} layers otherwise, has not. Use "
            "--model_name bilstm, or another teacher."
        )
    return stacks[0]
