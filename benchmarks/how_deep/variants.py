"""What the scripts that compare other kinds of stacks with the library's have in common."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn

from sklstm import StackedLSTM


class Norm(nn.LayerNorm):
    """A LayerNorm in the place of a dropout, which the stack calls with a generator."""

    def forward(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Normalize each step."""
        return super().forward(x)


def stack_class(variant: type[StackedLSTM]) -> AbstractContextManager[Any]:
    """Let the estimators that are fitted inside the block make stacks of this class.

    They make a stack without weights and then call its `reset_parameters`, so a class with weights
    that are not those of an ``nn.LSTM`` or ``nn.Linear`` has to set them there.
    """
    return patch("sklstm.training.net.StackedLSTM", variant)
