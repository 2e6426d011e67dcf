"""Linear projections of a student's hidden states to the teacher's hidden size, used only in training."""

from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.utils import SAFE_WEIGHTS_NAME

PROJECTIONS_NAME = "projections.safetensors"


class ProjectedStudent(nn.Module):
    """A student with projections of its hidden states, which are saved in a separate file."""

    def __init__(self, student: PreTrainedModel, teacher_size: int, embedding: bool = True, hidden: bool = True):
        super().__init__()
        self.student = student
        self.config = student.config
        # DistributedDataParallel requires a gradient for every parameter, so projections without a loss are omitted.
        size = student.config.hidden_size
        self.embedding_projection = nn.Linear(size, teacher_size) if embedding else nn.Identity()
        self.hidden_projection = nn.Linear(size, teacher_size) if hidden else nn.Identity()

    def __getattr__(self, name: str):
        # Trainer asks its model for embeddings (NEFTune) and gradient checkpointing.
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name == "student":  # it is not there yet
                raise
            return getattr(self.student, name)

    def forward(self, **inputs):
        """Return the student's outputs with projected hidden states."""
        outputs = self.student(**inputs)
        if outputs.hidden_states is not None:
            embedded, *hidden = outputs.hidden_states
            outputs.hidden_states = (self.embedding_projection(embedded), *map(self.hidden_projection, hidden))
        return outputs

    def save_pretrained(self, folder: str, state: Mapping[str, Tensor] | None = None) -> None:
        """Save the student without projections, and the projections in `projections.safetensors`.

        `state` replaces `state_dict()`.
        """
        state = self.state_dict() if state is None else state
        student = {name.removeprefix("student."): value for name, value in state.items() if name.startswith("student.")}
        projections = {name: value for name, value in state.items() if not name.startswith("student.")}
        self.student.save_pretrained(folder, state_dict=student)
        safetensors.torch.save_file(projections, Path(folder) / PROJECTIONS_NAME, metadata={"format": "pt"})

    def load_pretrained(self, folder: str) -> None:
        """Load the weights that `save_pretrained` wrote."""
        state = safetensors.torch.load_file(Path(folder) / SAFE_WEIGHTS_NAME)
        state = {f"student.{name}": value for name, value in state.items()}
        self.load_state_dict(state | safetensors.torch.load_file(Path(folder) / PROJECTIONS_NAME))
