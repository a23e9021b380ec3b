"""Poolings: how the outputs of the top layer at all steps become one vector.

A new pooling is one more entry of `POOLINGS`. The parameter checks, the module, the sizes of stored
tensors, the estimate of memory, the summary and the ONNX export all read this registry.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor


class OnnxGraph(Protocol):
    """Adds nodes to an ONNX graph; an input is the name of another node's output, or a constant."""

    def add(self, operator: str, *inputs: Any, **attributes: Any) -> str:
        """Add a node with one output, and return the name of the output."""

    def add_many(self, n: int, operator: str, *inputs: Any, **attributes: Any) -> list[str]:
        """Add a node with `n` outputs, and return their names."""


@dataclass(frozen=True)
class Pooling:
    """One way to make one vector of a sequence of outputs.

    `words` say what the vector is, for the summary of a module. `n_vectors` is its length, in
    widths of the top layer.

    `pool` takes a sequence of shape (batch, n_timesteps, width), the lengths, `None` if no sequence
    is padded, and `bidirectional`. It returns shape (batch, n_vectors * width).

    `onnx` adds the same to an `OnnxGraph` (opset 15). It takes the graph, the name of a sequence of
    shape (n_timesteps, batch, width) without padding, and `bidirectional`. It returns the name of
    the result, of shape (batch, n_vectors * width).
    """

    words: str
    pool: Callable[[Tensor, Tensor | None, bool], Tensor]
    onnx: Callable[[OnnxGraph, str, bool], str]
    n_vectors: int = 1


def at_last_step(sequence: Tensor, lengths: Tensor | None) -> Tensor:
    """Return the values at the last step of each sequence."""
    if lengths is None:
        return sequence[:, -1]
    return sequence.take_along_dim((lengths - 1).view(-1, 1, 1), dim=1)[:, 0]


def last(sequence: Tensor, lengths: Tensor | None, bidirectional: bool) -> Tensor:
    """Return what each direction outputs after its own last step."""
    if not bidirectional:
        return at_last_step(sequence, lengths)
    forward, backward = sequence.chunk(2, dim=-1)
    return torch.cat([at_last_step(forward, lengths), backward[:, 0]], dim=-1)


def mean(sequence: Tensor, lengths: Tensor | None, _bidirectional: bool) -> Tensor:
    """Return the mean over the steps."""
    n_steps = sequence.shape[1] if lengths is None else lengths.unsqueeze(1)
    # Added step by step, so that padding changes no bit: `sum` groups the steps by their number.
    return at_last_step(sequence.cumsum(1), lengths) / n_steps


def maximum(sequence: Tensor, lengths: Tensor | None, _bidirectional: bool) -> Tensor:
    """Return the maximum over the steps."""
    if lengths is not None:
        padding = torch.arange(sequence.shape[1], device=lengths.device) >= lengths.unsqueeze(1)
        sequence = sequence.masked_fill(padding.unsqueeze(2), -torch.inf)
    return sequence.amax(1)


def concat(sequence: Tensor, lengths: Tensor | None, bidirectional: bool) -> Tensor:
    """Return the last output, the mean and the maximum, side by side."""
    parts = [pool(sequence, lengths, bidirectional) for pool in (last, mean, maximum)]
    return torch.cat(parts, dim=-1)


def onnx_last(graph: OnnxGraph, sequence: str, bidirectional: bool) -> str:
    """Add the nodes of `last`."""
    if not bidirectional:
        return graph.add("Gather", sequence, -1, axis=0)
    forward, backward = graph.add_many(2, "Split", sequence, axis=2)
    ends = graph.add("Gather", forward, -1, axis=0), graph.add("Gather", backward, 0, axis=0)
    return graph.add("Concat", *ends, axis=1)


def onnx_reduction(operator: str) -> Callable[[OnnxGraph, str, bool], str]:
    """Return a function that adds a node such as "ReduceMean", which reduces over the steps."""
    return lambda graph, sequence, _: graph.add(operator, sequence, axes=[0], keepdims=0)


def onnx_concat(graph: OnnxGraph, sequence: str, bidirectional: bool) -> str:
    """Add the nodes of `concat`."""
    adds = (POOLINGS[name].onnx for name in ("last", "mean", "max"))
    return graph.add("Concat", *(add(graph, sequence, bidirectional) for add in adds), axis=1)


POOLINGS = {
    "last": Pooling("last step", last, onnx_last),
    "mean": Pooling("mean over the steps", mean, onnx_reduction("ReduceMean")),
    "max": Pooling("maximum over the steps", maximum, onnx_reduction("ReduceMax")),
    "concat": Pooling("last step, mean and maximum", concat, onnx_concat, n_vectors=3),
}
