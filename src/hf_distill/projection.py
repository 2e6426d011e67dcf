"""Projections that lift a student's states to the teacher's width, for training alone."""

from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.utils import SAFE_WEIGHTS_NAME

PROJECTIONS_NAME = "projections.safetensors"


class ProjectedStudent(nn.Module):
    """A student and its projections, which are kept in a file of their own beside it."""

    def __init__(self, student: PreTrainedModel, teacher_size: int, embedding: bool = True, hidden: bool = True):
        super().__init__()
        self.student = student
        self.config = student.config
        # A projection that no loss reads would stay without gradient, which DistributedDataParallel does not allow.
        size = student.config.hidden_size
        self.embedding_projection = nn.Linear(size, teacher_size) if embedding else nn.Identity()
        self.hidden_projection = nn.Linear(size, teacher_size) if hidden else nn.Identity()

    def forward(self, **inputs):
        """The student's outputs, their hidden states projected."""
        outputs = self.student(**inputs)
        if outputs.hidden_states is not None:
            embedded, *hidden = outputs.hidden_states
            outputs.hidden_states = (self.embedding_projection(embedded), *map(self.hidden_projection, hidden))
        return outputs

    def save_pretrained(self, folder: str, state: Mapping[str, Tensor] | None = None) -> None:
        """Write the student as users load it, and the projections. `state` stands for `state_dict()`, if given."""
        state = self.state_dict() if state is None else state
        student = {name.removeprefix("student."): value for name, value in state.items() if name.startswith("student.")}
        others = {name: value for name, value in state.items() if not name.startswith("student.")}
        self.student.save_pretrained(folder, state_dict=student)
        safetensors.torch.save_file(others, Path(folder) / PROJECTIONS_NAME, metadata={"format": "pt"})

    def load_pretrained(self, folder: str) -> None:
        """Read back what `save_pretrained` wrote."""
        state = safetensors.torch.load_file(Path(folder) / SAFE_WEIGHTS_NAME)
        state = {f"student.{name}": value for name, value in state.items()}
        self.load_state_dict(state | safetensors.torch.load_file(Path(folder) / PROJECTIONS_NAME))
