"""A stack in words: a row for each part of a module, as text and as HTML."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from html import escape

from torch import nn

from .layers import Bidirectional, LinearPath, Plain
from .stack import StackedLSTM

TITLES = ("part", "reads", "puts out", "weights", "share", "notes")
NUMBERS = slice(3, 5)
POOLED = {
    "last": "last step",
    "mean": "mean over the steps",
    "max": "maximum over the steps",
    "concat": "last step, mean and maximum",
}
STYLE = """
.sklstm-architecture { overflow-x: auto; max-width: 100%; margin: 0.5em 0; color: inherit; }
.sklstm-architecture table { border-collapse: collapse; font-size: 0.9em; margin: 0; }
.sklstm-architecture caption { text-align: left; padding: 0.2em 0.6em; font-weight: bold; }
.sklstm-architecture th, .sklstm-architecture td {
  background: transparent; color: inherit; text-align: left; vertical-align: top;
  white-space: nowrap; padding: 0.2em 0.6em; border: 0;
  border-bottom: 1px solid rgba(128, 128, 128, 0.35);
}
.sklstm-architecture td.number, .sklstm-architecture th.number {
  text-align: right; font-variant-numeric: tabular-nums;
}
.sklstm-architecture tfoot td { font-weight: bold; border-bottom: 0; }
"""


@dataclass(frozen=True)
class Part:
    """One part of a model.

    Attributes
    ----------
    name : str
        What it is, counted from the bottom.

    reads : str
        Where its inputs come from.

    puts_out : str
        Numbers that it puts out, for each step or sequence.

    notes : str
        What else there is to know.

    n_parameters : int
        Number of its trained weights.
    """

    name: str
    reads: str
    puts_out: str
    notes: str
    n_parameters: int


@dataclass(frozen=True, repr=False)
class Architecture:
    """The parts of a model, bottom first; printed, a table.

    Attributes
    ----------
    parts : tuple of Part
        A part each, with attributes `name`, `reads`, `puts_out`, `notes` and
        `n_parameters`.
    """

    parts: tuple[Part, ...]

    @property
    def n_parameters(self) -> int:
        """Number of all trained weights."""
        return sum(part.n_parameters for part in self.parts)

    def __repr__(self) -> str:
        rows = [TITLES, *self._rows(), self._total()]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [_line(row, widths) for row in rows]
        rule = "-" * max(map(len, lines))
        return "\n".join([lines[0], rule, *lines[1:-1], rule, lines[-1]])

    def _repr_html_(self) -> str:
        body = "".join(f"<tr>{_cells(row)}</tr>" for row in self._rows())
        return (
            f'<style>{STYLE}</style><div class="sklstm-architecture"><table>'
            f"<caption>Architecture</caption><thead><tr>{_cells(TITLES, 'th')}</tr></thead>"
            f"<tbody>{body}</tbody><tfoot><tr>{_cells(self._total())}</tr></tfoot></table></div>"
        )

    def _rows(self) -> list[tuple[str, ...]]:
        total = self.n_parameters
        return [
            (
                *(part.name, part.reads, part.puts_out),
                *(f"{part.n_parameters:,}", f"{part.n_parameters / total:.1%}", part.notes),
            )
            for part in self.parts
        ]

    def _total(self) -> tuple[str, ...]:
        return "total", "", "", f"{self.n_parameters:,}", "100.0%", ""


def describe(module: StackedLSTM) -> Architecture:
    """Describe a module with a head part by part, bottom first."""
    parts = [*_inputs(module), *_layers(module), *_pooling(module), *_head(module)]
    return Architecture((*parts, *_linear_path(module)))


def _inputs(module: StackedLSTM) -> Iterator[Part]:
    notes = "" if module.input_scaler is None else "standardized"
    yield Part("input", "X", _count(module.n_features, "feature"), notes, 0)


def _layers(module: StackedLSTM) -> Iterator[Part]:
    below = "input"
    directions = "both directions" if module.bidirectional else ""
    paths = [None, *module.paths]
    for number, (layer, path, dropout) in enumerate(
        zip(module.layers, paths, module.dropouts, strict=True), start=1
    ):
        notes = [directions, _path(path, below), f"dropout {dropout.p:g}" if dropout.p else ""]
        n_parameters = _n_parameters(layer) + (0 if path is None else _n_parameters(path))
        words = ", ".join(filter(None, notes))
        yield Part(f"LSTM {number}", below, _units(layer), words, n_parameters)
        below = f"LSTM {number}"


def _path(path: nn.Module | None, below: str) -> str:
    if path is None or isinstance(path, Plain):
        return ""
    projected = not isinstance(path.projection, nn.Identity)
    return f"added to a projection of {below}" if projected else f"added to {below}"


def _units(layer: nn.Module) -> str:
    if isinstance(layer, Bidirectional):
        return f"2 x {_units(layer.forward_layer)}"
    return _count(int(getattr(layer, "hidden_size", 0)), "unit")


def _pooling(module: StackedLSTM) -> Iterator[Part]:
    if module.return_sequences:
        return
    width = next(layer.in_features for layer in module.head if isinstance(layer, nn.Linear))
    yield Part(
        "pooling", f"LSTM {len(module.layers)}", _count(width, "number"), POOLED[module.pooling], 0
    )


def _head(module: StackedLSTM) -> Iterator[Part]:
    below = f"LSTM {len(module.layers)}" if module.return_sequences else "pooling"
    dense = [layer for layer in module.head if isinstance(layer, nn.Linear)]
    hidden = len(module.head) - len(dense)
    for number, layer in enumerate(dense, start=1):
        is_hidden = number <= hidden
        name = f"Dense {number}" if is_hidden else "output"
        notes = "ReLU" if is_hidden else _answers(module)
        yield Part(name, below, _count(layer.out_features, "number"), notes, _n_parameters(layer))
        below = name


def _answers(module: StackedLSTM) -> str:
    notes = [
        "at each step" if module.return_sequences else "",
        "" if module.n_quantiles is None else _count(module.n_quantiles, "quantile") + " each",
    ]
    return ", ".join(filter(None, notes))


def _linear_path(module: StackedLSTM) -> Iterator[Part]:
    linear: LinearPath | None = module.linear
    if linear is not None:
        n_weights = linear.weight.numel() + linear.bias.numel()
        reads = f"last {linear.n_steps} steps of input" if linear.n_steps > 1 else "last step"
        notes = f"added to output; {n_weights:,} coefficients by ridge regression"
        yield Part("linear path", reads, _count(len(linear.bias), "number"), notes, 0)


def _n_parameters(module: nn.Module) -> int:
    return sum(weights.numel() for weights in module.parameters())


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _line(row: tuple[str, ...], widths: list[int]) -> str:
    cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
    cells[NUMBERS] = map(str.rjust, row[NUMBERS], widths[NUMBERS])
    return "  ".join(cells).rstrip()


def _cells(row: tuple[str, ...], tag: str = "td") -> str:
    cells = [f"<{tag}>{escape(cell)}</{tag}>" for cell in row]
    cells[NUMBERS] = [f'<{tag} class="number">{escape(cell)}</{tag}>' for cell in row[NUMBERS]]
    return "".join(cells)
