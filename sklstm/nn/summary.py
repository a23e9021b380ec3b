"""A summary of a stack: a table with a row for each of its parts."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from .layers import Bidirectional, Residual
from .pooling import POOLINGS
from .stack import StackedLSTM

TITLES = ("part", "reads", "outputs", "weights", "share", "notes")


@dataclass(frozen=True)
class Part:
    """One part of a model, with how many numbers it outputs for each step or sequence."""

    name: str
    reads: str
    outputs: str
    notes: str
    n_parameters: int = 0


@dataclass(frozen=True, repr=False)
class Architecture:
    """The parts of a model, bottom first; printed, a table."""

    parts: tuple[Part, ...]

    @property
    def n_parameters(self) -> int:
        """Number of all trained weights."""
        return sum(part.n_parameters for part in self.parts)

    def __repr__(self) -> str:
        total = self.n_parameters
        rows = [TITLES]
        for part in self.parts:
            n, share = f"{part.n_parameters:,}", f"{part.n_parameters / total:.1%}"
            rows.append((part.name, part.reads, part.outputs, n, share, part.notes))
        rows.append(("total", "", "", f"{total:,}", "100.0%", ""))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = []
        for row in rows:
            cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
            cells[3:5] = [row[3].rjust(widths[3]), row[4].rjust(widths[4])]
            lines.append("  ".join(cells).rstrip())
        rule = "-" * max(map(len, lines))
        return "\n".join([lines[0], rule, *lines[1:-1], rule, lines[-1]])


def describe(module: StackedLSTM) -> Architecture:
    """Describe a module with a head part by part, bottom first."""
    notes = "" if module.input_scaler is None else "standardized"
    parts = [Part("input", "X", _count(module.n_features, "feature"), notes)]
    for layer, skip, dropout in zip(
        module.layers, [None, *module.skips], module.dropouts, strict=True
    ):
        below, n_parameters = parts[-1].name, _n_parameters(layer)
        if isinstance(layer, Bidirectional):
            words = ["both directions"]
            outputs = f"2 x {_count(layer.forward_layer.hidden_size, 'unit')}"
        else:
            words, outputs = [], _count(int(getattr(layer, "hidden_size", 0)), "unit")
        if isinstance(skip, Residual):
            projected = "" if isinstance(skip.projection, nn.Identity) else "a projection of "
            words.append(f"added to {projected}{below}")
            n_parameters += _n_parameters(skip)
        if dropout.p:
            words.append(f"dropout {dropout.p:g}")
        parts.append(Part(f"LSTM {len(parts)}", below, outputs, ", ".join(words), n_parameters))

    dense = [layer for layer in module.head if isinstance(layer, nn.Linear)]
    if not module.return_sequences:
        numbers = _count(dense[0].in_features, "number")
        parts.append(Part("pooling", parts[-1].name, numbers, POOLINGS[module.pooling].words))
    words = ["at each step"] if module.return_sequences else []
    if module.n_quantiles is not None:
        words.append(_count(module.n_quantiles, "quantile") + " each")
    for number, layer in enumerate(dense, start=1):
        name, notes = f"Dense {number}", "ReLU"
        if layer is dense[-1]:
            name, notes = "output", ", ".join(words)
        numbers = _count(layer.out_features, "number")
        parts.append(Part(name, parts[-1].name, numbers, notes, _n_parameters(layer)))

    if module.linear is not None:
        n_steps, n_outputs = module.linear.n_steps, len(module.linear.bias)
        reads = f"last {n_steps} steps of input" if n_steps > 1 else "last step"
        n_weights = module.linear.weight.numel() + n_outputs
        notes = f"added to output; {n_weights:,} coefficients by ridge regression"
        parts.append(Part("linear shortcut", reads, _count(n_outputs, "number"), notes))
    return Architecture(tuple(parts))


def _n_parameters(module: nn.Module) -> int:
    return sum(weights.numel() for weights in module.parameters())


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
